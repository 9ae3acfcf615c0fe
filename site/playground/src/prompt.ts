// The prompt box: words that it knows as you type, unknown ones underlined, and a line that says what cannot be drawn.

import { get, make } from "./dom.ts";
import type { Playground } from "./playground.ts";

const EXAMPLES = ["7, blue on white", "three, thin strokes", "a fat yellow 5 on dark blue", "an emerald eight"];
const OFFERED = 6;

export function prompt_box(playground: Playground): { refresh: () => void } {
  const input = get<HTMLInputElement>("prompt");
  const mirror = get("mirror");
  const remark = get("remark");
  const completions = complete(input, playground.model.words);

  async function look(): Promise<void> {
    const text = input.value;
    underline(mirror, text, []);
    const reading = await playground.read(text);
    if (input.value !== text) return;
    underline(mirror, text, reading.words);
    remark.textContent = text.trim() ? reading.clauses.join("; ") : "no prompt: it draws whatever it likes";
  }

  function submit(text: string): void {
    completions.close();
    input.value = text;
    void look();
    playground.change({ prompt: text });
    get(playground.settings.view).querySelector(".film")?.scrollIntoView({ block: "nearest" });
  }

  input.addEventListener("input", () => (void look(), completions.offer()));
  input.addEventListener("scroll", () => (mirror.scrollLeft = input.scrollLeft));
  get("prompt-form").addEventListener("submit", () => submit(input.value));
  for (const example of EXAMPLES) {
    get("examples").append(make("button", { type: "button", onclick: () => submit(example) }, example));
  }
  return {
    refresh: () => {
      if (document.activeElement === input && input.value !== playground.settings.prompt) return; // being typed
      input.value = playground.settings.prompt;
      void look();
    },
  };
}

/** Behind the box lies its text once more, unseen, with lines under some words. */
function underline(mirror: HTMLElement, text: string, words: string[]): void {
  const parts = text.split(/([\p{L}\p{M}'’]+|\p{N}|\p{So})/u);
  const marked = (part: string): boolean =>
    words.includes(
      part
        .normalize("NFC")
        .toLowerCase()
        .replace(/^['’]+|['’]+$/g, ""),
    );
  mirror.replaceChildren(...parts.map((part) => (marked(part) ? make("mark", {}, part) : part)));
}

/** Offer known words that begin like the one before the caret; arrow keys and Enter, or a click, take one. */
function complete(input: HTMLInputElement, known: string[]): { offer: () => void; close: () => void } {
  const list = get("completions");
  let active = -1;

  const typed = (): string =>
    input.value
      .slice(0, input.selectionStart ?? 0)
      .match(/[\p{L}-]+$/u)?.[0]
      .toLowerCase() ?? "";

  function close(): void {
    list.hidden = true;
    list.replaceChildren();
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function offer(): void {
    close();
    const start = typed();
    const words =
      start.length < 2 ? [] : known.filter((word) => word.startsWith(start) && word !== start).slice(0, OFFERED);
    if (!words.length || known.includes(start)) return;
    const options = words.map((word, i) =>
      make("li", { role: "option", id: `word-${i}`, "aria-selected": "false" }, word),
    );
    options.forEach((option) =>
      option.addEventListener("pointerdown", (event) => (event.preventDefault(), take(option.textContent!))),
    );
    list.replaceChildren(...options);
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
  }

  function take(word: string): void {
    const caret = input.selectionStart ?? input.value.length;
    input.setRangeText(word, caret - typed().length, caret, "end");
    close();
    input.dispatchEvent(new Event("input"));
    close();
  }

  function move(by: number): void {
    const options = [...list.children];
    options[active]?.setAttribute("aria-selected", "false");
    active = ((active + 1 + by + options.length + 1) % (options.length + 1)) - 1; // -1: none of them
    const option = options[active];
    option?.setAttribute("aria-selected", "true");
    if (option) input.setAttribute("aria-activedescendant", option.id);
    else input.removeAttribute("aria-activedescendant");
  }

  input.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const option = list.children[active];
    if (event.key === "ArrowDown") move(1);
    else if (event.key === "ArrowUp") move(-1);
    else if (event.key === "Enter" && option) take(option.textContent!);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  input.addEventListener("blur", close);
  return { offer, close };
}
