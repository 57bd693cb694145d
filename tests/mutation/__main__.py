"""Plant faults in every module of the package, and ask its tests, the pages, then all tests.

`make mutate`, or `make mutate MODULE=_softmax`. What a fault came to is kept in .cache/mutation, so
that a run that was stopped goes on where it was, and one after a change judges again what the
change may have changed: the faults of a changed module, those noticed by a page or a file of tests
that has changed, and after any change to these those that nobody noticed. Who noticed a fault
before is asked first.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutation.by_pages import PRELOADED
from mutation.lists import EQUIVALENT, PACKAGE, ROOT, Listed, equivalent, named
from mutation.mutants import Mutant, Mutants
from mutation.pages_jury import Exhibit, exhibits, measured, showing
from mutation.pages_jury import judged as judged_by_pages
from mutation.plant import module_name
from mutation.tests_jury import (
    CONFTEST,
    FILES,
    Evidence,
    digest,
    evidence,
    jury,
    own_files,
    source_of,
)
from mutation.tests_jury import judged as judged_by_tests

CACHE = ROOT / ".cache" / "mutation"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
Answers = Iterator[tuple[Mutant, str | None]]


def main() -> int:
    """Judge the modules that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as _softmax or torch._ring; all if none")
    parser.add_argument("--workers", type=int, default=1, help="faults judged at a time")
    asked = parser.parse_args()
    known = modules()
    for name in asked.modules:
        if name not in (*known, "named"):
            parser.error(f"no module of the package is called {name!r}")
    if not hasattr(os, "fork"):
        print("The mutation check forks a process for each fault, which this platform cannot.")
        return 0
    for name in PRELOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        tempfile.tempdir = folder
        run = Run(asked.workers)
        faults = [run.module(name) for name in asked.modules or known if name != "named"]
        if not asked.modules or "named" in asked.modules:
            faults.append(run.named())
    return 1 if any(faults) else 0


def modules() -> list[str]:
    """Return the modules of the package that hold code, the shortest first."""
    paths = sorted(PACKAGE.rglob("*.py"), key=lambda path: path.stat().st_size)
    return [module_name(path, PACKAGE) for path in paths]


