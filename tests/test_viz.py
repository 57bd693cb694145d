import itertools
import math
import re
from xml.etree import ElementTree as ET

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from attention_ref import Heatmap, heatmap

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "desc", "style", "rect", "circle", "g", "text"}
NAN, INF = math.nan, math.inf
HOSTILE = [
    "<s>",
    "</text><script>alert(1)</script>",
    "&amp;",
    "\"'",
    "]]>",
    "",
    " ",
    "\n\t\x00\x1b\x85\u2028",
    "\ud800\uffff",
    "👩\u200d👩\u200d👧",
    "שלום",
    "a" * 500,
    "\u202eabc",
]

matrices = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=11),
    elements=st.one_of(
        st.floats(-9, 9), st.floats(0, 1), st.sampled_from([NAN, INF, -INF, 0.0, -0.0, 1e300])
    ),
)


def parse(figure: Heatmap) -> ET.Element:
    return ET.fromstring(figure._repr_svg_())


def texts(element: ET.Element) -> list[str]:
    return [text.text or "" for text in element.iter(f"{SVG}text")]


def cells(figure: Heatmap) -> list[ET.Element]:
    """All rectangles and dots but the page itself; the legend's come last."""
    return [el for el in parse(figure).iter() if el.tag in {f"{SVG}rect", f"{SVG}circle"}][1:]


def paint(element: ET.Element) -> tuple[str, str]:
    style = re.fullmatch(r"--dark:(#[0-9a-f]{6})", element.attrib["style"])
    assert style is not None
    assert re.fullmatch(r"#[0-9a-f]{6}", element.attrib["fill"])
    return element.attrib["fill"], style[1]


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance, written apart from the module's."""
    r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = np.asarray([r, g, b])
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


# ------------------------------------------------------------------ the table


def test_table_is_aligned() -> None:
    weights = np.asarray([[1.0, 0.0, 0.0], [0.7074, 0.2926, 0.0], [0.4651, 0.2632, 0.2717]])
    words = ["This", "given", "sentence"]
    expected = """\
Causal weights

          This  given  sentence
This      1.00   0.00      0.00
given     0.71   0.29      0.00
sentence  0.47   0.26      0.27"""
    figure = heatmap(weights, rows=words, columns=words, title="Causal weights")
    assert str(figure) == expected


def test_table_of_scores_shows_signs_infinities_and_nan() -> None:
    table = str(heatmap(np.asarray([[-1.5, -INF], [NAN, INF], [-0.004, 12.0]])))
    assert table.splitlines() == [
        "       0      1",
        "0  -1.50   -inf",
        "1    nan    inf",
        "2   0.00  12.00",
    ]


def test_table_of_a_mask_and_of_ints() -> None:
    mask = np.asarray([[True, False], [True, True]])
    assert str(heatmap(mask)) == "   0  1\n0  1  .\n1  1  1"
    assert str(heatmap(np.asarray([[7, -12]]))) == "   0    1\n0  7  -12"


def test_table_of_heads() -> None:
    table = str(heatmap(np.asarray([[[0.25, 0.75]], [[1.0, 0.0]]])))
    assert table == "head 0\n      0     1\n0  0.25  0.75\n\nhead 1\n      0     1\n0  1.00  0.00"


def test_a_last_bit_does_not_change_the_output() -> None:
    exact = np.full((3, 5), 0.125)
    near = np.nextafter(exact, 1)
    assert heatmap(exact)._repr_svg_() == heatmap(near)._repr_svg_()
    assert str(heatmap(exact)) == str(heatmap(near))


def test_eight_short_labels_fit_a_terminal() -> None:
    figure = heatmap(np.full((8, 8), -1.5), rows=["a" * 30] * 8, columns=["abcdef"] * 8)
    assert max(map(len, str(figure).splitlines())) <= 78


@given(matrices)
def test_table_lines_are_equally_long(weights: np.ndarray) -> None:
    for block in str(heatmap(weights)).split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("head")]
        assert len(lines) == weights.shape[-2] + 1
        assert len(set(map(len, lines))) == 1


# ------------------------------------------------------------------ the drawing


