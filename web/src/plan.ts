// What the build knows of a page (tests/pages/runnable.py), and where on the page it stands.
import type { Exercise } from "./practice";
import type { RuntimeFiles } from "./protocol";

interface PlannedBlock {
  readonly fence: number;
  readonly code: string;
  readonly program: readonly number[];
  readonly copy: string | null;
  readonly needs: readonly string[];
  readonly output: number | null;
  readonly error: string | null;
  readonly exercise: Exercise | null;
  readonly figures: readonly (readonly [name: string, file: string])[];
}

interface Plan {
  readonly fences: number;
  readonly blocks: readonly PlannedBlock[];
  /** Null where the site was built without the runtime. */
  readonly runtime: RuntimeFiles | null;
}

/** A block of the plan, with the elements that show it. */
export interface Found extends PlannedBlock {
  readonly number: number;
  readonly box: HTMLElement;
  readonly pre: HTMLPreElement;
  readonly shown: HTMLElement | null;
  readonly pictures: ReadonlyMap<string, HTMLImageElement>;
}

export interface FoundPage {
  readonly name: string;
  readonly blocks: readonly Found[];
  readonly runtime: RuntimeFiles | null;
}

/** The folder of the site, whatever host and path it is served from. */
export const SITE = new URL("../../", import.meta.url);

/** The page's name: its place below the site's folder, as "learn/softmax" or "index". */
export function pageName(location: string): string {
  const path = new URL(location).pathname.slice(SITE.pathname.length);
  const name = path
    .replace(/(^|\/)index\.html$/, "")
    .replace(/\.html$/, "")
    .replace(/\/$/, "");
  return name === "" ? "index" : name;
}

/** Find the blocks of the page that is shown, or null if it has none or is not as it was built. */
export async function findPage(name: string, article: HTMLElement): Promise<FoundPage | null> {
  const codes = [...article.querySelectorAll("pre")].filter(
    (pre) =>
      pre.closest(".doc-object, .doc-contents, .doc-signature, .linenos, .cm-editor") === null,
  );
  if (!codes.some((pre) => pre.closest(".language-python"))) return null;
  const response = await fetch(new URL(`assets/run/${name}.json`, SITE));
  if (!response.ok) return null;
  const plan = (await response.json()) as Plan;
  if (plan.fences !== codes.length) return null;
  const blocks: Found[] = [];
  for (const [number, block] of plan.blocks.entries()) {
    const pre = codes[block.fence];
    const box = pre?.closest<HTMLElement>(".highlight");
    if (!pre || !box || visible(codeOf(pre).textContent) !== visible(block.code)) return null;
    const shown = block.output === null ? null : (codes[block.output] ?? null);
    blocks.push({ ...block, number, box, pre, shown, pictures: pictures(block, article) });
  }
  return { name, blocks, runtime: plan.runtime };
}

/** The element that holds the text of a code block, beside the theme's own buttons. */
export function codeOf(pre: HTMLElement): HTMLElement {
  return pre.querySelector("code") ?? pre;
}

/** Show another text in a listing: it is as high as that, and no more as its page had it. */
export function replaceText(code: HTMLElement, text: string): void {
  code.textContent = text;
  code.removeAttribute("style");
}

/** `text` without what renderers drop: empty lines around it, and spaces at the ends of lines. */
export function visible(text: string | null): string {
  const lines = (text ?? "").split("\n").map((line) => line.trimEnd());
  return lines.join("\n").replace(/^\n+|\n+$/g, "");
}

function pictures(block: PlannedBlock, article: HTMLElement): Map<string, HTMLImageElement> {
  const images = [...article.querySelectorAll("img")];
  const found = new Map<string, HTMLImageElement>();
  for (const [name, file] of block.figures) {
    const image = images.find((one) => one.src.endsWith(`/${file}`));
    if (image) found.set(name, image);
  }
  return found;
}
