"""Listings look as the theme has them, with fewer elements, and say how high they are."""

import functools
import re
from pathlib import Path

import material
import pygments
import pytest
from bs4 import BeautifulSoup
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from attention_docs.listings import COLOURS, joined

CODE = '''\
import numpy as np
from math import e as euler

@np.vectorize
def mean(x, *, axis=-1):
    """Return <the> mean & more."""
    return x.sum(axis=axis) / (x.shape[axis] * 1.0) if x is not None else 0x1F

print(f"{mean(np.ones((2, 3))):.3f}" 'b' "c")  # 1.000
'''


@functools.cache
def colours() -> dict[str, str]:
    """Return what the theme's stylesheet gives the words of a listing, by class."""
    (path,) = Path(material.__file__).parent.glob("templates/assets/stylesheets/main.*.min.css")
    style = path.read_text(encoding="utf-8")
    found = {}
    for names, variable in re.findall(
        r"(?<=})(\.highlight[^{}]*){color:var\((--md-code-hl-\w+-color)\)}", style
    ):
        (value, *_) = re.findall(rf"{variable}:([^;}}]*)", style)
        found |= {name.removeprefix(".highlight ."): value for name in names.split(",")}
    return found


def colour_of(name: str) -> str:
    return colours().get(name, "var(--md-code-fg-color)")


@pytest.mark.parametrize(("name", "other"), COLOURS.items())
def test_words_that_are_taken_for_alike_have_one_colour(name: str, other: str) -> None:
    assert colour_of(name) == colour_of(other)


def coloured(code: str) -> list[tuple[str, str]]:
    """Return each sign that can be seen, with its colour."""
    signs = []
    for text in BeautifulSoup(code, "html.parser").find_all(string=True):
        classes = text.parent.get("class", [""])
        signs += [(sign, colour_of(classes[0])) for sign in text if not sign.isspace()]
    return signs


def test_code_looks_the_same_with_fewer_elements() -> None:
    before = pygments.highlight(CODE, PythonLexer(), HtmlFormatter(nowrap=True))
    after = joined(before)
    assert BeautifulSoup(f"<pre>{after}</pre>", "html.parser").get_text() == CODE
    assert coloured(after) == coloured(before)
    assert {colour for _, colour in coloured(before)} > {"var(--md-code-fg-color)"}
    assert after.count("<span") <= 0.6 * before.count("<span")
    assert joined(after) == after


def test_each_listing_says_how_many_lines_it_has(site: Path) -> None:
    counted = 0
    for path in site.rglob("*.html"):
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for code in page.select("article pre > code"):
            lines = code.get_text().removesuffix("\n").count("\n") + 1
            assert re.fullmatch(r"--lines: (\d+)", str(code["style"])) is not None, path
            assert code["style"] == f"--lines: {lines}", path
            counted += 1
    assert counted > 500
