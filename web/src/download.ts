// Bring the files of the runtime, and count their bytes.
import { type Files, unpack } from "./archive";
import { memoryStoreOf } from "./offline-protocol";
import type { RuntimeFiles } from "./protocol";
import { pieces } from "./stream";

export interface Download {
  /** The files of the packages: what Python can import. */
  readonly packages: Promise<Files>;
  /** What `record.ts` kept of a started Python, or null if this browser has not kept it yet. */
  readonly memory: Files | null;
  /** Never comes true; fails with the name of the file that cannot be had, and the reason. */
  readonly failure: Promise<never>;
}

/**
 * Fetch the packages, and have every other fetch of a file of the runtime counted too.
 * Pyodide waits for ever for a file that does not come: race it with `failure`.
 */
export async function download(
  runtime: URL,
  files: RuntimeFiles,
  report: (loaded: number, total: number) => void,
): Promise<Download> {
  // A browser may keep nothing: where the page is no secure one, or the reader does not want it.
  const memory = await keptMemory(new URL(named("memory", files), runtime)).catch(() => null);
  let fail: (error: Error) => void = () => {};
  const failure = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const needed = new Map(Object.entries(files).filter(([name]) => !name.startsWith("memory-")));
  const total = [...needed.values()].reduce((sum, size) => sum + size, 0);
  const loaded = new Map<string, number>();
  const note = (name: string, bytes: number) => {
    loaded.set(name, bytes);
    report(
      [...loaded.values()].reduce((sum, one) => sum + one, 0),
      total,
    );
  };
  const plain = self.fetch.bind(self);
  self.fetch = async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input, runtime);
    const name = url.href.startsWith(runtime.href) ? url.pathname.split("/").at(-1) : undefined;
    if (name === undefined || !needed.has(name)) return plain(input, init);
    const refuse = (reason: string) => {
      const error = new Error(`${name} could not be downloaded: ${reason}`);
      fail(error);
      return error;
    };
    const response = await plain(input, init).catch(() => {
      throw refuse("no connection");
    });
    if (!response.ok) throw refuse(`error ${response.status}`);
    // The browser keeps the compiled code of a response of its own, and of no other.
    count(response.clone(), (bytes) => note(name, bytes)).catch(() => refuse("it broke off"));
    return response;
  };
  const packages = self
    .fetch(new URL(named("packages", files), runtime))
    .then(({ body }) => unpack(body ?? new ReadableStream()));
  packages.catch(() => {}); // `failure` says it
  return { packages, memory, failure };
}

/** Keep the memory for the next visit, unless the reader saves data. */
export async function keepMemory(runtime: URL, files: RuntimeFiles): Promise<void> {
  const { connection } = navigator as { connection?: { saveData?: boolean } };
  const address = new URL(named("memory", files), runtime);
  if (connection?.saveData || (await caches.match(address))) return;
  const response = await fetch(address, { priority: "low" });
  if (!response.ok) return;
  const store = memoryStoreOf(new URL("../../", runtime));
  await caches.delete(store); // of an earlier state of the site
  await (await caches.open(store)).put(address, response);
}

async function keptMemory(address: URL): Promise<Files | null> {
  const response = await caches.match(address);
  return response?.body ? await unpack(response.body) : null;
}

/** The file of `files` that is called so; its digest is part of its name. */
function named(archive: string, files: RuntimeFiles): string {
  const name = Object.keys(files).find((one) => one.startsWith(`${archive}-`));
  if (name === undefined) throw new Error(`the runtime has no ${archive}`);
  return name;
}

/** Report the bytes of `response` as they come, and leave it as it is: a copy is read. */
async function count(response: Response, report: (bytes: number) => void): Promise<void> {
  let bytes = 0;
  for await (const piece of response.body ? pieces(response.body) : []) {
    bytes += piece.byteLength;
    report(bytes);
  }
}
