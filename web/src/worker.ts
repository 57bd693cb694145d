// The worker: starts Python, and runs programs in it. The page's own objects are out of its reach.
import { type Download, download, keepMemory } from "./download";
import type { Outcome, Program, Reply, Request, RuntimeFiles } from "./protocol";
import { type Runtime, restore, start as startAnew } from "./start";

const RUNTIME = new URL("../runtime/", import.meta.url);
let run: ((program: string) => string) | undefined;

function say(reply: Reply): void {
  postMessage(reply);
}

function stage(name: string): void {
  say({ kind: "progress", progress: { stage: name, loaded: 0, total: 0 } });
}

async function start(files: RuntimeFiles): Promise<void> {
  const downloaded = await download(RUNTIME, files, (loaded, total) => {
    if (loaded === total) stage("Starting Python and NumPy");
    else say({ kind: "progress", progress: { stage: "Downloading Python", loaded, total } });
  });
  await Promise.race([downloaded.failure, startPython(downloaded)]);
}

async function startPython({ packages, memory }: Download): Promise<void> {
  const module = (name: string) => import(new URL(name, RUNTIME).href);
  const [{ loadPyodide }, { default: createPyodideModule }] = await Promise.all([
    module("pyodide.mjs"),
    module("pyodide.asm.mjs"),
  ]);
  const runtime: Runtime = { address: RUNTIME.href, loadPyodide, createPyodideModule, packages };
  // Memory that does not fit this browser costs the reader time, and nothing else.
  const restored = memory && (await restore(runtime, memory).catch(() => null));
  const { pyodide } = restored ?? (await startAnew(runtime));
  run = pyodide.runPython("import runner; runner.run") as (program: string) => string;
}

function execute(program: Program): Outcome {
  if (run === undefined) throw new Error("Python has not started");
  return JSON.parse(run(JSON.stringify(program))) as Outcome;
}

let started: Promise<void> | undefined;

addEventListener("message", async ({ data }: MessageEvent<Request>) => {
  if (data.kind === "start") {
    started = start(data.files);
    try {
      await started;
      say({ kind: "ready" });
      // After the reader's first output, which waits in line.
      setTimeout(() => keepMemory(RUNTIME, data.files).catch(() => {}));
    } catch (error) {
      say({ kind: "unavailable", reason: error instanceof Error ? error.message : String(error) });
    }
  } else {
    try {
      await started;
    } catch {
      return; // said already, by the start
    }
    say({ kind: "outcome", id: data.id, outcome: execute(data.program) });
  }
});
