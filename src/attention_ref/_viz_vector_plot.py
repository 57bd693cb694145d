"""Draw vectors in the plane: which point alike, which are long, what an average lands on."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attention_ref._checks import Array
from attention_ref._viz_svg import (
    FAINT,
    INK,
    QUIET,
    ROLES,
    WIDTH,
    Box,
    Look,
    Point,
    arrow_head,
    decimal,
    decimals,
    document,
    fill,
    heading,
    legend,
    overlap,
    path,
    px,
    reals,
    require_role,
    round_step,
    shown,
    stroke,
    table,
    text,
    text_width,
)

_SIDE, _MARGIN = 340, 20
_PLAIN = Look(INK, "", "")


@dataclass(frozen=True)
class VectorPlot:
    """A picture of vectors in the plane: `str()` is a table, `_repr_svg_()` a drawing.

    Args:
        vectors: Each a label with its two coordinates.
        roles: The labels of vectors that have a role, each with it.
        title: The line above the picture, if any.
    """

    vectors: tuple[tuple[str, tuple[float, float]], ...]
    roles: tuple[tuple[str, str], ...]
    title: str | None

    def __str__(self) -> str:
        """Return a table: a line a vector, with its coordinates and its role."""
        roles = dict(self.roles)
        lines = [["", "x", "y", *(["role"] if roles else [])]]
        numbers = decimals([number for _, vector in self.vectors for number in vector])
        for i, (label, _) in enumerate(self.vectors):
            role = [roles.get(label, "")] if roles else []
            lines.append([shown(label), *numbers[2 * i : 2 * i + 2], *role])
        return table(lines, self.title)

    def _repr_svg_(self) -> str:
        """Return the drawing; Jupyter calls this."""
        body, top = heading(self.title)
        top += 6
        plan = _plan([vector for _, vector in self.vectors], top)
        axes, numbers = _axes(plan)
        body += axes
        roles = dict(self.roles)
        looks = [ROLES.get(roles.get(label, ""), _PLAIN) for label, _ in self.vectors]
        tips = [plan.at(*vector) for _, vector in self.vectors]
        for tip, look in zip(tips, looks, strict=True):
            body += _arrow(plan.at(0, 0), tip, look)
        names = [shown(label) for label, _ in self.vectors]
        for name, place, tip in zip(names, _places(names, tips, plan, numbers), tips, strict=True):
            body += _leader(tip, place)
            body.append(text((place[0] + place[2]) / 2, place[3] - 4, name))
        height = plan.bottom + _MARGIN
        shown_roles = [role for role in ROLES if role in roles.values()]
        if shown_roles:
            entries = [
                ("".join(_arrow((-15, 0), (15, 0), ROLES[role])), role) for role in shown_roles
            ]
            key, key_height = legend(entries, height, 30)
            body += key
            height += key_height + 8
        return document(self.title, "Vectors in the plane", _summary(self), height, body)


def vector_plot(
    vectors: Mapping[str, Array | Sequence[float]],
    *,
    roles: Mapping[str, str] | None = None,
    title: str | None = None,
) -> VectorPlot:
    """Draw vectors as arrows from the origin, with the same scale to the right and up.

    A role gives an arrow the colour and the dash that it has in every picture.

    Args:
        vectors: Up to twelve vectors by label. `(2,)` each
        roles: Of some labels the role: query, key, value, scores, weights or output.
        title: A line above the picture.

    Returns:
        A `VectorPlot`: `print()` it for the table; a notebook shows it as a drawing.

    Raises:
        TypeError: If a vector is no row of real numbers.
        ValueError: If a vector has not two finite coordinates, there are no or more than twelve,
            a role is unknown or given to a label that is none, or labels cannot be kept apart.

    Complexity: O(vectors squared) time, O(vectors) memory.

    Examples:
        >>> print(vector_plot({"it": (1, 2), "road": (2, 0.5)}, roles={"it": "query"}))
                 x     y   role
        it    1.00  2.00  query
        road  2.00  0.50
    """
    if not 1 <= len(vectors) <= 12:
        raise ValueError(f"vectors must hold 1 to 12 vectors, got {len(vectors)}")
    found = []
    for label, vector in vectors.items():
        row = reals(f"vectors[{label!r}]", vector)
        if len(row) != 2 or not all(map(math.isfinite, row)):
            came = ", ".join(map(decimal, row))
            raise ValueError(f"vectors[{label!r}] must hold two finite numbers, got ({came})")
        found.append((label, (row[0], row[1])))
    for label, role in (roles or {}).items():
        if label not in vectors:
            raise ValueError(f"roles must name labels of vectors, got {label!r}")
        require_role(f"roles[{label!r}]", role)
    picture = VectorPlot(tuple(found), tuple((roles or {}).items()), title)
    picture._repr_svg_()  # finds a place for each label, or says that there is none
    return picture


@dataclass(frozen=True)
class _Plan:
    """Where the plane stands: one unit is as long to the right as up."""

    left: float
    bottom: float
    top: float
    unit: float
    low: tuple[float, float]
    step: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (
            round(self.left + self.unit * (x - self.low[0]), 2),
            round(self.bottom - self.unit * (y - self.low[1]), 2),
        )


def _plan(vectors: Sequence[tuple[float, float]], top: float) -> _Plan:
    """Fit a square that holds the origin and every tip, with room around for the labels."""
    lows = [min(0.0, *(vector[axis] for vector in vectors)) for axis in (0, 1)]
    highs = [max(0.0, *(vector[axis] for vector in vectors)) for axis in (0, 1)]
    span = max(high - low for low, high in zip(lows, highs, strict=True)) or 1.0
    around = 0.12 * span
    unit = _SIDE / (span + 2 * around)
    # The shorter side is centred when it is wide, and cut when it is high.
    low_x = (lows[0] + highs[0] - _SIDE / unit) / 2
    height = unit * (highs[1] - lows[1] + 2 * around)
    low = (low_x, lows[1] - around)
    return _Plan(_MARGIN, top + height, top, unit, low, round_step(span / 4))


def _axes(plan: _Plan) -> tuple[list[str], list[Box]]:
    """Draw the axes through the origin; return them with what they and their numbers cover."""
    x0, y0 = plan.at(0, 0)
    right = plan.left + _SIDE
    lines: list[str] = []
    numbers: list[str] = []
    covered: list[Box] = [
        (plan.left, y0 - 1, right, y0 + 1),
        (x0 - 1, plan.top, x0 + 1, plan.bottom),
    ]
    # A step is at least a quarter of what the vectors span, and less than one is around that.
    for i in (-4, -3, -2, -1, 1, 2, 3, 4):
        x, y = plan.at(i * plan.step, i * plan.step)
        number = decimal(i * plan.step)
        width = text_width(number)
        if plan.left + 6 <= x <= right - 6:
            lines.append(path([(x, plan.top), (x, plan.bottom)]))
            numbers.append(text(round(x, 1), round(y0 + 15, 1), number, paint=QUIET))
            covered.append((x - width / 2, y0 + 3, x + width / 2, y0 + 18))
        if plan.top + 6 <= y <= plan.bottom - 6:
            lines.append(path([(plan.left, y), (right, y)]))
            numbers.append(text(round(x0 - 5, 1), round(y + 4.5, 1), number, "end", QUIET))
            covered.append((x0 - 5 - width, y - 8, x0 - 5, y + 8))
    axes = path([(plan.left, y0), (right, y0)]) + path([(x0, plan.top), (x0, plan.bottom)])
    drawn = [
        f'<path d="{"".join(lines)}" {stroke(FAINT, 1)}/>',
        f'<path d="{axes}" {stroke(QUIET, 1)}/>',
        *numbers,
    ]
    return drawn, covered


def _arrow(tail: tuple[float, float], tip: tuple[float, float], look: Look) -> list[str]:
    """Draw one vector; one of no length is a dot."""
    if math.dist(tail, tip) < 1:
        return [f'<circle cx="{px(tip[0])}" cy="{px(tip[1])}" r="4" {fill(look.paint)}/>']
    share = max(0.0, 1 - 8 / math.dist(tail, tip))  # the line ends inside the head
    end = (tail[0] + share * (tip[0] - tail[0]), tail[1] + share * (tip[1] - tail[1]))
    line = f'<path class="vector" d="{path([tail, end])}" {stroke(look.paint, 2, look.dash)}/>'
    return [line, arrow_head(tip, tail, look.paint)]


def _places(
    names: Sequence[str], tips: Sequence[Point], plan: _Plan, covered: Sequence[Box]
) -> list[Box]:
    """Give each label the first place by its tip that no label, tip or arrow needs."""
    origin = plan.at(0, 0)
    taken: list[Box] = [*covered, *((x - 4, y - 4, x + 4, y + 4) for x, y in tips)]
    for tip in tips:
        taken += _chain(origin, tip)
    places = []
    for name, tip in zip(names, tips, strict=True):
        for place in _around(origin, tip, text_width(name) / 2):
            inside = place[0] >= 2 and place[2] <= WIDTH - 2
            inside = inside and place[1] >= plan.top - 4 and place[3] <= plan.bottom + 4
            if inside and not any(overlap(place, other) for other in taken):
                places.append(place)
                taken.append(place)
                break
        else:
            raise ValueError(f"vectors must leave room for their labels, got none for {name!r}")
    return places


def _chain(tail: Point, tip: Point) -> list[Box]:
    """Cover an arrow between its ends with small boxes."""
    count = int(math.dist(tail, tip) / 4)
    (x, y), shift = tail, (tip[0] - tail[0], tip[1] - tail[1])
    middles = [(x + shift[0] * i / count, y + shift[1] * i / count) for i in range(1, count)]
    return [(a - 2, b - 2, a + 2, b + 2) for a, b in middles]


def _around(origin: Point, tip: Point, half: float) -> Iterator[Box]:
    """Yield the places of a label by its tip: eight sides, the outward one first, then further."""
    outward = math.atan2(tip[1] - origin[1], tip[0] - origin[0])
    for distance in (6, 14, 26, 40):
        for turn in (0, 1, -1, 2, -2, 3, -3, 4):
            angle = outward + turn * math.pi / 4
            x = round(tip[0] + (half + distance) * math.cos(angle), 1)
            y = round(tip[1] + (8 + distance) * math.sin(angle), 1)
            yield x - half, y - 8, x + half, y + 8


def _leader(tip: Point, place: Box) -> list[str]:
    """Lead from a tip to its label, where that is further than the two nearest places."""
    left, upper, right, lower = place
    near = min(max(tip[0], left), right), min(max(tip[1], upper), lower)
    if math.dist(tip, near) <= 14:
        return []
    return [f'<path d="{path([tip, near])}" {stroke(QUIET, 1)}/>']


def _summary(figure: VectorPlot) -> str:
    """Say in full sentences where each vector points."""
    count = "1 vector" if len(figure.vectors) == 1 else f"{len(figure.vectors)} vectors"
    roles = dict(figure.roles)
    found = []
    for label, (x, y) in figure.vectors:
        role = f" ({roles[label]})" if label in roles else ""
        found.append(f'"{shown(label)}"{role} at {decimal(x)}, {decimal(y)}')
    return f"{count} in the plane, from the origin: {'; '.join(found)}."
