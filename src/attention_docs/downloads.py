"""A MkDocs hook: links from each page to its notebook and its script, which lie in assets/run/.

A link with `data-offer` is offered at each block that runs in no browser, too, under that name.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from attention_docs.colab import link


def on_page_content(html: str, page: Page, files: Files, **_: Any) -> str | None:
    """Put the links at the end of a page whose code can be downloaded."""
    made = PurePosixPath("assets/run", page.file.src_uri).with_suffix(".ipynb")
    if files.get_file_from_path(str(made)) is None:
        return None
    notebook, script = (
        get_relative_url(str(made.with_suffix(suffix)), page.url) for suffix in (".ipynb", ".py")
    )
    return (
        f'{html}\n<p class="downloads">Download this page as '
        f'<a data-offer="Notebook" download href="{notebook}">a notebook, with its outputs'
        f'</a>, or <a download href="{script}">a script</a>, or {link(str(made))}.</p>'
    )
