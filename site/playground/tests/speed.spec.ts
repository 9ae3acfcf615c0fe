// How quick it is; run before the other tests, which go two by two. The aim for the first picture is 3 seconds on two cores
// that do nothing else, where it takes 2.4 to 3.7; the limit leaves room for a machine that does.

import { expect, test } from "@playwright/test";
import { drawn, open } from "./page.ts";

test.describe.configure({ retries: 2 }); // something else may wake up

const LIMIT = 5000;

test("the first picture comes soon after the model, steps within 150 ms", async ({ page }) => {
  await page.goto("./");
  await expect(page.getByText("Fetching the machine")).toBeVisible();
  await expect(page.getByRole("status").filter({ hasText: "Starting the machine" })).toBeVisible({ timeout: 30_000 });
  const since = Date.now();
  await drawn(page);
  const first = Date.now() - since;
  const times = await page.evaluate(async () => {
    const stamps: number[] = [];
    const step = (): void => void stamps.push(performance.now());
    await tinyldm.machine.give("draw", tinyldm.drawing({ prompts: ["a red three"], seed: 5 }), { step }).result;
    return stamps.slice(1).map((stamp, i) => stamp - stamps[i]);
  });
  const [fastest, median, slowest] = [0, times.length >> 1, times.length - 1].map(
    (i) => times.sort((a, b) => a - b)[i],
  );
  console.log(
    `first picture ${first} ms after the model;`,
    `a step ${[fastest, median, slowest].map((ms) => ms.toFixed(0)).join(", ")} ms`,
  );
  expect(first).toBeLessThan(LIMIT);
  expect(median).toBeLessThan(150);
});

test("the page answers while it draws", async ({ page }) => {
  await open(page);
  const longest = await page.evaluate(async () => {
    let [longest, last, began] = [0, performance.now(), false];
    tinyldm.change({ seed: 77 });
    for (;;) {
      const now = await new Promise<number>((resolve) => requestAnimationFrame(resolve));
      [longest, last] = [Math.max(longest, now - last), now];
      const finished = document.querySelector("#film figcaption")!.textContent!.startsWith("Finished");
      if (began && finished) return longest;
      began ||= !finished;
    }
  });
  expect(longest).toBeLessThan(200);
});
