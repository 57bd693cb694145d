"""Draw weights, scores and masks: an SVG for a page or notebook, a text table for a terminal."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np

from attention_ref._checks import array_namespace, dtype_name, require_shape
from attention_ref._viz_svg import (
    FONT,
    PAGE,
    QUIET,
    Paint,
    fill,
    labels,
    shown,
    text,
    text_width,
    visible,
)

Matrix = tuple[tuple[float, ...], ...]

# Even steps of OKLCH lightness at one hue, from the page's colour towards its ink.
_POSITIVE = (
    ("#f0f2f5", "#bed2ee", "#8cb1e4", "#5d8fd6", "#306ec1", "#114f9c", "#09346a"),
    ("#2c313a", "#344a69", "#41679c", "#5486cc", "#75a6ec", "#a3c8fd", "#d5eaff"),
)
_NEGATIVE = (
    ("#f0f2f5", "#e7c9b9", "#d8a081", "#c5784a", "#a55725", "#7c3e16", "#53280c"),
    ("#2c313a", "#5f4130", "#8b583b", "#b77148", "#de8e60", "#f6b591", "#ffdfcb"),
)
_NAN = ("#d8d8d8", "#5c5c5c")

_STYLE = (
    ".attention-heatmap{" + FONT + "}"
    "@media (prefers-color-scheme:dark){.attention-heatmap [style]{fill:var(--dark)}}"
)


_AXES = ("queries", "keys")


@dataclass(frozen=True)
class Heatmap:
    """A picture of a matrix, or of one a head: `str()` is a table, `_repr_svg_()` a drawing.

    Args:
        weights: The values, one matrix a head. `(heads, q_len, kv_len)`
        rows: One label a query.
        columns: One label a key.
        title: The line above the picture, if any.
        axes: What the rows and the columns are.
    """

    weights: tuple[Matrix, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    title: str | None
    axes: tuple[str, str] = _AXES

    def __str__(self) -> str:
        """Return one table a head: a line a query, a column a key."""
        blocks = [visible(self.title)] if self.title else []
        if self.axes != _AXES:
            blocks.append("rows: {}; columns: {}".format(*map(visible, self.axes)))
        for head, matrix in enumerate(self.weights):
            table = [["", *map(shown, self.columns)]]
            for label, row in zip(self.rows, matrix, strict=True):
                table.append([shown(label), *map(_number, row)])
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            lines = [f"head {head}"] if len(self.weights) > 1 else []
            for first, *cells in table:
                line = [first.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]
                lines.append("  ".join(line).rstrip())
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)

    def _repr_svg_(self) -> str:
        """Return the drawing; Jupyter calls this."""
        values = [value for matrix in self.weights for row in matrix for value in row]
        plan = _plan(self, values)
        title = textwrap.wrap(visible(self.title or ""), 40)
        legend, legend_width = _legend(values, plan)

        heads = len(self.weights)
        per_line = max(1, min(heads, (420 - plan.left) // plan.panel_width))
        top = 6 + 22 * len(title)
        bottom = top + -(-heads // per_line) * plan.panel_height
        width = max(
            plan.left + per_line * plan.panel_width,
            plan.left + legend_width,
            plan.left + text_width(visible(self.axes[1])) + 10,
            *(20 + text_width(line) * 6 // 5 for line in title),
        )
        height = bottom + (26 if legend else 0)

        body = [text(10, 24 + 22 * i, t, "start", bold=True) for i, t in enumerate(title)]
        for head, matrix in enumerate(self.weights):
            line, place = divmod(head, per_line)
            panel = _columns(self, plan) + _cells(matrix, plan)
            if place == 0:
                panel += _rows(self, plan)
            if heads > 1:
                panel.append(text(0, 16 - plan.above, f"head {head}", "start"))
            x, y = plan.left + place * plan.panel_width, top + line * plan.panel_height + plan.above
            body += [f'<g transform="translate({x} {y})">', *panel, "</g>"]
        body += [f'<g transform="translate({plan.left} {bottom})">', *legend, "</g>"]
        lines = [
            '<svg xmlns="http://www.w3.org/2000/svg" class="attention-heatmap" role="img" '
            f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
            f"<title>{escape(visible(self.title or 'Heatmap'))}</title>",
            f"<desc>{escape(_summary(self, values))}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{width}" height="{height}" rx="6" {fill(PAGE)}/>',
            *body,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


def heatmap(
    weights: Any,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str | None = None,
    axes: tuple[str, str] = _AXES,
) -> Heatmap:
    """Draw how much each query (row) attends to each key (column).

    Takes weights, scores or a mask, of any library. Blue is positive, orange negative; where values
    are printed, one colour means one weight in every figure. A masked pair (False, or -inf among
    scores) is an empty cell with a dot. In the table a mask reads 1 (may attend) and `.` (masked).

    Args:
        weights: Floats, ints or bools. `(q_len, kv_len)`, or `(heads, q_len, kv_len)` for one
            small picture a head.
        rows: One label a query; their indices without it.
        columns: One label a key; their indices without it.
        title: A line above the picture.
        axes: What the rows and the columns are, where they are not queries and keys.

    Returns:
        A `Heatmap`: `print()` it for the table; a notebook shows it as a drawing.

    Raises:
        TypeError: If `weights` is no array, or holds no real numbers.
        ValueError: If `weights` has another rank or no cells, or the labels' number is wrong,
            or `axes` are not two names of 1 to 20 characters.

    Complexity: O(heads * q_len * kv_len) time and memory.

    Examples:
        >>> import numpy as np
        >>> print(heatmap(np.asarray([[1.0, 0.0], [0.25, 0.75]]), rows="ab", columns="ab"))
              a     b
        a  1.00  0.00
        b  0.25  0.75
        >>> print(heatmap(np.tri(3, dtype=bool)))
           0  1  2
        0  1  .  .
        1  1  1  .
        2  1  1  1
    """
    xp = array_namespace(weights=weights)
    shape = tuple(weights.shape)
    fits = len(shape) in {2, 3} and 0 not in shape
    rule = "(q_len, kv_len) or (heads, q_len, kv_len), each at least 1"
    require_shape("weights", weights, fits, rule)
    if not xp.isdtype(weights.dtype, ("bool", "integral", "real floating")):
        raise TypeError(f"weights must hold real numbers or bools, got {dtype_name(weights)}")
    if len(axes) != 2 or not all(0 < len(visible(axis)) <= 20 for axis in axes):
        raise ValueError(f"axes must be two names of 1 to 20 characters, got {axes!r}")
    # Not every library has tolist; of those that do, PyTorch needs it where gradients are recorded.
    array = weights if hasattr(weights, "tolist") else np.asarray(weights)
    matrices = array.tolist() if len(shape) == 3 else [array.tolist()]
    return Heatmap(
        weights=tuple(tuple(tuple(row) for row in matrix) for matrix in matrices),
        rows=labels("rows", rows, "query", shape[-2]),
        columns=labels("columns", columns, "key", shape[-1]),
        title=title,
        axes=(axes[0], axes[1]),
    )


class _Plan(NamedTuple):
    """The sizes that all panels share, in px."""

    cell_width: int
    cell_height: int
    printed: bool  # the cells hold their values
    sideways: bool  # the column labels are wider than their columns
    left: int  # before the first cell
    above: int  # over the first cell
    panel_width: int
    panel_height: int
    top: float  # the magnitude with the strongest colour


def _plan(figure: Heatmap, values: list[float]) -> _Plan:
    """Fit the cells of one panel, or of two side by side, on a phone: 328 px with their labels."""
    heads, q_len, kv_len = len(figure.weights), len(figure.rows), len(figure.columns)
    room = 300 if heads == 1 else 144
    needed = max(18, 8 * max(len(_number(value)) for value in values))
    size = max(min(48, room // kv_len), needed)
    printed = kv_len * size <= room + 20
    if not printed:
        # 14 px still hold a label; longer sequences shrink further, to the width of a desktop page.
        size = max(min(24, room // kv_len), min(14, 672 // kv_len), 3)
    label_width = max(text_width(shown(label)) for label in figure.columns)
    sideways = label_width + 6 > max(room // kv_len, size)
    cell_width = size if sideways else max(size, label_width + 6)
    word = text_width(_axis(figure, 0))  # beside the rows, which leave room for it
    cell_height = max(min(size, 40), 40 // q_len if word < 60 else -(-word // q_len))
    above = 30 + (label_width if sideways else 14) + (20 if heads > 1 else 0)
    if isinstance(values[0], bool):
        top = 2.0  # half the strength, for True is often most of the picture
    else:
        # One colour means one weight in all figures with values; others use their whole range.
        top = max([abs(value) for value in values if math.isfinite(value)], default=0.0)
        top = max(top, 1.0) if printed else top or 1.0
    return _Plan(
        cell_width=cell_width,
        cell_height=cell_height,
        printed=printed,
        sideways=sideways,
        left=32 + max(text_width(shown(label)) for label in figure.rows),
        above=above,
        panel_width=kv_len * cell_width + 10,
        panel_height=above + q_len * cell_height + 10,
        top=top,
    )


def _columns(figure: Heatmap, plan: _Plan) -> list[str]:
    """Draw the labels over the cells; (0, 0) is the first cell's corner."""
    caption_y = (38 if len(figure.weights) > 1 else 18) - plan.above
    body = [text(0, caption_y, visible(figure.axes[1]), "start", QUIET)]
    for j in range(0, len(figure.columns), 1 if plan.cell_width > 12 else 5):
        x, label = plan.cell_width * (j + 0.5), shown(figure.columns[j])
        if plan.sideways:
            body.append(text(x + 4.5, -6, label, "start", turned=True))
        else:
            body.append(text(x, -6, label))
    return body


