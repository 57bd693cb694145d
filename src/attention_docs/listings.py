"""A MkDocs hook: each listing says how many lines it has.

So a browser knows its height, and need not lay out what is out of sight: most of what a page holds
is listings, one element for each word of code. The rule for that is in docs/assets/extra.css.
"""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"(<pre><span></span><code)>(.*?)</code></pre>", re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """Write the number of its lines into the style of each listing."""

    def counted(match: re.Match[str]) -> str:
        start, code = match.groups()
        lines = code.removesuffix("\n").count("\n") + 1
        return f'{start} style="--lines: {lines}">{code}</code></pre>'

    return _CODE.sub(counted, html)
