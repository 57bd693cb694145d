// The service worker: keeps the site on the reader's device, in one version and checked by digest.
//
// The build writes FILES in front of this script (src/attention_docs/offline.py). So each deployment
// has another script, and a browser that sees another script starts the new version beside the old
// one. While a version is not whole, every answer comes from the network, and what passes is kept.
// Once it is whole, every answer comes from the device, until a newer version takes its place.
//
// It takes it in the store, where it removes the files of the version before. A browser lets an old
// worker go when it likes: when no page asks it for anything, or half a minute after one did. So the
// old worker stays until its pages are closed, and answers with the newer version's files.
import { fileOf, storeOf, type ToPage, type ToWorker } from "./offline-protocol";

/** All that the site holds, in the order in which it is fetched: its digest (sha256) and bytes. */
declare const FILES: Readonly<Record<string, readonly [digest: string, bytes: number]>>;

interface ExtendableEvent extends Event {
  waitUntil(done: Promise<unknown>): void;
}

interface FetchEvent extends ExtendableEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

interface Client {
  readonly url: string;
  postMessage(message: ToPage): void;
}

interface Scope {
  readonly registration: ServiceWorkerRegistration;
  readonly clients: {
    claim(): Promise<void>;
    matchAll(options: { type: "window"; includeUncontrolled: true }): Promise<Client[]>;
  };
  skipWaiting(): Promise<void>;
  addEventListener(type: "install" | "activate", hear: (event: ExtendableEvent) => void): void;
  addEventListener(type: "fetch", hear: (event: FetchEvent) => void): void;
  addEventListener(
    type: "message",
    hear: (event: ExtendableEvent & { readonly data: ToWorker }) => void,
  ): void;
}

const scope = self as unknown as Scope;
const SITE = new URL(scope.registration.scope);
const STORE = storeOf(SITE);
const files = new Map(Object.entries(FILES));
const LANES = 4;

/** The server has another version of this file: it is not what this version holds. */
class Changed extends Error {}

// In the store, a file goes by its name and digest: versions share what they have in common.
const keyOf = (name: string, digest: string) => new URL(`${name}?sha256=${digest}`, SITE).href;
const keys = new Map([...files].map(([name, [digest]]) => [name, keyOf(name, digest)]));
/** Beside them, each version says how far it is: "whole", or "changed" if the server's is newer. */
const STATE = "?version=";
const ownState = new Promise<string>((resolve) => {
  void sha256(new TextEncoder().encode([...keys.values()].join("\n"))).then((digest) =>
    resolve(new URL(`${STATE}${digest}`, SITE).href),
  );
});

async function sha256(bytes: BufferSource): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function kept(key: string): Promise<Response | undefined> {
  return caches.match(key, { cacheName: STORE });
}

/** The file of this name, of whatever version is in the store. */
function keptByName(name: string): Promise<Response | undefined> {
  return caches.match(new URL(name, SITE), { cacheName: STORE, ignoreSearch: true });
}

async function state(): Promise<string> {
  return (await kept(await ownState))?.text() ?? "";
}

async function setState(text: "whole" | "changed"): Promise<void> {
  const store = await caches.open(STORE);
  await store.put(await ownState, new Response(text));
}

/** Tell whether another version is whole: readers may have its pages open. */
async function anotherIsWhole(): Promise<boolean> {
  const store = await caches.open(STORE);
  const own = await ownState;
  const others = (await store.keys(SITE, { ignoreSearch: true })).filter(({ url }) => url !== own);
  const states = await Promise.all(others.map(async (one) => (await store.match(one))?.text()));
  return states.includes("whole");
}

// --- the life of a version

scope.addEventListener("install", (event) => event.waitUntil(install()));
scope.addEventListener("activate", (event) => event.waitUntil(activate()));

/** If this fails, the browser keeps the version before, and tries again at a later visit. */
async function install(): Promise<void> {
  if (!(await anotherIsWhole())) await scope.skipWaiting();
  else if (!savesData()) await fill(() => {});
}

function savesData(): boolean {
  return (navigator as { connection?: { saveData?: boolean } }).connection?.saveData === true;
}

async function activate(): Promise<void> {
  await takePlace();
  await scope.clients.claim();
}

/** Remove from the store what is not of this version; pages of one that was whole load again. */
async function takePlace(): Promise<void> {
  const replaces = await anotherIsWhole();
  const store = await caches.open(STORE);
  const own = new Set([...keys.values(), await ownState]);
  const others = (await store.keys()).filter(({ url }) => !own.has(url));
  await Promise.all(others.map((request) => store.delete(request)));
  if (replaces) await tell({ kind: "replaced" });
}

async function tell(said: ToPage): Promise<void> {
  for (const client of await windows()) client.postMessage(said);
}

/** The open pages of this site: the host may have others. */
async function windows(): Promise<Client[]> {
  const all = await scope.clients.matchAll({ type: "window", includeUncontrolled: true });
  return all.filter((one) => fileOf(one.url, SITE) !== null);
}

scope.addEventListener("message", (event) => event.waitUntil(hear(event.data)));

async function hear(asked: ToWorker): Promise<void> {
  if (asked.kind === "keep") return keepAll();
  if (!(await anotherIsWhole())) return tell({ kind: "in use" });
  if (!asked.evenBesideOthers && !(await isLastPage())) return;
  // Where data is saved, this version is not whole, and the one before has nothing to answer with.
  await ((await state()) === "whole" ? takePlace() : scope.skipWaiting());
}

