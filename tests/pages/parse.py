"""Read a Markdown page into blocks, and refuse whatever could hide code from the tests.

The grammar is a strict subset of what Python-Markdown, pymdownx and GitHub render alike. What is
outside of it is a problem that names the line and what to write instead. So a fence is run, or is
compared with what ran, or is known to be inert, or is a problem; none can be overlooked.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from pages import grammar
from pages.directives import Directives
from pages.grammar import FENCES, INDENT
from pages.model import Block, Fence, Figure, Page, Problem


def parse_file(path: Path, root: Path) -> Page:
    """Read the page at `path`; its name is its path below `root`."""
    return parse(path.read_bytes(), path, path.relative_to(root).as_posix())


def parse(source: bytes, path: Path, name: str) -> Page:
    """Read a page from its bytes."""
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        number = source[: error.start].count(b"\n") + 1
        problem = Problem(number, "this line is not UTF-8: save the page as UTF-8")
        return Page(path, name, (), "\n", False, (), (), (problem,))
    newline = "\r\n" if "\r\n" in text else "\n"
    if text.count(newline) != text.count("\n"):
        problem = Problem(1, "some lines end as on Windows and some do not: save with one kind")
        return Page(path, name, (), newline, False, (), (), (problem,))
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    reader = _Reader(path, lines)
    reader.read()
    return Page(
        path,
        name,
        tuple(lines),
        newline,
        text.startswith("\ufeff"),
        tuple(reader.fences),
        tuple(reader.blocks),
        tuple(sorted(reader.problems)),
    )


class _Line(NamedTuple):
    """A line as its container sees it: `prefix` is what the containers around it took off."""

    number: int
    prefix: str
    text: str


class _UnreadableError(Exception):
    """Reading cannot go on: what follows would be misread."""


class _Reader:
    """Walks the lines of a page, container by container."""

    def __init__(self, path: Path, lines: Sequence[str]) -> None:
        self.path = path
        self.lines = lines
        self.fences: list[Fence] = []
        self.blocks: list[Block] = []
        self.problems: list[Problem] = []
        self._directives = Directives(self._problem)
        self._printer: Block | None = None  # the block whose output may stand next
        self._printer_prefix = ""

    def read(self) -> None:
        lines = [_Line(number, "", text) for number, text in enumerate(self.lines, start=1)]
        if grammar.SUSPECT.search("\n".join(self.lines)):
            for line in lines:
                self._check_characters(line)
        if not self.problems:
            with contextlib.suppress(_UnreadableError):
                self._container(lines[self._front_matter() :], ())

    def _problem(self, lineno: int, message: str) -> None:
        self.problems.append(Problem(lineno, message))

    def _unreadable(self, lineno: int, message: str) -> _UnreadableError:
        self._problem(lineno, message)
        return _UnreadableError()

    def _check_characters(self, line: _Line) -> None:
        if "\t" in line.text:
            self._problem(line.number, "a tab character is shown as spaces: write spaces")
        elif found := grammar.CONTROL.search(line.text):
            self._problem(line.number, f"control character U+{ord(found[0]):04X}: delete it")
        elif grammar.SNIPPET.match(line.text):
            self._problem(line.number, "a snippet is not on the page: write its text here")

    def _front_matter(self) -> int:
        """Return the number of lines that the YAML front matter takes."""
        if self.lines[0].rstrip() != "---":
            return 0
        for at, line in enumerate(self.lines[1:], start=1):
            if line.rstrip() in ("---", "..."):
                with contextlib.suppress(yaml.YAMLError):
                    if isinstance(yaml.safe_load("\n".join(self.lines[1:at])), dict):
                        return at + 1
                break
        raise self._unreadable(
            1, "front matter is ---, then lines as title: and description:, then ---"
        )

    def _something_else(self) -> None:
        """Note that what stands here is neither a block nor its output."""
        self._directives.end()
        self._printer = None

    # Containers

    def _container(self, lines: Sequence[_Line], branch: tuple[str, ...]) -> None:
        """Read the lines of one container; `branch` names the later tabs around it."""
        at = 0
        before = "blank"
        first_tab = False  # whether a tab set is open, so that the next tab is not its first
        while at < len(lines):
            line, kind = lines[at], self._kind(lines[at].text, before)
            first_tab = first_tab and kind in ("tab", "blank")
            if before in ("text", "heading") and kind in ("tab", "box", "quote"):
                self._problem(line.number, "leave an empty line before this")
            match kind:
                case "blank":
                    if len(line.text) >= INDENT:
                        self._problem(line.number, "spaces alone may be shown as code: delete them")
                    at += 1
                case "fence":
                    at = self._fence(lines, at, branch)
                case "comment":
                    at = self._comment(lines, at)
                case "tab":
                    at, first_tab = self._tab(lines, at, branch, not first_tab), True
                case "box":
                    at = self._box(lines, at, branch)
                case "quote":
                    at = self._quote(lines, at, branch)
                case "autodoc":
                    at = self._autodoc(lines, at, before)
                case "item" | "definition" | "footnote":
                    at = self._item(lines, at, kind, branch)
                case _:
                    self._text_line(line)
                    at += 1
            before = kind
        self._something_else()

    def _kind(self, text: str, before: str) -> str:
        """Tell what a line is, given what the line before it was; one branch a construct."""
        kind = "text"
        if not text.strip():
            kind = "blank"
        elif text.startswith(FENCES):
            kind = "fence"
        elif text.startswith("<!--"):
            kind = "comment"
        elif grammar.TAB.match(text):
            kind = "tab"
        elif grammar.DETAILS.match(text) or grammar.ADMONITION.match(text):
            kind = "box"
        elif text.startswith(">"):
            kind = "quote"
        elif grammar.AUTODOC.match(text):
            kind = "autodoc"
        elif (
            grammar.RULE.match(text)
            or grammar.HEADING.match(text)
            or (before == "text" and grammar.UNDERLINE.match(text))
        ):
            kind = "heading"
        elif before in ("text", "definition") and grammar.DEFINITION.match(text):
            kind = "definition"
        elif before in ("blank", "heading", "item", "footnote"):  # else it goes on with the text
            if grammar.LIST.match(text):
                kind = "item"
            elif grammar.FOOTNOTE.match(text):
                kind = "footnote"
        return kind

    def _tab(self, lines: Sequence[_Line], at: int, branch: tuple[str, ...], first: bool) -> int:
        self._something_else()
        tab = grammar.TAB.match(lines[at].text)
        assert tab is not None
        if not first and "!" not in (tab["flag"] or ""):  # with "!", a set of its own starts
            branch = (*branch, tab["label"])
        return self._indented(lines, at, branch)

    def _box(self, lines: Sequence[_Line], at: int, branch: tuple[str, ...]) -> int:
        """Read an admonition or details; the output of the block above may stand first in it."""
        self._directives.end()
        if self._printer_prefix == lines[at].prefix:
            self._printer_prefix += " " * INDENT
        return self._indented(lines, at, branch)

    def _indented(self, lines: Sequence[_Line], at: int, branch: tuple[str, ...]) -> int:
        end = _end_of_container(lines, at)
        self._container([_dedent(line) for line in lines[at + 1 : end]], branch)
        return end

    def _item(self, lines: Sequence[_Line], at: int, kind: str, branch: tuple[str, ...]) -> int:
        self._something_else()
        line = lines[at]
        item = {
            "item": grammar.LIST,
            "footnote": grammar.FOOTNOTE,
            "definition": grammar.DEFINITION,
        }[kind].match(line.text)
        assert item is not None
        if item["rest"].startswith((*FENCES, "<!--", ">")):
            raise self._unreadable(
                line.number,
                "a block cannot start behind a list marker: write it on its own line, after an "
                "empty line, indented by 4 spaces",
            )
        end = _end_of_container(lines, at, lazy=True)
        if kind == "footnote":  # a paragraph alone: what follows it is shown as code
            end = next((here for here in range(at, end) if not lines[here].text.strip()), end)
            if end < len(lines) and lines[end].text.strip():
                self._problem(lines[end].number, "leave an empty line after a footnote")
        start = item.start("rest")
        head = _Line(line.number, line.prefix + line.text[:start], item["rest"])
        inner = [_dedent(one) for one in lines[at + 1 : end]]
        fences = len(self.fences)
        self._container([head, *inner] if item["rest"] else inner, branch)
        if kind == "footnote" and len(self.fences) > fences:
            self._problem(line.number, "a footnote moves to the end of the page: no block in it")
        return end

    def _quote(self, lines: Sequence[_Line], at: int, branch: tuple[str, ...]) -> int:
        self._something_else()
        end = at
        inner = []
        while end < len(lines) and lines[end].text.startswith(">"):
            number, prefix, text = lines[end]
            taken = 2 if text.startswith("> ") else 1
            inner.append(_Line(number, prefix + text[:taken], text[taken:]))
            end += 1
        if end < len(lines) and lines[end].text.strip():
            self._problem(lines[end].number, "leave an empty line after a quote")
        self._container(inner, branch)
        return end

    def _autodoc(self, lines: Sequence[_Line], at: int, before: str) -> int:
        """Pass over a request to mkdocstrings, and its options."""
        self._something_else()
        end = at + 1
        while end < len(lines) and lines[end].text.strip():
            end += 1
        options = [line.text for line in lines[at + 1 : end]]
        if before != "blank" or not all(grammar.OPTION.match(option) for option in options):
            raise self._unreadable(
                lines[at].number, "::: stands after an empty line, with nothing below but options"
            )
        return end

    # Lines that are no container

    def _text_line(self, line: _Line) -> None:
        """Check a line of text, which must hide no code."""
        self._something_else()
        indent = len(line.text) - len(line.text.lstrip())
        if indent and line.text.lstrip().startswith(FENCES):
            raise self._unreadable(
                line.number,
                f"a fence {indent} spaces in belongs to nothing: start it at the margin of the "
                "text around it, 4 spaces for each list, tab or admonition",
            )
        if indent >= INDENT:
            raise self._unreadable(
                line.number,
                "indented text is shown as code that nothing tests: write a fence, as ```python, "
                "or indent less",
            )
        if grammar.hides_fence(line.text):
            raise self._unreadable(
                line.number, "a fence starts on a line of its own, with nothing before it"
            )
        if message := grammar.instead_of_text(line.text):
            self._problem(line.number, message)

    def _comment(self, lines: Sequence[_Line], at: int) -> int:
        line = lines[at]
        end = at
        while "-->" not in lines[end].text:
            end += 1
            if end == len(lines):
                raise self._unreadable(line.number, "this comment is not closed: write -->")
        text = "\n".join(one.text for one in lines[at : end + 1]).rstrip()
        if not text.endswith("-->") or text.count("-->") > 1:
            raise self._unreadable(
                line.number, "a comment ends its line: put the rest on the next one"
            )
        if re.search(r"^[ >]*(`{3}|~{3})", text, re.MULTILINE):
            raise self._unreadable(
                line.number, "a fence in a comment is neither seen nor run: delete it"
            )
        self._directives.read(line.number, text)
        if self._directives.figure() and lines[end + 1 :] and lines[end + 1].text.startswith("!["):
            self._figure(lines[end + 1])
            return end + 2
        return end + 1

    def _figure(self, line: _Line) -> None:
        """Read the image that a figure directive declares."""
        directive = self._directives.take("figure")["figure"]
        self._printer = None
        image = grammar.IMAGE.match(line.text)
        if image is None:
            self._problem(line.number, "write the image alone on its line, as ![Alt text.](path)")
            return
        if not re.fullmatch(r"\S+(\s+\S+){2,}[.?]", image["alt"].strip()):
            self._problem(line.number, "an alt text is a full sentence, with its full stop")
        target = image["target"]
        path = self.path.parent / target
        named = path.name.startswith(f"{self.path.stem}-") and path.suffix == ".svg"
        if not (named and path.parent.as_posix().endswith("assets/figures")):
            self._problem(
                line.number,
                f"a figure of this page is assets/figures/{self.path.stem}-<what>.svg, "
                f"got {target}",
            )
        elif not self.blocks:
            self._problem(directive.lineno, "no block above makes this figure")
        else:
            figure = Figure(directive.argument, directive.lineno, target, path)
            self.blocks[-1].figures.append(figure)

    # Fences

    def _fence(self, lines: Sequence[_Line], at: int, branch: tuple[str, ...]) -> int:
        opening = lines[at]
        match = grammar.FENCE.match(opening.text)
        assert match is not None
        marker, info = match["marker"], match["info"]
        language = grammar.language(info)
        if language is None:
            self._problem(opening.number, grammar.instead_of_info(marker, info))
        end = at + 1
        while end < len(lines) and lines[end].text.rstrip() != marker:
            stripped = lines[end].text.strip()
            if stripped.startswith(marker) and set(stripped) == {marker[0]}:
                raise self._unreadable(
                    lines[end].number,
                    f"renderers disagree whether this closes the fence: write {marker} at the "
                    "indentation of the opening fence, or open with a longer fence",
                )
            end += 1
        if end == len(lines):
            raise self._unreadable(
                opening.number,
                f"this fence is not closed: write {marker} at the same indentation, and indent "
                "no line between them less",
            )
        content = "".join(f"{line.text}\n" for line in lines[at + 1 : end])
        fence = Fence(
            language or "", marker, opening.prefix, opening.number, lines[end].number, content
        )
        self.fences.append(fence)
        if language == "python":
            self._python(fence, branch)
        elif language == "text":
            self._text(fence)
        else:
            self._directives.take()
            self._printer = None
        return end + 1

    def _python(self, fence: Fence, branch: tuple[str, ...]) -> None:
        taken = self._directives.take("cont", "expect-error", "importorskip", "mark")
        error, needs = taken.get("expect-error"), taken.get("importorskip")
        block = Block(
            fence.content,
            fence.lineno,
            fence.language,
            importorskip=needs.argument if needs else None,
            marks=[one.argument for one in taken.values() if one.name == "mark"],
            fence=fence,
            branch=branch,
            cont="cont" in taken,
            error=error.argument if error else None,
        )
        if not fence.content.strip():
            self._problem(fence.lineno, "an empty block: write code, or delete it")
        if block.cont:
            self._continue(block, taken["cont"].lineno)
        if block.cont and re.search(r"^from __future__", fence.content, re.MULTILINE):
            self._problem(fence.lineno, "import from __future__ in the block that starts afresh")
        self.blocks.append(block)
        self._printer, self._printer_prefix = block, _indentation(fence.prefix)

    def _continue(self, block: Block, lineno: int) -> None:
        """Note which blocks `block` goes on from."""
        if not any(block.sees(earlier) for earlier in self.blocks):
            self._problem(lineno, "cont continues nothing: there is no block above")
        for earlier in reversed(self.blocks):
            if block.sees(earlier):
                earlier.continued = True
                if not earlier.cont:
                    break

    def _text(self, fence: Fence) -> None:
        taken = self._directives.take("not-output", "expected-output")
        printer, self._printer = self._printer, None
        if len(taken) > 1:
            self._problem(fence.lineno, "it is an output or it is not: write one directive")
            return
        if "not-output" in taken:
            return
        if "expected-output" in taken:
            printer = self.blocks[-1] if self.blocks else None
            if printer is None or printer.output is not None:
                self._problem(fence.lineno, "no block above prints this")
                return
        elif printer is None or self._printer_prefix != _indentation(fence.prefix):
            self._problem(
                fence.lineno,
                "this text is nobody's output: put it directly under the block that prints it, at "
                "the same indentation, or write <!--pytest-codeblocks:not-output(reason)--> "
                "before it",
            )
            return
        printer.output = fence
        printer.expected_output = fence.content


def _indentation(prefix: str) -> str:
    """Return `prefix` as on the lines below it, where the marker of a list is spaces."""
    return re.sub(r"[^> ]", " ", prefix)


def _dedent(line: _Line) -> _Line:
    taken = min(INDENT, len(line.text) - len(line.text.lstrip(" ")))
    return _Line(line.number, line.prefix + line.text[:taken], line.text[taken:])


def _end_of_container(lines: Sequence[_Line], at: int, lazy: bool = False) -> int:
    """Return the index after the last line that is indented under the line at `at`.

    A paragraph in a list may go on at the margin: `lazy` counts such lines in.
    """
    end = at + 1
    blank = False
    for here in range(at + 1, len(lines)):
        text = lines[here].text
        if not text.strip():
            blank = True
        elif text.startswith(" " * INDENT) or (lazy and not blank and grammar.is_plain(text)):
            blank = False
            end = here + 1
        else:
            break
    return end
