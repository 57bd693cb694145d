"""Links that carry edits, and what is kept on the reader's machine."""

from urllib.parse import urlsplit

from playwright.sync_api import Page

from browser.conftest import Watched
from browser.reader import Visit, bar, edit, press, python_workers, run, status, texts, wait_until


def shared_link(page: Page) -> str:
    press(page, 1, "Share")
    wait_until(
        page,
        "document.querySelector('.run-bar[aria-label=\"Block 2\"] .run-status')"
        ".textContent.startsWith('Copied')",
    )
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_link_brings_the_edits_and_runs_nothing(
    visit: Visit, watched: Watched, home: str
) -> None:
    page = visit("learn/softmax/")
    edit(page, 1, "print('from a link ✓')")
    link = shared_link(page)
    assert link.startswith(f"{home}learn/softmax/#edit=")
    page.evaluate("localStorage.clear()")
    page.close()

    page = watched.context.new_page()
    page.goto(link)
    wait_until(page, "document.querySelector('[data-edited]')")
    assert "print('from a link ✓')" in texts(page)
    assert "from a link ✓" not in texts(page)
    assert status(page, 1).startswith("This code came with the link")
    page.wait_for_timeout(1000)
    assert python_workers(page) == []
    ours = "Object.keys(localStorage).filter(key => key.startsWith('attention-executed'))"
    assert page.evaluate(ours) == []
    assert run(page, 1).startswith("Live: differs")
    assert "from a link ✓" in texts(page)


def test_a_broken_link_shows_the_page(visit: Visit, home: str) -> None:
    page = visit("learn/softmax/")
    edit(page, 1, "print(1)")
    fragment = urlsplit(shared_link(page)).fragment
    page.evaluate("localStorage.clear()")
    before = None
    for broken in ("edit=", "edit=!!", "edit=AAAA", fragment[:-5], f"{fragment}AAAA"):
        page.goto("about:blank")
        page.goto(f"{home}learn/softmax/#{broken}")
        page.wait_for_selector(".run-bar")
        page.wait_for_timeout(200)
        assert page.locator("[data-edited]").count() == 0
        before = before or texts(page)
        assert texts(page) == before


def test_share_is_there_once_something_is_edited(visit: Visit) -> None:
    page = visit("learn/softmax/")
    assert not bar(page, 1).get_by_text("Share").is_visible()
    edit(page, 1, "print(1)")
    assert bar(page, 1).get_by_text("Share").is_visible()