/** Tell whether one page is open: that before it may take a moment to go. */
async function isLastPage(): Promise<boolean> {
  for (let tries = 0; tries < 16; tries++) {
    if ((await windows()).length < 2) return true;
    await new Promise((passed) => setTimeout(passed, 300));
  }
  return false;
}

// --- fetching all of it

let filling: Promise<void> | undefined;

/** Fetch what is missing, and tell the pages how far it is. */
async function keepAll(): Promise<void> {
  const before = await state();
  if (before === "changed") return;
  if (before === "whole" || (await anotherIsWhole())) {
    return tell({ kind: "kept", bytes: 1, total: 1 });
  }
  filling ??= fill((bytes, total) => void tell({ kind: "kept", bytes, total }));
  try {
    await filling;
  } catch (error) {
    if (error instanceof Changed) await changed();
    // Otherwise the connection broke, or the disk is full. The next page goes on from here.
  } finally {
    filling = undefined;
  }
}

async function changed(): Promise<void> {
  await setState("changed");
  scope.registration.update().catch(() => {}); // at the next visit, then
}

async function fill(report: (bytes: number, total: number) => void): Promise<void> {
  const store = await caches.open(STORE);
  const there = new Set((await store.keys()).map((request) => request.url));
  const sizes = [...files.values()].map(([, bytes]) => bytes);
  const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
  const missing = [...files].filter(([name]) => !there.has(keys.get(name) ?? ""));
  let bytes = total - missing.reduce((sum, [, [, size]]) => sum + size, 0);
  const lane = async () => {
    for (let next = missing.shift(); next; next = missing.shift()) {
      const [name, [digest, size]] = next;
      try {
        await store.put(keyOf(name, digest), await bring(name, digest));
      } catch (error) {
        missing.length = 0; // the other lanes end too
        throw error;
      }
      bytes += size;
      if (bytes < total) report(bytes, total);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  await setState("whole");
  report(total, total);
}

/** Fetch one file: from what the browser has anyway, or else from the server. */
async function bring(name: string, digest: string): Promise<Response> {
  const url = new URL(name.replace(/(^|\/)index\.html$/, "$1"), SITE);
  for (const cache of ["default", "no-cache"] as const) {
    const response = await fetch(url, { cache, priority: "low" });
    if (response.status >= 400 && response.status !== 404) {
      throw new Error(`${name}: error ${response.status}`);
    }
    const copy = await checked(response, digest);
    if (copy) return copy;
  }
  throw new Changed(name);
}

/** Return a copy of `response`, or null if it is not the file with this digest. */
async function checked(response: Response, digest: string): Promise<Response | null> {
  const bytes = await response.arrayBuffer();
  if ((await sha256(bytes)) !== digest) return null;
  const type = response.headers.get("Content-Type");
  return new Response(bytes, type === null ? {} : { headers: { "Content-Type": type } });
}

// --- answering

scope.addEventListener("fetch", (event) => {
  const { request } = event;
  const name = request.method === "GET" ? fileOf(request.url, SITE) : null;
  if (name === null) return;
  const file = files.get(name);
  if (file) event.respondWith(answer(event, name, file[0]));
  else if (replaced || request.mode === "navigate") event.respondWith(unknown(request, name));
});

/** Whether another version has taken the place of this one, as far as this worker has noticed. */
let replaced = false;

async function noticeIfReplaced(now: string): Promise<boolean> {
  replaced = now === "" && (await anotherIsWhole());
  return replaced;
}

async function answer(event: FetchEvent, name: string, digest: string): Promise<Response> {
  const now = await state();
  if (now === "changed") return fetch(event.request);
  if (await noticeIfReplaced(now)) return (await keptByName(name)) ?? fetch(event.request);
  const key = keyOf(name, digest);
  const page = name.endsWith(".html");
  if (now === "whole" || !page) {
    const response = await kept(key);
    if (response) return response;
  }
  try {
    // What the browser has from an earlier visit may be of an earlier version.
    const response = await fetch(event.request.url, { cache: "no-cache" });
    if (response.status === 200) {
      const done = keep(key, digest, response.clone());
      // What a page of another version loads must not come from this one.
      if (page) await done;
      else event.waitUntil(done);
    }
    return response;
  } catch (error) {
    const response = await kept(key);
    if (response) return response;
    throw error;
  }
}

async function keep(key: string, digest: string, response: Response): Promise<void> {
  const copy = await checked(response, digest);
  if (!copy) await changed();
  // Unless the reader has removed the store.
  else if (await caches.has(STORE)) await (await caches.open(STORE)).put(key, copy);
}

/** A file that this version has not: perhaps the one after it has, or the server. */
async function unknown(request: Request, name: string): Promise<Response> {
  if (await noticeIfReplaced(await state())) {
    const response = await keptByName(name);
    if (response) return response;
  }
  try {
    return await fetch(request);
  } catch (error) {
    const url = new URL(request.url);
    if (files.has(`${name}/index.html`)) {
      url.pathname += "/";
      return Response.redirect(url.href);
    }
    const page = request.mode === "navigate" && (await keptByName("404.html"));
    if (!page) throw error;
    return new Response(page.body, { status: 404, headers: page.headers });
  }
}
