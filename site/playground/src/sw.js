// The page again without a network: its own files are kept when it is first opened, the model by the page itself.

const { model, shell, files } = "SETTINGS"; // filled in when the page is built

self.addEventListener("install", (event) => {
  const keep = async () => (await caches.open(shell)).addAll(["./", ...files.map((file) => `./${file}`)]);
  event.waitUntil(keep().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const clean = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith("tinyldm-") && ![model, shell].includes(name));
    await Promise.all(old.map((name) => caches.delete(name)));
  };
  event.waitUntil(clean().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin) return;
  if (request.mode === "navigate") {
    event.respondWith(fetch(request).catch(() => caches.match(request, { ignoreSearch: true })));
  } else {
    event.respondWith(caches.match(request).then((kept) => kept ?? fetch(request)));
  }
});
