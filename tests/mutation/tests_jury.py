"""The tests as the jury: those that run the line of a fault, the quickest first."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mutation.lists import PACKAGE, ROOT
from mutation.mutants import Mutant, Mutants
from mutation.pages_jury import Line, Trace, import_package, imported
from mutation.plant import (
    Witness,
    forked,
    hand_over,
    in_one_process,
    limit,
    plant,
    reached,
    swap,
)

FILES = sorted((ROOT / "tests").glob("test_*.py"))
CONFTEST = ROOT / "tests" / "conftest.py"
# Modules that run in processes that tests start, where no line is seen to run: with which tests.
STARTED = {
    "__main__": "test_main",
    "torch._all_to_all": "test_torch_ring",
    "torch._ring": "test_torch_ring",
}
# How long the tests of a fault may take in all, as measured without it.
SECONDS = 20
# How long those may wait for the processes that they start, which with a fault may wait for each
# other for ever. Without one that takes some ten seconds, and twice as long on a busy machine.
WAITING = 60
_QUIET = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")


@dataclass
class Evidence:
    """A test: how long it takes, and which lines of the package it runs."""

    name: str
    seconds: float
    lines: set[Line] = field(repr=False)
    collected: set[Line] = field(default_factory=set, repr=False)  # what ran before any test


def digest(*paths: Path) -> str:
    """Return what names the contents of some files."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(path.read_bytes() if path.exists() else b"")
        whole.update(b"\0")
    return whole.hexdigest()[:20]


def source_of(module: str) -> Path:
    """Return the file of a module of the package."""
    return PACKAGE / f"{module.replace('.', '/')}.py"


def own_files(module: str) -> list[Path]:
    """Return where the tests of a module are: in files named after it, or else its package."""
    names = [name.strip("_") for name in module.split(".")]
    exact = CONFTEST.with_name(STARTED.get(module, f"test_{'_'.join(names)}") + ".py")
    if exact in FILES:
        return [exact]
    whole = f"test_{names[0]}"
    return [path for path in FILES if path.stem == whole or path.stem.startswith(f"{whole}_")]


def evidence(path: Path, cache: Path) -> list[Evidence]:
    """Return each test of a file with the lines that it runs.

    The file is run again when it, or a module that it runs, is not what it was.
    """
    kept = cache / f"{path.stem}.json"
    if not _fresh(kept, path):
        print(f"{path.name}: measuring which lines its tests run", flush=True)
        _measure(path, kept)
    record = json.loads(kept.read_text())
    collected = _flat(record["collected"])
    return [
        Evidence(name, seconds, _flat(lines), collected)
        for name, (seconds, lines) in record["tests"].items()
    ]


def _flat(lines: dict[str, list[int]]) -> set[Line]:
    return {(module, one) for module, those in lines.items() for one in those}


