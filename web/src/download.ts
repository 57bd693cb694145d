// Bring the files of the runtime, and count their bytes.
import { type Files, unpack } from "./archive";
import type { RuntimeFiles } from "./protocol";

export interface Download {
  /** The files of `packages.bin`: what Python can import. */
  readonly packages: Promise<Files>;
  /** The files of `memory.bin`: what `record.ts` kept of a started Python. */
  readonly memory: Promise<Files>;
  /** Never comes true; fails with the name of the file that cannot be had, and the reason. */
  readonly failure: Promise<never>;
}

/**
 * Fetch both archives, and have every other fetch of a file of the runtime counted too.
 * Pyodide waits for ever for a file that does not come: race it with `failure`.
 */
export function download(
  runtime: URL,
  files: RuntimeFiles,
  report: (loaded: number, total: number) => void,
): Download {
  let fail: (error: Error) => void = () => {};
  const failure = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const total = Object.values(files).reduce((sum, size) => sum + size, 0);
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
    if (name === undefined || !(name in files)) return plain(input, init);
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
  const archive = async (name: string) => {
    const { body } = await self.fetch(new URL(name, runtime));
    return unpack(body ?? new ReadableStream());
  };
  const [packages, memory] = [archive("packages.bin"), archive("memory.bin")];
  packages.catch(() => {}); // `failure` says it
  memory.catch(() => {});
  return { packages, memory, failure };
}

/** Report the bytes of `response` as they come, and leave it as it is: a copy is read. */
async function count(response: Response, report: (bytes: number) => void): Promise<void> {
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    report(bytes);
  }
}
