// Guess the noise: a real digit, noise by amount, and what the network makes of it. Lessons 02 and 03 in a minute.

import { get, make, slider } from "./dom.ts";
import digits_url from "./digits.png";
import captions from "./digits.json";
import { canvas_of, from_canvas, show, show_channel } from "./pictures.ts";
import type { Playground, View } from "./playground.ts";
import { randn } from "./noise.ts";

const SIZE = 256;

export function guess_view(playground: Playground): View {
  const [clean, noisy, guessed] = ["A real digit", "With noise", "Its guess of the digit"].map(large);
  const [true_noise, guessed_noise] = [channels(), channels()];
  const verdict = make("p", { class: "verdict" });
  const picker = make("div", { class: "picker", role: "group", "aria-label": "Which digit" });
  const amount = slider(
    "How much noise",
    { min: 0, max: 999, value: playground.settings.noise },
    (noise) => playground.change({ noise }),
    { live: true, format: (t) => `${Math.round(100 * Math.sqrt(1 - playground.model.alphas_cumprod[t]))} %` },
  );
  let pictures: Promise<Float32Array[]> | null = null;
  const latents = new Map<number, Float32Array>();
  let busy = false;
  let again = false;
  let draws = 0; // how often new noise was asked for

  get("guess").append(
    make(
      "p",
      {},
      "This is all that it ever learned. Noise is added to a picture, and it guesses which noise. Take its guess " +
        "away, and you see what it believes is underneath. Besides the noisy picture it is told the caption.",
    ),
    picker,
    amount.element,
    make("div", { class: "thirds" }, clean.element, noisy.element, guessed.element),
    make(
      "div",
      { class: "halves noises" },
      make("div", {}, make("h2", {}, "The noise that was added"), true_noise.element),
      make("div", {}, make("h2", {}, "The noise that it guesses"), guessed_noise.element),
    ),
    verdict,
    make(
      "div",
      { class: "buttons" },
      make("button", { type: "button", onclick: () => (draws++, refresh()) }, "Other noise"),
    ),
  );

  async function look(): Promise<void> {
    pictures ??= open_digits();
    const { digit, noise: t, seed } = playground.settings;
    const all = await pictures;
    if (!picker.childElementCount) fill_picker(all);
    [...picker.children].forEach((button, i) => button.setAttribute("aria-pressed", `${i === digit}`));
    amount.set(t);
    if (!latents.has(digit)) latents.set(digit, await playground.machine.ask("encode", all[digit]));
    const noise = randn(seed + draws, SIZE);
    const got = await playground.machine.ask("guess", {
      latents: latents.get(digit)!,
      noise,
      t,
      prompt: captions[digit],
    });
    show(clean.canvas, all[digit]);
    show(noisy.canvas, await playground.machine.ask("decode", got.noisy));
    show(guessed.canvas, await playground.machine.ask("decode", got.x0));
    clean.name(`“${captions[digit]}”`);
    true_noise.show(noise);
    guessed_noise.show(got.noise);
    const right = 1 - mean_square(noise, got.noise) / mean_square(noise, new Float32Array(SIZE));
    verdict.textContent = `${Math.round(100 * Math.max(0, right))} % of the noise found. ${remark_on(t)}`;
  }

  /** Only the newest wish counts: while one is computed, others wait for it, and the last of them comes next. */
  async function refresh(): Promise<void> {
    if (busy) return void (again = true);
    busy = true;
    try {
      do {
        again = false;
        await look();
      } while (again);
    } catch (error) {
      playground.fail(error);
    } finally {
      busy = false;
    }
  }

  function fill_picker(all: Float32Array[]): void {
    all.forEach((picture, digit) => {
      const canvas = canvas_of(32, 32);
      show(canvas, picture);
      const pick = make(
        "button",
        { type: "button", "aria-label": captions[digit], onclick: () => playground.change({ digit }) },
        canvas,
      );
      picker.append(pick);
    });
  }

  return { refresh: () => void refresh() };
}

function remark_on(t: number): string {
  if (t < 150) return "With so little, the noise is hard to tell from the strokes, and does not matter.";
  if (t < 700) return "The shape can be guessed from what is left of it.";
  if (t < 950) return "Hardly anything is left of the digit: now it relies on the caption.";
  return "The digit is gone, only the caption is left: it guesses the average of all such digits, a blurred one.";
}

/** The ten digits lie side by side in one file. */
async function open_digits(): Promise<Float32Array[]> {
  const image = new Image();
  image.src = digits_url;
  await image.decode();
  return captions.map((_, digit) => {
    const canvas = canvas_of(32, 32);
    canvas.getContext("2d", { willReadFrequently: true })!.drawImage(image, -32 * digit, 0);
    return from_canvas(canvas);
  });
}

function large(title: string): { element: HTMLElement; canvas: HTMLCanvasElement; name: (name: string) => void } {
  const canvas = canvas_of(32, 32);
  const caption = make("span", {}, "");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title);
  const element = make(
    "figure",
    {},
    make("h2", {}, title),
    make("div", { class: "cell" }, canvas),
    make("figcaption", {}, caption),
  );
  return { element, canvas, name: (name) => (caption.textContent = name) };
}

function channels(): { element: HTMLElement; show: (latents: Float32Array) => void } {
  const canvases = Array.from({ length: 4 }, () => canvas_of(8, 8));
  canvases.forEach((canvas) => canvas.setAttribute("aria-hidden", "true"));
  const element = make(
    "div",
    { class: "tiles four" },
    ...canvases.map((canvas) => make("span", { class: "picture" }, canvas)),
  );
  return { element, show: (latents) => canvases.forEach((canvas, channel) => show_channel(canvas, latents, channel)) };
}

function mean_square(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length;
}
