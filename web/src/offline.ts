// Keeps the site for reading offline, by the service worker, and says so in the footer.
import { memoryStoreOf, storeOf, type ToPage, type ToWorker } from "./offline-protocol";
import { SITE } from "./plan";

const WORKER = new URL("service-worker.js", SITE);
const CHOICE = "offline"; // in localStorage: "yes" or "no", once the reader has said so
/** Milliseconds from the load of the first page: it comes before what is fetched for later. */
const REST = 10_000;

let registration: ServiceWorkerRegistration | undefined;
/** The worker that waits, if the version in use is its own. */
let inUse: MessageEventSource | null = null;
/** How much of the site is kept, of 1. */
let share = 0;
let started: Promise<void> | undefined;

/** Call this for every page that is shown. Nothing is fetched while the first one is new. */
export async function keepOffline(): Promise<void> {
  // A built page names the worker of its site. Under `make serve`, which has none, pages do not.
  if (!document.querySelector('meta[name="service-worker"]')) return;
  if (!("serviceWorker" in navigator)) return;
  show();
  registration ??= await existing();
  // Between two pages a newer version comes as no surprise, if no other page is open.
  if (registration?.waiting)
    ask(registration.waiting, { kind: "take over", evenBesideOthers: false });
  started ??= listen();
  await started;
  if (registration && wanted()) await keep();
}

async function existing(): Promise<ServiceWorkerRegistration | undefined> {
  const found = await navigator.serviceWorker.getRegistration(SITE);
  return found?.scope === SITE.href ? found : undefined; // not that of a folder above
}

// From the start: what is said to a page that is loading is delivered once, when it has loaded.
navigator.serviceWorker?.addEventListener("message", hear);

async function listen(): Promise<void> {
  navigator.serviceWorker.addEventListener("controllerchange", () => wanted() && void keep());
  if (choice() === "no") return;
  if (document.readyState !== "complete") {
    await new Promise((loaded) => addEventListener("load", loaded, { once: true }));
  }
  await new Promise((rested) => setTimeout(rested, REST));
  if (choice() !== "no") await start();
}

async function start(): Promise<void> {
  try {
    registration ??= await navigator.serviceWorker.register(WORKER);
  } catch {
    return; // no connection, or a browser that allows none here
  }
  const follow = () => registration?.installing?.addEventListener("statechange", show);
  follow(); // another page may have found it
  registration.addEventListener("updatefound", follow);
  void forgetIfGone(registration);
  await navigator.serviceWorker.ready;
}

function hear({ data, source }: MessageEvent<ToPage>): void {
  if (data.kind === "replaced") location.reload();
  else if (data.kind === "in use") inUse = source;
  else share = data.bytes / data.total;
  show();
}

function ask(worker: ServiceWorker, asked: ToWorker): void {
  worker.postMessage(asked);
}

async function keep(): Promise<void> {
  const { active } = await navigator.serviceWorker.ready;
  if (active) ask(active, { kind: "keep" });
}

/** A site that has a worker no more takes back the one that it had. */
async function forgetIfGone(old: ServiceWorkerRegistration): Promise<void> {
  try {
    await old.update();
  } catch {
    const answer = await fetch(WORKER, { method: "HEAD", cache: "no-store" }).catch(() => null);
    if (answer?.status !== 404) return;
    await forget();
    location.reload();
  }
}

async function forget(): Promise<void> {
  await registration?.unregister();
  registration = undefined;
  share = 0;
  await caches.delete(storeOf(SITE));
  await caches.delete(memoryStoreOf(SITE));
}

// --- what the reader has said

function choice(): string | null {
  try {
    return localStorage.getItem(CHOICE);
  } catch {
    return null; // this browser keeps nothing
  }
}

function choose(text: "yes" | "no"): void {
  try {
    localStorage.setItem(CHOICE, text);
  } catch {
    // Then it holds for this page.
  }
}

function wanted(): boolean {
  const { connection } = navigator as { connection?: { saveData?: boolean } };
  return choice() === "yes" || (choice() === null && connection?.saveData !== true);
}

// --- the line in the footer

function show(): void {
  const waiting = registration?.waiting;
  if (waiting && waiting !== inUse) {
    say("A newer version of this site is here. ", "Load it", loadNewer);
  } else if (share === 1) {
    say("This site is kept for reading offline. ", "Remove it", async () => {
      choose("no");
      await forget();
      show();
    });
  } else if (share > 0) {
    say(`${Math.floor(100 * share)} % of this site is kept for reading offline.`);
  } else if (!wanted()) {
    say("", "Keep this site for reading offline", async () => {
      choose("yes");
      await start();
      await keep();
    });
  } else {
    say("");
  }
}

/** The version that waits now: a still newer one may have come since the button did. */
function loadNewer(): void {
  if (registration?.waiting)
    ask(registration.waiting, { kind: "take over", evenBesideOthers: true });
  else location.reload();
}

/** Put `text` and a button into the line; those that stand there stay, with a press half done. */
function say(text: string, label = "", act: () => unknown = () => {}): void {
  const line = document.querySelector(".site-offline");
  if (!line || line.textContent === text + label) return;
  line.replaceChildren(text);
  if (!label) return;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.addEventListener("click", () => void act());
  line.append(button);
}
