"""The strict build fails on what a reader would stumble over: each fault is planted once."""

from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort, MkDocsException

ROOT = Path(__file__).parents[2]
GOOD = "# One\n\n## A section\n\n[itself](#a-section) and $x^2$\n"
FAULTS = {
    "a link to no page": "[two](two.md)",
    "a link to no section": "[itself](#another-section)",
    "a link from the root": "[one](/index.md)",
    "a picture that is not there": "![A picture of nothing at all.](nothing.svg)",
}


def strict_build(tmp_path: Path, text: str, **pages: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, content in {"index": text, **pages}.items():
        (docs / f"{name}.md").write_text(content, encoding="utf-8")
    config = load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(docs),
        site_dir=str(tmp_path / "site"),
        nav=[{"Home": "index.md"}],
        plugins=["search"],
        hooks=[],
        strict=True,
    )
    build(config)


def test_a_good_page_builds(tmp_path: Path) -> None:
    strict_build(tmp_path, GOOD)
    html = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert "<msup>" in html


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_stops_the_build(tmp_path: Path, fault: str) -> None:
    with pytest.raises(Abort, match="warnings in strict mode"):
        strict_build(tmp_path, GOOD + FAULTS[fault])


def test_a_page_outside_the_navigation_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(Abort, match="warnings in strict mode"):
        strict_build(tmp_path, GOOD, two="# Two\n")


def test_an_unknown_command_stops_the_build_and_names_the_formula(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises((ValueError, MkDocsException), match=r"\$\\foo\$: unknown command \\foo"):
        strict_build(tmp_path, GOOD + r"$\foo$")
    assert "Error reading page 'index.md'" in caplog.text
