"""The built site in Debian's Chromium, with every name but the local one refused."""

import functools
import gzip
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"
TEXT = {".html", ".css", ".js", ".mjs", ".json", ".svg", ".txt", ".xml"}
NO_SERVICE_WORKER = "delete Navigator.prototype.serviceWorker"
LOCAL = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


class Handler(http.server.SimpleHTTPRequestHandler):
    """A static host: like most, it compresses text."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() and self.path.endswith("/") else path
        if path.suffix not in TEXT or not path.is_file():
            super().do_GET()
            return
        content = _compressed(path, path.stat().st_mtime_ns)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@functools.cache
def _compressed(path: Path, changed: int) -> bytes:
    del changed  # part of the key alone
    return gzip.compress(path.read_bytes())


def serve(
    folder: Path, handler: type[Handler] = Handler
) -> tuple[http.server.ThreadingHTTPServer, str]:
    made = functools.partial(handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), made)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built site, below the root of its host, as it is published."""
    if not (SITE / "assets" / "runtime" / "files.json").exists():
        pytest.fail("site/ has no Python for the browser: run `make site` with a network")
    root = tmp_path_factory.mktemp("host")
    (root / "attention").symlink_to(SITE, target_is_directory=True)
    server, address = serve(root)
    yield f"{address}attention/"
    server.shutdown()
    server.server_close()


def chromium() -> dict[str, Any]:
    """How to start Debian's browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail("needs Chromium; on Debian it is the package chromium")
    # Containers have no sandbox of their own to give.
    return {"executable_path": path, "args": [LOCAL, "--no-sandbox"]}


def launched(playwright: Playwright, profile: Path) -> BrowserContext:
    """Start a browser on a profile that outlives it."""
    context = playwright.chromium.launch_persistent_context(profile, **chromium())
    context.add_init_script(NO_SERVICE_WORKER)
    return context


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**chromium())
        yield browser
        browser.close()


class Watched:
    """A browser context that notes what a reader would not want to see."""

    def __init__(self, context: BrowserContext, home: str) -> None:
        self.context = context
        self.home = home
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        context.on("request", self._request)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _request(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith((self.home, "data:", f"blob:{self.home[:17]}")):
            self.elsewhere.append(url)

    def _console(self, message: object) -> None:
        if getattr(message, "type", "") in ("error", "warning"):
            self.errors.append(str(getattr(message, "text", "")))


@contextmanager
def watch(browser: Browser, home: str, **options: Any) -> Iterator[Watched]:
    """Open a fresh profile."""
    # The service worker has tests of its own; it would keep the others' changed answers. To have
    # it blocked would leave a warning in the console.
    allowed = options.pop("service_workers", "block") == "allow"
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    if not allowed:
        context.add_init_script(NO_SERVICE_WORKER)
    context.set_default_timeout(60_000)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield Watched(context, home)
    context.close()


@pytest.fixture
def watched(browser: Browser, home: str) -> Iterator[Watched]:
    """A fresh profile; at the end, nothing may have gone to another host or into the console."""
    with watch(browser, home) as watched:
        yield watched
    assert watched.elsewhere == []
    assert watched.errors == []


@pytest.fixture
def visit(watched: Watched, home: str) -> Callable[[str], Page]:
    """Open a page of the site, by its path, and wait for its buttons."""

    def visit(path: str) -> Page:
        page = watched.context.new_page()
        page.goto(f"{home}{path}")
        page.wait_for_selector(".run-bar")
        return page

    return visit
