"""Nothing serious is found by axe, on any page, in either theme, wide and narrow."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.conftest import SITE, Watched, watch
from browser.reader import (
    EXPLORERS,
    Visit,
    await_end,
    edit,
    press,
    run,
    start_explorer,
    wait_until,
)

AXE = Path(__file__).with_name("node_modules") / "axe-core/axe.min.js"
PAGES = sorted(path.relative_to(SITE).parent.as_posix() for path in SITE.rglob("index.html"))
LOOKS = {
    "light and wide": ("light", {"width": 1280, "height": 900}),
    "dark and narrow": ("dark", {"width": 360, "height": 740}),
}


# Each look keeps its page open, so that all its tests run in one process.
@pytest.fixture(
    scope="module",
    params=[pytest.param(look, marks=pytest.mark.xdist_group(look)) for look in LOOKS],
)
def looking(browser: Browser, home: str, request: pytest.FixtureRequest) -> Iterator[Watched]:
    scheme, viewport = LOOKS[request.param]
    with watch(browser, home, color_scheme=scheme) as watched:
        page = watched.context.new_page()
        page.set_viewport_size(viewport)
        yield watched


@pytest.fixture
def page(looking: Watched) -> Iterator[Page]:
    (page,) = looking.context.pages
    size = page.viewport_size
    assert size
    yield page
    page.set_viewport_size(size)


def findings(page: Page) -> list[str]:
    """Return what axe calls serious or critical, with the elements."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {node['html'][:200]}\n{node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def await_buttons(page: Page, path: str) -> None:
    """Wait until the page has all that scripts bring to it."""
    plan = SITE / "assets/run" / f"{'index' if path == '.' else path}.json"
    blocks = json.loads(plan.read_text(encoding="utf-8"))["blocks"] if plan.exists() else []
    expect(page.locator(".language-python > .run-bar")).to_have_count(len(blocks))


def come_near(page: Page) -> None:
    """Have all of the page in the window: a listing takes the keyboard when a reader comes near."""
    size = page.viewport_size
    assert size
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": height})
    # The browser lays out what has come near one or two frames later, and the theme looks then.
    page.evaluate(
        """async () => { for (let frame = 0; frame < 10; frame++)
             await new Promise(requestAnimationFrame); }"""
    )
    # The theme counts the border in.
    known = """() => [...document.querySelectorAll("article pre > code")]
      .every(one => one.scrollWidth <= one.offsetWidth || one.tabIndex === 0)"""
    wait_until(page, known)


def open_all(page: Page) -> None:
    """Open what a reader can open: a closed answer is looked at by nobody."""
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(path: str, looking: Watched, page: Page) -> None:
    page.goto(f"{looking.home}{path}/".replace("/./", "/"))
    await_buttons(page, path)
    open_all(page)
    come_near(page)
    assert findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_what_a_reader_brings_about(
    scheme: str, browser: Browser, home: str
) -> None:
    with watch(browser, home, color_scheme=scheme) as watched:
        page = watched.context.new_page()
        page.goto(f"{home}learn/softmax/")
        page.wait_for_selector(".run-bar")
        run(page, 1)
        edit(page, 1, "import numpy as np\n\n# a comment\nprint('text', 1 / 0)")
        press(page, 1, "Run")
        assert "error" in await_end(page, 1)
        assert findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", EXPLORERS)
def test_axe_finds_nothing_serious_in_a_started_explorer(
    name: str, scheme: str, browser: Browser, home: str
) -> None:
    with watch(browser, home, color_scheme=scheme) as watched:
        page = watched.context.new_page()
        page.goto(f"{home}explore/{name}/")
        start_explorer(page)
        if name == "mask-bench":
            # Queries that see nothing, and all that libraries do with them.
            page.get_by_role("button", name="Start from: Left padding").click()
            page.locator("mask-bench .blind").first.wait_for()
        open_all(page)
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 740})
            come_near(page)
            assert findings(page) == []


def test_axe_sees_what_is_wrong(visit: Visit) -> None:
    page = visit("")
    page.evaluate(
        """() => {
             const text = document.createElement("p");
             text.textContent = "pale";
             text.style.color = "#ccc";
             document.querySelector("article").append(text, document.createElement("button"));
           }"""
    )
    found = "\n".join(findings(page))
    assert "color-contrast" in found
    assert "button-name" in found
