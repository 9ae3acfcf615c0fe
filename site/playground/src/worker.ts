// The machine itself: the model's four networks, run by onnxruntime away from the page, which never has to wait.

import * as ort from "onnxruntime-web/wasm";
import gpu_url from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url";
import wasm_url from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { remarks, shorten } from "./captions.ts";
import { fetch_whole, gpu_bytes, total_bytes } from "./download.ts";
import type { Drawing, FromWorker, Guess, Model, Reading, Step, ToWorker } from "./messages.ts";
import { randn } from "./noise.ts";
import {
  add_noise,
  concat,
  denoiser,
  guide,
  keep_known,
  round,
  sample,
  timesteps,
  to_noise,
  to_x0,
} from "./sampler.ts";
import { MAX_TOKENS, Vocabulary } from "./tokens.ts";

const LATENTS = [4, 8, 8];
const IMAGE = [3, 32, 32];
const SIZE = 4 * 8 * 8; // of one picture's latents
const NETWORKS = ["text", "decoder", "unet", "encoder"] as const;

let model: Model;
let vocabulary: Vocabulary;
type Networks = Record<(typeof NETWORKS)[number], Promise<ort.InferenceSession>>;
let networks = {} as Networks; // each starts when it has come
let attention: Float32Array; // of the last call of the UNet
let prediction: Float32Array;
const stopped = new Set<number>();
let queue: Promise<unknown> = Promise.resolve(); // one task at a time; reading a prompt does not wait

onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if ("stop" in data) return void stopped.add(data.id);
  if (data.task === "read") return void answer(data);
  queue = queue.then(() => answer(data));
};

async function answer(data: Exclude<ToWorker, { stop: true }>): Promise<void> {
  const { id } = data;
  try {
    if (stopped.has(id)) return say({ id, stopped: true });
    say({ id, got: await perform(data) });
  } catch (error) {
    say(error === STOPPED ? { id, stopped: true } : { id, error: explain(error) });
  } finally {
    stopped.delete(id);
  }
}

function perform(data: Exclude<ToWorker, { stop: true }>): unknown {
  switch (data.task) {
    case "load":
      return load(data.id);
    case "read":
      return read(data.give.prompt, data.give.negative);
    case "draw":
      return draw(data.id, data.give);
    case "decode":
      return decode(data.give);
    case "encode":
      return encode(data.give);
    case "guess":
      return guess(data.give);
    case "use_gpu":
      return use_gpu(data.id);
  }
}

const STOPPED = Symbol("stopped");
const say = (message: FromWorker): void => postMessage(message);

function explain(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const memory = error instanceof RangeError || /memory|alloc/i.test(text);
  return memory ? "There is not enough memory left for the model. Close other tabs, then load this page again." : text;
}

// ---------------------------------------------------------------- tasks

async function load(id: number): Promise<Model> {
  const get = await fetch_whole("model/model.json", () => {}, true);
  model = JSON.parse(new TextDecoder().decode(get));
  if (model.format !== 1) throw new Error(`These model files have format ${model.format}; this page reads format 1.`);
  const total = total_bytes(model.files);
  const loaded = new Map<string, number>();
  const whole = (url: string): Promise<Uint8Array> =>
    fetch_whole(url, (bytes) => {
      loaded.set(url, bytes);
      say({ id, progress: { loaded: [...loaded.values()].reduce((sum, part) => sum + part, 0), total } });
    });
  const merges = whole("merges.txt");
  const runtime = whole(wasm_url).then((bytes) => {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = bytes.buffer as ArrayBuffer;
    ort.env.logLevel = "error";
  });
  for (const name of NETWORKS) {
    networks[name] = Promise.all([whole(`model/${name}.onnx`), runtime]).then(([graph]) => {
      return ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
    });
    networks[name].catch(() => {}); // told below, and of the encoder, without which the first picture does, later
  }
  vocabulary = new Vocabulary(new TextDecoder().decode(await merges), model.known_tokens, model.start, model.end);
  await Promise.all([networks.text, networks.unet, networks.decoder]);
  return model;
}

