// Python, as the page sees it: one worker, started at the first run.
import { SITE } from "./plan";
import type { Outcome, Program, Progress, Reply, Request, RuntimeFiles } from "./protocol";

/** The reader pressed Stop. */
export class Stopped extends Error {}

/** The runtime cannot be had; the message says what failed. */
export class Unavailable extends Error {}

interface Waiting {
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: Error) => void;
}

export class Python {
  private worker: Worker | undefined;
  private ready = false;
  private next = 0;
  private readonly waiting = new Map<number, Waiting>();
  private readonly listeners = new Set<(progress: Progress) => void>();

  constructor(
    private readonly script: URL,
    private readonly files: RuntimeFiles,
  ) {}

  /** Run `program` after those that wait already; `watch` hears how the start goes, if it must. */
  async run(program: Program, watch: (progress: Progress) => void = () => {}): Promise<Outcome> {
    const worker = this.started();
    const id = this.next++;
    if (!this.ready) this.listeners.add(watch);
    try {
      return await new Promise((resolve, reject) => {
        this.waiting.set(id, { resolve, reject });
        this.send(worker, { kind: "run", id, program });
      });
    } finally {
      this.listeners.delete(watch);
    }
  }

  /** End what runs and what waits. The next run starts Python again. */
  stop(): void {
    this.end(new Stopped("stopped"));
  }

  private started(): Worker {
    if (this.worker === undefined) {
      const worker = new Worker(this.script, { type: "module", name: "python" });
      worker.onmessage = ({ data }: MessageEvent<Reply>) => this.hear(data);
      worker.onerror = (event) => {
        event.preventDefault();
        this.end(new Unavailable(event.message || `${this.script.pathname} could not be loaded`));
      };
      this.worker = worker;
      this.send(worker, { kind: "start", files: this.files });
    }
    return this.worker;
  }

  private send(worker: Worker, request: Request): void {
    worker.postMessage(request);
  }

  private hear(reply: Reply): void {
    if (reply.kind === "progress") {
      for (const listener of this.listeners) listener(reply.progress);
    } else if (reply.kind === "ready") {
      this.ready = true;
    } else if (reply.kind === "unavailable") {
      this.end(new Unavailable(reply.reason));
    } else {
      this.waiting.get(reply.id)?.resolve(reply.outcome);
      this.waiting.delete(reply.id);
    }
  }

  private end(reason: Error): void {
    this.worker?.terminate();
    this.worker = undefined;
    this.ready = false;
    const waiting = [...this.waiting.values()];
    this.waiting.clear();
    for (const { reject } of waiting) reject(reason);
  }
}

let python: Python | undefined;

/** The one Python of the visit, whichever page started it. */
export function pythonOf(files: RuntimeFiles): Python {
  python ??= new Python(new URL("assets/web/worker.js", SITE), files);
  return python;
}
