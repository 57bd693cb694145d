"""A page to take home: as a notebook with its outputs, and as a Python script, cell by cell alike.

On the page each program starts afresh; a notebook has one namespace for all. So a block that would
find other values than on the page, because of what stands between, brings its whole program along.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from attention_docs.colab import first_cell, pip_install
from pages import grammar
from pages.check import normal
from pages.model import Block, Page
from pages.source import copied, imported, meanings

_PRINTING = {
    "np.set_printoptions": "np.set_printoptions(edgeitems=3, linewidth=75, precision=8, "
    'suppress=False, threshold=1000, floatmode="maxprec", sign="-", formatter=None)',
    "torch.set_printoptions": 'torch.set_printoptions(profile="default", sci_mode=None)',
}
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)\)")
_TAG = re.compile(r"</?(?:figure|figcaption|div|p|span)\b[^>]*>")


@dataclass(frozen=True)
class Cell:
    """A part of a notebook: text, or code with what it prints, raises and draws."""

    source: str
    code: bool = False
    magic: bool = False  # only a notebook can run it
    printed: str = ""
    error: str | None = None
    picture: str = ""


def cells(page: Page, url: str, root: str) -> list[Cell]:
    """Return `page` in cells; its address is `url`, and that of the site is `root`."""
    needs = _needs(page)
    install = f"`{pip_install(needs)}`" if needs else "no package"
    made = [Cell(f"From [{url}]({url}). It needs {install}.")]
    if "attention_ref" in needs:
        made.append(Cell(first_cell(needs), code=True, magic=True))
    if any((block.error or "").endswith("Warning") for block in page.blocks):
        made.append(Cell('import warnings\n\nwarnings.simplefilter("error")', code=True))
    shown = {block.fence.lineno: block for block in page.blocks}
    outputs = {block.output.lineno for block in page.blocks if block.output}
    ends = {fence.lineno: fence.end for fence in page.fences}
    text: list[str] = []
    namespace = _Namespace()
    lineno = _first_line(page)
    while lineno <= len(page.lines):
        if lineno in shown:
            made += _text(text, page, url, root)
            text = []
            made += namespace.run(page, shown[lineno])
        elif lineno not in outputs:
            text += page.lines[lineno - 1 : ends.get(lineno, lineno)]
        lineno = ends.get(lineno, lineno) + 1
    return [*made, *_text(text, page, url, root)]


class _Namespace:
    """What the names mean after the cells so far, and how the libraries print."""

    def __init__(self) -> None:
        self.means: dict[str, str] = {}
        self.printing: set[str] = set()

    def run(self, page: Page, block: Block) -> Iterator[Cell]:
        program = page.program(block)
        wanted: dict[str, str] = {}
        for one in program[:-1]:
            wanted.update(_bound(one))
        whole = any(self.means.get(name) != meaning for name, meaning in wanted.items())
        if (whole or len(program) == 1) and self.printing:
            libraries = {"np": "import numpy as np", "torch": "import torch"}
            lines = [libraries[call.split(".")[0]] for call in sorted(self.printing)]
            lines += ["", *(_PRINTING[call] for call in sorted(self.printing))]
            yield Cell("\n".join(lines), code=True)
            self.printing = set()
        ran = program if whole else [block]
        for one in ran:
            self.means.update(_bound(one))
            self.printing |= {call for call in _PRINTING if call in one.code}
        printed = "\n".join(normal(one.output.content) for one in ran if one.output)
        code = copied(program).rstrip("\n") if whole else normal(block.code)
        yield Cell(code, code=True, printed=printed, error=block.error)
        for figure in block.figures:
            yield Cell(figure.name, code=True, picture=figure.path.read_text(encoding="utf-8"))


def _bound(block: Block) -> dict[str, str]:
    """Return the names to which `block` gives or changes a value, and what they then mean."""
    try:
        tree = ast.parse(block.code)
    except SyntaxError:  # shown on purpose
        return {}
    here = f"block {block.lineno} "
    bound = {
        name: f"{here}{meaning}" if meaning.startswith("line ") else meaning
        for node in tree.body
        for name, meaning in meanings(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            value: ast.expr = node
            while isinstance(value, ast.Subscript | ast.Attribute):
                value = value.value
            if isinstance(value, ast.Name):
                bound[value.id] = f"{here}changed in line {node.lineno}"
    return bound


def _needs(page: Page) -> list[str]:
    modules = {name.partition(".")[0] for block in page.blocks for name in imported(block.code)}
    return sorted(modules - sys.stdlib_module_names)


def _first_line(page: Page) -> int:
    """Return the line after the front matter."""
    if page.lines[0].rstrip() != "---":
        return 1
    return next(n for n, line in enumerate(page.lines[1:], start=2) if line.rstrip() == "---") + 1


def _text(lines: Iterable[str], page: Page, url: str, root: str) -> list[Cell]:
    """Return the text between two blocks as plain Markdown, without what only a site can show."""
    kept, inside = [], 0
    for line in lines:
        depth = (len(line) - len(line.lstrip())) // grammar.INDENT
        bare = line.strip()
        if bare:
            inside = min(inside, depth)
        line = line[grammar.INDENT * inside :]  # noqa: PLW2901
        opener = grammar.TAB.match(bare) or grammar.DETAILS.match(bare)
        title = opener.group(2) if opener else None
        if not opener and (opener := grammar.ADMONITION.match(bare)):
            title = opener.group(2)
        if opener:
            inside = depth + 1
            line = f"**{title}**" if title else ""  # noqa: PLW2901
        if bare.startswith("<!--") or grammar.AUTODOC.match(bare) or grammar.IMAGE.match(bare):
            continue
        kept.append(_TAG.sub("", line).rstrip())
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    text = _LINK.sub(lambda match: f"]({_absolute(match[1], page, url, root)})", text)
    return [Cell(text)] if text else []


def _absolute(target: str, page: Page, url: str, root: str) -> str:
    path, hash_, anchor = target.partition("#")
    if not path:
        return f"{url}{hash_}{anchor}"
    docs = page.name.split("/")[1:-1]
    for part in path.split("/"):
        if part == "..":
            docs.pop()
        elif part != ".":
            docs.append(part)
    place = re.sub(r"(^|/)index\.md$|\.(md|py)$", "/", "/".join(docs)).lstrip("/")
    return f"{root}{place}{hash_}{anchor}"


def notebook(made: Iterable[Cell]) -> str:
    """Write cells as a Jupyter notebook."""
    content = {
        "cells": [_notebook_cell(number, cell) for number, cell in enumerate(made)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _notebook_cell(number: int, cell: Cell) -> dict[str, Any]:
    whole: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}, "source": cell.source}
    if not cell.code:
        return {"cell_type": "markdown", **whole}
    outputs: list[dict[str, Any]] = []
    printed, error = cell.printed, ""
    if cell.error:
        whole["metadata"] = {"tags": ["raises-exception"]}
        at = _error_at(printed, cell.error)
        printed, error = printed[:at], printed[at:]
    if printed:
        text = printed if error else f"{printed}\n"
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if error:
        name, _, message = error.partition(": ")
        outputs.append(
            {"output_type": "error", "ename": name, "evalue": message, "traceback": [error]}
        )
    if cell.picture:
        picture = {"image/svg+xml": cell.picture, "text/plain": cell.source}
        outputs.append({"output_type": "display_data", "data": picture, "metadata": {}})
    return {"cell_type": "code", "execution_count": None, "outputs": outputs, **whole}


def _error_at(printed: str, error: str) -> int:
    """Return where in `printed` the message of the exception starts."""
    starts = [match.start() for match in re.finditer(rf"^{re.escape(error)}\b", printed, re.M)]
    return starts[-1] if starts else len(printed)


def script(made: Iterable[Cell]) -> str:
    """Write cells as a Python file in the percent format, which editors show as a notebook."""
    parts = []
    for cell in made:
        if not cell.code:
            lines = [f"# {line}".rstrip() for line in cell.source.split("\n")]
            parts.append("\n".join(["# %% [markdown]", *lines]))
        elif cell.error:
            parts.append(f"# %%\n{_caught(cell.source)}")
        elif not cell.picture and not cell.magic:
            parts.append(f"# %%\n{cell.source}")
    return "\n\n".join(parts) + "\n"


def _caught(code: str) -> str:
    """Return `code` with the exception that it raises caught and shown."""
    indented = textwrap.indent(code, "    ")
    caught = f"try:\n{indented}\nexcept Exception as raised:\n" + (
        '    print(f"{type(raised).__name__}: {raised}")'
    )
    try:
        (inside,) = ast.parse(caught).body
        assert isinstance(inside, ast.Try)
        if [ast.dump(node) for node in inside.body] == [
            ast.dump(node) for node in ast.parse(code).body
        ]:
            return caught
    except SyntaxError:
        pass
    # It is no Python, or holds text of several lines that an indentation would change.
    quoted = repr(code) if '"""' in code or "\\" in code else f'"""\\\n{code}\n"""'
    return f"try:\n    exec({quoted})\nexcept Exception as raised:\n" + (
        '    print(f"{type(raised).__name__}: {raised}")'
    )
