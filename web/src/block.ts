// One runnable block: its code as it now is, its editor, its buttons and its result.
import { Bar } from "./bar";
import type { Editor } from "./editor";
import { codeOf, type Found, replaceText } from "./plan";
import { Attempt } from "./practice";
import type { Outcome, Progress } from "./protocol";
import { Result } from "./result";

/** What a block asks of its page. */
export interface Host {
  run(block: RunnableBlock): void;
  runAll(): void;
  stop(): void;
  edited(block: RunnableBlock): void;
  share(block: RunnableBlock): Promise<void>;
}

export class RunnableBlock {
  readonly bar: Bar;
  /** Of a block that is the stub of an exercise. */
  readonly attempt: Attempt | null;
  private readonly verb: string;
  private readonly result: Result;
  /** The page's own code as it is coloured, once another stands in its place. */
  private coloured: Node[] | null = null;
  private readonly runButton: HTMLButtonElement;
  private readonly editButton: HTMLButtonElement;
  private readonly resetButton: HTMLButtonElement;
  private readonly shareButton: HTMLButtonElement;
  private editor: Editor | null = null;
  private text: string;
  private running = false;

  constructor(
    readonly found: Found,
    private readonly host: Host,
    first: boolean,
  ) {
    this.text = found.code;
    this.result = new Result(found);
    this.bar = new Bar(found.box, `Block ${found.number + 1}`);
    this.verb = found.exercise ? "Check" : "Run";
    this.runButton = this.bar.button(this.verb, "", () =>
      this.running ? host.stop() : host.run(this),
    );
    this.runButton.classList.add("run-main");
    this.idle(this.verb);
    this.attempt = found.exercise ? new Attempt(found.exercise, this.bar, found.box) : null;
    this.editButton = this.bar.button("Edit", "Edit this block", () => void this.edit());
    addCopy(this.bar, found, () => this.text);
    if (first) this.bar.button("Run all", "Run all blocks of this page", () => host.runAll());
    this.resetButton = this.bar.button("Reset", "Bring back the page's code and output", () => {
      this.reset();
      this.editButton.focus();
    });
    this.shareButton = this.bar.button(
      "Share",
      "Copy a link to this page with your edits",
      () => void host.share(this),
    );
    this.resetButton.hidden = true;
    this.shareButton.hidden = true;
    if (found.exercise) {
      // A stub is there to be filled in: a press on it is a wish to write.
      found.pre.addEventListener("click", () => {
        if (getSelection()?.isCollapsed) void this.edit();
      });
    }
    found.box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.defaultPrevented) {
        event.preventDefault();
        host.run(this);
      }
    });
  }

  get code(): string {
    return this.text;
  }

  get edited(): boolean {
    return this.text !== this.found.code;
  }

  /** Show `code` in place of what is there; it came from storage or with a link. */
  setCode(code: string): void {
    this.text = code;
    if (this.editor) this.editor.setCode(code);
    this.showText();
  }

  starts(): void {
    this.running = true;
    this.runButton.textContent = "Stop";
    this.runButton.title = "Stop Python";
    this.bar.say("Running");
  }

  watch(progress: Progress): void {
    this.bar.watch(progress);
  }

  ends(outcome: Outcome): void {
    this.idle(this.verb);
    const said = this.result.show(outcome);
    this.bar.say(`${said} (${duration(outcome.milliseconds)})`, outcome.error ? "error" : "");
    this.resetButton.hidden = false;
  }

  fails(reason: string, retry: boolean): void {
    this.idle(retry ? "Retry" : this.verb);
    this.bar.say(reason, retry ? "error" : "");
  }

  private idle(label: string): void {
    this.running = false;
    this.runButton.textContent = label;
    this.runButton.title = `${this.verb} this ${this.found.exercise ? "answer" : "block"} (Ctrl+Enter)`;
  }

  private async edit(): Promise<void> {
    if (this.editor) {
      this.editor.focus();
      return;
    }
    this.editButton.disabled = true;
    try {
      const { openEditor } = await import("./editor");
      this.editor = openEditor(
        this.text,
        `Python, block ${this.found.number + 1}`,
        (code) => {
          this.text = code;
          this.showButtons();
          this.host.edited(this);
        },
        () => this.host.run(this),
      );
      this.found.pre.hidden = true;
      this.found.pre.after(this.editor.dom);
      this.editor.focus(this.found.exercise ? "..." : "");
      this.resetButton.hidden = false;
    } catch {
      this.bar.say("The editor could not be loaded. Press Edit to try again.", "error");
    } finally {
      this.editButton.disabled = false;
    }
  }

  /** Bring back the page's code and output. */
  reset(): void {
    this.editor?.destroy();
    this.editor = null;
    this.found.pre.hidden = false;
    this.text = this.found.code;
    this.showText();
    this.result.reset();
    this.bar.say("");
    this.host.edited(this);
  }

  private showText(): void {
    const code = codeOf(this.found.pre);
    if (this.edited) {
      this.coloured ??= [...code.childNodes];
      replaceText(code, `${this.text}\n`);
    } else if (this.coloured) {
      code.replaceChildren(...this.coloured);
    }
    this.showButtons();
  }

  private showButtons(): void {
    this.found.box.toggleAttribute("data-edited", this.edited);
    this.resetButton.hidden = !this.edited && !this.editor;
    this.shareButton.hidden = !this.edited;
  }
}

/** A block that continues others is copied with them, imports first; a second choice copies it alone. */
export function addCopy(bar: Bar, found: Found, code: () => string): void {
  const copy = async (text: string, said: string) => {
    try {
      await navigator.clipboard.writeText(text);
      bar.say(said);
    } catch {
      bar.say("The browser does not allow copying here.", "error");
    }
  };
  const blocks = found.program.length;
  const { copy: program } = found;
  if (program === null) {
    bar.button(
      "Copy",
      "Copy this block, a complete program",
      () => void copy(`${code()}\n`, "Copied: a complete program."),
    );
    return;
  }
  bar.button(
    "Copy program",
    `Copy the ${blocks} blocks up to here as one program`,
    () => void copy(program, `Copied: the whole program, ${blocks} blocks, imports first.`),
  );
  bar.button(
    "Copy block",
    "Copy this block alone, without the blocks that it continues",
    () =>
      void copy(`${code()}\n`, `Copied: this block alone, which continues ${blocks - 1} above.`),
  );
}

/** A block that runs in no browser runs elsewhere: in the notebook that the page's end links to. */
export function addOffers(bar: Bar): void {
  for (const link of document.querySelectorAll<HTMLAnchorElement>("article a[data-offer]")) {
    const offer = link.cloneNode() as HTMLAnchorElement;
    offer.textContent = link.dataset.offer ?? "";
    delete offer.dataset.offer;
    offer.title = link.textContent;
    bar.element.append(offer);
  }
}

function duration(milliseconds: number): string {
  return milliseconds < 1000
    ? `${Math.max(1, Math.round(milliseconds))} ms`
    : `${(milliseconds / 1000).toFixed(1)} s`;
}