def _rows(figure: Heatmap, plan: _Plan) -> list[str]:
    """Draw the labels left of the cells."""
    caption = _axis(figure, 0)
    middle = len(figure.rows) * plan.cell_height / 2
    body = [text(18 - plan.left, middle, caption, paint=QUIET, turned=True)]
    for i in range(0, len(figure.rows), 1 if plan.cell_height > 12 else 5):
        body.append(text(-6, plan.cell_height * (i + 0.5) + 4.5, shown(figure.rows[i]), "end"))
    return body


def _cells(matrix: Matrix, plan: _Plan) -> list[str]:
    body = []
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            x, y = plan.cell_width * j, plan.cell_height * i
            body.append(_cell(x, y, value, plan))
            if plan.printed and not isinstance(value, bool) and not _masked(value):
                x_middle, baseline = x + plan.cell_width / 2, y + plan.cell_height / 2 + 4.5
                paint = _readable(_colour(value, plan.top))
                body.append(text(x_middle, baseline, _number(value), paint=paint))
    return body


def _cell(x: float, y: float, value: float, plan: _Plan) -> str:
    width, height = plan.cell_width, plan.cell_height
    if _masked(value):
        radius = 1 + height / 24
        centre = f'cx="{x + width / 2:g}" cy="{y + height / 2:g}"'
        return f'<circle {centre} r="{radius:.1f}" {fill(QUIET)}/>'
    gap = min(width, height) // 12
    size = f'width="{width - gap}" height="{height - gap}" rx="{gap}"'
    paint = fill(_colour(value, plan.top))
    return f'<rect x="{x + gap / 2:g}" y="{y + gap / 2:g}" {size} {paint}/>'


