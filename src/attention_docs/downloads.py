"""A MkDocs hook: links from each page to its notebook and its script, which lie in assets/run/."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url


def on_page_content(html: str, page: Page, files: Files, **_: Any) -> str | None:
    """Put the links at the end of a page whose code can be downloaded."""
    made = PurePosixPath("assets/run", page.file.src_uri).with_suffix(".ipynb")
    if files.get_file_from_path(str(made)) is None:
        return None
    links = [
        f'<a download href="{get_relative_url(str(made.with_suffix(suffix)), page.url)}">{text}</a>'
        for suffix, text in ((".ipynb", "a notebook, with its outputs"), (".py", "a script"))
    ]
    return f'{html}\n<p class="downloads">Download this page as {" or ".join(links)}.</p>'
