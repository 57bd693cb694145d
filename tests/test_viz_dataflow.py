import itertools
import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from attention_ref import Dataflow, dataflow
from attention_ref._viz_dataflow import (
    _along,
    _boxes,
    _detour,
    _labels,
    _meets,
    _Route,
    _segments,
    _spots,
    _under,
    _wrapped,
)

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


def test_the_shortest_way_around_is_the_innermost() -> None:
    passing = [("a", "g"), ("b", "f"), ("c", "e")]
    picture = dataflow(list("abcdefg"), passing)
    (left, _, right, _) = boxes(picture)[0]
    lanes = [points[1][0] for points in arrows(picture)]
    # To the right first, then as near to the left, then one lane further.
    assert lanes == [right + 10, left - 10, right + 22]


def test_ways_out_of_one_box_share_their_first_line_and_into_one_their_last() -> None:
    for passing in ([("a", "c"), ("a", "d"), ("a", "e")], [("c", "e"), ("b", "e"), ("a", "e")]):
        first, second, third = arrows(dataflow(list("abcde"), passing))
        assert first[1][0] > 190 > second[1][0], "both sides of the boxes"
        assert third[1][0] > first[1][0] + 10, "a lane further, from the same place"
        assert (third[0] == first[0]) is (passing[0][0] == "a")
        assert (third[-1] == first[-1]) is (passing[0][1] == "e")


def test_arrows_to_the_next_row_do_not_cross() -> None:
    names = ["q", "k", "v"]
    for rows, joined in (
        (["x", names], [("x", name) for name in reversed(names)]),
        ([names, "x"], [(name, "x") for name in reversed(names)]),
    ):
        ways = sorted(arrows(dataflow(rows, joined)))
        assert [points[-1] for points in ways] == sorted(points[-1] for points in ways)
        assert len({points[0] for points in ways}) == len({points[-1] for points in ways}) == 3


def test_boxes_leave_room_for_three_lanes_on_each_side() -> None:
    """More than six ways around are rare; boxes keep their width for them."""
    widths = []
    for count in range(6):
        joined = tuple((f"r{i}", f"r{i + 2}", "") for i in range(count))
        rows = (*((f"r{i}", f"s{i}") for i in range(7)),)
        places, bottom = _boxes(Dataflow(rows, joined, (), None), 6.0)
        assert bottom == 6 + 7 * 29 + 6 * 44
        widths.append(places["r0"][2] - places["r0"][0])
    free = [380 - 2 * (12 + 13 * lanes) for lanes in (0, 1, 2, 3, 3, 3)]
    between = [14, 26, 26, 26, 26, 26]
    assert widths == pytest.approx([a / 2 - b for a, b in zip(free, between, strict=True)])


def test_corners_of_boxes_are_tenths_of_a_pixel() -> None:
    places, _ = _boxes(Dataflow((("a", "b", "c"),), (), (), None), 6.0)
    assert all(round(x, 1) == x for box in places.values() for x in box)
    alone, _ = _boxes(Dataflow((("a",),), (), (), None), 6.0)
    assert alone["a"] == (80, 6, 300, 35), "in the middle, no wider than 220 px"


def test_a_way_around_keeps_8_px_from_where_it_leaves_and_10_px_from_its_head() -> None:
    """The head is 9 px long."""
    boxes = {"one": (14.0, 10.0, 374.0, 40.0), "two": (16.0, 200.0, 374.0, 230.0)}
    route = _detour("one", "two", "label", boxes, [])
    assert route == _Route(((14, 31), (6, 31), (6, 209), (16, 209)), "label")
    for narrow in ({"one": (13.9, 10.0, 374.0, 40.0)}, {"two": (15.9, 200.0, 374.0, 230.0)}):
        with pytest.raises(ValueError, match="must have a way around"):
            _detour("one", "two", "", boxes | narrow, [])
    boxes = {"one": (80.0, 10.0, 300.0, 40.0), "two": (80.0, 200.0, 302.0, 230.0)}
    route = _detour("one", "two", "", boxes, [])
    assert route.points[1:3] == ((70, 31), (70, 209)), "the nearer side"


def test_a_line_covers_a_pixel_on_both_sides() -> None:
    corners = [(10, 20), (10, 50), (4, 50)]
    assert list(_segments(corners)) == [(9, 19, 11, 51), (3, 49, 11, 51)]


def around(lane: float, top: float, bottom: float, leave: float = 100, enter: float = 100) -> Any:
    return (leave, top), (lane, top), (lane, bottom), (enter, bottom)


@pytest.mark.parametrize(
    ("one", "other", "along"),
    [
        (around(110, 20, 80), around(110, 20, 80), True),
        (around(110, 20, 80), around(110, 79, 140), True),
        (around(110, 20, 80), around(110, 82, 140), False),  # one below the other
        (around(110, 20, 80), around(122, 10, 90), False),  # two lanes side by side
        (around(110, 20, 80), around(121.9, 10, 90), True),
        (around(122, 10, 90), around(110, 20, 80), False),
        (around(121.9, 10, 90), around(110, 20, 80), True),
        # Out of one box, or into one: the longer way runs over the shorter one's line.
        (around(122, 20, 90), around(110, 20, 80), False),
        (around(122, 10, 80), around(110, 20, 80), False),
        (around(122, 20, 80), around(110, 20, 80), False),
        # Out of two boxes, or into two, at one height: it would cross the other's lane.
        (around(122, 20, 90, leave=99), around(110, 20, 80), True),
        (around(122, 10, 80, enter=99), around(110, 20, 80), True),
        (around(122, 20, 90, leave=99), around(110, 20, 80, enter=99), True),
        (around(122, 50, 90), around(110, 20, 80), True),
        (around(122, 10, 50), around(110, 20, 80), True),
    ],
)
def test_ways_keep_a_lane_apart_and_cross_none(one: Any, other: Any, along: bool) -> None:
    assert _along(one, other) is along


