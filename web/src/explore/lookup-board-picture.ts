// The picture of the lookup board: the plane with its arrows, and below it the beam of values.
import { type Attributes, draw, setAttributes } from "./element";
import { type Board, LARGEST_VALUE, type Point, REACH } from "./lookup-board-state";

/** What Python makes of it. */
export interface Answer {
  readonly scores: readonly number[];
  readonly weights: readonly number[];
  readonly output: number;
  readonly entropy: number;
  readonly most_entropy: number;
  readonly jacobian: number;
}

/** What the reader can take hold of: a tip in the plane, or a value on the beam. */
export interface Handle {
  readonly kind: "query" | "key" | "value";
  readonly name: string;
}

/** To a point, by as much, or away with its key; of a value, x alone counts. */
export type Move = { how: "to" | "by"; point: Point } | { how: "away" };

type Moved = (handle: Handle, move: Move) => void;

const WIDTH = 360;
const MIDDLE = WIDTH / 2;
const UNIT = 78; // px for 1 in the plane
const BEAM = 446; // its height in the picture
const TALLEST = 58; // of a weight of 1, standing on the beam
const BEAM_LEFT = 24;
const DEGREE = (WIDTH - 2 * BEAM_LEFT) / LARGEST_VALUE;

export class BoardPicture {
  readonly element = draw("svg", {
    viewBox: `0 0 ${WIDTH} 492`,
    role: "group",
    "aria-label": "A query and keys in the plane, and below them the values on a beam",
  });
  private readonly below = draw("g", {});
  private readonly above = draw("g", {});
  private readonly pivot = draw("g", { class: "output" });
  private readonly handles = new Map<string, SVGGElement>();
  private readonly arrows = new Map<string, SVGPathElement>();
  private readonly discs = new Map<string, SVGCircleElement>();
  private readonly bars = new Map<string, SVGRectElement>();
  private readonly labels = new Map<string, SVGTextElement>();

  constructor(private readonly moved: Moved) {
    this.element.append(ground(), this.below, this.above, this.pivot);
    this.pivot.append(
      draw("path", { d: "M0 0l9 15h-18z" }),
      draw("text", { y: 32, "text-anchor": "middle" }),
    );
  }

  /** Draw the query and these keys, and none of those that were there. */
  rebuild(board: Board): void {
    for (const drawn of [this.handles, this.arrows, this.discs, this.bars, this.labels]) {
      drawn.clear();
    }
    this.below.replaceChildren();
    this.above.replaceChildren();
    for (const { name } of board.keys) {
      const disc = draw("circle", { class: "weight" });
      const bar = draw("rect", { class: "weight", width: 12 });
      this.discs.set(name, disc);
      this.bars.set(name, bar);
      this.below.append(disc, bar);
    }
    for (const name of [...board.keys.map((key) => key.name), "query"]) {
      const kind = name === "query" ? "query" : "key";
      const arrow = draw("path", { class: `arrow ${kind}` });
      const label = draw("text", { class: kind, "text-anchor": "middle" });
      this.arrows.set(name, arrow);
      this.labels.set(name, label);
      this.above.append(arrow, label);
    }
    for (const { name } of board.keys) {
      this.handle({ kind: "value", name }, [
        draw("circle", { r: 9 }),
        draw("text", { y: 4.5, "text-anchor": "middle" }, name),
      ]);
      this.handle({ kind: "key", name }, [draw("path", { d: "M-6 -6h12v12h-12z" })]);
    }
    this.handle({ kind: "query", name: "query" }, [draw("circle", { r: 7 })]);
  }

  /** Put all that can be moved where it is. */
  place(board: Board): void {
    const tips = [...board.keys, { name: "query", at: board.query }];
    for (const { name, at } of tips) {
      const kind = name === "query" ? "query" : "key";
      const [x, y] = onPicture(at);
      this.arrows.get(name)?.setAttribute("d", `M${MIDDLE} ${MIDDLE}L${x} ${y}`);
      const disc = this.discs.get(name);
      if (disc) setAttributes(disc, { cx: x, cy: y });
      const label = this.labels.get(name);
      if (label) setAttributes(label, beside([x, y]));
      const text = `${at[0].toFixed(1)} to the right, ${at[1].toFixed(1)} up`;
      this.put({ kind, name }, [x, y], at[0], text);
    }
    for (const { name, value } of board.keys) {
      this.put({ kind: "value", name }, [onBeam(value), BEAM], value, `${value}`);
    }
  }

  /** Draw what the weights are, and where the beam balances. */
  show(board: Board, { weights, output }: Answer): void {
    const heights = new Map<number, number>(); // where the bars of equal values end
    for (const [i, { name, value }] of board.keys.entries()) {
      const weight = weights[i] ?? 0;
      this.discs.get(name)?.setAttribute("r", `${34 * Math.sqrt(weight)}`);
      const from = heights.get(value) ?? 10;
      const height = TALLEST * weight;
      heights.set(value, from + height);
      const bar = this.bars.get(name);
      if (bar) setAttributes(bar, { x: onBeam(value) - 6, y: BEAM - from - height, height });
      const label = this.labels.get(name);
      if (label) label.textContent = `${name} ${weight.toFixed(2)}`;
    }
    const label = this.labels.get("query");
    if (label) label.textContent = "query";
    const x = onBeam(output);
    this.pivot.setAttribute("transform", `translate(${x} ${BEAM + 10})`);
    const text = this.pivot.querySelector("text");
    if (!text) return;
    text.textContent = `output ${output.toFixed(2)}`;
    text.setAttribute("x", `${Math.min(Math.max(x, 44), WIDTH - 44) - x}`);
  }

