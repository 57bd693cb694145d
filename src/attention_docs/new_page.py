"""Lay down a page that passes, for its author to fill: `make page NAME=learn/foo TITLE="Foo"`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

NAME = re.compile(r"[a-z]+(-[a-z]+)*/[a-z0-9]+(-[a-z0-9]+)*")
TEMPLATE = Path(__file__).parent / "page_template"


def main(root: Path, name: str, title: str) -> str:
    """Write the page and its line in the navigation; return one line that says what happened."""
    if not NAME.fullmatch(name):
        raise SystemExit(f'make page: NAME must be like learn/foo or learn/foo-bar, got "{name}"')
    if not title.strip() or any(sign in title for sign in "\n:#\"'`{}"):
        raise SystemExit(f'make page: TITLE must be plain words, got "{title}"')
    page = root / "docs" / f"{name}.md"
    if page.exists():
        raise SystemExit(f"make page: docs/{name}.md exists already")

    config = root / "mkdocs.yml"
    folder, stem = name.split("/")
    lines = config.read_text(encoding="utf-8").split("\n")
    entry = re.compile(rf"( +- ){folder}/(\S+\.md)")
    entries = [number for number, line in enumerate(lines) if entry.fullmatch(line)]
    if not entries:
        raise SystemExit(f"make page: the nav of mkdocs.yml has no page of {folder}/ yet")
    last = entry.fullmatch(lines[entries[-1]])
    assert last is not None  # `entries` has matched it
    neighbour = last[2]
    heading = re.search(
        "^# (.+)$", (page.parent / neighbour).read_text(encoding="utf-8"), re.MULTILINE
    )

    names = {"stem": stem, "module": stem.replace("-", "_")}
    laid_down = f"docs/{name}.md is laid down, and stands in the nav of mkdocs.yml"
    exercises = ""
    if folder == "learn":
        module = f"src/attention_ref/exercises/_{names['module']}.py"
        _write(root / module, _filled("exercises.py.txt", **names))
        exercises = _filled("exercises.md", **names)
        laid_down += f"; its exercises are in {module}"
    text = _filled(
        "page.md",
        title=title.strip(),
        exercises=exercises,
        neighbour=neighbour,
        neighbour_title=heading[1] if heading else neighbour,
        **names,
    )
    _write(page, text)
    lines.insert(entries[-1] + 1, f"{last[1]}{name}.md")
    _write(config, "\n".join(lines))
    # The template has no outputs and no figure: they come from its blocks, as on every page.
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--update-pages", str(page)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        check=False,  # it fails once it has written, so that what it wrote is reviewed
        capture_output=True,
    )
    return laid_down


def _filled(template: str, **names: str) -> str:
    return (TEMPLATE / template).read_text(encoding="utf-8").format(**names)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    print(main(Path.cwd(), *sys.argv[1:]))
