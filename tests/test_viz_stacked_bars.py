import re
from xml.etree import ElementTree as ET

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import StackedBars, softmax, stacked_bars
from attention_ref._viz_stacked_bars import _HATCHES, _hatching

SVG = "{http://www.w3.org/2000/svg}"
LENGTH = 350


def segments(picture: StackedBars) -> list[tuple[float, float, float]]:
    """Return each segment's left, right and top, in the order drawn; the legend's are in groups."""
    found = []
    for group in ET.fromstring(picture._repr_svg_()):
        if group.attrib.get("class") != "segment":
            continue
        rect = group.findall(f"{SVG}rect")[0]
        x, y, width = (float(rect.attrib[name]) for name in ("x", "y", "width"))
        edge = float(rect.attrib.get("stroke-width", 0))
        found.append((x - edge / 2, x + width + edge / 2, y - edge / 2))
    return found


@given(st.integers(0, 99), st.integers(1, 9))
def test_segments_are_the_weights_and_fill_the_bar(seed: int, kv_len: int) -> None:
    weights = softmax(np.random.default_rng(seed).normal(size=(2, kv_len)))
    found = segments(stacked_bars(weights))
    assert len(found) == weights.size
    for i, row in enumerate(weights):
        bar = found[i * kv_len : (i + 1) * kv_len]
        assert len({round(top) for _, _, top in bar}) == 1
        assert bar[0][0] == pytest.approx(15, abs=0.11)
        assert bar[-1][1] == pytest.approx(15 + LENGTH, abs=0.21)
        np.testing.assert_allclose([b - a for a, b, _ in bar], LENGTH * row, atol=0.21)
        np.testing.assert_allclose(
            [a for a, _, _ in bar], 15 + LENGTH * (np.cumsum(row) - row), atol=0.21
        )
    assert found[kv_len][2] > found[0][2] + 26, "the bars do not overlap"


def test_what_a_row_lacks_stays_empty_and_zeros_draw_nothing() -> None:
    picture = stacked_bars(np.asarray([[0.25, 0.0, 0.25]]))
    edges = [(a, b) for a, b, _ in segments(picture)]
    np.testing.assert_allclose(edges, [(15, 102.5), (102.5, 190)], atol=0.11)
    frame = [el for el in ET.fromstring(picture._repr_svg_()) if el.tag == f"{SVG}rect"][1]
    assert (frame.attrib["width"], frame.attrib["stroke-dasharray"]) == (str(LENGTH), "2 4")
    assert not segments(stacked_bars(np.zeros((1, 3))))


def test_half_precision_may_sum_to_a_little_more_than_one() -> None:
    first, last = segments(stacked_bars(torch.tensor([[0.5, 0.505]])))
    assert first[1] == pytest.approx(15 + LENGTH * 0.5 / 1.005, abs=0.11)
    assert last[:2] == pytest.approx((first[1], 15 + LENGTH), abs=0.11)
    assert stacked_bars(np.asarray([[1.01]])).weights == ((1.01,),)


def test_names_stand_in_the_middle_of_segments_that_have_room() -> None:
    picture = stacked_bars(np.asarray([[0.4, 0.15, 0.05, 0.4]]), columns=["one", "two", "b", "c"])
    texts = [el for el in ET.fromstring(picture._repr_svg_()) if el.tag == f"{SVG}text"]
    inside = {el.text: float(el.attrib["x"]) for el in texts if "." in (el.text or "")}
    assert inside == {
        "one 0.40": 85, "0.15": 181.2, "c 0.40": 295, "0.25": 102.5, "0.5": 190, "0.75": 277.5
    }  # fmt: skip


def test_names_keep_6_px_from_the_ends_of_their_segment() -> None:
    """The four signs of "0.12" take 30 px, so that a segment of 42 px has room for them."""
    for weight, named in ((42 / 350, True), (41.5 / 350, False)):
        svg = stacked_bars(np.asarray([[weight]]))._repr_svg_()
        assert (f">{weight:.2f}</text>" in svg) is named


def test_frame_of_a_narrow_segment_leaves_its_hatch_to_be_seen() -> None:
    edges = []
    for width in (3.0, 3.1):
        root = ET.fromstring(stacked_bars(np.asarray([[0.5, width / 350]]))._repr_svg_())
        segment = [el for el in root if el.attrib.get("class") == "segment"][1]
        edges.append(float(segment.findall(f"{SVG}rect")[0].attrib["stroke-width"]))
    assert edges == [0.5, 1.5], "two sides of 1.5 px would fill 3 px"


def test_table_is_the_data() -> None:
    picture = stacked_bars(
        np.asarray([[0.7074, 0.2926, 0.0], [0.125, 0.375, 0.5]]),
        rows=["it", "windowsills"],
        columns=["a", "b", "<c>"],
        title="Weights",
    )
    assert str(picture).splitlines() == [
        "Weights",
        "",
        "               a     b   <c>",
        "it          0.71  0.29  0.00",
        "windowsil…  0.12  0.38  0.50",
    ]


def test_description_names_the_largest_part() -> None:
    picture = stacked_bars(np.asarray([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4 + 2e-7]]), rows=["x", "y"])
    description = ET.fromstring(picture._repr_svg_()).findtext(f"{SVG}desc")
    assert description == (
        # Of two that single precision hardly tells apart, the first.
        '2 bars of weights, each shared among the keys "0", "1", "2". '
        'The largest part of "x" is "1", 0.50. The largest part of "y" is "0", 0.40.'
    )


