"""A MkDocs hook: the line below the heading of a page's exercises, which web/src/practice.ts fills.

It is there from the start, since a line that came later would have a browser compute the style
of the whole page once more.
"""

from __future__ import annotations

import re
from typing import Any

_HEADING = re.compile(r'<h2 id="exercises">.*?</h2>', re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """Put an empty line below the heading."""
    return _HEADING.sub(r'\g<0>\n<div class="practice-tally"></div>', html)
