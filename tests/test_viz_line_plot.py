import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from attention_ref import LinePlot, line_plot
from attention_ref._viz_line_plot import _LOOKS, _apart, _curve, _marker, _scale

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
@pytest.mark.parametrize(
    "high", [1.0, 1.1, 1.9, 2.0, 3.7, 10.0, 42.0, 1e3, 1e5, 1e7, 1e8, 7e8, 1e30]
)
def test_ticks_are_round_few_and_inside(log: bool, high: float) -> None:
    scale = _scale([1.0, high], log=log)
    shares = [share for share, _ in scale.ticks]
    assert shares == sorted(shares)
    assert len({label for _, label in scale.ticks}) == len(shares)
    assert 1 <= len(shares) <= 8
    assert all(-1e-6 <= share <= 1 + 1e-6 for share in shares)
    for share, label in scale.ticks:
        assert scale.share(float(label)) == pytest.approx(share, abs=1e-6), "the label is true"
    assert 0 <= scale.share(1.0) <= scale.share(high) <= 1 + 1e-9
    if log and high >= 2:
        assert (scale.share(1.0), scale.share(high)) == (0, 1)


def test_ticks_of_a_logarithm_are_1_2_5_and_their_powers_of_ten() -> None:
    def labels(low: float, high: float) -> str:
        return " ".join(label for _, label in _scale([high, low, high], log=True).ticks)

    assert labels(1, 300) == "1 2 5 10 20 50 100 200"
    assert labels(1, 300.5) == labels(0.9, 310) == "1 10 100", "eight would not do"
    assert labels(20, 60) == "20 50"
    assert labels(0.02, 0.06) == "0.02 0.05"
    assert labels(1e-9, 0.05) == "1e-9 1e-7 1e-5 0.001", "every other power"
    last = labels(1e301, 5e307).split()
    assert last == [f"1e+{power}" for power in range(301, 308)], "and none is too large"
    assert labels(1e5, 1e7) == "100000 200000 500000 1e6 2e6 5e6 1e7"


def test_little_of_a_logarithm_stands_in_the_middle_or_between_two_round_numbers() -> None:
    for low, high in ((1.9, 3.7), (1.5, 1.5), (7, 9)):
        scale = _scale([low, high], log=True)
        assert scale.ticks, "one is inside a factor of 1.4 on both sides"
        assert scale.share(low) + scale.share(high) == pytest.approx(1)
        assert scale.share(high * 10**0.15) == pytest.approx(1)
    for values in ((3, 3), (3, 3.3), (2.1, 4.9)):  # and here none is
        scale = _scale(values, log=True)
        assert [label for _, label in scale.ticks] == ["2", "5"]
        assert [share for share, _ in scale.ticks] == [0, 1]
    assert plot([1, 2], [30, 33], log_y=True)._repr_svg_()


def test_a_tick_stands_at_an_end_that_its_last_bits_keep_from_a_round_number() -> None:
    """As the last of `logspace` may be."""
    for low, high in ((1.0, np.nextafter(1000, 0)), (np.nextafter(1, 2), 1000.0)):
        assert [label for _, label in _scale([low, high], log=True).ticks][::3] == ["1", "1000"]
    low, high = 3 * 0.1, 0.7999999999999999
    assert [label for _, label in _scale([low + 0.2, high], log=False).ticks] == [
        "0.5", "0.6", "0.7", "0.8"
    ]  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
def test_an_axis_starts_at_zero_where_the_curve_comes_halfway_to_it(sign: int) -> None:
    for near, far, zero in ((1, 2, True), (1.01, 2, False), (0, 2, True), (1, 7, True)):
        scale = _scale([sign * near, sign * far], log=False)
        assert (scale.share(0) in {0, 1}) is zero, (near, far)
    scale = _scale([-1, sign * 3], log=False)
    assert min(scale.share(value) for value in (-1, sign * 3)) >= 0


def test_an_axis_of_one_value_has_it_in_the_middle() -> None:
    for value, ends in ((0.0, 0.5), (4.0, 2.0), (-4.0, 2.0)):
        scale = _scale([value], log=False)
        assert [scale.share(value + shift) for shift in (-ends, 0, ends)] == [0, 0.5, 1]


