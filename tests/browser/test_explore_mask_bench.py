"""The mask bench on its page: by keyboard, by touch, from a link, and without scripts."""

import importlib.util
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from browser.conftest import Watched, watch
from browser.reader import Visit, python_workers, wait_until

ROOT = Path(__file__).parents[2]
PATH = "explore/mask-bench/"
SPEC = importlib.util.spec_from_file_location("mask_bench", ROOT / "web/src/explore/mask_bench.py")
assert SPEC is not None
assert SPEC.loader is not None
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)

CAUSAL = {"kind": "causal", "join": "and", "negated": False}


def expected(q_len: int, kv_len: int, q_start: int | None, *parts: dict[str, Any]) -> Any:
    request = {"q_len": q_len, "kv_len": kv_len, "q_start": q_start, "parts": list(parts)}
    return bench.answer(request)


def await_answer(page: Page, answer: Any) -> None:
    """Wait for its code, which no other request has, and for what is said of it."""
    wait_until(
        page,
        "said => ['.made code', '.summary'].map(part => "
        "document.querySelector(`mask-bench ${part}`)?.textContent).join('') === said",
        f"{answer['code']}\n{answer['summary']}",
    )


def shows(page: Page, answer: Any) -> None:
    """Hold what is on the screen against what Python answers here."""
    await_answer(page, answer)
    rows = page.locator("mask-bench .seeing tr").all()
    cells = [row.locator("[role=gridcell]").all_text_contents() for row in rows]
    mask = [[cell == "1" for cell in row] for row in cells if row]
    assert mask == (answer["mask"] or [])
    if answer["mask"]:
        assert page.locator("mask-bench .made details pre").text_content() == answer["text"]
    libraries = page.locator("mask-bench .libraries details").all()
    assert len(libraries) == len(answer["libraries"])
    for one, library in zip(libraries, answer["libraries"], strict=True):
        verdict = one.locator(".verdict").text_content() or ""
        assert (one.locator(".name").text_content(), verdict[2:]) == (
            library["name"],
            library["verdict"],
        )
        unseen = library["unseen"]
        assert one.locator(".unseen").text_content() == (
            f"nothing to see: {unseen}" if unseen else ""
        )
        programs = one.locator(".program code").all_text_contents()
        assert programs == ([f"{library['program']}\n"] if library["program"] else [])
        if library["sees"]:
            drawn = [
                [cell.startswith("1") for cell in row.locator("td").all_text_contents()]
                for row in one.locator(".drawn tr").all()[1:]
            ]
            assert drawn == library["sees"]


def focused(page: Page) -> str:
    found = page.evaluate(
        "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    )
    return str(found)


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is called `name` has the focus, as a reader without a mouse does."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if focused(page) == name:
            return
    raise AssertionError(f"Tab does not reach {name}")


def test_it_is_used_by_keyboard_alone(visit: Visit) -> None:
    page = visit(PATH)
    tab_to(page, "Start")
    page.keyboard.press("Enter")
    shows(page, expected(3, 6, 3, CAUSAL))
    assert page.locator("article > .explorer > figure").is_hidden()
    wait_until(page, "document.activeElement.closest('mask-bench') !== null")

    tab_to(page, "kv_len")
    page.keyboard.press("ArrowRight")
    shows(page, expected(3, 7, 3, CAUSAL))
    tab_to(page, "Add a mask: documents")
    page.keyboard.press("Enter")
    documents = {"kind": "documents", "join": "and", "negated": False, "each": 3}
    shows(page, expected(3, 7, 3, CAUSAL, documents))
    assert focused(page) == "How mask 2 joins those above"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    documents |= {"join": "or", "negated": True}
    shows(page, expected(3, 7, 3, CAUSAL, documents))

    tab_to(page, "query 0, key 0: 1, may attend")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "End", "Control+Home"):
        page.keyboard.press(key)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    answer = expected(3, 7, 3, CAUSAL, documents)
    sees = ", ".join(map(str, answer["queries"][1]["sees"]))
    seen_by = ", ".join(map(str, answer["keys"][1]["seen_by"]))
    assert page.locator("mask-bench .reading").text_content() == (
        f"Query 1 stands at position 4 and sees keys {sees}. Key 1 is seen by queries {seen_by}."
    )

    tab_to(page, "Copy the code of this mask")
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('.made [role=status]').textContent === 'Copied.'")
    assert page.evaluate("navigator.clipboard.readText()") == f"{answer['code']}\n"


def test_it_is_used_by_touch_from_a_link_on_a_phone(browser: Browser, home: str) -> None:
    with watch(browser, home, has_touch=True, color_scheme="dark") as watched:
        page = watched.context.new_page()
        page.set_viewport_size({"width": 360, "height": 740})
        page.goto(f"{home}{PATH}#mask-bench?q_len=5&kv_len=5&mask=and.not.window.1.0")
        page.wait_for_selector(".explorer > .run-bar button")
        assert python_workers(page) == []
        page.locator(".explorer > .run-bar .run-main").tap()
        window = {"kind": "window", "join": "and", "negated": True, "left": 1, "right": 0}
        shows(page, expected(5, 5, None, window))
        page.get_by_role("button", name="Share").tap()
        wait_until(
            page, "document.querySelector('.explorer .run-status').textContent.startsWith('Copied')"
        )
        shared = page.evaluate("navigator.clipboard.readText()")
        assert shared == f"{home}{PATH}#mask-bench?q_len=5&kv_len=5&mask=and.not.window.1.0"

        page.get_by_role("gridcell", name="query 2, key 4: 1, may attend").tap()
        assert "Query 2 stands at position 2 and sees keys 0, 3, 4." in (
            page.locator("mask-bench .reading").text_content() or ""
        )
        page.get_by_role("button", name="Start from: One query").tap()
        shows(page, expected(1, 5, None, CAUSAL))
        page.locator("mask-bench label", has_text="q_start").locator("select").select_option("4")
        shows(page, expected(1, 5, 4, CAUSAL))
        page.get_by_role("button", name="Remove mask 1: causal").tap()
        shows(page, expected(1, 5, 4))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert (watched.elsewhere, watched.errors) == ([], [])


def test_a_link_that_is_no_bench_shows_the_first(watched: Watched, home: str) -> None:
    page = watched.context.new_page()
    page.goto(f"{home}{PATH}#mask-bench?q_len=99&kv_len=5&mask=and.causal")
    page.locator(".explorer > .run-bar .run-main").click()
    shows(page, expected(3, 6, 3, CAUSAL))


def test_figure_and_table_stand_there_without_scripts(browser: Browser, home: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{home}{PATH}")
    assert page.locator(".explorer figure img").is_visible()
    shown = page.locator(".explorer .language-text pre").text_content() or ""
    assert shown.strip("\n") == str(expected(3, 6, 3, CAUSAL)["text"]).strip("\n")
    assert page.locator(".run-bar, mask-bench").count() == 0
    context.close()
