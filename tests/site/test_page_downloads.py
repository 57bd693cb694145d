"""Each page with code links its notebook and its script, which are there and are named after it."""

from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from pages.parse import parse_file
from pages.rendered import built_file

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_a_page_links_its_downloads_if_it_has_blocks(source: Path, site: Path) -> None:
    built = built_file(site, source.relative_to(DOCS))
    page = BeautifulSoup(built.read_text(encoding="utf-8"), "html.parser")
    links = [built.parent / str(link["href"]) for link in page.select("p.downloads a[download]")]
    blocks = parse_file(source, ROOT).blocks
    assert [link.name for link in links] == (
        [f"{source.stem}.ipynb", f"{source.stem}.py"] if blocks else []
    )
    if blocks:
        shown = nbformat.read(links[0], as_version=4)
        code = "\n".join(cell.source for cell in shown.cells if cell.cell_type == "code")
        assert blocks[0].code.rstrip("\n") in code
        compile(links[1].read_text(encoding="utf-8"), links[1].name, "exec")
