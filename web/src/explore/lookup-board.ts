// The lookup board: a query and keys to move in the plane, and the average that they make of the
// values. Every number comes from lookup_board.py; here they are drawn.
import type { Ask, Explorer } from "../explorer";
import { make } from "./element";
import source from "./lookup_board.py";
import { type Answer, BoardPicture, type Handle, type Move } from "./lookup-board-picture";
import {
  coordinate,
  firstBoard,
  LARGEST_VALUE,
  NAMES,
  readBoard,
  TEMPERATURES,
  WIDTHS,
  writeBoard,
} from "./lookup-board-state";

export { LookupBoard as Element, source };

class LookupBoard extends HTMLElement implements Explorer {
  private board = firstBoard();
  private ask: Ask = () => Promise.resolve(null);
  private readonly picture = new BoardPicture((handle, to) => this.move(handle, to));
  private readonly rows = make("tbody");
  private readonly heard = make("p", { className: "heard", role: "status" });
  private readonly output = make("dd");
  private readonly entropy = make("dd");
  private readonly largest = make("dd");
  private readonly jacobian = make("dd");
  private readonly temperature = new Slider("Temperature", "T", TEMPERATURES, (chosen) => {
    this.board.temperature = chosen;
    this.refresh();
  });
  private readonly width = new Slider("Entries of a vector", "d_k", WIDTHS, (chosen) => {
    this.board.d_k = chosen;
    this.refresh();
  });
  private readonly scaled = make("input", { type: "checkbox" });
  private readonly add = make("button", { type: "button", textContent: "Add a key" });
  private speaks: ReturnType<typeof setTimeout> | undefined;

  async start(ask: Ask, state: string): Promise<void> {
    this.ask = ask;
    this.board = readBoard(state) ?? this.board;
    this.build();
    this.rebuild();
    await this.update();
  }

  get state(): string {
    return writeBoard(this.board);
  }

  private build(): void {
    this.scaled.addEventListener("change", () => {
      this.board.scaled = this.scaled.checked;
      this.refresh();
    });
    this.add.addEventListener("click", () => this.addKey());
    const again = make("button", { type: "button", textContent: "Start again" });
    again.addEventListener("click", () => {
      this.board = firstBoard();
      this.rebuild();
      this.refresh();
    });
    const help = make("p", {
      className: "help",
      textContent:
        "Drag a tip or a value; or reach it with Tab and press the arrow keys, with Shift for " +
        "longer steps. Delete removes a key.",
    });
    const numbers = make("dl");
    numbers.append(
      ...pair("Output", this.output),
      ...pair("Largest weight", this.largest),
      ...pair("Entropy", this.entropy),
      ...pair("Norm of the Jacobian", this.jacobian),
    );
    const choices = make("div", { className: "choices" });
    const scaling = make("label");
    scaling.append(this.scaled, indexed("Divide the scores by √d", "k"));
    choices.append(this.temperature.element, this.width.element, scaling);
    const buttons = make("div", { className: "buttons" });
    buttons.append(this.add, again);
    const panel = make("div", { className: "panel" });
    panel.append(choices, numbers, this.table(), buttons, help, this.heard);
    this.append(this.picture.element, panel);
  }

  private table(): HTMLElement {
    const table = make("table", { className: "numbers" });
    const head = make("tr");
    for (const title of ["Key", "x", "y", "Value", "Score", "Weight"]) {
      head.append(make("th", { scope: "col", textContent: title }));
    }
    head.append(make("td"));
    const top = make("thead");
    top.append(head);
    table.append(top, this.rows);
    return table;
  }

  /** Make handles and rows anew, for other keys than before. */
  private rebuild(): void {
    const { keys, temperature, d_k, scaled } = this.board;
    this.picture.rebuild(this.board);
    this.temperature.value = temperature;
    this.width.value = d_k;
    this.scaled.checked = scaled;
    this.add.disabled = keys.length === NAMES.length;
    this.rows.replaceChildren(
      ...keys.map(({ name }) => {
        const row = make("tr");
        row.append(make("th", { scope: "row", textContent: name }));
        for (let column = 0; column < 5; column++) row.append(make("td"));
        const remove = make("button", { type: "button", textContent: "×" });
        remove.setAttribute("aria-label", `Remove ${name}`);
        remove.title = `Remove ${name}`;
        remove.disabled = keys.length === 1;
        remove.addEventListener("click", () => this.removeKey(name));
        const last = make("td");
        last.append(remove);
        row.append(last);
        return row;
      }),
    );
  }

  private addKey(): void {
    const { keys } = this.board;
    const name = [...NAMES].find((one) => keys.every((key) => key.name !== one));
    if (!name) return;
    keys.push({ name, at: [0.2, 0.2], value: LARGEST_VALUE / 2 });
    keys.sort((one, other) => one.name.localeCompare(other.name));
    this.rebuild();
    this.picture.focus(name);
    this.refresh();
  }

