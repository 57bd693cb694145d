// At build, in Node: start Python, import what pages import, and keep the memory and what was compiled.
import compileSource from "./compile.py";
import prepareSource from "./record.py";
import { type Machine, type Places, type Runtime, start } from "./start";

export interface Recorded {
  /** The files of the archive. */
  readonly memory: Uint8Array;
  readonly places: Places;
  /** A zip of the modules, compiled, under the paths of their sources below /lib. */
  readonly compiled: Uint8Array;
}

export async function record(runtime: Runtime): Promise<Recorded> {
  const env = { HOME: "/home/pyodide", LANG: "C.UTF-8", PYTHONHASHSEED: "0" };
  const { pyodide, machine } = await start(runtime, { _makeSnapshot: true, env });
  const { wasmTable } = machine;
  const functions = wasmTable.length;
  pyodide.runPython(prepareSource);
  for (let number = functions; number < wasmTable.length; number++)
    if (wasmTable.get(number) !== null)
      throw new Error("a function got its number after Python had started: it cannot be kept");
  wipe(machine);
  const handles = Object.entries(machine.LDSO.loadedLibsByHandle).filter(([one]) => one !== "0");
  const opened = Object.fromEntries(handles.map(([handle, { name }]) => [handle, name]));
  const memory = pyodide.makeMemorySnapshot();
  const end = memory.findLastIndex((byte) => byte !== 0) + 1;
  const page = 65536; // of memory: what grows, grows by pages
  pyodide.runPython(compileSource); // after the memory, which has no trace of it
  return {
    memory: memory.slice(0, Math.ceil(end / page) * page),
    places: { functions, opened },
    compiled: machine.FS.readFile("/compiled.zip"),
  };
}

/** Write zeros over free memory, which holds what is no longer of use, and would be kept. */
function wipe(machine: Machine): void {
  const top = machine.HEAPU32[machine._emscripten_get_sbrk_ptr() / 4] ?? 0;
  const taken: number[] = [];
  for (let size = 2 ** 20; size >= 64; size /= 4) {
    for (;;) {
      const address = machine._malloc(size);
      taken.push(address);
      if (address + size > top) break;
      machine.HEAP8.fill(0, address, address + size);
    }
  }
  for (const address of taken) machine._free(address);
}
