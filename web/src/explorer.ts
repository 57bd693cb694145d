// The explorers: figures that answer the hand. Each stands on its page as a static figure and a
// table; a press of Start brings Python and puts a custom element in their place.
import { Bar } from "./bar";
import { shareLink } from "./edits";
import type { RuntimeFiles } from "./protocol";
import { pythonOf, Stopped } from "./python";

/** Sends a request to the explorer's Python; null if a newer request took its place. */
export type Ask = (request: unknown) => Promise<unknown>;

/** A custom element that draws what its Python computes. */
export interface Explorer extends HTMLElement {
  /**
   * Show the first answer; from then on, the element asks as the reader moves things. `state` is
   * what a link brought, as `state` below gave it, or else the empty string.
   */
  start(ask: Ask, state: string): Promise<void>;
  /** What a link must carry to show what is shown now. */
  readonly state: string;
}

/** What the chunk of an explorer exports. */
export interface ExplorerModule {
  /** Python with a function `answer(request)`, from what JSON holds to what JSON holds. */
  readonly source: string;
  readonly Element: new () => Explorer;
}

/** By the name in `data-explorer`, which is that of the custom element too. */
const EXPLORERS: Readonly<Record<string, () => Promise<ExplorerModule>>> = {
  "lookup-board": () => import("./explore/lookup-board"),
  "mask-bench": () => import("./explore/mask-bench"),
  "head-reader": () => import("./explore/head-reader"),
};

/** Give each explorer on the page its Start button. */
export function addExplorers(article: HTMLElement, runtime: RuntimeFiles | null): void {
  for (const place of article.querySelectorAll<HTMLElement>("[data-explorer]")) {
    const name = place.dataset.explorer ?? "";
    const load = EXPLORERS[name];
    if (!load) continue;
    const bar = new Bar(place, name.replaceAll("-", " "));
    place.prepend(bar.element); // above a figure that may be taller than the screen
    if (runtime) new Place(place, name, bar, load, runtime);
    else bar.say("This copy of the site was built without Python: the figure stands still.");
  }
}

class Place {
  private readonly button: HTMLButtonElement;
  /** Read at once, for the theme writes there too as the reader scrolls. */
  private readonly brought: string;

  constructor(
    private readonly place: HTMLElement,
    private readonly name: string,
    private readonly bar: Bar,
    private readonly load: () => Promise<ExplorerModule>,
    private readonly runtime: RuntimeFiles,
  ) {
    this.button = bar.button(
      "Start",
      "Start Python, and move the figure by hand",
      (press) => void this.start(press),
    );
    this.button.classList.add("run-main");
    const mark = `#${name}?`;
    this.brought = location.hash.startsWith(mark) ? location.hash.slice(mark.length) : "";
    if (this.brought) {
      this.bar.say("What came with the link is shown when you press Start.");
      this.place.scrollIntoView();
    }
  }

  private async start(press: MouseEvent): Promise<void> {
    this.button.disabled = true;
    try {
      const { source, Element } = await this.load();
      if (!customElements.get(this.name)) customElements.define(this.name, Element);
      const element = new Element();
      // Hidden until it has something to show: the static figure stays if Python cannot be had.
      element.hidden = true;
      this.place.append(element);
      try {
        await element.start(this.asking(source), this.brought);
      } catch (error) {
        element.remove();
        throw error;
      }
      for (const child of [...this.place.children]) {
        if (child !== element && child !== this.bar.element) (child as HTMLElement).hidden = true;
      }
      element.hidden = false;
      this.button.hidden = true;
      this.bar.button("Share", "Copy a link that shows this", () => void this.share(element));
      this.bar.say("");
      const first = element.querySelector<HTMLElement>("[data-first]");
      // Who pressed with a mouse or a finger (`detail` counts) keeps the page where it is.
      const preventScroll = press.detail > 0;
      (first ?? element.querySelector<HTMLElement>("input, select, button, [tabindex]"))?.focus({
        preventScroll,
      });
    } catch (error) {
      this.button.textContent = "Retry";
      this.bar.say(error instanceof Error ? error.message : String(error), "error");
    } finally {
      this.button.disabled = false;
    }
  }

  private async share(element: Explorer): Promise<void> {
    const url = new URL(location.href);
    url.hash = `${this.name}?${element.state}`;
    this.bar.say(await shareLink(url, "Copied: a link that shows this."));
  }

  /** One request is at work and one waits: the newest. */
  private asking(source: string): Ask {
    let atWork: Promise<unknown> = Promise.resolve();
    let newest = 0;
    return (request) => {
      const own = ++newest;
      const answer = atWork.then(() => (own === newest ? this.compute(source, request) : null));
      atWork = answer.catch(() => {});
      return answer;
    };
  }

  private async compute(source: string, request: unknown): Promise<unknown> {
    const asked = JSON.stringify(JSON.stringify(request));
    const program = {
      blocks: [
        { name: this.name, code: source },
        {
          name: "the request",
          code: `import json\nprint(json.dumps(answer(json.loads(${asked}))))`,
        },
      ],
      error: null,
      figures: [],
    };
    try {
      const outcome = await pythonOf(this.runtime).run(program, (now) => this.bar.watch(now));
      if (outcome.error) throw new Error(outcome.error.trim().split("\n").at(-1));
      this.bar.say("");
      return JSON.parse(outcome.output);
    } catch (error) {
      const stopped = error instanceof Stopped;
      const reason = error instanceof Error ? error.message : String(error);
      this.bar.say(stopped ? "Stopped. Move something to go on." : reason, "error");
      throw error;
    }
  }
}
