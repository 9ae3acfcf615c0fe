// What no one should type, link or open: the page stays as it is, but for a line that says so.

import { expect, type Page, test } from "@playwright/test";
import { drawn, open } from "./page.ts";

const PROMPTS: [string, string, RegExp][] = [
  ["10,000 characters", "red ".repeat(2500), /^prompt cut after 75 tokens; not read: “red/],
  ["emoji", "7 \u{1f600}\u{1f468}‍\u{1f469}‍\u{1f467} \u{1f1e9}\u{1f1ea}", /^no effect: \u{1f600}/u],
  ["a script", "<script>document.title='pwned'</script> seven", /^no effect: script, document, title/],
  ["an element with a handler", "<img src=x onerror=\"document.title='pwned'\"> 7", /^no effect: img, src/],
  ["right to left", "‮סבע seven ٧", /no effect: סבע/],
  ["nothing but space", " \t   　 ", /^no prompt: it draws whatever it likes$/],
  ["control characters", "se\u0000ven\u0007\u001b[31m 7", /7/],
  ["half a character", "\ud83d seven", /^$|no effect/],
  ["combining marks", `e${"\u0301".repeat(500)} 7`, /no effect|cut/],
  ["CLIP's own end", "<|endoftext|><|startoftext|> 7", /no effect: startoftext|no effect: endoftext/],
];

const LINKS: [string, string, RegExp][] = [
  ["NaN", "seed=NaN&steps=NaN&guidance=NaN&strength=NaN", /cannot be used \(seed, steps, guidance, strength\)/],
  ["infinity and beyond", "seed=1e99&steps=Infinity&guidance=-1&count=1000000", /\(seed, steps, guidance, count\)/],
  [
    "a script",
    "prompt=%3Cscript%3Edocument.title%3D'pwned'%3C%2Fscript%3E&view=%3Cscript%3E",
    /cannot be used \(view\)/,
  ],
  ["broken percent signs", "prompt=%E0%A4%A&seed=%", /cannot be used \(seed\)/],
  ["100,000 characters", `prompt=${"x".repeat(100_000)}`, /^$/],
  ["names of its own inside", "__proto__=1&constructor=2&toString=3&sampler=constructor", /cannot be used \(sampler\)/],
];

const FILES: [string, string, Buffer][] = [
  ["an empty file", "image/png", Buffer.alloc(0)],
  ["text that says it is a picture", "image/png", Buffer.from("this is not a picture")],
  ["half a PNG", "image/png", Buffer.from("89504e470d0a1a0a0000000d49484452000003e8000003e80802", "hex")],
  [
    "a drawing with a script",
    "image/svg+xml",
    Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'><script>document.title='pwned'</script></svg>"),
  ],
];

test.beforeEach(({ page }) => {
  page.on("pageerror", (error) => expect.soft(error.message, "an error on the page").toBe(""));
  page.on("dialog", (dialog) => expect.soft(dialog.message(), "a dialog").toBe(""));
});

test("ten prompts", async ({ page }) => {
  test.setTimeout(120_000);
  await open(page, "#steps=2");
  for (const [name, prompt, line] of PROMPTS) {
    await page.getByLabel("Your prompt").evaluate((input: HTMLInputElement, value) => {
      input.value = value;
      input.dispatchEvent(new Event("input"));
    }, prompt);
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    await expect(page.locator("#remark"), name).toHaveText(line);
    await drawn(page);
    await as_it_was(page, name);
  }
});

test("six links", async ({ page }) => {
  test.setTimeout(120_000);
  for (const [i, [name, hash, line]] of LINKS.entries()) {
    if (i === 0) await page.goto(`./#${hash}&steps=2`);
    else await page.evaluate((link) => (location.hash = link), `${hash}&steps=${2 + (i % 2)}`); // as if pasted
    await expect(page.locator("#trouble"), name).toHaveText(line, { timeout: 30_000 });
    await drawn(page);
    await as_it_was(page, name);
  }
});

test("four files that are no pictures", async ({ page }) => {
  await open(page, "#view=sketch&steps=2");
  for (const [name, mimeType, buffer] of FILES) {
    await page.getByLabel("Or open a picture").setInputFiles({ name: "file.png", mimeType, buffer });
    await expect(page.locator("#sketch .remark"), name).toHaveText(
      "This file is not a picture that this browser can read.",
    );
    await as_it_was(page, name);
  }
});

test("without WebAssembly there is a line and no blank page", async ({ page }) => {
  await page.addInitScript(() => Reflect.deleteProperty(globalThis, "WebAssembly"));
  await page.goto("./");
  await expect(page.getByRole("alert")).toContainText("WebAssembly switched off");
  await expect(page.locator("h1")).toBeVisible();
});

test("without the model's files there is a line and no blank page", async ({ page }) => {
  await page.route("**/unet.onnx*", (route) => route.fulfill({ status: 404 }));
  await page.goto("./");
  await expect(page.getByRole("alert")).toContainText("tinyldm export --to onnx");
});

test("with a file that is damaged there is a line and no blank page", async ({ page }) => {
  await page.route("**/unet.onnx*", (route) => route.fulfill({ body: Buffer.alloc(1000) }));
  await page.goto("./");
  await expect(page.getByRole("alert")).not.toBeEmpty({ timeout: 30_000 });
});

test("without enough memory there is a line and no blank page", async ({ page }) => {
  await page.addInitScript(() => {
    const works = globalThis.Worker;
    globalThis.Worker = class extends works {
      postMessage(message: { id: number }): void {
        const error = { data: { id: message.id, error: "There is not enough memory left for the model." } };
        setTimeout(() => this.onmessage?.call(this, error as MessageEvent));
      }
    };
  });
  await page.goto("./");
  await expect(page.getByRole("alert")).toContainText("not enough memory");
});

async function as_it_was(page: Page, name: string): Promise<void> {
  expect(await page.title(), name).toBe("tinyldm: type a prompt, watch noise become a picture");
  expect(await page.locator("script, img, iframe, object").count(), name).toBe(1); // the page's own script
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), name).toBeLessThanOrEqual(0);
}
