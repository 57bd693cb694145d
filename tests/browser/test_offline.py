"""Readers keep the site: offline after one visit, in one version, until a newer one is whole."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from attention_docs import archive
from attention_docs.offline import files
from browser.conftest import SITE, Handler, Watched, serve, watch
from browser.reader import run, wait_until

KEPT = "This site is kept for reading offline. Remove it"
# Of these, a small site has a few: what is fetched is then fetched soon.
SMALL = re.compile("softmax|scaling")
PAGES = ("contribute/", "learn/", "notebooks/", "reference/", "assets/figures/", "assets/run/")
NEWER = "A newer version of this site is here. Load it"


class Host(Handler):
    """A static host that remembers what it was asked for, and can be told to fail."""

    asked: list[str]
    refused: Callable[[str], bool]

    def do_GET(self) -> None:  # noqa: N802
        if type(self).refused(self.path):
            self.close_connection = True  # and no answer
            return
        type(self).asked.append(self.path)
        super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "max-age=600")  # as GitHub's host sends
        super().end_headers()


class Deployed:
    """A site at a host, below a path, in a first or a later version."""

    def __init__(self, folder: Path, path: str, whole: bool) -> None:
        self.site = folder / path
        self.site.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(SITE, self.site, copy_function=os.link)
        for name in files(self.site):
            if not whole and name.startswith(PAGES) and not SMALL.search(name):
                (self.site / name).unlink()
        self.publish()

        class Own(Host):
            asked: list[str] = []  # noqa: RUF012
            refused = staticmethod(lambda path: False)

        self.host = Own
        self.server, address = serve(folder, Own)
        self.home = f"{address}{path}/"

    def change(self, name: str, old: str, new: str) -> None:
        file = self.site / name
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.unlink()  # it is a link to the built site's
        file.write_text(text.replace(old, new), encoding="utf-8")

    def publish(self) -> None:
        """List the files afresh, as the build of another version does."""
        script = (self.site / "service-worker.js").read_text(encoding="utf-8")
        listed = json.dumps(files(self.site), separators=(",", ":"))
        (self.site / "service-worker.js").unlink()
        (self.site / "service-worker.js").write_text(
            re.sub(r"^const FILES=.*;$", f"const FILES={listed};", script, count=1, flags=re.M),
            encoding="utf-8",
        )

    def go_down(self, path: str = "") -> None:
        """Refuse every request, or those whose path contains `path`."""
        self.host.refused = staticmethod(lambda asked: path in asked)  # type: ignore[method-assign]

    def come_back(self) -> None:
        self.host.refused = staticmethod(lambda asked: False)  # type: ignore[method-assign]


@pytest.fixture
def deployed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Deployed]:
    """A small site, or all of it."""
    one = Deployed(tmp_path, "attention-executed", whole=getattr(request, "param", False))
    yield one
    one.server.shutdown()
    one.server.server_close()


# Pages wait for ten seconds before anything is fetched for later. One test does, too.
AT_ONCE = """const wait = window.setTimeout;
  window.setTimeout = (act, delay, ...rest) => wait(act, delay === 10_000 ? 0 : delay, ...rest);"""


@pytest.fixture
def reader(browser: Browser, deployed: Deployed) -> Iterator[Watched]:
    with watch(browser, deployed.home, service_workers="allow") as reader:
        reader.context.add_init_script(AT_ONCE)
        yield reader
    assert reader.elsewhere == []


def opened(reader: Watched, path: str = "") -> Page:
    page = reader.context.new_page()
    page.goto(f"{reader.home}{path}")
    return page


def await_line(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.locator(".site-offline")).to_have_text(text, timeout=60_000)


def hold_line(page: Page, label: str) -> None:
    """Press the button in the line and hold it; `page.mouse.up()` lets go."""
    button = page.locator(".site-offline").get_by_role("button", name=label, exact=True)
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()


def press_line(page: Page, label: str) -> None:
    # Playwright's own click would look for the button again on the page that the press loads.
    hold_line(page, label)
    page.mouse.up()


def stored(page: Page) -> set[str]:
    """The files in the reader's store, by name and digest."""
    addresses = page.evaluate(
        """async () => {
             const stores = await Promise.all((await caches.keys()).map(one => caches.open(one)));
             const requests = await Promise.all(stores.map(one => one.keys()));
             return requests.flat().map(one => one.url);
           }"""
    )
    return {one for one in addresses if "?sha256=" in one}


