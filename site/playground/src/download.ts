// Files that the worker needs, each fetched once and kept for the next visit, also without a network.

declare const WASM_BYTES: number; // these four are set by vite.config.ts
declare const GPU_WASM_BYTES: number;
declare const MERGES_BYTES: number;
declare const VERSION: string;

/** How much there is to fetch, given the model's files and their sizes. */
export function total_bytes(files: Record<string, number>): number {
  return Object.values(files).reduce((sum, bytes) => sum + bytes, WASM_BYTES + MERGES_BYTES);
}

/** Size of the runtime for graphics cards. */
export const gpu_bytes = (): number => GPU_WASM_BYTES;

/**
 * A file's bytes, from the cache if it has been fetched before; `seen` is told how many have come so far.
 *
 * With `fresh`, the network is asked first, so that a new model is noticed.
 */
export async function fetch_whole(url: string, seen: (bytes: number) => void, fresh = false): Promise<Uint8Array> {
  const address = new URL(url, new URL("..", location.href));
  address.searchParams.set("v", VERSION);
  const cache = await opened_cache();
  const kept = fresh ? undefined : await cache?.match(address);
  const response = kept ?? (await fetch(address).catch(() => undefined)) ?? (await cache?.match(address));
  if (!response) throw new Error("The network is gone before all of the model had come. Load this page again.");
  if (!response.ok || /html/.test(response.headers.get("content-type") ?? "")) {
    throw new Error(
      `The model is not here (${url}): build it with "tinyldm export --to onnx site/playground/public/model".`,
    );
  }
  const bytes = await read_whole(response, seen);
  if (!kept)
    await cache
      ?.put(address, new Response(bytes.slice(), { headers: { "content-type": "application/octet-stream" } }))
      .catch(() => {});
  return bytes;
}

async function opened_cache(): Promise<Cache | undefined> {
  try {
    return await caches.open(`tinyldm-${VERSION}`); // not there without https, or when storage is forbidden
  } catch {
    return undefined;
  }
}

async function read_whole(response: Response, seen: (bytes: number) => void): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (const reader = response.body!.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    seen((length += value.length));
  }
  const whole = new Uint8Array(length);
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}
