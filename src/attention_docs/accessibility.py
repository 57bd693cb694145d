"""A MkDocs hook: what the theme leaves out for those who listen to a page."""

from __future__ import annotations

from typing import Any

_UNNAMED = '<div class="md-search" data-md-component="search" role="dialog">'


def on_post_page(output: str, **_: Any) -> str:
    """Give the theme's search dialog a name."""
    return output.replace(_UNNAMED, f'{_UNNAMED[:-1]} aria-label="Search">')
