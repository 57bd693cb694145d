// The picture of the lookup board: the plane with its arrows, and below it the beam of values.
import { draw, setAttributes } from "./element";
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
const UNIT = 74; // px for 1 in the plane
const BEAM = 446; // its height in the picture
const TALLEST = 58; // of a weight of 1, standing on the beam
const BEAM_LEFT = 24;
const DEGREE = (WIDTH - 2 * BEAM_LEFT) / LARGEST_VALUE;
const TICKS = MIDDLE + (REACH + 0.2) * UNIT + 14; // where the numbers below the plane stand
const LETTER = 10; // the height of a letter of a label
const LABEL = 48; // and the width of the longest label

export class BoardPicture {
  readonly element = draw("svg", {
    viewBox: `0 0 ${WIDTH} ${BEAM + 60}`,
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
      draw("text", { y: 45, "text-anchor": "middle" }),
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
      const label = draw("text", { class: kind });
      this.arrows.set(name, arrow);
      this.labels.set(name, label);
      this.below.append(arrow);
      this.above.append(label);
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
      this.label(name, [x, y]);
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
    for (const [i, { name, at, value }] of board.keys.entries()) {
      const weight = weights[i] ?? 0;
      this.discs.get(name)?.setAttribute("r", `${34 * Math.sqrt(weight)}`);
      const from = heights.get(value) ?? 10;
      const height = TALLEST * weight;
      heights.set(value, from + height);
      const bar = this.bars.get(name);
      if (bar) setAttributes(bar, { x: onBeam(value) - 6, y: BEAM - from - height, height });
      this.label(name, onPicture(at), `${name} ${weight.toFixed(2)}`);
    }
    this.label("query", onPicture(board.query), "query");
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

  /** Put a label at the corner of its tip where neither an axis nor its own arrow leads. */
  private label(name: string, [x, y]: Point, text?: string): void {
    const label = this.labels.get(name);
    if (!label) return;
    const radius = Number(this.discs.get(name)?.getAttribute("r") ?? 0);
    const off = Math.max(Math.SQRT1_2 * radius, 7) + 3;
    const right = x >= MIDDLE;
    const baseline = y > MIDDLE ? y + off + LETTER : y - off;
    setAttributes(label, {
      x: right ? Math.min(x + off, WIDTH - LABEL) : Math.max(x - off, LABEL),
      y: Math.min(Math.max(baseline, LETTER + 2), TICKS - LETTER - 4),
      "text-anchor": right ? "start" : "end",
    });
    if (text !== undefined) label.textContent = text;
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
    group.append(draw("circle", { class: "reach", r: 22 }), ...shape);
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
      draw("text", { x: line, y: TICKS, "text-anchor": "middle" }, `${at}`),
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
    // The numbers stand below the mark of the output, which would hide them.
    group.append(draw("path", { d: `M${x} ${BEAM}v26` }));
    group.append(draw("text", { x, y: BEAM + 37, "text-anchor": "middle" }, `${value}`));
  }
  return group;
}

function onPicture([x, y]: Point): Point {
  return [MIDDLE + UNIT * x, MIDDLE - UNIT * y];
}

function onBeam(value: number): number {
  return BEAM_LEFT + DEGREE * value;
}
