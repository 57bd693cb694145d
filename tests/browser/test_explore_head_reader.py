"""The head reader in the browser: what it shows is what its Python answers."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
from playwright.sync_api import Browser, FloatRect, Locator, Page

from attention_ref import real_map
from browser.conftest import Watched, watch
from browser.reader import Visit, python_workers, start_explorer, wait_until
from pages.test_explore_head_reader import TINY, answer

PAGE = "explore/head-reader/"


def state(page: Page) -> dict[str, str]:
    found = page.evaluate("document.querySelector('head-reader')?.state ?? ''")
    return dict(parse_qsl(found))


def wait_for(page: Page, **wanted: str) -> None:
    """Wait until the reader shows `wanted`, by the names of its links."""
    wait_until(
        page,
        """wanted => {
             const now = new URLSearchParams(document.querySelector("head-reader").state);
             return Object.entries(wanted).every(([name, value]) => now.get(name) === value);
           }""",
        wanted,
    )


def cells(page: Page, table: str) -> list[list[str]]:
    return list(
        page.locator(f"head-reader {table} tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].slice(1).map(cell => cell.textContent))"
        )
    )


def assert_shows_what_python_answers(page: Page) -> None:
    now = state(page)
    asked: dict[str, Any] = {name: now[name] for name in ("model", "text", "shown")}
    asked |= {name: int(now[name]) for name in ("layer", "head", "step") if name in now}
    came, token = answer(**asked), int(now["token"])
    chosen = came["maps"][came["head"]]
    rows = cells(page, ".numbers")
    assert [row[0] for row in rows] == [f"{part:.2f}" for part in chosen[token]]
    assert [row[1] for row in rows] == [f"{row[token]:.2f}" for row in chosen]
    assert [row[2] for row in rows] == [f"{length:.2f}" for length in came["lengths"]]
    digits = 3 if now["score"] in ("removed", "shifted") else 2
    scored = came["scores"][now["score"]]
    assert cells(page, ".overview") == [
        [f"{one:.{digits}f}".removeprefix("0") for one in layer] for layer in scored
    ]
    facts = page.locator("head-reader dd").all_text_contents()
    shown = {name: values[came["layer"]][came["head"]] for name, values in came["scores"].items()}
    order = ("first", "itself", "previous", "partner", "removed", "shifted")
    assert facts == [
        f"{shown[name]:.{2 if number < 4 else 4}f}"
        for number, name in enumerate(order)
        if name in shown
    ]
    chances = [[f"{one:.2f}" for one in row[1:] if one is not None] for row in came["next"]]
    assert cells(page, ".next") == chances
    assert page.locator("head-reader .heads button").count() == len(came["maps"])
    if now["score"] == "first" and now["model"] != TINY:
        assert page.locator("head-reader .scored p").text_content() == sinks(now["text"])


def sinks(name: str) -> str:
    """What is said of the first token as a sink, from the committed maps themselves."""
    parts = real_map(name).weights[..., 0].mean(axis=-1)
    layer, head = np.unravel_index(parts.argmax(), parts.shape)
    return (
        f"{(parts > 0.5).sum()} of {parts.size} heads give it over half. "
        f"The most: layer {layer}, head {head}, {parts.max():.2f}."
    )


def menu(page: Page, name: str) -> Locator:
    return page.locator("head-reader").get_by_role("combobox", name=name, exact=True)


def map_box(page: Page) -> FloatRect:
    """Return where the map is on the screen, its last row included."""
    shown = page.locator("head-reader .pair > svg")
    shown.evaluate("map => map.scrollIntoView({block: 'end'})")
    box = shown.bounding_box()
    assert box is not None
    return box


def focus_on(page: Page, selector: str, key: str = "Tab") -> None:
    """Go there with the Tab key, or with Shift+Tab."""
    for _ in range(80):
        if page.evaluate("where => document.activeElement.matches(where)", selector):
            return
        page.keyboard.press(key)
    pytest.fail(f"the Tab key does not lead to {selector}")


@pytest.fixture(scope="module")
def opened(browser: Browser, home: str) -> Iterator[Page]:
    """The reader as it opens, for tests that leave it so: Python starts once for all."""
    with watch(browser, home) as watched:
        page = watched.context.new_page()
        page.goto(f"{home}{PAGE}")
        start_explorer(page)
        yield page
        assert (watched.elsewhere, watched.errors) == ([], [])


def test_it_is_used_by_keyboard_alone(visit: Visit) -> None:
    page = visit(PAGE)
    focus_on(page, ".explorer > .run-bar .run-main")
    page.keyboard.press("Enter")
    page.locator("head-reader").wait_for(timeout=120_000)
    wait_until(page, "document.activeElement.matches('head-reader .numbers button')")
    assert_shows_what_python_answers(page)
    page.keyboard.press("ArrowDown")
    assert state(page)["token"] == "3"
    focus_on(page, "head-reader .controls :first-child select", "Shift+Tab")
    page.keyboard.type("tiny")
    wait_for(page, model=TINY)
    focus_on(page, "head-reader input")
    page.keyboard.press("Control+A")
    page.keyboard.type("modelsfmode")
    wait_for(page, text="modelsfmode")
    assert_shows_what_python_answers(page)
    focus_on(page, "head-reader .overview button")
    at = state(page)
    page.keyboard.press("ArrowUp" if at["layer"] == "1" else "ArrowDown")
    wait_for(page, layer=str(1 - int(at["layer"])))
    assert_shows_what_python_answers(page)
    focus_on(page, "head-reader .heads button")
    page.keyboard.press("Home")
    wait_for(page, head="0")
    page.keyboard.press("ArrowRight")
    wait_for(page, head="1")
    focus_on(page, "head-reader .numbers button")
    page.keyboard.press("Home")
    assert state(page)["token"] == "0"
    page.keyboard.press("ArrowDown")
    assert state(page)["token"] == "1"
    assert_shows_what_python_answers(page)
    heading = page.locator("head-reader .numbers thead").text_content() or ""
    assert heading == "Token“o”reads itit reads“o”Length"


def test_it_is_used_by_touch_on_a_phone(browser: Browser, home: str) -> None:
    with watch(browser, home, has_touch=True, is_mobile=True) as watched:
        page = watched.context.new_page()
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(f"{home}{PAGE}")
        page.locator(".explorer > .run-bar").get_by_text("Start", exact=True).tap()
        page.locator("head-reader").wait_for(timeout=120_000)
        page.locator("head-reader .heads button").nth(7).tap()
        wait_for(page, head="7")
        page.locator("head-reader .numbers button", has_text="flooded").tap()
        wait_for(page, token="7")
        box = map_box(page)
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.99)
        wait_for(page, token="8")
        menu(page, "Show").select_option("handed over")
        wait_for(page, shown="handed over")
        assert_shows_what_python_answers(page)
        page.locator("head-reader .jump").tap()
        strongest = answer()["strongest"]["first"]
        wait_for(page, layer=str(strongest[0]), head=str(strongest[1]))
        for model in ("SmolLM2", "RXNMapper", TINY):
            menu(page, "Model").select_option(model)
            wait_for(page, model=model)
            assert_shows_what_python_answers(page)
            assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert (watched.elsewhere, watched.errors) == ([], [])


@pytest.mark.xdist_group("head reader")
def test_a_mouse_over_a_row_shows_it_and_leaves_the_choice(opened: Page) -> None:
    page = opened
    before = cells(page, ".numbers")
    box = map_box(page)
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.99)
    weights = answer()["maps"][4]
    assert [row[0] for row in cells(page, ".numbers")] == [f"{one:.2f}" for one in weights[-1]]
    page.mouse.move(box["x"], box["y"] - 20)
    assert cells(page, ".numbers") == before
    names = page.locator("head-reader .numbers button")
    places = "all => all.map(one => JSON.stringify(one.getBoundingClientRect()))"
    still = names.evaluate_all(places)
    for number in (0, 5, 7):
        names.nth(number).hover()
        reads = [row[0] for row in cells(page, ".numbers")]
        assert reads == [f"{one:.2f}" for one in weights[number]]
        assert names.evaluate_all(places) == still  # nothing slips away from under the mouse
    assert state(page)["token"] == "2"


def test_a_link_opens_what_was_shared_and_runs_nothing_before_start(
    visit: Visit, watched: Watched, home: str
) -> None:
    page = visit(PAGE)
    start_explorer(page)
    menu(page, "Text").select_option("tired")
    wait_for(page, text="tired")
    menu(page, "Layer").select_option("3")
    wait_for(page, layer="3")
    page.locator("head-reader .heads button").nth(1).click()
    wait_for(page, head="1")
    menu(page, "All heads, coloured by").select_option("removed")
    page.locator("head-reader .numbers button", has_text="child").click()
    shared = state(page)
    page.locator(".explorer > .run-bar").get_by_text("Share", exact=True).click()
    wait_until(
        page,
        "document.querySelector('.explorer > .run-bar').textContent.includes('Copied: a link')",
    )
    link = page.evaluate("navigator.clipboard.readText()")
    page.close()

    page = watched.context.new_page()
    page.goto(link)
    page.wait_for_selector(".explorer > .run-bar")
    page.wait_for_timeout(500)
    assert python_workers(page) == []
    start_explorer(page)
    assert state(page) == shared
    assert (shared["token"], shared["score"]) == ("2", "removed")
    assert_shows_what_python_answers(page)


@pytest.mark.parametrize("broken", ["model=GPT&layer=x", "token=99&score=constructor&%%%"])
def test_a_broken_link_opens_the_page_as_it_is(broken: str, watched: Watched, home: str) -> None:
    page = watched.context.new_page()
    page.goto(f"{home}{PAGE}#head-reader?{broken}")
    start_explorer(page)
    now = state(page)
    assert (now["model"], now["text"], now["layer"], now["head"]) == ("MiniLM", "bank", "0", "4")
    assert (now["token"], now["score"]) == ("2", "first")
    assert_shows_what_python_answers(page)


def test_what_cannot_be_read_gets_one_line_and_can_be_mended(visit: Visit) -> None:
    page = visit(PAGE)
    start_explorer(page)
    menu(page, "Model").select_option(TINY)
    wait_for(page, model=TINY)
    letters = page.locator("head-reader input")
    status = page.locator(".explorer > .run-bar .run-status")
    letters.fill("wmk aq")
    said = "text must hold the letters a to z alone, got ' '"
    wait_until(page, "said => document.body.textContent.includes(said)", said)
    assert (status.text_content() or "").endswith(said)
    letters.fill("wmkwm")
    wait_for(page, text="wmkwm")
    assert status.text_content() == ""
    assert_shows_what_python_answers(page)


@pytest.mark.xdist_group("head reader")
def test_what_a_token_reads_is_said_once_it_is_chosen(opened: Page) -> None:
    said = "head-reader [role=status]"
    wait_until(opened, "said => document.querySelector(said).textContent !== ''", said)
    assert opened.locator(said).text_content() == (
        "“bank” reads river 0.60, flooded 0.17, [CLS] 0.08; "
        "“bank” is read most by river 0.25, by 0.08, flooded 0.06."
    )


@pytest.mark.xdist_group("head reader")
def test_every_control_has_a_name(opened: Page) -> None:
    tree = opened.locator("head-reader").aria_snapshot()
    for role in ("button", "combobox", "textbox", "img"):
        assert not any(line.strip().rstrip(":") == f"- {role}" for line in tree.splitlines())
    assert 'combobox "Model"' in tree
    assert 'button "layer 2, head 9: 0.91"' in tree
    assert 'img "Layer 0, head 4: weights of each query' in tree


def test_figure_and_table_stand_there_without_scripts(browser: Browser, home: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{home}{PAGE}")
    assert page.locator(".explorer figure img").is_visible()
    assert re.search(r"bank +0\.08 +0\.04", page.locator(".explorer").text_content() or "")
    assert page.locator(".run-bar").count() == 0
    context.close()


def test_the_chunk_is_small_and_comes_with_the_press(watched: Watched, home: str) -> None:
    sizes: dict[str, int] = {}
    page = watched.context.new_page()
    page.on(
        "requestfinished",
        lambda request: sizes.update({request.url: request.sizes()["responseBodySize"]}),
    )
    page.goto(f"{home}{PAGE}", wait_until="networkidle")
    assert not any("web/head-reader-" in url for url in sizes)
    start_explorer(page)
    (size,) = (size for url, size in sizes.items() if "web/head-reader-" in url)
    assert 0 < size < 20_000
