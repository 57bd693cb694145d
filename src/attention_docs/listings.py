"""A MkDocs hook: listings with few elements, that say how many lines they have.

Most of what a page holds is listings, one element for each word of code. Words next to each other
that have one colour are one element here, and words in the colour of the code are none; a browser
knows the height of each listing, and need not lay out what is out of sight. The rule for that is in
docs/assets/extra.css.
"""

from __future__ import annotations

import re
from typing import Any

# Pygments' classes of words, and another that the theme gives the same colour; the first have that
# of the code.
COLOURS = {
    **dict.fromkeys(("n", "kc", "w"), ""),
    **dict.fromkeys(("o", "ow"), "p"),
    **dict.fromkeys(("mf", "mh"), "mi"),
    **dict.fromkeys(("s1", "si"), "s2"),
    "kn": "k",
}
_CODE = re.compile(r"(<pre><span></span><code)>(.*?)</code></pre>", re.DOTALL)
_WORD = re.compile(r'<span class="(\w+)">([^<]*)</span>')
_SEVERAL = re.compile(r'<span class="(\w+)">[^<]*</span>(?:\s*<span class="\1">[^<]*</span>)+')


def on_page_content(html: str, **_: Any) -> str:
    """Join the words of each listing, and write the number of its lines into its style."""

    def changed(match: re.Match[str]) -> str:
        start, code = match.groups()
        lines = code.removesuffix("\n").count("\n") + 1
        return f'{start} style="--lines: {lines}">{joined(code)}</code></pre>'

    return _CODE.sub(changed, html)


def joined(code: str) -> str:
    """Return highlighted code that looks the same, with fewer elements."""

    def coloured(match: re.Match[str]) -> str:
        name, word = match.groups()
        return _span(COLOURS.get(name, name), word)

    return _SEVERAL.sub(
        lambda match: _span(match[1], _WORD.sub(r"\2", match[0])), _WORD.sub(coloured, code)
    )


def _span(name: str, words: str) -> str:
    return f'<span class="{name}">{words}</span>' if name else words
