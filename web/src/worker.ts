// The worker: starts Python, and runs programs in it. The page's own objects are out of its reach.
import stateSource from "../../tests/pages/state.py";
import { download } from "./download";
import type { Outcome, Program, Reply, Request, RuntimeFiles } from "./protocol";
import runnerSource from "./runner.py";

interface Pyodide {
  readonly FS: { writeFile(path: string, content: string): void };
  runPython(code: string): unknown;
  unpackArchive(content: ArrayBuffer, format: string, options: { extractDir: string }): void;
}

interface PyodideModule {
  loadPyodide(options: Record<string, unknown>): Promise<Pyodide>;
}

const RUNTIME = new URL("../runtime/", import.meta.url);
const SITE_PACKAGES = "/lib/python3.14/site-packages";

let run: ((program: string) => string) | undefined;

function say(reply: Reply): void {
  postMessage(reply);
}

function stage(name: string): void {
  say({ kind: "progress", progress: { stage: name, loaded: 0, total: 0 } });
}

function start(files: RuntimeFiles): Promise<void> {
  const { packages, failure } = download(RUNTIME, files, (loaded, total) => {
    if (loaded === total) stage("Starting Python");
    else say({ kind: "progress", progress: { stage: "Downloading Python", loaded, total } });
  });
  return Promise.race([failure, startPython(packages)]);
}

async function startPython(packages: Promise<ArrayBuffer>): Promise<void> {
  const { loadPyodide } = (await import(new URL("pyodide.mjs", RUNTIME).href)) as PyodideModule;
  const pyodide = await loadPyodide({
    indexURL: RUNTIME.href,
    // All packages are in one archive of ours, so there is nothing to look up.
    lockFileContents: {
      info: {
        abi_version: "2026_0",
        arch: "wasm32",
        platform: "emscripten_5_0_3",
        python: "3.14.0",
      },
      packages: {},
    },
    packageBaseUrl: RUNTIME.href,
    env: { HOME: "/home/pyodide", LANG: "C.UTF-8" },
  });
  const archive = await packages;
  stage("Unpacking NumPy");
  pyodide.unpackArchive(archive, "zip", { extractDir: SITE_PACKAGES });
  pyodide.FS.writeFile(`${SITE_PACKAGES}/state.py`, stateSource);
  pyodide.FS.writeFile(`${SITE_PACKAGES}/runner.py`, runnerSource);
  stage("Starting NumPy");
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
