// The map of a head: a cell deeper the more its query, down, reads of its key, across.
import { draw } from "./element";

const WIDTH = 400;
const LEVELS = 25;

export type Grid = readonly (readonly number[])[];

/** A token as it is shown: without the spaces around it, or as an escape if it is nothing else. */
export function shownToken(token: string | undefined): string {
  return token?.trim() || JSON.stringify(token ?? "");
}

/** A map of a head, as small as a button. */
export function smallMap(map: Grid): SVGElement {
  const svg = draw("svg", { viewBox: `0 0 ${map.length} ${map.length}`, "aria-hidden": "true" });
  svg.append(...cells(map, 1));
  return svg;
}

/** The large map, with the names of its tokens, one of which has its row and column framed. */
export class HeadMap {
  readonly element = draw("svg", { role: "img" });
  private margin = 0;
  private size = 0;
  private length = 0;

  /** `show` hears which query is under the mouse, null if none; `choose` which is pressed. */
  constructor(show: (query: number | null) => void, choose: (query: number) => void) {
    this.element.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") show(this.query(event));
    });
    this.element.addEventListener("pointerleave", () => show(null));
    this.element.addEventListener("click", (event) => {
      const query = this.query(event);
      if (query !== null) choose(query);
    });
  }

  draw(map: Grid, tokens: readonly string[], partners: readonly number[], name: string): void {
    const names = tokens.map(shownToken);
    const letters = Math.min(12, (WIDTH - 20) / tokens.length);
    const longest = Math.max(...names.map((one) => one.length));
    this.length = tokens.length;
    this.margin = Math.min(longest * 0.62 * letters + 8, WIDTH / 3);
    this.size = Math.min((WIDTH - this.margin) / this.length, 40);
    const { margin, size } = this;
    const side = size * this.length;
    const group = draw("g", { transform: `translate(${margin} ${margin})` });
    group.append(draw("rect", { class: "ground", width: side, height: side }));
    group.append(...cells(map, size));
    for (const [query, key] of partners.entries()) {
      if (key < 0) continue;
      const inset = { x: key * size + 1, y: query * size + 1, width: size - 2, height: size - 2 };
      group.append(draw("rect", { class: "partner", ...inset }));
    }
    group.append(
      draw("rect", { class: "row", width: side, height: size }),
      draw("rect", { class: "column", width: size, height: side }),
    );
    for (const [at, one] of names.entries()) {
      const middle = (at + 0.5) * size;
      const turned = `translate(${middle} -5) rotate(-90)`;
      group.append(
        draw("text", { x: -5, y: middle, "text-anchor": "end", class: "query" }, one),
        draw("text", { transform: turned, class: "key" }, one),
      );
    }
    const whole = margin + side + 1;
    this.element.setAttribute("viewBox", `0 0 ${whole} ${whole}`);
    this.element.setAttribute("width", `${whole}`); // and no wider than its place, by the style
    this.element.setAttribute("font-size", `${letters}`);
    this.element.setAttribute("aria-label", name);
    this.element.replaceChildren(group);
  }

  /** Frame what `token` reads, and who reads it. */
  frame(token: number): void {
    this.element.querySelector(".row")?.setAttribute("y", `${token * this.size}`);
    this.element.querySelector(".column")?.setAttribute("x", `${token * this.size}`);
    for (const kind of [".query", ".key"]) {
      for (const [at, label] of this.element.querySelectorAll(kind).entries()) {
        label.classList.toggle("at", at === token);
      }
    }
  }

  private query({ clientY }: MouseEvent): number | null {
    const { top, height } = this.element.getBoundingClientRect();
    const whole = this.margin + this.size * this.length + 1;
    const at = Math.floor((((clientY - top) / height) * whole - this.margin) / this.size);
    return at >= 0 && at < this.length ? at : null;
  }
}

/** One path for all cells of a depth. */
function cells(map: Grid, size: number): SVGElement[] {
  const paths: string[] = Array<string>(LEVELS + 1).fill("");
  for (const [query, row] of map.entries()) {
    for (const [key, part] of row.entries()) {
      const cell = `M${key * size} ${query * size}h${size}v${size}h${-size}z`;
      paths[Math.round(part * LEVELS)] += cell;
    }
  }
  return [...paths.entries()]
    .filter(([depth, d]) => depth > 0 && d)
    .map(([depth, d]) => draw("path", { d, "fill-opacity": depth / LEVELS }));
}
