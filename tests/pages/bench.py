"""Measure this engine beside others on the same 500 blocks, and a strict build of the site.

Run as `python -m pages.bench`, with tests/ on the path.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pages.others import EXAMPLES, SYBIL

ROOT = Path(__file__).resolve().parents[2]
PAGES, BLOCKS, ROUNDS = 10, 50, 3
BLOCK = """
Text about number {number}.

```python
import numpy as np

x = np.arange({number})
print(x.sum(), x.shape)
```

<!--pytest-codeblocks:expected-output-->
```text
{total} ({number},)
```
"""
OURS = 'pytest_plugins = ["pages.plugin"]\n'
TOOLS = {
    "this engine": ("conftest.py", OURS, ()),
    "pytest-codeblocks": ("conftest.py", "", ("--codeblocks",)),
    "Sybil": ("conftest.py", SYBIL, ()),
    "pytest-examples": ("test_examples.py", EXAMPLES, ()),
}
# The CPU time of collecting the blocks and running all but the first, which imports NumPy.
CLOCK = """
import time

times = []


def pytest_collection():
    times.append(time.process_time())


def pytest_collection_finish():
    times.append(time.process_time())


def pytest_runtest_logfinish():
    if len(times) == 2:
        times.append(time.process_time())


def pytest_unconfigure():
    started, collected, first, ended = *times, time.process_time()
    print("seconds:", ended - first + collected - started)
"""
# What the other tools need no part of.
WITHOUT = ("cacheprovider", "xdist", "hypothesispytest", "jaxtyping")


def main() -> None:
    """Print the table."""
    costs: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    with tempfile.TemporaryDirectory() as name:
        folders = {tool: _lay_down(Path(name) / tool.replace(" ", "-"), tool) for tool in TOOLS}
        for _ in range(ROUNDS):  # by turns, so that a busy moment hits all
            for tool, folder in folders.items():
                costs[tool].append(_cost(folder, tool))
        build = _build(Path(name) / "site")
    best = {tool: min(seconds) / (PAGES * BLOCKS) for tool, seconds in costs.items()}
    print(f"{PAGES * BLOCKS} blocks in {PAGES} pages; CPU time, best of {ROUNDS} runs\n")
    print(f"{'':20}{'ms a block':>12}{'this engine costs':>20}")
    for tool, seconds in best.items():
        ratio = best["this engine"] / seconds
        print(f"{tool:20}{1000 * seconds:12.2f}{ratio:14.2f} times")
    print(f"\nmkdocs build --strict {build:10.1f} s")


def _lay_down(folder: Path, tool: str) -> Path:
    name, source, _ = TOOLS[tool]
    docs = folder / "docs"
    docs.mkdir(parents=True)
    (folder / name).write_text(source)
    (folder / "clock.py").write_text(CLOCK)
    for page in range(PAGES):
        numbers = range(page * BLOCKS, (page + 1) * BLOCKS)
        text = "".join(BLOCK.format(number=n, total=n * (n - 1) // 2) for n in numbers)
        (docs / f"page{page}.md").write_text(f"# Page {page}\n{text}")
    return folder


def _cost(folder: Path, tool: str) -> float:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(folder))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PAGE": str(folder / "docs"),
    }
    plugins = [part for name in WITHOUT for part in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", f"--rootdir={folder}", *plugins]
    run = subprocess.run(
        [*command, "-p", "clock", *TOOLS[tool][2], str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = re.search(r"^seconds: (\S+)", run.stdout, re.MULTILINE)
    if f"{PAGES * BLOCKS} passed" not in run.stdout or seconds is None:
        raise RuntimeError(f"{tool} did not pass {PAGES * BLOCKS} blocks:\n{run.stdout[-2000:]}")
    return float(seconds[1])


def _build(site: Path) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
