// Keep the memory of a started Python: `node record.mjs RUNTIME TARGET`.
// RUNTIME holds the other files of the runtime; TARGET gets `memory`, `places.json`, `compiled.zip`.
import { createReadStream } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

// Python's environment would name this file.
const [runtime, target] = process.argv
  .splice(1)
  .slice(1)
  .map((path) => resolve(path));

// The same bytes from the same files: Python asks here for the time and for random numbers.
Date.now = () => 0;
crypto.getRandomValues = (array) => array.fill(0);

const bundled = await build({
  stdin: {
    contents: 'export { record } from "./src/record"; export { unpack } from "./src/archive";',
    resolveDir: fileURLToPath(new URL(".", import.meta.url)),
  },
  bundle: true,
  write: false,
  format: "esm",
  loader: { ".py": "text" },
});
const code = Buffer.from(bundled.outputFiles[0].contents).toString("base64");
const { record, unpack } = await import(`data:text/javascript;base64,${code}`);
const module = (name) => import(pathToFileURL(`${runtime}/${name}`).href);
const { loadPyodide } = await module("pyodide.mjs");
const { default: createPyodideModule } = await module("pyodide.asm.mjs");

const packages = (await readdir(runtime)).find((name) => name.startsWith("packages-"));
const { memory, places, compiled } = await record({
  address: `${runtime}/`,
  loadPyodide,
  createPyodideModule,
  packages: unpack(Readable.toWeb(createReadStream(`${runtime}/${packages}`))),
});
await writeFile(`${target}/memory`, memory);
await writeFile(`${target}/places.json`, JSON.stringify(places));
await writeFile(`${target}/compiled.zip`, compiled);