@given(matrices)
def test_drawing_is_well_formed_accessible_and_self_contained(weights: np.ndarray) -> None:
    figure = heatmap(weights)
    svg = figure._repr_svg_()
    root = ET.fromstring(svg)
    assert svg == heatmap(weights.copy())._repr_svg_()
    assert root.attrib["role"] == "img"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    for element in root.iter():
        assert not {"id", "href", "onload"} & set(element.attrib)
        assert element.tag.removeprefix(SVG) in ELEMENTS
    assert svg.count("http") == 1, "the namespace is no request; all else would be"
    assert "url(" not in svg
    assert "@import" not in svg
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert root.attrib["viewBox"] == f"0 0 {width:g} {height:g}"
    drawn = 0
    for group in root.iter(f"{SVG}g"):
        x0, y0 = map(float, re.findall(r"[\d.]+", group.attrib["transform"]))
        for rect in group.iter(f"{SVG}rect"):
            drawn += 1
            right = x0 + float(rect.attrib["x"]) + float(rect.attrib["width"])
            bottom = y0 + float(rect.attrib["y"]) + float(rect.attrib["height"])
            assert right <= width
            assert bottom <= height
        for dot in group.iter(f"{SVG}circle"):
            drawn += 1
            assert 1 <= float(dot.attrib["r"]) < 4
    assert drawn >= weights.size


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_stay_text(label: str) -> None:
    figure = heatmap(np.ones((1, 2)), rows=[label], columns=[label, "b"], title=label)
    svg = figure._repr_svg_()
    svg.encode()  # a lone surrogate would raise
    assert not list(ET.fromstring(svg).iter(f"{SVG}script"))
    assert len(str(figure).splitlines()) == (4 if label else 2)


@given(st.text(), st.text())
def test_any_label_is_well_formed(label: str, title: str) -> None:
    ET.fromstring(heatmap(np.ones((1, 1)), rows=[label], columns=[label], title=title)._repr_svg_())


def test_labels_are_shown_whole_or_cut_at_ten() -> None:
    figure = heatmap(np.ones((1, 2)), rows=["<s>"], columns=["windowsill", "windowsills"])
    assert texts(parse(figure)) == [
        *["keys", "windowsill", "windowsil…", "1.00", "1.00"],
        *["query", "<s>"],
    ]


def test_a_token_that_is_a_line_break_is_written_as_an_escape() -> None:
    figure = heatmap(np.ones((1, 1)), rows=["\n"], columns=["\x00"])
    assert str(figure) == "    \\x00\n\\n  1.00"
    assert str(heatmap(np.ones((1, 1)), rows=["\u202e"])).endswith("\\u202e  1.00")


def test_every_cell_prints_its_value() -> None:
    weights = np.arange(56).reshape(7, 8) / 56
    drawn = texts(parse(heatmap(weights)))
    for value in weights.ravel():
        assert f"{value:.2f}" in drawn
    assert len(drawn) == 2 + 7 + 8 + 56


def test_large_matrices_give_a_scale_in_place_of_values() -> None:
    figure = heatmap(np.linspace(0, 0.4, 400).reshape(20, 20))
    assert texts(parse(figure))[-2:] == ["0.00", "0.40"]
    assert len(cells(figure)) == 400 + 9
    assert paint(cells(figure)[399]) == paint(cells(figure)[-1]), "the strongest colour is 0.40"
    figure = heatmap(np.linspace(-3, 2, 400).reshape(20, 20))
    assert texts(parse(figure))[-2:] == ["-3.00", "3.00"]
    assert paint(cells(figure)[0]) == paint(cells(figure)[400])


def test_one_colour_means_one_weight_in_all_small_figures() -> None:
    small = heatmap(np.asarray([[0.25, 0.75]]))
    other = heatmap(np.asarray([[0.25], [0.1], [0.4]]))
    assert paint(cells(small)[0]) == paint(cells(other)[0])


