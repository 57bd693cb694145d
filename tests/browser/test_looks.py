"""Pictures of each kind of page, for people to look at: build/screenshots/."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from browser.conftest import ROOT, Watched, watch
from browser.reader import EXPLORERS, start_explorer

PICTURES = ROOT / "build" / "screenshots"
KINDS = ("", "learn/softmax/", "reference/flash/", "notebooks/scaling/", "contribute/style/")
WIDTHS = {"wide": 1280, "narrow": 360}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", KINDS)
def test_a_page_fits_its_window(
    path: str, width: str, scheme: str, browser: Browser, home: str
) -> None:
    with watch(browser, home, color_scheme=scheme) as watched:
        page = watched.context.new_page()
        page.set_viewport_size({"width": WIDTHS[width], "height": 900})
        page.goto(f"{home}{path}", wait_until="networkidle")
        name = path.strip("/").replace("/", "-") or "home"
        picture = Path(PICTURES, f"{name}-{width}-{scheme}.png")
        picture.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=picture, full_page=True)
        # Code, tables and formulas scroll in boxes of their own, the page itself never.
        assert page.evaluate("document.documentElement.scrollWidth") == WIDTHS[width]
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        dark = sum(int(part) for part in paper[4:-1].split(",")) < 3 * 128
        assert dark == (scheme == "dark")


@pytest.mark.parametrize(("path", "width"), [("learn/softmax/", 360), ("reference/cost/", 1280)])
def test_no_name_is_cut(path: str, width: int, watched: Watched, home: str) -> None:
    page = watched.context.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{home}{path}", wait_until="networkidle")
    cut = page.locator(":not(.md-header *).md-ellipsis").evaluate_all(
        "all => all.filter(one => one.offsetWidth < one.scrollWidth).map(one => one.textContent)"
    )
    assert cut == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", EXPLORERS)
def test_a_started_explorer_fits_its_window(
    name: str, width: str, scheme: str, browser: Browser, home: str
) -> None:
    phone = width == "narrow"
    with watch(browser, home, color_scheme=scheme, has_touch=phone, is_mobile=phone) as watched:
        page = watched.context.new_page()
        # All of it is in the window: for a picture beyond it, Chromium would forget the finger.
        page.set_viewport_size({"width": WIDTHS[width], "height": 2400})
        page.goto(f"{home}explore/{name}/")
        explorer = start_explorer(page)
        picture = Path(PICTURES, f"explore-{name}-started-{width}-{scheme}.png")
        picture.parent.mkdir(parents=True, exist_ok=True)
        page.locator(".explorer").screenshot(path=picture)
        assert page.evaluate("document.documentElement.scrollWidth") == WIDTHS[width]
        # Nor is anything of it cut at the side.
        assert explorer.evaluate("one => one.scrollWidth <= one.clientWidth")
