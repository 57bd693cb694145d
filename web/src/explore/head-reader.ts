// The head reader: all heads of a model by what they read, and one head's map, token by token.
import type { Ask, Explorer } from "../explorer";
import { make } from "./element";
import source from "./head_reader.py";
import style from "./head-reader.css" with { type: "text" };
import { type Grid, HeadMap, shownToken, smallMap } from "./head-reader-map";

export { source };

/** What `answer` in head_reader.py returns. */
interface Answer {
  readonly choices: {
    readonly recorded: Readonly<Record<string, Readonly<Record<string, string>>>>;
    readonly live: string;
    readonly steps: readonly number[];
  };
  readonly model: string;
  readonly text: string;
  readonly step: number | null;
  readonly shown: string;
  readonly layer: number;
  readonly head: number;
  readonly tokens: readonly string[];
  readonly partners: readonly number[];
  readonly scores: Readonly<Record<string, Grid>>;
  readonly strongest: Readonly<Record<string, readonly [layer: number, head: number]>>;
  readonly "over half": Readonly<Record<string, number>>;
  readonly maps: readonly Grid[];
  readonly lengths: readonly number[];
  readonly next: readonly (readonly [token: string, chance: number, without: number | null])[];
}

/** What is asked of `answer`; what is left out it chooses itself. */
interface Wanted {
  readonly model?: string;
  readonly text?: string;
  readonly step?: number;
  readonly layer?: number;
  readonly head?: number;
  readonly shown?: string;
}

/** The scores of a head, as the reader reads them. */
const SCORES: Readonly<Record<string, string>> = {
  first: "weight on the first token",
  itself: "weight on the token itself",
  previous: "weight on the token before",
  partner: "weight on the partner",
  removed: "turn of the answer without the head",
  shifted: "turn with its weights moved on by one key",
};
const SHOWN: Readonly<Record<string, string>> = {
  weights: "weights",
  "handed over": "weights × value length",
};

const HELP = "head-reader-help";

/** A control with its name above it. */
function labelled<T extends HTMLElement>(name: string, control: T): T {
  make("label", {}, make("span", {}, name), control);
  return control;
}

function fillOptions(
  select: HTMLSelectElement,
  options: readonly (readonly [string, string])[],
): void {
  const same =
    select.options.length === options.length &&
    options.every(([value], at) => select.options[at]?.value === value);
  if (same) return;
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === before)) select.value = before;
}

/** Let the arrow keys choose among `buttons`, `columns` in a row; the chosen one has the Tab key. */
function chooseByArrows(
  place: HTMLElement,
  buttons: () => readonly HTMLButtonElement[],
  columns: () => number,
): void {
  place.addEventListener("keydown", (event) => {
    const all = buttons();
    const at = all.indexOf(event.target as HTMLButtonElement);
    const steps: Record<string, number> = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at - columns(),
      ArrowDown: at + columns(),
      Home: 0,
      End: all.length - 1,
    };
    const to = steps[event.key];
    if (at < 0 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    all[to]?.focus();
    all[to]?.click();
  });
}

function mark(buttons: readonly HTMLButtonElement[], chosen: number): void {
  for (const [at, button] of buttons.entries()) {
    button.setAttribute("aria-pressed", `${at === chosen}`);
    button.tabIndex = at === chosen ? 0 : -1;
  }
}

export class Element extends HTMLElement implements Explorer {
  private ask: Ask = async () => null;
  private asked = 0;
  private wanted: Wanted = {};
  private answer: Answer | undefined;
  private token = 0;
  private speaking: ReturnType<typeof setTimeout> | undefined;

  private readonly model = labelled("Model", make("select"));
  private readonly text = labelled("Text", make("select"));
  private readonly letters = labelled("Letters, a to z", make("input"));
  private readonly step = labelled("After training step", make("select"));
  private readonly layer = labelled("Layer", make("select"));
  private readonly shown = labelled("Show", make("select"));
  private readonly score = labelled("All heads, coloured by", make("select"));
  private readonly summary = make("p");
  private readonly overview = make("table", { className: "overview" });
  private readonly heads = make("div", { className: "heads" });
  private readonly heading = make("p", { className: "heading" });
  private readonly facts = make("dl");
  private readonly map = new HeadMap(
    (query) => this.drawToken(query ?? this.token),
    (query) => this.choose(query),
  );
  private readonly numbers = make("table", { className: "numbers" });
  private readonly reading = make("p", { className: "reading" });
  private readonly next = make("table", { className: "next" });