def expected(deployed: Deployed) -> set[str]:
    listed = files(deployed.site).items()
    return {f"{deployed.home}{name}?sha256={digest}" for name, (digest, _) in listed}


@pytest.mark.parametrize("deployed", [True], indirect=True)
def test_after_one_visit_the_whole_site_is_there_and_runs_offline(
    reader: Watched, deployed: Deployed
) -> None:
    page = opened(reader)
    await_line(page, KEPT)
    assert stored(page) == expected(deployed)
    deployed.go_down()
    came = page.evaluate(
        """async names => Promise.all(names.map(async name => {
             const answer = await fetch(name.replace(/(^|\\/)index\\.html$/, "$1"));
             const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256",
               await answer.arrayBuffer()));
             const hex = [...bytes].map(one => one.toString(16).padStart(2, "0")).join("");
             return [name, answer.status === 200 ? hex : answer.status];
           }))""",
        list(files(deployed.site)),
    )
    assert {name: digest for name, (digest, _) in files(deployed.site).items()} == dict(came)
    # As a reader does: by a link, by an address that lacks its slash, and by the search.
    page.get_by_role("link", name="Softmax", exact=True).first.click()
    page.wait_for_url("**/learn/softmax/")
    page.goto(f"{deployed.home}learn/softmax?from=elsewhere#try-it")
    assert page.url == f"{deployed.home}learn/softmax/?from=elsewhere#try-it"
    page.wait_for_selector(".run-bar")
    assert run(page, 1).startswith("Live: equal")
    page.keyboard.press("/")
    page.keyboard.type("sliding window")
    page.wait_for_selector(".md-search-result__item")
    assert reader.errors == []


def test_nothing_is_fetched_for_later_while_a_page_is_new(
    browser: Browser, deployed: Deployed
) -> None:
    with watch(browser, deployed.home, service_workers="allow") as reader:
        page = opened(reader)
        page.wait_for_timeout(5_000)
        assert not any("service-worker" in path for path in deployed.host.asked)
        assert page.evaluate("async () => (await caches.keys()).length") == 0
        await_line(page, KEPT)


def test_the_runtime_comes_last(reader: Watched, deployed: Deployed) -> None:
    page = opened(reader)
    await_line(page, KEPT)
    runtime = [number for number, path in enumerate(deployed.host.asked) if "/runtime/" in path]
    others = [number for number in range(len(deployed.host.asked)) if number not in runtime]
    assert len(runtime) == 6
    # Four files come at a time.
    assert min(runtime) > max(others) - 4


def test_what_the_site_lacks_is_the_hosts_answer_or_the_error_page(
    reader: Watched, deployed: Deployed
) -> None:
    page = opened(reader)
    await_line(page, KEPT)
    answer = page.goto(f"{deployed.home}no/such/page/")
    assert answer is not None
    assert (answer.status, answer.from_service_worker) == (404, True)
    assert "Error code: 404" in page.content()  # the host's own
    deployed.go_down()
    answer = page.goto(f"{deployed.home}nor/this/page/")
    assert answer is not None
    assert answer.status == 404
    assert "Attention, executed" in page.title()
    assert page.evaluate("[...document.styleSheets].every(one => one.cssRules.length > 0)")
    reader.errors.clear()


def test_parts_and_heads_of_files_are_answered(reader: Watched, deployed: Deployed) -> None:
    """A host may answer a request for a part with the whole, as the worker does."""
    page = opened(reader)
    ask = """async () => {
               const answer = await fetch("assets/logo.svg", {headers: {Range: "bytes=0-3"}});
               const head = await fetch("assets/logo.svg", {method: "HEAD"});
               return [answer.status, (await answer.text()).length, head.status];
             }"""
    length = len((deployed.site / "assets/logo.svg").read_text(encoding="utf-8"))
    await_line(page, KEPT)
    assert page.evaluate(ask) == [200, length, 200]


