"""What other tools make of the pages in `cases`. Run as `python -m pages.others`, prints a table.

Each tool runs each page in a pytest session of its own, set up as its documentation says.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pages.cases import CASES, Case
from pages.check import PageError, check
from pages.parse import parse
from pages.run import Runner

SYBIL = """
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil([PythonCodeBlockParser(), SkipParser()], pattern="*.md").pytest()
"""
EXAMPLES = """
import os

import pytest
from pytest_examples import find_examples


@pytest.mark.parametrize("example", find_examples(os.environ["PAGE"]), ids=str)
def test_example(example, eval_example):
    eval_example.run(example)
"""
ENDS = ", and ends the run"
TOOLS = ("this engine", "pytest-codeblocks", "Sybil", "pytest-examples")
_ALONE = "no:cacheprovider", "no:xdist", "no:hypothesispytest", "no:jaxtyping"


class _Counter:
    """Counts what a pytest session did."""

    def __init__(self) -> None:
        self.ran = 0
        self.noticed = 0
        self.crashed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran += report.when == "call"
        self.noticed += report.failed

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.noticed += report.failed

    def pytest_internalerror(self) -> None:
        self.crashed = True


def _session(folder: Path, *arguments: str) -> str:
    counter = _Counter()
    plugins = [part for name in _ALONE for part in ("-p", name)]
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        ended = pytest.main([*arguments, "-q", f"--rootdir={folder}", *plugins], plugins=[counter])
    if counter.crashed or (ended == pytest.ExitCode.INTERRUPTED and not counter.noticed):
        return f"fails{ENDS}"
    if counter.noticed:
        return "fails"
    return "**passes**" if counter.ran else "**sees no block**"


def _ours(case: Case, runner: Runner) -> str:
    page = parse(case.page.encode(), Path("docs/case.md"), "docs/case.md")
    if page.problems:
        return f"refuses line {page.problems[0].lineno}"
    for block in page.blocks:
        try:
            differences = check(runner, page, block)
        except PageError as error:
            return f"fails at line {str(error).split(':')[1]}"
        if differences:
            return f"fails at line {differences[0].line}"
    return "**passes**"


def _tools(folder: Path) -> dict[str, Callable[[Path, Case], str]]:
    runner = Runner()
    sybil, examples = folder / "sybil", folder / "examples"
    for one, name, source in (
        (sybil, "conftest.py", SYBIL),
        (examples, "test_examples.py", EXAMPLES),
    ):
        one.mkdir()
        (one / name).write_text(source)

    def by_sybil(path: Path, case: Case) -> str:
        page = sybil / path.name
        page.write_bytes(path.read_bytes())
        return _session(sybil, str(page))

    def by_examples(path: Path, case: Case) -> str:
        os.environ["PAGE"] = str(path)
        sys.modules.pop("test_examples", None)
        return _session(examples, str(examples))

    return {
        "this engine": lambda path, case: _ours(case, runner),
        "pytest-codeblocks": lambda path, case: _session(folder, str(path), "--codeblocks"),
        "Sybil": by_sybil,
        "pytest-examples": by_examples,
    }


def results() -> Iterator[tuple[Case, list[str]]]:
    """Yield each case with what each tool did."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools = _tools(folder)
        for number, case in enumerate(CASES):
            path = folder / f"case{number}.md"
            path.write_bytes(case.page.encode())
            yield case, [tools[tool](path, case) for tool in TOOLS]


def section() -> str:
    """Return the results in Markdown: how many faults go unnoticed, and all of them, folded."""
    rows = []
    silent = dict.fromkeys(TOOLS, 0)
    for case, verdicts in results():
        for tool, verdict in zip(TOOLS, verdicts, strict=True):
            silent[tool] += "**" in verdict
        rows.append(f"| {case.what} | {' | '.join(verdicts)} |")
    header = f"| the page shows | {' | '.join(TOOLS)} |"
    rule = f"|{' --- |' * (1 + len(TOOLS))}"
    counts = " | ".join(str(silent[tool]) for tool in TOOLS)
    table = "\n".join(f"    {row}" for row in (header, rule, *rows))
    return (
        f"| of {len(rows)} faults | {' | '.join(TOOLS)} |\n{rule}\n| go unnoticed | {counts} |\n\n"
        f'??? note "All {len(rows)} pages"\n\n{table}\n'
    )


if __name__ == "__main__":
    print(section(), end="")