  get state(): string {
    const { model, text, step, layer, head, shown } = this.now();
    const shownNow = {
      model,
      text,
      layer,
      head,
      shown,
      token: this.token,
      score: this.score.value,
    };
    const all = Object.entries(step === null ? shownNow : { ...shownNow, step });
    return new URLSearchParams(all.map(([name, value]) => [name, `${value}`])).toString();
  }

  async start(ask: Ask, state: string): Promise<void> {
    this.ask = ask;
    this.build();
    const linked = Object.fromEntries(new URLSearchParams(state));
    try {
      await this.request(fromLink(linked));
    } catch (error) {
      if (!state) throw error;
      await this.request({}); // a link that cannot be read opens what stands here without one
    }
    if (linked.score && Object.hasOwn(this.now().scores, linked.score)) {
      this.score.value = linked.score;
    }
    this.drawOverview();
    if (linked.token) this.choose(Number(linked.token));
    this.numbers.querySelector("[aria-pressed=true]")?.setAttribute("data-first", "");
  }

  private now(): Answer {
    if (!this.answer) throw new Error("the head reader has not started");
    return this.answer;
  }

  private build(): void {
    if (!document.adoptedStyleSheets.includes(sheet)) document.adoptedStyleSheets.push(sheet);
    fillOptions(this.shown, Object.entries(SHOWN));
    Object.assign(this.letters, { type: "text", spellcheck: false, maxLength: 60 });
    this.letters.autocapitalize = "none";
    this.letters.autocomplete = "off";
    this.text.parentElement?.classList.add("sentence");
    const controls = [this.model, this.text, this.letters, this.step, this.layer, this.shown];
    const lead = make(
      "div",
      { className: "controls" },
      ...controls.map((one) => one.parentElement ?? one),
    );
    // Another model has other texts, layers and heads: Python chooses.
    this.model.onchange = () => this.send({ model: this.model.value, shown: this.shown.value });
    this.text.onchange = () => this.change({ text: this.text.value });
    this.letters.oninput = () => this.change({ text: this.letters.value });
    this.step.onchange = () => this.change({ step: Number(this.step.value) });
    this.layer.onchange = () => this.change({ layer: Number(this.layer.value) });
    this.shown.onchange = () => this.change({ shown: this.shown.value });
    this.score.onchange = () => this.drawOverview();
    this.reading.setAttribute("role", "status");
    this.overview.setAttribute("aria-label", "All heads: a row a layer, a column a head");
    this.numbers.setAttribute("aria-label", "What a token reads, and who reads it");
    this.numbers.setAttribute("aria-describedby", HELP);
    this.heads.setAttribute("role", "group");
    const buttons = (place: HTMLElement) => () => [...place.querySelectorAll("button")];
    const across = () => this.now().scores.removed?.[0]?.length ?? 1;
    chooseByArrows(this.overview, buttons(this.overview), across);
    chooseByArrows(this.heads, buttons(this.heads), across);
    chooseByArrows(this.numbers, buttons(this.numbers), () => 1);
    this.append(
      lead,
      make(
        "div",
        { className: "all" },
        make("div", { className: "scored" }, this.score.parentElement ?? this.score, this.summary),
        make(
          "div",
          { className: "both" },
          make("div", { className: "scroll" }, this.overview),
          this.heads,
        ),
      ),
      this.heading,
      this.facts,
      make("p", {
        className: "help",
        id: HELP,
        textContent:
          "Press a token, or go from one to the next with the arrow keys. Shift+Tab leads back to " +
          "the heads, and from there to layer, text and model.",
      }),
      make("div", { className: "pair" }, this.map.element, this.numbers),
      this.reading,
      this.next,
    );
  }

  private change(change: Wanted): void {
    this.send({ ...this.wanted, ...change });
  }

