"""The renderer as the oracle: what a reader sees as code must be what the parser read.

Whatever the parser overlooks, a site generator still shows. So the `<pre>` texts of a built page
are compared with the fences that the parser found, in order. This knows nothing of Markdown.
"""

from __future__ import annotations

import difflib
import doctest
import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

from pages.model import Page
from pages.parse import parse_file

_VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    ]
)


@dataclass(frozen=True)
class Pre:
    """A `<pre>` as a reader sees it, and the classes of what is around it."""

    text: str
    around: frozenset[str]


class _PreParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Pre] = []
        self._open: list[tuple[str, frozenset[str]]] = []
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            if tag == "br":
                self.handle_data("\n")
            return
        classes = next((value or "" for name, value in attrs if name == "class"), "")
        self._open.append((tag, frozenset(classes.split())))
        if tag == "pre":
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        if tag not in (name for name, _ in self._open):
            return
        around = frozenset[str]().union(*(classes for _, classes in self._open))
        while self._open:
            if self._open.pop()[0] == tag:
                break
        if tag == "pre" and "linenos" not in around:
            self.found.append(Pre("".join(self._text), around))

    def handle_data(self, data: str) -> None:
        self._text.append(data)


def pre_texts(html: str) -> list[Pre]:
    """Return the code blocks that `html` shows, in order."""
    parser = _PreParser()
    parser.feed(html)
    parser.close()
    return parser.found


def visible(text: str) -> str:
    """Drop what renderers drop: empty lines around a block, and spaces at the ends of lines."""
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def compare(page: Page, html: str, examples: frozenset[str] = frozenset()) -> str | None:
    """Say how the code that `html` shows differs from the parsed page, or return None.

    `examples` holds the docstring examples that may stand there besides, since doctest runs them.
    """
    shown = []
    for pre in pre_texts(html):
        text = visible(pre.text)
        if "doc-signature" in pre.around or "mkdocstrings-source" in pre.around:
            continue
        if "doc-object" in pre.around or "doc-contents" in pre.around:
            if text not in examples:
                return f"{page.name} shows code of a docstring that doctest does not run:\n{text}"
            continue
        shown.append(text)
    parsed = [visible(fence.content) for fence in page.fences]
    if shown != parsed:
        difference = difflib.unified_diff(
            _numbered(parsed),
            _numbered(shown),
            f"{page.name} (parsed)",
            "the built page",
            lineterm="",
        )
        return "\n".join(difference)
    return None


def _numbered(blocks: list[str]) -> list[str]:
    return [f"{line}" for block in blocks for line in ("```", *block.split("\n"), "```")]


def built_file(site: Path, source: Path) -> Path:
    """Return the file in `site` that a generator makes of `source`, a path below docs/."""
    stem = source.with_suffix("")
    if stem.name in ("index", "README"):
        return site / stem.parent / "index.html"
    nested = site / stem / "index.html"
    return nested if nested.exists() else site / stem.with_suffix(".html")


def check_site(root: Path, site: Path, examples: frozenset[str]) -> Iterator[str]:
    """Yield what is wrong with the pages in `site`, built from `root`/docs."""
    docs = root / "docs"
    known = {site / "404.html"}
    for source in sorted(docs.rglob("*.md")):
        built = built_file(site, source.relative_to(docs))
        known.add(built)
        page = parse_file(source, root)
        if not built.exists():
            yield f"{page.name} is not in the built site"
        elif difference := compare(page, built.read_text(encoding="utf-8"), examples):
            yield difference
    for notebook in sorted(docs.rglob("*.py")):
        known.add(built_file(site, notebook.relative_to(docs)))
    for html in sorted(site.rglob("*.html")):
        if html not in known and "assets" not in html.relative_to(site).parts:
            yield f"{html.relative_to(site).as_posix()} is made from no page"


def doctested(package: ModuleType) -> frozenset[str]:
    """Return the docstring examples of `package` that doctest runs, as a page shows them."""
    names = [one.name for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    examples = set()
    for name in [package.__name__, *names]:
        for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name)):
            for paragraph in re.split(r"\n[ \t]*\n", test.docstring or ""):
                if start := re.search(r"^([ ]*)>>>", paragraph, re.MULTILINE):
                    shown = paragraph[start.start() :].replace(f"\n{start[1]}", "\n").lstrip(" ")
                    examples.add(visible(shown.replace("<BLANKLINE>", "")))
    return frozenset(examples)