def _legend(values: list[float], plan: _Plan) -> tuple[list[str], int]:
    """Explain what the cells do not say themselves; return it with its width."""
    entries: list[tuple[str, list[float], str]] = []
    if isinstance(values[0], bool):
        entries.append(("", [True], "may attend"))
    elif not plan.printed:
        low = -plan.top if any(value < 0 and not _masked(value) for value in values) else 0.0
        steps = [low + (plan.top - low) * step / 8 for step in range(9)]
        entries.append((_number(low), steps, _number(plan.top)))
        if any(map(math.isnan, values)):
            entries.append(("", [math.nan], "nan"))
    if any(map(_masked, values)):
        entries.append(("", [-math.inf], "masked"))
    body, x, swatch = [], 0, plan._replace(cell_width=14, cell_height=14)
    for before, steps, after in entries:
        if before:
            body.append(text(x, 12, before, "start"))
            x += text_width(before) + 6
        for value in steps:
            body.append(_cell(x, 0, value, swatch))
            x += 14
        body.append(text(x + 6, 12, after, "start"))
        x += 22 + text_width(after)
    return body, x


def _summary(figure: Heatmap, values: list[float]) -> str:
    """Say in full sentences what a reader sees first."""
    q_len, kv_len, heads = len(figure.rows), len(figure.columns), len(figure.weights)
    size = f"{q_len} {_axis(figure, 0)} (rows) by {kv_len} {_axis(figure, 1)} (columns)"
    sentences = [f"A heatmap of {size}{f', one for each of {heads} heads' if heads > 1 else ''}."]
    masked = sum(map(_masked, values))
    if isinstance(values[0], bool):
        sentences.append(f"{len(values) - masked} of {len(values)} pairs may attend.")
    elif seen := [
        (round(v, 6), -i) for i, v in enumerate(values) if not (math.isnan(v) or _masked(v))
    ]:
        largest, at = max(seen)
        row, column = divmod(-at % (q_len * kv_len), kv_len)
        query, key = ("query", "key") if figure.axes == _AXES else ("row", "column")
        where = f" in head {-at // (q_len * kv_len)}" if heads > 1 else ""
        sentences.append(
            f"The largest value{where} is {_number(largest)}: {query} "
            f'"{shown(figure.rows[row])}", {key} "{shown(figure.columns[column])}".'
        )
    if masked:
        sentences.append(f"{masked} of {len(values)} pairs are masked.")
    if missing := sum(map(math.isnan, values)):
        sentences.append(f"{missing} of {len(values)} values are nan.")
    return " ".join(sentences)


