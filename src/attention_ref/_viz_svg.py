"""What all pictures share: their colours, their letters, and the frame of an SVG.

A picture has no ids, scripts, fonts or links, so that any number of them can stand in one page.
Each shape carries its light colours as `fill` and `stroke`, and its dark ones as `--dark` and
`--edge`, which two rules swap in. Nothing is told by colour alone: roles also have a dash.
"""

import math
import numbers
import re
import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from attention_ref._checks import Array

Paint = tuple[str, str]  # a colour for a light page, a colour for a dark page
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

PAGE = ("#ffffff", "#1e2129")
INK = ("#24292f", "#e2e4e9")
QUIET = ("#59636e", "#a9b1bd")
FAINT = ("#d8dce1", "#3a404b")  # lines that only guide the eye

WIDTH = 380  # of a picture, so that its letters of 13 px have 11 px on a phone
FONT = (
    "font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;"
    "font-variant-numeric:tabular-nums"
)
_STYLE = (
    ".attention-figure{" + FONT + "}"
    "@media (prefers-color-scheme:dark){"
    '.attention-figure [style*="--dark:"]{fill:var(--dark)}'
    '.attention-figure [style*="--edge:"]{stroke:var(--edge)}}'
)


class Look(NamedTuple):
    """How a line is told from others: a colour, a dash and a marker."""

    paint: Paint
    dash: str
    marker: str


# Blue is the weights' colour, as in a heatmap.
ROLES = {
    "query": Look(("#8a3ea8", "#cf95ea"), "", "circle"),
    "key": Look(("#8a6100", "#e0b040"), "7 4", "square"),
    "value": Look(("#1a7a3c", "#63c98a"), "2 3", "triangle"),
    "scores": Look(QUIET, "9 3 2 3", "diamond"),
    "weights": Look(("#1f5fbf", "#7fb0f5"), "12 4", "cross"),
    "output": Look(("#b3264b", "#f58ba0"), "5 2", "plus"),
}


def require_role(name: str, role: str) -> None:
    """Raise unless there is a role of that name."""
    if role not in ROLES:
        raise ValueError(f"{name} must be one of {', '.join(ROLES)}, got {role!r}")


def fill(paint: Paint) -> str:
    """Fill a shape in both themes."""
    return f'fill="{paint[0]}" style="--dark:{paint[1]}"'


def stroke(paint: Paint, width: float, dash: str = "") -> str:
    """Draw the line of a shape, and leave its inside empty."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'fill="none" stroke="{paint[0]}" stroke-width="{width:g}"{dashes} '
        f'style="--edge:{paint[1]}"'
    )


def text(
    x: float,
    y: float,
    content: str,
    anchor: str = "middle",
    paint: Paint = INK,
    *,
    turned: bool = False,
    bold: bool = False,
) -> str:
    """Write a line of text; (x, y) is on its baseline."""
    turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    weight = ' font-size="15" font-weight="600"' if bold else ""
    return f"<text {place}{turn}{weight} {fill(paint)}>{escape(content)}</text>"


def plate(x: float, y: float, width: float, height: float = 16) -> str:
    """Clear the ground under a text whose middle is (x, y)."""
    corner = f'x="{px(x - width / 2)}" y="{px(y - height / 2)}"'
    return f'<rect {corner} width="{px(width)}" height="{px(height)}" rx="2" {fill(PAGE)}/>'


def px(length: float) -> str:
    """Write a length: rounded, so that the last bit of a logarithm changes no picture."""
    return f"{round(round(length, 4), 1) + 0.0:g}"


def path(points: Iterable[tuple[float, float]]) -> str:
    """Join points by straight lines."""
    return "M" + "L".join(f"{px(x)} {px(y)}" for x, y in points)


def arrow_head(tip: tuple[float, float], tail: tuple[float, float], paint: Paint) -> str:
    """Draw the triangle that ends an arrow which comes from the tail."""
    length = math.dist(tip, tail)
    x, y = (tip[0] - tail[0]) / length, (tip[1] - tail[1]) / length
    back = (tip[0] - 9 * x, tip[1] - 9 * y)
    corners = [tip, (back[0] - 4 * y, back[1] + 4 * x), (back[0] + 4 * y, back[1] - 4 * x)]
    return f'<path d="{path(corners)}Z" {fill(paint)}/>'


def visible(label: str) -> str:
    """Write as escapes what XML may not hold or what would turn or break the text around it."""
    hidden = "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
    return re.sub(hidden, lambda match: match[0].encode("unicode_escape").decode(), label)


def shown(label: str) -> str:
    """Write a label in at most ten characters."""
    label = visible(label)
    return label if len(label) <= 10 else label[:9] + "…"


def text_width(content: str) -> int:
    """Estimate a text's width in px at 13 px, without knowing the reader's font."""
    # In tenths: a sum of floats is rounded otherwise from Python 3.12 on.
    return -(-sum(130 if character >= "\u1100" else 74 for character in content) // 10)


def overlap(one: Box, other: Box) -> bool:
    """Say whether two boxes share more than an edge."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def decimal(value: float, digits: int = 3) -> str:
    """Write a number in a few digits, or an integer whole; without a minus before zero."""
    whole = value.is_integer() and abs(value) < 1e6
    return f"{value + 0.0:.0f}" if whole else f"{value:.{digits}g}"