  private send(wanted: Wanted): void {
    this.request(wanted).catch(() => {}); // the base has said what is wrong
  }

  private async request(wanted: Wanted): Promise<void> {
    this.wanted = wanted;
    const own = ++this.asked;
    const answer = (await this.ask(wanted)) as Answer | null;
    if (!answer || own !== this.asked) return;
    const { model, text, step, layer, head, shown } = answer;
    this.wanted = { model, text, layer, head, shown, ...(step === null ? {} : { step }) };
    const sameTokens = this.answer?.tokens.join("\n") === answer.tokens.join("\n");
    this.answer = answer;
    if (!sameTokens) this.takeTokens();
    this.drawControls();
    this.drawOverview();
    this.drawHeads();
    this.drawHead();
    this.choose(this.token);
  }

  /** Begin at the last token that has a partner. */
  private takeTokens(): void {
    const { tokens, partners } = this.now();
    const last = partners.findLastIndex((partner) => partner >= 0);
    this.token = last < 0 ? tokens.length - 1 : last;
    const rows = tokens.map((token, at) => {
      const button = make("button", {}, make("small", {}, `${at} `), shownToken(token));
      button.type = "button";
      button.onclick = () => this.choose(at);
      button.onpointerenter = ({ pointerType }) => pointerType === "mouse" && this.drawToken(at);
      button.onpointerleave = () => this.drawToken(this.token);
      const head = make("th", {}, button, make("small", { className: "marks" }));
      head.scope = "row";
      return make("tr", {}, head, make("td"), make("td"), make("td"));
    });
    const names = ["Token", "", "", "Length"].map((name) => {
      const head = make("th", {}, name);
      head.scope = "col";
      return head;
    });
    this.numbers.replaceChildren(
      make("thead", {}, make("tr", {}, ...names)),
      make("tbody", {}, ...rows),
    );
  }

  private drawControls(): void {
    const { choices, model, text, step, layer, shown, scores } = this.now();
    const live = model === choices.live;
    const texts = Object.entries(choices.recorded[model] ?? {});
    const names = [...Object.keys(choices.recorded), choices.live];
    fillOptions(
      this.model,
      names.map((name) => [name, name]),
    );
    fillOptions(
      this.text,
      texts.map(([name, full]) => [name, `${name}: ${full.trim()}`]),
    );
    fillOptions(
      this.step,
      choices.steps.map((one) => [`${one}`, `${one}`]),
    );
    fillOptions(
      this.layer,
      (scores.removed ?? []).map((_, at) => [`${at}`, `${at}`]),
    );
    fillOptions(
      this.score,
      Object.entries(SCORES).filter(([name]) => name in scores),
    );
    for (const [control, at] of [
      [this.text, !live],
      [this.letters, live],
      [this.step, live],
    ] as const) {
      if (control.parentElement) control.parentElement.hidden = !at;
    }
    this.model.value = model;
    this.text.value = text;
    // While the reader types, the letters are theirs.
    if (live && document.activeElement !== this.letters) this.letters.value = text;
    this.step.value = `${step}`;
    this.layer.value = `${layer}`;
    this.shown.value = shown;
  }

  private drawOverview(): void {
    const { layer, head, scores, strongest, "over half": counts } = this.now();
    const name = this.score.value;
    const scored = scores[name] ?? [];
    const across = scored[0]?.length ?? 0;
    if (
      this.overview.rows.length !== scored.length + 1 ||
      this.overview.rows[0]?.cells.length !== across + 1
    ) {
      this.layOverview(scored.length, across);
    }
    const buttons = [...this.overview.querySelectorAll("button")];
    const largest = Math.max(...scored.flat());
    const digits = name in counts ? 2 : 3;
    this.overview.classList.toggle("fine", digits > 2);
    for (const [at, button] of buttons.entries()) {
      const value = scored[Math.floor(at / across)]?.[at % across] ?? 0;
      const full = name in counts ? 1 : largest;
      button.style.setProperty("--part", `${Math.max(0, value / full)}`);
      button.textContent = value.toFixed(digits).replace(/^0/, "");
      const place = `layer ${Math.floor(at / across)}, head ${at % across}`;
      button.setAttribute("aria-label", `${place}: ${value.toFixed(digits)}`);
    }
    mark(buttons, layer * across + head);
    this.scrollToCell(buttons[layer * across + head]);
    const [l, h] = strongest[name] ?? [0, 0];
    const count = counts[name];
    const jump = make("button", { className: "jump" }, `layer ${l}, head ${h}`);
    jump.type = "button";
    jump.onclick = () => this.change({ layer: l, head: h });
    this.summary.replaceChildren(
      count === undefined ? "" : `${count} of ${buttons.length} heads give it over half. `,
      "The most: ",
      jump,
      `, ${(scored[l]?.[h] ?? 0).toFixed(name in counts ? 2 : 4)}.`,
    );
  }

