// The mask bench: masks to compose, and what other libraries do with the same request. The code of
// the mask, the mask and every answer come from mask_bench.py; here they are drawn.
import type { Ask, Explorer } from "../explorer";
import { make } from "./element";
import source from "./mask_bench.py";
import { drawnMask, MaskGrid } from "./mask-bench-grid";
import {
  type Bench,
  KINDS,
  type Kind,
  MOST,
  MOST_PARTS,
  newPart,
  type Part,
  readBench,
  STARTS,
  writeBench,
} from "./mask-bench-state";

export { MaskBench as Element, source };

interface Answer {
  readonly code: string;
  readonly error: string | null;
  readonly text: string;
  readonly mask: boolean[][] | null;
  readonly queries: readonly { readonly position: number; readonly sees: readonly number[] }[];
  readonly keys: readonly { readonly seen_by: readonly number[] }[];
  readonly summary: string;
  readonly libraries: readonly Compared[];
}

interface Compared {
  readonly name: string;
  readonly documented: boolean;
  readonly asked: string | null;
  readonly refused: string | null;
  readonly sees: boolean[][] | null;
  readonly differs: boolean | null;
  readonly program: string | null;
  readonly masked: boolean;
  readonly unseen: string | null;
  readonly note: string | null;
  readonly verdict: string;
}

class MaskBench extends HTMLElement implements Explorer {
  private bench = startFrom("A cache");
  private ask: Ask = () => Promise.resolve(null);
  private readonly choices = make("div", { className: "choices" });
  private readonly summary = make("p", { className: "summary" });
  private readonly grid = new MaskGrid();
  private readonly code = new Program("Copy the code of this mask");
  private readonly text = make("pre", { tabIndex: 0 });
  private readonly libraries = new Map<string, LibraryView>();
  private readonly list = make("div", { className: "libraries" });

  async start(ask: Ask, state: string): Promise<void> {
    this.ask = ask;
    this.bench = readBench(state) ?? this.bench;
    this.build();
    this.rebuild();
    await this.update();
  }

  get state(): string {
    return writeBench(this.bench);
  }

  private build(): void {
    this.summary.setAttribute("role", "status");
    const shown = make("div", { className: "shown" });
    shown.append(this.summary, this.grid.element, this.grid.reading);
    const table = make("details", { className: "folded", open: true });
    table.append(make("summary", { textContent: "The mask as text" }), this.text);
    const made = make("div", { className: "made" });
    made.append(title("The code that makes it"), this.code.element, table);
    const others = make("div", { className: "others" });
    others.append(title("What libraries do with the same request"), this.list);
    this.append(this.choices, shown, made, others);
  }

  /** Make the choices anew, for another bench than before. */
  private rebuild(): void {
    const { bench } = this;
    const starts = make("div", { className: "starts" });
    starts.setAttribute("role", "group");
    starts.setAttribute("aria-label", "Start from");
    starts.append(make("span", { textContent: "Start from" }));
    for (const name of Object.keys(STARTS)) {
      const pressed = button(name, `Start from: ${name}`, () => {
        this.bench = startFrom(name);
        this.rebuild();
        this.refresh();
        const again = [...this.choices.querySelectorAll<HTMLElement>(".starts button")];
        again.find((one) => one.textContent === name)?.focus();
      });
      starts.append(pressed);
    }
    const sizes = make("div", { className: "sizes" });
    const start = make("label");
    start.append(make("span", { textContent: "q_start" }), this.starting());
    const resized = () => {
      start.lastElementChild?.replaceWith(this.starting());
      this.refresh();
    };
    sizes.append(
      slider("q_len", bench.q_len, 1, (chosen) => {
        bench.q_len = chosen;
        resized();
      }),
      slider("kv_len", bench.kv_len, 1, (chosen) => {
        bench.kv_len = chosen;
        resized();
      }),
      start,
    );
    const parts = make("div", { className: "parts" });
    parts.append(...bench.parts.map((part, place) => this.partRow(part, place)));
    const add = make("div", { className: "add" });
    add.setAttribute("role", "group");
    add.setAttribute("aria-label", "Add a mask");
    for (const kind of Object.keys(KINDS) as Kind[]) {
      const pressed = button(`+ ${kind}`, `Add a mask: ${kind}`, () => {
        bench.parts.push(newPart(kind));
        this.rebuild();
        this.refresh();
        this.choices.querySelector<HTMLElement>(".parts > :last-child :is(select, input)")?.focus();
      });
      pressed.disabled = bench.parts.length === MOST_PARTS;
      add.append(pressed);
    }
    this.choices.replaceChildren(starts, sizes, parts, add);
  }