def test_who_saves_data_keeps_what_was_opened(
    browser: Browser, reader: Watched, deployed: Deployed
) -> None:
    reader.context.add_init_script(
        "Object.defineProperty(navigator, 'connection', {value: {saveData: true}})"
    )
    page = opened(reader)
    await_line(page, "Keep this site for reading offline")
    wait_until(page, "navigator.serviceWorker.controller !== null")
    page.goto(f"{deployed.home}learn/softmax/", wait_until="networkidle")
    page.goto(f"{deployed.home}reference/softmax/", wait_until="networkidle")
    page.wait_for_timeout(3000)
    assert not any("/runtime/" in path for path in deployed.host.asked)
    pages = {one for one in deployed.host.asked if one.endswith("/")}
    assert pages == {
        "/attention-executed/",
        "/attention-executed/learn/softmax/",
        "/attention-executed/reference/softmax/",
    }
    deployed.go_down()
    page.goto(f"{deployed.home}learn/softmax/")
    page.wait_for_selector(".run-bar")
    with pytest.raises(Error, match="ERR_FAILED"):
        opened(reader, "learn/scaling/")
    deployed.come_back()
    page.goto(f"{deployed.home}learn/softmax/")
    press_line(page, "Keep this site for reading offline")
    await_line(page, KEPT)
    assert stored(page) == expected(deployed)
    reader.errors.clear()


def test_the_reader_can_remove_it(reader: Watched, deployed: Deployed) -> None:
    page = opened(reader)
    await_line(page, KEPT)
    press_line(page, "Remove it")
    offer = "Keep this site for reading offline"
    await_line(page, offer)
    page.goto(f"{deployed.home}learn/softmax/", wait_until="networkidle")
    await_line(page, offer)
    assert page.evaluate("async () => (await caches.keys()).length") == 0
    assert page.evaluate("navigator.serviceWorker.controller") is None
    press_line(page, offer)
    await_line(page, KEPT)


def next_version(deployed: Deployed) -> None:
    """Change a page, its plan and the Python that runs it, so that each names the version."""
    deployed.change("learn/softmax/index.html", "<h1", "<p id='version'>second</p><h1")
    deployed.change("assets/web/worker.js", "Python has not started", "Second Python")
    plan = deployed.site / "assets/run/learn/softmax.json"
    deployed.change("assets/run/learn/softmax.json", '{"fences"', '{"version":"second","fences"')
    assert json.loads(plan.read_text(encoding="utf-8"))["version"] == "second"
    deployed.publish()


VERSIONS = """async () => {
  const text = async path => (await fetch(path)).text();
  return [
    document.querySelector("#version") !== null,
    (await text("../../learn/softmax/")).includes("id='version'"),
    (await text("../../assets/web/worker.js")).includes("Second Python"),
    (await text("../../assets/run/learn/softmax.json")).includes("second"),
  ];
}"""


def go_on(page: Page) -> None:
    """Go to the page that names the version, until it is the second: the browser may take some
    seconds to forget the page before, and that counts as a second open page."""
    for _ in range(10):
        try:
            page.locator("nav a[href$='/learn/softmax/']:visible").first.click()
            page.wait_for_selector("#version", timeout=7_000)
        except Error:
            continue
        return
    pytest.fail("the new version does not come")


WAITING = """async () =>
  (await navigator.serviceWorker.getRegistration()).waiting?.state ?? null"""


def leave(page: Page, reader: Watched, deployed: Deployed) -> None:
    """Leave the site by its last open page, and wait until the browser has let the old worker go.

    It does not while a developer's tool, such as the one that drives it here, looks on and a page
    comes before the worker has gone.
    """
    outside = deployed.home.removesuffix("attention-executed/")
    page.goto(outside)
    scope = json.dumps(deployed.home)
    wait_until(
        page, f"async () => !(await navigator.serviceWorker.getRegistration({scope})).waiting"
    )
    reader.elsewhere = [url for url in reader.elsewhere if url != outside]


FIRST, SECOND = [False] * 4, [True] * 4