  /** Bring a cell into its box, which is scrolled where a model has many layers; not the page. */
  private scrollToCell(cell: HTMLElement | undefined): void {
    const box = this.overview.parentElement;
    if (!box || !cell) return;
    const [inner, outer] = [cell.getBoundingClientRect(), box.getBoundingClientRect()];
    const above = 2 * inner.height; // the numbers of the heads stay at the top
    if (inner.top < outer.top + above) box.scrollTop -= outer.top + above - inner.top;
    if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom + above;
  }

  private layOverview(layers: number, heads: number): void {
    const head = make("tr", {}, make("td"));
    for (let at = 0; at < heads; at++) {
      const column = make("th", {}, `${at}`);
      column.scope = "col";
      head.append(column);
    }
    const rows = Array.from({ length: layers }, (_, layer) => {
      const name = make("th", {}, `${layer}`);
      name.scope = "row";
      const row = make("tr", {}, name);
      for (let at = 0; at < heads; at++) {
        const button = make("button");
        button.type = "button";
        button.onclick = () => this.change({ layer, head: at });
        row.append(make("td", {}, button));
      }
      return row;
    });
    this.overview.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  }

  private drawHeads(): void {
    const { maps, head, layer, shown } = this.now();
    while (this.heads.childElementCount > maps.length) this.heads.lastElementChild?.remove();
    while (this.heads.childElementCount < maps.length) {
      const at = this.heads.childElementCount;
      const button = make("button");
      button.type = "button";
      button.onclick = () => this.change({ head: at });
      this.heads.append(button);
    }
    this.heads.setAttribute("aria-label", `The heads of layer ${layer}, by ${SHOWN[shown]}`);
    const buttons = [...this.heads.querySelectorAll("button")];
    for (const [at, button] of buttons.entries()) {
      button.replaceChildren(smallMap(maps[at] ?? []), `head ${at}`);
    }
    mark(buttons, head);
  }

  private drawHead(): void {
    const { layer, head, scores, shown, tokens, partners, maps, model, choices, next } = this.now();
    const pairs = partners.flatMap((to, from) => (to < 0 ? [] : [[from, to] as const]));
    const named = pairs
      .slice(0, 2)
      .map(([from, to]) => `${shownToken(tokens[from])} → ${shownToken(tokens[to])}`);
    const more = pairs.length > 2 ? ` and ${pairs.length - 2} more` : "";
    const partner = pairs.length > 0 ? `Partners: ${named.join(", ")}${more}.` : "No partners.";
    this.heading.replaceChildren(make("strong", {}, `Layer ${layer}, head ${head}`), ` ${partner}`);
    this.facts.replaceChildren(
      ...Object.entries(SCORES).flatMap(([name, meaning]) => {
        const value = scores[name]?.[layer]?.[head];
        if (value === undefined) return [];
        const digits = name === "removed" || name === "shifted" ? 4 : 2;
        return [make("div", {}, make("dt", {}, meaning), make("dd", {}, value.toFixed(digits)))];
      }),
    );
    const what = `Layer ${layer}, head ${head}: ${SHOWN[shown]} of each query, down, on each key`;
    const name = `${what}, across. The table holds those of one token.`;
    this.map.draw(maps[head] ?? [], tokens, partners, name);
    const rows = next.map(([token, chance, without]) => {
      const name = make("th", {}, shownToken(token));
      name.scope = "row";
      return make(
        "tr",
        {},
        name,
        shareCell(chance),
        ...(without === null ? [] : [shareCell(without)]),
      );
    });
    const heading = ["Next token", "probability", "without this head"]
      .slice(0, model === choices.live ? 3 : 2)
      .map((name) => {
        const cell = make("th", {}, name);
        cell.scope = "col";
        return cell;
      });
    this.next.hidden = next.length === 0;
    this.next.replaceChildren(
      make("thead", {}, make("tr", {}, ...heading)),
      make("tbody", {}, ...rows),
    );
    this.numbers.classList.toggle("with-lengths", shown === "handed over");
  }

