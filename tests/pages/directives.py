"""The HTML comments that say how the next block is tested."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_DIRECTIVE = re.compile(r"<!--[-\s]*pytest-codeblocks:\s*(?P<body>.*?)[-\s]*-->$")
_MARK = re.compile(r"<!--[-\s]*(?P<mark>pytest\.mark\..*?)[-\s]*-->$")
_CALL = re.compile(r"(?P<name>[a-z]+(?:-[a-z]+)*)(?:\((?P<argument>.*)\))?$")
_MISSPELT = re.compile(r"py-?_?test|code-?_?blocks?|importorskip|^<!--\s*cont", re.IGNORECASE)
_PYTHON = "a ```python fence"
_TEXT = "a ```text fence"


class _Kind(NamedTuple):
    argument: str  # an example; empty if it takes none
    before: str
    pattern: str = r".*\S.*"


_KINDS = {
    "cont": _Kind("", _PYTHON),
    "expect-error": _Kind("ValueError", _PYTHON, r"[A-Za-z_][\w.]*"),
    "importorskip": _Kind("module", _PYTHON, r"[A-Za-z_][\w.]*"),
    "mark": _Kind("", _PYTHON),
    "figure": _Kind(
        "name", "an image, as ![Alt text.](../assets/figures/page-what.svg)", r"[A-Za-z_]\w*"
    ),
    "not-output": _Kind("reason", _TEXT),
    "expected-output": _Kind("", _TEXT),
}
_IN_STOCK_ONLY = {
    "skip": 'write <!--pytest.mark.skip(reason="...")-->',
    "skipif": 'write <!--pytest.mark.skipif(condition, reason="...")-->',
    "skipfile": 'each block says why it is skipped: <!--pytest.mark.skip(reason="...")-->',
    "expect-exception": "write expect-error(ValueError), and show its message",
    "expected-output-ignore-whitespace": "outputs are compared exactly: delete it",
}


class Directive(NamedTuple):
    """A directive, and the line that it stands on."""

    lineno: int
    name: str
    argument: str


class Directives:
    """The directives read so far that still wait for their block."""

    def __init__(self, report: Callable[[int, str], None]) -> None:
        self._report = report
        self._waiting: list[Directive] = []

    def read(self, lineno: int, comment: str) -> None:
        """Note the directive in a comment, if it holds one."""
        if mark := _MARK.match(comment):
            self._mark(lineno, mark["mark"])
        elif directive := _DIRECTIVE.match(comment):
            self._directive(lineno, directive["body"].strip())
        elif _MISSPELT.search(comment):
            known = ", ".join(name for name in _KINDS if name != "mark")
            self._report(
                lineno,
                f"unknown directive {comment}: write <!--pytest-codeblocks:x-->, x of {known}",
            )

    def _mark(self, lineno: int, mark: str) -> None:
        if not re.match(r"pytest\.mark\.(skip|skipif|xfail)\(", mark):
            self._report(lineno, f'write skip, skipif or xfail with a reason="...", got {mark}')
        elif not re.search(r"""\breason\s*=\s*(["'])\s*\S.*?\1""", mark):
            self._report(lineno, f'say why: {mark} needs a reason="..."')
        else:
            self._waiting.append(Directive(lineno, "mark", mark))

    def _directive(self, lineno: int, body: str) -> None:
        call = _CALL.match(body)
        name = call["name"] if call else body
        argument = ((call["argument"] if call else None) or "").strip()
        if name not in _KINDS or name == "mark":
            known = ", ".join(name for name in _KINDS if name != "mark")
            hint = _IN_STOCK_ONLY.get(name, f"write one of {known}")
            self._report(lineno, f"unknown directive {name!r}: {hint}")
            return
        kind = _KINDS[name]
        if bool(kind.argument) != bool(argument):
            shown = f"{name}({kind.argument})" if kind.argument else name
            self._report(lineno, f"write <!--pytest-codeblocks:{shown}-->")
        elif argument and not re.fullmatch(kind.pattern, argument):
            self._report(lineno, f"{name} takes one name, as {kind.argument}; got {argument!r}")
        else:
            self._waiting.append(Directive(lineno, name, argument))

    def take(self, *names: str) -> dict[str, Directive]:
        """Return the directives that wait for a block which takes those called `names`."""
        taken: dict[str, Directive] = {}
        for one in self._waiting:
            if one.name not in names:
                self._report(one.lineno, f"{one.name} stands before {_KINDS[one.name].before}")
            elif one.name == "mark":
                taken[one.argument] = one
            elif one.name in taken:
                self._report(one.lineno, f"{one.name} is given twice")
            else:
                taken[one.name] = one
        self._waiting.clear()
        return taken

    def figure(self) -> Directive | None:
        """Return the figure that waits for its image."""
        if self._waiting and self._waiting[-1].name == "figure":
            return self._waiting[-1]
        return None

    def end(self) -> None:
        """Report directives that nothing follows."""
        for one in self._waiting:
            before = _KINDS[one.name].before
            self._report(
                one.lineno, f"nothing follows {one.name}: it stands directly before {before}"
            )
        self._waiting.clear()
