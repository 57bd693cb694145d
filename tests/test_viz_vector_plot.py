import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from attention_ref import VectorPlot, vector_plot
from attention_ref._viz_svg import text_width
from attention_ref._viz_vector_plot import (
    _PLAIN,
    _around,
    _arrow,
    _axes,
    _chain,
    _leader,
    _places,
    _Plan,
)

SVG = "{http://www.w3.org/2000/svg}"
Point = tuple[float, float]
WORD = "ten letter"  # 74 px wide, 16 px high


def plane(x0: float, y0: float, unit: float = 1, step: float = 500.0) -> _Plan:
    """Return a square plane of 340 px whose origin is at (x0, y0)."""
    low = ((20 - x0) / unit, (y0 - 360) / unit)
    return _Plan(left=20, bottom=360, top=20, unit=unit, low=low, step=step)


def shapes(picture: VectorPlot) -> tuple[list[list[Point]], list[Point]]:
    """Return each arrow's line, and the tip of each head."""
    lines, tips = [], []
    for element in ET.fromstring(picture._repr_svg_()):
        points = [
            (float(x), float(y))
            for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", element.attrib.get("d", ""))
        ]
        if element.attrib.get("class") == "vector":
            lines.append(points)
        elif element.attrib.get("d", "").endswith("Z"):
            tips.append(points[0])
    return lines, tips


def texts(picture: VectorPlot) -> list[tuple[str, Point]]:
    found = ET.fromstring(picture._repr_svg_()).findall(f"{SVG}text")
    return [(t.text or "", (float(t.attrib["x"]), float(t.attrib["y"]))) for t in found]


def labels(picture: VectorPlot) -> dict[str, Point]:
    return dict(texts(picture))


@pytest.mark.parametrize(
    "vectors",
    [
        [(3, 7), (-2, 5), (11, -1)],
        [(0.003, 0.001), (-0.002, -0.005)],
        [(100, 3), (50, 7)],
        [(-5, -7), (-11, -2)],
    ],
)
def test_arrows_start_at_one_origin_and_their_tips_map_linearly(vectors: list[Point]) -> None:
    picture = vector_plot(dict(zip("abc", vectors, strict=False)))
    lines, tips = shapes(picture)
    assert len(lines) == len(tips) == len(vectors)
    assert len({line[0] for line in lines}) == 1
    x0, y0 = lines[0][0]
    moved = np.asarray(tips) - [x0, y0]
    unit = np.linalg.norm(moved) / np.linalg.norm(vectors)
    assert unit > 0
    # One unit is as long to the right as up, so angles are true.
    np.testing.assert_allclose(moved, np.asarray(vectors) * [unit, -unit], atol=0.15)
    for (start, end), tip in zip(lines, tips, strict=True):
        assert math.dist(end, tip) == pytest.approx(8, abs=0.2), "the line ends inside the head"
        assert math.dist(start, end) < math.dist(start, tip)


@pytest.mark.parametrize("vector", [(3, 1), (-0.002, 0.001), (1e-14, -3e-14), (-5, -7), (0, 9e7)])
def test_vectors_take_all_but_an_eighth_of_the_square_on_each_side(vector: Point) -> None:
    picture = vector_plot({"a": vector})
    ((start, _),), (tip,) = shapes(picture)
    assert max(np.abs(np.subtract(tip, start))) == pytest.approx(340 / 1.24, abs=0.2)
    ticks = {float(name) for name, _ in texts(picture) if name != "a"}
    assert len(ticks) >= 2
    assert 0 not in ticks


def test_no_length_stands_in_a_plane_of_one_unit() -> None:
    assert {name for name, _ in texts(vector_plot({"none": (0, 0)}))} == {"none", "-0.5", "0.5"}


def test_ticks_stand_at_their_numbers() -> None:
    picture = vector_plot({"a": (3, 7), "b": (-2, 5)})
    (line, _), (tip, _) = shapes(picture)
    unit = (tip[0] - line[0][0]) / 3
    right = [(n, x) for n, (x, y) in texts(picture) if y == round(line[0][1] + 15, 1)]
    up = [(n, y) for n, (x, y) in texts(picture) if x == round(line[0][0] - 5, 1)]
    assert len(right) >= 3
    assert len(up) >= 3
    for number, x in right:
        assert x == pytest.approx(line[0][0] + unit * float(number), abs=0.2)
    for number, y in up:
        assert y - 4.5 == pytest.approx(line[0][1] - unit * float(number), abs=0.2)


def numbers(plan: _Plan) -> list[tuple[str, Point, str]]:
    """Return each number of the axes with its place and its anchor."""
    found = [ET.fromstring(drawn) for drawn in _axes(plan)[0] if drawn.startswith("<text")]
    places = [(float(t.attrib["x"]), float(t.attrib["y"])) for t in found]
    return [(t.text or "", p, t.attrib["text-anchor"]) for t, p in zip(found, places, strict=True)]