@pytest.mark.parametrize("sign", [1, -1])
def test_more_is_darker_on_a_light_page_and_lighter_on_a_dark_one(sign: int) -> None:
    ramp = [paint(cell) for cell in cells(heatmap(sign * np.linspace(0, 1, 201).reshape(-1, 1)))]
    light = [luminance(one) for one, _ in ramp]
    dark = [luminance(other) for _, other in ramp]
    assert light == sorted(light, reverse=True)
    assert dark == sorted(dark)
    assert contrast(ramp[0][0], ramp[-1][0]) > 9
    assert contrast(ramp[0][1], ramp[-1][1]) > 9
    reds = [int(one[1:3], 16) - int(one[5:7], 16) for one, _ in ramp[20:]]
    assert all(red * sign < 0 for red in reds), "blue above zero, orange below"


def test_text_can_be_read_in_both_themes() -> None:
    # A column at a time, so that cells and values pair up by their order.
    values = np.concatenate([np.linspace(-1, 1, 2001), [NAN, INF]])
    root = parse(heatmap(values.reshape(-1, 1)))
    rects = list(root.iter(f"{SVG}rect"))
    printed = [t for t in root.iter(f"{SVG}text") if t.attrib["fill"] in {"#000000", "#ffffff"}]
    assert len(printed) == len(rects) - 1 == len(values)
    for text, rect in zip(printed, rects[1:], strict=True):
        for ink, ground in zip(paint(text), paint(rect), strict=True):
            assert contrast(ink, ground) >= 4.5
    for text in root.iter(f"{SVG}text"):
        if text not in printed:
            for ink, page in zip(paint(text), paint(rects[0]), strict=True):
                assert contrast(ink, page) >= 4.5


def test_masked_pairs_are_dots_and_zeros_are_cells() -> None:
    figure = heatmap(np.asarray([[0.0, -INF], [0.5, 0.5]]))
    assert [cell.tag for cell in cells(figure)] == [
        *[f"{SVG}rect", f"{SVG}circle", f"{SVG}rect", f"{SVG}rect"],
        f"{SVG}circle",  # the legend's
    ]
    assert texts(parse(figure))[-1] == "masked"
    assert "-inf" not in texts(parse(figure))
    mask = heatmap(np.asarray([[True, False]]))
    assert [cell.tag for cell in cells(mask)][:2] == [f"{SVG}rect", f"{SVG}circle"]
    assert texts(parse(mask))[-2:] == ["may attend", "masked"]


def test_nan_is_written_in_its_cell_or_in_the_legend() -> None:
    assert "nan" in texts(parse(heatmap(np.asarray([[NAN, 0.5]]))))
    weights = np.zeros((20, 20))
    weights[3, 5] = NAN
    assert texts(parse(heatmap(weights)))[-1] == "nan"


def test_a_phone_shows_eight_by_eight_in_readable_type() -> None:
    figure = heatmap(np.full((8, 8), 0.125), rows=["flooded"] * 8, columns=["flooded"] * 8)
    width = int(parse(figure).attrib["width"])
    assert 13 * 328 / width >= 10.8


@pytest.mark.parametrize("kv_len", [3, 20, 64])
def test_labels_and_values_stand_at_their_cells(kv_len: int) -> None:
    """Widths are the font's, so only anchors are checked; 4.5 px is half a digit's height."""
    weights = np.linspace(0, 1, 2 * kv_len).reshape(2, kv_len)
    group = next(parse(heatmap(weights)).iter(f"{SVG}g"))
    boxes = [
        [float(rect.attrib[name]) for name in ("x", "y", "width", "height")]
        for rect in group.iter(f"{SVG}rect")
    ]
    columns = {str(j): x + w / 2 for j, (x, _, w, _) in enumerate(boxes[:kv_len])}
    middles = [y + h / 2 for _, y, _, h in boxes[::kv_len]]
    for before, after in itertools.pairwise(boxes[:kv_len]):
        assert 0 <= after[0] - before[0] - before[2] <= 4, "a gap, and no overlap"
    assert 0 <= boxes[kv_len][1] - boxes[0][1] - boxes[0][3] <= 4
    seen = 0
    for text in group.iter(f"{SVG}text"):
        x, y, anchor = float(text.attrib["x"]), float(text.attrib["y"]), text.attrib["text-anchor"]
        if anchor == "end":
            assert (x, y - 4.5) == (-6, middles[int(text.text or "")])
        elif y == -6:
            turned = "rotate" in text.attrib.get("transform", "")
            assert anchor == ("start" if turned else "middle")
            assert x - 4.5 * turned == columns[text.text or ""]
            seen += 1
        elif text.text and "." in text.text:
            place = round(float(text.text) * (2 * kv_len - 1))
            left, top, width, height = boxes[place]
            assert (x, y - 4.5) == (left + width / 2, top + height / 2)
    assert seen == {3: 3, 20: 20, 64: 13}[kv_len]


