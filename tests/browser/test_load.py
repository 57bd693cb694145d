"""Before the first click, and when something cannot be loaded."""

import json
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, Route

from browser.conftest import Watched
from browser.reader import (
    EXPLORERS,
    Visit,
    await_end,
    bar,
    follow,
    press,
    published_here,
    run,
    status,
    texts,
)

BYTES_BEFORE_A_CLICK = 250_000
OUR_BYTES = 25_000
KINDS = [
    "",
    "learn/softmax/",
    "explore/lookup-board/",
    "reference/conventions/",
    "reference/softmax/",
]


def test_the_page_reads_the_same_without_scripts(browser: Browser, home: str, visit: Visit) -> None:
    with_scripts = texts(visit("learn/softmax/"))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{home}learn/softmax/")
    without = page.locator("article pre").all_text_contents()
    assert [text.rstrip("\n") for text in without] == with_scripts
    assert page.locator(".run-bar").count() == 0
    context.close()


@pytest.mark.parametrize("path", KINDS)
def test_few_bytes_come_before_a_click(path: str, watched: Watched, home: str) -> None:
    page = watched.context.new_page()
    session = watched.context.new_cdp_session(page)
    session.send("Network.enable")
    urls: dict[str, str] = {}
    received: dict[str, float] = {}
    session.on(
        "Network.responseReceived",
        lambda one: urls.update({one["requestId"]: one["response"]["url"]}),
    )
    session.on(
        "Network.loadingFinished",
        lambda one: received.update({one["requestId"]: one["encodedDataLength"]}),
    )
    with page.expect_event("requestfinished", lambda one: one.url.endswith("search_index.json")):
        page.goto(f"{home}{path}", wait_until="networkidle")
    page.wait_for_timeout(300)
    sizes = {urls[one].removeprefix(home): size for one, size in received.items()}
    assert sizes["search/search_index.json"] > 0
    assert sum(sizes.values()) < BYTES_BEFORE_A_CLICK
    ours = [size for url, size in sizes.items() if url.startswith(("assets/web/", "assets/run/"))]
    assert sum(ours) < OUR_BYTES


def test_nothing_moves_when_the_buttons_come(watched: Watched, home: str) -> None:
    def places(page: Page) -> object:
        return page.locator("article :is(h1, h2, h3, pre, figure)").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect().y)"
        )

    for path in KINDS:
        page = watched.context.new_page()
        page.goto(f"{home}{path}", wait_until="networkidle")
        with_buttons = places(page)
        page.route(
            "**/assets/web/main.js",
            lambda route: route.fulfill(body="", content_type="text/javascript"),
        )
        page.goto("about:blank")
        page.goto(f"{home}{path}", wait_until="networkidle")
        assert page.locator(".run-bar").count() == 0
        assert places(page) == with_buttons, path


def test_a_listing_out_of_sight_is_as_high_as_in_sight(watched: Watched, home: str) -> None:
    for width, path in ((1280, "learn/softmax/"), (360, "reference/conventions/")):
        page = watched.context.new_page()
        page.set_viewport_size({"width": width, "height": 600})
        page.goto(f"{home}{path}", wait_until="networkidle")
        heights = """() => [...document.querySelectorAll("article .highlight pre > code")]
          .map(one => one.getBoundingClientRect().height)"""
        guessed = page.evaluate(heights)
        page.add_style_tag(content="article pre > code { content-visibility: visible !important }")
        # What is wider than the page has a bar to scroll by, where bars take room.
        assert page.evaluate(heights) == guessed
        assert len(guessed) > 20
        # Nor does it grow while its lines arrive.
        page.evaluate(
            """() => {
                 for (const one of document.querySelectorAll("article .highlight pre > code"))
                   one.textContent = "";
               }"""
        )
        assert page.evaluate(heights) == guessed


@pytest.mark.parametrize("path", [*KINDS, "notebooks/scaling/"])
@pytest.mark.parametrize("width", [1280, 412])
def test_nothing_moves_while_a_page_loads(
    path: str, width: int, watched: Watched, home: str
) -> None:
    page = watched.context.new_page()
    page.set_viewport_size({"width": width, "height": 820})
    page.goto(f"{home}{path}", wait_until="networkidle")
    moved = page.evaluate(
        """() => new Promise(done => {
             let sum = 0;
             new PerformanceObserver(list => {
               for (const one of list.getEntries()) sum += one.value;
             }).observe({type: "layout-shift", buffered: true});
             setTimeout(() => done(sum), 300);
           })"""
    )
    assert moved < 0.02  # full marks up to 0.03


def test_the_code_of_an_explorer_is_not_seen_before_its_figure(visit: Visit) -> None:
    for name in EXPLORERS:
        code = visit(f"explore/{name}/").locator(".explorer > .language-python pre").first
        assert code.is_visible()
        code.evaluate("one => one.closest('.explorer').querySelector('figure').remove()")
        assert not code.is_visible()  # as when a page has arrived as far as the figure


def test_the_start_of_scripts_does_not_style_the_whole_page_again(
    browser: Browser, watched: Watched, home: str
) -> None:
    page = watched.context.new_page()
    page.set_viewport_size({"width": 412, "height": 820})
    browser.start_tracing(page=page, categories=["devtools.timeline", "blink.user_timing"])
    page.goto(f"{home}reference/misconceptions/", wait_until="networkidle")
    events = json.loads(browser.stop_tracing())["traceEvents"]
    styled = sum(
        event["args"]["elementCount"] for event in events if event["name"] == "UpdateLayoutTree"
    )
    elements = page.evaluate("document.querySelectorAll('*').length")
    assert elements > 4000  # most of them words of code
    # Seven times as many as elements, where listings out of sight are styled too and the theme's
    # rules stay. Its own button for colours, and its script unchanged, style what is in sight anew.
    assert styled < elements / 2