def decimals(values: Sequence[float]) -> list[str]:
    """Write numbers that are read together: three digits of the largest, as many places of all."""
    if all(value.is_integer() for value in values):
        return [f"{value + 0.0:.0f}" for value in values]
    largest = max([0.0, *(abs(value) for value in values if math.isfinite(value))])
    places = max(0, 2 - math.floor(math.log10(largest))) if largest else 0
    # Rounding twice keeps 0.125 and its neighbour one bit away together.
    rounded = [round(round(value, places + 4), places) + 0.0 for value in values]
    return [f"{value:.{places}f}" for value in rounded]


def table(rows: Sequence[Sequence[str]], title: str | None) -> str:
    """Align rows of text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [visible(title), ""] if title else []
    for first, *cells in rows:
        line = [first.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]
        lines.append("  ".join(line).rstrip())
    return "\n".join(lines)


def heading(title: str | None) -> tuple[list[str], int]:
    """Draw the title; return it with the height that it takes."""
    lines = textwrap.wrap(visible(title or ""), 40)
    body = [text(10, 24 + 22 * i, line, "start", bold=True) for i, line in enumerate(lines)]
    return body, 6 + 22 * len(lines)


def document(title: str | None, kind: str, summary: str, height: float, body: list[str]) -> str:
    """Frame a picture of the common width: named, described, on a ground of its own."""
    size = f'width="{WIDTH}" height="{px(height)}"'
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" class="attention-figure" role="img" '
        f'{size} viewBox="0 0 {WIDTH} {px(height)}">',
        f"<title>{escape(visible(title or kind))}</title>",
        f"<desc>{escape(summary)}</desc>",
        f"<style>{_STYLE}</style>",
        f'<rect {size} rx="6" {fill(PAGE)}/>',
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def legend(entries: Sequence[tuple[str, str]], top: float, swatch: int) -> tuple[list[str], float]:
    """Lay drawn swatches and their names out in lines; return them with the height they take.

    A swatch is drawn around (0, 0), `swatch` px wide.
    """
    body: list[str] = []
    x, y = 10.0, top + 10
    for drawn, name in entries:
        width = swatch + 6 + text_width(name)
        if body and x + width > WIDTH - 10:
            x, y = 10.0, y + 20
        body.append(f'<g transform="translate({px(x + swatch / 2)} {px(y)})">{drawn}</g>')
        body.append(text(x + swatch + 6, y + 4.5, name, "start"))
        x += width + 16
    return body, y + 10 - top


def labels(name: str, given: Sequence[str] | None, axis: str, count: int) -> tuple[str, ...]:
    """Return one label a query or key: the given ones, or their indices."""
    if given is None:
        return tuple(map(str, range(count)))
    if len(given) != count:
        raise ValueError(f"{name} must hold one label a {axis} ({count}), got {len(given)}")
    return tuple(map(str, given))


def round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 ... and their tenths that is not less."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(d * power for d in (1, 2, 5, 10) if d * power >= least * (1 - 1e-9))


def reals(name: str, values: Array | Sequence[float]) -> tuple[float, ...]:
    """Read one row of numbers, from an array of any library or a sequence."""
    rule = f"{name} must be one row of real numbers"
    found: list[Any]
    if hasattr(values, "shape"):
        if len(values.shape) != 1:
            raise ValueError(f"{rule}, got shape {tuple(values.shape)}")
        found = values.tolist() if hasattr(values, "tolist") else np.asarray(values).tolist()
    elif isinstance(values, Sequence) and not isinstance(values, str):
        found = list(values)
    else:
        raise TypeError(f"{rule}, got {type(values).__name__}")
    # A number may be an array of no axes, of any library.
    found = [np.asarray(value).item() if hasattr(value, "shape") else value for value in found]
    for value in found:
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise TypeError(f"{rule}, got {type(value).__name__} among them")
    return tuple(map(float, found))
