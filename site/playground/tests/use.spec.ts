// The page as a person uses it: with a mouse, a finger or the keyboard alone, on a phone, and without a network.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { expect, type Page, test } from "@playwright/test";
import { difference, drawn, open, pixels } from "./page.ts";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let asked: string[]; // every address that the page asked for

test.beforeEach(({ page, baseURL }) => {
  asked = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => expect.soft(error.message, "an error on the page").toBe(""));
  page.on("console", (message) => message.type() === "error" && expect.soft(message.text()).toBe(""));
  expect(baseURL).toBeTruthy();
});

test.afterEach(async ({ baseURL, context }) => {
  expect(
    asked.filter((url) => !url.startsWith(baseURL!) && !url.startsWith("blob:") && !url.startsWith("data:")),
  ).toEqual([]);
  expect(await context.cookies()).toEqual([]);
});

test("a prompt typed while the model is fetched is the one that is drawn", async ({ page }) => {
  let go = (): void => {};
  const wait = new Promise<void>((resolve) => (go = resolve));
  await page.route("**/unet.onnx*", async (route) => (await wait, route.continue()));
  await page.goto("./");
  await page.getByLabel("Your prompt").fill("an orange nine");
  await page.getByLabel("Your prompt").press("Enter");
  go();
  await drawn(page);
  await expect(page.locator("#python")).toHaveText("tinyldm generate 'an orange nine' --seed 0");
});

test("a prompt is typed, completed and drawn; what cannot be drawn is said", async ({ page }) => {
  await open(page);
  const before = await pixels(page);
  const prompt = page.getByLabel("Your prompt");
  await prompt.fill("");
  await prompt.pressSequentially("a pur");
  await expect(page.getByRole("option", { name: "purple", exact: true })).toBeVisible();
  await prompt.press("ArrowDown");
  await prompt.press("Enter");
  await expect(prompt).toHaveValue(/^a pur(ple|e|plish)$/);
  await prompt.fill("a purple cosmic 2");
  await expect(page.locator("#remark")).toHaveText("no effect: cosmic (never seen in training)");
  await expect(page.locator("#mirror mark")).toHaveText(["cosmic"]);
  await prompt.press("Enter");
  await drawn(page);
  expect(difference(await pixels(page), before)).toBeGreaterThan(100);
  await expect(page.locator(".inside .tile .word").first()).toHaveText("a");
  await expect(page.getByRole("button", { name: "cosmic 18304, unknown" })).toBeVisible();
});

test("the film is scrubbed, and what is inside follows", async ({ page }) => {
  await open(page);
  const end = await pixels(page);
  const slider = page.locator("#draw .scrub input");
  const channel = page.locator(".inside .tiles.four canvas").first();
  const grey = (): Promise<number[]> =>
    channel.evaluate((c: HTMLCanvasElement) => [...c.getContext("2d")!.getImageData(0, 0, 8, 8).data]);
  const channels_at_end = await grey();
  await page.locator("h1").click(); // no field has the focus
  await page.keyboard.press("ArrowLeft");
  await expect(page.locator("#draw figcaption")).toHaveText("After step 11 of 12");
  await slider.fill("0");
  await expect(page.locator("#draw figcaption")).toHaveText("Nothing but noise");
  expect(difference(await pixels(page), end)).toBeGreaterThan(100);
  expect(difference(await grey(), channels_at_end)).toBeGreaterThan(30);
  await slider.fill("6");
  await expect(page.locator("#draw .thumbs").first().locator(".filled")).toHaveCount(13);
  await expect(page.locator("#draw .thumbs").last().locator(".filled")).toHaveCount(12);
  const far = await pixels(page);
  await page.getByLabel("Its guess of the end").first().check();
  expect(difference(await pixels(page), far)).toBeGreaterThan(50);
  await expect(page.locator(".inside .tiles.three .tile:not(.empty)")).toHaveCount(3, { timeout: 15_000 });
});

test("words glow over the picture, and are left out in turn", async ({ page }) => {
  await open(page, "#prompt=a+red+seven");
  const overlay = page.locator("#film .overlay");
  await expect(overlay).toBeHidden();
  await page.getByRole("button", { name: /^seven/ }).click();
  await expect(overlay).toBeVisible();
  await expect(page.getByRole("button", { name: /^seven/ })).toHaveAttribute("aria-pressed", "true");
  await page.getByRole("button", { name: "Leave out each word" }).click();
  await expect(page.getByText("without “seven”")).toBeVisible();
  await expect(page.locator(".inside section").last().locator(".tile:not(.empty)")).toHaveCount(3, { timeout: 20_000 });
});

