"""The Content-Security-Policy of every page: it is there first, and allows no more than it says."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from attention_docs.policy import inline_scripts, policy

# What the theme writes into its pages, by how it starts; and ours, which sets the colours.
THEMES_OWN = ("__md_scope=", "var tabs=", "var target=", "document.querySelector")
OURS = '{\n  let choice = "system";'


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, str]:
    files = sorted(site.rglob("*.html"))
    assert len(files) > 20
    return {file.relative_to(site).as_posix(): file.read_text("utf-8") for file in files}


def test_every_page_has_the_same_policy_before_anything_that_loads(pages: dict[str, str]) -> None:
    policies = set()
    for name, html in pages.items():
        soup = BeautifulSoup(html, "html.parser")
        (meta,) = soup.select('head > meta[http-equiv="Content-Security-Policy"]')
        assert meta.find_previous(["script", "link", "style"]) is None, name
        policies.add(str(meta["content"]))
    (only,) = policies
    assert only == policy({one for html in pages.values() for one in inline_scripts(html)})


def test_inline_scripts_are_the_themes_and_one(pages: dict[str, str]) -> None:
    scripts = {one for html in pages.values() for one in inline_scripts(html)}
    (ours,) = (one for one in scripts if not one.startswith(THEMES_OWN))
    assert ours.startswith(OURS)
    assert len(scripts) < 9  # one of them names the way to the home page, which has some forms


def test_no_element_brings_a_script_as_an_attribute(pages: dict[str, str]) -> None:
    for name, html in pages.items():
        soup = BeautifulSoup(html, "html.parser")
        handlers = [key for one in soup.find_all(True) for key in one.attrs if key.startswith("on")]
        assert handlers == [], name
        assert soup.select('[href^="javascript:"]') == [], name


def test_scripts_are_found_as_a_browser_finds_them() -> None:
    html = '<script>a</script><script src="b"></script><script type="module" src="c"></script>'
    html += '<script id="d" type="application/json">{}</script><script async>e\nf</script>'
    assert inline_scripts(html) == ["a", "e\nf"]
    assert re.findall(r"script-src ([^;]*)", policy({"a"})) == [
        "'self' 'wasm-unsafe-eval' 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='"
    ]


def test_workers_come_from_the_site_alone() -> None:
    assert re.findall(r"worker-src ([^;]*)", policy(set())) == ["'self'"]
