"""A MkDocs hook: each figure comes with its size, so that no text moves when it arrives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_PICTURE = re.compile(r'<img (?P<rest>[^>]*?src="(?P<src>[^":]+\.svg)")')
_SIZE = re.compile(r'<svg [^>]*?\bwidth="([\d.]+)" height="([\d.]+)"')


def on_page_content(html: str, page: Page, files: Files, **_: Any) -> str:
    """Write the width and the height of each SVG of the site beside its address."""

    def sized(match: re.Match[str]) -> str:
        file = files.get_file_from_path(unquote(urljoin(page.url, match["src"])))
        svg = Path(file.abs_src_path or "").read_text(encoding="utf-8") if file else ""
        if not (size := _SIZE.match(svg)):
            return match[0]
        width, height = (round(float(side)) for side in size.groups())
        return f'<img width="{width}" height="{height}" {match["rest"]}'

    return _PICTURE.sub(sized, html)
