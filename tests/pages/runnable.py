"""What a page becomes besides HTML: a plan of its blocks for the browser, and its downloads.

Run before the site is built: `python -m pages.runnable docs/assets/run`, with tests/ on the path.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attention_ref.exercises import EXERCISES, Exercise
from pages.check import normal
from pages.downloads import cells, notebook, script
from pages.model import Block, Page
from pages.parse import parse_file
from pages.source import copied, imported

ROOT = Path(__file__).resolve().parents[2]
# The browser's Python has NumPy, this package, and the standard library but for these.
LIBRARIES = {"attention_ref", "numpy"}
ABSENT = {"ctypes", "curses", "dbm", "multiprocessing", "readline", "socket", "sqlite3", "ssl"}
ABSENT |= {"subprocess", "tkinter", "turtle", "venv"}
PRESENT = LIBRARIES | (sys.stdlib_module_names - ABSENT)


def main(target: Path) -> None:
    """Write one plan a page into `target`, in place of those that are there, and its downloads."""
    shutil.rmtree(target, ignore_errors=True)
    docs, files = ROOT / "docs", target.parent / "runtime" / "files.json"
    runtime = json.loads(files.read_text(encoding="utf-8")) if files.exists() else None
    site = site_url()
    exercises: dict[str, list[str]] = {}
    for source in sorted((*docs.rglob("*.md"), *docs.glob("notebooks/*.py"))):
        place = source.relative_to(docs).with_suffix("")
        plan = EMPTY  # a notebook has no blocks of ours, and is its own download
        if source.suffix == ".md":
            page = parse_file(source, ROOT)
            plan = describe(page)
            if ids := [block["exercise"]["id"] for block in plan["blocks"] if block["exercise"]]:
                exercises[place.as_posix()] = ids
            if page.blocks:
                path = place.parent if place.name == "index" else place
                url = f"{site}{path.as_posix()}/".replace("/./", "/")
                made = cells(page, url, site)
                _write(target / f"{place}.ipynb", notebook(made))
                _write(target / f"{place}.py", script(made))
        _write(target / f"{place}.json", _json({**plan, "runtime": runtime}))
    # By page, for the marks of those whose exercises are all solved.
    _write(target / "exercises.json", _json(exercises))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")


def site_url() -> str:
    """Return the address of the site, with a slash at its end."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return re.findall(r"^site_url: (\S+)$", settings, re.MULTILINE)[0]


EMPTY: dict[str, Any] = {"fences": 0, "blocks": []}


def describe(page: Page) -> dict[str, Any]:
    """Return what the browser needs to know of `page`."""
    fences = {fence: number for number, fence in enumerate(page.fences)}
    blocks = {block.lineno: number for number, block in enumerate(page.blocks)}
    described = []
    for block in page.blocks:
        program = page.program(block)
        described.append(
            {
                # The nth code block that the page shows, from 0.
                "fence": fences[block.fence],
                "code": normal(block.code),
                # The blocks of its program, itself the last.
                "program": [blocks[one.lineno] for one in program],
                "copy": copied(program) if len(program) > 1 else None,
                "needs": sorted(missing(program)),
                "output": None if block.output is None else fences[block.output],
                "error": block.error,
                "exercise": practised(block),
                "figures": [[figure.name, figure.path.name] for figure in block.figures],
            }
        )
    return {"fences": len(page.fences), "blocks": described}


def practised(block: Block) -> dict[str, Any] | None:
    """Return what the browser needs to know of the exercise whose stub `block` shows, if it does.

    A reader's progress is kept under `id`, which holds a digest of the stub: it is that of another
    exercise once the page sets another task.
    """
    for exercise in EXERCISES.values():
        if block.code.startswith(f"{exercise.stub}\n\n{checked(exercise)}"):
            digest = hashlib.sha256(exercise.stub.encode()).hexdigest()[:8]
            return {
                "name": exercise.name,
                "id": f"{exercise.name}-{digest}",
                "hints": exercise.hints,
            }
    return None


def checked(exercise: Exercise) -> str:
    """Return the line with which a page checks an answer."""
    return f'print(check("{exercise.name}", {exercise.name}))'


def missing(program: Iterable[Block]) -> set[str]:
    """Return the modules that `program` imports and the browser has not."""
    modules = {name for block in program for name in imported(block.code)}
    # What has a public module of its own for another library needs that library.
    modules = {"torch" if name == "attention_ref.torch" else name for name in modules}
    roots = {name.partition(".")[0] for name in modules}
    skipped = {block.importorskip for block in program if block.importorskip}
    return (roots - PRESENT) | skipped


if __name__ == "__main__":
    main(Path(sys.argv[1]))