def test_a_new_version_replaces_the_old_one_whole(reader: Watched, deployed: Deployed) -> None:
    page = opened(reader, "learn/scaling/")
    await_line(page, KEPT)
    old = stored(page)
    next_version(deployed)
    deployed.host.asked.clear()
    page.reload()
    await_line(page, NEWER)
    assert page.evaluate(VERSIONS) == FIRST
    # What has not changed is not fetched again.
    paths = ("learn/softmax/", "assets/web/worker.js", "assets/run/learn/softmax.json")
    asked = set(deployed.host.asked)
    home = "/attention-executed/"
    assert asked == {f"{home}service-worker.js", *(f"{home}{path}" for path in paths)}
    # The next page that is shown is of the new version, and so is all else.
    go_on(page)
    await_line(page, KEPT)
    deployed.go_down()
    page.reload()
    assert page.evaluate(VERSIONS) == SECOND
    page.wait_for_selector(".run-bar")
    assert run(page, 1).startswith("Live: equal")
    assert stored(page) == expected(deployed) != old


@pytest.mark.parametrize("path", ["assets/web/worker.js", "assets/run/learn/softmax.json"])
def test_an_update_that_breaks_off_leaves_the_old_version_whole(
    path: str, reader: Watched, deployed: Deployed
) -> None:
    page = opened(reader, "learn/softmax/")
    await_line(page, KEPT)
    next_version(deployed)
    deployed.go_down(path)
    page.reload()
    wait_until(
        page,
        """async () => {
             const one = await navigator.serviceWorker.getRegistration();
             return one.installing === null && one.waiting === null;
           }""",
    )
    deployed.go_down()
    page.reload()
    await_line(page, KEPT)
    assert page.evaluate(VERSIONS) == FIRST
    page.wait_for_selector(".run-bar")
    assert run(page, 1).startswith("Live: equal")
    # The next visit goes on from there.
    deployed.come_back()
    page.reload()
    await_line(page, NEWER)
    go_on(page)
    await_line(page, KEPT)
    assert page.evaluate(VERSIONS) == SECOND


def test_no_page_gets_another_version_while_it_is_open(reader: Watched, deployed: Deployed) -> None:
    first = opened(reader, "learn/softmax/")
    await_line(first, KEPT)
    next_version(deployed)
    second = opened(reader, "learn/softmax/")
    await_line(second, NEWER)
    # Two pages are open: neither is taken away from the reader.
    second.reload()
    await_line(second, NEWER)
    assert first.evaluate(VERSIONS) == second.evaluate(VERSIONS) == FIRST
    hold_line(second, "Load it")
    # What another page hears of is no reason for this one to lose a press that is half done.
    heard = "navigator.serviceWorker.controller.postMessage({kind: 'keep'})"
    for page in (first, second):
        page.evaluate(heard)
    second.wait_for_timeout(300)
    second.mouse.up()
    for page in (first, second):
        page.wait_for_selector("#version")
        await_line(page, KEPT)
        assert page.evaluate(VERSIONS) == SECOND


def test_the_old_worker_answers_with_the_new_version_until_its_pages_are_closed(
    reader: Watched, deployed: Deployed
) -> None:
    """A browser may let it stay for long, so nothing that a reader sees waits for its end."""
    bundle, chunk = "assets/web/main.js", deployed.site / "assets/web/chunk-of-second.js"
    first = opened(reader, "learn/softmax/")
    await_line(first, KEPT)
    next_version(deployed)
    deployed.change(bundle, "window.document$?", "import'./chunk-of-second.js';window.document$?")
    chunk.write_text("window.chunk = 'second'", encoding="utf-8")
    deployed.publish()
    second = opened(reader, "learn/softmax/")
    await_line(second, NEWER)
    press_line(second, "Load it")
    for page in (first, second):
        page.wait_for_selector("#version")
        await_line(page, KEPT)
    assert first.evaluate(WAITING) == "installed"
    deployed.go_down()
    first.goto(f"{deployed.home}learn/scaling/")
    await_line(first, KEPT)
    assert first.evaluate("window.chunk") == "second"  # a file that the old version has not
    assert first.evaluate(VERSIONS)[1:] == SECOND[1:]
    assert stored(first) == expected(deployed)
    first.goto(f"{deployed.home}no/such/page/")
    assert "Attention, executed" in first.title()
    deployed.come_back()
    first.close()
    leave(second, reader, deployed)
    second.goto(f"{deployed.home}learn/softmax/")
    await_line(second, KEPT)
    assert second.evaluate(VERSIONS) == SECOND
    assert stored(second) == expected(deployed)
    reader.errors.clear()


