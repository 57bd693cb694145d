// Bundle src/ into docs/assets/web/, which is generated and not committed.
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const outdir = process.argv[2] ?? here("../docs/assets/web");

await rm(outdir, { recursive: true, force: true });
await build({
  entryPoints: [here("src/main.ts"), here("src/worker.ts"), here("src/style.css")],
  outdir,
  bundle: true,
  splitting: true, // the editor is a chunk of its own, loaded at the first Edit
  format: "esm",
  target: "es2022",
  minify: true,
  loader: { ".py": "text" },
  logLevel: "warning",
  legalComments: "linked",
});
