"""What every picture promises: it can be read, in both themes, by everybody, and stays one text."""

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree as ET

import array_api_strict
import numpy as np
import pytest
import torch

from attention_ref import dataflow, heatmap, line_plot, stacked_bars, vector_plot
from attention_ref._viz_line_plot import _LOOKS
from attention_ref._viz_svg import (
    FAINT,
    INK,
    PAGE,
    QUIET,
    ROLES,
    WIDTH,
    arrow_head,
    decimal,
    decimals,
    heading,
    legend,
    overlap,
    plate,
    px,
    reals,
    round_step,
    shown,
    text_width,
)

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = ["</text><script>x</script>", "&amp; <b> \"'", "]]>", "\n\t\x00", "\ud800", "\u202ea"]
NAMES = ("query", "key", "value", "scores", "weights", "output")
ANGLES = np.arange(12) * math.pi / 6


def block() -> Any:
    boxes = ["x", "norm 1", "attention", "add 1", "norm 2", "feed-forward", "add 2", "y"]
    arrows = [(a, b, "(n, d_model)") for a, b in itertools.pairwise(boxes)]
    return dataflow(
        boxes,
        [*arrows, ("x", "add 1", "residual"), ("add 1", "add 2", "residual")],
        roles={"attention": "weights"},
        title="A block & its shapes",
    )


def head() -> Any:
    rows = ["x", list(NAMES[:3]), ["scores", ""], ["weights", ""], "output"]
    arrows = [("x", name, "(n, d)") for name in NAMES[:3]]
    arrows += [("query", "scores", "(n, d_k)"), ("key", "scores", "(n, d_k)")]
    arrows += [("scores", "weights", "(n, n)"), ("weights", "output", "(n, n)")]
    arrows += [("value", "output", "(n, d_v)")]
    return dataflow(rows, arrows, roles={name: name for name in NAMES})


PICTURES: dict[str, Callable[[], Any]] = {
    "bars": lambda: stacked_bars(
        np.asarray([[0.62, 0.02, 0.2, 0.1, 0.05, 0.01], [0.1, 0.1, 0.2, 0.3, 0.15, 0.15]]),
        rows=["bank", "windowsills"],
        columns=["The", "bank", "by", "windowsills", "river", "flooded"],
        title="Who reads whom, in a sentence so long that it breaks",
    ),
    "nine bars": lambda: stacked_bars(np.full((3, 9), 0.1)),
    "curves": lambda: line_plot(
        [0.1, 1, 10, 100],
        {name: np.arange(4) + i for i, name in enumerate([*NAMES[:5], "a name of twenty chars"])},
        x_label="temperature",
        y_label="weight of a key, a label that is quite long",
        log_x=True,
        title="Six curves",
    ),
    "a loss": lambda: line_plot(
        np.arange(0, 1010, 10),
        {"loss": 0.98 ** np.arange(101), "other": np.full(101, 3e-5)},
        x_label="step",
        y_label="nats",
        log_y=True,
    ),
    "wide numbers": lambda: line_plot(
        [100_000, 200_000, 300_000], {"a": [-1e6, 0, 1e6]}, x_label="tokens", y_label="bytes"
    ),
    "vectors": lambda: vector_plot(
        {f"word {i}": (math.cos(a), math.sin(a)) for i, a in enumerate(ANGLES)},
        roles={f"word {i}": name for i, name in enumerate(NAMES)},
    ),
    "lengths": lambda: vector_plot(
        {"Plant": (1, 2), "Tree": (1, 4), "Computers!": (100, 150), "none": (0, 0)}, title="Long"
    ),
    "flat": lambda: vector_plot({"left": (-3000, 0), "right": (2000, 0)}),
    "block": block,
    "head": head,
}


@pytest.fixture(params=PICTURES)
def picture(request: pytest.FixtureRequest) -> Any:
    return PICTURES[request.param]()