def test_ticks_keep_6_px_from_the_edges_of_the_plane() -> None:
    """Steps of 82 px, so that four of them fit between two lines 6 px from the edges."""
    up, down = ["1", "2", "3", "4"], ["-4", "-3", "-2", "-1"]
    for x0, y0, right, upwards in (
        (26, 354, up, up),
        (354, 26, down, down),
        (26.1, 354.1, up[:3], up),
        (25.9, 353.9, up, up[:3]),
        (353.9, 25.9, down[1:], down),
        (354.1, 26.1, down, down[1:]),
    ):
        found = numbers(plane(x0, y0, unit=41, step=2.0))
        assert [n for n, _, anchor in found if anchor == "middle"] == [
            f"{2 * int(n)}" for n in right
        ]
        assert [n for n, _, anchor in found if anchor == "end"] == [
            f"{2 * int(n)}" for n in upwards
        ]


def test_what_a_label_may_not_cover_are_the_axes_and_their_numbers() -> None:
    """A line of text takes 12 px over its baseline and 3 below, as far as its letters are wide."""
    plan = plane(150, 250, unit=50, step=1.0)
    covered = _axes(plan)[1]
    expected = {(20, 249, 360, 251), (149, 20, 151, 360)}
    for name, (x, y), anchor in numbers(plan):
        width = text_width(name)
        if anchor == "middle":
            expected.add((x - width / 2, y - 12, x + width / 2, y + 3))
        else:  # beside its line, half a digit below
            expected.add((x - width, y - 12.5, x, y + 3.5))
    assert len(covered) == len(expected) == 2 + 6 + 6
    assert set(covered) == expected


def test_an_arrow_is_covered_between_its_ends() -> None:
    middles = [(4 * i, 0) for i in range(1, 10)]
    expected = [(x - 2, y - 2, x + 2, y + 2) for x, y in middles]
    assert _chain((0, 0), (40, 0)) == expected
    upright = [(left + 2, top + 2) for left, top, _, _ in _chain((7, 9), (7, -34))]
    np.testing.assert_allclose(upright, [(7, 9 - 4.3 * i) for i in range(1, 10)])


def test_a_label_tries_eight_sides_of_its_tip_and_then_further_ones() -> None:
    sides = [
        [np.sign(round((box[0] + box[2]) / 2 - 100)), np.sign(round((box[1] + box[3]) / 2 - 100))]
        for box in _around((50, 100), (100, 100), 37)
    ]
    # The arrow comes from the left: right, then by turns below and above, and the left at last.
    assert sides == 4 * [[1, 0], [1, 1], [1, -1], [0, 1], [0, -1], [-1, 1], [-1, -1], [-1, 0]]
    places = list(_around((50, 100), (100, 100), 37))
    for distance, (right, _, _, below, above, _, _, left) in zip(
        (6, 14, 26, 40), (places[i : i + 8] for i in range(0, 32, 8)), strict=True
    ):
        gaps = (right[0] - 100, below[1] - 100, 100 - above[3], 100 - left[2])
        assert gaps == (distance,) * 4
    first = next(_around((100, 150), (100, 100), 37))
    assert first == (63, 78, 137, 94), "outward is up"


@pytest.mark.parametrize(
    ("last", "beyond"),
    [
        ((298, 190), (0.1, 0)),
        ((82, 190), (-0.1, 0)),
        ((190, 38), (0, -0.1)),
        ((190, 342), (0, 0.1)),
    ],
)
def test_labels_keep_2_px_from_the_sides_and_4_px_around_the_plane(
    last: Point, beyond: Point
) -> None:
    for tip, fits in ((last, True), ((last[0] + beyond[0], last[1] + beyond[1]), False)):
        (place,) = _places([WORD], [tip], plane(190, 190), [])
        assert (place == next(_around((190, 190), tip, 37))) is fits


@pytest.mark.parametrize(
    ("tip", "other", "nearer"),
    [
        ((230, 190), (240, 202), (0, -0.1)),
        ((230, 190), (240, 178), (0, 0.1)),
        ((190, 150), (231, 147), (-0.1, 0)),
        ((190, 150), (149, 147), (0.1, 0)),
    ],
)
def test_labels_keep_4_px_from_other_tips(tip: Point, other: Point, nearer: Point) -> None:
    for second, fits in ((other, True), ((other[0] + nearer[0], other[1] + nearer[1]), False)):
        place, _ = _places([WORD, "b"], [tip, second], plane(190, 190), [])
        assert (place == next(_around((190, 190), tip, 37))) is fits


def test_a_line_leads_to_a_label_further_than_14_px() -> None:
    def end(place: tuple[float, float, float, float]) -> str:
        drawn = "".join(_leader((100, 60), place))
        assert not drawn or 'stroke="#59636e" stroke-width="1"' in drawn
        return "".join(re.findall(r'd="M100 60L([-\d. ]+)"', drawn))

    assert end((114, 52, 188, 68)) == end((12, 52, 86, 68)) == end((63, 74, 137, 90)) == ""
    assert end((114.1, 52, 188, 68)) == "114.1 60"
    assert end((12, 52, 85.9, 68)) == "85.9 60"
    assert end((63, 74.1, 137, 90)) == "100 74.1"
    assert end((110, 34, 184, 50)) == "110 50"