class Run:
    """What all modules of a run share: the jurors, measured when first needed."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._shown: list[Exhibit] | None = None
        self._tests: dict[Path, list[Evidence]] = {}
        self._everyone = digest(*FILES, CONFTEST, *PAGES)

    def module(self, name: str) -> int:
        """Judge one module; print what is wrong, and a summary; return how much is wrong."""
        mutants = Mutants(name, source_of(name))
        faults = [(mutants, mutant) for mutant in mutants]
        if not faults:
            return 0
        start = time.perf_counter()
        kept = self._judged(name, faults)
        wrong = 0
        listed = {key: one for key, one in equivalent().items() if _stands_in(key[0], name)}
        used = set()
        counts = dict.fromkeys(("pages", "tests", "survivors", "listed"), 0)
        for _, mutant in faults:
            witness = kept[_identity(mutant)]
            by = "survivors" if witness is None else _who(witness)
            one = listed.get(mutant.key)
            if one is not None:
                used.add(mutant.key)
                counts["listed"] += 1
                complaint = _complaint(one, by, witness)
            else:
                counts[by] += 1
                complaint = "nobody notices" if by == "survivors" else None
            if complaint is not None:
                wrong += 1
                _print(complaint, *mutant.key)
        for key in set(listed) - used:
            wrong += 1
            _print(f"{EQUIVALENT.name}: no such fault any more", *key)
        print(
            f"{name}: {len(faults)} faults: {counts['pages']} noticed by pages, "
            f"{counts['tests']} by tests, {counts['survivors']} by nobody, "
            f"{counts['listed']} listed; {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        return wrong

    def named(self) -> int:
        """Judge the faults that people make; print who notices each."""
        every = list(named())
        kept = self._judged("named", [(mutants, mutant) for _, mutants, mutant in every])
        wrong = 0
        for name, _, mutant in every:
            witness = kept[_identity(mutant)]
            wrong += witness is None
            print(f"{name}: " + (f"noticed by {witness}" if witness else "NOBODY NOTICES"))
        print(f"{len(every)} faults that people make, {wrong} noticed by nobody; those that the")
        print("kit must call by name in the code of others are in tests/test_testing_faults.py")
        return wrong

    def _judged(self, name: str, faults: list[tuple[Mutants, Mutant]]) -> dict[str, str | None]:
        """Return who notices each fault. What is kept is used as far as it still holds."""
        path = CACHE / "results" / f"{name}.json"
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        kept: dict[str, str | None] = {}
        former: dict[str, str] = {}
        for _, mutant in faults:
            identity = _identity(mutant)
            witness, before = record.get(identity, (None, None))
            if before == self._holds(mutant, witness):
                kept[identity] = witness
            elif witness is not None:
                former[identity] = witness
        waiting = [case for case in faults if _identity(case[1]) not in kept]
        for mutant, witness in self._ask(waiting, former):
            kept[_identity(mutant)] = witness
            record[_identity(mutant)] = witness, self._holds(mutant, witness)
            _write(path, record)
        return kept

    def _ask(self, faults: list[tuple[Mutants, Mutant]], former: dict[str, str]) -> Answers:
        if not faults:
            return
        left = {id(mutant): (mutants, mutant) for mutants, mutant in faults}
        own = sorted({path for mutants, _ in left.values() for path in own_files(mutants.module)})
        others = [path for path in FILES if path not in own]
        before = {name.partition("::")[0] for name in former.values()}
        known = [path for path in FILES if f"tests/{path.name}" in before]

        def as_before(mutant: Mutant, jurors: list[Any]) -> list[Any]:
            return [one for one in jurors if one.name == former.get(_identity(mutant))]

        def tests(files: list[Path], choose: Any = jury) -> Answers:
            waiting = list(left.values())
            return judged_by_tests(waiting, self._evidence(files), self._workers, choose)

        def pages(choose: Any = showing) -> Answers:
            return judged_by_pages(list(left.values()), self._exhibits(), self._workers, choose)

        # Its own tests are the quickest, and notice most.
        for ask in (
            lambda: tests(known, as_before),
            lambda: pages(as_before),
            lambda: tests(own),
            pages,
            lambda: tests(others),
        ):
            for mutant, witness in ask():
                if witness is not None:
                    del left[id(mutant)]
                    yield mutant, witness
            if not left:
                return
        yield from ((mutant, None) for _, mutant in left.values())

    def _holds(self, mutant: Mutant, witness: str | None) -> str:
        """Return what has to stay as it is for a kept answer to hold."""
        source = source_of(mutant.module)
        if witness is None:
            return digest(source) + self._everyone
        name = witness.partition(":")[0]
        return digest(source, ROOT / name) if name.endswith((".md", ".py")) else digest(source)

    def _exhibits(self) -> list[Exhibit]:
        if self._shown is None:
            path = CACHE / "pages" / digest(*PAGES, *sorted(PACKAGE.rglob("*.py")))
            if not path.exists():
                print("measuring which lines the pages run", flush=True)
                passed, failed = measured()
                if failed:
                    print("These fail without any fault, and judge none:", *failed, sep="\n  ")
                path.parent.mkdir(parents=True, exist_ok=True)
                for old in path.parent.iterdir():
                    old.unlink()
                path.write_bytes(pickle.dumps({x.name: (x.seconds, x.lines) for x in passed}))
            known = pickle.loads(path.read_bytes())
            self._shown = [exhibit for exhibit in exhibits(ROOT) if exhibit.name in known]
            for exhibit in self._shown:
                exhibit.seconds, exhibit.lines = known[exhibit.name]
        return self._shown

    def _evidence(self, files: list[Path]) -> list[Evidence]:
        for path in files:
            if path not in self._tests:
                self._tests[path] = evidence(path, CACHE / "tests")
        return [test for path in files for test in self._tests[path]]


def _identity(mutant: Mutant) -> str:
    return "\n".join((*mutant.key, str(mutant.lines.start)))


def _write(path: Path, record: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(record), encoding="utf-8")
    new.replace(path)


def _who(witness: str) -> str:
    return "tests" if witness.startswith(("tests/", "importing the tests")) else "pages"


def _stands_in(function: str, module: str) -> bool:
    return function == module or function.startswith(f"{module}.")


def _complaint(listed: Listed, by: str, witness: str | None) -> str | None:
    expected = "tests" if listed.tests_notice else "survivors"
    if by == expected:
        return None
    if by == "survivors":
        return f"{EQUIVALENT.name} says that the tests notice, and nobody does"
    return f"{EQUIVALENT.name} says that it goes unnoticed, and here it does not: {witness}"


def _print(complaint: str, function: str, before: str, after: str) -> None:
    print(f"\n{function}: {complaint}\n  - {before}\n  + {after}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