  /** Take a token, show what it reads and who reads it, and say so. */
  private choose(token: number): void {
    const { tokens } = this.now();
    if (Number.isInteger(token) && token >= 0 && token < tokens.length) this.token = token;
    mark([...this.numbers.querySelectorAll("button")], this.token);
    this.drawToken(this.token);
    clearTimeout(this.speaking);
    // A moment later, so that who runs through the tokens hears the last one alone.
    this.speaking = setTimeout(() => {
      this.reading.textContent = this.sentence();
    }, 300);
  }

  private sentence(): string {
    const { tokens, maps, head, shown } = this.now();
    const map = maps[head] ?? [];
    const most = (parts: readonly number[]) =>
      [...parts.entries()]
        .sort(([, a], [, b]) => b - a)
        .filter(([, part]) => part >= 0.005)
        .slice(0, 3)
        .map(([at, part]) => `${shownToken(tokens[at])} ${part.toFixed(2)}`)
        .join(", ");
    const own = `“${shownToken(tokens[this.token])}”`;
    const given = shown === "weights" ? "reads" : "is handed most by";
    const readers = most(map.map((row) => row[this.token] ?? 0));
    return `${own} ${given} ${most(map[this.token] ?? [])}; ${own} is read most by ${readers || "none"}.`;
  }

  /** Show the row and the column of a token. */
  private drawToken(token: number): void {
    const { tokens, maps, head, partners, lengths } = this.now();
    const map = maps[head] ?? [];
    this.map.frame(token);
    const own = () => make("span", {}, `“${shownToken(tokens[token])}”`);
    const [, reads, readers] = this.numbers.tHead?.rows[0]?.cells ?? [];
    reads?.replaceChildren(own(), make("span", {}, "reads it"));
    readers?.replaceChildren(make("span", {}, "it reads"), own());
    for (const [at, row] of [...(this.numbers.tBodies[0]?.rows ?? [])].entries()) {
      const [name, from, to, length] = row.cells;
      const kinds = [
        at === partners[token] ? "partner" : "",
        at === token ? "itself" : "",
        at === token - 1 ? "before" : "",
        at === 0 ? "first" : "",
      ];
      const marks = name?.querySelector(".marks");
      if (marks) marks.textContent = kinds.filter((kind) => kind).join(", ");
      if (from) showShare(from, map[token]?.[at] ?? 0);
      if (to) showShare(to, map[at]?.[token] ?? 0);
      if (length) length.textContent = (lengths[at] ?? 0).toFixed(2);
      row.classList.toggle("at", at === token);
    }
  }
}

/** A share as a number with a bar behind it. */
function showShare(cell: HTMLTableCellElement, share: number): void {
  cell.className = "share";
  cell.style.setProperty("--part", `${share}`);
  cell.textContent = share.toFixed(2);
}

function shareCell(share: number): HTMLTableCellElement {
  const cell = make("td");
  showShare(cell, share);
  return cell;
}

/** What a link asks for; numbers that are none are left to Python to refuse. */
function fromLink({
  model,
  text,
  step,
  layer,
  head,
  shown,
}: Readonly<Record<string, string>>): Wanted {
  return {
    ...(model === undefined ? {} : { model }),
    ...(text === undefined ? {} : { text }),
    ...(step === undefined ? {} : { step: Number(step) }),
    ...(layer === undefined ? {} : { layer: Number(layer) }),
    ...(head === undefined ? {} : { head: Number(head) }),
    ...(shown === undefined ? {} : { shown }),
  };
}

const sheet = new CSSStyleSheet();
sheet.replaceSync(style);
