// Start Python: in the same steps where its memory is recorded, and where that memory is restored.
//
// Pyodide can keep the memory of a Python that has started, but knows nothing of compiled modules
// (NumPy's) in it. Memory refers to their data and functions by number. So here they all get their
// places before Python starts, in one order: the numbers are then the same in every start.
import type { Files } from "./archive";

export interface Pyodide {
  runPython(code: string): unknown;
  makeMemorySnapshot(): Uint8Array;
}

type Exports = Readonly<Record<string, unknown>>;

interface LoadedLibrary {
  readonly name: string;
  readonly exports: Exports;
  readonly refcount: number;
  readonly global: boolean;
}

/** What we use of the program that Emscripten made of Python. */
export interface Machine {
  readonly FS: {
    mkdirTree(path: string): void;
    readFile(path: string): Uint8Array;
    writeFile(path: string, content: Uint8Array, options: { canOwn: boolean }): void;
  };
  readonly HEAP8: Int8Array;
  readonly HEAP32: Int32Array;
  readonly HEAPU32: Uint32Array;
  readonly wasmTable: WebAssembly.Table;
  readonly preloadedWasm: Record<string, Exports>;
  readonly LDSO: {
    readonly loadedLibsByName: Record<string, LoadedLibrary>;
    readonly loadedLibsByHandle: Record<string, LoadedLibrary>;
  };
  readonly __PyRuntime: number;
  readonly __PyEM_EMSCRIPTEN_TRAMPOLINE_OFFSET: number;
  _emscripten_get_sbrk_ptr(): number;
  _malloc(size: number): number;
  _free(address: number): void;
  addFunction(one: unknown): number;
  addRunDependency(name: string): void;
  removeRunDependency(name: string): void;
  growMemory(size: number): void;
  loadWebAssemblyModule(
    compiled: WebAssembly.Module,
    flags: { loadAsync: true; nodelete: true },
    name: string,
    scope: object,
  ): Promise<Exports>;
}

interface Settings {
  readonly preRun: ((machine: Machine) => void)[];
}

/** Where Pyodide comes from, and what Python is to import. */
export interface Runtime {
  readonly address: string;
  loadPyodide(options: Record<string, unknown>): Promise<Pyodide>;
  createPyodideModule(settings: Settings): Promise<Machine>;
  readonly packages: Promise<Files>;
}

export interface Started {
  readonly pyodide: Pyodide;
  readonly machine: Machine;
}

const SITE_PACKAGES = "/lib/python3.14/site-packages/";

/** Start Python from nothing. */
export function start(
  runtime: Runtime,
  options: Record<string, unknown> = {},
  created: (machine: Machine) => Promise<void> = async () => {},
): Promise<Started> {
  let machine: Machine | undefined;
  const libraries = runtime.packages.then(compile);
  const placed = new Promise<never>((_, fail) => {
    options = {
      indexURL: runtime.address,
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
      packageBaseUrl: runtime.address,
      env: { HOME: "/home/pyodide", LANG: "C.UTF-8" },
      async createPyodideModule(settings: Settings) {
        settings.preRun.push((early) => {
          early.addRunDependency("libraries");
          libraries
            .then((compiled) => place(early, compiled))
            .then(() => early.removeRunDependency("libraries"), fail);
        });
        machine = await runtime.createPyodideModule(settings);
        await created(machine);
        return machine;
      },
      ...options,
    };
  });
  const loaded = async () => {
    const pyodide = await runtime.loadPyodide(options);
    if (machine === undefined) throw new Error("Python has started without its program");
    write(machine, await runtime.packages);
    pyodide.runPython("import importlib; importlib.invalidate_caches(); del importlib");
    return { pyodide, machine };
  };
  return Promise.race([placed, loaded()]); // a start whose libraries fail would wait for ever
}

/** What is recorded beside memory. */
export interface Places {
  /** How many functions had a number before Python started. */
  readonly functions: number;
  /** The names of the libraries that Python had opened, by their addresses. */
  readonly opened: Readonly<Record<string, string>>;
}

/** Start Python as it was when `memory` was recorded. Fails if this browser counts otherwise. */
export async function restore(runtime: Runtime, memory: Files): Promise<Started> {
  const kept = member(memory, "memory");
  const places = new TextDecoder().decode(member(memory, "places.json"));
  const { functions, opened } = JSON.parse(places) as Places;
  const started = await start(
    runtime,
    { _loadSnapshot: Promise.resolve(kept) },
    async (machine) => {
      if (machine.wasmTable.length !== functions) throw new Error("memory is of another machine");
      if (machine.HEAP8.length < kept.length) machine.growMemory(kept.length);
      const [, heap = 0] = new Uint32Array(kept.buffer, kept.byteOffset, 2); // behind a header
      const own = new Int32Array(kept.buffer, kept.byteOffset + heap);
      const trampoline = trampolineOf(machine);
      own[trampoline] = machine.HEAP32[trampoline] ?? 0; // of this browser, which may have none
    },
  );
  const { preloadedWasm, LDSO } = started.machine;
  for (const [handle, name] of Object.entries(opened)) {
    const exports = preloadedWasm[name];
    if (exports === undefined) throw new Error(`${name} is not among the packages`);
    const library = { name, exports, refcount: Number.POSITIVE_INFINITY, global: false };
    LDSO.loadedLibsByName[name] = library;
    LDSO.loadedLibsByHandle[handle] = library;
  }
  return started;
}

function member(files: Files, name: string): Uint8Array<ArrayBuffer> {
  const found = files.get(name);
  if (found === undefined) throw new Error(`${name} is not in the archive`);
  return found;
}

function compile(packages: Files): Promise<[string, WebAssembly.Module][]> {
  const libraries = [...packages].filter(([name]) => name.endsWith(".so"));
  return Promise.all(
    libraries.map(async ([name, content]) => [name, await WebAssembly.compile(content)]),
  );
}

async function place(machine: Machine, libraries: [string, WebAssembly.Module][]): Promise<void> {
  // Browsers differ by a function or two before this: leave room, and begin where all can.
  const { wasmTable } = machine;
  wasmTable.grow(Math.ceil(wasmTable.length / 64) * 64 - wasmTable.length);
  for (const [name, compiled] of libraries) {
    const path = SITE_PACKAGES + name;
    const flags = { loadAsync: true, nodelete: true } as const;
    const exports = await machine.loadWebAssemblyModule(compiled, flags, path, {});
    machine.preloadedWasm[path] = exports;
    // What Python looks up in it, which would get a number only then.
    for (const symbol of Object.keys(exports))
      if (symbol.startsWith("PyInit_")) machine.addFunction(exports[symbol]);
  }
}

/** Where Python keeps the function by which it calls others, counted in words of memory. */
function trampolineOf(machine: Machine): number {
  const offset = machine.HEAP32[machine.__PyEM_EMSCRIPTEN_TRAMPOLINE_OFFSET / 4] ?? 0;
  return (machine.__PyRuntime + offset) / 4;
}

function write({ FS }: Machine, files: Files): void {
  const folders = new Set<string>();
  for (const [name, content] of files) {
    const path = SITE_PACKAGES + name;
    const folder = path.slice(0, path.lastIndexOf("/"));
    if (!folders.has(folder)) FS.mkdirTree(folder);
    folders.add(folder);
    FS.writeFile(path, content, { canOwn: true });
  }
}
