import itertools
import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from attention_ref import Dataflow, dataflow

SVG = "{http://www.w3.org/2000/svg}"
Box = tuple[float, float, float, float]
Point = tuple[float, float]


def boxes(picture: Dataflow) -> list[Box]:
    """Return left, top, right, bottom of each box, in the order of the rows."""
    found = []
    for element in ET.fromstring(picture._repr_svg_()):
        if element.attrib.get("class") == "box":
            x, y, width, height = (
                float(element.attrib[name]) for name in ("x", "y", "width", "height")
            )
            found.append((x, y, x + width, y + height))
    return found


def arrows(picture: Dataflow) -> list[list[Point]]:
    """Return the corners of each arrow, its tip last."""
    lines, tips = [], []
    for element in ET.fromstring(picture._repr_svg_()):
        numbers = re.findall(r"(-?[\d.]+) (-?[\d.]+)", element.attrib.get("d", ""))
        points = [(float(x), float(y)) for x, y in numbers]
        if element.attrib.get("class") == "arrow":
            lines.append(points)
        elif points:
            tips.append(points[0])
    return [[*line[:-1], tip] for line, tip in zip(lines, tips, strict=True)]


def texts(picture: Dataflow) -> list[str]:
    root = ET.fromstring(picture._repr_svg_())
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def touches(point: Point, box: Box) -> bool:
    x, y = point
    inside = box[0] - 0.2 <= x <= box[2] + 0.2 and box[1] - 0.2 <= y <= box[3] + 0.2
    edge = min(abs(x - box[0]), abs(x - box[2]), abs(y - box[1]), abs(y - box[3]))
    return inside and edge < 0.2


