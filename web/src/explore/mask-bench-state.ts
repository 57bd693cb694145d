// What stands on the mask bench, and how a link carries it.

export type Kind = "causal" | "window" | "prefix" | "padding" | "left padding" | "documents";

/** One mask of the composed one. `numbers` are those of its kind, in their order. */
export interface Part {
  kind: Kind;
  join: "and" | "or";
  negated: boolean;
  numbers: number[];
}

/** What the reader has chosen. `q_start` is null where it is not given. */
export interface Bench {
  q_len: number;
  kv_len: number;
  q_start: number | null;
  parts: Part[];
}

interface Choice {
  readonly name: string;
  readonly label: string;
  readonly least: number;
  readonly first: number;
}

export const MOST = 10;
export const MOST_PARTS = 6;

export const KINDS: Readonly<Record<Kind, readonly Choice[]>> = {
  causal: [],
  window: [
    { name: "left", label: "left", least: 0, first: 2 },
    { name: "right", label: "right", least: 0, first: 0 },
  ],
  prefix: [{ name: "prefix", label: "keys", least: 0, first: 2 }],
  padding: [{ name: "length", label: "real keys", least: 0, first: 3 }],
  "left padding": [{ name: "length", label: "real keys", least: 0, first: 3 }],
  documents: [{ name: "each", label: "keys in each", least: 1, first: 3 }],
};

/** The benches to start from, by their names; the first is the page's static figure. */
export const STARTS: Readonly<Record<string, string>> = {
  "A cache": "q_len=3&kv_len=6&q_start=3&mask=and.causal",
  "One query": "q_len=1&kv_len=5&mask=and.causal",
  Window: "q_len=7&kv_len=7&mask=and.window.2.0",
  "Left padding": "q_len=5&kv_len=5&mask=and.causal&mask=and.left_padding.3",
  "Packed documents": "q_len=6&kv_len=6&mask=and.causal&mask=and.documents.3",
  "All but itself": "q_len=5&kv_len=5&mask=and.not.window.0.0",
};

export function newPart(kind: Kind): Part {
  return {
    kind,
    join: "and",
    negated: false,
    numbers: KINDS[kind].map(({ first }) => first),
  };
}

/** Write a bench as the part of a link that `readBench` reads. */
export function writeBench({ q_len, kv_len, q_start, parts }: Bench): string {
  const start = q_start === null ? [] : [`q_start=${q_start}`];
  const masks = parts.map(({ kind, join, negated, numbers }) =>
    ["mask=", join, negated ? ".not" : "", ".", kind.replace(" ", "_")]
      .concat(numbers.map((number) => `.${number}`))
      .join(""),
  );
  return [`q_len=${q_len}`, `kv_len=${kv_len}`, ...start, ...masks].join("&");
}

/** Read what `writeBench` wrote; null if it is something else. */
export function readBench(state: string): Bench | null {
  const found = new URLSearchParams(state);
  const q_len = within(found.get("q_len"), 1);
  const kv_len = within(found.get("kv_len"), 1);
  if (q_len === null || kv_len === null) return null;
  const q_start = found.has("q_start") ? within(found.get("q_start"), -MOST) : null;
  if (found.has("q_start") && q_start === null) return null;
  const parts: Part[] = [];
  for (const text of found.getAll("mask")) {
    const part = readPart(text);
    if (!part || parts.length === MOST_PARTS) return null;
    parts.push(part);
  }
  return { q_len, kv_len, q_start, parts };
}

function readPart(text: string): Part | null {
  const [join, ...words] = text.split(".");
  const negated = words[0] === "not";
  const [name = "", ...texts] = negated ? words.slice(1) : words;
  const kind = name.replace("_", " ");
  if ((join !== "and" && join !== "or") || !isKind(kind)) return null;
  const choices = KINDS[kind];
  const numbers = choices.map(({ least }, place) => within(texts[place] ?? null, least));
  if (texts.length !== choices.length || numbers.some((one) => one === null)) return null;
  return { kind, join, negated, numbers: numbers.map(Number) };
}

function isKind(name: string): name is Kind {
  return Object.hasOwn(KINDS, name);
}

function within(text: string | null, least: number): number | null {
  const number = Number(text);
  return /^-?\d+$/.test(text ?? "") && number >= least && number <= MOST ? number : null;
}
