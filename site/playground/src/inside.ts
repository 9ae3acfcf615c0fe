// Look inside: what the machine read, where it looked, and what it computed at the step that the film shows.

import { make } from "./dom.ts";
import { type Film, glow } from "./film.ts";
import { STOPPED } from "./machine.ts";
import type { Drawing, Reading, Step } from "./messages.ts";
import { canvas_of, each, show, show_channel } from "./pictures.ts";
import { LATENT, latents_of, type Playground } from "./playground.ts";

const TOKENS = 77;

export class Inside {
  readonly element: HTMLElement;
  private steps: Step[] = [];
  private start = new Float32Array(LATENT);
  private drawing: Drawing | null = null;
  private chosen = -1; // token that lights the large picture
  private plain: Float32Array[] = [];
  private without: (Float32Array | null)[] = [];
  private stop = (): void => {}; // of a drawing without a word
  private turn = 0; // counts drawings, so that late answers to an earlier one are dropped
  private words = make("div", { class: "tiles" });
  private channels = Array.from({ length: 4 }, (_, i) => picture_tile(`${i + 1}`, `number ${i + 1}`));
  private guidance = ["without your words", "with your words", "and further"].map((name) => picture_tile(name));
  private guidance_note = make("p", { class: "note" });
  private left_out = make("div", { class: "tiles" });
  private leave_out = make(
    "button",
    { type: "button", onclick: () => void this.leave_each_out() },
    "Leave out each word in turn",
  );
  private channel_note = make("p", { class: "note" });

  constructor(
    private film: Film,
    private playground: Playground,
  ) {
    this.element = make(
      "div",
      { class: "inside" },
      make("h2", { id: "look-inside" }, "Look inside"),
      make(
        "p",
        {},
        "It starts from noise. At every step it guesses the finished picture, and moves a little towards its guess. " +
          "Move the slider under the picture, or press ← and →: everything here follows.",
      ),
      card(
        "Where it looks for each word",
        "Your prompt, in pieces, each with its number in a list of 49,408. At every step each place of the picture " +
          "asks which pieces matter to it: the more it looks at a piece, the more that place glows. A dark piece may still " +
          "matter: what a word adds is seen at the end of this page. Press a piece to see it large.",
        this.words,
      ),
      card(
        "What it works on",
        "Not pixels: four numbers for each of 8 × 8 places, here as grey levels. A second network, the decoder, " +
          "makes the picture of them.",
        make("div", { class: "tiles four" }, ...this.channels),
        this.channel_note,
      ),
      card(
        "What your words change",
        "At each step it guesses the finished picture twice, without and with your words, and then goes further in " +
          "the same direction. That is guidance. Early guesses often have the wrong colours: most of what it sees is " +
          "noise.",
        make("div", { class: "tiles three" }, ...this.guidance),
        this.guidance_note,
      ),
      card(
        "What one word adds",
        "The same noise, with one word missing: the finished pictures.",
        make("p", {}, this.leave_out),
        this.left_out,
      ),
    );
  }

  /** Stop drawing without a word: something else is to be drawn. */
  halt(): void {
    this.turn++;
    this.stop();
  }

  /** A new drawing begins. */
  begin(drawing: Drawing, reading: Reading, start: Float32Array): void {
    Object.assign(this, { steps: [], drawing, start, plain: [], without: [], chosen: -1 });
    this.halt();
    this.left_out.replaceChildren();
    this.film.light();
    this.words.replaceChildren(...reading.tokens.map((token, i) => this.word_tile(token.text, token.id, token.row, i)));
    if (!reading.tokens.length)
      this.words.append(make("p", { class: "note" }, "No words: everything is left to chance."));
    this.leave_out.disabled = words_in(drawing.prompts[0]).length === 0;
    this.guidance[0].querySelector(".word")!.textContent = drawing.negative
      ? "with what to avoid"
      : "without your words";
    [...this.guidance, ...this.channels].forEach(empty);
  }

  add(step: Step): void {
    this.steps.push(step);
  }

  /** The drawing is done: decode what the cards show of the picture that is looked at. */
  async finish(): Promise<void> {
    const [turn, steps, picture] = [this.turn, this.steps, this.film.picture];
    const plain = await this.playground.decode(
      steps.map((step) => step.plain),
      picture,
    );
    const without = await this.playground.decode(
      steps.flatMap((step) => step.without ?? []),
      picture,
    );
    if (turn !== this.turn || picture !== this.film.picture) return;
    this.plain = plain;
    this.without = steps.map((step) => (step.without ? (without.shift() ?? null) : null));
    this.show(this.film.at);
  }

  /** Another of several pictures is looked at. */
  async choose(): Promise<void> {
    [this.plain, this.without] = [[], []];
    await this.playground.decode_guesses(this.film, this.steps);
    await this.finish();
  }

