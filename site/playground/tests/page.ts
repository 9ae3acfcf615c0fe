// What the tests share: opening the page, Python beside it, numbers in between.

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, type Page } from "@playwright/test";
import type { Playground } from "../src/playground.ts";

declare global {
  var tinyldm: Playground; // the page's
}

const root = join(import.meta.dirname, "../../..");

/** Open the page and wait until its first picture is drawn. */
export async function open(page: Page, hash = ""): Promise<void> {
  await page.goto(`./${hash}`);
  await drawn(page);
}

/** Wait until the film of the view that is open has ended. */
export async function drawn(page: Page, which = 0): Promise<void> {
  await expect(page.locator(".film figcaption:visible").nth(which)).toContainText("Finished", { timeout: 30_000 });
}

/** The pixels of the picture in a film. */
export function pixels(page: Page, which = 0): Promise<number[]> {
  return page
    .locator(".film .pictures:visible")
    .nth(which)
    .locator("canvas:not(.overlay)")
    .first()
    .evaluate((canvas: HTMLCanvasElement) => [...canvas.getContext("2d")!.getImageData(0, 0, 32, 32).data]);
}

export function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i])), 0);
}

/** Run tests/reference.py; what it prints, or what it wrote into the file if it was given only that. */
export function python(...args: string[]): string {
  const own = join(root, ".venv/bin/python");
  const program = process.env.PYTHON ?? (existsSync(own) ? own : "python3");
  const env = { ...process.env, PYTHONPATH: root, OMP_NUM_THREADS: "1" };
  return execFileSync(program, [join(import.meta.dirname, "reference.py"), ...args], { env, encoding: "utf8" });
}

export function temporary_file(name: string): string {
  return join(mkdtempSync(join(tmpdir(), "tinyldm-")), name);
}

export const read_json = <T>(file: string): T => JSON.parse(readFileSync(file, "utf8")) as T;

export function floats(packed: string): number[] {
  const bytes = Buffer.from(packed, "base64");
  return [...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))];
}
