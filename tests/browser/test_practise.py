"""Exercises in the page: judged by the package, hinted at by degrees, remembered by the browser."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, expect

from attention_ref.exercises import EXERCISES, Exercise
from browser.conftest import Watched, watch
from browser.reader import (
    DOCS,
    WITHOUT_STORAGE,
    Visit,
    await_end,
    bar,
    box,
    button,
    edit,
    plan,
    press,
    python_workers,
    run,
    status,
    texts,
    wait_until,
)

BLOCKS = plan(DOCS / "learn" / "softmax.md")["blocks"]
FIRST, SECOND, THIRD = (n for n, block in enumerate(BLOCKS) if block["exercise"])
HINTS = EXERCISES["softmax"].hints
OURS = "Object.keys(localStorage).filter(key => key.startsWith('attention-executed:'))"
LINE = '\n\n\nprint(check("softmax", softmax))'
RIGHT = EXERCISES["softmax"].solution_source + LINE
WRONG = "def softmax(x, axis):\n    return np.exp(x)" + LINE

WORKER = """async ([home, files]) => {
  const worker = new Worker(`${home}assets/web/worker.js`, { type: "module" });
  const waiting = new Map();
  worker.onmessage = ({ data }) => {
    if (data.kind === "outcome") waiting.get(data.id)(data.outcome);
    if (data.kind === "unavailable") throw new Error(data.reason);
  };
  worker.postMessage({ kind: "start", files });
  let next = 0;
  window.judge = (exercise, code) => new Promise((resolve) => {
    waiting.set(next, resolve);
    const program = { blocks: [{ name: "answer", code }], error: null, figures: [], exercise };
    worker.postMessage({ kind: "run", id: next++, program });
  });
}"""


@pytest.fixture(scope="module")
def worker(browser: Browser, home: str) -> Iterator[Page]:
    """A page beside a Python worker of its own, which `judge(exercise, code)` asks."""
    with watch(browser, home) as watched:
        page = watched.context.new_page()
        page.goto(f"{home}learn/softmax/")
        files = plan(DOCS / "learn" / "softmax.md")["runtime"]
        page.evaluate(WORKER, [home, files])
        yield page
        assert (watched.elsewhere, watched.errors) == ([], [])


def judged(worker: Page, exercise: str, code: str) -> dict[str, Any]:
    return dict(worker.evaluate("([name, code]) => judge(name, code)", [exercise, code]))


@pytest.mark.xdist_group("judged in one worker")
@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=list(EXERCISES))
def test_the_solution_passes_and_every_mistake_is_told_as_in_python(
    exercise: Exercise, worker: Page
) -> None:
    answers = {"solution": exercise.solution}
    answers |= {f"mistakes[{n}]": one for n, one in enumerate(exercise.mistakes)}
    for place, answer in answers.items():
        code = (
            "from attention_ref.exercises import EXERCISES\n\n"
            f"{exercise.name} = EXERCISES[{exercise.name!r}].{place}"
        )
        here, there = exercise.judge(answer), judged(worker, exercise.name, code)
        assert there["error"] == ""
        assert (there["passed"], there["output"]) == (here.passed, f"{here!r}\n"), place
        assert here.passed is (place == "solution")


def solved(page: Page, number: int) -> Locator:
    return bar(page, number).locator(".practice-solved")


def hints(page: Page, number: int) -> list[str]:
    return box(page, number).locator(".practice-hints p").all_text_contents()


def tally(page: Page) -> str:
    return page.locator(".practice-tally span").text_content() or ""


def said(number: int) -> str:
    """What the page makes of a hint: its code without the backticks."""
    return f"Hint {number + 1} of {len(HINTS)}: {HINTS[number]}".replace("`", "")


def check(page: Page, number: int) -> str:
    press(page, number, "Check")
    return await_end(page, number)


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_selector(".practice-tally button")


def test_by_mouse(visit: Visit) -> None:
    page = visit("learn/softmax/")
    before = texts(page)
    assert tally(page) == "0 of 3 exercises solved, kept in this browser alone."
    assert button(page, FIRST, "Run").count() == 0

    box(page, FIRST).locator("> pre").get_by_text("any size").click()  # the stub itself
    expect(box(page, FIRST).locator(".cm-content")).to_be_focused()
    page.keyboard.type("return np.exp(x)")  # in the place of the dots
    button(page, FIRST, "Check").click()
    assert await_end(page, FIRST).startswith("Live: not yet (")
    (verdict,) = [text for text in texts(page) if text.startswith("softmax: not yet. The weights")]
    assert "do not sum to 1" in verdict
    expect(solved(page, FIRST)).to_be_hidden()

    button(page, FIRST, "Hint").click()
    assert hints(page, FIRST) == [said(0)]
    button(page, FIRST, "Hint").click()
    assert hints(page, FIRST) == [said(0), said(1)]

    page.locator(".cm-content").fill(RIGHT)
    button(page, FIRST, "Check").click()
    wait_until(page, "document.querySelector('.practice-tally').textContent.startsWith('1')")
    assert status(page, FIRST).startswith("Live: it passes (")
    assert "softmax: passes." in texts(page)
    expect(solved(page, FIRST)).to_have_text("✓ Solved")
    assert tally(page).startswith("1 of 3 exercises solved")

    reload(page)
    expect(solved(page, FIRST)).to_be_visible()
    assert tally(page).startswith("1 of 3 exercises solved")
    assert hints(page, FIRST) == [said(0), said(1)]
    assert RIGHT in texts(page)
    assert python_workers(page) == []

    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_text("Forget my progress").click()
    assert tally(page).startswith("1 of 3")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_text("Forget my progress").click()
    for _ in ("at once", "after a reload"):
        assert tally(page).startswith("0 of 3")
        assert (hints(page, FIRST), texts(page)) == ([], before)
        expect(solved(page, FIRST)).to_be_hidden()
        assert page.evaluate(OURS) == []
        reload(page)


def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    for _ in range(60):
        if target.evaluate("one => one === document.activeElement"):
            return
        page.keyboard.press(key)
    pytest.fail(f"{key} does not reach {target}")


def test_by_keyboard_alone(visit: Visit) -> None:
    page = visit("learn/softmax/#exercises")
    dialogs: list[str] = []

    def answer(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.accept()

    page.on("dialog", answer)
    tab_to(page, button(page, FIRST, "Edit"))
    page.keyboard.press("Enter")
    editor = box(page, FIRST).locator(".cm-content")
    expect(editor).to_be_focused()
    page.keyboard.type("return np.exp(x)")
    page.keyboard.press("Control+Enter")
    assert await_end(page, FIRST).startswith("Live: not yet")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    tab_to(page, button(page, FIRST, "Hint"))
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert hints(page, FIRST) == [said(0), said(1)]
    tab_to(page, editor, "Shift+Tab")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(RIGHT)
    page.keyboard.press("Control+Enter")
    wait_until(page, "document.querySelector('.practice-tally').textContent.startsWith('1')")

    page.close()
    page = visit("learn/softmax/#exercises")
    page.on("dialog", answer)
    assert tally(page).startswith("1 of 3")
    assert hints(page, FIRST) == [said(0), said(1)]
    tab_to(page, page.get_by_text("Forget my progress"))
    page.keyboard.press("Enter")
    assert tally(page).startswith("0 of 3")
    assert dialogs == ["Forget what you have solved, and your edits, on every page?"]
    assert page.evaluate(OURS) == []


@pytest.mark.parametrize(
    "claim",
    ["print('softmax: passes.')", WRONG + "\nprint('softmax: passes.')", "softmax = softmax"],
)
def test_what_an_answer_prints_solves_nothing(claim: str, visit: Visit) -> None:
    page = visit("learn/softmax/")
    edit(page, FIRST, claim)
    assert check(page, FIRST).startswith(("Live: not yet", "Live: an error"))
    assert tally(page).startswith("0 of 3")
    expect(solved(page, FIRST)).to_be_hidden()


def test_a_half_written_answer_breaks_no_other_block(visit: Visit) -> None:
    page = visit("learn/softmax/")
    edit(page, FIRST, "def softmax(x, axis")
    assert check(page, FIRST).startswith("Live: an error")
    assert run(page, FIRST + 1).startswith("Live: equal")  # its solution
    assert check(page, SECOND).startswith("Live: equal")


def test_there_are_as_many_hints_as_there_are(visit: Visit) -> None:
    page = visit("learn/softmax/")
    for _ in range(len(HINTS) + 2):
        press(page, FIRST, "Hint")
    assert hints(page, FIRST) == [said(number) for number in range(len(HINTS))]
    assert status(page, FIRST) == "There are no more hints. A solution stands below."
    assert hints(page, SECOND) == []
    code = box(page, FIRST).locator(".practice-hints code").all_text_contents()
    assert code == [one for hint in HINTS for one in re.findall("`(.+?)`", hint)]


def seed(page: Page, key: str, value: object) -> None:
    script = "([key, value]) => localStorage.setItem(key, JSON.stringify(value))"
    page.evaluate(script, [f"attention-executed:{key}", value])


def test_a_page_whose_exercises_are_all_solved_is_marked(visit: Visit) -> None:
    page = visit("learn/softmax/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    reload(page)
    assert not any(url.endswith("/exercises.json") for url in asked)
    assert page.locator("[data-solved]").count() == 0
    ids = [BLOCKS[number]["exercise"]["id"] for number in (SECOND, THIRD)]
    seed(page, "progress", {"solved": ids, "hints": {}})
    reload(page)
    assert tally(page).startswith("2 of 3")
    page.wait_for_timeout(500)
    assert page.locator("[data-solved]").count() == 0

    links = page.locator(".md-nav--primary .md-nav__link")
    places = "all => all.map(o => [o.offsetLeft, o.offsetTop, o.offsetWidth, o.offsetHeight])"
    before = links.evaluate_all(places)
    edit(page, FIRST, RIGHT)
    check(page, FIRST)
    marked = page.locator("a[data-solved]:visible")
    expect(marked).to_have_count(1)
    expect(marked).to_have_accessible_name("All exercises solved: Softmax")
    assert links.evaluate_all(places) == before
    page.locator(".md-nav--primary").get_by_text("Scaling", exact=True).click()
    page.wait_for_url("**/learn/scaling/")
    expect(page.locator("a[data-solved]:visible")).to_have_text("Softmax")


def test_progress_belongs_to_a_task_and_not_to_a_place(visit: Visit) -> None:
    page = visit("learn/softmax/")
    stub = BLOCKS[FIRST]["code"]
    seed(page, "progress", {"solved": ["softmax-00000000", "gone"], "hints": {"gone": 2}})
    # What was written when the page had another block above, and for a stub that it had once.
    kept = {
        str(FIRST + 1): {"code": "mine = 1", "from": stub},
        str(THIRD): {"code": "old = 1", "from": "def old(): ..."},
    }
    seed(page, "edits:learn/softmax", kept)
    reload(page)
    wait_until(page, "document.querySelector('[data-edited]')")
    assert tally(page).startswith("0 of 3")
    shown = texts(page)
    assert "mine = 1" in shown
    assert "old = 1" not in shown
    assert "mine = 1" in (box(page, FIRST).locator("> pre").text_content() or "")


@pytest.mark.parametrize("rubbish", ["{", "3", "null", '{"solved": 3, "hints": [1]}'])
def test_rubbish_in_the_storage_is_no_progress(rubbish: str, visit: Visit) -> None:
    page = visit("learn/softmax/")
    page.evaluate("one => localStorage.setItem('attention-executed:progress', one)", rubbish)
    reload(page)
    assert tally(page).startswith("0 of 3")
    press(page, FIRST, "Hint")
    reload(page)
    assert hints(page, FIRST) == [said(0)]


def test_without_storage_progress_lasts_as_long_as_the_visit(watched: Watched, home: str) -> None:
    watched.context.add_init_script(WITHOUT_STORAGE)
    page = watched.context.new_page()
    page.goto(f"{home}learn/softmax/")
    page.wait_for_selector(".practice-tally button")
    press(page, FIRST, "Hint")
    edit(page, FIRST, RIGHT)
    assert check(page, FIRST).startswith("Live: it passes")
    expect(solved(page, FIRST)).to_be_visible()
    assert tally(page) == "1 of 3 exercises solved, kept until you leave."
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_text("Forget my progress").click()
    assert tally(page).startswith("0 of 3")
    assert hints(page, FIRST) == []
    watched.errors.clear()  # the theme's own scripts ask for the storage too
