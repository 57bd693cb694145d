"""Every runnable block of every page gives in the browser what the page shows.

One visit reads all pages, one after the other, by the theme's own way from page to page: so Python
starts once, and no page may lean on what another one left behind.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from browser.conftest import Watched, watch
from browser.reader import (
    DOCS,
    ROOT,
    SOURCES,
    address,
    follow,
    plan,
    published_here,
    wait_until,
)
from pages.model import Block
from pages.parse import parse_file

# One visit, in one process.
pytestmark = pytest.mark.xdist_group("every page")
RUNNABLE = [path for path in SOURCES if any(not one["needs"] for one in plan(path)["blocks"])]
ENDS = "^(Live|Stopped)|could not"


@pytest.fixture(scope="module")
def visitor(browser: Browser, home: str) -> Iterator[Watched]:
    with watch(browser, home) as watched:
        watched.context.route("**/sitemap.xml", partial(published_here, home))
        page = watched.context.new_page()
        page.goto(f"{home}contribute/style/")
        page.evaluate("window.started = 'once'")
        yield watched


@pytest.mark.parametrize("source", RUNNABLE, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_block_gives_the_printed_output(source: Path, visitor: Watched, home: str) -> None:
    (page,) = visitor.context.pages
    visitor.errors.clear()
    follow(page, f"{home}{address(source)}")
    page.wait_for_selector("article:not([data-old]) .run-main", state="attached")
    parsed = parse_file(source, ROOT)
    runs = [
        (number, block)
        for number, block in enumerate(parsed.blocks)
        if not plan(source)["blocks"][number]["needs"]
    ]
    assert all("import torch" not in block.code for _, block in runs)
    page.get_by_text("Run all", exact=True).evaluate("button => button.click()")
    wait_until(
        page,
        """([ends, count]) => [...document.querySelectorAll(".run-main")].filter(button =>
             RegExp(ends).test(button.parentElement.querySelector(".run-status").textContent)
           ).length === count""",
        [ENDS, len(runs)],
    )
    came = results(page)
    differences = [
        f"{parsed.name}:{block.lineno}: {came[number]['said']}\n{came[number]['live']}"
        for number, block in runs
        if not came[number]["said"].startswith(
            "Live: equal to the printed" if block.output else "Live: ran without an output"
        )
    ]
    assert differences == [], "\n".join(differences)
    for _, block in runs:
        assert_figures(page, block)
    assert page.evaluate("window.started") == "once"
    assert (visitor.elsewhere, visitor.errors) == ([], [])


def results(page: Page) -> dict[int, dict[str, Any]]:
    """Return what each block's line says, and the live output below it."""
    found = page.locator(".run-bar").evaluate_all(
        """bars => bars.map(bar => [
             Number(bar.getAttribute("aria-label").slice("Block ".length)) - 1,
             {
               said: bar.querySelector(".run-status").textContent,
               live: [...document.querySelectorAll("[data-live=error], [data-live=different]")]
                 .find(one => bar.compareDocumentPosition(one) & 4)?.textContent ?? "",
             },
           ])"""
    )
    return dict(found)


def assert_figures(page: Page, block: Block) -> None:
    for figure in block.figures:
        live = page.evaluate(
            """async name => {
                 const image = document.querySelector(`article img[data-live="${name}"]`);
                 return image ? (await fetch(image.src)).text() : null;
               }""",
            figure.path.name,
        )
        assert live is not None, f"{figure.target} was not drawn"
        assert live.rstrip("\n") == figure.path.read_text(encoding="utf-8").rstrip("\n")