@pytest.mark.parametrize("kind", ["/", "\\", "-", "|", "."])
@pytest.mark.parametrize(("width", "height"), [(350, 26), (16, 14), (7, 26), (0.3, 26)])
def test_hatching_stays_inside_and_has_its_direction(kind: str, width: int, height: int) -> None:
    lines = _hatching(kind, width, height)
    for x1, y1, x2, y2 in lines:
        assert -1e-9 <= min(x1, x2) <= max(x1, x2) <= width + 1e-9
        assert -1e-9 <= min(y1, y2) <= max(y1, y2) <= height + 1e-9
        across, up = x2 - x1, y1 - y2
        rise = {"/": across, "\\": -across, "-": 0, ".": 0, "|": up}[kind]
        assert up == pytest.approx(rise)
        assert kind != "|" or across == 0
    assert lines or width < 6


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("-", [(0, 6, 18, 6), (0, 12, 18, 12)]),
        ("|", [(6, 0, 6, 14), (12, 0, 12, 14)]),
        (".", [(5, 6, 7, 6), (11, 6, 13, 6), (5, 12, 7, 12), (11, 12, 13, 12)]),
        ("/", [(0, 6, 6, 0), (0, 12, 12, 0), (4, 14, 18, 0), (10, 14, 18, 6), (16, 14, 18, 12)]),
        ("\\", [(0, 8, 6, 14), (0, 2, 12, 14), (4, 0, 18, 14), (10, 0, 18, 8), (16, 0, 18, 2)]),
    ],
)
def test_hatching_has_a_line_every_6_px_from_edge_to_edge(
    kind: str, lines: list[tuple[float, float, float, float]]
) -> None:
    """The edges themselves, at 0 and 18 px across, are drawn by the segment's frame."""
    assert _hatching(kind, 18, 14) == lines


def test_no_two_keys_have_one_hatch() -> None:
    picture = stacked_bars(np.full((1, 9), 1 / 9))
    root = ET.fromstring(picture._repr_svg_())
    shapes = [
        ET.tostring(el[0], encoding="unicode")
        for el in root
        if el.tag == f"{SVG}g" and "transform" in el.attrib
    ]
    assert len(shapes) == len(set(shapes)) == len(_HATCHES) == 9


@pytest.mark.parametrize(("place", "directions"), [(6, {1, -1}), (7, {0, None})])
def test_crossed_hatches_cross(place: int, directions: set[int | None]) -> None:
    weights = np.zeros((1, 9))
    weights[0, place] = 1
    root = ET.fromstring(stacked_bars(weights)._repr_svg_())
    (segment,) = [el for el in root if el.attrib.get("class") == "segment"]
    drawn = re.findall(r"M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)", segment[0].attrib["d"])
    slopes = set()
    for x1, y1, x2, y2 in (map(float, line) for line in drawn):
        slopes.add(round((y2 - y1) / (x2 - x1)) if x1 != x2 else None)
    assert slopes == directions


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_all_libraries_draw_the_same(dtype: str) -> None:
    pictures = [
        stacked_bars(xp.asarray([[0, 1], [1, 0]], dtype=getattr(xp, dtype)))
        for xp in (np, torch, array_api_strict)
    ]
    assert pictures[0] == pictures[1] == pictures[2]
    assert pictures[0] == StackedBars(((0.0, 1.0), (1.0, 0.0)), ("0", "1"), ("0", "1"), None)


@pytest.mark.parametrize(
    ("weights", "labels", "error", "message"),
    [
        ([[1.0]], {}, TypeError, "weights must be an array (NumPy, PyTorch, ...), got list"),
        (
            np.ones((2, 10)) / 10,
            {},
            ValueError,
            "weights must have shape (q_len, kv_len), with 1 to 9 keys to tell apart, got (2, 10)",
        ),
        (
            np.ones((0, 3)),
            {},
            ValueError,
            "weights must have shape (q_len, kv_len), with 1 to 9 keys to tell apart, got (0, 3)",
        ),
        (
            np.ones((2, 0)),
            {},
            ValueError,
            "weights must have shape (q_len, kv_len), with 1 to 9 keys to tell apart, got (2, 0)",
        ),
        (
            np.ones(3) / 3,
            {},
            ValueError,
            "weights must have shape (q_len, kv_len), with 1 to 9 keys to tell apart, got (3,)",
        ),
        (np.ones((1, 1), bool), {}, TypeError, "weights must hold real numbers, got bool"),
        (np.asarray([[-0.5]]), {}, ValueError, "weights must be at least 0, got -0.5"),
        (np.asarray([[np.nan]]), {}, ValueError, "weights must be at least 0, got nan"),
        (np.asarray([[1, 0.5]]), {}, ValueError, "weights must sum to at most 1 a row, got 1.5"),
        (
            np.eye(2),
            {"rows": ["a"]},
            ValueError,
            "rows must hold one label a query (2), got 1",
        ),
        (
            np.eye(2),
            {"columns": ["a"]},
            ValueError,
            "columns must hold one label a key (2), got 1",
        ),
    ],
)
def test_bad_input_is_one_clear_line(
    weights: object, labels: dict[str, list[str]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        stacked_bars(weights, **labels)
    assert str(caught.value) == message