/** Fetch the runtime for graphics cards, and go on with it if it answers the same in less time; both times in ms. */
async function use_gpu(id: number): Promise<{ processor: number; card: number }> {
  const bytes = await fetch_whole(gpu_url, (loaded) => say({ id, progress: { loaded, total: gpu_bytes() } }));
  const gpu = await import("onnxruntime-web/webgpu");
  gpu.env.wasm.numThreads = 1;
  gpu.env.wasm.wasmBinary = bytes.buffer as ArrayBuffer;
  const old = networks;
  const started: [string, Promise<ort.InferenceSession>][] = [];
  for (const name of NETWORKS) {
    const graph = await fetch_whole(`model/${name}.onnx`, () => {});
    const options = { executionProviders: ["webgpu"], logSeverityLevel: 3 as const };
    started.push([name, Promise.resolve(await gpu.InferenceSession.create(graph, options))]);
  }
  const context = await embed(["seven", "seven"]);
  const before = await time_step(context);
  networks = Object.fromEntries(started) as Networks;
  const after = await time_step(context).catch((error: unknown) => {
    networks = old;
    throw error;
  });
  const worst = before.answer.reduce((largest, value, i) => Math.max(largest, Math.abs(value - after.answer[i])), 0);
  if (!(worst < 1e-3) || after.ms >= before.ms) networks = old;
  if (!(worst < 1e-3)) throw new Error("The graphics card answers otherwise than it should; the processor goes on.");
  return { processor: before.ms, card: after.ms };
}

/** What the UNet answers for two pictures of noise, and the fastest of some calls in milliseconds. */
async function time_step(context: Float32Array): Promise<{ answer: Float32Array; ms: number }> {
  let [answer, ms] = [new Float32Array(), Infinity];
  for (let call = 0; call < 5; call++) {
    const since = performance.now();
    answer = (await unet(randn(0, 2 * SIZE), 500, context)).slice();
    ms = Math.min(ms, performance.now() - since);
  }
  return { answer, ms };
}

function read(prompt: string, negative: boolean): Reading {
  const text = prompt.toWellFormed();
  const tokens = vocabulary.encode(text);
  const said = remarks(text, vocabulary, negative);
  const room = MAX_TOKENS - 2;
  if (tokens.length > room) {
    const lost = vocabulary.decode(tokens.slice(room, room + MAX_TOKENS)).trim();
    said.clauses.push(`prompt cut after ${room} tokens; not read: “${shorten(lost)}”`);
  }
  return { ...said, tokens: tokens.slice(0, room) };
}

async function draw(id: number, drawing: Drawing): Promise<Float32Array> {
  const { alphas_cumprod: alphas, guidance_below, guidance_rescale } = model;
  const { steps, guidance, prompts, from } = drawing;
  const pictures = prompts.length;
  const [context, negative] = [await embed(prompts), await embed(prompts.map(() => drawing.negative))];
  const below = drawing.negative ? alphas.length : guidance_below; // avoid it from the first step
  const predict = guide(unet, context, negative, guidance, below, guidance_rescale);
  let denoise = denoiser(predict, alphas);
  let x = drawing.noise ?? randn(drawing.seed, pictures * SIZE);
  let start = 0;
  let keep = (images: Float32Array): Float32Array => images;
  if (from) {
    const known = repeat(await encode(from.image), pictures);
    start = steps - round(from.strength * steps);
    if (start === steps) return finish_at_once(id, known, drawing);
    x = add_noise(known, x, alphas[timesteps(alphas.length, steps)[start]]);
    if (from.mask) {
      denoise = keep_known(denoise, known, repeat(latent_mask(from.mask), pictures));
      keep = (images) => images.map((value, i) => (from.mask![i % 1024] ? value : from.image[i % from.image.length]));
    }
  }
  if (drawing.preview)
    say({ id, step: { index: -1, t: 0, steps: steps - start, x, images: keep(await decode(x)) } as Step });
  for await (const step of sample(denoise, alphas, x, steps, drawing.sampler, start)) {
    const before = x;
    x = step.x;
    const images = drawing.preview ? keep(await decode(x)) : null;
    await turn();
    if (stopped.has(id)) throw STOPPED;
    say({ id, step: { ...step, steps: steps - start, ...look_inside(before, step.t, pictures), images } as Step });
  }
  return keep(await decode(x));
}

