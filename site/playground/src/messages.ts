// What the page and the worker say to each other.

import type { Remarks } from "./captions.ts";
import type { Token } from "./tokens.ts";

/** The settings that come with the model, from model.json. */
export interface Model {
  format: number;
  tinyldm: string;
  prediction_type: string;
  alphas_cumprod: number[];
  sampler: string;
  steps: number;
  guidance: number;
  guidance_below: number;
  guidance_rescale: number;
  known_tokens: number[];
  start: number;
  end: number;
  words: string[];
  inks: Record<string, [number, number, number]>;
  backgrounds: Record<string, [number, number, number]>;
  figures: Record<string, unknown>;
  files: Record<string, number>;
}

/** What is to be drawn. Pictures are (3, 32, 32) in [-1, 1], masks (32, 32) of 0 and 1, latents (4, 8, 8). */
export interface Drawing {
  prompts: string[];
  negative: string;
  steps: number;
  guidance: number;
  sampler: string;
  seed: number;
  noise?: Float32Array;
  from?: { image: Float32Array; strength: number; mask?: Float32Array };
  preview?: boolean;
}

/** A step of a drawing, of which index -1 is its beginning, with x only; the arrays hold all pictures in turn. */
export interface Step {
  index: number;
  t: number;
  steps: number;
  x: Float32Array;
  x0: Float32Array;
  plain: Float32Array; // the estimate of x0 from the prompt alone
  without: Float32Array | null; // and from the negative prompt; null where there was no guidance
  attention: Float32Array; // (pictures, 16, 77), mean over heads and layers
  images: Float32Array | null; // x decoded
}

/** A prompt as the machine reads it. */
export interface Reading extends Remarks {
  tokens: Token[];
}

export interface Guess {
  noisy: Float32Array;
  x0: Float32Array;
  noise: Float32Array;
}

export interface Tasks {
  load: { give: undefined; get: Model };
  read: { give: { prompt: string; negative: boolean }; get: Reading };
  draw: { give: Drawing; get: Float32Array };
  decode: { give: Float32Array; get: Float32Array };
  encode: { give: Float32Array; get: Float32Array };
  guess: { give: { latents: Float32Array; noise: Float32Array; t: number; prompt: string }; get: Guess };
  use_gpu: { give: undefined; get: { processor: number; card: number } };
}
export type Task = keyof Tasks;

export type ToWorker =
  { [T in Task]: { id: number; task: T; give: Tasks[T]["give"] } }[Task] | { id: number; stop: true };

export interface Progress {
  loaded: number;
  total: number;
}
export type FromWorker =
  | { id: number; got: unknown }
  | { id: number; step: Step }
  | { id: number; progress: Progress }
  | { id: number; stopped: true }
  | { id: number; error: string };
