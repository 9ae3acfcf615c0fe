// All settings, and the link that holds them: what differs from the model's own settings, after the # of the address.

import { SAMPLERS } from "./sampler.ts";

export const VIEWS = ["draw", "compare", "sketch", "guess"] as const;
export const DIFFERENCES = ["prompt", "guidance", "steps"] as const;
export const MAX_STEPS = 50;
export const MAX_GUIDANCE = 15;
export const MAX_SEED = 2 ** 32 - 1;
export const COUNTS = [1, 4, 9];
const MAX_PROMPT = 2000;

export interface Settings {
  view: (typeof VIEWS)[number];
  prompt: string;
  avoid: string;
  seed: number;
  steps: number;
  guidance: number;
  sampler: string;
  count: number;
  by: (typeof DIFFERENCES)[number]; // what differs in the second picture of a comparison
  other_prompt: string;
  other_guidance: number;
  other_steps: number;
  strength: number;
  digit: number;
  noise: number;
}

export const DEFAULTS: Settings = {
  view: "draw",
  prompt: "a thick red seven leaning left",
  avoid: "",
  seed: 0,
  steps: 12,
  guidance: 3,
  sampler: "dpm++",
  count: 1,
  by: "prompt",
  other_prompt: "a thin blue seven leaning right",
  other_guidance: 1,
  other_steps: 3,
  strength: 0.6,
  digit: 3,
  noise: 500,
};

type Check = (value: string) => unknown; // undefined: it cannot be used

const between =
  (low: number, high: number, whole: boolean): Check =>
  (value) => {
    const number = value.trim() === "" ? NaN : Number(value);
    if (!Number.isFinite(number) || (whole && !Number.isInteger(number))) return undefined;
    return number >= low && number <= high ? number : undefined;
  };
const one_of =
  (choices: readonly (string | number)[]): Check =>
  (value) =>
    choices.find((choice) => `${choice}` === value);
const text: Check = (value) => value.slice(0, MAX_PROMPT);

const CHECKS: Record<keyof Settings, Check> = {
  view: one_of(VIEWS),
  prompt: text,
  avoid: text,
  seed: between(0, MAX_SEED, true),
  steps: between(1, MAX_STEPS, true),
  guidance: between(0, MAX_GUIDANCE, false),
  sampler: one_of(Object.keys(SAMPLERS)),
  count: one_of(COUNTS),
  by: one_of(DIFFERENCES),
  other_prompt: text,
  other_guidance: between(0, MAX_GUIDANCE, false),
  other_steps: between(1, MAX_STEPS, true),
  strength: between(0, 1, false),
  digit: between(0, 9, true),
  noise: between(0, 999, true),
};
const KEYS = Object.keys(DEFAULTS) as (keyof Settings)[];

/** The settings that a link asks for, and a line about what in it could not be used. */
export function from_link(hash: string): { settings: Settings; remark: string } {
  const settings = { ...DEFAULTS };
  const refused: string[] = [];
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  for (const key of KEYS) {
    const value = given.get(key);
    if (value === null) continue;
    const checked = CHECKS[key](value);
    if (checked === undefined) refused.push(key.replace("_", " "));
    else Object.assign(settings, { [key]: checked });
  }
  const remark = refused.length
    ? `This link has a value that cannot be used (${refused.join(", ")}); the usual one is taken.`
    : "";
  return { settings, remark };
}

export function to_link(settings: Settings): string {
  const changed = KEYS.filter((key) => settings[key] !== DEFAULTS[key]).map((key) => [key, `${settings[key]}`]);
  return changed.length ? `#${new URLSearchParams(changed)}` : "#";
}