/** Strength 0: no noise, nothing to remove. */
async function finish_at_once(id: number, known: Float32Array, drawing: Drawing): Promise<Float32Array> {
  const images = await decode(known);
  if (drawing.preview) say({ id, step: { index: -1, t: 0, steps: 0, x: known, images } as Step });
  return images;
}

/** What the UNet has just answered: attention, and the estimates with and without the prompt. */
function look_inside(x: Float32Array, t: number, pictures: number): Pick<Step, "attention" | "plain" | "without"> {
  const guided = prediction.length > x.length;
  const estimate = (v: Float32Array): Float32Array => to_x0(v, x, model.alphas_cumprod[t]);
  const half = prediction.length - x.length;
  return {
    attention: attention.slice(-pictures * 16 * MAX_TOKENS), // with guidance, the prompts' half comes last
    plain: estimate(prediction.subarray(half)),
    without: guided ? estimate(prediction.subarray(0, half)) : null,
  };
}

async function guess({
  latents,
  noise,
  t,
  prompt,
}: {
  latents: Float32Array;
  noise: Float32Array;
  t: number;
  prompt: string;
}): Promise<Guess> {
  const a = model.alphas_cumprod[t];
  const noisy = add_noise(latents, noise, a);
  const v = await unet(noisy, t, await embed([prompt]));
  return { noisy, x0: to_x0(v, noisy, a), noise: to_noise(v, noisy, a) };
}

// ---------------------------------------------------------------- networks

async function embed(prompts: string[]): Promise<Float32Array> {
  const rows = prompts.flatMap((prompt) => vocabulary.rows_of(prompt.toWellFormed())).map(BigInt);
  const feeds = { rows: new ort.Tensor("int64", BigInt64Array.from(rows), [prompts.length, MAX_TOKENS]) };
  return (await (await networks.text).run(feeds)).context.data as Float32Array;
}

async function unet(x: Float32Array, t: number, context: Float32Array): Promise<Float32Array> {
  const batch = x.length / SIZE;
  const answer = await (
    await networks.unet
  ).run({
    x: new ort.Tensor("float32", x, [batch, ...LATENTS]),
    t: new ort.Tensor("int64", new BigInt64Array(batch).fill(BigInt(t)), [batch]),
    context: new ort.Tensor("float32", context, [batch, MAX_TOKENS, context.length / batch / MAX_TOKENS]),
  });
  attention = over_layers(answer.attention.data as Float32Array, answer.attention.dims[1], batch);
  prediction = answer.prediction.data as Float32Array;
  return prediction;
}

/** The mean over the layers: (batch, layers, 16, 77) -> (batch, 16, 77). */
function over_layers(weights: Float32Array, layers: number, batch: number): Float32Array {
  const size = 16 * MAX_TOKENS;
  return Float32Array.from({ length: batch * size }, (_, i) => {
    const [picture, at] = [Math.floor(i / size), i % size];
    let sum = 0;
    for (let layer = 0; layer < layers; layer++) sum += weights[(picture * layers + layer) * size + at];
    return sum / layers;
  });
}

async function decode(latents: Float32Array): Promise<Float32Array> {
  const feeds = { latents: new ort.Tensor("float32", latents, [latents.length / SIZE, ...LATENTS]) };
  const images = (await (await networks.decoder).run(feeds)).images.data as Float32Array;
  return images.map((value) => Math.min(1, Math.max(-1, value)));
}

async function encode(image: Float32Array): Promise<Float32Array> {
  const feeds = { images: new ort.Tensor("float32", image, [1, ...IMAGE]) };
  return (await (await networks.encoder).run(feeds)).latents.data as Float32Array;
}

// ---------------------------------------------------------------- numbers

/** A latent is redrawn if any of its 4 x 4 pixels is: (32, 32) -> (4, 8, 8). */
function latent_mask(mask: Float32Array): Float32Array {
  const small = new Float32Array(64);
  mask.forEach((value, i) => {
    const at = 8 * Math.floor(i / 128) + Math.floor((i % 32) / 4);
    small[at] = Math.max(small[at], value);
  });
  return repeat(small, 4);
}

const repeat = (part: Float32Array, times: number): Float32Array => concat(...Array(times).fill(part));

/** Let messages in: without this, a drawing could not be stopped. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => (port1.close(), resolve());
    port2.postMessage(null);
  });
}
