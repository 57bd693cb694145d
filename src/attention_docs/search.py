"""A MkDocs hook: code stays out of the search index, which every visit loads.

Names of functions are found all the same: they stand in headings and in the text.
"""

from __future__ import annotations

import re
from typing import Any

# The plugin ends a mark at the line numbers of a listing; so the fold around it is marked too.
_CODE = re.compile(r'<details(?= class="mkdocstrings-source")|<div(?= class="[^"]*\bhighlight\b)')


def on_page_content(html: str, **_: Any) -> str:
    """Mark the code blocks for the search plugin, which takes the mark off again."""
    return _CODE.sub(r'\g<0> data-search-exclude="code"', html)
