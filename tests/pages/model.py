"""What a page is made of, once read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pytest_codeblocks import CodeBlock


class Problem(NamedTuple):
    """A line of a page that is outside the dialect, and what to write instead."""

    lineno: int
    message: str


@dataclass(frozen=True, eq=False)
class Fence:
    """A fenced block as a reader sees it.

    `lineno` and `end` are the lines of its two fences, `prefix` is what stands before them: the
    indentation and quote marks of the containers around.
    """

    language: str
    marker: str
    prefix: str
    lineno: int
    end: int
    content: str


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture: the variable that must draw it, and the file that holds it."""

    name: str
    lineno: int
    target: str
    path: Path


@dataclass(eq=False)
class Block(CodeBlock):  # type: ignore[misc]
    """A `python` fence, with everything that the page says about it.

    `branch` names the tabs around it that are not the first of their set: a block in such a tab is
    on a side branch, which the blocks outside do not see.
    """

    fence: Fence = field(kw_only=True)
    branch: tuple[str, ...] = ()
    cont: bool = False
    continued: bool = False
    error: str | None = None
    output: Fence | None = None
    figures: list[Figure] = field(default_factory=list)

    @property
    def excluded(self) -> bool:
        """Whether later blocks go on without this one: it raises, or is expected to fail."""
        return self.error is not None or any("xfail" in mark for mark in self.marks)

    def sees(self, earlier: Block) -> bool:
        """Tell whether `earlier`, a block above, may be part of this one's program."""
        return not earlier.excluded and self.branch[: len(earlier.branch)] == earlier.branch


@dataclass(frozen=True, eq=False)
class Page:
    """A page. Its blocks are worth running only if it has no problems."""

    path: Path
    name: str
    lines: tuple[str, ...]
    newline: str
    bom: bool
    fences: tuple[Fence, ...]
    blocks: tuple[Block, ...]
    problems: tuple[Problem, ...]

    def program(self, block: Block) -> list[Block]:
        """Return the blocks that are a complete program when run one after the other, to `block`.

        They go back to the nearest visible block that starts afresh. If that one stands on a side
        branch, the program is of that branch alone.
        """
        program = [block]
        if block.cont:
            for earlier in reversed(self.blocks[: self.blocks.index(block)]):
                if block.sees(earlier):
                    program.append(earlier)
                    if not earlier.cont:
                        break
        start = program[-1]
        if start.branch:
            program = [one for one in program if one.branch[: len(start.branch)] == start.branch]
        return program[::-1]

    def inert(self) -> Iterator[Fence]:
        """Yield the fences that nothing runs and nothing compares."""
        checked = {block.output for block in self.blocks} | {block.fence for block in self.blocks}
        return (fence for fence in self.fences if fence not in checked)
