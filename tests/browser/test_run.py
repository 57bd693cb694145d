"""Run, edit, stop, reset: what the page's own Python does in a browser."""

import pytest

from browser.reader import Visit, await_end, box, edit, press, run, status, texts, wait_until


def test_an_edit_runs_survives_a_reload_and_can_be_taken_back(visit: Visit) -> None:
    page = visit("learn/softmax/")
    before = texts(page)
    edit(page, 1, "print('edited', 6 * 7)")
    assert box(page, 1).locator("> pre").is_hidden()
    page.keyboard.press("Control+Enter")
    assert await_end(page, 1).startswith("Live: differs")
    assert "edited 42" in texts(page)
    page.reload()
    page.wait_for_selector(".run-bar")
    wait_until(page, "document.querySelector('[data-edited]')")
    assert "print('edited', 6 * 7)" in texts(page)
    press(page, 1, "Reset")
    assert texts(page) == before
    assert box(page, 1).locator("> pre").is_visible()
    page.reload()
    page.wait_for_selector(".run-bar")
    page.wait_for_timeout(500)
    assert texts(page) == before


def test_a_listing_is_as_high_as_what_it_shows_now(visit: Visit) -> None:
    page = visit("learn/softmax/")
    heights = """() => ["python", "text"].map(kind => document.querySelector(
      `article .language-${kind}.highlight pre > code`).getBoundingClientRect().height)"""
    page.set_viewport_size({"width": 1280, "height": 4000})  # all of it is in sight
    code, output = page.evaluate(heights)
    edit(page, 0, "print('one line')")
    run(page, 0)
    page.reload()  # where an edited listing shows its edit without an editor
    page.wait_for_selector("[data-edited]")
    run(page, 0)
    line = page.evaluate(
        "parseFloat(getComputedStyle(document.querySelector('article pre > code')).lineHeight)"
    )
    assert page.evaluate(heights)[0] < code - 3 * line
    assert page.evaluate(heights)[1] < output - line


def test_a_block_sees_the_edits_of_those_that_it_continues(visit: Visit) -> None:
    page = visit("learn/softmax/")
    edit(page, 2, "import numpy as np\nnaive_softmax = abs\nscores = np.array([1.0, 5.0])")
    run(page, 3)
    assert "as is [1. 5.]" in "\n".join(texts(page))


def test_an_error_shows_the_readers_lines_alone(visit: Visit) -> None:
    page = visit("learn/softmax/")
    edit(page, 1, "from attention_ref import softmax\n\n\ndef f(x):\n    softmax(x)\n\n\nf(3)")
    assert run(page, 1).startswith("Live: an error")
    shown = next(text for text in texts(page) if text.startswith("Traceback"))
    lines = [line for line in shown.split("\n") if set(line) - set(" ~^")]
    assert lines == [
        "Traceback (most recent call last):",
        '  File "block 2", line 8, in <module>',
        "    f(3)",
        '  File "block 2", line 5, in f',
        "    softmax(x)",
        "TypeError: x must be an array (NumPy, PyTorch, ...), got int",
    ]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("f(", "SyntaxError: '(' was never closed"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("input()", "EOFError: a page has no input: assign the value in place of input()"),
        ("import torch", "ModuleNotFoundError: No module named 'torch'"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_what_goes_wrong_is_said(code: str, error: str, visit: Visit) -> None:
    page = visit("learn/softmax/")
    edit(page, 1, code)
    assert run(page, 1).startswith("Live: an error")
    assert any(text.split("\n")[-1].startswith(error) for text in texts(page))
    edit(page, 1, "print('well')")
    assert run(page, 1).startswith("Live: differs")


def test_an_endless_loop_can_be_stopped(visit: Visit) -> None:
    page = visit("learn/softmax/")
    run(page, 1)
    edit(page, 1, "while True: print('again')")
    press(page, 1, "Run")
    page.wait_for_timeout(500)
    assert status(page, 1) == "Running"
    press(page, 1, "Stop")
    assert await_end(page, 1).startswith("Stopped")
    press(page, 1, "Reset")
    assert run(page, 1).startswith("Live: equal")


def test_output_is_text(visit: Visit) -> None:
    page = visit("learn/softmax/")
    edit(page, 1, "print('<img src=x onerror=alert(1)><b>bold</b>')")
    run(page, 1)
    assert "<img src=x onerror=alert(1)><b>bold</b>" in texts(page)
    assert page.locator("article img[src=x], article pre b").count() == 0


def test_a_figure_can_do_nothing(visit: Visit) -> None:
    page = visit("learn/softmax/")
    code = """
class Picture:
    def _repr_svg_(self):
        return '''<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"
        onload="parent.document.title = 'reached'"><script>parent.document.title = 'reached'
        </script><image href="http://example.com/x.png"/></svg>'''

picture = Picture()
"""
    edit(page, 0, code)
    run(page, 0)
    wait_until(page, "document.querySelector('img[data-live]')?.naturalWidth === 9")
    assert page.title().startswith("Softmax")
    assert page.locator("article svg script").count() == 0
