"""The documentation alone as the judge of the code: its blocks, and the examples it quotes."""

from __future__ import annotations

import doctest
import importlib
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from pages.check import PageError, check
from pages.model import Block, Page
from pages.parse import parse_file
from pages.run import Runner

Line = tuple[str, int]


@dataclass
class Exhibit:
    """A block or a docstring's example: what it takes, and which lines of the package it runs."""

    name: str
    passes: Callable[[], bool]
    after: tuple[str, ...] = ()  # the exhibits whose blocks this one runs again
    seconds: float = 0.0
    lines: set[Line] = field(default_factory=set)


def exhibits(root: Path) -> list[Exhibit]:
    """Return everything that the documentation shows of its code."""
    runner = Runner()
    found = []
    shown: set[str] = set()
    for path in sorted((root / "docs").rglob("*.md")):
        page = parse_file(path, root)
        if page.problems:
            raise PageError(f"{page.name}:{page.problems[0].lineno}: {page.problems[0].message}")
        for block in page.blocks:
            names = tuple(f"{page.name}:{one.lineno}" for one in page.program(block)[:-1])
            found.append(
                Exhibit(f"{page.name}:{block.lineno}", _block_passes(runner, page, block), names)
            )
        shown |= set(re.findall(r"^::: *(\S+)", "\n".join(page.lines), re.MULTILINE))
    found += [Exhibit(f"docstring of {name}", _example_passes(name)) for name in sorted(shown)]
    return found


def _block_passes(runner: Runner, page: Page, block: Block) -> Callable[[], bool]:
    def passes() -> bool:
        try:
            return not check(runner, page, block)
        except PageError:
            return False

    return passes


def _example_passes(name: str) -> Callable[[], bool]:
    def passes() -> bool:
        runner = doctest.DocTestRunner(verbose=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for example in _examples(name):
                if runner.run(example, out=lambda text: None).failed:
                    return False
        return True

    return passes


def _examples(name: str) -> Iterator[doctest.DocTest]:
    """Yield the examples in the docstring of `name`, as `package.object` or `package.module`."""
    try:
        target: Any = importlib.import_module(name)
        module = target
    except ModuleNotFoundError:
        package, _, attribute = name.rpartition(".")
        target = getattr(importlib.import_module(package), attribute)
        module = sys.modules[target.__module__]
    finder = doctest.DocTestFinder(exclude_empty=True)
    return iter(finder.find(target, attribute_name(name), module=module, globs=vars(module).copy()))


def attribute_name(name: str) -> str:
    """Return the last part of a dotted name."""
    return name.rpartition(".")[2]


def measure(exhibit: Exhibit, package: Path) -> bool:
    """Run an exhibit once; note its time and which lines of `package` it ran."""
    prefix = str(package)

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        filename = frame.f_code.co_filename
        if not filename.startswith(prefix):
            return None
        module = Path(filename).stem

        def line(frame: FrameType, event: str, argument: object) -> Any:
            exhibit.lines.add((module, frame.f_lineno))
            return line

        return line(frame, event, argument)

    start = time.perf_counter()
    sys.settrace(trace)
    try:
        return exhibit.passes()
    finally:
        sys.settrace(None)
        exhibit.seconds = time.perf_counter() - start
