"""A MkDocs hook: `llms.txt`, a list of the pages for readers that are programs.

Beside it stands the Markdown of every page, which has the formulas and the code as they were
written. A reference page is linked as HTML: its text comes from docstrings.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

_navigation: list[Navigation] = []


def on_nav(nav: Navigation, **_: Any) -> None:
    """Keep the navigation, whose order and sections the list takes."""
    _navigation[:] = [nav]


def on_post_build(config: MkDocsConfig) -> None:
    """Write `llms.txt`, and copy the pages that it links."""
    lines = [f"# {config.site_name}", f"> {config.site_description}"]
    for item in _navigation[0].items:
        pages = _pages(item)
        if isinstance(item, Section):
            lines.append(f"## {item.title}")
        lines.append("\n".join(_line(page, config) for page in pages))
    text = "\n\n".join(lines) + "\n"
    Path(config.site_dir, "llms.txt").write_text(text, encoding="utf-8", newline="\n")


def _pages(item: Any) -> list[Page]:
    if isinstance(item, Page):
        return [item]
    return [page for child in item.children or () for page in _pages(child)]


def _line(page: Page, config: MkDocsConfig) -> str:
    source = page.file.src_uri
    url = page.canonical_url
    if source.endswith(".md") and "\n::: " not in (page.markdown or ""):
        copy = Path(config.site_dir, source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page.file.abs_src_path or "", copy)
        url = f"{config.site_url}{source}"
    return f"- [{page.title}]({url}): {page.meta.get('description', '')}"
