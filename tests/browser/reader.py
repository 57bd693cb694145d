"""What a reader does with a page: press, edit, wait, read."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, Route, Worker

from pages.parse import parse_file

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
Visit = Callable[[str], Page]
PUBLISHED = "https://attention-executed.github.io/attention-executed/"


def plan(source: Path) -> dict[str, Any]:
    file = ROOT / "docs/assets/run" / source.relative_to(DOCS).with_suffix(".json")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def address(source: Path) -> str:
    name = source.relative_to(DOCS).with_suffix("").as_posix()
    return "" if name == "index" else f"{name.removesuffix('/index')}/"


SOURCES = [path for path in sorted(DOCS.rglob("*.md")) if parse_file(path, ROOT).blocks]
# As browsers do that are told to keep nothing.
WITHOUT_STORAGE = """Object.defineProperty(window, "localStorage", {
    get() { throw new DOMException("denied", "SecurityError"); },
});"""
FENCES = "article pre:not(:is(.doc-object, .doc-contents) pre)"


def bar(page: Page, number: int) -> Locator:
    return page.locator(f'.run-bar[aria-label="Block {number + 1}"]')


def button(page: Page, number: int, name: str) -> Locator:
    return bar(page, number).get_by_text(name, exact=True)


def status(page: Page, number: int) -> str:
    return bar(page, number).locator(".run-status").text_content() or ""


def press(page: Page, number: int, name: str) -> None:
    # Also where the block is in a tab or an answer that is closed.
    button(page, number, name).evaluate("button => button.click()")


def wait_until(page: Page, script: str, arg: object = None) -> None:
    """Wait until `script` gives something true; Playwright's own wait needs a weaker policy."""
    ends = time.monotonic() + 60
    while not page.evaluate(script, arg):
        assert time.monotonic() < ends, f"not within a minute: {script}"
        page.wait_for_timeout(20)


def published_here(home: str, route: Route) -> None:
    """Answer with the map of the site as if it were published at `home`.

    The theme replaces the content alone where the map lists the address.
    """
    response = route.fetch()
    route.fulfill(response=response, body=re.sub(PUBLISHED, home, response.text()))


def follow(page: Page, url: str) -> None:
    """Press a link to `url`; what was the article then is marked as old."""
    page.evaluate("document.querySelector('article').dataset.old = ''")
    # Before it knows the map of the site, the theme leaves a link to the browser: not yet pressed.
    wait_until(
        page,
        """url => {
             let taken;
             addEventListener("click", (event) => {
               taken = event.defaultPrevented;
               event.preventDefault();
             }, { once: true });
             const link = document.createElement("a");
             link.href = url;
             document.body.append(link);
             link.click();
             link.remove();
             return taken;
           }""",
        url,
    )


def await_end(page: Page, number: int) -> str:
    """Wait until the block has run, and return what its line says."""
    wait_until(
        page,
        "label => /^(Live|Stopped)|could not/.test("
        "document.querySelector(`.run-bar[aria-label='${label}'] .run-status`).textContent)",
        f"Block {number + 1}",
    )
    return status(page, number)


def run(page: Page, number: int) -> str:
    press(page, number, "Run")
    return await_end(page, number)


def edit(page: Page, number: int, code: str) -> None:
    press(page, number, "Edit")
    editor = box(page, number).locator(".cm-content")
    editor.fill(code)


def box(page: Page, number: int) -> Locator:
    return page.locator(".language-python.highlight", has=bar(page, number))


def texts(page: Page) -> list[str]:
    shown = page.locator(FENCES).evaluate_all("all => all.map(pre => pre.textContent)")
    return [text.rstrip("\n") for text in shown]


EXPLORERS = ("lookup-board", "mask-bench", "head-reader")


def start_explorer(page: Page) -> Locator:
    """Press Start, and return the explorer once it stands there."""
    page.locator(".explorer > .run-bar .run-main").click()
    explorer = page.locator(page.locator(".explorer").get_attribute("data-explorer") or "")
    # Python starts, and other tests may keep the machine busy.
    explorer.wait_for(timeout=180_000)
    return explorer


def python_workers(page: Page) -> list[Worker]:
    return [worker for worker in page.workers if worker.url.endswith("/assets/web/worker.js")]