def test_heads_stand_side_by_side_and_share_row_labels() -> None:
    weights = np.full((3, 2, 4), 0.25)
    root = parse(heatmap(weights, rows=["x", "y"]))
    assert int(root.attrib["width"]) <= 420, "still legible on a phone"
    drawn = texts(root)
    assert [text for text in drawn if text.startswith("head")] == ["head 0", "head 1", "head 2"]
    assert drawn.count("x") == 2, "two heads a line, then one"
    places = [group.attrib["transform"].split() for group in root.iter(f"{SVG}g")][:3]
    assert places[0][1] == places[1][1] != places[2][1]
    assert places[0][0] == places[2][0] != places[1][0]
    x, y = ([float(re.sub("[^0-9]", "", place[i])) for place in places] for i in (0, 1))
    first = root.find(f"{SVG}g")
    assert first is not None
    corners = [
        [float(rect.attrib[at]) + float(rect.attrib[size]) for rect in first.iter(f"{SVG}rect")]
        for at, size in (("x", "width"), ("y", "height"))
    ]
    assert 0 < x[1] - x[0] - max(corners[0]) < 20, "panels do not overlap"
    assert 0 < y[2] - y[0] - max(corners[1]) < 90, "and leave room for the labels between"


# ------------------------------------------------------------------ the summary


def summary(weights: np.ndarray, **labels: list[str]) -> str:
    return parse(heatmap(weights, **labels)).findtext(f"{SVG}desc") or ""


def test_summary_names_the_largest_value() -> None:
    weights = np.asarray([[0.6, 0.4], [0.28, 0.72], [0.5, 0.5]])
    assert summary(weights, rows=["a", "b", "<c>"], columns=["d", "<e>"]) == (
        "A heatmap of 3 queries (rows) by 2 keys (columns). "
        'The largest value is 0.72: query "b", key "<e>".'
    )


def test_summary_counts_what_has_no_value() -> None:
    assert summary(np.asarray([[NAN, -INF, 0.5]])) == (
        "A heatmap of 1 query (rows) by 3 keys (columns). "
        'The largest value is 0.50: query "0", key "2". '
        "1 of 3 pairs are masked. 1 of 3 values are nan."
    )
    assert summary(np.full((2, 1), -INF)) == (
        "A heatmap of 2 queries (rows) by 1 key (columns). 2 of 2 pairs are masked."
    )


def test_summary_of_a_mask_and_of_heads() -> None:
    assert summary(np.tri(3, dtype=bool)) == (
        "A heatmap of 3 queries (rows) by 3 keys (columns). "
        "6 of 9 pairs may attend. 3 of 9 pairs are masked."
    )
    heads = np.zeros((5, 2, 3))
    heads[3, 1, 2] = heads[4, 0, 0] = 1
    assert summary(heads) == (
        "A heatmap of 2 queries (rows) by 3 keys (columns), one for each of 5 heads. "
        'The largest value in head 3 is 1.00: query "1", key "2".'
    )


def test_title_names_the_picture() -> None:
    assert parse(heatmap(np.ones((1, 1)), title="A & B")).findtext(f"{SVG}title") == "A & B"
    assert parse(heatmap(np.ones((1, 1)))).findtext(f"{SVG}title") == "Heatmap"


# ------------------------------------------------------------------ other axes


def test_other_axes_are_named_in_the_drawing_the_table_and_the_summary() -> None:
    figure = heatmap(np.asarray([[0.25, 0.75]]), rows=["2"], axes=("temperatures", "tokens"))
    drawn = texts(parse(figure))
    assert {"temperatures", "tokens"} <= set(drawn)
    assert not {"query", "queries", "keys"} & set(drawn)
    assert str(figure).splitlines() == [
        "rows: temperatures; columns: tokens",
        "",
        "      0     1",
        "2  0.25  0.75",
    ]
    assert parse(figure).findtext(f"{SVG}desc") == (
        "A heatmap of 1 temperatures (rows) by 2 tokens (columns). "
        'The largest value is 0.75: row "2", column "1".'
    )


