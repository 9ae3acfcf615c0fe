// The pad: a picture to draw on, with a mask that can be painted over it; mouse, finger, pen or keyboard.

import { make } from "./dom.ts";
import { canvas_of, from_canvas, mask_of } from "./pictures.ts";

export type Colour = [number, number, number]; // in [0, 1]

const SIZE = 320; // ten times a picture's side
const PEN = { picture: 34, mask: 56 }; // widths of the two pens
const KEY_STEP = 10;
const KEYS: Record<string, [number, number]> = {
  ArrowLeft: [-KEY_STEP, 0],
  ArrowRight: [KEY_STEP, 0],
  ArrowUp: [0, -KEY_STEP],
  ArrowDown: [0, KEY_STEP],
};
const REMEMBERED = 20; // changes that can be taken back
const MASK_COLOUR = "#ff4fa3";

type Place = [number, number]; // in pixels of the pad

export class Pad {
  readonly element: HTMLElement;
  ink: Colour;
  private picture = canvas_of(SIZE, SIZE);
  private mask = canvas_of(SIZE, SIZE); // lies above, and hears mouse and keyboard for both
  private cursor = make("div", { class: "cursor", hidden: true }); // where the keyboard's pen is
  private masking = false;
  private is_example = true;
  private last: Place | null = null; // of the stroke that is being drawn with a pointer
  private at: Place = [SIZE / 2, SIZE / 2]; // of the keyboard's pen
  private down = false;
  private before: [ImageData, ImageData][] = [];

  /** `changed` is called when a stroke has ended, and when something is opened, cleared or taken back. */
  constructor(
    ink: Colour,
    private background: Colour,
    private changed: () => void,
  ) {
    this.ink = ink;
    this.picture.setAttribute("aria-hidden", "true");
    this.mask.className = "mask";
    this.mask.tabIndex = 0;
    this.mask.setAttribute("role", "application");
    this.mask.setAttribute(
      "aria-label",
      "Drawing pad. Arrow keys move the pen, the space bar puts it down or lifts it.",
    );
    this.element = make("div", { class: "pad" }, this.picture, this.mask, this.cursor);
    this.wipe();
    this.hear_pointer();
    this.hear_keys();
  }

  /** What is drawn, (3, 32, 32) in [-1, 1]. */
  get image(): Float32Array {
    return from_canvas(this.picture);
  }

  /** Where the mask is painted, (32, 32) of 0 and 1; nothing if it is painted nowhere. */
  get painted(): Float32Array | undefined {
    const mask = mask_of(this.mask);
    return mask.some((value) => value > 0) ? mask : undefined;
  }

  /** Draw without being told to: an example, which the first stroke wipes away. */
  example(strokes: Place[][]): void {
    for (const stroke of strokes) stroke.slice(1).forEach((to, i) => this.line(stroke[i], to));
    this.is_example = true;
  }

  paint_mask(masking: boolean): void {
    this.masking = masking;
  }

  /** Show another picture, without a mask. */
  put(source: HTMLCanvasElement): void {
    this.begin();
    const pen = pen_of(this.picture);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(source, 0, 0, SIZE, SIZE);
    pen_of(this.mask).clearRect(0, 0, SIZE, SIZE);
    this.changed();
  }

  /** An empty sheet, perhaps of another colour. */
  clear(background = this.background): void {
    this.background = background;
    this.begin();
    this.wipe();
    this.changed();
  }

  undo(): void {
    const layers = this.before.pop();
    if (!layers) return;
    pen_of(this.picture).putImageData(layers[0], 0, 0);
    pen_of(this.mask).putImageData(layers[1], 0, 0);
    this.changed();
  }

  private hear_pointer(): void {
    this.mask.addEventListener("pointerdown", (event) => {
      this.mask.setPointerCapture(event.pointerId);
      this.begin_stroke();
      this.last = this.place_of(event);
      this.line(this.last, this.last);
    });
    this.mask.addEventListener("pointermove", (event) => {
      for (const moved of this.last ? (event.getCoalescedEvents?.() ?? [event]) : []) {
        const next = this.place_of(moved);
        this.line(this.last!, next);
        this.last = next;
      }
    });
    const lift = (): void => {
      if (this.last) this.changed();
      this.last = null;
    };
    this.mask.addEventListener("pointerup", lift);
    this.mask.addEventListener("pointercancel", lift);
  }

  private hear_keys(): void {
    this.mask.addEventListener("keydown", (event) => {
      if (event.key === " ") this.put_down(!this.down);
      else if (KEYS[event.key]) this.step(KEYS[event.key]);
      else return;
      event.preventDefault();
      this.show_cursor();
    });
    this.mask.addEventListener("focus", () => this.show_cursor());
    this.mask.addEventListener("blur", () => {
      this.cursor.hidden = true;
      if (this.down) this.put_down(false);
    });
  }

  private put_down(down: boolean): void {
    this.down = down;
    if (!down) return this.changed();
    this.begin_stroke();
    this.line(this.at, this.at);
  }

  private step([x, y]: Place): void {
    const inside = (value: number): number => Math.max(0, Math.min(SIZE, value));
    const next: Place = [inside(this.at[0] + x), inside(this.at[1] + y)];
    if (this.down) this.line(this.at, next);
    this.at = next;
  }

  private show_cursor(): void {
    this.cursor.hidden = !this.mask.matches(":focus-visible");
    this.cursor.classList.toggle("down", this.down);
    this.cursor.style.left = `${(100 * this.at[0]) / SIZE}%`;
    this.cursor.style.top = `${(100 * this.at[1]) / SIZE}%`;
  }

  private place_of(event: PointerEvent): Place {
    const box = this.mask.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
  }

  private begin_stroke(): void {
    const wipes = this.is_example && !this.masking;
    this.begin();
    if (wipes) this.wipe();
  }

  /** Remember how it was, for `undo`. */
  private begin(): void {
    const layers = [this.picture, this.mask].map((layer) => pen_of(layer).getImageData(0, 0, SIZE, SIZE));
    this.before = [...this.before.slice(1 - REMEMBERED), layers as [ImageData, ImageData]];
    this.is_example = false;
  }

  private wipe(): void {
    const pen = pen_of(this.picture);
    pen.fillStyle = css(this.background);
    pen.fillRect(0, 0, SIZE, SIZE);
    pen_of(this.mask).clearRect(0, 0, SIZE, SIZE);
  }

  private line([x, y]: Place, [to_x, to_y]: Place): void {
    const pen = pen_of(this.masking ? this.mask : this.picture);
    Object.assign(pen, { lineCap: "round", lineJoin: "round", lineWidth: this.masking ? PEN.mask : PEN.picture });
    pen.strokeStyle = this.masking ? MASK_COLOUR : css(this.ink);
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(to_x + 0.01, to_y); // a line of no length would not be drawn
    pen.stroke();
  }
}

function pen_of(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  return canvas.getContext("2d", { willReadFrequently: true })!;
}

export const css = (colour: Colour): string => `rgb(${colour.map((level) => Math.round(255 * level)).join(" ")})`;