  /** Show the frame that the film shows. */
  show(at: number): void {
    const step = this.steps[Math.max(0, at - 1)];
    const latents = latents_of(at === 0 || !step ? this.start : step.x, this.film.picture);
    this.channels.forEach((tile, channel) => fill(tile, (canvas) => show_channel(canvas, latents, channel)));
    this.channel_note.textContent = at === 0 ? "Noise: numbers drawn at random, as the seed says." : "";
    if (!step) return;
    this.show_words(step);
    this.show_guidance(Math.max(0, at - 1));
  }

  private word_tile(text: string, id: number, row: number, i: number): HTMLElement {
    const picture = make(
      "span",
      { class: "picture" },
      canvas_of(32, 32),
      Object.assign(canvas_of(32, 32), { className: "overlay" }),
    );
    const word = text.replace("</w>", "");
    const name = make("span", { class: row ? "word" : "word unknown" }, word);
    const number = make("span", { class: "number" }, row ? `${id}` : `${id}, unknown`);
    const tile = make("button", { type: "button", class: "tile", "aria-pressed": "false" }, picture, name, number);
    tile.addEventListener("click", () => {
      this.chosen = this.chosen === i ? -1 : i;
      this.show(this.film.at);
    });
    return tile;
  }

  private show_words(step: Step): void {
    const image = this.film.current;
    const from = this.film.picture * 16 * TOKENS;
    const tiles = [...this.words.querySelectorAll(".tile")];
    const all = tiles.map((_, token) => {
      const column = from + token + 1; // column 0 is the start token's
      return Array.from({ length: 16 }, (_, place) => step.attention[column + place * TOKENS]);
    });
    const largest = Math.max(1e-9, ...all.flat());
    const visible = (weight: number): number => Math.sqrt(weight / largest); // the root, so that small ones show
    const weights = (token: number): number[] => all[token].map(visible);
    tiles.forEach((tile, i) => {
      const [picture, overlay] = tile.querySelectorAll("canvas");
      if (image) show(picture, image);
      glow(overlay, weights(i));
      tile.setAttribute("aria-pressed", `${i === this.chosen}`);
    });
    this.film.light(this.chosen < 0 ? undefined : weights(this.chosen));
  }

  private show_guidance(index: number): void {
    const [plain, without] = [this.plain[index], this.without[index]];
    const pictures = [without, plain, without && this.film.guesses[index]];
    this.guidance.forEach((tile, i) => {
      const picture = pictures[i];
      if (picture) fill(tile, (canvas) => show(canvas, picture));
      else empty(tile);
    });
    const first = "In its first steps it follows your words plainly: exaggerated, all pictures would come out alike.";
    const none = "With guidance 1 or less it follows your words plainly.";
    const last =
      index === this.steps.length - 1
        ? "At the last step all is decided. Go back to the middle, where they differ."
        : "";
    this.guidance_note.textContent = !plain ? "" : without ? last : (this.drawing?.guidance ?? 0) <= 1 ? none : first;
  }

  private async leave_each_out(): Promise<void> {
    const [turn, drawing] = [this.turn, this.drawing!];
    const words = words_in(drawing.prompts[0]);
    this.leave_out.disabled = true;
    const tiles = words.map((word) => picture_tile(`without “${word}”`));
    this.left_out.replaceChildren(...tiles);
    try {
      for (const [i, tile] of tiles.entries()) {
        const prompts = drawing.prompts.map(() => words.filter((_, other) => other !== i).join(" "));
        const { result, stop } = this.playground.machine.give("draw", { ...drawing, prompts, preview: false });
        this.stop = stop;
        const images = await result;
        if (turn !== this.turn) return;
        fill(tile, (canvas) => show(canvas, each(images)[this.film.picture]));
      }
      this.playground.say(`Drawn without each of ${words.length} words`);
    } catch (error) {
      if (error !== STOPPED) this.playground.fail(error);
    } finally {
      if (turn === this.turn) this.leave_out.disabled = false;
    }
  }
}

const words_in = (prompt: string): string[] => prompt.split(/\s+/).filter(Boolean).slice(0, 20);

function card(title: string, text: string, ...children: Node[]): HTMLElement {
  return make("section", { class: "card" }, make("h3", {}, title), make("p", {}, text), ...children);
}

function picture_tile(name: string, description = name): HTMLElement {
  const canvas = canvas_of(32, 32);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", description);
  return make(
    "div",
    { class: "tile empty" },
    make("span", { class: "picture" }, canvas),
    make("span", { class: "word" }, name),
  );
}

function fill(tile: HTMLElement, paint: (canvas: HTMLCanvasElement) => void): void {
  tile.classList.remove("empty");
  paint(tile.querySelector("canvas")!);
}

const empty = (tile: HTMLElement): void => tile.classList.add("empty");
