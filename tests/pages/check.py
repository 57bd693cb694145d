"""Compare what a block did with what its page shows, and say what differs."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pages.model import Block, Figure, Page
from pages.run import BrokenChainError, Outcome, format_traceback, is_named, last_lines

_LONGEST_LINE = 160
_LONGEST_DIFF = 60


class PageError(Exception):
    """A page does not show what its code does. The text is the whole report."""


class Runs(Protocol):
    """Whatever runs a block and says what came of it."""

    def run(self, page: Page, block: Block) -> Outcome: ...


@dataclass(frozen=True)
class Difference:
    """A text or figure that the page shows, and what the code makes of it."""

    block: Block
    figure: Figure | None
    shown: str | None  # None if there is none yet
    made: str
    line: int  # of the page: the code that made it


def normal(text: str) -> str:
    """Drop what no reader sees: spaces at the ends of lines, and empty lines at the end."""
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(lines).rstrip("\n")


def check(runner: Runs, page: Page, block: Block) -> list[Difference]:
    """Run `block`; raise PageError if it cannot be shown; return what the page shows wrongly."""
    outcome = _run(runner, page, block)
    made = normal(outcome.output)
    line = None
    if outcome.exception is not None:
        line, ending = _ending(page, block, outcome.exception)
        made = normal(f"{made}\n{ending}".lstrip("\n"))
    elif block.error is not None:
        raise PageError(f"{page.name}:{block.lineno}: {block.error} is declared, nothing is raised")
    unprintable = sorted({one for one in made if not one.isprintable() and one != "\n"})
    if unprintable:
        outcome.complaints.append((block.lineno, f"prints {unprintable}, which a page cannot show"))
    if outcome.complaints:
        complaints = (
            f"{page.name}:{lineno}: the block {one}" for lineno, one in outcome.complaints
        )
        raise PageError("\n".join(complaints))
    differences = []
    shown = None if block.output is None else normal(block.output.content)
    if (shown is None and made.strip()) or (shown is not None and (made != shown or not made)):
        writer = _writer(outcome, shown or "", made) or line or block.lineno
        differences.append(Difference(block, None, shown, made.rstrip(), writer))
    for figure in block.figures:
        stored, drawn = _stored(figure.path), outcome.pictures[figure.name]
        if stored != drawn:
            differences.append(Difference(block, figure, stored, drawn, figure.lineno))
    return differences


def _run(runner: Runs, page: Page, block: Block) -> Outcome:
    try:
        return runner.run(page, block)
    except BrokenChainError as broken:
        line, trace = format_traceback(page, broken.exception)
        raise PageError(
            f"{page.name}:{line or broken.block.lineno}: this fails, so the block at line "
            f"{block.lineno}, which continues it, cannot run\n\n{trace}"
        ) from None


def _ending(page: Page, block: Block, exception: BaseException) -> tuple[int, str]:
    """Return the line that raised the declared exception, and how its traceback ends."""
    line, trace = format_traceback(page, exception)
    line = line or block.lineno
    if block.error is not None and is_named(exception, block.error):
        return line, last_lines(exception)
    declared = f"; its page declares {block.error}" if block.error else ""
    code = page.lines[line - 1].strip()
    raise PageError(
        f"{page.name}:{line}: {type(exception).__name__}{declared}\n\n    {code}\n\n{trace}"
    ) from None


def _stored(path: Path) -> str | None:
    if not path.is_file():
        return None
    return path.read_text(encoding="utf-8").replace("\r\n", "\n")


def _writer(outcome: Outcome, shown: str, made: str) -> int | None:
    """Return the line of the page that wrote the first line that differs."""
    same = 0
    for left, right in zip(shown.split("\n"), made.split("\n"), strict=False):
        if left != right:
            break
        same += 1
    written = outcome.output.encode().split(b"\n")
    offset = sum(len(one) + 1 for one in written[:same])
    if outcome.exception is not None and offset >= len(outcome.output.encode()):
        return None
    writer = None
    for start, line in outcome.writers:
        if start > offset and writer is not None:
            break
        writer = line
    return writer


def report(page: Page, difference: Difference) -> str:
    """Say in the page's own terms what differs."""
    block, figure = difference.block, difference.figure
    update = f"pytest {page.name} --update-pages"
    if figure is not None:
        where = f"{page.name}:{figure.lineno}: the figure {figure.target}"
        if difference.shown is None:
            return f"{where} is not there yet; to draw it: {update}"
        title = f"{where} is not what {figure.name!r} draws"
        old, new = figure.target, figure.name
    else:
        title = f"{page.name}:{difference.line}: "
        if difference.shown is None:
            title += "the block prints, and its page does not show it"
        elif not difference.made:
            title += "the block prints nothing, and its page shows an output"
        else:
            title += "the page shows another output"
        title += f"\n\n    {page.lines[difference.line - 1].strip()}"
        shown_at = block.output.lineno if block.output else block.lineno
        old, new = f"{page.name}:{shown_at} (shown)", f"{page.name}:{block.lineno} (printed)"
    old_lines, new_lines = (difference.shown or "").splitlines(), difference.made.splitlines()
    diff = list(difflib.unified_diff(old_lines, new_lines, old, new, lineterm="", n=2))
    cut = [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..." for line in diff]
    if len(cut) > _LONGEST_DIFF:
        cut = [*cut[:_LONGEST_DIFF], f"... and {len(cut) - _LONGEST_DIFF} more lines"]
    return "\n".join([title, "", *cut, "", f"If the new one is right: {update}"])
