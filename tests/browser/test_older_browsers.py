"""Nothing is used that a browser in use lacks: Safari cannot loop over a stream."""

from playwright.sync_api import Route

from browser.conftest import Watched
from browser.reader import Visit, edit, run, wait_until
from browser.test_share import shared_link

LACKS = "delete ReadableStream.prototype[Symbol.asyncIterator];\n"
LACKS += "delete ReadableStream.prototype.values;\n"


def without(route: Route) -> None:
    response = route.fetch()
    route.fulfill(response=response, body=LACKS + response.text())


def test_what_safari_lacks_is_not_used(visit: Visit, watched: Watched) -> None:
    watched.context.add_init_script(LACKS)
    watched.context.route("**/assets/web/worker.js", without)  # pages' scripts do not run there
    page = visit("learn/softmax/")
    assert page.evaluate("!(Symbol.asyncIterator in ReadableStream.prototype)")
    assert run(page, 1).startswith("Live: equal")
    edit(page, 1, "print('from a link')")
    link = shared_link(page)
    page.evaluate("localStorage.clear()")
    page.close()
    page = watched.context.new_page()
    page.goto(link)
    wait_until(page, "document.querySelector('[data-edited]')")