FLOWS: dict[str, tuple[list[Any], list[Any]]] = {
    "block": (
        ["x", "norm 1", "attention", "add 1", "norm 2", "feed-forward", "add 2", "y"],
        [("x", "norm 1", "(n, d)"), ("norm 1", "attention"), ("attention", "add 1"),
         ("add 1", "norm 2"), ("norm 2", "feed-forward"), ("feed-forward", "add 2"),
         ("add 2", "y"), ("x", "add 1", "residual"), ("add 1", "add 2", "residual")],
    ),
    "nested": (
        ["a", "b", "c", "d", "e"],
        [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("a", "e"), ("a", "d"), ("b", "e")],
    ),
    "two columns": (
        [["source", "target"], ["self-attention", "masked self-attention"], ["memory", "add"],
         ["", "cross-attention"]],
        [("source", "self-attention"), ("self-attention", "memory", "(m, d)"),
         ("target", "masked self-attention"), ("masked self-attention", "add"),
         ("target", "add"), ("add", "cross-attention", "query"),
         ("memory", "cross-attention", "key, value"), ("source", "add", "across")],
    ),
    "head": (
        ["x", ["q", "k", "v"], ["scores", ""], "output"],
        [("x", "q", "(n, d)"), ("x", "k", "(n, d)"), ("x", "v", "(n, d)"), ("q", "scores"),
         ("k", "scores"), ("scores", "output"), ("v", "output", "(n, d_v)")],
    ),
    "four": ([["a", "b", "c", "d"], "sum"], [(name, "sum", "d_k") for name in "abcd"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOWS)
def test_each_arrow_leads_from_its_box_to_its_box_and_through_no_other(name: str) -> None:
    rows, joined = FLOWS[name]
    picture = dataflow(rows, joined)
    names = [n for row in rows for n in ([row] if isinstance(row, str) else row) if n]
    where = dict(zip(names, boxes(picture), strict=True))
    found = arrows(picture)
    assert len(found) == len(joined)
    ends = []
    for points in found:
        (start,) = [n for n, box in where.items() if touches(points[0], box)]
        (end,) = [n for n, box in where.items() if touches(points[-1], box)]
        ends.append((start, end))
        for (x1, y1), (x2, y2) in itertools.pairwise(points):
            for share in (i / 200 for i in range(1, 200)):
                x, y = x1 + (x2 - x1) * share, y1 + (y2 - y1) * share
                assert 0 < x < 380
                for box in where.values():
                    assert not (box[0] + 1 < x < box[2] - 1 and box[1] + 1 < y < box[3] - 1)
    assert sorted(ends) == sorted(arrow[:2] for arrow in joined)


@pytest.mark.parametrize("name", FLOWS)
def test_boxes_stand_in_rows_and_do_not_touch(name: str) -> None:
    rows, joined = FLOWS[name]
    places = boxes(dataflow(rows, joined))
    for one, other in itertools.combinations(places, 2):
        assert one[2] + 10 < other[0] or one[3] + 40 < other[1]
    counts = [sum(map(bool, [row] if isinstance(row, str) else row)) for row in rows]
    tops = [top for _, top, _, _ in places]
    rest = iter(tops)
    for count in counts:
        assert len({next(rest) for _ in range(count)}) == 1
    assert len(set(tops)) == len(rows)
    assert tops == sorted(tops)


def test_arrows_that_pass_rows_keep_apart() -> None:
    """`a` to `e`, `a` to `d` and `b` to `e` run side by side; upright parts have their lanes."""
    upright = [
        (x1, min(y1, y2), max(y1, y2))
        for points in arrows(dataflow(*FLOWS["nested"]))
        if len(points) == 4
        for (x1, y1), (x2, y2) in [points[1:3]]
        if x1 == x2
    ]
    assert len(upright) == 3
    for one, other in itertools.combinations(upright, 2):
        assert abs(one[0] - other[0]) > 8 or one[2] <= other[1] or other[2] <= one[1]


def test_two_residuals_on_one_side_do_not_join() -> None:
    first, second = [p for p in arrows(dataflow(*FLOWS["block"])) if len(p) == 4]
    assert first[1][0] == second[1][0], "one lane"
    assert second[0][1] - first[-1][1] == 12, "one ends above where the next begins"


def test_single_arrows_are_upright() -> None:
    for points in arrows(dataflow(*FLOWS["block"])):
        if len(points) == 2:
            assert points[0][0] == points[1][0]


def test_labels_are_written_on_their_own_arrow() -> None:
    rows = ["x", ["q", "k", "v"]]
    picture = dataflow(rows, [("x", "q", "one"), ("x", "k", "two"), ("x", "v", "three")])
    root = ET.fromstring(picture._repr_svg_())
    at = {
        t.text: (float(t.attrib["x"]), float(t.attrib["y"]) - 4.5) for t in root.iter(f"{SVG}text")
    }
    lines = dict(zip(["one", "two", "three"], arrows(picture), strict=True))
    for label, ((x1, y1), (x2, y2)) in lines.items():
        x, y = at[label]
        share = (y - y1) / (y2 - y1)
        assert 0.2 < share < 0.7
        assert x == pytest.approx(x1 + (x2 - x1) * share, abs=0.6)


def test_table_is_the_data() -> None:
    picture = dataflow(
        ["x", ["query", "<key>"]],
        [("x", "query", "(n, d_k)"), ("x", "<key>")],
        title="Projections",
    )
    assert str(picture).splitlines() == [
        "Projections",
        "",
        "from  to     carries",
        "x     query  (n, d_k)",
        "x     <key>",
    ]
    assert set(texts(picture)) == {"Projections", "x", "query", "<key>", "(n, d_k)"}


def test_description_says_what_feeds_what() -> None:
    picture = dataflow(["x", "y & z"], [("x", "y & z", "(n, d)")])
    description = ET.fromstring(picture._repr_svg_()).findtext(f"{SVG}desc")
    assert description == '2 boxes from top to bottom. Arrows: "x" to "y & z" carries (n, d).'
    alone = ET.fromstring(dataflow(["x"], [])._repr_svg_()).findtext(f"{SVG}desc")
    assert alone == "1 box from top to bottom."


def test_long_names_break_into_two_lines() -> None:
    narrow = dataflow([["query", "rotary key (cached)", "value"]], [])
    assert texts(narrow) == ["query", "rotary key", "(cached)", "value"]
    one, two, three = boxes(narrow)
    assert one[3] == two[3] == three[3]
    assert math.isclose(two[3] - two[1], 46)


def test_empty_names_leave_their_place_empty() -> None:
    left, right = (boxes(dataflow([row], []))[0] for row in (["a", ""], ["", "a"]))
    assert left[2] < 190 < right[0]


def test_dataflow_is_frozen_and_compares_by_value() -> None:
    picture = dataflow(["x", ("y",)], [["x", "y"]], roles={"x": "key"})
    assert picture == Dataflow((("x",), ("y",)), (("x", "y", ""),), (("x", "key"),), None)
    assert hash(picture) == hash(dataflow(["x", "y"], [("x", "y", "")], roles={"x": "key"}))


@pytest.mark.parametrize(
    ("rows", "joined", "roles", "message"),
    [
        ([], [], {}, "rows must hold rows of 1 to 4 boxes, got rows of ()"),
        (["x", []], [], {}, "rows must hold rows of 1 to 4 boxes, got rows of (1, 0)"),
        ([list("abcde")], [], {}, "rows must hold rows of 1 to 4 boxes, got rows of (5,)"),
        (["x", "y", "x"], [], {}, "rows must name each box once, got 'x' 2 times"),
        (["x", "y"], ["xy"], {}, "arrows must be (from, to) or (from, to, label), got 'xy'"),
        (["x", "y"], [("x",)], {}, "arrows must be (from, to) or (from, to, label), got ('x',)"),
        (["x", "y"], [("x", "z")], {}, "arrows must join boxes of rows, got 'z'"),
        (["x", "y"], [("y", "x")], {}, "arrows must lead to a later row, got 'y' to 'x'"),
        ([["x", "y"]], [("x", "y")], {}, "arrows must lead to a later row, got 'x' to 'y'"),
        (["x"], [], {"y": "key"}, "roles must name boxes of rows, got 'y'"),
        (
            ["x"],
            [],
            {"x": "mask"},
            "roles['x'] must be one of query, key, value, scores, weights, output, got 'mask'",
        ),
        (
            [["x", "a word beyond measure", "z", "w"]],
            [],
            {},
            "rows must hold names of two lines of 8 characters, got 'a word beyond measure'",
        ),
        (
            ["x", "y"],
            [("x", "y", "w" * 60)],
            {},
            f"arrows must leave room for their labels, got none for '{'w' * 60}'",
        ),
        (
            [["a", "b", "c"], "wall", ["d", "e", "f"]],
            [("b", "e")],
            {},
            "arrows must have a way around the boxes, got 'b' to 'e'",
        ),
    ],
)
def test_bad_input_is_one_clear_line(rows: Any, joined: Any, roles: Any, message: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        dataflow(rows, joined, roles=roles)
    assert str(caught.value) == message
