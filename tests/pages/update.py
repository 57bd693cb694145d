"""Write outputs and figures into the pages, and change nothing else."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pages.check import Difference
from pages.model import Page


class Update:
    """The changes that a run makes to one page; written together, when all its blocks have run."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._differences: list[Difference] = []

    def add(self, difference: Difference) -> str:
        """Note a change, and say what it is."""
        self._differences.append(difference)
        if difference.figure is not None:
            return f"{self.page.name}:{difference.figure.lineno}: drew {difference.figure.target}"
        output = difference.block.output
        lineno = difference.block.lineno if output is None else output.lineno
        action = "wrote" if difference.made else "removed"
        return f"{self.page.name}:{lineno}: {action} the output of line {difference.block.lineno}"

    def write(self) -> None:
        """Change the files."""
        edits: list[tuple[int, int, list[str]]] = []
        for difference in self._differences:
            if difference.figure is not None:
                difference.figure.path.parent.mkdir(parents=True, exist_ok=True)
                _replace(difference.figure.path, difference.made.encode())
            else:
                edits.append(_edit(self.page, difference))
        if not edits:
            return
        if self.page.path.read_bytes() != self._encoded(self.page.lines):
            raise OSError(f"{self.page.name} was changed while it ran; nothing is written")
        lines = list(self.page.lines)
        for start, end, new in sorted(edits, reverse=True):
            lines[start:end] = new
        _replace(self.page.path, self._encoded(lines))

    def _encoded(self, lines: Sequence[str]) -> bytes:
        return ("\ufeff" * self.page.bom + self.page.newline.join(lines)).encode()


def _edit(page: Page, difference: Difference) -> tuple[int, int, list[str]]:
    """Return the lines of the page to replace, from `start` up to `end`, and what replaces them."""
    block, output = difference.block, difference.block.output
    if output is not None and not difference.made:
        above = page.lines[output.lineno - 2]
        return output.lineno - 1 - (not above.strip(" >")), output.end, []
    if output is not None:
        body = _fenced(difference.made, output.prefix, output.marker)
        return output.lineno - 1, output.end, body
    prefix = _continued(block.fence.prefix)
    body = _fenced(difference.made, prefix, "```")
    end = block.fence.end
    crowded = end < len(page.lines) and page.lines[end].strip(" >")
    return end, end, [prefix.rstrip(), *body, *([prefix.rstrip()] if crowded else [])]


def _fenced(text: str, prefix: str, marker: str) -> list[str]:
    prefix = _continued(prefix)
    longest = max(
        (len(run) for run in re.findall(rf"^\s*({marker[0]}{{3,}})", text, re.MULTILINE)), default=0
    )
    marker = marker[0] * max(len(marker), longest + 1 if longest else 0)
    lines = [f"{marker}text", *text.split("\n"), marker]
    return [f"{prefix}{line}".rstrip() for line in lines]


def _continued(prefix: str) -> str:
    """Return `prefix` as it stands before a line that is not the first of a list item."""
    return re.sub(r"[^> ]", " ", prefix)


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(path.stat().st_mode if path.exists() else 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
