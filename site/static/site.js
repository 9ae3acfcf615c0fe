// The landing page's prompt box: the playground takes its settings from what stands after the # of its address.
for (const form of document.querySelectorAll("form.prompt")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.href = `${form.getAttribute("action")}#${new URLSearchParams(new FormData(form))}`;
  });
}

// Code, a formula or a table that is wider than its box can be scrolled with the keyboard, too, once it can have the focus.
const boxes = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const box of document.querySelectorAll("pre, div.math, .table-wrapper")) boxes.observe(box);