def test_numbers_below_the_axis_keep_6_px_and_stay_in_the_picture() -> None:
    """Four digits are 30 px wide."""
    places = [(100.0, "1000"), (135.9, "2000"), (136.0, "3000"), (365.0, "4000")]
    assert list(_apart(places)) == [
        (100.0, "1000"), (135.9, ""), (136.0, "3000"), (365.0, "4000")
    ]  # fmt: skip
    assert list(_apart([(365.1, "1000")])) == [(365.1, "")]


@pytest.mark.parametrize("look", _LOOKS, ids=lambda look: look.marker)
def test_markers_are_symmetric_and_of_one_size(look: Any) -> None:
    attributes = ET.fromstring(_marker(100, 50, look)).attrib
    if look.marker == "circle":
        assert [attributes[name] for name in ("cx", "cy", "r")] == ["100", "50", "4"]
        return
    points = re.findall(r"([\d.]+) ([\d.]+)", attributes["d"])
    x, y = np.asarray(points, float).T - [[100], [50]]
    shape = sorted(zip(x, y, strict=True))
    assert shape == sorted(zip(-x, y, strict=True))
    if look.marker == "triangle":
        assert abs(np.ptp(x) - np.ptp(y)) == 0.5, "nearly as high as wide"
    else:
        assert shape == sorted(zip(x, -y, strict=True)) == sorted(zip(y, x, strict=True))
    assert 7 <= np.ptp(x) <= 10
    assert attributes.get("stroke-width", "2") == "2"
    assert ("stroke" in attributes) is (look.marker in {"cross", "plus"})


def test_markers_stand_24_px_apart() -> None:
    points = [
        (0.0, 5.0),
        (23.9, 5.0),
        (24.0, 5.0),
        (48.0, 5.0),
        None,
        (49.0, 5.0),
        None,
        (73.0, 5.0),
    ]
    drawn = _curve([*points, (74.0, 5.0)], _LOOKS[0])
    assert 'stroke-width="2"' in drawn[0]
    # One that stands alone has no line, so it has a marker, however near.
    assert re.findall(r'cx="([\d.]+)"', "".join(drawn)) == ["0", "24", "48", "49", "73"]


def test_roles_take_no_look_from_another_curve() -> None:
    picture = line_plot([1, 2], {"key": [1, 2], "a": [1, 2], "b": [2, 1]}, x_label="x", y_label="y")
    lines = [el for el in ET.fromstring(picture._repr_svg_()) if el.attrib.get("class") == "curve"]
    left = [look for look in _LOOKS if look.marker != "square"]
    assert [line.attrib["stroke"] for line in lines[1:]] == [look.paint[0] for look in left[:2]]


@pytest.mark.parametrize(
    ("low", "high"), [(5000.1, 5000.5), (-5000.5, -5000.1), (1e9, 1e9 + 3), (-2.1e-9, -2e-9)]
)
def test_ticks_far_from_zero_are_told_apart(low: float, high: float) -> None:
    scale = _scale([low, high], log=False)
    labels = [label for _, label in scale.ticks]
    assert 3 <= len(set(labels)) == len(labels) <= 9
    assert max(map(len, labels)) <= 10, "no digit that is only noise"
    for share, label in scale.ticks:
        assert scale.share(float(label)) == pytest.approx(share, abs=1e-6)


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
        (
            [5, 4, 3, 2, 1],
            {"a": [1] * 5},
            {},
            "x must hold finite numbers in increasing order, got (5, 4, 3, 2, 1)",
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
        ([1], {"a": [1]}, {"x_label": "x" * 45}, "x_label must have 1 to 44 characters, got 45"),
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


def test_labels_of_44_characters_fit() -> None:
    label = "x" * 44
    picture = line_plot([1], {label: [1]}, x_label=label, y_label=label)
    drawn = [t.text for t in ET.fromstring(picture._repr_svg_()).iter(f"{SVG}text")]
    assert drawn.count(label) == 3
