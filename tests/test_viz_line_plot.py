import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from attention_ref import LinePlot, line_plot
from attention_ref._viz_line_plot import _scale

SVG = "{http://www.w3.org/2000/svg}"
NAN = math.nan


def plot(x: Any, y: Any, **options: Any) -> LinePlot:
    return line_plot(x, {"y": y}, x_label="x", y_label="y", **options)


def curves(picture: LinePlot) -> list[list[list[tuple[float, float]]]]:
    """Return each curve's runs of points, in px."""
    found = []
    for element in ET.fromstring(picture._repr_svg_()).iter(f"{SVG}path"):
        if element.attrib.get("class") == "curve":
            runs = element.attrib["d"].split("M")[1:]
            numbers = [re.findall(r"(-?[\d.]+) (-?[\d.]+)", run) for run in runs]
            found.append([[(float(x), float(y)) for x, y in run] for run in numbers])
    return found


def ticks(picture: LinePlot, anchor: str) -> dict[float, float]:
    """Return where each number of an axis stands: `end` for up, `middle` for right."""
    at = "y" if anchor == "end" else "x"
    texts = ET.fromstring(picture._repr_svg_()).iter(f"{SVG}text")
    numbers = [t for t in texts if re.fullmatch(r"-?[\d.]+(e-?\d+)?", t.text or "")]
    return {
        float(t.text or ""): float(t.attrib[at])
        for t in numbers
        if t.attrib["text-anchor"] == anchor
    }


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([0, 1, 3, 11, 13], [2.0, -3.0, 5.0, 7.0, 0.1]),
        ([0.001, 0.002, 0.007], [1e-7, 2e-7, 1.1e-6]),
        ([100, 101, 103], [5000, 4999, 5003]),
        ([-7, -5, -2], [-0.3, -0.9, -1.7]),
    ],
)
def test_points_stand_where_the_ticks_say(x: list[float], y: list[float]) -> None:
    picture = plot(x, y)
    ((points,),) = curves(picture)
    for values, axis, anchor in ((x, 0, "middle"), (y, 1, "end")):
        marks = ticks(picture, anchor)
        assert len(marks) >= 3
        slope, start = np.polyfit(list(marks), list(marks.values()), 1)
        assert slope > 0 if axis == 0 else slope < 0
        shift = 4.5 if axis else 0  # a number stands beside its line, half a digit below
        expected = slope * np.asarray(values) + start - shift
        np.testing.assert_allclose([point[axis] for point in points], expected, atol=0.2)


def test_equal_factors_are_equal_steps_on_a_logarithm() -> None:
    picture = plot([1, 10, 100, 1000], [1, 0.1, 0.01, 0.001], log_x=True, log_y=True)
    ((points,),) = curves(picture)
    np.testing.assert_allclose(
        np.diff([x for x, _ in points]), (points[-1][0] - points[0][0]) / 3, atol=0.11
    )
    np.testing.assert_allclose(np.diff([y for _, y in points]), 220 / 3, atol=0.11)
    assert set(ticks(picture, "end")) == {1, 0.1, 0.01, 0.001}
    for x, _ in points:
        assert min(abs(x - tick) for tick in ticks(picture, "middle").values()) < 0.11


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("high", [1.0, 1.1, 1.9, 2.0, 3.7, 10.0, 42.0, 1e3, 1e5, 7e8, 1e30])
def test_ticks_are_round_few_and_inside(log: bool, high: float) -> None:
    scale = _scale([1.0, high], log=log)
    shares = [share for share, _ in scale.ticks]
    assert shares == sorted(shares)
    assert len({label for _, label in scale.ticks}) == len(shares)
    assert 1 <= len(shares) <= 9
    assert all(-1e-6 <= share <= 1 + 1e-6 for share in shares)
    for share, label in scale.ticks:
        assert scale.share(float(label)) == pytest.approx(share, abs=1e-6), "the label is true"
    assert 0 <= scale.share(1.0) <= scale.share(high) <= 1 + 1e-9


def test_gaps_end_a_run_and_lonely_points_keep_a_marker() -> None:
    picture = plot([1, 2, 3, 4, 5, 6], [1, 2, NAN, 4, math.inf, 6])
    ((first, second, third),) = curves(picture)
    assert [len(run) for run in (first, second, third)] == [2, 1, 1]
    svg = picture._repr_svg_()
    assert svg.count("<circle") == 1 + 4, "the legend's, and one for each point"