def test_nothing_is_animated_before_a_click(watched: Watched, home: str) -> None:
    watched.context.add_init_script(
        """window.animated = [];
           requestAnimationFrame(function look() {
             for (const { effect } of document.getAnimations())
               window.animated.push(`${effect.target.className} ${effect.pseudoElement}`);
             requestAnimationFrame(look);
           });"""
    )
    for path in KINDS:
        page = watched.context.new_page()
        page.goto(f"{home}{path}", wait_until="networkidle")
        page.wait_for_timeout(300)
        assert page.evaluate("window.animated") == [], path


def test_the_stylesheet_is_read_once_on_the_way_through_the_site(
    watched: Watched, home: str
) -> None:
    watched.context.add_init_script(
        """document.addEventListener("load", ({ target }) => {
             if (target.rel === "stylesheet") window.read = (window.read ?? 0) + 1;
           }, true);"""
    )
    watched.context.route("**/sitemap.xml", partial(published_here, home))
    page = watched.context.new_page()
    page.goto(f"{home}learn/softmax/")
    page.evaluate("window.started = 'once'")
    for path in ("", "reference/flash/"):
        follow(page, f"{home}{path}")
        page.wait_for_selector("article:not([data-old])", state="attached")
        assert page.evaluate(
            """[window.started, window.read,
                document.querySelectorAll("link[rel=stylesheet]").length]"""
        ) == ["once", 1, 1]


def test_a_failed_download_is_named_and_can_be_tried_again(visit: Visit, watched: Watched) -> None:
    page = visit("learn/softmax/")

    def refuse(route: Route) -> None:
        route.fulfill(status=503)

    watched.context.route("**/python_stdlib.zip", refuse)
    press(page, 1, "Run")
    said = await_end(page, 1)
    assert said == "python_stdlib.zip could not be downloaded: error 503"
    watched.context.unroute("**/python_stdlib.zip", refuse)
    press(page, 1, "Retry")
    assert await_end(page, 1).startswith("Live: equal")
    watched.errors.clear()  # the browser itself notes the 503


def test_the_first_click_shows_stages_and_bytes(visit: Visit) -> None:
    page = visit("learn/softmax/")
    page.evaluate(
        """() => {
             window.said = [];
             const status = document.querySelector('.run-bar[aria-label="Block 2"] .run-status');
             new MutationObserver(() => window.said.push(status.textContent)).observe(
               status, {childList: true, characterData: true, subtree: true});
           }"""
    )
    run(page, 1)
    said = "\n".join(page.evaluate("window.said"))
    stages = ("Downloading Python: ", " of ", "Starting Python", "NumPy", "Live: equal")
    places = [said.find(stage) for stage in stages]
    assert places == sorted(places), said
    assert -1 not in places, said


def test_a_page_that_was_changed_after_the_build_has_no_buttons(
    watched: Watched, home: str
) -> None:
    def changed(route: Route) -> None:
        response = route.fetch()
        body = response.text().replace("naive_softmax", "changed_softmax")
        route.fulfill(response=response, body=body)

    watched.context.route("**/assets/run/learn/softmax.json", changed)
    page: Page = watched.context.new_page()
    page.goto(f"{home}learn/softmax/", wait_until="networkidle")
    assert page.locator(".run-bar").count() == 0


def test_a_site_without_the_runtime_says_so_once(watched: Watched, home: str) -> None:
    def without(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json={**response.json(), "runtime": None})

    watched.context.route("**/assets/run/learn/softmax.json", without)
    page = watched.context.new_page()
    page.goto(f"{home}learn/softmax/")
    page.wait_for_selector(".run-bar")
    assert page.get_by_text("Run", exact=True).count() == 0
    assert status(page, 0) == "This copy of the site was built without Python: nothing runs here."
    assert status(page, 1) == ""
    assert bar(page, 1).get_by_text("Copy").count() == 1


def test_the_policy_refuses_foreign_code_and_hosts(visit: Visit, watched: Watched) -> None:
    page = visit("learn/softmax/")
    came = page.evaluate(
        """async () => {
             const script = document.createElement("script");
             script.textContent = "window.injected = 'ran'";
             document.body.append(script);
             const answer = await fetch("https://example.org/").then(() => "came", () => "refused");
             return [window.injected ?? "did not run", answer];
           }"""
    )
    assert came == ["did not run", "refused"]
    refused = [error for error in watched.errors if "Content Security Policy" in error]
    assert len(refused) >= 2
    watched.errors.clear()
    watched.elsewhere.clear()


def test_python_runs_where_a_host_sends_the_policy_with_every_file(
    visit: Visit, watched: Watched
) -> None:
    def with_policy(route: Route) -> None:
        response = route.fetch()
        headers = {**response.headers, "content-security-policy": content}
        route.fulfill(response=response, headers=headers)

    meta = visit("").locator('meta[http-equiv="Content-Security-Policy"]')
    content = meta.get_attribute("content") or ""
    assert "wasm-unsafe-eval" in content
    for file in ("**/learn/softmax/", "**/assets/web/*.js"):
        watched.context.route(file, with_policy)
    page = visit("learn/softmax/")
    assert run(page, 1).startswith("Live: equal")
    press(page, 1, "Edit")
    page.wait_for_selector(".cm-editor")