def test_an_arrow_of_less_than_a_pixel_is_a_dot() -> None:
    assert [len(_arrow((3, 3), (3, 3 + length), _PLAIN)) for length in (0, 0.9, 1)] == [1, 1, 2]


def test_labels_stand_near_their_tips_and_off_every_arrow() -> None:
    names = [f"w{i}" for i in range(12)]
    turns = [i * math.pi / 6 for i in range(12)]
    picture = vector_plot(
        {n: (math.cos(t), math.sin(t)) for n, t in zip(names, turns, strict=True)}
    )
    lines, tips = shapes(picture)
    for name, tip in zip(names, tips, strict=True):
        x, y = labels(picture)[name]
        assert math.dist((x, y - 4), tip) < 40
        for start, end in lines:
            for share in np.linspace(0, 1, 99):
                a, b = np.asarray(start) * (1 - share) + np.asarray(end) * share
                inside = abs(a - x) < 7 * len(name) / 2 and y - 10 < b < y
                assert not inside, name


def test_label_far_from_its_tip_is_led_to_it() -> None:
    crowded = {f"word {i}": (1 + i / 99, 1) for i in range(3)}
    svg = vector_plot({**crowded, "far": (9, 9)})._repr_svg_()
    leaders = re.findall(r'<path d="M[-\d. ]+L[-\d. ]+" fill="none" stroke="#59636e"', svg)
    assert leaders
    assert not re.findall(
        r'<path d="M[-\d. ]+L[-\d. ]+" fill="none" stroke="#59636e"',
        vector_plot({"a": (1, 2), "b": (2, 1)})._repr_svg_(),
    )


def test_no_length_is_a_dot() -> None:
    picture = vector_plot({"none": (0, 0), "a": (1, 2)})
    assert len(shapes(picture)[0]) == 1
    assert picture._repr_svg_().count("<circle") == 1
    assert vector_plot({"none": (0.0, -0.0)})._repr_svg_().count("<circle") == 1


def test_legend_names_the_roles_that_are_drawn() -> None:
    picture = vector_plot(
        {"it": (1, 2), "road": (2, 1), "other": (2, 2.5)}, roles={"road": "key", "it": "query"}
    )
    assert {"query", "key"} <= set(labels(picture))
    assert "value" not in labels(picture)
    plain = vector_plot({"it": (1, 2)})
    assert "query" not in labels(plain)


def test_table_is_the_data() -> None:
    picture = vector_plot(
        {"it": (1, 2), "<road> & more": (-2, 0.125)}, roles={"it": "query"}, title="Plane"
    )
    assert str(picture).splitlines() == [
        "Plane",
        "",
        "                x     y   role",
        "it           1.00  2.00  query",
        "<road> & …  -2.00  0.12",
    ]
    assert str(vector_plot({"a": (1, 2)})) == "   x  y\na  1  2"


def test_description_says_where_each_points() -> None:
    picture = vector_plot({"it": (1, 2), "<b>": (0.5, -1)}, roles={"it": "query"})
    assert ET.fromstring(picture._repr_svg_()).findtext(f"{SVG}desc") == (
        '2 vectors in the plane, from the origin: "it" (query) at 1, 2; "<b>" at 0.5, -1.'
    )


def test_arrays_and_tuples_are_the_same() -> None:
    pictures = [
        vector_plot({"a": vector})
        for vector in ((1, 2), [1.0, 2.0], np.asarray([1, 2]), torch.tensor([1.0, 2.0]))
    ]
    assert len(set(pictures)) == 1
    assert pictures[0] == VectorPlot((("a", (1.0, 2.0)),), (), None)


@pytest.mark.parametrize(
    ("vectors", "roles", "message"),
    [
        ({}, None, "vectors must hold 1 to 12 vectors, got 0"),
        ({str(i): (i, 1) for i in range(13)}, None, "vectors must hold 1 to 12 vectors, got 13"),
        ({"a": (1,)}, None, "vectors['a'] must hold two finite numbers, got (1)"),
        ({"a": (1, math.nan)}, None, "vectors['a'] must hold two finite numbers, got (1, nan)"),
        ({"a": (1, math.inf)}, None, "vectors['a'] must hold two finite numbers, got (1, inf)"),
        ({"a": (1, 2)}, {"b": "key"}, "roles must name labels of vectors, got 'b'"),
        (
            {"a": (1, 2)},
            {"a": "keys"},
            "roles['a'] must be one of query, key, value, scores, weights, output, got 'keys'",
        ),
        (
            {f"the word {i}": (1, 1) for i in range(12)},
            None,
            "vectors must leave room for their labels, got none for 'the word 3'",
        ),
    ],
)
def test_bad_input_is_one_clear_line(vectors: Any, roles: Any, message: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        vector_plot(vectors, roles=roles)
    assert str(caught.value) == message