def _by_module(lines: set[Line]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for module, line in sorted(lines):
        found.setdefault(module, []).append(line)
    return found


def _fresh(kept: Path, path: Path) -> bool:
    if not kept.exists():
        return False
    record = json.loads(kept.read_text())
    modules = [source_of(module) for module in record["modules"]]
    return bool(record["digest"] == digest(path, CONFTEST, *modules))


def _measure(path: Path, kept: Path) -> None:
    pid = os.fork()
    if pid == 0:
        _silent()
        try:
            measure = _Measure()
            pytest.main([*_QUIET, str(path)], plugins=[measure])
            measure.write(path, kept)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    if not kept.exists():
        raise RuntimeError(f"{path.name} cannot be measured: run it with pytest")


def _silent() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


class _Measure:
    """Notes the lines that each test runs, and those that run before any test."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lines: dict[str, set[Line]] = {}
        self._fixtures: dict[str, set[Line]] = {}
        self._of_test: dict[str, list[str]] = {}
        self._collected: set[Line] = set()
        self._failed: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        import_package()  # what runs then belongs to no file of tests

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self) -> Iterator[None]:
        with Trace(PACKAGE) as trace:
            yield
        self._collected |= trace.lines

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self._of_test = {item.nodeid: getattr(item, "fixturenames", []) for item in items}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        with Trace(PACKAGE) as trace:
            yield
        if fixturedef.scope != "function":
            self._fixtures.setdefault(fixturedef.argname, set()).update(trace.lines)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        start = time.process_time()
        with Trace(PACKAGE) as trace:
            yield
        self._seconds[item.nodeid] = time.process_time() - start
        self._lines[item.nodeid] = trace.lines

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._failed.add(report.nodeid)

    def write(self, path: Path, kept: Path) -> None:
        tests: dict[str, Any] = {}
        touched = set()
        for name, seconds in self._seconds.items():
            lines = self._lines[name] | self._collected
            for fixture in self._of_test[name]:
                lines |= self._fixtures.get(fixture, set())
            by_module = _by_module(lines)
            touched |= set(by_module)
            if name not in self._failed:
                tests[name] = seconds, by_module
        modules = sorted(touched)
        sources = [source_of(module) for module in modules]
        record = {
            "digest": digest(path, CONFTEST, *sources),
            "modules": modules,
            "collected": _by_module(self._collected),
            "tests": tests,
        }
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(".new")
        new.write_text(json.dumps(record), encoding="utf-8")
        new.replace(kept)


def jury(mutant: Mutant, tests: list[Evidence]) -> list[Evidence]:
    """Return the tests that run the fault, the quickest first, as far as the time goes.

    A fault that runs when its module is imported is run by whatever uses the module: what runs a
    line of it, and its own tests, which may read no more than a constant. So is one that may run
    in a process that a test starts.
    """
    lines = {(mutant.module, line) for line in mutant.lines}
    called = [one for one in tests if one.lines & lines]
    if not called or mutant.module in STARTED:
        own = {path.name for path in own_files(mutant.module)}
        called = [
            one
            for one in tests
            if Path(one.name.partition("::")[0]).name in own
            or any(name == mutant.module for name, _ in one.lines)
        ]
    chosen, total = [], 0.0
    for one in sorted(called, key=lambda one: one.seconds):
        total += one.seconds
        if total > SECONDS:
            break
        chosen.append(one)
    return chosen


Case = tuple[Mutants, Mutant, list[Evidence]]


def judged(
    faults: list[tuple[Mutants, Mutant]],
    tests: list[Evidence],
    workers: int,
    choose: Callable[[Mutant, list[Evidence]], list[Evidence]] = jury,
) -> Iterator[tuple[Mutant, str | None]]:
    """Yield each fault with the test that notices it, of those that `choose` gives it, or None.

    The functions of the imported package are given the fault. Where that is too late, as it runs
    when the package is imported or the tests are collected, the package is imported with it, which
    takes longer.
    """
    cases = [(mutants, mutant, choose(mutant, tests)) for mutants, mutant in faults]
    yield from ((mutant, None) for _, mutant, its in cases if not its)
    left = {index: case for index, case in enumerate(cases) if case[2]}
    if not left:
        return
    numbered = list(left.items())
    early = imported().union(*(one.collected for one in tests))

    def serve(tell: Callable[[int, str | None], None]) -> bool:
        _silent()
        files = _files(one for _, (_, _, its) in numbered for one in its)
        loop = _Loop(numbered, early, workers, tell)
        return pytest.main([*_QUIET, *files], plugins=[loop]) == pytest.ExitCode.OK

    for index, witness in in_one_process(serve):
        yield left.pop(index)[1], witness
    for (_, mutant, _), witness in forked(left.values(), _imported_unnoticed, workers):
        yield mutant, witness


def _imported_unnoticed(case: Case, witness: Witness) -> bool:
    mutants, mutant, its = case
    _silent()
    plant(mutants, mutant)
    _ready(mutants, its)
    witness.note("importing the tests")
    if not _can_be_imported(mutant.module):
        return False
    chosen = _Chosen([one.name for one in its], witness)
    return pytest.main([*_QUIET, "-x", *_files(its)], plugins=[chosen]) == pytest.ExitCode.OK


def _ready(mutants: Mutants, its: list[Evidence]) -> None:
    """Hand the planted fault over to what the tests start, if they do, and limit their time."""
    starts = mutants.module in STARTED
    if starts:
        hand_over(mutants)
    limit(sum(one.seconds for one in its), WAITING if starts else None)


def _can_be_imported(module: str) -> bool:
    """Import a module in a process of its own, as the tests have to import it with shape checks.

    One that cannot be is noticed in a fraction of the time that collecting the tests takes.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            importlib.import_module(f"{PACKAGE.name}.{module}".removesuffix(".__init__"))
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def _files(its: Iterable[Evidence]) -> list[str]:
    return sorted({one.name.partition("::")[0] for one in its})


class _Chosen:
    """Runs some tests in an order, and notes which of them runs."""

    def __init__(self, names: list[str], witness: Witness) -> None:
        self._names = names
        self._witness = witness

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        by_name = {item.nodeid: item for item in items}
        items[:] = [by_name[name] for name in self._names]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._witness.note(nodeid)


class _Loop:
    """In place of running all tests once: for each fault, run its own in a forked process."""

    def __init__(
        self,
        cases: list[tuple[int, Case]],
        early: set[Line],
        workers: int,
        tell: Callable[[int, str | None], None],
    ) -> None:
        self._cases = cases
        self._early = early
        self._workers = workers
        self._tell = tell
        self._last: dict[str, str] = {}  # who noticed the last fault of a function
        self._failed = False
        self._items: dict[str, pytest.Item] = {}
        self._trusted: dict[str, bool] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = {item.nodeid: item for item in session.items}
        import_package()
        waiting = reached(self._cases, self._early)
        while waiting:
            again = []
            for (index, case), witness in forked(waiting, self._unnoticed, self._workers):
                if witness is None or self._trust(witness):
                    self._tell(index, witness)
                else:
                    again.append((index, case))
                if witness is not None:
                    self._last[case[1].function] = witness
            waiting = again
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed |= report.failed

    def _trust(self, name: str) -> bool:
        """Tell whether a test passes here without a fault."""
        if name not in self._trusted:
            ((_, witness),) = forked([name], self._passes, 1)
            self._trusted[name] = witness is None
        return self._trusted[name]

    def _passes(self, name: str, witness: Witness) -> bool:
        self._run([self._items[name]], witness)
        return not self._failed

    def _unnoticed(self, numbered: tuple[int, Case], witness: Witness) -> bool:
        _, (mutants, mutant, its) = numbered
        witness.note(its[0].name)
        swap(mutants, mutant)
        _ready(mutants, its)
        names = [one.name for one in its if self._trusted.get(one.name, True)]
        names.sort(key=lambda name: name != self._last.get(mutant.function))
        self._run([self._items[name] for name in names], witness)
        return not self._failed

    def _run(self, items: list[pytest.Item], witness: Witness) -> None:
        for item, after in zip(items, [*items[1:], None], strict=True):
            witness.note(item.nodeid)
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                return
