// What stands on the lookup board, and how a link carries it.

export type Point = readonly [x: number, y: number];

export interface Key {
  readonly name: string;
  at: Point;
  value: number;
}

/** What the reader has chosen. */
export interface Board {
  query: Point;
  keys: Key[];
  temperature: number;
  d_k: number;
  scaled: boolean;
}

export const REACH = 2;
export const LARGEST_VALUE = 24;
export const NAMES = "ABCDEFGH";
export const WIDTHS = [2, 8, 32, 128, 512, 2048];
export const TEMPERATURES = [0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10];

/** The board of the page's static figure. */
export function firstBoard(): Board {
  return {
    query: [1, 0.6],
    keys: [
      { name: "A", at: [0, 1], value: 2 },
      { name: "B", at: [1, 0], value: 9 },
      { name: "C", at: [0, -1], value: 21 },
      { name: "D", at: [-1, 0], value: 14 },
    ],
    temperature: 1,
    d_k: 2,
    scaled: true,
  };
}

/** Write a board as the part of a link that `readBoard` reads. */
export function writeBoard({ query, keys, temperature, d_k, scaled }: Board): string {
  const each = keys.map(({ name, at, value }) => `${name}=${at.join()},${value}`);
  return `q=${query.join()}&${each.join("&")}&T=${temperature}&d_k=${d_k}&scaled=${+scaled}`;
}

/** Read what `writeBoard` wrote; null if it is something else. */
export function readBoard(state: string): Board | null {
  const found = new Map(state.split("&").map((part) => part.split("=", 2) as [string, string]));
  const numbers = (name: string) => (found.get(name) ?? "").split(",").map(Number);
  const [x, y] = numbers("q");
  const keys: Key[] = [];
  for (const name of NAMES) {
    if (!found.has(name)) continue;
    const [kx, ky, value] = numbers(name);
    if (!inside(kx) || !inside(ky) || !within(value, 0, LARGEST_VALUE)) return null;
    keys.push({ name, at: [coordinate(kx), coordinate(ky)], value: Math.round(value) });
  }
  const [temperature] = numbers("T");
  const [d_k] = numbers("d_k");
  if (!inside(x) || !inside(y) || keys.length === 0) return null;
  if (!temperature || !TEMPERATURES.includes(temperature)) return null;
  if (!d_k || !WIDTHS.includes(d_k)) return null;
  const scaled = found.get("scaled") === "1";
  return { query: [coordinate(x), coordinate(y)], keys, temperature, d_k, scaled };
}

function within(number: number | undefined, low: number, high: number): number is number {
  return number !== undefined && number >= low && number <= high;
}

function inside(number: number | undefined): number is number {
  return within(number, -REACH, REACH);
}

/** A place on the plane's grid of tenths. */
export function coordinate(x: number): number {
  const tenths = Math.round(10 * Math.min(Math.max(x, -REACH), REACH));
  return tenths === 0 ? 0 : tenths / 10; // never -0
}
