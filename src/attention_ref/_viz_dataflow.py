"""Draw the flow of data through a block: boxes in rows, and arrows that carry shapes."""

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attention_ref._viz_svg import (
    PAGE,
    QUIET,
    ROLES,
    WIDTH,
    Box,
    Point,
    arrow_head,
    document,
    fill,
    heading,
    overlap,
    path,
    plate,
    px,
    require_role,
    stroke,
    table,
    text,
    text_width,
    visible,
)

_GAP = 44  # between two rows, for an arrow and its label
_LANE = 13  # between two lines that pass rows side by side


@dataclass(frozen=True)
class Dataflow:
    """A picture of boxes and arrows: `str()` is a table, `_repr_svg_()` a drawing.

    Args:
        rows: The boxes' names, from the top; an empty name leaves a place empty.
        arrows: Each from one box to another, with a label that may be empty.
        roles: The boxes that have a role, each with it.
        title: The line above the picture, if any.
    """

    rows: tuple[tuple[str, ...], ...]
    arrows: tuple[tuple[str, str, str], ...]
    roles: tuple[tuple[str, str], ...]
    title: str | None

    def __str__(self) -> str:
        """Return a table: a line an arrow."""
        lines = [["from", "to", "carries"]]
        lines += [list(map(visible, arrow)) for arrow in self.arrows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [
            [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
        ]
        return table(aligned, self.title)

    def _repr_svg_(self) -> str:
        """Return the drawing; Jupyter calls this."""
        body, top = heading(self.title)
        boxes, bottom = _boxes(self, top + 6)
        routes = _routes(self, boxes)
        labels = _labels(routes, list(boxes.values()))
        for route in routes:
            body += _line(route)
        for label in labels:
            body += label
        roles = dict(self.roles)
        for name, box in boxes.items():
            body += _box(name, box, roles.get(name))
        return document(self.title, "Data flow", _summary(self), bottom + 12, body)


def dataflow(
    rows: Sequence[str | Sequence[str]],
    arrows: Sequence[tuple[str, str] | tuple[str, str, str]],
    *,
    roles: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Dataflow:
    """Draw the flow of data through a block, from the top to the bottom.

    An arrow to the next row is straight; one that passes rows, as a residual does, goes around the
    boxes. A box's name says which it is, so no two share one.

    Args:
        rows: From the top, the boxes of each row: one name, or up to four; "" leaves a place empty.
        arrows: Each (from, to) or (from, to, label), to a later row; a label is often a shape.
        roles: Of some boxes the role: query, key, value, scores, weights or output.
        title: A line above the picture.

    Returns:
        A `Dataflow`: `print()` it for the table; a notebook shows it as a drawing.

    Raises:
        ValueError: If a name stands twice or does not fit its box, an arrow leads from or to no
            box, up, or cannot go around the boxes, a label finds no room, or a role is unknown.

    Complexity: O((boxes + arrows) * arrows) time, O(boxes + arrows) memory.

    Examples:
        >>> print(dataflow(["x", "norm", "add"], [("x", "norm", "(n, d)"), ("x", "add")]))
        from  to    carries
        x     norm  (n, d)
        x     add
    """
    grid = tuple((row,) if isinstance(row, str) else tuple(row) for row in rows)
    if not grid or not all(1 <= len(row) <= 4 for row in grid):
        counts = tuple(map(len, grid))
        raise ValueError(f"rows must hold rows of 1 to 4 boxes, got rows of {counts}")
    line = {name: i for i, row in enumerate(grid) for name in row if name}
    names = [name for row in grid for name in row if name]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"rows must name each box once, got {name!r} {names.count(name)} times"
            )
    found = []
    for arrow in arrows:
        if isinstance(arrow, str) or not 2 <= len(arrow) <= 3:
            raise ValueError(f"arrows must be (from, to) or (from, to, label), got {arrow!r}")
        for name in arrow[:2]:
            if name not in line:
                raise ValueError(f"arrows must join boxes of rows, got {name!r}")
        if line[arrow[0]] >= line[arrow[1]]:
            raise ValueError(f"arrows must lead to a later row, got {arrow[0]!r} to {arrow[1]!r}")
        found.append((arrow[0], arrow[1], arrow[2] if len(arrow) == 3 else ""))
    for name, role in (roles or {}).items():
        if name not in line:
            raise ValueError(f"roles must name boxes of rows, got {name!r}")
        require_role(f"roles[{name!r}]", role)
    picture = Dataflow(grid, tuple(found), tuple((roles or {}).items()), title)
    picture._repr_svg_()  # finds a way for each arrow, or says that there is none
    return picture


class _Route(NamedTuple):
    """The corners that one arrow goes through."""

    points: tuple[Point, ...]
    label: str


def _boxes(figure: Dataflow, top: float) -> tuple[dict[str, Box], float]:
    """Give each row's boxes equal parts of the width; return them and where they end."""
    line = {name: i for i, row in enumerate(figure.rows) for name in row}
    passing = sum(line[end] - line[start] > 1 for start, end, _ in figure.arrows)
    margin = 12 + _LANE * min(passing, 3)
    boxes: dict[str, Box] = {}
    y = top
    for row in figure.rows:
        slot = (WIDTH - 2 * margin) / len(row)
        between = 26 if passing else 14  # room for a lane and the head of its arrow
        width = min(slot - between, 220)
        lines = [_wrapped(name, width) for name in row]
        height = 12 + 17 * max(map(len, lines))
        for place, name in enumerate(row):
            if name:
                middle = margin + slot * (place + 0.5)
                left, right = round(middle - width / 2, 1), round(middle + width / 2, 1)
                boxes[name] = (left, y, right, y + height)
        y += height + _GAP
    return boxes, y - _GAP


def _wrapped(name: str, width: float) -> list[str]:
    room = int((width - 10) / 7.4)
    lines = textwrap.wrap(visible(name), room, break_long_words=False) or [""]
    if len(lines) > 2 or any(text_width(line) > width - 8 for line in lines):
        raise ValueError(f"rows must hold names of two lines of {room} characters, got {name!r}")
    return lines


def _routes(figure: Dataflow, boxes: dict[str, Box]) -> list[_Route]:
    """Lead arrows to the next row straight down, and the others around what is between."""
    line = {name: i for i, row in enumerate(figure.rows) for name in row}
    straight = [a for a in figure.arrows if line[a[1]] - line[a[0]] == 1]
    routes, around = [], []
    for start, end, label in figure.arrows:
        if line[end] - line[start] > 1:
            around.append((start, end, label))
            continue
        out = sorted((a for a in straight if a[0] == start), key=lambda a: boxes[a[1]][0])
        into = sorted((a for a in straight if a[1] == end), key=lambda a: boxes[a[0]][0])
        x1 = _port(boxes[start], out.index((start, end, label)), len(out))
        x2 = _port(boxes[end], into.index((start, end, label)), len(into))
        # One end that has no other arrow moves, so that the arrow is upright.
        if len(into) == 1 and _under(x1, boxes[end]):
            x2 = x1
        elif len(out) == 1 and _under(x2, boxes[start]):
            x1 = x2
        routes.append(_Route(((x1, boxes[start][3]), (x2, boxes[end][1])), label))
    around.sort(key=lambda arrow: line[arrow[1]] - line[arrow[0]])  # the shortest inside
    detours: list[_Route] = []
    for start, end, label in around:
        detours.append(_detour(start, end, label, boxes, detours))
    return routes + detours


def _port(box: Box, place: int, count: int) -> float:
    return round(box[0] + (box[2] - box[0]) * (place + 1) / (count + 1), 1)


def _under(x: float, box: Box) -> bool:
    return box[0] + 8 < x < box[2] - 8


def _detour(
    start: str, end: str, label: str, boxes: dict[str, Box], detours: Sequence[_Route]
) -> _Route:
    """Leave a box at its side, go down where nothing stands, and enter the other at its side."""
    one, two = boxes[start], boxes[end]
    # Out below the middle and in above it, so that one may end where the next begins.
    y1, y2 = (one[1] + one[3]) / 2 + 6, (two[1] + two[3]) / 2 - 6
    others = [box for name, box in boxes.items() if name not in {start, end}]
    ways = []
    for lane in range(6, WIDTH):
        x1, x2 = (min(box[0], box[2], key=lambda x: abs(lane - x)) for box in (one, two))
        if one[0] - 8 < lane < one[2] + 8 or two[0] - 10 < lane < two[2] + 10:
            continue
        points = ((x1, y1), (float(lane), y1), (float(lane), y2), (x2, y2))
        length = abs(lane - x1) + abs(lane - x2)
        # To the right if both sides are as near.
        ways.append((round(length, 1), -lane, points))
    for _, _, points in sorted(ways):
        track = list(_segments(points))
        if any(overlap(segment, box) for segment in track for box in others):
            continue
        if not any(_along(points, other.points) for other in detours):
            return _Route(points, label)
    raise ValueError(f"arrows must have a way around the boxes, got {start!r} to {end!r}")


def _segments(points: Sequence[Point]) -> Iterator[Box]:
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        yield min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1


def _along(points: Sequence[Point], others: Sequence[Point]) -> bool:
    """Say whether two ways share a line, or run within a lane of each other.

    They may share their first line if they leave one box, and their last if they enter one.
    """
    first, (left, top, right, bottom), last = _segments(points)
    own = [(left - 10, top, right + 10, bottom)]
    if points[0] != others[0]:
        own.append(first)
    if points[-1] != others[-1]:
        own.append(last)
    return any(overlap(one, other) for one in own for other in _segments(others))


def _labels(routes: Sequence[_Route], boxes: Sequence[Box]) -> list[list[str]]:
    """Write each label on its own arrow, where it covers no box, no label and no other arrow."""
    taken = list(boxes)
    drawn = []
    for route in routes:
        if not route.label:
            continue
        content = visible(route.label)
        width = text_width(content) + 6
        others = [other.points for other in routes if other is not route]
        for x, y, turned in _spots(route.points):
            half, high = (8, width / 2) if turned else (width / 2, 8)
            place = (x - half, y - high, x + half, y + high)
            if place[0] < 1 or place[2] > WIDTH - 1:
                continue
            if any(overlap(place, other) for other in taken):
                continue
            if any(_meets(place, points) for points in others):
                continue
            taken.append(place)
            drawn.append(_label(x, y, content, turned=turned))
            break
        else:
            raise ValueError(f"arrows must leave room for their labels, got none for {content!r}")
    return drawn


def _label(x: float, y: float, content: str, *, turned: bool) -> list[str]:
    length = text_width(content) + 6
    ground = plate(x, y, 16, length) if turned else plate(x, y, length)
    shift_x, shift_y = (4.5, 0.0) if turned else (0.0, 4.5)
    words = text(round(x + shift_x, 1), round(y + shift_y, 1), content, turned=turned)
    return [ground, words]


def _spots(points: Sequence[Point]) -> Iterator[tuple[float, float, bool]]:
    """Try the middle of an arrow first; along one that goes around, the text is turned."""
    around = len(points) == 4
    (x1, y1), (x2, y2) = points[1:3] if around else points
    for share in (0.45, 0.35, 0.55, 0.65, 0.25):
        yield x1 + (x2 - x1) * share, y1 + (y2 - y1) * share, around


def _meets(place: Box, points: Sequence[Point]) -> bool:
    steps = [
        (x1 + (x2 - x1) * i / 40, y1 + (y2 - y1) * i / 40)
        for (x1, y1), (x2, y2) in itertools.pairwise(points)
        for i in range(41)
    ]
    return any(place[0] < x < place[2] and place[1] < y < place[3] for x, y in steps)


def _line(route: _Route) -> list[str]:
    """Draw an arrow, which ends in a head."""
    *before, (x1, y1), (x2, y2) = route.points
    length = math.dist((x1, y1), (x2, y2))
    end = (x2 - 8 * (x2 - x1) / length, y2 - 8 * (y2 - y1) / length)
    drawn = path([*before, (x1, y1), end])
    return [
        f'<path class="arrow" d="{drawn}" {stroke(QUIET, 1.5)}/>',
        arrow_head((x2, y2), (x1, y1), QUIET),
    ]


def _box(name: str, box: Box, role: str | None) -> list[str]:
    """Draw a box; one with a role has its colour, and a thick left edge."""
    left, top, right, bottom = box
    paint = ROLES[role].paint if role else QUIET
    place = f'x="{px(left)}" y="{px(top)}" width="{px(right - left)}" height="{px(bottom - top)}"'
    body = [
        f'<rect {place} rx="4" {fill(PAGE)}/>',
        f'<rect class="box" {place} rx="4" {stroke(paint, 2 if role else 1.5)}/>',
    ]
    if role:
        size = f'width="5" height="{px(bottom - top)}"'
        body.append(f'<rect x="{px(left)}" y="{px(top)}" {size} rx="2" {fill(paint)}/>')
    lines = _wrapped(name, right - left)
    middle = (top + bottom) / 2 - 8.5 * (len(lines) - 1)
    for i, line in enumerate(lines):
        x = round((left + right) / 2, 1)
        body.append(text(x, middle + 17 * i + 4.5, line))
    return body


def _summary(figure: Dataflow) -> str:
    """Say in full sentences which box feeds which."""
    count = sum(bool(name) for row in figure.rows for name in row)
    found = []
    for start, end, label in figure.arrows:
        carries = f" carries {visible(label)}" if label else ""
        found.append(f'"{visible(start)}" to "{visible(end)}"{carries}')
    arrows = f" Arrows: {'; '.join(found)}." if found else ""
    return f"{'1 box' if count == 1 else f'{count} boxes'} from top to bottom.{arrows}"
