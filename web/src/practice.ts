// Practice: the exercises of a page, their hints, and what the reader has solved. It is kept on the
// reader's own machine, under ids that change when a task does.
import type { Bar } from "./bar";
import { forgetEdits } from "./edits";
import { pageName, SITE } from "./plan";

/** An exercise, as the build knows it. */
export interface Exercise {
  /** The function to write. */
  readonly name: string;
  readonly id: string;
  readonly hints: readonly string[];
}

interface Progress {
  readonly solved: readonly string[];
  /** How many hints were seen, by id. */
  readonly hints: Readonly<Record<string, number>>;
}

const KEY = "attention-executed:progress";

/** What the browser would not keep: it lasts as long as the visit. */
let unkept: Progress | null = null;

function read(): Progress {
  if (unkept) return unkept;
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Progress>;
    return {
      solved: Array.isArray(kept.solved) ? kept.solved : [],
      hints: typeof kept.hints === "object" && kept.hints !== null ? kept.hints : {},
    };
  } catch {
    return { solved: [], hints: {} };
  }
}

function keep(progress: Progress): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(progress));
  } catch {
    unkept = progress;
  }
}

export function keepSolved({ id }: Exercise): void {
  const { solved, hints } = read();
  if (!solved.includes(id)) keep({ solved: [...solved, id], hints });
}

function keepHints({ id }: Exercise, seen: number): void {
  const { solved, hints } = read();
  keep({ solved, hints: { ...hints, [id]: seen } });
}

function forget(): void {
  unkept = null;
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Storage may be off.
  }
  forgetEdits();
}

/** What stands at the block of one exercise: its hints, and the mark of a solved one. */
export class Attempt {
  private readonly mark = document.createElement("span");
  private readonly hints = document.createElement("div");

  constructor(
    private readonly exercise: Exercise,
    private readonly bar: Bar,
    box: HTMLElement,
  ) {
    this.mark.className = "practice-solved";
    this.mark.textContent = "✓ Solved";
    bar.element.prepend(this.mark);
    bar.button("Hint", "Show the next hint", () => this.hint());
    this.hints.className = "practice-hints";
    this.hints.setAttribute("aria-live", "polite");
    box.append(this.hints);
    this.show();
  }

  /** Show what is kept. */
  show(): void {
    const { solved, hints } = read();
    this.mark.hidden = !solved.includes(this.exercise.id);
    const seen = Math.min(hints[this.exercise.id] ?? 0, this.exercise.hints.length);
    while (this.hints.children.length > seen) this.hints.lastElementChild?.remove();
    while (this.hints.children.length < seen) this.add(this.hints.children.length);
  }

  private hint(): void {
    const shown = this.hints.children.length;
    if (shown === this.exercise.hints.length) {
      this.bar.say("There are no more hints. A solution stands below.");
      return;
    }
    this.add(shown);
    keepHints(this.exercise, shown + 1);
  }

  private add(number: number): void {
    const { hints } = this.exercise;
    const line = document.createElement("p");
    const label = document.createElement("strong");
    label.textContent = `Hint ${number + 1} of ${hints.length}:`;
    line.append(label, " ", ...withCode(hints[number] ?? ""));
    this.hints.append(line);
  }
}

/** The line below the heading of the exercises: how many are solved, and how to forget it. */
export class Tally {
  private readonly count = document.createElement("span");

  /** `forgotten` is called when the reader has had their progress and edits forgotten. */
  constructor(
    private readonly exercises: readonly Exercise[],
    line: Element,
    forgotten: () => void,
  ) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Forget my progress";
    button.addEventListener("click", () => {
      if (!confirm("Forget what you have solved, and your edits, on every page?")) return;
      forget();
      forgotten();
    });
    line.append(this.count, button);
    this.show();
  }

  /** Show what is kept. */
  show(): void {
    const { solved } = read();
    const done = this.exercises.filter(({ id }) => solved.includes(id)).length;
    const where = unkept ? "kept until you leave" : "kept in this browser alone";
    this.count.textContent = `${done} of ${this.exercises.length} exercises solved, ${where}.`;
  }
}

let allExercises: Promise<Record<string, readonly string[]>> | undefined;

/** Mark, in the navigation, the pages whose exercises are all solved. */
export async function markPages(): Promise<void> {
  const { solved } = read();
  for (const link of document.querySelectorAll<HTMLElement>("a[data-solved]")) {
    delete link.dataset.solved;
  }
  if (solved.length === 0) return; // nothing to mark, so nothing to fetch
  allExercises ??= fetch(new URL("assets/run/exercises.json", SITE)).then((one) => one.json());
  let pages: Record<string, readonly string[]>;
  try {
    pages = await allExercises;
  } catch {
    allExercises = undefined; // the next page asks again
    return;
  }
  for (const link of document.querySelectorAll<HTMLAnchorElement>("a.md-nav__link")) {
    const ids = link.hash === "" ? pages[pageName(link.href)] : undefined;
    if (ids?.every((id) => solved.includes(id))) link.dataset.solved = "";
  }
}

/** Text in which code stands between backticks. */
function withCode(text: string): Node[] {
  return text.split("`").map((part, number) => {
    if (number % 2 === 0) return document.createTextNode(part);
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
}
