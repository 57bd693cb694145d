"""Draw curves: softmax against temperature, forgetting against length, a loss against steps."""

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attention_ref._checks import Array
from attention_ref._viz_svg import (
    FAINT,
    INK,
    QUIET,
    ROLES,
    WIDTH,
    Look,
    decimal,
    decimals,
    document,
    fill,
    heading,
    legend,
    path,
    px,
    reals,
    round_step,
    shown,
    stroke,
    table,
    text,
    text_width,
    visible,
)

# For lines that are no query, key, value, scores, weights or output: none of their colours.
_LOOKS = (
    Look(INK, "", "circle"),
    Look(("#0f6468", "#7fd0c8"), "7 4", "square"),
    Look(("#b4470f", "#f0a36b"), "2 3", "triangle"),
    Look(("#6b5d00", "#d6c96a"), "9 3 2 3", "diamond"),
    Look(("#5a4fcf", "#b3adf7"), "12 4", "cross"),
    Look(("#7a5545", "#d3b1a2"), "5 2", "plus"),
)
_HEIGHT = 220


@dataclass(frozen=True)
class LinePlot:
    """A picture of curves: `str()` is a table, `_repr_svg_()` a drawing.

    Args:
        x: Where the curves are known.
        series: The curves: each a name and its values, nan where it has none.
        x_label: What runs to the right.
        y_label: What runs up.
        log_x: Whether equal steps to the right multiply x.
        log_y: Whether equal steps up multiply y.
        title: The line above the picture, if any.
    """

    x: tuple[float, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]
    x_label: str
    y_label: str
    log_x: bool
    log_y: bool
    title: str | None

    def __str__(self) -> str:
        """Return a table: a line a point, a column a curve."""
        # A curve of many points is read at 21 of them, the ends included.
        count = len(self.x)
        places = range(count) if count <= 24 else [i * (count - 1) // 20 for i in range(21)]
        columns = [[visible(self.x_label), *_written([self.x[i] for i in places], log=self.log_x)]]
        for name, values in self.series:
            cells = _written([values[i] for i in places], log=self.log_y)
            columns.append([shown(name), *cells])
        title = f"{self.title}: {self.y_label}" if self.title else self.y_label
        note = f"\n({len(places)} of {count} points)" if len(places) < count else ""
        return table(list(zip(*columns, strict=True)), title) + note

    def _repr_svg_(self) -> str:
        """Return the drawing; Jupyter calls this."""
        body, top = heading(self.title)
        known = [y for _, values in self.series for y in values if math.isfinite(y)]
        up, right = _scale(known, log=self.log_y), _scale(self.x, log=self.log_x)
        top += 26
        left = 18 + max(text_width(label) for _, label in up.ticks)
        bottom = top + _HEIGHT
        width = WIDTH - 22 - left
        body.append(text(10, top - 10, visible(self.y_label), "start", QUIET))

        for share, label in up.ticks:
            y = round(bottom - _HEIGHT * share, 1)
            body.append(f'<path d="{path([(left, y), (left + width, y)])}" {stroke(FAINT, 1)}/>')
            body.append(text(left - 6, y + 4.5, label, "end"))
        numbers = [(round(left + width * share, 1), label) for share, label in right.ticks]
        for x, label in _apart(numbers):
            body.append(f'<path d="{path([(x, bottom), (x, bottom + 5)])}" {stroke(QUIET, 1)}/>')
            if label:
                body.append(text(x, bottom + 19, label))
        axis = path([(left, top), (left, bottom), (left + width, bottom)])
        body.append(f'<path d="{axis}" {stroke(QUIET, 1)}/>')
        body.append(text(left + width / 2, bottom + 38, visible(self.x_label), paint=QUIET))

        entries = []
        for (name, values), look in zip(self.series, _looks(self), strict=True):
            points = [
                (left + width * right.share(x), bottom - _HEIGHT * up.share(y))
                if math.isfinite(y)
                else None
                for x, y in zip(self.x, values, strict=True)
            ]
            body += _curve(points, look)
            sample = f'<path d="{path([(-15, 0), (15, 0)])}" {stroke(look.paint, 2, look.dash)}/>'
            entries.append((sample + _marker(0, 0, look), visible(name)))
        key, height = legend(entries, bottom + 48, 30)
        return document(
            self.title, "Line plot", _summary(self), bottom + 54 + height, [*body, *key]
        )


def line_plot(
    x: Array | Sequence[float],
    series: Mapping[str, Array | Sequence[float]],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    title: str | None = None,
) -> LinePlot:
    """Draw curves over one x, each with a dash and markers of its own, and its name below.

    A curve named query, key, value, scores, weights or output has that role's colour.

    Args:
        x: Where the curves are known, in increasing order. `(points,)`
        series: Up to six curves by name; nan or inf leaves a gap. `(points,)` each
        x_label: What runs to the right, with its unit.
        y_label: What runs up, with its unit.
        log_x: Whether equal steps to the right multiply x.
        log_y: Whether equal steps up multiply y.
        title: A line above the picture.

    Returns:
        A `LinePlot`: `print()` it for the table; a notebook shows it as a drawing.

    Raises:
        TypeError: If `x` or a curve is no row of real numbers.
        ValueError: If `x` does not increase, a curve has another length or nothing finite, a
            logarithm's axis is not above zero, there are no or more than six curves, or a label
            is longer than 44 characters.

    Complexity: O(points * curves) time and memory.

    Examples:
        >>> print(line_plot([1, 2], {"loss": [0.5, 0.25]}, x_label="step", y_label="nats"))
        nats
        <BLANKLINE>
        step   loss
        1     0.500
        2     0.250
    """
    places = reals("x", x)
    pairs = itertools.pairwise(places)
    if not places or not all(map(math.isfinite, places)) or any(a >= b for a, b in pairs):
        raise ValueError(f"x must hold finite numbers in increasing order, got {_listed(places)}")
    if not 1 <= len(series) <= len(_LOOKS):
        raise ValueError(f"series must hold 1 to 6 curves, to tell them apart, got {len(series)}")
    curves = tuple((str(name), reals(f"series[{name!r}]", y)) for name, y in series.items())
    for name, values in curves:
        if len(values) != len(places):
            rule = f"series[{name!r}] must hold one value a point of x ({len(places)})"
            raise ValueError(f"{rule}, got {len(values)}")
        if not any(map(math.isfinite, values)):
            raise ValueError(f"series[{name!r}] must hold a finite value, got {_listed(values)}")
        if log_y and any(y <= 0 for y in values):
            raise ValueError(f"series[{name!r}] must be above zero for log_y, got {min(values):g}")
    if log_x and places[0] <= 0:
        raise ValueError(f"x must be above zero for log_x, got {places[0]:g}")
    labels = {"x_label": x_label, "y_label": y_label}
    labels |= {f"the name series[{name!r}]": name for name, _ in curves}
    for name, label in labels.items():
        if not 0 < len(visible(label)) <= 44:
            raise ValueError(f"{name} must have 1 to 44 characters, got {len(visible(label))}")
    return LinePlot(places, curves, x_label, y_label, log_x, log_y, title)


class _Scale(NamedTuple):
    """An axis: which share of it a value takes, and its ticks as shares with labels."""

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        place = math.log10(value) if self.log else value
        return (place - self.low) / (self.high - self.low)


def _scale(values: Sequence[float], *, log: bool) -> _Scale:
    """Fit an axis around values, with at most eight ticks at round numbers."""
    if log:
        least, most = min(values), max(values)
        low, high = math.log10(least), math.log10(most)
        if most < 2 * least:  # a point, or little more, stands in the middle
            low, high = low - 0.15, high + 0.15
        leading = (1,) if most > 300 * least else (1, 2, 5)
        every = math.ceil((high - low) / 7)
        exponents = range(math.floor(low), math.ceil(high) + 1, every)
        numbers = [digit * 10.0**exponent for exponent in exponents for digit in leading]
        marks = [mark for mark in numbers if low - 1e-9 <= math.log10(mark) <= high + 1e-9]
        if not marks:  # the axis reaches to the round numbers on both sides
            above = bisect.bisect(numbers, least)
            marks = numbers[above - 1 : above + 1]
            low, high = map(math.log10, marks)
        labels = [decimal(mark) for mark in marks]
        bare = _Scale(low, high, log, ())
    else:
        low, high = min(values), max(values)
        # A curve that starts near zero is read from zero.
        low = min(low, 0.0) if low <= high / 2 else low
        high = max(high, 0.0) if high >= low / 2 else high
        if low == high:
            half = (abs(low) or 1.0) / 2
            low, high = low - half, high + half
        step = round_step((high - low) / 4)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        marks = [step * i for i in range(first, last + 1)]
        digits = len(str(5 * max(-first, last)))  # a step is 1, 2 or 5 of its last digit
        labels = [decimal(mark, digits) for mark in marks]
        bare = _Scale(marks[0], marks[-1], log, ())
    ticks = [(bare.share(mark), _tick(one)) for mark, one in zip(marks, labels, strict=True)]
    return bare._replace(ticks=tuple(ticks))


def _written(values: Sequence[float], *, log: bool) -> list[str]:
    return list(map(decimal, values)) if log else decimals(values)


def _tick(label: str) -> str:
    return label.replace("e-0", "e-").replace("e+0", "e")


def _apart(labels: Sequence[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Empty what would stand closer than 6 px to the label before it, or leave the picture."""
    free = -math.inf
    for x, label in labels:
        half = text_width(label) / 2
        fits = x - half >= free and x + half <= WIDTH
        yield x, label if fits else ""
        if fits:
            free = x + half + 6


def _looks(figure: LinePlot) -> Iterable[Look]:
    """Give a role its own look, and others the next that is left."""
    names = {name for name, _ in figure.series}
    taken = {ROLES[name].marker for name in names if name in ROLES}
    left = iter(look for look in _LOOKS if look.marker not in taken)
    return [ROLES[name] if name in ROLES else next(left) for name, _ in figure.series]


def _curve(points: Sequence[tuple[float, float] | None], look: Look) -> list[str]:
    """Draw one curve: a line over each run without a gap, and markers far enough to be seen."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    drawn = "".join(path(run) for run in runs if run)
    body = [f'<path class="curve" d="{drawn}" {stroke(look.paint, 2, look.dash)}/>']
    last = -math.inf
    for run in runs:
        for x, y in run:
            if x - last >= 24 or len(run) == 1:
                body.append(_marker(x, y, look))
                last = x
    return body


def _marker(x: float, y: float, look: Look) -> str:
    """Draw a marker of about 9 px."""
    corners: dict[str, list[tuple[float, float]]] = {
        "square": [(-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)],
        "triangle": [(0, -5), (4.5, 3.5), (-4.5, 3.5)],
        "diamond": [(0, -5), (5, 0), (0, 5), (-5, 0)],
    }
    strokes: dict[str, list[list[tuple[float, float]]]] = {
        "cross": [[(-4, -4), (4, 4)], [(-4, 4), (4, -4)]],
        "plus": [[(-5, 0), (5, 0)], [(0, -5), (0, 5)]],
    }
    if look.marker == "circle":
        return f'<circle cx="{px(x)}" cy="{px(y)}" r="4" {fill(look.paint)}/>'
    if look.marker in corners:
        outline = path((x + a, y + b) for a, b in corners[look.marker])
        return f'<path d="{outline}Z" {fill(look.paint)}/>'
    drawn = "".join(path((x + a, y + b) for a, b in line) for line in strokes[look.marker])
    return f'<path d="{drawn}" {stroke(look.paint, 2)}/>'


def _listed(values: Sequence[float]) -> str:
    first = ", ".join(decimal(value) for value in values[:5])
    return f"({first}{', ...' if len(values) > 5 else ''})"


def _summary(figure: LinePlot) -> str:
    """Say in full sentences what a reader sees first."""
    curves = "1 curve" if len(figure.series) == 1 else f"{len(figure.series)} curves"
    span = f"{decimal(figure.x[0])} to {decimal(figure.x[-1])}"
    y_label, x_label = visible(figure.y_label), visible(figure.x_label)
    sentences = [f"{curves} of {y_label} against {x_label}, from {span}."]
    for name, values in figure.series:
        known = [y for y in values if math.isfinite(y)]
        sentences.append(
            f'"{visible(name)}" starts at {decimal(known[0])}, ends at {decimal(known[-1])}, '
            f"and lies between {decimal(min(known))} and {decimal(max(known))}."
        )
    return " ".join(sentences)