def test_queries_and_keys_are_what_axes_are_without_a_name() -> None:
    weights = np.full((3, 2), 0.5)
    named = heatmap(weights, axes=("queries", "keys"))
    assert named == heatmap(weights)
    assert not str(named).startswith("rows")


@pytest.mark.parametrize("q_len", [1, 2, 5])
def test_long_axis_names_stay_inside(q_len: int) -> None:
    figure = heatmap(np.ones((q_len, 1)), axes=("t" * 20, "k" * 20))
    root = parse(figure)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    group = next(root.iter(f"{SVG}g"))
    x0, y0 = map(float, re.findall(r"[\d.]+", group.attrib["transform"]))
    for text in group.iter(f"{SVG}text"):
        x, y = x0 + float(text.attrib["x"]), y0 + float(text.attrib["y"])
        if text.text == "t" * 20:
            assert 0 <= y - 70 < y + 70 <= height
        elif text.text == "k" * 20:
            assert x + 140 <= width


# ------------------------------------------------------------------ the input


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_all_libraries_draw_the_same(dtype: str) -> None:
    values = [[0, 1, 1], [1, 0, 1]]
    figures = [
        heatmap(xp.asarray(values, dtype=getattr(xp, dtype)))
        for xp in (np, torch, array_api_strict)
    ]
    assert figures[0] == figures[1] == figures[2]
    assert len({figure._repr_svg_() for figure in figures}) == 1


def test_gradients_and_half_precision_do_not_matter() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        weights = torch.tensor([[0.25, 0.75]], dtype=dtype, requires_grad=True)
        assert heatmap(weights).weights == (((0.25, 0.75),),)
        assert weights.requires_grad


def test_heatmap_is_frozen_and_compares_by_value() -> None:
    figure = heatmap(np.ones((1, 2)))
    assert figure == Heatmap((((1.0, 1.0),),), ("0",), ("0", "1"), None)
    assert hash(figure) == hash(heatmap(np.ones((1, 2))))


@pytest.mark.parametrize(
    ("weights", "labels", "error", "message"),
    [
        (
            [[1.0]],
            {},
            TypeError,
            "weights must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            np.ones(3),
            {},
            ValueError,
            "weights must have shape (q_len, kv_len) or (heads, q_len, kv_len), each at least 1, "
            "got (3,)",
        ),
        (
            np.ones((2, 0)),
            {},
            ValueError,
            "weights must have shape (q_len, kv_len) or (heads, q_len, kv_len), each at least 1, "
            "got (2, 0)",
        ),
        (
            np.ones((2, 3, 5, 7)),
            {},
            ValueError,
            "weights must have shape (q_len, kv_len) or (heads, q_len, kv_len), each at least 1, "
            "got (2, 3, 5, 7)",
        ),
        (
            np.ones((2, 3), dtype=complex),
            {},
            TypeError,
            "weights must hold real numbers or bools, got complex128",
        ),
        (
            np.ones((2, 3)),
            {"rows": ["a", "b", "c"]},
            ValueError,
            "rows must hold one label a query (2), got 3",
        ),
        (
            np.ones((2, 3)),
            {"columns": ["a", "b"]},
            ValueError,
            "columns must hold one label a key (3), got 2",
        ),
        (
            np.ones((2, 3)),
            {"axes": ("layers", "")},
            ValueError,
            "axes must be two names of 1 to 20 characters, got ('layers', '')",
        ),
        (
            np.ones((2, 3)),
            {"axes": ("layers", "h" * 21)},
            ValueError,
            f"axes must be two names of 1 to 20 characters, got ('layers', '{'h' * 21}')",
        ),
        (
            np.ones((2, 3)),
            {"axes": ("layers",)},
            ValueError,
            "axes must be two names of 1 to 20 characters, got ('layers',)",
        ),
    ],
)
def test_bad_input_is_one_clear_line(
    weights: object, labels: dict[str, list[str]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        heatmap(weights, **labels)
    assert str(caught.value) == message
