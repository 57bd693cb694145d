"""The built site shows the code that the parser read: MkDocs', Zensical's, and hostile pages'."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import markdown
import pytest
import yaml

import attention_ref
from attention_docs.mathml import LatexError
from pages import hostile
from pages.model import Page
from pages.parse import parse, parse_file
from pages.rendered import check_site, compare, doctested, pre_texts

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = ("docs", "src", "overrides", "mkdocs.yml")


def run(*command: str, folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        pytest.fail(f"{' '.join(command)}:\n{ended.stdout}{ended.stderr}", pytrace=False)


def changed_after(file: Path) -> bool:
    """Tell whether anything that the site is built from is newer than `file`."""
    files = (
        one
        for name in SOURCES
        for one in (ROOT / name, *(ROOT / name).rglob("*"))
        if one.is_file() and one.suffix != ".pyc"
    )
    return any(one.stat().st_mtime > file.stat().st_mtime for one in files)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`site/` if `make site` left it complete and nothing changed since; else one built here."""
    last = ROOT / "site" / "llms.txt"
    if last.exists() and not changed_after(last):
        return last.parent
    built = tmp_path_factory.mktemp("built") / "site"
    run("mkdocs", "build", "--strict", "--site-dir", str(built), folder=ROOT)
    return built


def test_each_page_shows_the_code_that_was_parsed(site: Path) -> None:
    assert list(check_site(ROOT, site, doctested(attention_ref))) == []


def test_zensical_shows_the_same_code(tmp_path: Path) -> None:
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    run("zensical", "build", folder=tmp_path)
    site = tmp_path / "site"
    assert list(check_site(tmp_path, site, doctested(attention_ref))) == []
    # What it cannot do, as of 0.0.73; docs/contribute/how-pages-are-tested.md lists these.
    assert list(site.rglob("notebooks/**/*.html")) == [], "it has mkdocs-jupyter now"
    assert not (site / "llms.txt").exists(), "it has hooks now"


@pytest.fixture(scope="module")
def renderer() -> markdown.Markdown:
    """The site's own Markdown."""
    settings = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader=_AnyTag)
    extensions: dict[str, dict[str, Any]] = {}
    for one in settings["markdown_extensions"]:
        extensions |= one if isinstance(one, dict) else {one: {}}
    return markdown.Markdown(extensions=list(extensions), extension_configs=extensions)


class _AnyTag(yaml.SafeLoader):
    """Reads what mkdocs.yml writes for MkDocs alone as None."""


_AnyTag.add_multi_constructor("", lambda loader, suffix, node: None)


def rendered(renderer: markdown.Markdown, page: Page) -> str:
    text = "\n".join(page.lines)
    renderer.reset()
    return str(renderer.convert(re.sub(r"\A---\n.*?\n(---|\.\.\.)\n", "", text, flags=re.DOTALL)))


def test_no_hostile_page_hides_code(renderer: markdown.Markdown) -> None:
    with_code = 0
    for seed in range(10_000):
        text = hostile.page(Random(seed))
        page = parse(text.encode(), Path("docs/x.md"), f"hostile page {seed}")
        if page.problems:
            continue
        with contextlib.suppress(LatexError):  # the site refuses to be built
            html = rendered(renderer, page)
            with_code += bool(page.fences)
            assert compare(page, html) is None, text
    assert with_code > 500


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<pre><code>a &lt; b\n</code></pre>", ["a < b\n"]),
        ("<pre>a<br>b</pre>", ["a\nb"]),
        ('<table><td class="linenos"><pre>1</pre></td><td><pre>x</pre></td></table>', ["x"]),
        ("<p><img src=x><pre>a</pre><p>b<pre>c</pre>", ["a", "c"]),
        ('<pre><span></span><a href="#x"></a><span>x</span> = 1</pre>', ["x = 1"]),
    ],
)
def test_what_a_reader_sees_of_a_pre(html: str, shown: list[str]) -> None:
    assert [pre.text for pre in pre_texts(html)] == shown


def test_the_oracle_sees_each_kind_of_difference(renderer: markdown.Markdown) -> None:
    page = parse(b"```python\nx\n```\n\n```json\n{}\n```\n", Path("docs/x.md"), "docs/x.md")
    html = rendered(renderer, page)
    assert compare(page, html) is None
    for wrong in (
        html.replace("{}", "{ }"),
        html.replace("<pre>", "<div>").replace("</pre>", "</div>"),
        f"{html}<pre>more</pre>",
        f'{html}<div class="doc doc-object"><pre>&gt;&gt;&gt; 1</pre></div>',
    ):
        assert compare(page, wrong)
    example = f'{html}<div class="doc doc-object"><pre>&gt;&gt;&gt; 1</pre></div>'
    assert compare(page, example, frozenset({">>> 1"})) is None


def test_a_page_and_a_built_file_need_each_other(tmp_path: Path) -> None:
    for name in ("docs/a.md", "docs/index.md", "site/index.html", "site/b/index.html"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list(check_site(tmp_path, tmp_path / "site", frozenset())) == [
        "docs/a.md is not in the built site",
        "b/index.html is made from no page",
    ]


def test_each_figure_is_drawn_by_one_block() -> None:
    drawn: Counter[Path] = Counter()
    for path in DOCS.rglob("*.md"):
        for block in parse_file(path, ROOT).blocks:
            drawn.update(figure.path.resolve() for figure in block.figures)
    files = set((DOCS / "assets" / "figures").resolve().iterdir())
    assert files == set(drawn)
    assert [path.name for path, times in drawn.items() if times > 1] == []