  private removeKey(name: string): void {
    const { keys } = this.board;
    if (keys.length === 1) return;
    keys.splice(
      keys.findIndex((key) => key.name === name),
      1,
    );
    this.rebuild();
    this.picture.focus("query");
    this.refresh();
  }

  private move(handle: Handle, move: Move): void {
    const { keys, query } = this.board;
    const key = keys.find(({ name }) => name === handle.name);
    if (move.how === "away") {
      if (key) this.removeKey(key.name);
      return;
    }
    const now = handle.kind === "value" ? ([key?.value ?? 0, 0] as const) : (key?.at ?? query);
    const [x, y] =
      move.how === "to" ? move.point : [now[0] + move.point[0], now[1] + move.point[1]];
    if (!key) this.board.query = [coordinate(x), coordinate(y)];
    else if (handle.kind === "key") key.at = [coordinate(x), coordinate(y)];
    else key.value = Math.round(Math.min(Math.max(x, 0), LARGEST_VALUE));
    this.refresh();
  }

  private refresh(): void {
    // What goes wrong is said beside the Share button; the next move asks again.
    this.update().catch(() => {});
  }

  private async update(): Promise<void> {
    const { query, keys, temperature, d_k, scaled } = this.board;
    this.picture.place(this.board);
    this.fill(keys.map(({ at, value }) => [at[0].toFixed(1), at[1].toFixed(1), `${value}`]));
    const names = keys.map(({ name }) => name);
    const answer = (await this.ask({
      query,
      keys: keys.map(({ at }) => at),
      values: keys.map(({ value }) => value),
      temperature,
      d_k,
      scaled,
    })) as Answer | null;
    // A key that came or went meanwhile has asked for an answer of its own.
    if (answer && names.join() === this.board.keys.map(({ name }) => name).join()) {
      this.show(answer, names);
    }
  }

  private show(answer: Answer, names: readonly string[]): void {
    const { weights, scores, output, entropy, most_entropy, jacobian } = answer;
    this.picture.show(this.board, answer);
    this.fill(
      names.map((_, i) => [number(scores[i] ?? 0, 2), number(weights[i] ?? 0, 3)]),
      3,
    );
    const most = Math.max(...weights);
    this.output.textContent = output.toFixed(2);
    this.largest.textContent = `${most.toFixed(3)} (${names[weights.indexOf(most)]})`;
    this.entropy.textContent = `${number(entropy, 2)} of ${most_entropy.toFixed(2)}`;
    this.jacobian.textContent = number(jacobian, 2);
    // A reader who hears the page hears where a movement ended, not each step of it.
    clearTimeout(this.speaks);
    this.speaks = setTimeout(() => {
      const each = names.map((name, i) => `${name} ${number(weights[i] ?? 0, 3)}`);
      this.heard.textContent = `Output ${output.toFixed(2)}. Weights: ${each.join(", ")}.`;
    }, 600);
  }

  /** Write texts into each row, from a column on; 0 is the one after the key's name. */
  private fill(texts: readonly (readonly string[])[], column = 0): void {
    for (const [i, row] of texts.entries()) {
      for (const [j, text] of row.entries()) {
        const cell = this.rows.children[i]?.children[column + j + 1];
        if (cell && cell.textContent !== text) cell.textContent = text;
      }
    }
  }
}

/** A range with its label and its value beside it. */
class Slider {
  readonly element = make("label");
  private readonly input = make("input", { type: "range", min: "0", step: "1" });
  private readonly shown = make("output");

  constructor(
    label: string,
    symbol: string,
    private readonly steps: readonly number[],
    choose: (chosen: number) => void,
  ) {
    this.input.max = `${steps.length - 1}`;
    this.input.addEventListener("input", () => {
      this.value = steps[Number(this.input.value)] ?? this.value;
      choose(this.value);
    });
    this.input.setAttribute("aria-label", `${label}, ${symbol}`); // without the value beside it
    const [letter, index = ""] = symbol.split("_");
    this.element.append(indexed(`${label}, ${letter}`, index), this.input, this.shown);
  }

  get value(): number {
    return Number(this.shown.textContent);
  }

  set value(chosen: number) {
    this.input.value = `${this.steps.indexOf(chosen)}`;
    this.input.setAttribute("aria-valuetext", `${chosen}`);
    this.shown.textContent = `${chosen}`;
  }
}

/** A number with so many decimals; with a power of ten, where they would all be zero. */
function number(x: number, decimals: number): string {
  return x !== 0 && Math.abs(x) < 0.5 * 10 ** -decimals ? x.toExponential(1) : x.toFixed(decimals);
}

function indexed(text: string, index: string): HTMLElement {
  const span = make("span", { textContent: text });
  if (index) span.append(make("sub", { textContent: index }));
  return span;
}

function pair(term: string, description: HTMLElement): HTMLElement[] {
  return [make("dt", { textContent: term }), description];
}
