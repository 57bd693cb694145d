"""What holds of each explorer, started: room for a finger, where the keyboard stands, no motion."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from browser.conftest import watch
from browser.reader import EXPLORERS, Visit, start_explorer, wait_until

# A reader who has set as much as a phone must show.
FULL = {
    "lookup-board": "q=2,2&A=0,1,2&B=1,0,9&C=0,-1,21&D=-1,0,14&E=-2,-2,24&T=0.1&d_k=2&scaled=1",
    "mask-bench": "q_len=10&kv_len=10&q_start=-2&mask=and.causal&mask=and.not.documents.2",
    "head-reader": "model=MiniLM&text=cat&layer=0&head=4&shown=handed over&token=2&score=removed",
}
PRESSED = "button, select, input, summary, [role=gridcell], [role=slider]"
# Where a finger may come down: on the ring around a tip, or on the words of a checkbox.
ROOM = """(explorer, pressed) => [
  ...explorer.querySelectorAll(pressed), ...explorer.parentElement.querySelectorAll(".run-bar *")
].filter(one => one.matches(pressed) && one.checkVisibility()).map(one => {
  const at = one.querySelector(".reach") ?? (one.type === "checkbox" ? one.closest("label") : one);
  const { width, height } = at.getBoundingClientRect();
  return [one.getAttribute("aria-label") ?? one.textContent, Math.min(width, height)];
})"""


@pytest.fixture(params=EXPLORERS)
def phone(
    request: pytest.FixtureRequest, browser: Browser, home: str
) -> Iterator[tuple[str, Page]]:
    """An explorer, full and started, on a phone whose owner wants no motion."""
    name = request.param
    with watch(browser, home, has_touch=True, is_mobile=True, reduced_motion="reduce") as watched:
        page = watched.context.new_page()
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(f"{home}explore/{name}/#{name}?{FULL[name]}")
        page.wait_for_selector(".explorer > .run-bar .run-main")
        start_explorer(page)
        yield name, page
        assert (watched.elsewhere, watched.errors) == ([], [])


def test_all_of_it_fits_a_phone_and_a_finger(phone: tuple[str, Page]) -> None:
    name, page = phone
    shown: list[tuple[str, float]] = page.locator(name).evaluate(ROOM, PRESSED)
    assert len(shown) > 10
    assert [(label, room) for label, room in shown if room < 24] == []
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    # What stands beside its own box is cut where the window ends.
    outside = page.locator(name).evaluate(
        """explorer => [...explorer.querySelectorAll("svg text, select, button, th, td, output, p")]
             .filter(one => one.checkVisibility() && !one.closest(".scroll, pre, .heard"))
             .filter(one => {
               const { left, right } = one.getBoundingClientRect();
               const own = explorer.getBoundingClientRect();
               return left < own.left - 1 || right > own.right + 1;
             })
             .map(one => one.outerHTML)"""
    )
    assert outside == []


def test_nothing_moves_by_itself_where_no_motion_is_wanted(phone: tuple[str, Page]) -> None:
    name, page = phone
    page.locator(name).locator("button:enabled, summary").locator("visible=true").last.tap()
    page.keyboard.press("ArrowUp")
    lasting = page.evaluate(
        """() => document.getAnimations().map(one => one.effect.getComputedTiming().duration)
          .filter(ms => ms > 1)"""
    )
    assert lasting == []


@pytest.mark.parametrize("name", EXPLORERS)
def test_the_keyboard_stands_on_what_is_moved_first(name: str, visit: Visit) -> None:
    page = visit(f"explore/{name}/")
    page.locator(".explorer > .run-bar .run-main").focus()
    page.keyboard.press("Enter")
    page.locator(name).wait_for(timeout=180_000)
    focused = page.locator(f"{name} :focus")
    before = page.locator(name).evaluate("one => one.state")
    first = {"lookup-board": "[aria-label=Query]", "head-reader": ".numbers button"}
    assert focused.evaluate(
        "(one, first) => one.matches(first)", first.get(name, ".starts button:first-of-type")
    )
    assert focused.evaluate(
        """one => {
             const { top, bottom } = one.getBoundingClientRect();
             return top >= 0 && bottom <= innerHeight;
           }"""
    )
    page.keyboard.press("Tab" if name == "mask-bench" else "ArrowDown")
    if name == "mask-bench":
        page.keyboard.press("Enter")
    wait_until(
        page,
        "([name, before]) => document.querySelector(name).state !== before",
        [name, before],
    )


def test_from_a_token_the_keyboard_goes_back_to_the_choices(visit: Visit) -> None:
    page = visit("explore/head-reader/")
    start_explorer(page)
    table = page.locator("head-reader .numbers")
    said = page.locator(f"#{table.get_attribute('aria-describedby')}")
    assert "Shift+Tab leads back" in (said.text_content() or "")
    stops: list[str] = []
    for _ in range(20):
        page.keyboard.press("Shift+Tab")
        stop: str = page.evaluate(
            """() => { const one = document.activeElement;
                 return one.labels?.[0]?.firstChild.textContent ?? one.parentElement.className; }"""
        )
        stops.append(stop)
        if stop == "Model":
            break
    wanted = ["heads", "All heads, coloured by", "Show", "Layer", "Text", "Model"]
    assert [stop for stop in stops if stop in wanted] == wanted


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_press_with_a_finger_leaves_the_page_where_it_is(
    name: str, browser: Browser, home: str
) -> None:
    with watch(browser, home, has_touch=True) as watched:
        page = watched.context.new_page()
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(f"{home}explore/{name}/")
        button = page.locator(".explorer > .run-bar .run-main")
        button.scroll_into_view_if_needed()
        scrolled = page.evaluate("scrollY")
        button.tap()
        page.locator(name).wait_for(timeout=180_000)
        page.wait_for_timeout(300)
        assert page.evaluate("scrollY") == scrolled
        assert page.locator(f"{name} :focus").count() == 1


BOARDS: dict[str, Any] = {
    "as it starts": "q=1,0.6&A=0,1,2&B=1,0,9&C=0,-1,21&D=-1,0,14&T=1&d_k=2&scaled=1",
    "all weight at the edge": "q=2,2&A=2,0,2&B=0,-2,9&C=-2,0,24&D=0,2,0&T=0.1&d_k=2&scaled=1",
    "in the corners": "q=0,-1.2&A=2,2,2&B=2,-2,9&C=-2,-2,24&D=-2,2,14&T=1&d_k=2&scaled=1",
}


@pytest.mark.parametrize("state", BOARDS.values(), ids=BOARDS)
def test_no_label_of_the_board_is_crossed_or_cut(state: str, visit: Visit) -> None:
    page = visit(f"explore/lookup-board/#lookup-board?{state}")
    start_explorer(page)
    crossed = page.locator("lookup-board").evaluate(
        """board => {
             const svg = board.querySelector("svg");
             const whole = svg.getBoundingClientRect();
             const lines = [...svg.querySelectorAll(".ground .axis, .arrow")].flatMap(line => {
               const [length, matrix] = [line.getTotalLength(), line.getScreenCTM()];
               return Array.from({ length: 800 }, (_, at) =>
                 line.getPointAtLength((at / 799) * length).matrixTransform(matrix));
             });
             return [...svg.querySelectorAll("text.key, text.query")].flatMap(label => {
               const { left, right, top, bottom } = label.getBoundingClientRect();
               // The box holds the room above and below the letters.
               const crossed = lines.some(({ x, y }) =>
                 x > left && x < right && y > top + 3 && y < bottom - 4);
               const cut = left < whole.left || right > whole.right || top < whole.top;
               return crossed || cut ? [label.textContent] : [];
             });
           }"""
    )
    assert crossed == []


def test_the_output_hides_no_number_of_the_beam(visit: Visit) -> None:
    page = visit("explore/lookup-board/#lookup-board?q=0,0&A=0,1,8&T=1&d_k=2&scaled=1")
    start_explorer(page)
    hidden = page.locator("lookup-board svg").evaluate(
        """svg => {
             const mark = svg.querySelector(".output path").getBoundingClientRect();
             const said = svg.querySelector(".output text").getBoundingClientRect();
             return [...svg.querySelectorAll(".ground text")].filter(one => {
               const own = one.getBoundingClientRect();
               return [mark, said].some(({ left, right, top, bottom }) => own.left < right &&
                 own.right > left && own.top + 2 < bottom && own.bottom - 2 > top);
             }).map(one => one.textContent);
           }"""
    )
    assert hidden == []
    assert page.locator("lookup-board .output text").text_content() == "output 8.00"
