// Equal to Python: tokens, remarks, noise, latents, pictures; and the digits of 200 prompts, judged in Python.

import { writeFileSync } from "node:fs";
import { expect, test } from "@playwright/test";
import { difference, floats, open, python, read_json, temporary_file } from "./page.ts";

interface Drawn {
  prompt: string;
  seed: number;
  count: number;
  masked: boolean;
  steps?: number;
  guidance?: number;
  sampler?: string;
  negative?: string;
  strength?: number;
  noise: string;
  latents: string;
  levels: number[];
}
interface Reference {
  picture: string;
  mask: string;
  drawings: Drawn[];
  texts: { text: string; ids: number[]; said: string[]; cut: string[] }[];
  captions: { caption: string; digit: number }[];
}

let reference: Reference;

test.beforeAll(() => {
  test.setTimeout(180_000);
  const file = temporary_file("reference.json");
  python(file);
  reference = read_json<Reference>(file);
});

test("every text has Python's tokens, and what is said of it is Python's sentence", async ({ page }) => {
  await open(page);
  const texts = reference.texts.map(({ text }) => text);
  const read = await page.evaluate(async (prompts) => {
    const answers = [];
    for (const prompt of prompts) answers.push(await tinyldm.read(prompt));
    return answers;
  }, texts);
  for (const [i, { text, ids, said, cut }] of reference.texts.entries()) {
    const own = [49406, ...read[i].tokens.map(({ id }) => id), 49407];
    expect(own.concat(Array(77 - own.length).fill(49407)), text).toEqual(ids);
    const expected = [...said, ...cut].join("; ");
    const hint = "what to avoid goes into “Avoid”, in the settings";
    const in_python = "what to avoid goes into the negative prompt: --negative, negative_prompt=";
    const quotes = (line: string): string => line.replace(/(not read: ).(.*).$/, "$1$2").replace(hint, in_python);
    expect(quotes(read[i].clauses.join("; ")), text).toBe(quotes(expected));
  }
});

test("drawings have Python's noise, latents and pictures", async ({ page }) => {
  test.setTimeout(180_000);
  await open(page);
  const [image, mask] = [floats(reference.picture), floats(reference.mask)];
  let [worst_latents, worst_level] = [0, 0];
  for (const drawing of reference.drawings) {
    const noise = floats(drawing.noise);
    const [own, given] = await page.evaluate(
      async ({ drawing, noise, image, mask }) => {
        const { prompt, count, seed, masked, strength, negative } = drawing;
        const from = {
          image: Float32Array.from(image),
          strength: strength ?? 1,
          ...(masked && { mask: Float32Array.from(mask) }),
        };
        const asked = tinyldm.drawing({
          prompts: Array(count).fill(prompt),
          negative: negative ?? "",
          seed,
          steps: drawing.steps ?? tinyldm.model.steps,
          guidance: drawing.guidance ?? tinyldm.model.guidance,
          sampler: drawing.sampler ?? tinyldm.model.sampler,
          preview: false,
          ...(strength !== undefined && { from }),
        });
        const draw = async (noise?: Float32Array) => {
          let latents: number[] = [];
          const step = ({ x }: { x: Float32Array }) => (latents = [...x]);
          const images = await tinyldm.machine.give("draw", { ...asked, noise }, { step }).result;
          return { latents, levels: Array.from(images, (value) => Math.round((value + 1) * 127.5)) };
        };
        return [await draw(), await draw(Float32Array.from(noise))];
      },
      { drawing, noise, image, mask },
    );
    const name = JSON.stringify({ ...drawing, noise: "", latents: "", levels: "" });
    worst_latents = Math.max(worst_latents, difference(given.latents, floats(drawing.latents)));
    worst_level = Math.max(worst_level, difference(given.levels, drawing.levels));
    expect(difference(given.latents, floats(drawing.latents)), name).toBeLessThan(1e-3);
    expect(difference(given.levels, drawing.levels), name).toBeLessThanOrEqual(2);
    expect(difference(own.latents, given.latents), `noise of seed ${drawing.seed}`).toBeLessThan(1e-3);
    if (drawing.masked) expect(kept_exactly(given.levels, image, mask), name).toBe(true);
  }
  console.log(
    `${reference.drawings.length} drawings:`,
    `latents differ by ${worst_latents.toExponential(1)}, levels by ${worst_level}`,
  );
});

test("a saved picture is the picture of Python, each pixel a square", async ({ page }) => {
  const { seed, levels } = reference.drawings[1];
  await open(page, `#prompt=${encodeURIComponent(reference.drawings[1].prompt)}&seed=${seed}`);
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save picture" }).click();
  expect((await download).suggestedFilename()).toBe("7-blue-on-white.png");
  const file = temporary_file("saved.png");
  await (await download).saveAs(file);
  const saved = JSON.parse(python("--png", file)) as number[];
  expect(difference(saved, levels)).toBeLessThanOrEqual(2);
});

test("98 % of 200 prompts show their digit", async ({ page }) => {
  test.setTimeout(400_000);
  await open(page);
  const drawn: { digit: number; levels: number[] }[] = [];
  for (let first = 0; first < reference.captions.length; first += 8) {
    const part = reference.captions.slice(first, first + 8);
    const levels = await page.evaluate(
      async ([prompts, seed]) => {
        const images = await tinyldm.machine.ask("draw", tinyldm.drawing({ prompts, seed, preview: false }));
        return Array.from(images, (value) => Math.round((value + 1) * 127.5));
      },
      [part.map(({ caption }) => caption), first] as const,
    );
    part.forEach(({ digit }, i) => drawn.push({ digit, levels: levels.slice(i * 3072, (i + 1) * 3072) }));
  }
  const file = temporary_file("drawn.json");
  writeFileSync(file, JSON.stringify(drawn));
  const { right, of } = JSON.parse(python("--judge", file)) as { right: number; of: number };
  console.log(`${right} of ${of} digits right`);
  expect(of).toBe(200);
  expect(right / of).toBeGreaterThanOrEqual(0.98);
});

/** Whether the pixels outside of the mask are those of the picture. */
function kept_exactly(levels: number[], image: number[], mask: number[]): boolean {
  return levels.every((level, i) => mask[i % 1024] === 1 || level === Math.round((image[i] + 1) * 127.5));
}
