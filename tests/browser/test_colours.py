"""Light colours, dark ones, or the system's: from the first paint on, and as the reader chooses."""

import pytest
from playwright.sync_api import Browser, Page

from browser.conftest import Watched, watch
from browser.reader import wait_until

PAPER = {"light": "rgb(253, 252, 250)", "dark": "rgb(20, 25, 26)"}
SCRIPTS = ("**/assets/javascripts/*.js", "**/assets/web/*.js")


def shown(page: Page) -> str:
    """Return which colours a page has: its paper's, those of what the browser draws, of its bar."""
    paper, root, bar = page.evaluate(
        """() => [
             getComputedStyle(document.body).backgroundColor,
             getComputedStyle(document.documentElement).colorScheme,
             [...document.querySelectorAll("meta[name=theme-color]")]
               .filter(meta => matchMedia(meta.media).matches).map(meta => meta.content),
           ]"""
    )
    (name,) = (name for name, colour in PAPER.items() if colour == paper)
    assert (root == "dark") == (name == "dark")
    assert [
        f"rgb({int(one[1:3], 16)}, {int(one[3:5], 16)}, {int(one[5:], 16)})" for one in bar
    ] == [paper]
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
    page = watched.context.new_page()
    page.goto(f"{home}learn/softmax/")
    button = page.get_by_role("button", name="Use light colours")
    button.focus()
    labels = []
    for _ in range(3):
        labels.append((page.evaluate("document.activeElement.ariaLabel"), shown(page)))
        page.keyboard.press("Enter")
    assert labels == [
        ("Use light colours", "light"),
        ("Use dark colours", "light"),
        ("Follow the system's colours", "dark"),
    ]
    for _ in range(2):
        page.keyboard.press("Enter")
    assert shown(page) == "dark"
    # The theme brings the head of the next page, a reload nothing but what was kept.
    page.locator("nav a[href$='/learn/scaled-dot-product/']:visible").first.click()
    page.wait_for_url("**/learn/scaled-dot-product/")
    wait_until(page, "document.title.startsWith('Scaled dot-product')")
    assert shown(page) == "dark"
    page.reload()
    assert shown(page) == "dark"
    page.get_by_role("button", name="Follow the system's colours").click()
    assert shown(page) == "light"
    page.reload()
    assert page.get_by_role("button", name="Use light colours").is_visible()


def test_the_system_may_change_its_mind(watched: Watched, home: str) -> None:
    page = watched.context.new_page()
    page.goto(f"{home}learn/softmax/")
    button = page.get_by_role("button", name="Use light colours")
    button.wait_for()
    page.emulate_media(color_scheme="dark")
    assert shown(page) == "dark"
    button.click()
    assert shown(page) == "light"
    page.emulate_media(color_scheme="light")
    page.emulate_media(color_scheme="dark")
    assert shown(page) == "light"


def test_without_storage_the_choice_lasts_as_long_as_the_page(watched: Watched, home: str) -> None:
    watched.context.add_init_script(
        """Object.defineProperty(window, "localStorage", {
             get() { throw new DOMException("denied", "SecurityError"); },
           });"""
    )
    page = watched.context.new_page()
    page.goto(f"{home}contribute/style/")
    assert shown(page) == "light"
    for name in ("Use light colours", "Use dark colours"):
        page.get_by_role("button", name=name).click()
    assert shown(page) == "dark"
    watched.errors.clear()  # the theme's own scripts ask for the storage too
