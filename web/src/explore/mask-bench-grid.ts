// A mask as a grid: a row a query, a column a key. One cell has the focus and is read out.
import { make } from "./element";

interface Query {
  readonly position: number;
  readonly sees: readonly number[];
}

interface Key {
  readonly seen_by: readonly number[];
}

/** The grid that answers the arrow keys and the pointer, with a line that reads a row and a column. */
export class MaskGrid {
  readonly element = make("table", { className: "seeing" });
  readonly reading = make("p", { className: "reading" });
  private queries: readonly Query[] = [];
  private keys: readonly Key[] = [];
  private cells: HTMLElement[][] = [];
  private row = 0;
  private column = 0;

  constructor() {
    this.element.setAttribute("role", "grid");
    this.element.setAttribute("aria-label", "Who sees whom: a row a query, a column a key");
    this.element.addEventListener("keydown", (event) => this.press(event));
    for (const type of ["pointerover", "pointerdown", "focusin"]) {
      this.element.addEventListener(type, (event) => this.point(event.target));
    }
  }

  show(mask: boolean[][] | null, queries: readonly Query[], keys: readonly Key[]): void {
    const focused = this.element.contains(document.activeElement);
    this.queries = queries;
    this.keys = keys;
    this.element.hidden = mask === null;
    this.reading.hidden = mask === null;
    this.cells = (mask ?? []).map((seen, row) =>
      seen.map((may, column) => {
        const cell = make("td", { tabIndex: -1, textContent: may ? "1" : "·" });
        cell.className = may ? "may" : "masked";
        cell.setAttribute("role", "gridcell");
        const said = may ? "1, may attend" : "masked";
        cell.setAttribute("aria-label", `query ${row}, key ${column}: ${said}`);
        return cell;
      }),
    );
    const shifted = queries.some(({ position }, row) => position !== row);
    const rows = this.cells.map((cells, row) => {
      const query = queries[row];
      const line = make("tr", { className: query?.sees.length ? "" : "blind" });
      const head = make("th", { scope: "row", textContent: String(row) });
      if (shifted) head.append(make("small", { textContent: ` at ${query?.position}` }));
      const count = make("td", { textContent: String(query?.sees.length || "none") });
      line.append(head, ...cells, count);
      return line;
    });
    const head = make("tr");
    head.append(make("th", { scope: "col", textContent: "query" }));
    head.append(...keys.map((_, key) => make("th", { scope: "col", textContent: String(key) })));
    head.append(make("th", { scope: "col", textContent: "sees" }));
    const foot = make("tr", { className: "foot" });
    foot.append(make("th", { scope: "row", textContent: "seen by" }));
    for (const { seen_by } of keys) {
      foot.append(make("td", { textContent: String(seen_by.length || "–") }));
    }
    foot.append(make("td"));
    this.element.replaceChildren(head, ...rows, foot);
    this.moveTo(this.row, this.column, focused);
  }

  private press(event: KeyboardEvent): void {
    const last = this.keys.length - 1;
    const moves: Readonly<Record<string, readonly [number, number]>> = {
      ArrowUp: [this.row - 1, this.column],
      ArrowDown: [this.row + 1, this.column],
      ArrowLeft: [this.row, this.column - 1],
      ArrowRight: [this.row, this.column + 1],
      Home: [event.ctrlKey ? 0 : this.row, 0],
      End: [event.ctrlKey ? this.queries.length - 1 : this.row, last],
    };
    const to = moves[event.key];
    if (!to) return;
    event.preventDefault();
    this.moveTo(...to, true);
  }

  private point(target: EventTarget | null): void {
    for (const [row, cells] of this.cells.entries()) {
      const column = cells.indexOf(target as HTMLElement);
      if (column >= 0 && (row !== this.row || column !== this.column))
        this.moveTo(row, column, false);
    }
  }

  private moveTo(row: number, column: number, focus: boolean): void {
    this.row = Math.max(0, Math.min(row, this.queries.length - 1));
    this.column = Math.max(0, Math.min(column, this.keys.length - 1));
    for (const [r, cells] of this.cells.entries()) {
      for (const [c, cell] of cells.entries()) {
        cell.tabIndex = r === this.row && c === this.column ? 0 : -1;
        cell.classList.toggle("line", (r === this.row) !== (c === this.column));
        cell.classList.toggle("here", r === this.row && c === this.column);
      }
    }
    if (focus) this.cells[this.row]?.[this.column]?.focus();
    const query = this.queries[this.row];
    const key = this.keys[this.column];
    if (!query || !key) return;
    this.reading.textContent =
      `Query ${this.row} stands at position ${query.position} and sees ` +
      `${named(query.sees, "key", "keys")}. Key ${this.column} is seen by ` +
      `${named(key.seen_by, "query", "queries")}.`;
  }
}

/** A mask that a library shows, beside `own`: a cell that differs has a sign. */
export function drawnMask(mask: boolean[][], own: boolean[][] | null): HTMLElement {
  const table = make("table", { className: "drawn" });
  const head = make("tr");
  head.append(make("th", { scope: "col", textContent: "query" }));
  for (const key of (mask[0] ?? []).keys()) {
    head.append(make("th", { scope: "col", textContent: String(key) }));
  }
  table.append(head);
  for (const [row, seen] of mask.entries()) {
    const line = make("tr");
    line.append(make("th", { scope: "row", textContent: String(row) }));
    const blind = own !== null && !own[row]?.includes(true);
    for (const [key, may] of seen.entries()) {
      const differs = own !== null && !blind && own[row]?.[key] !== may;
      const cell = make("td", { textContent: `${may ? "1" : "·"}${differs ? "≠" : ""}` });
      cell.className = `${may ? "may" : "masked"}${differs ? " differs" : ""}`;
      line.append(cell);
    }
    table.append(line);
  }
  return table;
}

function named(numbers: readonly number[], one: string, many: string): string {
  if (numbers.length === 0) return `no ${one}`;
  return `${numbers.length === 1 ? one : many} ${numbers.join(", ")}`;
}
