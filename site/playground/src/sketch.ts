// Start from a drawing: a pad or a picture file, noised part of the way and drawn anew, or only under a painted mask.

import { get, make, slider } from "./dom.ts";
import { Film } from "./film.ts";
import { type Colour, css, Pad } from "./pad.ts";
import { canvas_of, open_picture, show, SIDE } from "./pictures.ts";
import type { Playground, View } from "./playground.ts";

const OPENED = 320; // side of an opened picture, as the pad's
const FOUR: [number, number][][] = [
  [
    [92, 84],
    [80, 170],
    [210, 164],
  ],
  [
    [200, 92],
    [178, 262],
  ],
];

/** `last_drawn` gives the picture that "Draw" shows. */
export function sketch_view(playground: Playground, last_drawn: () => Float32Array | undefined): View {
  const { inks, backgrounds } = playground.model;
  const film = new Film("the new picture", "Your drawing under noise");
  const remark = make("p", { role: "status", class: "remark" });
  let version = 0; // of what is on the pad
  let drawn = "";
  const pad = new Pad(inks.white, backgrounds.black, () => {
    version++;
    void draw();
  });
  pad.example(FOUR);

  async function draw(): Promise<void> {
    const { prompt, strength: much } = playground.settings;
    strength.set(much);
    const from = { image: pad.image, strength: much, mask: pad.painted };
    const drawing = playground.drawing({ prompts: [prompt], from });
    const key = JSON.stringify([version, { ...drawing, from: much }]);
    if (key === drawn) return;
    drawn = key;
    film.expect();
    film.describe(`${prompt || "a digit left to chance"}, from a drawing`);
    const done = await playground.draw(drawing, film);
    if (!done && key === drawn) drawn = ""; // stopped by another view: draw it again when this one is opened
  }

  async function open(file: Blob): Promise<void> {
    try {
      pad.put(await open_picture(file, OPENED));
    } catch (error) {
      remark.textContent = (error as Error).message;
    }
  }

  function take_last(): void {
    const last = last_drawn();
    if (!last) return void (remark.textContent = "Nothing has been drawn yet.");
    const small = canvas_of(SIDE, SIDE);
    show(small, last);
    pad.put(small);
  }

  const strength = slider(
    "Strength",
    { min: 0, max: 1, step: 0.05, value: playground.settings.strength },
    (value) => playground.change({ strength: value }),
    { format: (value) => `${Math.round(100 * value)} %` },
  );
  const masking = make("input", { type: "checkbox" });
  masking.addEventListener("change", () => pad.paint_mask(masking.checked));
  const file = make("input", { type: "file", accept: "image/*", id: "file" });
  file.addEventListener("change", () => {
    remark.textContent = "";
    if (file.files?.[0]) void open(file.files[0]);
    file.value = "";
  });
  const button = (text: string, onclick: () => void): HTMLElement => make("button", { type: "button", onclick }, text);
  const said =
    "Your drawing is buried under some noise, and the machine digs a picture out of it that fits your prompt. The " +
    "stronger, the less is left of the drawing.";
  const colours = [
    palette("Ink", inks, (colour) => (pad.ink = colour)),
    palette("Paper", backgrounds, (colour) => pad.clear(colour)),
  ];
  const tools = [
    button("Undo", () => pad.undo()),
    button("Clear", () => pad.clear()),
    button("Take the drawn picture", take_last),
  ];
  const row = (name: string, ...children: Node[]): HTMLElement => make("div", { class: name }, ...children);
  get("sketch").append(
    make("p", {}, said),
    strength.element,
    row(
      "workshop",
      row("on-pad", make("h2", {}, "Your drawing"), pad.element, row("palettes", ...colours)),
      row("result", make("h2", {}, "What becomes of it"), film.element),
      row(
        "tools",
        make("label", { class: "check" }, masking, "Paint a mask: only there it is drawn anew"),
        row("buttons", ...tools),
        row("file", make("label", { for: "file" }, "Or open a picture"), file),
        remark,
      ),
    ),
  );
  return { refresh: () => void draw() };
}

function palette(name: string, colours: Record<string, Colour>, take: (colour: Colour) => void): HTMLElement {
  const set = make("fieldset", { class: "palette" }, make("legend", {}, name));
  Object.entries(colours).forEach(([label, colour], i) => {
    const radio = make("input", { type: "radio", name, "aria-label": label, title: label, checked: i === 0 });
    radio.style.setProperty("--colour", css(colour));
    radio.addEventListener("change", () => take(colour));
    set.append(radio);
  });
  return set;
}
