// What all views share: the machine, the settings, and running one drawing at a time into a film.

import type { Film } from "./film.ts";
import { type Machine, STOPPED } from "./machine.ts";
import type { Drawing, Model, Reading, Step } from "./messages.ts";
import { each } from "./pictures.ts";
import { concat } from "./sampler.ts";
import type { Settings } from "./state.ts";

export const LATENT = 256; // numbers in the latents of one picture

/** Those of one picture in a batch. */
export function latents_of(batch: Float32Array, picture: number): Float32Array {
  return batch.subarray(picture * LATENT, (picture + 1) * LATENT);
}

export interface View {
  /** Called when the view is opened, and when a setting has changed while it is open. */
  refresh: () => void;
}

export class Playground {
  private stop: (() => void) | null = null;

  constructor(
    readonly machine: Machine,
    readonly model: Model,
    public settings: Settings,
    /** Told aloud to people who do not see the page. */
    readonly say: (text: string) => void,
    readonly fail: (error: unknown) => void,
    /** Keep some settings, and bring the page and its link up to date. */
    readonly change: (some: Partial<Settings>) => void,
  ) {}

  /** The drawing that the settings ask for. */
  drawing(some: Partial<Drawing> = {}): Drawing {
    const { prompt, avoid, seed, steps, guidance, sampler, count } = this.settings;
    const prompts = Array<string>(count).fill(prompt);
    return { prompts, negative: avoid, seed, steps, guidance, sampler, preview: true, ...some };
  }

  /** Draw into a film, instead of whatever is being drawn; the finished images, or null if this one was stopped. */
  async draw(
    drawing: Drawing,
    film: Film,
    { begin, step }: { begin?: (x: Float32Array) => void; step?: (step: Step) => void } = {},
  ): Promise<Float32Array | null> {
    this.halt();
    const since = performance.now();
    const steps: Step[] = [];
    const { result, stop } = this.machine.give("draw", drawing, {
      step: (arrived) => {
        if (arrived.index < 0) {
          film.start(arrived.steps, drawing.prompts.length);
          begin?.(arrived.x);
        } else {
          steps.push(arrived);
          step?.(arrived);
        }
        film.push(arrived.images!);
      },
    });
    this.stop = stop;
    try {
      const images = await result;
      const seconds = ((performance.now() - since) / 1000).toFixed(1);
      film.finish(`Finished: ${steps.length} ${steps.length === 1 ? "step" : "steps"} in ${seconds} seconds`);
      this.say(`Finished: ${drawing.prompts[0] || "a digit left to chance"}`);
      await this.decode_guesses(film, steps);
      return images;
    } catch (error) {
      if (error !== STOPPED) this.fail(error);
      return null;
    } finally {
      if (this.stop === stop) this.stop = null;
    }
  }

  /** What each step expected of the picture that is looked at, for the second row of its film. */
  async decode_guesses(film: Film, steps: Step[]): Promise<void> {
    const drawing = film.drawing;
    const guesses = await this.decode(
      steps.map((step) => step.x0),
      film.picture,
    );
    if (drawing === film.drawing) film.set_guesses(guesses);
  }

  /** The pictures that some latents become, those of one picture in each batch. */
  async decode(batches: Float32Array[], picture: number): Promise<Float32Array[]> {
    if (!batches.length) return [];
    return each(await this.machine.ask("decode", concat(...batches.map((batch) => latents_of(batch, picture)))));
  }

  /** Stop what is being drawn. */
  halt(): void {
    this.stop?.();
    this.stop = null;
  }

  read(prompt: string, negative = false): Promise<Reading> {
    return this.machine.ask("read", { prompt, negative });
  }
}