  focus(name: string): void {
    this.handles.get(name === "query" ? "query query" : `key ${name}`)?.focus();
  }

  private handle(handle: Handle, shape: readonly SVGElement[]): void {
    const { kind, name } = handle;
    const most = kind === "value" ? LARGEST_VALUE : REACH;
    const group = draw("g", {
      class: `handle ${kind}`,
      tabindex: 0,
      role: "slider",
      "aria-label": kind === "query" ? "Query" : `${kind === "key" ? "Key" : "Value of"} ${name}`,
      "aria-valuemin": kind === "value" ? 0 : -REACH,
      "aria-valuemax": most,
    });
    if (kind !== "value") group.setAttribute("aria-roledescription", "point in the plane");
    if (kind === "query") group.dataset.first = ""; // drawn last, over the keys
    group.append(draw("circle", { class: "reach", r: 20 }), ...shape);
    // A finger on a handle moves it, and not the page; browsers heed no touch-action within an SVG.
    group.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    group.addEventListener("keydown", (event) => this.press(handle, event));
    group.addEventListener("pointerdown", (event) => {
      group.setPointerCapture(event.pointerId);
      group.focus();
      event.preventDefault(); // no selection of text
    });
    group.addEventListener("pointermove", (event) => {
      if (group.hasPointerCapture(event.pointerId)) this.drag(handle, event);
    });
    this.handles.set(`${kind} ${name}`, group);
    this.above.append(group);
  }

  private put(handle: Handle, [x, y]: Point, now: number, text: string): void {
    const group = this.handles.get(`${handle.kind} ${handle.name}`);
    if (!group) return;
    setAttributes(group, {
      transform: `translate(${x} ${y})`,
      "aria-valuenow": now,
      "aria-valuetext": text,
    });
  }

  private drag(handle: Handle, event: PointerEvent): void {
    const { clientX, clientY } = event;
    const inverse = this.element.getScreenCTM()?.inverse();
    if (!inverse) return;
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(inverse);
    const onBeam: Point = [(x - BEAM_LEFT) / DEGREE, 0];
    const inPlane: Point = [(x - MIDDLE) / UNIT, (MIDDLE - y) / UNIT];
    this.moved(handle, { how: "to", point: handle.kind === "value" ? onBeam : inPlane });
  }

  private press(handle: Handle, event: KeyboardEvent): void {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.moved(handle, { how: "away" });
      return;
    }
    const step = (handle.kind === "value" ? 1 : 0.1) * (event.shiftKey ? 5 : 1);
    const steps: Readonly<Record<string, Point>> = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: handle.kind === "value" ? [step, 0] : [0, step],
      ArrowDown: handle.kind === "value" ? [-step, 0] : [0, -step],
    };
    const point = steps[event.key];
    if (!point) return;
    event.preventDefault();
    this.moved(handle, { how: "by", point });
  }
}

/** The axes, a circle of length 1, and the beam with its numbers. */
function ground(): SVGGElement {
  const group = draw("g", { class: "ground" });
  const low = MIDDLE - (REACH + 0.2) * UNIT;
  const high = MIDDLE + (REACH + 0.2) * UNIT;
  for (const at of [-2, -1, 1, 2]) {
    const line = MIDDLE + at * UNIT;
    group.append(draw("path", { d: `M${line} ${low}V${high}M${low} ${line}H${high}` }));
    group.append(
      draw("text", { x: line, y: high + 14, "text-anchor": "middle" }, `${at}`),
      draw("text", { x: low - 3, y: 2 * MIDDLE - line + 4, "text-anchor": "end" }, `${at}`),
    );
  }
  group.append(draw("circle", { cx: MIDDLE, cy: MIDDLE, r: UNIT }));
  group.append(
    draw("path", { class: "axis", d: `M${MIDDLE} ${low}V${high}M${low} ${MIDDLE}H${high}` }),
  );
  const ends = `M${BEAM_LEFT} ${BEAM}H${WIDTH - BEAM_LEFT}`;
  group.append(draw("path", { class: "axis", d: ends }));
  for (let value = 0; value <= LARGEST_VALUE; value += 4) {
    const x = onBeam(value);
    group.append(draw("path", { class: "axis", d: `M${x} ${BEAM}v5` }));
    group.append(draw("text", { x, y: BEAM + 22, "text-anchor": "middle" }, `${value}`));
  }
  return group;
}

function onPicture([x, y]: Point): Point {
  return [MIDDLE + UNIT * x, MIDDLE - UNIT * y];
}

function onBeam(value: number): number {
  return BEAM_LEFT + DEGREE * value;
}

/** The place of a label: beyond the tip, as seen from the middle, and within the picture. */
function beside([x, y]: Point): Attributes {
  const length = Math.hypot(x - MIDDLE, y - MIDDLE);
  const [right, down] = length < 1 ? [0, -1] : [(x - MIDDLE) / length, (y - MIDDLE) / length];
  const placed = x + 34 * right;
  return { x: Math.min(Math.max(placed, 26), WIDTH - 26), y: y + 20 * down + 4.5 };
}