test("settings are kept in the link, and a link brings the picture back", async ({ page, context }) => {
  await open(page);
  await page.locator("summary").click();
  await page.getByLabel("Seed").fill("42");
  await page.getByLabel("Seed").press("Enter");
  await page.getByLabel("Sampler").selectOption("ddim");
  await page.getByLabel("Avoid").fill("thick");
  await page.getByLabel("Avoid").press("Tab");
  await page.getByLabel("Steps how often").fill("9");
  await drawn(page);
  await expect(page.locator("#python")).toHaveText(
    "tinyldm generate 'a thick red seven leaning left' --seed 42 --steps 9 --sampler ddim --negative 'thick'",
  );
  const picture = await pixels(page);
  const other = await context.newPage();
  await other.goto(page.url());
  await drawn(other);
  expect(difference(await pixels(other), picture)).toBe(0);
  await expect(other.getByLabel("Sampler")).toHaveValue("ddim");
  await other.close();
});

test("four pictures are drawn, and each can be looked into", async ({ page }) => {
  await open(page, "#count=4&steps=6");
  const cells = page.locator("#film .cell");
  await expect(cells).toHaveCount(4);
  const thumbnail = page.locator("#draw .thumbs").first().locator("canvas").last();
  const first = await thumbnail.evaluate((canvas: HTMLCanvasElement) => canvas.toDataURL());
  await cells.nth(2).click();
  await expect(cells.nth(2)).toHaveAttribute("aria-pressed", "true");
  expect(await thumbnail.evaluate((canvas: HTMLCanvasElement) => canvas.toDataURL())).not.toBe(first);
});

test("two prompts, guidances and numbers of steps are compared under the same noise", async ({ page }) => {
  await open(page, "#view=compare");
  await drawn(page, 1);
  const [left, right] = [await pixels(page, 0), await pixels(page, 1)];
  expect(difference(left, right)).toBeGreaterThan(100);
  const slider = page.locator("#compare .scrub input").first();
  await slider.focus();
  await slider.fill("0");
  await expect(page.locator("#compare figcaption")).toHaveText(["Nothing but noise", "Nothing but noise"]);
  expect(difference(await pixels(page, 0), await pixels(page, 1))).toBe(0); // the same noise
  await page.getByLabel("two numbers of steps").check();
  await drawn(page, 0);
  await expect(page.locator("#compare h2")).toHaveText(["12 steps", "3 steps"]);
  await drawn(page, 1);
  await page.getByLabel("two guidance scales").check();
  await expect(page.locator("#compare h2")).toHaveText(["guidance 3", "guidance 1"]);
  await drawn(page, 1);
});

test("a drawing on the pad is drawn anew, or only where a mask is painted", async ({ page }) => {
  await open(page, "#view=sketch&prompt=a+blue+three&strength=0.5");
  const before = await pixels(page);
  await stroke(page, [
    [0.3, 0.2],
    [0.7, 0.25],
    [0.5, 0.5],
    [0.7, 0.75],
    [0.3, 0.8],
  ]);
  await changed(page, before);
  const anew = await pixels(page);
  await page.getByLabel("Paint a mask").check();
  await stroke(page, [
    [0.2, 0.8],
    [0.8, 0.8],
  ]);
  await changed(page, anew);
  const levels = (selector: string): Promise<number[]> =>
    page
      .locator(selector)
      .first()
      .evaluate((canvas: HTMLCanvasElement) => {
        const cell = canvas.width / 32; // the upper part, each pixel the mean of a cell
        const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, 16 * cell);
        const sums = Array<number>(32 * 16 * 4).fill(0);
        data.forEach((level, i) => {
          const [x, y] = [Math.floor(((i >> 2) % canvas.width) / cell), Math.floor((i >> 2) / canvas.width / cell)];
          sums[4 * (32 * y + x) + (i % 4)] += level / cell ** 2;
        });
        return sums;
      });
  expect(difference(await levels("#sketch .pictures canvas"), await levels(".pad canvas"))).toBeLessThan(1); // as drawn
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByLabel("Strength").fill("0");
  await expect(page.locator("#sketch figcaption")).toContainText("Finished: 0 steps");
});

