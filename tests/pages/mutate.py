"""Plant faults in the package, one at a time, and ask whether the documentation notices.

Run as `python -m pages.mutate [module ...]`, with tests/ on the path. Prints each fault that no
page notices, nor any docstring that a page quotes, and fails. Faults that change nothing are listed
in equivalent_mutants.toml, with the reason.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import os
import pickle
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from pages.judge import Exhibit, exhibits, measure
from pages.mutants import Mutant, Mutants, canonical

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "attention_ref"
MODULES = (
    "_checks",
    "_lookup",
    "_masks",
    "_multi_head",
    "_scaled_dot_product",
    "_softmax",
    "_viz",
)
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
# Imported before the forks, so that a fault costs neither their import nor their compilation.
PRELOADED = ("array_api_compat.numpy", "array_api_compat.torch", "array_api_strict", "jaxtyping")
WORKERS = 2


def main(names: Sequence[str]) -> int:
    """Judge the modules `names`, or all."""
    if not hasattr(os, "fork"):
        print("The mutation check forks a process for each fault, which this platform cannot.")
        return 0
    for name in PRELOADED:
        importlib.import_module(name)
    # The processes forked below end too fast to tidy up, so this one does it for all.
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        tempfile.tempdir = folder
        return _judge_all(names)


def _judge_all(names: Sequence[str]) -> int:
    start = time.perf_counter()
    shown = exhibits(ROOT)
    failed = _baseline(shown)
    if failed:
        print("These fail without any fault, so they judge none:", *failed, sep="\n  ")
        shown = [exhibit for exhibit in shown if exhibit.name not in failed]
    modules = [
        Mutants(name, PACKAGE / f"{name}.py") for name in MODULES if not names or name in names
    ]
    equivalent = _equivalent()
    stale = dict(equivalent)
    mutants: list[tuple[Mutants, Mutant]] = []
    for module in modules:
        for mutant in module:
            if mutant.key in equivalent:
                stale.pop(mutant.key, None)
            else:
                mutants.append((module, mutant))
    survivors = _judge(mutants, shown)
    for mutant in survivors:
        print(f"\n{mutant.key[0]}: no page notices")
        print(f"  - {mutant.before}\n  + {mutant.after}")
    if names:
        stale = {}
    for function, before, after in stale:
        print(f"\n{EQUIVALENT.name}: no such fault any more: {function}\n  - {before}\n  + {after}")
    counts = Counter(mutant.module for _, mutant in mutants)
    print(
        f"\n{len(mutants)} faults in {len(counts)} modules, {len(survivors)} unnoticed, "
        f"{len(equivalent) - len(stale)} known to change nothing; "
        f"{time.perf_counter() - start:.0f} s"
    )
    return 1 if survivors or stale or failed else 0


def _equivalent() -> dict[tuple[str, str, str], str]:
    entries = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("mutant", [])
    found = {}
    for entry in entries:
        key = (entry["function"], canonical(entry["before"]), canonical(entry["after"]))
        if not entry["reason"].strip():
            raise ValueError(f"{EQUIVALENT.name}: say why {key} changes nothing")
        if key in found:
            raise ValueError(f"{EQUIVALENT.name}: {key} is listed twice")
        found[key] = entry["reason"]
    return found


def _baseline(shown: list[Exhibit]) -> list[str]:
    """Run everything once without a fault, in a process of its own; return what fails."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(writer, "wb") as stream:
            _reported(stream, shown)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        results = pickle.load(stream)
    os.waitpid(pid, 0)
    by_name = {}
    for exhibit, (passed, seconds, lines) in zip(shown, results, strict=True):
        exhibit.seconds = seconds
        exhibit.lines = lines
        by_name[exhibit.name] = exhibit, passed
    for exhibit in shown:  # what a block runs again is part of its cost, and of its evidence
        for name in exhibit.after:
            earlier, _ = by_name[name]
            exhibit.lines = exhibit.lines | earlier.lines
    return [name for name, (_, passed) in by_name.items() if not passed]


def _reported(stream: BinaryIO, shown: list[Exhibit]) -> None:
    importlib.import_module(PACKAGE.name)
    results = []
    for exhibit in shown:
        passed = measure(exhibit, PACKAGE)
        results.append((passed, exhibit.seconds, exhibit.lines))
    pickle.dump(results, stream)


def _judge(mutants: list[tuple[Mutants, Mutant]], shown: list[Exhibit]) -> list[Mutant]:
    """Return the faults that nothing notices. Each runs in a process forked for it."""
    survivors = []
    waiting = mutants[::-1]
    running: dict[int, Mutant] = {}
    costs = _costs(shown)
    while waiting or running:
        while waiting and len(running) < WORKERS:
            module, mutant = waiting.pop()
            jury = sorted(_jury(mutant, shown), key=lambda one: costs[one.name])
            if not jury:
                survivors.append(mutant)
                continue
            pid = os.fork()
            if pid == 0:
                _try(module, mutant, jury, costs)
            running[pid] = mutant
        if running:
            pid, status = os.wait()
            mutant = running.pop(pid)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
                survivors.append(mutant)
    return survivors


def _costs(shown: list[Exhibit]) -> dict[str, float]:
    seconds = {exhibit.name: exhibit.seconds for exhibit in shown}
    return {
        exhibit.name: exhibit.seconds + sum(seconds[name] for name in exhibit.after)
        for exhibit in shown
    }


def _jury(mutant: Mutant, shown: list[Exhibit]) -> list[Exhibit]:
    """Return the exhibits that run the fault, or use its module if it runs when importing."""
    if not mutant.lines:
        return [one for one in shown if any(module == mutant.module for module, _ in one.lines)]
    lines = {(mutant.module, line) for line in mutant.lines}
    return [one for one in shown if one.lines & lines]


def _try(module: Mutants, mutant: Mutant, jury: list[Exhibit], costs: dict[str, float]) -> None:
    """End this process: with 0 if nobody on the jury notices the fault."""
    noticed = 1
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        mutant.plant()
        sys.meta_path.insert(0, _Finder(module))
        signal.setitimer(signal.ITIMER_REAL, 20)
        importlib.import_module(PACKAGE.name)
        for exhibit in jury:
            # Taking for ever is noticed too: the alarm ends the process.
            signal.setitimer(signal.ITIMER_REAL, 10 + 10 * costs[exhibit.name])
            if not exhibit.passes():
                break
        else:
            noticed = 0
    finally:
        os._exit(noticed)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module of the package from its tree, in which a fault is planted."""

    def __init__(self, mutants: Mutants) -> None:
        self._mutants = mutants
        self._name = f"{PACKAGE.name}.{mutants.module}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self._mutants.path))

    def exec_module(self, module: ModuleType) -> None:
        tree = ast.fix_missing_locations(self._mutants.tree)
        module.__file__ = str(self._mutants.path)
        exec(compile(tree, str(self._mutants.path), "exec"), vars(module))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
