"""The code on pages passes the lint of the package. (`ruff format` reads Markdown by itself.)"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pages.model import Page
from pages.parse import parse_file

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
# A page imports where it needs a name, and calls matrices Q, K and V, as its equations do.
NOT_ON_PAGES = "B905,D,E402,N803,N806,SIM905"


def programs(page: Page) -> list[str]:
    """Write each complete program of a page at the page's own line numbers."""
    chains = [page.program(block) for block in page.blocks]
    continued = {id(block) for chain in chains for block in chain[:-1]}
    found = []
    for chain in chains:
        if id(chain[-1]) not in continued:
            lines = [""] * len(page.lines)
            for block in chain:
                code = block.fence.content.splitlines()
                lines[block.lineno : block.lineno + len(code)] = code
            found.append("\n".join(lines).rstrip() + "\n")
    return found


def lint(folder: Path, root: Path, page: Path) -> list[str]:
    for number, program in enumerate(programs(parse_file(page, root))):
        (folder / f"program_{number}.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=json"]
    config = ["--config", str(ROOT / "docs" / "ruff.toml"), "--ignore", NOT_ON_PAGES]
    ran = subprocess.run(
        [*command, *config, str(folder)], capture_output=True, text=True, check=False
    )
    return sorted(
        {
            f"{page.name}:{fault['location']['row']}: {fault['code']} {fault['message']}"
            for fault in json.loads(ran.stdout)
        }
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_is_clean(tmp_path: Path, page: Path) -> None:
    assert lint(tmp_path, ROOT, page) == []


def test_a_fault_is_found_at_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n\n```python\nimport os\n\nx = [1, 2]\nprint(y)\n```\n", encoding="utf-8"
    )
    (tmp_path / "code").mkdir()
    found = lint(tmp_path / "code", tmp_path, page)
    assert [line.split(" ")[:2] for line in found] == [
        ["page.md:4:", "F401"],
        ["page.md:7:", "F821"],
    ]