test("a picture file is opened, whatever its size", async ({ page }) => {
  await open(page, "#view=sketch&prompt=seven");
  const before = await pixels(page);
  const png = await page.evaluate(() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 700, height: 300 });
    const pen = canvas.getContext("2d")!;
    pen.fillStyle = "#10a030";
    pen.fillRect(0, 0, 700, 300);
    return canvas.toDataURL().split(",")[1];
  });
  await page
    .getByLabel("Or open a picture")
    .setInputFiles({ name: "green.png", mimeType: "image/png", buffer: Buffer.from(png, "base64") });
  await changed(page, before);
  await expect(page.locator("#sketch .remark")).toBeEmpty();
});

test("noise is added to a digit and guessed", async ({ page }) => {
  await page.goto("./#view=guess");
  const verdict = page.locator(".verdict");
  await expect(verdict).toContainText("% of the noise found", { timeout: 30_000 });
  await page.getByLabel("How much noise").fill("999");
  await expect(verdict).toContainText("The digit is gone");
  await page.getByLabel("How much noise").fill("60");
  await expect(verdict).toContainText("With so little");
  await page.getByRole("button", { name: "a red 9 on black" }).click();
  await expect(page.getByText("“a red 9 on black”")).toBeVisible();
});

test("the keyboard alone is enough", async ({ page }) => {
  await open(page);
  await page.keyboard.press("Tab");
  await expect(page.getByText("Skip to the drawing")).toBeFocused();
  const reach = async (name: string): Promise<void> => {
    for (let i = 0; i < 60; i++) {
      const focused = await page.evaluate(() => {
        const element = document.activeElement as HTMLInputElement;
        return element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent ?? "";
      });
      if (focused.includes(name)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`"${name}" is not reached with the tab key`);
  };
  await reach("Your prompt");
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type("a green two");
  await page.keyboard.press("Enter");
  await drawn(page);
  await reach("Step by step");
  await page.keyboard.press("Home");
  await expect(page.locator("#draw figcaption")).toHaveText("Nothing but noise");
  await page.locator("#tab-draw").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await drawn(page);
  const before = await pixels(page);
  await reach("Drawing pad");
  await page.keyboard.press("Space");
  for (let i = 0; i < 9; i++) await page.keyboard.press("ArrowDown");
  for (let i = 0; i < 9; i++) await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Space");
  await changed(page, before);
});

test("the second visit needs no network", async ({ page, context }) => {
  await open(page);
  const picture = await pixels(page);
  await page.evaluate(async () => void (await navigator.serviceWorker.ready));
  await context.setOffline(true);
  await page.reload();
  await drawn(page);
  expect(difference(await pixels(page), picture)).toBe(0);
  await page.locator("#tab-guess").click();
  await expect(page.locator(".verdict")).toContainText("% of the noise found");
  asked = asked.filter((url) => !url.endsWith("/sw.js"));
});

for (const scheme of ["light", "dark"] as const) {
  test(`axe finds no fault, ${scheme}, on a phone and a large screen`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await open(page, "#steps=4&prompt=a+cosmic+seven");
    await page.locator("summary").click();
    for (const [view, width] of [
      ["draw", 1280],
      ["draw", 360],
      ["compare", 1280],
      ["sketch", 360],
      ["guess", 360],
    ] as const) {
      await page.setViewportSize({ width, height: 800 });
      await page.locator(`#tab-${view}`).click();
      if (view === "guess") await expect(page.locator(".verdict")).not.toBeEmpty();
      else await drawn(page, view === "compare" ? 1 : 0);
      expect(
        await page.evaluate(() => document.documentElement.scrollWidth),
        `${view} at ${width}`,
      ).toBeLessThanOrEqual(width);
      const faults = await page.evaluate(async (source) => {
        if (!("axe" in globalThis)) Function(source)();
        const { violations } = await (
          globalThis as unknown as {
            axe: { run: () => Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
          }
        ).axe.run();
        return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
      }, axe);
      expect(faults, `${view} at ${width}`).toEqual([]);
    }
  });
}

/** Draw on the pad with the mouse; places are shares of its side. */
async function stroke(page: Page, places: number[][]): Promise<void> {
  const box = (await page.locator(".pad").boundingBox())!;
  const at = ([x, y]: number[]): [number, number] => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(places[0]));
  await page.mouse.down();
  for (const place of places.slice(1)) await page.mouse.move(...at(place), { steps: 4 });
  await page.mouse.up();
}

/** Wait for a finished picture that differs from an earlier one. */
async function changed(page: Page, before: number[]): Promise<void> {
  await expect.poll(async () => difference(await pixels(page), before), { timeout: 20_000 }).toBeGreaterThan(20);
  await drawn(page);
}
