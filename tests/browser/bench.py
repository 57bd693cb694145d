"""Click to first output, beside the bare floor: `PYTHONPATH=tests python -m browser.bench`.

The floor is a page that does nothing but load Pyodide and NumPy's wheel in the way of their manuals
and run the same block. Both are tried in turn, each cold (a new profile) and warm (the same profile
in a new browser). A second run is what the page adds to the time that Python reports.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from playwright.sync_api import BrowserContext, Page, sync_playwright

from attention_docs.runtime import CACHE, FILES, NUMPY
from browser.conftest import SITE, launched, serve
from browser.reader import DOCS, plan

PATH = "learn/softmax/"
BLOCK = 1  # the first that needs NumPy alone
ROUNDS = 3
FLOOR = """<!doctype html><title>Floor</title><button>Run</button><pre></pre><script type="module">
document.querySelector("button").onclick = async () => {{
  const started = performance.now();
  const {{ loadPyodide }} = await import("./pyodide.mjs");
  const pyodide = await loadPyodide({{
    indexURL: "./", lockFileURL: "lock.json", packages: ["numpy"], stdout: () => {{}} }});
  pyodide.runPython({code});
  document.querySelector("pre").textContent = performance.now() - started;
}};
</script>"""
PRESS = """async number => {
  const bar = document.querySelector(`.run-bar[aria-label="Block ${number + 1}"]`);
  const status = bar.querySelector(".run-status");
  const started = performance.now();
  bar.querySelector(".run-main").click();
  while (!status.textContent.startsWith("Live"))
    await new Promise(done => new MutationObserver(done).observe(
      status, {childList: true, characterData: true, subtree: true}));
  const took = performance.now() - started;
  return [took, Number(/\\(([\\d.]+) (ms|s)\\)/.exec(status.textContent)[1])];
}"""


def main() -> None:
    block = plan(DOCS / "learn/softmax.md")["blocks"][BLOCK]
    assert "attention_ref" not in block["code"]
    assert block["program"] == [BLOCK]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        host = Path(folder, "host")
        lay_floor(host / "floor", block["code"])
        (host / "attention").symlink_to(SITE, target_is_directory=True)
        server, address = serve(host)
        times: dict[str, list[float]] = {}

        def visit(name: str, profile: Path, measure: Callable[[Page], float]) -> None:
            for kind in ("cold", "warm"):
                context: BrowserContext = launched(playwright, profile)
                context.set_default_timeout(120_000)  # the machine may be busy
                page = context.new_page()
                times.setdefault(f"{name}, {kind}", []).append(measure(page))
                if (name, kind) == ("this site", "warm"):
                    again = [page.evaluate(PRESS, BLOCK) for _ in range(5)]
                    beyond = min(took - own for took, own in again)
                    times.setdefault("a second run, beyond its own work", []).append(beyond)
                page.wait_for_timeout(1000)  # the browser writes its caches
                context.close()

        def floor(page: Page) -> float:
            page.goto(f"{address}floor/")
            page.click("button")
            page.wait_for_function("document.querySelector('pre').textContent")
            return float(page.text_content("pre") or "nan")

        def site(page: Page) -> float:
            page.goto(f"{address}attention/{PATH}", wait_until="networkidle")
            page.wait_for_selector(".run-bar")
            return float(page.evaluate(PRESS, BLOCK)[0])

        for number in range(ROUNDS):
            visit("the floor", Path(folder, f"floor-{number}"), floor)
            visit("this site", Path(folder, f"site-{number}"), site)
            print(".", end="", file=sys.stderr, flush=True)
        server.shutdown()
        server.server_close()
    print(f"\n{'milliseconds, of ' + str(ROUNDS) + ' rounds':40} least median   all")
    for name, all_ in times.items():
        each = " ".join(f"{one:.0f}" for one in all_)
        print(f"{name:40} {min(all_):5.0f} {median(all_):6.0f}   {each}")


def lay_floor(folder: Path, code: str) -> None:
    folder.mkdir(parents=True)
    for file in FILES:
        (folder / file.name).symlink_to(CACHE / file.name)
    digest = next(file.digest for file in FILES if file.name == NUMPY)
    lock = {
        "info": {
            "abi_version": "2026_0",
            "arch": "wasm32",
            "platform": "emscripten_5_0_3",
            "python": "3.14.0",
        },
        "packages": {
            "numpy": {
                "depends": [],
                "file_name": NUMPY,
                "imports": ["numpy"],
                "install_dir": "site",
                "name": "numpy",
                "package_type": "package",
                "sha256": digest,
                "unvendored_tests": False,
                "version": "2.4.3",
            }
        },
    }
    (folder / "lock.json").write_text(json.dumps(lock), encoding="utf-8")
    (folder / "index.html").write_text(FLOOR.format(code=json.dumps(code)), encoding="utf-8")


if __name__ == "__main__":
    main()
