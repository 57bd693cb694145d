// What a run brought, in the place of what the page shows.
import { codeOf, type Found, replaceText, visible } from "./plan";
import type { Outcome } from "./protocol";

/** Shows the output and the figures of one block, and takes them back. */
export class Result {
  private readonly printed: string | null;
  private readonly html: Node[] = [];
  private made: HTMLElement | null = null;
  private readonly drawn = new Map<HTMLImageElement, { page: string; live: string | null }>();

  constructor(private readonly block: Found) {
    this.printed = block.shown ? visible(codeOf(block.shown).textContent) : null;
    for (const image of block.pictures.values()) {
      this.drawn.set(image, { page: image.src, live: null });
    }
    if (block.shown)
      this.html = [...codeOf(block.shown).childNodes].map((node) => node.cloneNode(true));
  }

  /** Show `outcome`, and say in a few words what it is. */
  show(outcome: Outcome): string {
    const text = visible(outcome.output + outcome.error);
    const same = outcome.error === "" && text === (this.printed ?? "");
    const fine = same || outcome.passed === true;
    this.print(text, outcome.error !== "" ? "error" : fine ? "same" : "different");
    for (const [name, svg] of Object.entries(outcome.figures)) {
      const image = this.block.pictures.get(name);
      if (image) this.draw(image, svg);
    }
    if (outcome.error !== "") {
      const failed = this.block.program[outcome.failed ?? -1];
      return failed === undefined || failed === this.block.number
        ? "Live: an error"
        : `Live: an error in block ${failed + 1}, which this one continues`;
    }
    if (outcome.passed) return "Live: it passes";
    if (same)
      return text === "" ? "Live: ran without an output" : "Live: equal to the printed output";
    return outcome.passed === null ? "Live: differs from the printed output" : "Live: not yet";
  }

  /** Show what the page shows. */
  reset(): void {
    const { shown } = this.block;
    if (shown) {
      codeOf(shown).replaceChildren(...this.html.map((node) => node.cloneNode(true)));
      delete frame(shown).dataset.live;
    }
    this.made?.remove();
    this.made = null;
    for (const [image, urls] of this.drawn) {
      image.src = urls.page;
      if (urls.live) URL.revokeObjectURL(urls.live);
      urls.live = null;
      delete image.dataset.live;
    }
  }

  private print(text: string, live: string): void {
    let shown: HTMLElement | null = this.block.shown;
    if (!shown) {
      if (text === "") {
        this.made?.remove();
        this.made = null;
        return;
      }
      shown = this.made ?? this.make();
    }
    // As text: whatever a program prints, the page shows it and does nothing else with it.
    replaceText(codeOf(shown), text === "" ? "\n" : `${text}\n`);
    frame(shown).dataset.live = live;
  }

  private make(): HTMLElement {
    const box = document.createElement("div");
    box.className = "language-text highlight";
    const pre = document.createElement("pre");
    pre.append(document.createElement("code"));
    box.append(pre);
    this.block.box.after(box);
    this.made = box;
    return box;
  }

  /** As an image: a browser runs no script of an image, and loads nothing for it. */
  private draw(image: HTMLImageElement, svg: string): void {
    const urls = this.drawn.get(image);
    if (!urls) return;
    if (urls.live) URL.revokeObjectURL(urls.live);
    urls.live = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
    image.src = urls.live;
    image.dataset.live = urls.page.split("/").at(-1) ?? "";
  }
}

function frame(shown: HTMLElement): HTMLElement {
  return shown.closest<HTMLElement>(".highlight") ?? shown;
}
