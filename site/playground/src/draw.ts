// Draw, and look inside: one prompt, the picture that forms, its film, and what the machine computed on the way.

import { get } from "./dom.ts";
import { Film } from "./film.ts";
import { Inside } from "./inside.ts";
import { save, to_png } from "./pictures.ts";
import type { Playground, View } from "./playground.ts";
import { DEFAULTS, type Settings, to_link } from "./state.ts";

const FIELDS = ["seed", "steps", "guidance", "sampler", "avoid", "count"] as const;
const NUMBERS = ["seed", "steps", "guidance", "count"];

export function draw_view(playground: Playground): View & { finished: () => Float32Array | undefined } {
  const film = new Film("the picture");
  const inside = new Inside(film, playground);
  get("film").append(film.element);
  get("inside").append(inside.element);
  film.onmove = (at) => inside.show(at);
  film.onchoose = () => void inside.choose();
  let drawn = "";

  async function draw(): Promise<void> {
    const { settings } = playground;
    const key = JSON.stringify(FIELDS.map((field) => settings[field]).concat(settings.prompt));
    if (key === drawn) return;
    drawn = key;
    inside.halt();
    film.expect();
    show_settings(settings);
    const drawing = playground.drawing();
    const [reading, about_avoid] = await Promise.all([
      playground.read(settings.prompt),
      playground.read(settings.avoid, true),
    ]);
    get("avoid-remark").textContent = about_avoid.clauses.join("; ");
    film.describe(settings.prompt || "a digit left to chance");
    const images = await playground.draw(drawing, film, {
      begin: (x) => inside.begin(drawing, reading, x),
      step: (step) => inside.add(step),
    });
    if (images) await inside.finish();
    else if (key === drawn) drawn = ""; // stopped by another view: draw it again when this one is opened
  }

  for (const field of FIELDS) {
    const input = get<HTMLInputElement>(field);
    input.addEventListener("input", () => tell(input));
    input.addEventListener("change", () => {
      if (!input.checkValidity()) return void input.reportValidity();
      playground.change({ [field]: NUMBERS.includes(field) ? Number(input.value) : input.value });
    });
  }
  const new_seed = (): void => playground.change({ seed: Math.floor(Math.random() * 10_000) });
  get("new-seed").addEventListener("click", new_seed);
  get("again").addEventListener("click", new_seed);
  get("reset").addEventListener("click", () => {
    playground.change(Object.fromEntries(FIELDS.map((field) => [field, DEFAULTS[field]])));
  });
  get("save").addEventListener("click", async () => {
    if (film.finished.length) save(await to_png(film.finished, 512), `${file_name(playground.settings.prompt)}.png`);
  });
  get("link").addEventListener("click", () => void copy_link(playground));
  return { refresh: () => void draw(), finished: () => film.finished[film.picture] };
}

function show_settings(settings: Settings): void {
  for (const field of FIELDS) {
    const input = get<HTMLInputElement>(field);
    input.value = `${settings[field]}`;
    tell(input);
  }
  const { seed, steps, guidance, sampler } = settings;
  get("summary").textContent = `seed ${seed}, ${steps} steps, guidance ${guidance}`;
  const options = [`--seed ${seed}`];
  if (steps !== DEFAULTS.steps) options.push(`--steps ${steps}`);
  if (guidance !== DEFAULTS.guidance) options.push(`--guidance ${guidance}`);
  if (sampler !== DEFAULTS.sampler) options.push(`--sampler ${sampler}`);
  if (settings.avoid) options.push(`--negative ${quoted(settings.avoid)}`);
  if (settings.count > 1) options.push(`--count ${settings.count}`);
  get("python").textContent = `tinyldm generate ${quoted(settings.prompt)} ${options.join(" ")}`;
}

/** A slider's value in figures beside it. */
function tell(input: HTMLInputElement): void {
  if (input.nextElementSibling instanceof HTMLOutputElement) input.nextElementSibling.textContent = input.value;
}

/** For a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** A prompt as the name of a file. */
export function file_name(prompt: string): string {
  return (
    prompt
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-|-$/g, "")
      .slice(0, 60) || "digit"
  );
}

async function copy_link({ settings, say }: Playground): Promise<void> {
  const button = get("link");
  const link = new URL(to_link(settings), location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    button.textContent = "Link copied";
  } catch {
    button.textContent = "It is in the address bar";
  }
  say(button.textContent);
  setTimeout(() => (button.textContent = "Copy link"), 2000);
}
