"""Compare what a block did with what its page shows, and say what differs."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from pages.model import Block, Figure, Page
from pages.run import BrokenChainError, Outcome, Runner, format_traceback, is_named, last_lines


class PageError(Exception):
    """A page does not show what its code does. The text is the whole report."""


@dataclass(frozen=True)
class Difference:
    """A text or figure that the page shows, and what the code makes of it."""

    block: Block
    figure: Figure | None
    shown: str | None
    made: str
    line: int  # of the page: the code that made it


def normal(text: str) -> str:
    """Drop what no reader sees: spaces at the ends of lines, and empty lines at the end."""
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(lines).rstrip("\n")


def check(runner: Runner, page: Page, block: Block) -> list[Difference]:
    """Run `block`; raise PageError if it cannot be shown; return what the page shows wrongly."""
    try:
        outcome = runner.run(page, block)
    except BrokenChainError as broken:
        failure = broken.outcome.exception
        assert failure is not None
        line, trace = format_traceback(page, failure)
        raise PageError(
            f"{page.name}:{line or broken.block.lineno}: the block at line {block.lineno} continues "
            f"the one at line {broken.block.lineno}, which fails\n\n{trace}"
        ) from None
    made = normal(outcome.output)
    if outcome.exception is not None:
        made = _raised(page, block, outcome, made)
    elif block.error is not None:
        raise PageError(
            f"{page.name}:{block.lineno}: the block raised nothing; its page declares {block.error}"
        )
    if outcome.complaints:
        raise PageError(
            "\n".join(f"{page.name}:{block.lineno}: the block {one}" for one in outcome.complaints)
        )
    if not made.strip():
        made = ""
    if "\t" in made or any(ord(one) < 32 and one != "\n" for one in made):
        raise PageError(
            f"{page.name}:{block.lineno}: the block prints a control character: {made!r}"
        )
    differences = []
    shown = None if block.output is None else normal(block.output.content)
    if made != (shown or "") or (shown == "" and not made):
        line = _writer(block, outcome, shown or "", made)
        differences.append(Difference(block, None, shown, made, line))
    for figure in block.figures:
        drawn = _draw(page, figure, outcome)
        stored = _stored(figure.path)
        if stored != drawn:
            differences.append(Difference(block, figure, stored, drawn, figure.lineno))
    return differences


def _raised(page: Page, block: Block, outcome: Outcome, made: str) -> str:
    exception = outcome.exception
    assert exception is not None
    if block.error is not None and is_named(exception, block.error):
        return normal(f"{made}\n{last_lines(exception)}" if made else last_lines(exception))
    line, trace = format_traceback(page, exception)
    line = line or block.lineno
    declared = f"; its page declares {block.error}" if block.error else ""
    code = page.lines[line - 1].strip()
    raise PageError(
        f"{page.name}:{line}: {type(exception).__name__}{declared}\n\n    {code}\n\n{trace}"
    ) from None


def _draw(page: Page, figure: Figure, outcome: Outcome) -> str:
    where = f"{page.name}:{figure.lineno}"
    if figure.name not in outcome.namespace:
        raise PageError(f"{where}: the block above defines no {figure.name!r}")
    picture = outcome.namespace[figure.name]
    if not hasattr(picture, "_repr_svg_"):
        kind = type(picture).__name__
        raise PageError(
            f"{where}: {figure.name!r} is no picture, but a {kind} without _repr_svg_()"
        )
    drawn = picture._repr_svg_()
    if not isinstance(drawn, str) or "<svg" not in drawn:
        raise PageError(f"{where}: {figure.name}._repr_svg_() returns no SVG, but {drawn!r:.60}")
    return drawn.rstrip("\n") + "\n"


def _stored(path: Path) -> str | None:
    if not path.is_file():
        return None
    return path.read_text(encoding="utf-8").replace("\r\n", "\n")


def _writer(block: Block, outcome: Outcome, shown: str, made: str) -> int:
    """Return the line of the page that wrote the first line that differs."""
    same = 0
    for left, right in zip(shown.split("\n"), made.split("\n"), strict=False):
        if left != right:
            break
        same += 1
    raw = outcome.output.encode().split(b"\n")
    offset = sum(len(one) + 1 for one in raw[:same])
    line = block.lineno
    for start, writer in outcome.writers:
        if start > offset and line != block.lineno:
            break
        line = writer
    return line


def report(page: Page, difference: Difference) -> str:
    """Say in the page's own terms what differs."""
    block, figure = difference.block, difference.figure
    update = f"pytest {page.name} --update-pages"
    if figure is not None:
        where = f"{page.name}:{figure.lineno}: "
        if difference.shown is None:
            return f"{where}the figure {figure.target} is not there yet; `{update}` draws it"
        title = f"{where}the figure {figure.target} is not what {figure.name!r} draws"
        old, new = figure.target, figure.name
    else:
        where = f"{page.name}:{difference.line}: "
        code = page.lines[difference.line - 1].strip()
        if difference.shown is None:
            title = f"{where}the block prints, and its page does not show it\n\n    {code}"
        elif not difference.made:
            title = f"{where}the block prints nothing, and its page shows output\n\n    {code}"
        else:
            title = f"{where}the page shows another output\n\n    {code}"
        shown_at = block.output.lineno if block.output else block.lineno
        old, new = f"{page.name}:{shown_at} (shown)", f"{page.name}:{block.lineno} (printed)"
    lines = difflib.unified_diff(
        (difference.shown or "").splitlines(),
        difference.made.splitlines(),
        old,
        new,
        lineterm="",
        n=2,
    )
    shown = [line if len(line) <= 160 else f"{line[:157]}..." for line in lines]
    if len(shown) > 60:
        shown = [*shown[:60], f"... {len(shown) - 60} more lines"]
    return "\n".join([title, "", *shown, "", f"If the new one is right: {update}"])
