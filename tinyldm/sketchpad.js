// The sketchpad of `tinyldm.widgets`: what is drawn goes as a PNG into the hidden text widget above it.
(() => {
  const last = selector => [...document.querySelectorAll(selector)].pop();
  const script = document.currentScript, box = script ? script.parentElement : document;
  const canvas = box.querySelector("canvas"), pen = canvas.getContext("2d");
  const clear = () => { pen.fillStyle = "black"; pen.fillRect(0, 0, 256, 256); };
  const send = value => {
    const text = last(".tinyldm-sketch textarea");
    text.value = value;
    for (const name of ["input", "change"]) text.dispatchEvent(new Event(name, {bubbles: true}));
  };
  clear();
  Object.assign(pen, {strokeStyle: "white", lineWidth: 22, lineCap: "round", lineJoin: "round"});
  canvas.onpointerdown = e => {
    canvas.setPointerCapture(e.pointerId);
    pen.beginPath();
    pen.moveTo(e.offsetX, e.offsetY);
  };
  canvas.onpointermove = e => { if (e.buttons) { pen.lineTo(e.offsetX, e.offsetY); pen.stroke(); } };
  canvas.onpointerup = () => send(canvas.toDataURL());
  box.querySelector("button").onclick = () => { clear(); send(""); };
})()
