"""Light colours, dark ones, or the system's: from the first paint on, and as the reader chooses."""

from functools import partial

import pytest
from playwright.sync_api import Browser, Page

from browser.conftest import Watched, watch
from browser.reader import WITHOUT_STORAGE, follow, published_here

PAPER = {"light": "rgb(253, 252, 250)", "dark": "rgb(20, 25, 26)"}
SCRIPTS = ("**/assets/javascripts/*.js", "**/assets/web/*.js")


def shown(page: Page) -> str:
    """Return which colours a page has: its paper's, and those of what the browser draws."""
    paper, root = page.evaluate(
        "[document.body, document.documentElement].map(one => getComputedStyle(one))"
        ".map((style, number) => number ? style.colorScheme : style.backgroundColor)"
    )
    (name,) = (name for name, colour in PAPER.items() if colour == paper)
    assert root == name
    return name


def shown_with_bar(page: Page) -> str:
    """Return which colours a page and the browser's own bar have."""
    name = shown(page)
    (colour,) = page.locator("meta[name=theme-color]").evaluate_all(
        "all => all.map(one => one.content)"
    )
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    assert f"rgb({red}, {green}, {blue})" == PAPER[name]
    return name


@pytest.mark.parametrize("system", PAPER)
def test_the_first_paint_has_the_colours_of_the_system(
    system: str, browser: Browser, home: str
) -> None:
    with watch(browser, home, color_scheme=system) as watched:
        for scripts in SCRIPTS:
            watched.context.route(scripts, lambda route: route.abort())
        page = watched.context.new_page()
        page.goto(f"{home}learn/softmax/", wait_until="domcontentloaded")
        assert shown(page) == system
        assert not page.locator("button.colours").is_visible()


def test_the_reader_chooses_and_it_is_kept(watched: Watched, home: str) -> None:
    watched.context.route("**/sitemap.xml", partial(published_here, home))
    page = watched.context.new_page()
    page.goto(f"{home}learn/softmax/")
    button = page.get_by_role("button", name="Use light colours")
    button.focus()
    labels = []
    for _ in range(3):
        labels.append((page.evaluate("document.activeElement.ariaLabel"), shown_with_bar(page)))
        page.keyboard.press("Enter")
    assert labels == [
        ("Use light colours", "light"),
        ("Use dark colours", "light"),
        ("Follow the system's colours", "dark"),
    ]
    for _ in range(2):
        page.keyboard.press("Enter")
    assert shown_with_bar(page) == "dark"
    # The theme brings the head of the next page, a reload nothing but what was kept.
    follow(page, f"{home}learn/scaled-dot-product/")
    page.wait_for_selector("article:not([data-old])", state="attached")
    assert page.title().startswith("Scaled dot-product")
    assert shown_with_bar(page) == "dark"
    page.reload()
    assert shown_with_bar(page) == "dark"
    page.get_by_role("button", name="Follow the system's colours").click()
    assert shown_with_bar(page) == "light"
    page.reload()
    assert page.get_by_role("button", name="Use light colours").is_visible()


def test_the_system_may_change_its_mind(watched: Watched, home: str) -> None:
    page = watched.context.new_page()
    page.goto(f"{home}learn/softmax/")
    button = page.get_by_role("button", name="Use light colours")
    button.wait_for()
    page.emulate_media(color_scheme="dark")
    assert shown_with_bar(page) == "dark"
    button.click()
    assert shown_with_bar(page) == "light"
    page.emulate_media(color_scheme="light")
    page.emulate_media(color_scheme="dark")
    assert shown_with_bar(page) == "light"


def test_without_storage_the_choice_lasts_as_long_as_the_page(watched: Watched, home: str) -> None:
    watched.context.add_init_script(WITHOUT_STORAGE)
    page = watched.context.new_page()
    page.goto(f"{home}contribute/style/")
    assert shown_with_bar(page) == "light"
    for name in ("Use light colours", "Use dark colours"):
        page.get_by_role("button", name=name).click()
    assert shown_with_bar(page) == "dark"
    watched.errors.clear()  # the theme's own scripts ask for the storage too
