"""Whether a page notices a changed digit of its outputs, and of its figures."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pages.check import check
from pages.model import Block, Page
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
