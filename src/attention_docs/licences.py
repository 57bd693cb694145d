"""Write the licences of all that the site serves: `python -m attention_docs.licences TARGET`.

Each text is the package's own, as it is installed or fetched; one that is missing is an error.
Three packages come without a text: Pyodide, CPython's library and array-api-compat. Their terms are
named by their own metadata, and printed from another package under the same ones.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from attention_docs.runtime import CACHE, NUMPY, ROOT

MODULES = ROOT / "web" / "node_modules"
# The packages that `web/build.mjs` found in its bundles.
BUNDLED = MODULES / ".bundled.json"
RULE = "=" * 80
LICENCE = re.compile(r"licen[cs]e|copying|notice", re.IGNORECASE)
OPENING = """The licences of all that this site serves.

The pages and attention_ref are under the first of them. The rest is by others, and unchanged but
for being bundled or packed anew. The pages show icons of Font Awesome Free (CC BY 4.0) and of
Material Design Icons (Apache License 2.0). Python for the browser contains libraries in compiled
form whose texts its archive lacks: https://github.com/pyodide/pyodide names them and has their
sources.
"""


def main(target: Path) -> None:
    """Write the licences of what is served into `target`."""
    parts = [OPENING]
    for title, text in entries():
        parts.append(f"{RULE}\n{title}\n{RULE}\n\n{text.strip()}\n")
    target.write_text("\n".join(parts), encoding="utf-8", newline="\n")


def entries() -> Iterator[tuple[str, str]]:
    """Return a title and the text for each package."""
    own = (ROOT / "LICENSE").read_text(encoding="utf-8")
    yield "Attention, executed: its pages, and attention_ref", own
    yield "Theme: Material for MkDocs, with its search", installed("mkdocs-material")
    yield "Styles of code: Pygments", installed("pygments")
    yield "Styles of the reference: mkdocstrings-python", installed("mkdocstrings-python")
    for name in json.loads(BUNDLED.read_text(encoding="utf-8")):
        yield f"Editor: {name}", node_module(name)
    if (CACHE / NUMPY).exists():
        yield (
            "Python for the browser: Pyodide, under the Mozilla Public License 2.0 by its "
            "package.json\n(the text is the one that pathspec, under the same licence, carries)",
            installed("pathspec"),
        )
        yield (
            "The standard library in it: CPython, under the Python Software Foundation License\n"
            "(the text is the one that typing_extensions, under the same licence, carries)",
            installed("typing-extensions"),
        )
        yield "In packages.zip: NumPy", in_wheel(CACHE / NUMPY)
        author = distribution("array-api-compat").metadata["Author"]
        yield (
            "In packages.zip: array-api-compat, under the MIT licence by its metadata\n"
            f"(by the {author}; the text is the first one above, without its copyright line)",
            re.sub(r"Copyright.*\n+", "", own, count=1),
        )
        for name in ("jaxtyping", "wadler-lindig"):
            yield f"In packages.zip: {name}", installed(name)


def installed(name: str) -> str:
    """Return the licence files of an installed package, one after the other."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise SystemExit(f"licences: {name} must be installed, as it is served") from None
    texts = [
        file.read_text(encoding="utf-8")
        for file in found.files or ()
        if ".dist-info" in file.parts[0] and LICENCE.search(file.name)
    ]
    return joined(name, texts)


def in_wheel(wheel: Path) -> str:
    """Return the licence files of a package in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/licenses/" in name]
        return joined(wheel.name, [archive.read(name).decode() for name in names])


def node_module(name: str) -> str:
    """Return the licence of a package from npm."""
    files = [file for file in sorted((MODULES / name).glob("*")) if LICENCE.match(file.name)]
    return joined(name, [file.read_text(encoding="utf-8") for file in files])


def joined(name: str, texts: list[str]) -> str:
    """Return the texts as one, or stop if there is none."""
    if not "".join(texts).strip():
        raise SystemExit(f"licences: {name} must carry its licence, got none")
    return "\n\n".join(text.strip() for text in texts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
