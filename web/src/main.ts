// Gives each page its buttons, and puts its blocks, Python and the reader's edits together.
import { Bar } from "./bar";
import { addCopy, addOffers, type Host, RunnableBlock } from "./block";
import { offerColours } from "./colours";
import { type Edits, fromFragment, keepEdits, readEdits, shareLink, toFragment } from "./edits";
import { addExplorers } from "./explorer";
import { keepOffline } from "./offline";
import { type Found, type FoundPage, findPage, pageName } from "./plan";
import { keepSolved, markPages, Tally } from "./practice";
import type { Program, RuntimeFiles } from "./protocol";
import { pythonOf, Stopped } from "./python";
import { focusScrollable } from "./scrollable";

class PageOfBlocks implements Host {
  private readonly blocks = new Map<number, RunnableBlock>();
  private readonly tally: Tally | null = null;

  constructor(
    private readonly page: FoundPage,
    private readonly runtime: RuntimeFiles,
  ) {
    for (const found of page.blocks) {
      if (found.needs.length === 0) {
        this.blocks.set(found.number, new RunnableBlock(found, this, this.blocks.size === 0));
      } else {
        const bar = new Bar(found.box, `Block ${found.number + 1}`);
        addCopy(bar, found, () => found.code);
        bar.say(whyNot(found));
        addOffers(bar);
      }
    }
    const exercises = page.blocks.flatMap(({ exercise }) => exercise ?? []);
    const line = document.querySelector("article .practice-tally");
    if (line && exercises.length > 0) {
      this.tally = new Tally(exercises, line, () => this.forgotten());
    }
  }

  async run(block: RunnableBlock): Promise<void> {
    const engine = pythonOf(this.runtime);
    block.starts();
    try {
      const outcome = await engine.run(this.program(block), (now) => block.watch(now));
      block.ends(outcome);
      if (outcome.passed && block.found.exercise) {
        keepSolved(block.found.exercise);
        this.showProgress();
      }
    } catch (error) {
      if (error instanceof Stopped) {
        block.fails("Stopped. The next run starts Python again.", false);
      } else {
        block.fails(error instanceof Error ? error.message : String(error), true);
      }
    }
  }

  runAll(): void {
    for (const block of this.blocks.values()) void this.run(block);
  }

  stop(): void {
    pythonOf(this.runtime).stop();
  }

  edited(): void {
    keepEdits(this.page.name, this.edits(), this.codes());
  }

  async share(block: RunnableBlock): Promise<void> {
    const url = new URL(location.href);
    url.hash = await toFragment(this.edits());
    block.bar.say(await shareLink(url, "Copied: a link to this page with your edits."));
  }

  /** Show the edits that came with the link, or else those that the reader has made before. */
  async restore(): Promise<void> {
    const sent = await fromFragment(location.hash, this.page.blocks.length);
    const edits = sent ?? readEdits(this.page.name, this.codes());
    for (const [number, code] of edits) this.blocks.get(number)?.setCode(code);
    if (!sent) return;
    const first = this.blocks.get(Math.min(...sent.keys()));
    for (const number of sent.keys()) {
      this.blocks.get(number)?.bar.say("This code came with the link. It runs when you press Run.");
    }
    first?.found.box.scrollIntoView({ block: "center" });
  }

  private forgotten(): void {
    for (const block of this.blocks.values()) block.reset();
    this.showProgress();
  }

  private showProgress(): void {
    for (const block of this.blocks.values()) block.attempt?.show();
    this.tally?.show();
    void markPages();
  }

  private codes(): string[] {
    return this.page.blocks.map((block) => block.code);
  }

  private edits(): Edits {
    const edited = [...this.blocks.values()].filter((block) => block.edited);
    return new Map(edited.map((block) => [block.found.number, block.code]));
  }

  private program(block: RunnableBlock): Program {
    const { program, error, figures, exercise } = block.found;
    return {
      blocks: program.map((number) => ({
        name: `block ${number + 1}`,
        code: number === block.found.number ? block.code : this.codeAbove(number),
      })),
      error,
      figures: figures.map(([name]) => name),
      ...(exercise && { exercise: exercise.name }),
    };
  }

  /** What a block contributes to those that continue it. */
  private codeAbove(number: number): string {
    const planned = this.page.blocks[number];
    // A half-written answer to one exercise must not break the next, nor the solutions.
    const edited = planned?.exercise ? undefined : this.blocks.get(number)?.code;
    return edited ?? planned?.code ?? "";
  }
}

function whyNot(found: Found): string {
  return found.needs.includes("torch")
    ? "Needs PyTorch, which runs in no browser."
    : `Needs ${found.needs.join(" and ")}, which the browser's Python has not.`;
}

async function show(): Promise<void> {
  void markPages();
  const article = document.querySelector<HTMLElement>("article");
  if (!article) return;
  focusScrollable(article);
  const page = await findPage(pageName(location.href), article);
  if (!page || !article.isConnected) return;
  addExplorers(article, page.runtime);
  if (page.runtime) {
    await new PageOfBlocks(page, page.runtime).restore();
    return;
  }
  for (const [number, found] of page.blocks.entries()) {
    const bar = new Bar(found.box, `Block ${number + 1}`);
    addCopy(bar, found, () => found.code);
    if (number === 0) bar.say("This copy of the site was built without Python: nothing runs here.");
  }
}

// Material replaces the page's content when a link is followed, and announces it here.
declare global {
  interface Window {
    readonly document$?: { subscribe(next: () => void): void };
  }
}

function showAndKeep(): void {
  void show();
  void keepOffline();
}

offerColours();
if (window.document$) window.document$.subscribe(showAndKeep);
else showAndKeep();
