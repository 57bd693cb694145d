"""A MkDocs hook: code, and what is said of each argument, stays out of the search index.

Every visit loads it. Names of functions are found all the same: they stand in headings and in text.
"""

from __future__ import annotations

import re
from typing import Any

# The plugin ends a mark at the line numbers of a listing; so the fold around it is marked too.
_CODE = re.compile(r'<details(?= class="mkdocstrings-source")|<div(?= class="[^"]*\bhighlight\b)')


# The lists of arguments, results and errors in a function's documentation.
_LIST = re.compile(r'class="doc-section-title">[^<]*</span></p>\s*<ul(?=>)')


def on_page_content(html: str, **_: Any) -> str:
    """Mark code and lists for the search plugin, which takes the marks off again."""
    for left_out in (_CODE, _LIST):
        html = left_out.sub(r'\g<0> data-search-exclude="out"', html)
    return html
