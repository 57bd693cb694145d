import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from attention_ref import VectorPlot, vector_plot

SVG = "{http://www.w3.org/2000/svg}"
Point = tuple[float, float]


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
