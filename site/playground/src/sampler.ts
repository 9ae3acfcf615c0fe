// From noise to latents, to be read beside lesson 04: the names and equations are those of tinyldm/schedule.py,
// guidance.py and samplers.py, where each is explained. What differs: a batch is one Float32Array, (B, C, H, W) row by
// row, and networks answer with a promise. Noise always comes in as an argument, so that a test can give Python's.

export type Model = (x: Float32Array, t: number, context: Float32Array) => Promise<Float32Array>;
export type Predict = (x: Float32Array, t: number) => Promise<Float32Array>;
export type Denoiser = (x: Float32Array, t: number) => Promise<Float32Array>;

/** The state of a sampler after a step: the batch, and the estimate of the clean batch that the step used. */
export interface SampleStep {
  index: number;
  t: number;
  x: Float32Array;
  x0: Float32Array;
}

// ---------------------------------------------------------------- schedule: ᾱ_t, what is left of the image at step t

/** x_t = sqrt(ᾱ_t) x_0 + sqrt(1 - ᾱ_t) ε          (Ho et al. 2020, eq. 4) */
export function add_noise(x0: Float32Array, noise: Float32Array, a: number): Float32Array {
  return mix(Math.sqrt(a), x0, Math.sqrt(1 - a), noise);
}

/** The clean image that a prediction of v implies: x_0 = sqrt(ᾱ_t) x_t - sqrt(1 - ᾱ_t) v  (Salimans & Ho 2022) */
export function to_x0(prediction: Float32Array, x_t: Float32Array, a: number): Float32Array {
  return mix(Math.sqrt(a), x_t, -Math.sqrt(1 - a), prediction);
}

/** The noise that a prediction of v implies: ε = sqrt(ᾱ_t) v + sqrt(1 - ᾱ_t) x_t  (Salimans & Ho 2022) */
export function to_noise(prediction: Float32Array, x_t: Float32Array, a: number): Float32Array {
  return mix(Math.sqrt(a), prediction, Math.sqrt(1 - a), x_t);
}

/** Which steps of the schedule to visit, noisiest first, with spacing "trailing"  (Lin et al. 2023, table 2). */
export function timesteps(total: number, steps: number): number[] {
  const gap = total - (total - total / steps); // rounded as in Python: this decides ties
  return Array.from({ length: steps }, (_, i) => round(total - i * gap) - 1);
}

// ---------------------------------------------------------------- guidance: predictors and denoisers built from others

/**
 * Classifier-free guidance (Ho & Salimans 2022, eq. 6): go further in the direction in which the prompt points.
 *
 *     prediction = negative + guidance_scale * (prompt - negative)
 *
 * It applies to steps t < below; `rescale` gives a prediction back the standard deviation of the prompt's own.
 */
export function guide(
  model: Model,
  context: Float32Array,
  negative: Float32Array,
  guidance_scale: number,
  below: number,
  rescale: number,
): Predict {
  const both = concat(negative, context);
  return async (x, t) => {
    if (guidance_scale <= 1 || t >= below) return model(x, t, context);
    const predictions = await model(concat(x, x), t, both); // one call with a batch of 2 B
    const uncond = predictions.subarray(0, x.length);
    const cond = predictions.subarray(x.length);
    const guided = mix(1 - guidance_scale, uncond, guidance_scale, cond);
    const size = (x.length / context.length) * TEXT; // of one image
    for (let at = 0; at < x.length; at += size) {
      const image = guided.subarray(at, at + size);
      const ratio = std(cond.subarray(at, at + size)) / std(image);
      const factor = rescale * ratio + 1 - rescale; // Lin et al. 2023, eq. 15 and 16
      image.forEach((value, i) => (image[i] = value * factor));
    }
    return guided;
  };
}
const TEXT = 77 * 128; // numbers in one prompt's embeddings

/** Turn predictions of v into a denoiser: its best guess of the clean batch. */
export function denoiser(predict: Predict, alphas_cumprod: number[]): Denoiser {
  return async (x_t, t) => to_x0(await predict(x_t, t), x_t, alphas_cumprod[t]);
}