def parse(picture: Any) -> ET.Element:
    return ET.fromstring(picture._repr_svg_())


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance, written apart from the module's."""
    linear = np.asarray([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def placed(
    root: ET.Element, x: float = 0, y: float = 0
) -> Iterator[tuple[ET.Element, float, float]]:
    """Yield every element with the shift of the groups around it."""
    for element in root:
        move = re.findall(r"translate\(([-\d.]+) ([-\d.]+)\)", element.attrib.get("transform", ""))
        dx, dy = map(float, move[0]) if move else (0.0, 0.0)
        yield element, x + dx, y + dy
        yield from placed(element, x + dx, y + dy)


def text_boxes(root: ET.Element) -> list[tuple[str, float, float, float, float]]:
    """Measure each text by what a wide font of 13 px takes: 7 px a character, 8 in bold."""
    boxes = []
    for text, dx, dy in placed(root):
        if text.tag != f"{SVG}text" or not text.text:
            continue
        width = len(text.text) * (8 if "font-size" in text.attrib else 7)
        x, y = dx + float(text.attrib["x"]), dy + float(text.attrib["y"])
        before = width * {"start": 0, "middle": 0.5, "end": 1}[text.attrib["text-anchor"]]
        if "rotate(-90" in text.attrib.get("transform", ""):
            boxes.append((text.text, x - 10, y - width + before, x + 2, y + before))
        else:
            boxes.append((text.text, x - before, y - 10, x - before + width, y + 2))
    return boxes


def test_picture_is_one_well_formed_text_that_asks_for_nothing(
    request: pytest.FixtureRequest, picture: Any
) -> None:
    svg = picture._repr_svg_()
    again = PICTURES[request.node.callspec.params["picture"]]()
    assert (svg, str(picture)) == (again._repr_svg_(), str(again))
    assert picture == again
    assert hash(picture) == hash(again)
    root = ET.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert root.findtext(f"{SVG}title")
    assert (root.findtext(f"{SVG}desc") or "").endswith(".")
    names = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert names <= {"svg", "title", "desc", "style", "rect", "circle", "g", "text", "path"}
    assert not any({"id", "href", "onload"} & set(element.attrib) for element in root.iter())
    assert svg.count("http") == 1, "the namespace is no request; all else would be"
    assert "url(" not in svg
    assert not re.search(r"\d\.\d{3}|nan|inf\b|e-\d", re.sub("<(desc|text).*", "", svg))


def test_letters_are_11_px_on_a_phone(picture: Any) -> None:
    root = parse(picture)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert root.attrib["viewBox"] == f"0 0 {width:g} {height:g}"
    assert 13 * 330 / width >= 11
    sizes = [float(text.attrib.get("font-size", 13)) for text in root.iter(f"{SVG}text")]
    assert min(sizes) >= 13


def test_no_text_leaves_the_picture_or_covers_another(picture: Any) -> None:
    root = parse(picture)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = text_boxes(root)
    assert boxes
    for name, left, top, right, bottom in boxes:
        assert 0 <= left < right <= width, name
        assert 0 <= top < bottom <= height, name
    for one, other in itertools.combinations(boxes, 2):
        apart = one[3] <= other[1] or other[3] <= one[1] or one[4] <= other[2] or other[4] <= one[2]
        assert apart, (one, other)


def test_no_shape_leaves_the_picture(picture: Any) -> None:
    root = parse(picture)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    seen = 0
    for element, dx, dy in placed(root):
        if element.tag == f"{SVG}rect":
            x, y = (float(element.attrib.get(name, 0)) for name in ("x", "y"))
            right, bottom = x + float(element.attrib["width"]), y + float(element.attrib["height"])
            corners = [(x, y), (right, bottom)]
        elif element.tag == f"{SVG}path":
            found = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", element.attrib["d"])
            corners = [(float(x), float(y)) for x, y in found]
        else:
            continue
        seen += len(corners)
        for x, y in corners:
            assert -0.1 <= x + dx <= width + 0.1
            assert -0.1 <= y + dy <= height + 0.1
    assert seen > 10


def test_colours_have_contrast_in_both_themes(picture: Any) -> None:
    """4.5 for text and 3 for what tells the numbers; only guide lines may be fainter."""
    root = parse(picture)
    style = root.findtext(f"{SVG}style") or ""
    assert '[style*="--dark:"]{fill:var(--dark)}' in style
    assert '[style*="--edge:"]{stroke:var(--edge)}' in style
    for element in root.iter():
        for light, dark in (("fill", "dark"), ("stroke", "edge")):
            colour = element.attrib.get(light, "none")
            if colour == "none":
                continue
            (other,) = re.findall(rf"--{dark}:(#[0-9a-f]{{6}})", element.attrib["style"])
            if (colour, other) == PAGE:
                assert element.tag == f"{SVG}rect"
                continue
            if (colour, other) == FAINT:
                assert element.attrib["stroke-width"] == "1"
                continue
            least = 4.5 if element.tag == f"{SVG}text" else 3
            assert contrast(colour, PAGE[0]) >= least
            assert contrast(other, PAGE[1]) >= least


def test_text_has_contrast_in_every_role() -> None:
    for paint in [INK, QUIET, *(look.paint for look in (*ROLES.values(), *_LOOKS))]:
        assert contrast(paint[0], PAGE[0]) >= 4.5
        assert contrast(paint[1], PAGE[1]) >= 4.5


def test_a_mask_is_told_without_colour_and_with_contrast() -> None:
    root = parse(heatmap(np.asarray([[True, False]])))
    ground, allowed = list(root.iter(f"{SVG}rect"))[:2]
    masked = next(root.iter(f"{SVG}circle"))
    for shape in (allowed, masked):
        assert contrast(shape.attrib["fill"], ground.attrib["fill"]) >= 3
        dark = [re.findall("#[0-9a-f]{6}", el.attrib["style"])[0] for el in (shape, ground)]
        assert contrast(*dark) >= 3


@pytest.mark.parametrize("looks", [tuple(ROLES.values()), _LOOKS])
def test_lines_are_told_apart_without_colour(looks: Any) -> None:
    assert len({look.dash for look in looks}) == len(looks) == 6
    assert len({look.marker for look in looks}) == 6
    assert len({look.paint for look in looks}) == 6


def test_a_role_has_one_colour_in_all_pictures() -> None:
    assert list(ROLES) == list(NAMES)
    curves = line_plot([1, 2], {name: [1, 2] for name in NAMES}, x_label="x", y_label="y")
    vectors = vector_plot({name: (i + 1, 7 - i) for i, name in enumerate(NAMES)},
                          roles={name: name for name in NAMES})  # fmt: skip
    lines = [el for el in parse(curves).iter() if el.attrib.get("class") == "curve"]
    arrows = [el for el in parse(vectors).iter() if el.attrib.get("class") == "vector"]
    boxes = [el for el in parse(head()).iter() if el.attrib.get("class") == "box"][1:]
    for role, line, arrow, box in zip(NAMES, lines, arrows, boxes, strict=False):
        paint = ROLES[role].paint
        for element in (line, arrow, box):
            assert (element.attrib["stroke"], element.attrib["style"][7:]) == paint
        dashes = [el.attrib.get("stroke-dasharray", "") for el in (line, arrow)]
        assert dashes == [ROLES[role].dash] * 2
    bars = parse(stacked_bars(np.asarray([[1.0]])))
    (segment,) = [el for el in bars if el.attrib.get("class") == "segment"]
    assert segment[0].attrib["fill"] == ROLES["weights"].paint[0]


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_stay_text(label: str) -> None:
    pictures = [
        stacked_bars(np.asarray([[0.5, 0.5]]), rows=[label], columns=[label, "b"], title=label),
        line_plot([1, 2], {label: [1, 2]}, x_label=label, y_label=label, title=label),
        vector_plot({label: (1, 2)}, roles={label: "key"}, title=label),
        dataflow([label, "y"], [(label, "y", label)], roles={label: "key"}, title=label),
    ]
    for picture in pictures:
        svg = picture._repr_svg_()
        svg.encode()  # a lone surrogate would raise
        names = {element.tag.removeprefix(SVG) for element in ET.fromstring(svg).iter()}
        assert "script" not in names
        assert not re.search("[\x00-\x09\x0b-\x1f\ud800\u202e]", str(picture))


@pytest.mark.parametrize("turn", range(12))
def test_an_arrow_ends_in_a_triangle_that_lies_along_it(turn: int) -> None:
    """9 px long and 8 px wide."""
    along = np.asarray([math.cos(turn * math.pi / 6), math.sin(turn * math.pi / 6)])
    tail = np.asarray([190.0, 110.0])
    drawn = ET.fromstring(arrow_head(tuple(tail + 70 * along), tuple(tail), INK)).attrib["d"]
    tip, one, other = (
        np.asarray([float(number) for number in corner.split()])
        for corner in drawn.strip("MZ").split("L")
    )
    np.testing.assert_allclose(tip, tail + 70 * along, atol=0.06)
    np.testing.assert_allclose((one + other) / 2, tip - 9 * along, atol=0.11)
    np.testing.assert_allclose(one - other, 8 * np.asarray([-along[1], along[0]]), atol=0.11)


def test_a_plate_lies_around_its_middle() -> None:
    ground = ET.fromstring(plate(100, 50, 30, 20)).attrib
    assert [ground[name] for name in ("x", "y", "width", "height")] == ["85", "40", "30", "20"]
    assert ET.fromstring(plate(100, 50, 30)).attrib["height"] == "16"


def test_boxes_that_share_an_edge_do_not_overlap() -> None:
    box = (10.0, 20.0, 30.0, 40.0)
    for shift in itertools.product((-20, -19, 0, 19, 20), repeat=2):
        other = (10.0 + shift[0], 20.0 + shift[1], 30.0 + shift[0], 40.0 + shift[1])
        inside = max(map(abs, shift)) < 20
        assert overlap(box, other) is overlap(other, box) is inside


def test_a_title_is_broken_into_lines_of_forty_characters() -> None:
    body, height = heading(f"{'a' * 20} {'b' * 19} {'c' * 40}")
    lines = [ET.fromstring(line) for line in body]
    assert [line.text for line in lines] == ["a" * 20 + " " + "b" * 19, "c" * 40]
    assert all(line.attrib["font-weight"] == "600" for line in lines)
    baselines = [float(line.attrib["y"]) for line in lines]
    assert np.diff(baselines) == [22]
    assert baselines[-1] + 4 == height
    assert heading(None) == ([], 6)
    assert len(heading(f"{'a' * 20} {'b' * 20}")[0]) == 2, "41 characters"


def test_a_legend_breaks_where_the_next_name_would_leave_the_picture() -> None:
    names = ["a" * 15, "b" * 20 + "\u6ce8", "c" * 18, "d" * 50, "e"]
    body, height = legend([("", name) for name in names], 100.0, 30)
    swatches = [ET.fromstring(one).attrib["transform"] for one in body[::2]]
    middles = [tuple(map(float, re.findall(r"[\d.]+", one))) for one in swatches]
    words = [ET.fromstring(one) for one in body[1::2]]
    assert [one.text for one in words] == names
    starts = [(float(one.attrib["x"]), float(one.attrib["y"])) for one in words]
    # A name stands 6 px right of its swatch, its baseline half a digit below the middle.
    assert starts == [(x + 15 + 6, y + 4.5) for x, y in middles]
    # The second ends at 370, which is where names may end; the fourth is too long for any line.
    assert [y for _, y in middles] == [110, 110, 130, 150, 170]
    assert [x - 15 for x, _ in middles] == [10, 10 + 36 + text_width(names[0]) + 16, 10, 10, 10]
    assert starts[1][0] + text_width(names[1]) == WIDTH - 10 == 370
    assert height == 80, "four lines of 20 px"
    assert legend([("", "d" * 50)], 100.0, 30)[1] == 20, "no line is left empty"
    assert legend([("", "a" * 15), ("", "b" * 22)], 100.0, 30)[1] == 40, "it would end at 372"


def test_a_step_is_the_next_round_number() -> None:
    for power in (1e-7, 0.1, 1, 1000):
        for least, step in [(1, 1), (1.1, 2), (2, 2), (2.1, 5), (5, 5), (5.1, 10), (9.9, 10)]:
            assert round_step(least * power) == pytest.approx(step * power)
            # What a quarter of a span has too much in its last bits asks for no larger step.
            assert round_step(least * power * (1 + 1e-12)) == pytest.approx(step * power)


def test_a_step_overlooks_a_billionth() -> None:
    for step in (1, 2, 5):
        assert round_step(step / (1 - 1e-9)) == step
        assert round_step(step * (1 + 2e-9)) > step


def test_labels_are_measured_by_their_letters_and_cut_at_ten() -> None:
    assert text_width("five5") == 37, "7.4 px each"
    assert text_width("\u10ff") == 8
    assert text_width("\u1100\u6ce8\u610f\u529b") == 52, "as wide as high"
    assert [shown("x" * n) for n in (10, 11)] == ["x" * 10, "x" * 9 + "\u2026"]


def test_lengths_are_written_to_a_tenth_and_last_bits_change_nothing() -> None:
    assert [px(x) for x in (3.0, 2.34, 2.36, -0.04)] == ["3", "2.3", "2.4", "0"]
    for exact in (0.25, 0.75, 110.25):  # halfway between two tenths
        assert px(exact) == px(exact + 4e-5) == px(exact - 4e-5)


def test_numbers_read_together_have_as_many_places() -> None:
    assert decimals([0.72139, 0.01321, 6e-17]) == ["0.721", "0.013", "0.000"]
    assert decimals([12.0, -3.14159, math.nan, math.inf]) == ["12.0", "-3.1", "nan", "inf"]
    assert decimals([1.0, 150.0, -0.0]) == ["1", "150", "0"]
    assert decimals([123456.7, 0.1]) == ["123457", "0"]
    assert decimals([0.5, -0.0001, 0.0]) == ["0.500", "0.000", "0.000"]
    assert decimals([0.0, math.nan]) == ["0", "nan"]
    assert decimals([math.nan, math.inf]) == ["nan", "inf"]
    assert decimals([999_999.0]) == ["999999"]
    assert decimals([1.0, 2.0]) == ["1", "2"], "integers have no places"
    assert [decimal(x) for x in (1000.0, 0.5, 1234.5, -0.0)] == ["1000", "0.5", "1.23e+03", "0"]
    assert [decimal(x) for x in (999_999.0, 1e6, 0.125)] == ["999999", "1e+06", "0.125"]


def test_the_last_bit_of_single_precision_changes_no_number_in_a_table() -> None:
    halfway = np.float32(0.0625)  # of the third place, which the largest number has
    for near in (np.nextafter(halfway, np.float32(1)), np.nextafter(halfway, np.float32(0))):
        assert decimals([0.5, float(near)]) == decimals([0.5, 0.0625]) == ["0.500", "0.062"]


@pytest.mark.parametrize("xp", [np, torch, array_api_strict])
def test_a_row_is_read_from_every_library(xp: Any) -> None:
    assert reals("x", xp.asarray([1, 2, 3])) == (1.0, 2.0, 3.0)
    assert reals("x", xp.asarray([0.5, 0.25])) == reals("x", (0.5, 0.25)) == (0.5, 0.25)
    assert reals("x", [xp.asarray(2.0), 1]) == (2.0, 1.0)
    recorded = torch.ones(2, requires_grad=True)
    assert reals("x", recorded) == (1.0, 1.0)
    with pytest.raises(ValueError, match=r"^x must be one row of real numbers, got shape \(2, 1\)"):
        reals("x", xp.ones((2, 1)))


@pytest.mark.parametrize(
    ("values", "came"),
    [("ab", "str"), (3.0, "float"), ([1, "a"], "str among them"), ([True], "bool among them"),
     ({"a": 1}, "dict"), (np.asarray([1j]), "complex among them")],
)  # fmt: skip
def test_what_is_no_row_is_one_clear_line(values: Any, came: str) -> None:
    with pytest.raises(TypeError) as caught:
        reals("x", values)
    assert str(caught.value) == f"x must be one row of real numbers, got {came}"