def test_markers_keep_their_distance() -> None:
    svg = plot(np.arange(301), np.arange(301))._repr_svg_()
    places = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)][:-1]
    assert len(places) > 10
    assert min(np.diff(places)) >= 24


def test_table_is_the_data() -> None:
    picture = line_plot(
        [0.5, 1, 10],
        {"score 3": [0.0132, 0.2654, NAN], "a very long name": [12, 7, 5]},
        x_label="temperature",
        y_label="weight",
        title="Softer",
    )
    assert str(picture).splitlines() == [
        "Softer: weight",
        "",
        "temperature  score 3  a very lo…",
        "0.5            0.013          12",
        "1.0            0.265           7",
        "10.0             nan           5",
    ]


def test_long_table_is_read_at_even_places_with_both_ends() -> None:
    assert len(str(plot(range(24), range(24))).splitlines()) == 3 + 24
    lines = str(plot(range(101), [2 * i for i in range(101)])).splitlines()
    assert lines[-1] == "(21 of 101 points)"
    assert [line.split() for line in lines[3:-1]] == [[str(5 * i), str(10 * i)] for i in range(21)]
    for count in (25, 37, 1000):
        rows = str(plot(range(count), range(count))).splitlines()[3:-1]
        assert len(set(rows)) == 21
        assert (rows[0].split()[0], rows[-1].split()[0]) == ("0", str(count - 1))


def test_description_says_where_curves_start_end_and_lie() -> None:
    picture = line_plot(
        [1, 2, 3], {"a": [0.5, 0.75, 0.25], "<b>": [NAN, 1, 2]}, x_label="step", y_label="loss"
    )
    assert ET.fromstring(picture._repr_svg_()).findtext(f"{SVG}desc") == (
        "2 curves of loss against step, from 1 to 3. "
        '"a" starts at 0.5, ends at 0.25, and lies between 0.25 and 0.75. '
        '"<b>" starts at 1, ends at 2, and lies between 1 and 2.'
    )


def test_roles_keep_their_look_and_others_take_what_is_left() -> None:
    names = ["a", "query", "b", "key", "c", "d"]
    picture = line_plot([1, 2], {name: [1, 2] for name in names}, x_label="x", y_label="y")
    lines = [el for el in ET.fromstring(picture._repr_svg_()) if el.attrib.get("class") == "curve"]
    dashes = [el.attrib.get("stroke-dasharray", "") for el in lines]
    assert len(set(dashes)) == 6
    assert len({el.attrib["stroke"] for el in lines}) == 6


@pytest.mark.parametrize(
    ("x", "series", "options", "message"),
    [
        (
            [1, 3, 2],
            {"a": [1, 2, 3]},
            {},
            "x must hold finite numbers in increasing order, got (1, 3, 2)",
        ),
        ([1, 1], {"a": [1, 2]}, {}, "x must hold finite numbers in increasing order, got (1, 1)"),
        ([], {"a": []}, {}, "x must hold finite numbers in increasing order, got ()"),
        ([NAN], {"a": [1]}, {}, "x must hold finite numbers in increasing order, got (nan)"),
        (
            [7, 6, 5, 4, 3, 2],
            {"a": [1] * 6},
            {},
            "x must hold finite numbers in increasing order, got (7, 6, 5, 4, 3, ...)",
        ),
        ([1], {}, {}, "series must hold 1 to 6 curves, to tell them apart, got 0"),
        (
            [1],
            {str(i): [1] for i in range(7)},
            {},
            "series must hold 1 to 6 curves, to tell them apart, got 7",
        ),
        ([1, 2], {"a": [1]}, {}, "series['a'] must hold one value a point of x (2), got 1"),
        (
            [1, 2],
            {"a": [NAN, math.inf]},
            {},
            "series['a'] must hold a finite value, got (nan, inf)",
        ),
        ([1, 2], {"a": [1, 0]}, {"log_y": True}, "series['a'] must be above zero for log_y, got 0"),
        ([0, 2], {"a": [1, 2]}, {"log_x": True}, "x must be above zero for log_x, got 0"),
        ([1], {"a": [1]}, {"x_label": ""}, "x_label must have 1 to 44 characters, got 0"),
        ([1], {"a": [1]}, {"y_label": "y" * 45}, "y_label must have 1 to 44 characters, got 45"),
        ([1], {"": [1]}, {}, "the name series[''] must have 1 to 44 characters, got 0"),
    ],
)
def test_bad_input_is_one_clear_line(
    x: list[float], series: dict[str, list[float]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        line_plot(x, series, **({"x_label": "x", "y_label": "y"} | options))
    assert str(caught.value) == message
