// The reader's edits: kept on their own machine, and sent along in a link.
import { pieces } from "./stream";

/** The code of the edited blocks of a page, by their number. */
export type Edits = ReadonlyMap<number, string>;

interface Kept {
  readonly code: string;
  /** The page's code that was edited; if the page has it no more, the edit is dropped. */
  readonly from: string;
}

const LONGEST = 200_000;

const key = (page: string) => `attention-executed:edits:${page}`;

/** Read the edits of `page`. Each belongs to a code, wherever on the page that now stands. */
export function readEdits(page: string, codes: readonly string[]): Edits {
  const edits = new Map<number, string>();
  try {
    const kept = JSON.parse(localStorage.getItem(key(page)) ?? "{}") as Record<string, Kept>;
    for (const [number, { code, from }] of Object.entries(kept)) {
      const place = codes[Number(number)] === from ? Number(number) : codes.indexOf(from);
      if (place >= 0 && typeof code === "string") edits.set(place, code);
    }
  } catch {
    // Storage may be off, or hold what another program wrote; the page works without.
  }
  return edits;
}

/** Keep `edits`, and nothing if there are none. */
export function keepEdits(page: string, edits: Edits, codes: readonly string[]): void {
  const kept: Record<string, Kept> = {};
  for (const [number, code] of edits) kept[number] = { code, from: codes[number] ?? "" };
  try {
    if (edits.size === 0) localStorage.removeItem(key(page));
    else localStorage.setItem(key(page), JSON.stringify(kept));
  } catch {
    // Storage may be full or off.
  }
}

/** Forget the edits of all pages. */
export function forgetEdits(): void {
  try {
    for (const kept of Object.keys(localStorage)) {
      if (kept.startsWith(key(""))) localStorage.removeItem(kept);
    }
  } catch {
    // Storage may be off.
  }
}

/** Return the part of a link after "#" that carries `edits`. */
export async function toFragment(edits: Edits): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify([...edits]));
  const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const text = String.fromCharCode(...new Uint8Array(await new Response(packed).arrayBuffer()));
  return `edit=${btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}

/** Copy a link, or else put it into the address bar; return what to tell the reader. */
export async function shareLink(url: URL, copied: string): Promise<string> {
  try {
    await navigator.clipboard.writeText(url.href);
    return copied;
  } catch {
    history.replaceState(history.state, "", url);
    return "The link stands in the address bar.";
  }
}

/** Read what `toFragment` wrote, or null if `fragment` is something else. */
export async function fromFragment(fragment: string, count: number): Promise<Edits | null> {
  const match = /^#?edit=([\w-]+)$/.exec(fragment);
  if (!match?.[1]) return null;
  try {
    const text = atob(match[1].replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(text, (one) => one.charCodeAt(0));
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const entries: unknown = JSON.parse(await bounded(unpacked));
    if (!Array.isArray(entries)) return null;
    const edits = new Map<number, string>();
    for (const entry of entries) {
      const [number, code] = entry as [unknown, unknown];
      if (!Number.isInteger(number) || typeof code !== "string") return null;
      if ((number as number) >= 0 && (number as number) < count) edits.set(number as number, code);
    }
    return edits.size > 0 ? edits : null;
  } catch {
    return null;
  }
}

/** Read a stream as text; a small link must not unpack to a huge one. */
async function bounded(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of pieces(stream)) {
    text += decoder.decode(piece, { stream: true });
    if (text.length > LONGEST) throw new Error("too long");
  }
  return text + decoder.decode();
}
