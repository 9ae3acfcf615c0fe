// Small helpers for building and finding elements.

type Child = Node | string;
type Attributes = Record<string, string | boolean | ((event: never) => void)>;

/** An element with attributes (functions are listeners: `onclick`) and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value as EventListener);
    else if (typeof value === "boolean") element.toggleAttribute(key, value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** The element with this id, which must be there. */
export function get<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element #${id}`);
  return element as T;
}

let ids = 0;

/** A slider with its label and value; `change` hears it while it moves if `live`, else when it is let go. */
export function slider(
  label: string,
  { min, max, step = 1, value }: { min: number; max: number; step?: number; value: number },
  change: (value: number) => void,
  { live = false, format = String }: { live?: boolean; format?: (value: number) => string } = {},
): { element: HTMLElement; set: (value: number) => void } {
  const id = `slider-${ids++}`;
  const input = make("input", { type: "range", id, min: `${min}`, max: `${max}`, step: `${step}`, value: `${value}` });
  const output = make("output", { for: id });
  const tell = (): void => {
    output.textContent = format(input.valueAsNumber);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => (tell(), live && change(input.valueAsNumber)));
  input.addEventListener("change", () => !live && change(input.valueAsNumber));
  tell();
  const element = make("div", { class: "slider" }, make("label", { for: id }, label), input, output);
  return { element, set: (next) => ((input.value = `${next}`), tell()) };
}