def test_a_version_that_changes_while_it_is_fetched_is_given_up(
    reader: Watched, deployed: Deployed
) -> None:
    deployed.go_down("/run/")
    page = opened(reader, "learn/softmax/")
    await_line(page, re.compile("%"))
    page.wait_for_timeout(1000)
    next_version(deployed)
    deployed.come_back()
    page.goto(f"{deployed.home}reference/softmax/")
    leave(page, reader, deployed)
    page.goto(f"{deployed.home}learn/softmax/")
    await_line(page, KEPT)
    assert page.evaluate(VERSIONS) == SECOND
    assert stored(page) == expected(deployed)
    reader.errors.clear()


def test_a_host_that_changes_files_serves_them_and_nothing_is_kept(
    reader: Watched, deployed: Deployed
) -> None:
    deployed.change("learn/softmax/index.html", "<h1", "<p>From your provider</p><h1")
    page = opened(reader, "learn/softmax/")
    page.wait_for_timeout(3000)
    page.goto(f"{deployed.home}learn/softmax/")
    page.wait_for_selector(".run-bar")
    assert run(page, 1).startswith("Live: equal")
    assert "offline. Remove" not in (page.text_content(".site-offline") or "")
    deployed.go_down()
    with pytest.raises(Error, match="ERR_"):
        page.reload()


def test_a_site_without_a_worker_takes_back_the_one_that_it_had(
    reader: Watched, deployed: Deployed
) -> None:
    page = opened(reader, "learn/softmax/")
    await_line(page, KEPT)
    deployed.change("learn/softmax/index.html", '<meta name="service-worker"', '<meta name="none"')
    (deployed.site / "service-worker.js").unlink()
    page.reload()
    page.wait_for_selector("meta[name=none]", state="attached")
    assert page.evaluate("async () => (await caches.keys()).length") == 0
    assert page.evaluate("async () => await navigator.serviceWorker.getRegistration()") is None
    reader.errors.clear()


def test_pages_that_name_no_worker_register_none(reader: Watched, deployed: Deployed) -> None:
    """As those of `make serve`."""
    deployed.change("index.html", '<meta name="service-worker"', '<meta name="none"')
    page = opened(reader)
    page.wait_for_timeout(2000)
    assert page.text_content(".site-offline") == ""
    assert page.evaluate("async () => await navigator.serviceWorker.getRegistration()") is None
    assert "/attention-executed/service-worker.js" not in deployed.host.asked


@pytest.mark.parametrize("path", ["", "some/folder/"])
def test_the_zip_runs_behind_any_static_server(
    path: str, browser: Browser, deployed: Deployed, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    archive.main(deployed.site, tmp_path / "zip" / "attention-executed-site.zip")
    with zipfile.ZipFile(tmp_path / "zip" / "attention-executed-site.zip") as packed:
        packed.extractall(tmp_path / "unpacked")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "unpacked" / "attention-executed-site").rename(root / path)
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        port = re.findall(r"port (\d+)", server.stdout.readline())[0]
        home = f"http://127.0.0.1:{port}/{path}"
        with watch(browser, home, service_workers="allow") as reader:
            page = opened(reader, "learn/softmax/")
            page.wait_for_selector(".run-bar")
            assert run(page, 1).startswith("Live: equal")
            await_line(page, KEPT)
            assert reader.errors == []
            server.terminate()
            page.goto(f"{home}learn/scaling/")
            page.wait_for_selector(".run-bar")
            assert run(page, 0).startswith("Live")
            assert reader.elsewhere == []
        server.terminate()


def test_workers_are_the_sites_own_files(reader: Watched) -> None:
    page = opened(reader)
    refused = page.evaluate(
        """async () => {
             const heard = new Promise(done => document.addEventListener(
               "securitypolicyviolation", event => done(event.effectiveDirective)));
             const code = URL.createObjectURL(new Blob(["postMessage(1)"]));
             try { new Worker(code); } catch {}
             const service = await navigator.serviceWorker.register("https://example.org/w.js")
               .then(() => "registered", () => "refused");
             return [await heard, service];
           }"""
    )
    assert refused == ["worker-src", "refused"]
    reader.errors.clear()
