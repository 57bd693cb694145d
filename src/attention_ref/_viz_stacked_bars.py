"""Draw rows of weights as stacked bars: how each query shares one whole among the keys."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_ref._checks import array_namespace, dtype_name, require_shape
from attention_ref._viz_svg import (
    QUIET,
    ROLES,
    document,
    fill,
    heading,
    labels,
    legend,
    path,
    plate,
    px,
    shown,
    stroke,
    table,
    text,
    text_width,
)

_LEFT, _LENGTH, _THICK = 15, 350, 26
_BLUE = ROLES["weights"].paint
_HATCHES = ("solid", "/", ".", "-", "\\", "|", "x", "+", "")  # one a key


@dataclass(frozen=True)
class StackedBars:
    """A picture of one bar a query: `str()` is a table, `_repr_svg_()` a drawing.

    Args:
        weights: The values. `(q_len, kv_len)`
        rows: One label a query.
        columns: One label a key.
        title: The line above the picture, if any.
    """

    weights: tuple[tuple[float, ...], ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    title: str | None

    def __str__(self) -> str:
        """Return a table: a line a query, a column a key."""
        lines = [["", *map(shown, self.columns)]]
        for label, row in zip(self.rows, self.weights, strict=True):
            lines.append([shown(label), *(f"{weight:.2f}" for weight in row)])
        return table(lines, self.title)

    def _repr_svg_(self) -> str:
        """Return the drawing; Jupyter calls this."""
        body, top = heading(self.title)
        entries = [
            (_segment(-8, -7, 16, 14, hatch), shown(label))
            for label, hatch in zip(self.columns, _HATCHES, strict=False)
        ]
        key, height = legend(entries, top + 4, 16)
        body += key
        y = top + height + 8
        for label, row in zip(self.rows, self.weights, strict=True):
            body.append(text(_LEFT, y + 14, shown(label), "start"))
            body += _bar(row, self.columns, y + 20)
            y += 20 + _THICK + 6
        for quarter in range(5):
            x = _LEFT + _LENGTH * quarter / 4
            body.append(f'<path d="{path([(x, y), (x, y + 5)])}" {stroke(QUIET, 1)}/>')
            body.append(text(x, y + 18, f"{quarter / 4:g}", paint=QUIET))
        return document(self.title, "Stacked bars", _summary(self), y + 28, body)


def stacked_bars(
    weights: Any,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str | None = None,
) -> StackedBars:
    """Draw how each query (row) shares its weight among the keys: one bar a row, of length one.

    Keys stand in the same order in every bar and are told apart by their hatch. A row that sums to
    less than one, as with a sink, leaves the rest of its bar empty.

    Args:
        weights: Rows of at least 0 that sum to at most 1. `(q_len, kv_len)`
        rows: One label a query; their indices without it.
        columns: One label a key; their indices without it.
        title: A line above the picture.

    Returns:
        A `StackedBars`: `print()` it for the table; a notebook shows it as a drawing.

    Raises:
        TypeError: If `weights` is no array, or holds no real numbers.
        ValueError: If `weights` has another rank, no cells or more than nine keys, is no share of
            one, or the labels' number is wrong.

    Complexity: O(q_len * kv_len) time and memory.

    Examples:
        >>> import numpy as np
        >>> print(stacked_bars(np.asarray([[0.75, 0.25]]), rows=["it"], columns=["road", "child"]))
            road  child
        it  0.75   0.25
    """
    xp = array_namespace(weights=weights)
    shape = tuple(weights.shape)
    fits = len(shape) == 2 and shape[0] > 0 and 0 < shape[1] <= len(_HATCHES)
    require_shape("weights", weights, fits, "(q_len, kv_len), with 1 to 9 keys to tell apart")
    if not xp.isdtype(weights.dtype, ("integral", "real floating")):
        raise TypeError(f"weights must hold real numbers, got {dtype_name(weights)}")
    array = weights if hasattr(weights, "tolist") else np.asarray(weights)
    values = tuple(tuple(map(float, row)) for row in array.tolist())
    for row in values:
        for weight in row:
            if not weight >= 0:
                raise ValueError(f"weights must be at least 0, got {weight:g}")
        # Half precision rounds each weight by up to one part in 256.
        if not sum(row) <= 1.01:
            raise ValueError(f"weights must sum to at most 1 a row, got {sum(row):g}")
    return StackedBars(
        weights=values,
        rows=labels("rows", rows, "query", shape[0]),
        columns=labels("columns", columns, "key", shape[1]),
        title=title,
    )


def _bar(row: Sequence[float], columns: Sequence[str], y: float) -> list[str]:
    """Draw one bar: its segments' lengths are the weights, and their names stand where they fit."""
    size = f'width="{_LENGTH}" height="{_THICK}"'
    body = [f'<rect x="{_LEFT}" y="{y:g}" {size} {stroke(QUIET, 1, "2 4")}/>']
    whole = max(1.0, sum(row))
    before = 0.0
    for j, (label, weight, hatch) in enumerate(zip(columns, row, _HATCHES, strict=False)):
        x, length = _LEFT + _LENGTH * before / whole, _LENGTH * weight / whole
        before += weight
        if round(length, 1) > 0:
            body.append(_segment(x, y, length, _THICK, hatch))
        # An index beside a weight would read as another number.
        named = f"{shown(label)} {weight:.2f}" if label != str(j) else ""
        for name in filter(None, (named, f"{weight:.2f}")):
            room = text_width(name) + 8
            if room + 4 <= length:
                body.append(plate(x + length / 2, y + _THICK / 2, room))
                body.append(text(round(x + length / 2, 1), y + _THICK / 2 + 4.5, name))
                break
    return body


