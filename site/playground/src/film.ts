// A picture that forms: large, with a strip of its steps below and a slider to go back and forth.

import { make } from "./dom.ts";
import { canvas_of, each, show } from "./pictures.ts";

const THUMBNAILS = 13;
const ROWS = { far: "The picture so far", guess: "Its guess of the end" };
let films = 0;

export class Film {
  readonly element: HTMLElement;
  /** Called when another frame is shown; frame 0 is the noise, frame k the picture after step k. */
  onmove: (at: number) => void = () => {};
  onchoose: (picture: number) => void = () => {};
  drawing = 0; // counts drawings, so that late answers to an earlier one are dropped
  at = 0;
  picture = 0; // which one of several is looked at
  row: keyof typeof ROWS = "far";
  private frames: Float32Array[][] = [];
  guesses: Float32Array[] = []; // guess i was made by step i + 1
  total = 0;
  private ended = "";
  private pictures = make("div", { class: "pictures" });
  private overlay = canvas_of(32, 32);
  private caption = make("figcaption", {}, "");
  private slider = make("input", { type: "range", min: "0", max: "1", value: "0", step: "1", disabled: true });
  private play = make(
    "button",
    { type: "button", class: "play", disabled: true, onclick: () => this.replay() },
    "Replay",
  );
  private timer = 0;
  private rows = { far: make("div", { class: "thumbs" }), guess: make("div", { class: "thumbs" }) };

  /** `name` says what the picture is, for people who do not see it. */
  constructor(
    private name: string,
    private first = "Nothing but noise",
  ) {
    const id = `film-${films++}`;
    this.overlay.className = "overlay";
    this.slider.id = id;
    this.slider.addEventListener("input", () => (clearInterval(this.timer), this.move(this.slider.valueAsNumber)));
    const strip = Object.entries(ROWS).map(([row, label]) => {
      const radio = make("input", { type: "radio", name: `${id}-row`, checked: row === "far" });
      radio.addEventListener("change", () => ((this.row = row as keyof typeof ROWS), this.move(this.at)));
      return make("div", { class: "strip-row" }, make("label", {}, radio, label), this.rows[row as keyof typeof ROWS]);
    });
    this.element = make(
      "div",
      { class: "film" },
      make("figure", {}, this.pictures, this.caption),
      make("div", { class: "scrub" }, make("label", { for: id }, "Step by step"), this.slider, this.play),
      make("div", { class: "strip" }, ...strip),
    );
    this.start(1, 1);
  }

  /** A new drawing is on its way. */
  expect(): void {
    this.drawing++;
    this.caption.textContent = "Drawing …";
  }

  /** Make room for a new drawing; what is on the screen stays until its first frame comes. */
  start(steps: number, pictures: number): void {
    this.drawing++;
    [this.frames, this.guesses, this.total, this.at, this.ended] = [[], [], steps, 0, ""];
    this.picture = Math.min(this.picture, pictures - 1);
    if (this.pictures.querySelectorAll("canvas:not(.overlay)").length !== pictures) this.lay_out(pictures);
    clearInterval(this.timer);
    Object.assign(this.slider, { max: `${steps}`, disabled: true });
    this.play.disabled = true;
    for (const row of ["far", "guess"] as const) this.rows[row].replaceChildren(...this.thumbnails(row));
    this.light();
  }

  /** The next frame: one image per picture. */
  push(images: Float32Array): void {
    const follows = this.at >= this.frames.length - 1; // nobody has gone back
    this.frames.push(each(images));
    this.slider.disabled = false;
    this.move(follows ? this.frames.length - 1 : this.at);
    this.draw_thumbnails("far");
  }

  /** The guesses of the picture that is looked at, one per step. */
  set_guesses(guesses: Float32Array[]): void {
    this.guesses = guesses;
    this.draw_thumbnails("guess");
    this.move(this.at);
  }

  finish(said: string): void {
    this.ended = said;
    this.play.disabled = false;
    this.move(this.at);
  }

  /** Show all frames once more, one after the other. */
  private replay(): void {
    clearInterval(this.timer);
    this.move(0);
    this.timer = window.setInterval(
      () => {
        this.move(this.at + 1);
        if (this.at >= this.total) clearInterval(this.timer);
      },
      Math.min(200, 3000 / this.total),
    );
  }

  move(at: number): void {
    if (!this.frames.length) return;
    this.at = Math.max(0, Math.min(at, this.frames.length - 1));
    const canvases = this.pictures.querySelectorAll<HTMLCanvasElement>("canvas:not(.overlay)");
    const guess = this.row === "guess" && this.guesses[Math.max(0, this.at - 1)];
    canvases.forEach((canvas, i) => show(canvas, i === this.picture && guess ? guess : this.frames[this.at][i]));
    this.slider.value = `${this.at}`;
    this.slider.setAttribute("aria-valuetext", this.caption_text());
    this.caption.textContent = this.caption_text();
    this.mark();
    this.onmove(this.at);
  }

