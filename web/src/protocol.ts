// What the page and the worker say to each other.

/** Blocks to run one after the other, in one fresh namespace. */
export interface Program {
  readonly blocks: readonly SourceBlock[];
  /** The exception that the last block should raise; its message is then part of the output. */
  readonly error: string | null;
  /** The variables of the last block to draw, by their `_repr_svg_()`. */
  readonly figures: readonly string[];
  /** The exercise that the last block answers: its function is judged. */
  readonly exercise?: string;
}

export interface SourceBlock {
  /** What a traceback calls it. */
  readonly name: string;
  readonly code: string;
}

export interface Outcome {
  /** What the last block printed, and the message of the error that it declares. */
  readonly output: string;
  /** The traceback, in the reader's lines; the empty string if nothing went wrong. */
  readonly error: string;
  /** Which block failed: its place in the program. */
  readonly failed: number | null;
  /** SVG, by variable. */
  readonly figures: Readonly<Record<string, string>>;
  /** Whether the answer is right, by the package's own check; null if nothing was judged. */
  readonly passed: boolean | null;
  /** How long Python was at work. */
  readonly milliseconds: number;
}

/** How far the start has come. `total` is 0 where there are no bytes to count. */
export interface Progress {
  readonly stage: string;
  readonly loaded: number;
  readonly total: number;
}

/** The files of the runtime, and their sizes in bytes. */
export type RuntimeFiles = Readonly<Record<string, number>>;

export type Request =
  | { readonly kind: "start"; readonly files: RuntimeFiles }
  | { readonly kind: "run"; readonly id: number; readonly program: Program };

export type Reply =
  | { readonly kind: "progress"; readonly progress: Progress }
  | { readonly kind: "ready" }
  | { readonly kind: "unavailable"; readonly reason: string }
  | { readonly kind: "outcome"; readonly id: number; readonly outcome: Outcome };
