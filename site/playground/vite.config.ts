// Builds the page into dist/: CLIP's merges and the model's files beside it, and a service worker that knows them all.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const here = import.meta.dirname;
const MERGES = 49_408 - 512 - 2; // the vocabulary without single bytes, start and end
const vocabulary = join(here, "../../tinyldm/vocabulary/bpe_simple_vocab_16e6.txt.gz");
const merges = gunzipSync(readFileSync(vocabulary))
  .toString()
  .split("\n")
  .slice(1, MERGES + 1)
  .join("\n");
const wasm = join(here, "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm");
const model = join(here, "public/model");
const LATER = /\.(onnx|wasm|txt)$|model\.json$/; // large or seldom: the page itself fetches and keeps these

if (!existsSync(join(model, "model.json"))) {
  console.error("site/playground/public/model is missing: tinyldm export --to onnx site/playground/public/model");
  process.exit(1);
}

/** Changes whenever the model, the vocabulary or the program that runs them does. */
const version = createHash("sha256").update(merges).update(readFileSync(wasm));
for (const file of readdirSync(model).sort()) version.update(readFileSync(join(model, file)));
const VERSION = version.digest("hex").slice(0, 12);

function extras(): Plugin {
  return {
    name: "extras",
    apply: "build",
    writeBundle: ({ dir }) => {
      writeFileSync(join(dir!, "merges.txt"), merges);
      const files = readdirSync(dir!, { recursive: true, encoding: "utf8" }).filter((file) =>
        statSync(join(dir!, file)).isFile(),
      );
      const shell = files
        .map((file) => file.replaceAll("\\", "/"))
        .filter((file) => !LATER.test(file) && file !== "sw.js")
        .sort();
      const pages = createHash("sha256");
      for (const file of shell) pages.update(readFileSync(join(dir!, file)));
      const settings = {
        model: `tinyldm-${VERSION}`,
        shell: `tinyldm-page-${pages.digest("hex").slice(0, 12)}`,
        files: shell,
      };
      const worker = readFileSync(join(here, "src/sw.js"), "utf8").replace('"SETTINGS"', JSON.stringify(settings));
      writeFileSync(join(dir!, "sw.js"), worker);
    },
  };
}

export default defineConfig({
  base: "./",
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 2000 },
  worker: { format: "es" },
  define: {
    WASM_BYTES: statSync(wasm).size,
    GPU_WASM_BYTES: statSync(wasm.replace(".wasm", ".asyncify.wasm")).size,
    MERGES_BYTES: Buffer.byteLength(merges),
    VERSION: JSON.stringify(VERSION),
  },
  plugins: [extras()],
});