  /** Let the places of the picture glow that look at a word: 16 weights, the largest of which are 1, or nothing. */
  light(weights?: number[]): void {
    this.overlay.hidden = !weights;
    if (weights) glow(this.overlay, weights);
  }

  /** The picture that is looked at, at the frame that is shown. */
  get current(): Float32Array | undefined {
    return this.frames[this.at]?.[this.picture];
  }

  get finished(): Float32Array[] {
    return this.frames.at(-1) ?? [];
  }

  describe(name: string): void {
    this.name = name;
    this.label();
  }

  private lay_out(pictures: number): void {
    const cells = Array.from({ length: pictures }, (_, i) => {
      const canvas = canvas_of(32, 32);
      canvas.setAttribute("role", "img");
      const cell = make(
        pictures > 1 ? "button" : "div",
        { class: "cell", ...(pictures > 1 && { type: "button" }) },
        canvas,
      );
      if (pictures > 1) cell.addEventListener("click", () => this.choose(i));
      return cell;
    });
    this.pictures.style.setProperty("--columns", `${Math.ceil(Math.sqrt(pictures))}`);
    this.pictures.replaceChildren(...cells);
    this.place();
  }

  private choose(picture: number): void {
    this.picture = picture;
    this.place();
    this.onchoose(picture);
    this.move(this.at);
    this.draw_thumbnails("far");
  }

  private place(): void {
    const cells = [...this.pictures.children];
    cells[this.picture].append(this.overlay);
    if (cells.length > 1) cells.forEach((cell, i) => cell.setAttribute("aria-pressed", `${i === this.picture}`));
    this.label();
  }

  private label(): void {
    this.pictures.querySelectorAll("canvas:not(.overlay)").forEach((canvas, i, all) => {
      canvas.setAttribute("aria-label", all.length > 1 ? `${this.name}, picture ${i + 1} of ${all.length}` : this.name);
    });
  }

  private caption_text(): string {
    if (this.at === this.total) return this.ended || "The last step";
    if (this.at === 0) return this.first;
    return `After step ${this.at} of ${this.total}`;
  }

  /** The frame that a thumbnail stands for. */
  private frame_of(thumbnail: number): number {
    const shown = Math.min(this.total + 1, THUMBNAILS);
    return Math.round((thumbnail * this.total) / Math.max(1, shown - 1));
  }

  private thumbnails(row: keyof typeof ROWS): HTMLElement[] {
    return Array.from({ length: Math.min(this.total + 1, THUMBNAILS) }, (_, i) => {
      const thumbnail = make("div", { class: "thumb", "aria-hidden": "true" }, canvas_of(32, 32));
      thumbnail.addEventListener("click", () => {
        this.row = row;
        this.element.querySelectorAll<HTMLInputElement>("input[type=radio]")[row === "far" ? 0 : 1].checked = true;
        this.move(this.frame_of(i));
      });
      return thumbnail;
    });
  }

  private draw_thumbnails(row: keyof typeof ROWS): void {
    [...this.rows[row].children].forEach((thumbnail, i) => {
      const frame = this.frame_of(i);
      const image = row === "far" ? this.frames[frame]?.[this.picture] : this.guesses[frame - 1];
      thumbnail.classList.toggle("filled", !!image);
      if (image) show(thumbnail.querySelector("canvas")!, image);
    });
  }

  private mark(): void {
    for (const row of ["far", "guess"] as const) {
      const thumbnails = [...this.rows[row].children];
      const distances = thumbnails.map((_, i) => Math.abs(this.frame_of(i) - this.at));
      const nearest = distances.indexOf(Math.min(...distances));
      thumbnails.forEach((thumbnail, i) => thumbnail.classList.toggle("here", i === nearest && row === this.row));
    }
  }
}

/** Paint weights of 4 x 4 places, 0 to 1, as a glow with soft borders. */
export function glow(canvas: HTMLCanvasElement, weights: number[]): void {
  const data = new ImageData(4, 4);
  weights.forEach((weight, i) => {
    data.data.set([255 * weight, 205 * weight, 20 + 50 * weight, 140 + 40 * weight], 4 * i);
  });
  const small = canvas_of(4, 4);
  small.getContext("2d")!.putImageData(data, 0, 0);
  [canvas.width, canvas.height] = [32, 32];
  const pen = canvas.getContext("2d")!;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, 32, 32);
}
