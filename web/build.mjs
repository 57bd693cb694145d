// Bundle src/ into docs/assets/web/, which is generated and not committed.
import { rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const outdir = process.argv[2] ?? here("../docs/assets/web");
const shared = {
  outdir,
  bundle: true,
  target: "es2022",
  minify: true,
  logLevel: "warning",
};

await rm(outdir, { recursive: true, force: true });
const { metafile } = await build({
  ...shared,
  metafile: true,
  entryPoints: [here("src/main.ts"), here("src/style.css")],
  splitting: true, // the editor is a chunk of its own, loaded at the first Edit
  format: "esm",
  loader: { ".py": "text" },
  legalComments: "linked",
});
await build({
  ...shared,
  entryPoints: [here("src/worker.ts")], // apart: a chunk that it shared would be one more request
  format: "esm",
});
await build({
  ...shared,
  entryPoints: [here("src/service-worker.ts")],
  format: "iife", // not every browser takes a module here
});

// Whose code is in the bundles: their licences go with the site (attention_docs/licences.py).
const packages = Object.values(metafile.outputs)
  .flatMap(({ inputs }) => Object.entries(inputs))
  .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
  .map(([path]) => /node_modules\/((@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
  .filter(Boolean);
const listed = `${JSON.stringify([...new Set(packages)].sort(), null, 1)}\n`;
await writeFile(here("node_modules/.bundled.json"), listed);
