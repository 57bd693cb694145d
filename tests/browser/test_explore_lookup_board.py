"""The lookup board by keyboard, by pointer, by touch, by link, and without scripts."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from browser.conftest import Watched, watch
from browser.reader import Visit, python_workers, start_explorer, wait_until
from pages.test_explore_lookup_board import FIRST, board

__all__ = ["board"]  # a fixture
ADDRESS = "explore/lookup-board/"
FOCUS = """(({ activeElement: one }) =>
  one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent ?? one.textContent)(document)"""


def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    for _ in range(80):
        if page.evaluate(FOCUS) == name:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not reach {name!r}")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def number(x: float, decimals: int) -> str:
    if x != 0 and abs(x) < 0.5 * 10**-decimals:
        return f"{x:.1e}".replace("e-0", "e-")
    return f"{x:.{decimals}f}"


def expected(answer: dict[str, Any], asked: dict[str, Any], names: str) -> list[str]:
    """What stands beside the picture: a line a key, and the four numbers above them."""
    weights = answer["weights"]
    most = max(weights)
    rows = zip(names, asked["keys"], asked["values"], answer["scores"], weights, strict=True)
    return [
        *(
            f"{name} {x:.1f} {y:.1f} {value} {number(score, 2)} {number(weight, 3)}"
            for name, (x, y), value, score, weight in rows
        ),
        f"{answer['output']:.2f}",
        f"{most:.3f} ({names[weights.index(most)]})",
        f"{number(answer['entropy'], 2)} of {answer['most_entropy']:.2f}",
        number(answer["jacobian"], 2),
    ]


SHOWN = """() => [
  ...[...document.querySelectorAll("lookup-board tbody tr")].map(row =>
    [...row.children].slice(0, 6).map(cell => cell.textContent).join(" ")),
  ...[...document.querySelectorAll("lookup-board dd")].map(one => one.textContent),
]"""


def shows(page: Page, board: Any, asked: dict[str, Any], names: str) -> None:
    """Wait until the board shows what `answer` gives in this Python."""
    answer = board.answer(asked)
    lines = expected(answer, asked, names)
    try:
        wait_until(page, f"lines => ({SHOWN})().join('|') === lines", "|".join(lines))
    except AssertionError:
        assert page.evaluate(SHOWN) == lines
    labels = page.locator("lookup-board text.key").all_text_contents()
    weights = zip(names, answer["weights"], strict=True)
    assert labels == [f"{name} {weight:.2f}" for name, weight in weights]
    output = page.locator("lookup-board .output text").text_content()
    assert output == f"output {answer['output']:.2f}"


def test_by_keyboard_alone(visit: Visit, board: Any) -> None:
    page = visit(ADDRESS)
    assert page.locator("lookup-board").count() == 0
    assert python_workers(page) == []
    tab_to(page, "Start")
    page.keyboard.press("Enter")
    page.locator("lookup-board").wait_for(timeout=180_000)
    shows(page, board, FIRST, "ABCD")
    assert page.locator(".explorer figure").is_hidden()
    assert page.evaluate(FOCUS) == "Query"
    assert page.locator(":focus").evaluate("one => one.matches(':focus-visible')")

    press(page, "ArrowLeft", "ArrowUp", "Shift+ArrowUp", "Shift+ArrowUp")
    asked = FIRST | {"query": [0.9, 1.7]}
    shows(page, board, asked, "ABCD")
    page.wait_for_timeout(700)
    heard = page.locator("lookup-board [role=status]").text_content()
    assert heard is not None
    assert heard.startswith(f"Output {board.answer(asked)['output']:.2f}. Weights: A ")

    press(page, *["Shift+ArrowUp"] * 3, *["ArrowDown"] * 4)  # no farther than the edge
    asked["query"] = [0.9, 1.6]
    tab_to(page, "Value of C", "Shift+Tab")
    press(page, "ArrowLeft", "Shift+ArrowLeft")
    asked["values"] = [2, 9, 15, 14]
    shows(page, board, asked, "ABCD")
    tab_to(page, "Key B", "Shift+Tab")
    press(page, "Delete")
    asked |= {"keys": [[0, 1], [0, -1], [-1, 0]], "values": [2, 15, 14]}
    shows(page, board, asked, "ACD")
    assert page.evaluate(FOCUS) == "Query"

    tab_to(page, "Temperature, T")
    press(page, "ArrowLeft")
    tab_to(page, "Entries of a vector, d_k")
    press(page, "End")
    tab_to(page, "Divide the scores by √dk")
    press(page, "Space")
    asked |= {"temperature": 0.7, "d_k": 2048, "scaled": False}
    shows(page, board, asked, "ACD")
    tab_to(page, "Add a key")
    press(page, "Enter")
    assert page.evaluate(FOCUS) == "Key B"
    asked |= {"keys": [[0, 1], [0.2, 0.2], [0, -1], [-1, 0]], "values": [2, 12, 15, 14]}
    shows(page, board, asked, "ABCD")
    tab_to(page, "Start again")
    press(page, "Enter")
    shows(page, board, FIRST, "ABCD")


def middle(page: Page, label: str) -> tuple[float, float]:
    box = page.get_by_label(label, exact=True).locator(".reach").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def unit(page: Page) -> float:
    """How many px of the screen are 1 in the plane."""
    return float(page.evaluate("document.querySelector('lookup-board svg').getScreenCTM().a")) * 74


def test_by_pointer_and_by_link(visit: Visit, watched: Watched, home: str, board: Any) -> None:
    page = visit(ADDRESS)
    start_explorer(page)
    x, y = middle(page, "Query")
    page.mouse.move(x + 3, y - 2)
    page.mouse.down()
    page.mouse.move(x, y + unit(page), steps=5)
    page.mouse.up()
    page.mouse.move(x, y)  # let go: no longer held
    x, y = middle(page, "Value of D")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 5000, y)
    page.mouse.up()
    page.get_by_role("button", name="Remove A").click()
    asked = FIRST | {"query": [1.0, -0.4], "keys": FIRST["keys"][1:], "values": [9, 21, 24]}
    shows(page, board, asked, "BCD")

    page.locator(".explorer > .run-bar").get_by_text("Share", exact=True).click()
    wait_until(page, "document.querySelector('.run-status').textContent.startsWith('Copied')")
    link = str(page.evaluate("navigator.clipboard.readText()"))
    assert link.startswith(f"{home}{ADDRESS}#lookup-board?")
    page.close()

    page = watched.context.new_page()
    page.goto(link)
    wait_until(page, "document.querySelector('.run-status')?.textContent.includes('link')")
    page.wait_for_timeout(1000)
    assert python_workers(page) == []
    start_explorer(page)
    shows(page, board, asked, "BCD")
    page.close()


@pytest.mark.parametrize("bad", ["q=9,9&A=0,1,2&T=1&d_k=2&scaled=1", "A=&q=<b>,&T=%"])
def test_a_broken_link_shows_the_first_board(bad: str, visit: Visit, home: str) -> None:
    page = visit(f"{ADDRESS}#lookup-board?{bad}")
    start_explorer(page)
    assert page.locator("lookup-board tbody tr").count() == 4
    assert page.locator("lookup-board dd").first.text_content() == "8.92"


def test_by_touch_on_a_phone(browser: Browser, home: str, board: Any) -> None:
    with watch(browser, home, has_touch=True, color_scheme="dark") as watched:
        page = watched.context.new_page()
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(f"{home}{ADDRESS}")
        page.wait_for_selector(".run-bar")
        page.locator(".explorer > .run-bar .run-main").tap()
        page.wait_for_selector("lookup-board:not([hidden])", timeout=180_000)
        page.locator("lookup-board svg").scroll_into_view_if_needed()
        x, y = middle(page, "Key A")
        scrolled = page.evaluate("scrollY")
        touch = page.context.new_cdp_session(page)
        steps = [("touchStart", 0), ("touchMove", 0.3), ("touchMove", 0.5)]
        for kind, moved in steps:
            points = [{"x": x, "y": y + moved * unit(page)}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        keys = [[0, 0.5], *FIRST["keys"][1:]]
        shows(page, board, FIRST | {"keys": keys}, "ABCD")
        assert page.evaluate("scrollY") == scrolled  # the finger moved the key, not the page
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert (watched.elsewhere, watched.errors) == ([], [])


def test_without_scripts_figure_and_table_stand(browser: Browser, home: str, board: Any) -> None:
    with watch(browser, home, java_script_enabled=False) as watched:
        page = watched.context.new_page()
        page.goto(f"{home}{ADDRESS}")
        place = page.locator(".explorer")
        assert place.locator("figure img").is_visible()
        table = place.locator("pre").last.text_content() or ""
        for weight in board.answer(FIRST)["weights"]:
            assert f"{weight:.3f}" in table
        assert page.get_by_text("Start", exact=True).count() == 0
    assert (watched.elsewhere, watched.errors) == ([], [])