  /** Where query 0 may stand, with the names that libraries' habits have. */
  private starting(): HTMLSelectElement {
    const { q_len, kv_len } = this.bench;
    const last = kv_len - q_len;
    const from = Math.min(-2, last, this.bench.q_start ?? 0);
    const select = make("select");
    select.append(make("option", { value: "", textContent: "not given" }));
    for (let place = from; place <= Math.max(kv_len, this.bench.q_start ?? 0); place++) {
      const names = [place === 0 ? "top-left" : "", place === last ? "bottom-right" : ""];
      const named = names.filter(Boolean).join(", ");
      const textContent = named ? `${place} (${named})` : String(place);
      select.append(make("option", { value: String(place), textContent }));
    }
    select.value = String(this.bench.q_start ?? "");
    select.addEventListener("change", () => {
      this.bench.q_start = select.value === "" ? null : Number(select.value);
      this.refresh();
    });
    return select;
  }

  private partRow(part: Part, place: number): HTMLElement {
    const row = make("div");
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", `Mask ${place + 1}: ${part.kind}`);
    if (place > 0) {
      const join = make("select");
      join.setAttribute("aria-label", `How mask ${place + 1} joins those above`);
      join.append(
        make("option", { value: "and", textContent: "and" }),
        make("option", { value: "or", textContent: "or" }),
      );
      join.value = part.join;
      join.addEventListener("change", () => {
        part.join = join.value === "or" ? "or" : "and";
        this.refresh();
      });
      row.append(join);
    }
    const negated = make("input", { type: "checkbox", checked: part.negated });
    negated.addEventListener("change", () => {
      part.negated = negated.checked;
      this.refresh();
    });
    const not = make("label", { className: "not" });
    not.append(negated, "not");
    row.append(not, make("strong", { textContent: part.kind }));
    const remove = button("×", `Remove mask ${place + 1}: ${part.kind}`, () => {
      this.bench.parts.splice(place, 1);
      this.rebuild();
      this.refresh();
      this.choices.querySelector<HTMLElement>(".add button")?.focus();
    });
    row.append(
      ...KINDS[part.kind].map(({ label, least }, number) =>
        slider(
          label,
          part.numbers[number] ?? least,
          least,
          (chosen) => {
            part.numbers[number] = chosen;
            this.refresh();
          },
          `${label}, mask ${place + 1}`,
        ),
      ),
      remove,
    );
    return row;
  }

  private refresh(): void {
    // What goes wrong is said in the bar.
    void this.update().catch(() => {});
  }

  private async update(): Promise<void> {
    const { q_len, kv_len, q_start, parts } = this.bench;
    const answer = (await this.ask({
      q_len,
      kv_len,
      q_start,
      parts: parts.map(({ kind, join, negated, numbers }) => ({
        kind,
        join,
        negated,
        ...Object.fromEntries(KINDS[kind].map(({ name }, place) => [name, numbers[place]])),
      })),
    })) as Answer | null;
    if (answer) this.show(answer);
  }

  private show(answer: Answer): void {
    if (this.summary.textContent !== answer.summary) this.summary.textContent = answer.summary;
    this.summary.classList.toggle("error", answer.error !== null);
    this.grid.show(answer.mask, answer.queries, answer.keys);
    this.code.show(answer.code);
    this.text.textContent = answer.text || "There is no mask to show.\n";
    for (const library of answer.libraries) {
      let view = this.libraries.get(library.name);
      if (!view) {
        view = new LibraryView(library.name);
        this.libraries.set(library.name, view);
        this.list.append(view.element);
      }
      view.show(library, answer.mask);
    }
  }
}

