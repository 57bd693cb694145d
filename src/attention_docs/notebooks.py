"""A MkDocs hook: mkdocs-jupyter executes the notebooks, and this makes its pages the site's own.

As it comes, mkdocs-jupyter brings half a megabyte of styles and scripts to each page, leaves maths
to a script from another host, checks no links and gives pictures no text. Here an executed notebook
becomes Markdown, which MkDocs renders as it does every page, and a file with the outputs.

An executed notebook is kept in .cache/, for as long as nothing that it depends on changes: with
`make serve`, a changed word on a page is on the screen before a notebook could have run.
"""

from __future__ import annotations

import itertools
import platform
import re
import sys
from base64 import b64decode, b64encode
from hashlib import sha256
from html import escape
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import jupytext
import mkdocs_jupyter.config
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from nbconvert.exporters.templateexporter import default_filters
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from attention_docs.colab import first_cell
from attention_docs.colab import link as colab_link

_ROOT = Path(__file__).parents[2]
_KEPT = _ROOT / ".cache" / "notebooks"
_PICTURES = ("image/svg+xml", "image/png")
_DRAWING = re.compile(r'src="data:image/svg\+xml;base64,(?P<data>[^"]+)"')
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(
    r'<svg [^>]*?\bwidth="(?P<width>[\d.]+)(?P<unit>pt)?" height="(?P<height>[\d.]+)'
)
# The notebook that was executed last: MkDocs reads one page after the other.
_executed: list[NotebookNode] = []


def on_config(config: MkDocsConfig) -> None:
    """Have mkdocs-jupyter hand over what it has executed: the template is one call of this."""

    def hand_over(notebook: NotebookNode) -> str:
        _executed[:] = [notebook]
        return ""

    mkdocs_jupyter.config.settings.templates_dir = str(Path(__file__).parent / "notebook_template")
    default_filters["hand_over"] = hand_over


def on_page_markdown(markdown: str, page: Page, **_: Any) -> None:
    """Read the description from the notebook's header, as front matter gives it to other pages."""
    if not page.file.src_uri.endswith(".py"):
        return
    metadata = jupytext.reads(markdown, fmt="py:percent").metadata
    page.meta["description"] = metadata.get("description", "")
    kept = _kept(page)
    if kept.exists():

        def render(config: MkDocsConfig, files: Files) -> None:
            _executed[:] = [nbformat.read(kept, as_version=4)]
            page.content = ""

        page.render = render  # type: ignore[method-assign]  # as mkdocs-jupyter does


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str | None:
    """Render the executed notebook, write it beside its page, and link it under the title."""
    if not page.file.src_uri.endswith(".py"):
        return None
    notebook = _executed.pop()
    text = nbformat.writes(notebook)
    _keep(page, text)
    name = PurePosixPath(page.file.src_uri).with_suffix(".ipynb").name
    target = Path(config.site_dir, page.file.dest_uri).with_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(nbformat.writes(with_first_cell(notebook)), encoding="utf-8")

    page.markdown = to_markdown(notebook, page.file.src_uri)
    Page.render(page, config, files)
    colab = colab_link(PurePosixPath(page.file.dest_uri).with_name(name).as_posix())
    download = f'<a download href="{name}">Download this notebook, with its outputs</a>'
    content = with_drawings_beside(page.content or "", target)
    return content.replace("</h1>", f"</h1>\n<p>{download}, or {colab}.</p>", 1)


def with_drawings_beside(html: str, notebook: Path) -> str:
    """Write each drawing into a file beside `notebook`; within the page, a reader waits for all."""
    count = itertools.count(1)

    def beside(match: re.Match[str]) -> str:
        # What drew it, and when, is no part of the picture.
        svg = _METADATA.sub("", b64decode(match["data"]).decode())
        path = notebook.with_name(f"{notebook.stem}-{next(count)}.svg")
        path.write_text(svg, encoding="utf-8", newline="\n")
        # Its room is kept until it comes. Matplotlib counts in points, three for four pixels.
        size = _SIZE.search(svg)
        assert size is not None  # both that draw here write it
        scale = 4 / 3 if size["unit"] else 1
        width, height = (round(float(size[side]) * scale) for side in ("width", "height"))
        return f'width="{width}" height="{height}" loading="lazy" src="{path.name}"'

    return _DRAWING.sub(beside, html)


def _kept(page: Page) -> Path:
    """Where an execution is kept: the name holds a digest of all that it depends on."""
    digest = sha256(platform.python_version().encode())
    digest.update(Path(page.file.abs_src_path or "").read_bytes())
    for kind in ("*.py", "*.npz"):
        for source in sorted((_ROOT / "src" / "attention_ref").rglob(kind)):
            digest.update(source.read_bytes())
    for name in ("matplotlib", "numpy", "torch"):
        digest.update(version(name).encode())
    return _KEPT / f"{PurePosixPath(page.file.src_uri).stem}.{digest.hexdigest()[:16]}.ipynb"


def _keep(page: Page, text: str) -> None:
    kept = _kept(page)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        for outdated in kept.parent.glob(f"{kept.name.split('.')[0]}.*"):
            outdated.unlink()
        kept.write_text(text, encoding="utf-8")


def with_first_cell(notebook: NotebookNode) -> NotebookNode:
    """Put the cell that installs what a notebook needs below its title."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    modules = set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))
    cell = new_code_cell(first_cell(sorted(modules - sys.stdlib_module_names)), id="install")
    return NotebookNode({**notebook, "cells": [*notebook.cells[:1], cell, *notebook.cells[1:]]})


def to_markdown(notebook: NotebookNode, name: str) -> str:
    """Write an executed notebook as a page in Markdown."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(_fence("python", cell.source))
            parts += [_output(output, cell, name) for output in _joined(cell.outputs)]
    return "\n\n".join(parts)


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Put together what a cell prints: the kernel sends it in pieces, which differ each time."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(NotebookNode(output))
    return joined


def _output(output: NotebookNode, cell: NotebookNode, name: str) -> str:
    first_line = cell.source.split("\n")[0]
    if output.output_type == "stream":
        if output.name == "stderr":
            raise PluginError(f"{name}: the cell {first_line!r} wrote to stderr: {output.text}")
        return _fence("text", output.text)
    for kind in _PICTURES:
        if kind in output.data:
            alt = cell.metadata.get("alt", "")
            if not alt:
                raise PluginError(
                    f"{name}: the cell {first_line!r} shows a picture that has no text for who "
                    'cannot see it; start the cell with # %% alt="A full sentence."'
                )
            return _picture(kind, output.data[kind], alt)
    return _fence("text", output.data["text/plain"])


def _picture(kind: str, data: str, alt: str) -> str:
    if kind == "image/svg+xml":
        data = b64encode(data.encode()).decode()
    data = "".join(data.split())
    return f'<p><img class="plot" alt="{escape(alt)}" src="data:{kind};base64,{data}"></p>'


def _fence(language: str, text: str) -> str:
    return f"````{language}\n{text.rstrip()}\n````"