DOWN = ((100.0, 0.0), (100.0, 200.0))
AROUND = ((150.0, 0.0), (100.0, 0.0), (100.0, 200.0), (150.0, 200.0))


def label_at(points: Any, taken: Any = (), *others: Any) -> Point:
    """Return the middle of the label "abcd", whose ground is 36 px by 16 px."""
    routes = [_Route(points, "abcd"), *(_Route(other, "") for other in others)]
    ((ground, _),) = _labels(routes, taken)
    x, y, width, height = (
        float(ET.fromstring(ground).attrib[name]) for name in ("x", "y", "width", "height")
    )
    assert sorted([width, height]) == [16, 36]
    return x + width / 2, y + height / 2


@pytest.mark.parametrize("way", [DOWN, AROUND])
def test_a_label_stands_by_the_middle_of_its_arrow_or_where_there_is_room(way: Any) -> None:
    assert {turned for _, _, turned in _spots(way)} == {way is AROUND}
    taken: list[Box] = []
    found = []
    for _ in range(5):
        x, y = label_at(way, taken)
        assert x == 100
        found.append(y)
        taken.append((99, y - 1, 101, y + 1))
    assert found == [90, 70, 110, 130, 50]
    with pytest.raises(ValueError, match="must leave room for their labels, got none for 'abcd'"):
        label_at(way, taken)


@pytest.mark.parametrize("way", [DOWN, AROUND])
def test_a_label_may_touch_boxes_and_arrows_and_not_cover_them(way: Any) -> None:
    half, high = (8, 18) if way is AROUND else (18, 8)
    left, top, right, bottom = 100 - half, 90 - high, 100 + half, 90 + high
    for beside, shift in (
        ((left - 9, 89, left, 91), (0.1, 0)),
        ((right, 89, right + 9, 91), (-0.1, 0)),
        ((99, top - 9, 101, top), (0, 0.1)),
        ((99, bottom, 101, bottom + 9), (0, -0.1)),
    ):
        moved = tuple(x + shift[i % 2] for i, x in enumerate(beside))
        assert label_at(way, [beside]) == (100, 90)
        assert label_at(way, [moved]) != (100, 90)
    for end, shift in (
        ((left, 90), (0.1, 0)),
        ((right, 90), (-0.1, 0)),
        ((100, top), (0, 0.1)),
        ((100, bottom), (0, -0.1)),
    ):
        start = (100 + 3 * (end[0] - 100), 90 + 3 * (end[1] - 90))
        moved_end = (end[0] + shift[0], end[1] + shift[1])
        assert label_at(way, [], (start, end)) == (100, 90)
        assert label_at(way, [], (start, moved_end)) != (100, 90)


def test_a_label_keeps_a_pixel_from_the_sides_of_the_picture() -> None:
    for x, fits in ((19, True), (18.9, False), (361, True), (361.1, False)):
        way = ((x, 0.0), (x, 200.0))
        if fits:
            assert label_at(way) == pytest.approx((x, 90))
        else:
            with pytest.raises(ValueError, match="must leave room for their labels"):
                label_at(way)


def test_labels_do_not_cover_each_other() -> None:
    crossing = ((60.0, 90.0), (100.0, 90.0))
    routes = [_Route(DOWN, "abcd"), _Route(((110.0, 0.0), (110.0, 200.0)), "abcd")]
    assert label_at(DOWN, [], crossing) == (100, 70)
    with pytest.raises(ValueError, match="must leave room for their labels"):
        _labels(routes, [])
    apart = [_Route(DOWN, "abcd"), _Route(((119.0, 0.0), (119.0, 200.0)), "abcd")]
    middles = [float(ET.fromstring(words).attrib["y"]) - 4.5 for _, words in _labels(apart, [])]
    assert middles == [90, 70]


def test_an_arrow_is_followed_in_forty_steps_from_end_to_end() -> None:
    points = [(10.0, 20.0), (50.0, 100.0), (50.0, 20.0)]

    def met(x: float, y: float) -> bool:
        return _meets((x - 0.1, y - 0.1, x + 0.1, y + 0.1), points)

    assert all(met(10 + i, 20 + 2 * i) for i in range(41))
    assert all(met(50, 100 - 2 * i) for i in range(41))
    assert not any(met(x, y) for x, y in [(9, 18), (51, 102), (50, 18), (10.5, 21)])


def test_an_arrow_ends_8_px_within_the_sides_of_a_box() -> None:
    box = (10.0, 0.0, 50.0, 30.0)
    assert [_under(x, box) for x in (18, 18.1, 41.9, 42)] == [False, True, True, False]


def test_words_longer_than_their_box_are_not_broken() -> None:
    assert _wrapped("abcd", 38) == ["abcd"], "30 px, and 4 px on both sides"
    for width in (37.9, 33):
        with pytest.raises(ValueError, match="must hold names of two lines of 3 characters"):
            _wrapped("abcd", width)
    with pytest.raises(ValueError, match="of 8 characters, got 'unembedding'"):
        dataflow([["x", "unembedding", "z", "w"]], [])


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
        (
            ["x", "y"],
            [("x", "y", "a", "b")],
            {},
            "arrows must be (from, to) or (from, to, label), got ('x', 'y', 'a', 'b')",
        ),
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
