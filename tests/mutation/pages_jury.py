"""The pages as the jury: their blocks, and the examples that they quote."""

from __future__ import annotations

import doctest
import functools
import importlib
import os
import pickle
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, BinaryIO

from mutation.lists import PACKAGE, ROOT
from mutation.mutants import Mutant, Mutants
from mutation.plant import (
    Witness,
    forked,
    in_one_process,
    limit,
    module_name,
    plant,
    reached,
    swap,
)
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


Case = tuple[Mutants, Mutant, list[Exhibit]]


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


def measured() -> tuple[list[Exhibit], list[str]]:
    """Run everything once without a fault, in a process of its own.

    Return what passes, with its time and its lines, and the names of what fails.
    """
    shown = exhibits(ROOT)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(writer, "wb") as stream:
            _report(stream, shown)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        results = pickle.load(stream)
    os.waitpid(pid, 0)
    for exhibit, (_, seconds, lines) in zip(shown, results, strict=True):
        exhibit.seconds = seconds
        exhibit.lines = lines
    by_name = {exhibit.name: exhibit for exhibit in shown}
    for exhibit in shown:  # what a block runs again is part of its evidence
        for name in exhibit.after:
            exhibit.lines = exhibit.lines | by_name[name].lines
    passed = [ok for ok, _, _ in results]
    return (
        [exhibit for exhibit, ok in zip(shown, passed, strict=True) if ok],
        [exhibit.name for exhibit, ok in zip(shown, passed, strict=True) if not ok],
    )


def _report(stream: BinaryIO, shown: list[Exhibit]) -> None:
    importlib.import_module(PACKAGE.name)
    results = []
    for exhibit in shown:
        start = time.process_time()
        with Trace(PACKAGE) as trace:
            passed = exhibit.passes()
        results.append((passed, time.process_time() - start, trace.lines))
    pickle.dump(results, stream)


class Trace:
    """Notes which lines of a package run while it is entered, in this thread and in new ones."""

    def __init__(self, package: Path) -> None:
        self.lines: set[Line] = set()
        self._prefix = str(package) + os.sep
        self._names: dict[str, str | None] = {}
        self._left: dict[CodeType, set[int]] = {}

    def __enter__(self) -> Trace:
        self._outer = sys.gettrace(), threading.gettrace()
        sys.settrace(self._call)
        threading.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._outer[0])
        threading.settrace(self._outer[1])  # type: ignore[arg-type]

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        filename = frame.f_code.co_filename
        if filename not in self._names:
            inside = filename.startswith(self._prefix)
            package = Path(self._prefix)
            self._names[filename] = module_name(Path(filename), package) if inside else None
        module = self._names[filename]
        if module is None:
            return None
        code = frame.f_code
        if code not in self._left:
            self._left[code] = {line for *_, line in code.co_lines() if line}
        left = self._left[code]

        def line(frame: FrameType, event: str, argument: object) -> Any:
            left.discard(frame.f_lineno)
            self.lines.add((module, frame.f_lineno))
            frame.f_trace_lines = bool(left)  # what has all been seen runs on unwatched
            return line if left else None

        return line(frame, event, argument)


def showing(mutant: Mutant, shown: list[Exhibit]) -> list[Exhibit]:
    """Return the exhibits that run the fault, or use its module if it runs when importing."""
    if not mutant.lines:
        return [one for one in shown if any(module == mutant.module for module, _ in one.lines)]
    lines = {(mutant.module, line) for line in mutant.lines}
    return [one for one in shown if one.lines & lines]


def judged(
    cases: list[tuple[Mutants, Mutant]],
    shown: list[Exhibit],
    workers: int,
    choose: Callable[[Mutant, list[Exhibit]], list[Exhibit]] = showing,
) -> Iterator[tuple[Mutant, str | None]]:
    """Yield each fault with the exhibit that notices it, of those `choose` gives it, or None."""
    seconds = {exhibit.name: exhibit.seconds for exhibit in shown}
    costs = {
        exhibit.name: exhibit.seconds + sum(seconds.get(name, 0) for name in exhibit.after)
        for exhibit in shown
    }
    asked = [
        (mutants, mutant, sorted(choose(mutant, shown), key=lambda one: costs[one.name]))
        for mutants, mutant in cases
    ]
    early = imported()

    def passes(jury: list[Exhibit], witness: Witness) -> bool:
        for exhibit in jury:
            witness.note(exhibit.name)
            limit(costs[exhibit.name])
            if not exhibit.passes():
                return False
        return True

    def swapping(numbered: tuple[int, Case], witness: Witness) -> bool:
        _, (mutants, mutant, jury) = numbered
        swap(mutants, mutant)
        return passes(jury, witness)

    def importing(case: Case, witness: Witness) -> bool:
        mutants, mutant, jury = case
        witness.note(f"importing {PACKAGE.name}")
        plant(mutants, mutant)
        limit(1)
        try:
            importlib.import_module(f"{PACKAGE.name}.{mutant.module}".removesuffix(".__init__"))
        except Exception:
            return False
        return passes(jury, witness)

    def serve(tell: Callable[[int, str | None], None]) -> bool:
        import_package()
        numbered = list(enumerate(asked))
        for (index, _), witness in forked(reached(numbered, early), swapping, workers):
            tell(index, witness)
        return True

    left = {index: case for index, case in enumerate(asked) if case[2]}
    yield from ((mutant, None) for _, mutant, jury in asked if not jury)
    for index, witness in in_one_process(serve):
        yield left.pop(index)[1], witness
    for (_, mutant, _), witness in forked(left.values(), importing, workers):
        yield mutant, witness


def import_package() -> None:
    """Import every module of the package but those that are run as programs."""
    for path in PACKAGE.rglob("*.py"):
        if path.stem != "__main__":
            name = module_name(path, PACKAGE).removesuffix("__init__").rstrip(".")
            importlib.import_module(f"{PACKAGE.name}.{name}".rstrip("."))


@functools.cache
def imported() -> set[Line]:
    """Return the lines that run when the package is imported."""

    def serve(tell: Callable[[int, str | None], None]) -> bool:
        with Trace(PACKAGE) as trace:
            import_package()
        for module, line in trace.lines:
            tell(line, module)
        return True

    return {(module or "", line) for line, module in in_one_process(serve)}
