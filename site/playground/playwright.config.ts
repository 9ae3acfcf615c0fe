// One browser, the system's, on the built page; `make test-site` builds it first.

import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const browser = process.env.CHROMIUM ?? BROWSERS.find((path) => existsSync(path));
if (!browser) throw new Error(`no Chromium in ${BROWSERS.join(", ")}; say where it is: CHROMIUM=... make test-site`);

export default defineConfig({
  testDir: "tests",
  timeout: 60_000,
  workers: 2,
  projects: [
    { name: "speed", testMatch: "speed.spec.ts", fullyParallel: false, use: { trace: "off" } }, // which takes time itself
    { name: "use", testIgnore: "speed.spec.ts", dependencies: ["speed"] },
  ],
  forbidOnly: true,
  reporter: "list",
  use: {
    baseURL: "http://127.0.0.1:4173/",
    trace: "retain-on-failure",
    launchOptions: { executablePath: browser, args: ["--no-sandbox"] },
  },
  webServer: { command: "node tests/serve.mjs 4173", url: "http://127.0.0.1:4173/" },
});