/** Inpainting: a denoiser that is given the true latents where the mask, of their shape, is 0. */
export function keep_known(denoise: Denoiser, known: Float32Array, mask: Float32Array): Denoiser {
  return async (x, t) => (await denoise(x, t)).map((value, i) => mask[i] * value + (1 - mask[i]) * known[i]);
}

// ---------------------------------------------------------------- samplers

type Sampler = (
  denoise: Denoiser,
  alphas_cumprod: number[],
  x: Float32Array,
  times: number[],
) => AsyncGenerator<SampleStep>;

/** Split x_t into image and noise, and recombine them with less noise  (Song et al. 2021, eq. 12, with η = 0). */
async function* ddim(...[denoise, alphas_cumprod, x, times]: Parameters<Sampler>): AsyncGenerator<SampleStep> {
  for (const [index, t, a, a_next] of walk(alphas_cumprod, times)) {
    const x0 = await denoise(x, t);
    const noise = mix(1 / Math.sqrt(1 - a), x, -Math.sqrt(a) / Math.sqrt(1 - a), x0);
    x = mix(Math.sqrt(a_next), x0, Math.sqrt(1 - a_next), noise);
    yield { index, t, x, x0 };
  }
}

/**
 * DPM-Solver++ (2M): the last two estimates show where x_0 is heading  (Lu et al. 2022, alg. 2, midpoint).
 *
 * Some steps are first order, which is DDIM: the first, which has no earlier estimate (after pure noise, the second,
 * too), and the last, which is infinitely long in λ = log(sqrt(ᾱ) / sqrt(1 - ᾱ)).
 */
async function* dpmpp_2m(...[denoise, alphas_cumprod, x, times]: Parameters<Sampler>): AsyncGenerator<SampleStep> {
  let x0_before: Float32Array | null = null;
  let h_before = Infinity;
  for (const [index, t, a, a_next] of walk(alphas_cumprod, times)) {
    const x0 = await denoise(x, t);
    const h = log_snr(a_next) - log_snr(a); // the length of this step in λ
    let guess = x0;
    if (x0_before && h < Infinity && h_before < Infinity) {
      const ahead = (0.5 * h) / h_before; // second order
      guess = mix(1 + ahead, x0, -ahead, x0_before);
    }
    x = mix(Math.sqrt((1 - a_next) / (1 - a)), x, -Math.sqrt(a_next) * (Math.exp(-h) - 1), guess);
    [x0_before, h_before] = [x0, h];
    yield { index, t, x, x0 };
  }
}

export const SAMPLERS: Record<string, Sampler> = { "dpm++": dpmpp_2m, ddim };

/**
 * Make latents out of noise, one `SampleStep` at a time; the last one's `x` is the result.
 *
 * `start` is how many of the first steps to skip, for image-to-image: `x` must then be noised to `times[start]`.
 */
export function sample(
  denoise: Denoiser,
  alphas_cumprod: number[],
  x: Float32Array,
  steps: number,
  sampler: string,
  start = 0,
): AsyncGenerator<SampleStep> {
  return SAMPLERS[sampler](denoise, alphas_cumprod, x, timesteps(alphas_cumprod.length, steps).slice(start));
}

/** (index, t, ᾱ at t, ᾱ where the step ends) for each step; the last one ends without noise. */
function* walk(alphas_cumprod: number[], times: number[]): Generator<[number, number, number, number]> {
  for (const [index, t] of times.entries()) {
    const a_next = index + 1 < times.length ? alphas_cumprod[times[index + 1]] : 1;
    yield [index, t, alphas_cumprod[t], a_next];
  }
}

/** λ = log(sqrt(ᾱ) / sqrt(1 - ᾱ)): -∞ for pure noise, ∞ without noise. */
const log_snr = (a: number): number => 0.5 * (Math.log(a) - Math.log(1 - a));

// ---------------------------------------------------------------- numbers

/** p * u + q * v, number by number. */
function mix(p: number, u: Float32Array, q: number, v: Float32Array): Float32Array {
  return u.map((value, i) => p * value + q * v[i]);
}

export function concat(...parts: Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

/** Standard deviation, with n - 1 as in torch. */
function std(values: Float32Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}

/** To the nearest integer, halves to the even one, as Python rounds. */
export function round(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}