def _segment(x: float, y: float, width: float, height: float, hatch: str) -> str:
    """Draw a part of a bar. Its hatch is cut at its edges here, for clipping would need an id."""
    if hatch == "solid":
        place = f'x="{px(x)}" y="{px(y)}" width="{px(width)}" height="{px(height)}"'
        return f'<g class="segment"><rect {place} {fill(_BLUE)}/></g>'
    lines = []
    for kind in {"x": "/\\", "+": "-|"}.get(hatch, hatch):
        lines += _hatching(kind, width, height)
    drawn = "".join(path([(x + a, y + b), (x + c, y + d)]) for a, b, c, d in lines)
    marks = f'<path d="{drawn}" {stroke(_BLUE, 2 if hatch == "." else 1.2)}/>' if drawn else ""
    edge = 1.5 if width > 3 else 0.5
    place = f'x="{px(x + edge / 2)}" y="{px(y + edge / 2)}"'
    size = f'width="{px(max(width - edge, 0.1))}" height="{px(height - edge)}"'
    return f'<g class="segment">{marks}<rect {place} {size} {stroke(_BLUE, edge)}/></g>'


def _hatching(kind: str, width: float, height: float) -> list[tuple[float, float, float, float]]:
    """Return the lines of one hatch within a rectangle at (0, 0)."""
    step = 6.0
    across = [step * i for i in range(1, math.ceil(width / step))]
    down = [step * i for i in range(1, math.ceil(height / step))]
    if kind == "-":
        return [(0, y, width, y) for y in down]
    if kind == "|":
        return [(x, 0, x, height) for x in across]
    if kind == ".":
        return [(x - 1, y, min(x + 1, width), y) for y in down for x in across]
    lines = []
    for i in range(1, math.ceil((width + height) / step)):
        # Where x + y = c meets the rectangle; the other diagonal is its mirror image.
        c = step * i
        left, right = max(0.0, c - height), min(width, c)
        if kind == "/":
            lines.append((left, c - left, right, c - right))
        else:
            lines.append((left, height - c + left, right, height - c + right))
    return lines


def _summary(figure: StackedBars) -> str:
    """Say in full sentences what a reader sees first."""
    bars = "1 bar" if len(figure.rows) == 1 else f"{len(figure.rows)} bars"
    sentences = [f"{bars} of weights, each shared among the keys {', '.join(_names(figure))}."]
    for label, row in zip(figure.rows, figure.weights, strict=True):
        place = max(range(len(row)), key=lambda j: (round(row[j], 6), -j))
        largest = f'"{shown(figure.columns[place])}", {row[place]:.2f}'
        sentences.append(f'The largest part of "{shown(label)}" is {largest}.')
    return " ".join(sentences)


def _names(figure: StackedBars) -> list[str]:
    return [f'"{shown(label)}"' for label in figure.columns]
