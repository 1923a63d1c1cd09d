/* Service worker. SETUP comes before this text: see ifeportal/web/install.py. Stores static files whose names have a
   content hash, and the offline page. Nothing that depends on the user is stored; API, pages and other sites pass by. */

/* global SETUP */

const CACHE = `ifeportal-${SETUP.version}`;

self.addEventListener("install", (event) => {
  event.waitUntil(fill().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(removeOld().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  const address = new URL(request.url);
  if (request.mode === "navigate") event.respondWith(fetch(request).catch(() => caches.match(SETUP.offline)));
  else if (address.origin === location.origin && SETUP.hashed && address.pathname.startsWith(SETUP.static)) event.respondWith(stored(request));
  else if (SETUP.files.includes(address.pathname)) event.respondWith(fetch(request).catch(() => caches.match(request)));
});

async function fill() {
  const cache = await caches.open(CACHE);
  const fresh = [SETUP.offline, ...SETUP.files].map((name) => new Request(name, { cache: "reload", credentials: "omit" }));
  await cache.addAll(fresh);
}

async function removeOld() {
  const old = (await caches.keys()).filter((name) => name.startsWith("ifeportal-") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

async function stored(request) {
  const found = await caches.match(request);
  if (found) return found;
  const response = await fetch(request);
  if (response.ok && response.type === "basic") {
    const cache = await caches.open(CACHE);
    await cache.put(request, response.clone());
  }
  return response;
}
