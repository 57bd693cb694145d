"""Whether the documentation notices: a changed digit, a changed figure, a fault in the package."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pages.check import check
from pages.model import Block, Page
from pages.mutants import Mutants, canonical
from pages.parse import parse, parse_file
from pages.run import Outcome, Runner

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


class Recorded:
    """Says again what each block of a page did when it ran."""

    def __init__(self, page: Page) -> None:
        runner = Runner()
        self.outcomes = {block.lineno: runner.run(page, block) for block in page.blocks}
        runner.close()

    def run(self, page: Page, block: Block) -> Outcome:
        return self.outcomes[block.lineno]


def changed(text: str) -> str:
    """Return `text` with its last digit, or else its last letter, replaced by another."""
    *_, last = re.finditer(r"\d" if re.search(r"\d", text) else r"\w", text)
    other = str((int(last[0]) + 1) % 10) if last[0].isdigit() else "#"
    return text[: last.start()] + other + text[last.end() :]


@pytest.mark.slow
@pytest.mark.no_shape_checks
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_output_and_figure_is_compared(path: Path, tmp_path: Path) -> None:
    page = parse_file(path, ROOT)
    recorded = Recorded(page)
    for at, block in enumerate(page.blocks):
        assert check(recorded, page, block) == []
        if block.output is not None and block.output.content.strip():
            lines = list(page.lines)
            inside = slice(block.output.lineno, block.output.end - 1)
            lines[inside] = changed("\n".join(lines[inside])).split("\n")
            wrong = parse("\n".join(lines).encode(), path, page.name)
            assert check(recorded, wrong, wrong.blocks[at]), f"line {block.output.lineno}"
        for figure in block.figures:
            wrong_file = tmp_path / figure.path.name
            wrong_file.write_text(changed(figure.path.read_text(encoding="utf-8")), "utf-8")
            wrong_block = replace(block, figures=[replace(figure, path=wrong_file)])
            assert check(recorded, page, wrong_block), f"line {figure.lineno}"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process for each fault")
def test_each_fault_in_the_package_is_noticed() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pages.mutate"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


SOURCE = '''
LIMIT = 3


def grow(x, axis=-1):
    """Say 1."""
    if x > LIMIT and not axis:
        return f(x + 1, axis=axis)
    x -= 2
    return x * 2
'''


def test_the_standard_faults_are_planted(tmp_path: Path) -> None:
    path = tmp_path / "grow.py"
    path.write_text(SOURCE)
    planted = {(mutant.before, mutant.after) for mutant in Mutants("grow", path)}
    assert planted == {
        ("LIMIT = 3", "LIMIT = 4"),
        ("def grow(x, axis=-1):", "def grow(x, axis=0):"),
        ("def grow(x, axis=-1):", "def grow(x, axis=-2):"),
        ("if x > LIMIT and (not axis):", "if x >= LIMIT and (not axis):"),
        ("if x > LIMIT and (not axis):", "if x <= LIMIT and (not axis):"),
        ("if x > LIMIT and (not axis):", "if x > LIMIT or not axis:"),
        ("if x > LIMIT and (not axis):", "if x > LIMIT and axis:"),
        ("if x > LIMIT and (not axis):", "if not (x > LIMIT and (not axis)):"),
        ("if x > LIMIT and (not axis):", "pass"),
        ("return f(x + 1, axis=axis)", "return f(x - 1, axis=axis)"),
        ("return f(x + 1, axis=axis)", "return f(x + 2, axis=axis)"),
        ("return f(x + 1, axis=axis)", "return f(x + 1)"),
        ("return f(x + 1, axis=axis)", "return None"),
        ("x -= 2", "x += 2"),
        ("x -= 2", "x -= 3"),
        ("x -= 2", "pass"),
        ("return x * 2", "return x / 2"),
        ("return x * 2", "return x * 3"),
        ("return x * 2", "return None"),
    }


def test_planting_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "grow.py"
    path.write_text(SOURCE)
    mutants = Mutants("grow", path)
    first = [mutant.key for mutant in mutants]
    assert [mutant.key for mutant in mutants] == first
    assert len(set(first)) == len(first)


def test_a_statement_is_known_however_it_was_printed() -> None:
    assert canonical("if (x  >  1):") == "if x > 1:"
    assert canonical('y = f("a")') == "y = f('a')"
    assert canonical("def f(x = 1):") == "def f(x=1):"
    assert canonical("pass") == "pass"
