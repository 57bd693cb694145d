"""A Python-Markdown extension: `$...$` and `$$...$$` become MathML when a page is built."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.util import AtomicString

from attention_docs.mathml import LatexError, latex_to_mathml

DISPLAY = re.compile(r"[ ]{0,3}\$\$(?P<latex>.+?)\$\$[ ]*\n?", re.DOTALL)
# As on GitHub: a dollar sign that has a space inside or a digit after it is money, not maths.
INLINE = r"(?<![\\$])\$(?![\s$])((?:\\.|[^\\$])+?)(?<!\s)\$(?![\d$])"
# Whatever `$$` is left is a formula that would stand on the page as it was typed.
STRAY = r"(?<!\\)\$\$"


def _math(latex: str, *, display: bool) -> Element:
    math = latex_to_mathml(latex, display=display)
    for leaf in math.iter():
        if leaf.text:
            leaf.text = AtomicString(leaf.text)
    return math


class _Display(BlockProcessor):
    """`$$...$$`, alone between blank lines."""

    def test(self, parent: Element, block: str) -> bool:
        return DISPLAY.fullmatch(block) is not None

    def run(self, parent: Element, blocks: list[str]) -> None:
        match = DISPLAY.fullmatch(blocks.pop(0))
        assert match is not None  # `test` has seen it
        box = SubElement(parent, "div", {"class": "math"})
        box.append(_math(match["latex"], display=True))


class _Inline(InlineProcessor):
    """`$...$`, in a line of text."""

    # The base class takes Match from `re`, and calls with it; its stub names no type parameter.
    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Element, int, int]:
        box = Element("span", {"class": "math"})
        box.append(_math(m[1], display=False))
        return box, m.start(0), m.end(0)


class _Stray(InlineProcessor):
    """`$$` where neither of the two has matched."""

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Element, int, int]:
        line = data[m.start(0) :].splitlines()[0]
        raise LatexError(f"the formula {line}: $$...$$ stands alone between blank lines")


class MathExtension(Extension):
    """Register the processors."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: D102, N802
        md.registerExtension(self)
        if "$" not in md.ESCAPED_CHARS:
            md.ESCAPED_CHARS.append("$")
        # After code blocks (80) and code spans (190): maths in code is code.
        md.parser.blockprocessors.register(_Display(md.parser), "math-display", 79)
        md.inlinePatterns.register(_Inline(INLINE, md), "math-inline", 189)
        md.inlinePatterns.register(_Stray(STRAY, md), "math-stray", 188)


def makeExtension(**kwargs: Any) -> MathExtension:  # noqa: N802
    """Return the extension; Python-Markdown calls this."""
    return MathExtension(**kwargs)