def _axis(figure: Heatmap, axis: int) -> str:
    """Name what stands along an axis: one query, two queries."""
    if figure.axes == _AXES and len((figure.rows, figure.columns)[axis]) == 1:
        return ("query", "key")[axis]
    return visible(figure.axes[axis])


def _masked(value: float) -> bool:
    return value is False or value == -math.inf


def _colour(value: float, top: float) -> Paint:
    """Interpolate between the ramp's steps: only + - * /, so that all platforms agree."""
    if math.isnan(value):
        return _NAN
    ramp = _NEGATIVE if value < 0 else _POSITIVE
    # Rounded, for a difference in the last bit would show as another colour.
    position = round(min(abs(value) / top, 1), 4) * 6
    step = min(int(position), 5)
    paint = []
    for stops in ramp:
        low, high = (bytes.fromhex(stop[1:]) for stop in stops[step : step + 2])
        mixed = (round(a + (b - a) * (position - step)) for a, b in zip(low, high, strict=True))
        paint.append("#" + bytes(mixed).hex())
    return paint[0], paint[1]


def _readable(paint: Paint) -> Paint:
    """Choose black or white for text on a cell: the better has a contrast of at least 4.58."""
    light, dark = ("#000000" if _luminance(colour) > 0.1791 else "#ffffff" for colour in paint)
    return light, dark


def _luminance(colour: str) -> float:
    """Return WCAG 2's relative luminance."""
    channels = (byte / 255 for byte in bytes.fromhex(colour[1:]))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _number(value: float) -> str:
    """Write a value: two decimals; an int as it is; a mask as 1 or a dot."""
    if isinstance(value, bool):
        return "1" if value else "."
    if isinstance(value, int):
        return str(value)
    # Rounding twice keeps 0.125 and its neighbour one bit away together; + 0.0 turns -0.0 into 0.0.
    return f"{round(round(value, 6), 2) + 0.0:.2f}"
