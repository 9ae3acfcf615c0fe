// Compare: the same noise under two prompts, two guidance scales or two numbers of steps, side by side.

import { get, make } from "./dom.ts";
import { Film } from "./film.ts";
import type { Drawing } from "./messages.ts";
import type { Playground, View } from "./playground.ts";
import { DIFFERENCES, MAX_GUIDANCE, MAX_STEPS, type Settings } from "./state.ts";

const NAMES = { prompt: "two prompts", guidance: "two guidance scales", steps: "two numbers of steps" };

export function compare_view(playground: Playground): View {
  const films = [new Film("the first picture"), new Film("the second picture")];
  const choice = make("fieldset", { class: "choices" }, make("legend", {}, "The same noise under"));
  const titles = films.map(() => make("h2", {}));
  const other = make("div", { class: "other" });
  let drawn = "";

  for (const by of DIFFERENCES) {
    const radio = make("input", { type: "radio", name: "by", value: by, onchange: () => playground.change({ by }) });
    choice.append(make("label", {}, radio, NAMES[by]));
  }
  get("compare").append(
    make(
      "p",
      {},
      "Both pictures begin as the very same noise; one thing differs. The first follows your prompt and the settings under “Draw”.",
    ),
    choice,
    other,
    make("div", { class: "halves" }, ...films.map((film, i) => make("div", {}, titles[i], film.element))),
  );
  films.forEach((film, i) => (film.onmove = (at) => follow(films[1 - i], at, film)));

  /** One slider moves both films, also where they have different numbers of steps. */
  function follow(film: Film, at: number, leader: Film): void {
    if (leader.total === 0 || !leader.element.contains(document.activeElement)) return;
    const same = Math.round((at / leader.total) * film.total);
    if (film.at !== same) film.move(same);
  }

  async function draw(): Promise<void> {
    const { settings } = playground;
    const { by } = settings;
    choice.querySelectorAll("input").forEach((radio) => (radio.checked = radio.value === by));
    if (other.dataset.by !== by) other.replaceChildren(field(settings));
    other.dataset.by = by;
    const left = playground.drawing({ prompts: [settings.prompt] });
    const right = { ...left, ...difference(settings) };
    const key = JSON.stringify([left, right]);
    if (key === drawn) return;
    drawn = key;
    titles[0].textContent = title(left, by);
    titles[1].textContent = title(right, by);
    films.forEach((film, i) => (film.expect(), film.describe(titles[i].textContent!)));
    for (const [i, drawing] of [left, right].entries()) {
      const done = await playground.draw(drawing, films[i]);
      if (!done) return void (key === drawn && (drawn = ""));
    }
  }

  /** Where the second picture's own value is set. */
  function field({ by, other_prompt, other_guidance, other_steps }: Settings): HTMLElement {
    const [value, change] = {
      prompt: [other_prompt, (text: string) => ({ other_prompt: text })] as const,
      guidance: [`${other_guidance}`, (text: string) => ({ other_guidance: Number(text) })] as const,
      steps: [`${other_steps}`, (text: string) => ({ other_steps: Number(text) })] as const,
    }[by];
    const kind: Record<string, string> = {
      prompt: { type: "text", maxlength: "2000", spellcheck: "false" },
      guidance: { type: "range", min: "0", max: `${MAX_GUIDANCE}`, step: "0.5" },
      steps: { type: "range", min: "1", max: `${MAX_STEPS}`, step: "1" },
    }[by];
    const input = make("input", { ...kind, id: "other", value });
    const output = make("output", { for: "other" }, by === "prompt" ? "" : value);
    input.addEventListener("input", () => by !== "prompt" && (output.textContent = input.value));
    input.addEventListener("change", () => playground.change(change(input.value)));
    return make("div", { class: "pair" }, make("label", { for: "other" }, `The second picture's ${by}`), input, output);
  }

  return { refresh: () => void draw() };
}

function difference({ by, other_prompt, other_guidance, other_steps }: Settings): Partial<Drawing> {
  return { prompt: { prompts: [other_prompt] }, guidance: { guidance: other_guidance }, steps: { steps: other_steps } }[
    by
  ];
}

function title(drawing: Drawing, by: Settings["by"]): string {
  if (by === "prompt") return drawing.prompts[0] || "no prompt";
  return by === "guidance"
    ? `guidance ${drawing.guidance}`
    : `${drawing.steps} ${drawing.steps === 1 ? "step" : "steps"}`;
}