/** One library: its verdict, and folded below it how it was asked and what to write. */
class LibraryView {
  readonly element = make("details", { className: "folded" });
  private readonly verdict = make("span", { className: "verdict" });
  private readonly unseen = make("span", { className: "unseen" });
  private readonly body = make("div");
  private readonly program: Program;

  constructor(name: string) {
    const summary = make("summary");
    summary.append(make("span", { className: "name", textContent: name }), this.verdict);
    summary.append(this.unseen);
    this.element.append(summary, this.body);
    this.program = new Program(`Copy the program for ${name}`);
  }

  show(library: Compared, mask: boolean[][] | null): void {
    this.verdict.textContent = `${sign(library, mask)} ${library.verdict}`;
    this.unseen.textContent = library.unseen ? `nothing to see: ${library.unseen}` : "";
    this.unseen.classList.toggle("bad", library.unseen !== "0");
    const body: Node[] = [];
    if (library.documented) body.push(paragraph("By its documentation, not run."));
    if (library.asked === null) {
      body.push(paragraph("It has no arguments for this request."));
    } else {
      body.push(paragraph("Asked in its own words:"), listing(library.asked));
    }
    if (library.refused !== null) body.push(paragraph(`It refuses: ${library.refused}.`));
    if (library.sees) {
      const marked = library.differs
        ? "What it shows; ≠ where that is another mask:"
        : "What it shows:";
      body.push(paragraph(marked), drawnMask(library.sees, mask));
    }
    if (library.note) body.push(paragraph(library.note));
    if (library.program !== null) {
      const how = library.masked ? "For this very mask, hand it over:" : "For this very mask:";
      body.push(paragraph(how), this.program.element);
      this.program.show(library.program);
    } else if (mask) {
      body.push(paragraph("It takes no mask, so that it cannot show this one."));
    }
    if (library.unseen) {
      body.push(paragraph(`A query that may see nothing then gets ${library.unseen}.`));
    }
    this.body.replaceChildren(...body);
  }
}

/** Code with a button that copies it, and a line that says how that went. */
class Program {
  private readonly code = make("code", { tabIndex: 0 }); // which scrolls, and not the box around it
  private readonly said = make("span", { role: "status" });
  readonly element: HTMLElement;

  constructor(name: string) {
    const copy = button("Copy", name, () => void this.toClipboard());
    this.element = make(
      "div",
      { className: "program" },
      make("pre", {}, this.code),
      copy,
      this.said,
    );
  }

  show(code: string): void {
    this.code.textContent = `${code}\n`;
    this.said.textContent = "";
  }

  private async toClipboard(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.code.textContent ?? "");
      this.said.textContent = "Copied.";
    } catch {
      this.said.textContent = "The browser does not let this page copy.";
    }
  }
}

function startFrom(name: string): Bench {
  const bench = readBench(STARTS[name] ?? "");
  if (!bench) throw new Error(`${name} must be a bench`);
  return bench;
}

/** A sign beside the words, to find a verdict by. */
function sign(library: Compared, mask: boolean[][] | null): string {
  if (library.refused !== null) return "!";
  if (library.asked === null) return library.program === null && mask ? "–" : "→";
  if (library.differs === null) return "·";
  return library.differs ? "≠" : "=";
}

function slider(
  label: string,
  value: number,
  least: number,
  choose: (chosen: number) => void,
  name = label,
): HTMLElement {
  const input = make("input", { type: "range" });
  input.min = String(least);
  input.max = String(MOST);
  input.value = String(value);
  input.setAttribute("aria-label", name);
  const output = make("output", { textContent: String(value) });
  input.addEventListener("input", () => {
    output.textContent = input.value;
    choose(input.valueAsNumber);
  });
  const element = make("label");
  element.append(make("span", { textContent: label }), input, output);
  return element;
}

function button(textContent: string, name: string, press: () => void): HTMLButtonElement {
  const element = make("button", { type: "button", textContent, title: name });
  element.setAttribute("aria-label", name);
  element.addEventListener("click", press);
  return element;
}

function title(textContent: string): HTMLElement {
  return make("p", { className: "title", textContent });
}

function paragraph(textContent: string): HTMLElement {
  return make("p", { textContent });
}

function listing(code: string): HTMLElement {
  return make("pre", {}, make("code", { tabIndex: 0 }, `${code}\n`));
}
