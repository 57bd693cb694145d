"""Make a built site one that readers can keep: `python -m attention_docs.offline SITE`.

The last step of a build, for any site generator. It writes SITE/service-worker.js, which starts
with the list of all that a reader may open, each file with its digest; and it names that worker in
every page, so that pages of an unfinished site, like those of `make serve`, ask for none.
"""

from __future__ import annotations

import json
import re
import sys
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

WORKER = "service-worker.js"
BUNDLE = "assets/web/service-worker.js"
NAMED = f'<meta name="service-worker" content="{WORKER}">'
RUNTIME = "assets/runtime/"
MEMORY = "assets/runtime/memory-"  # kept by the page, if Python is ever run
# What no page of the site loads or links: for other programs, other languages, other sites.
LEFT_OUT = re.compile(
    r"""\.map$ | \.md$ | ^llms\.txt$ | ^objects\.inv$ | ^sitemap\.xml\.gz$
        | ^assets/javascripts/lunr/ | ^assets/social\.png$ | \.zip$
    """,
    re.VERBOSE,
)


def main(site: Path) -> None:
    """Name the worker in the pages of `site`, and write it."""
    bundle = site / BUNDLE
    if not bundle.exists():
        raise SystemExit(f"offline: {bundle} must be there, as `make web` and a build leave it")
    script = bundle.read_text(encoding="utf-8")
    bundle.unlink()
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        page.write_text(html.replace("</head>", f"{NAMED}</head>", 1), "utf-8", newline="\n")
    listed = json.dumps(files(site), separators=(",", ":"))
    (site / WORKER).write_text(f"const FILES={listed};\n{script}", "utf-8", newline="\n")


def files(site: Path) -> dict[str, tuple[str, int]]:
    """Return the digest and size of each file to keep, in the order in which to fetch them."""
    names = [path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()]
    listed = {}
    for name in sorted(filter(kept, names), key=_turn):
        content = (site / name).read_bytes()
        listed[quote(name)] = (sha256(content).hexdigest(), len(content))
    return listed


def kept(name: str) -> bool:
    """Tell whether a reader may open the file or a page may load it."""
    if name.startswith(RUNTIME):
        return not name.startswith(MEMORY)
    return name != WORKER and not LEFT_OUT.search(name)


def _turn(name: str) -> tuple[bool, bool, str]:
    """Pages come first, Python last."""
    return name.startswith(RUNTIME), not name.endswith(".html"), name


if __name__ == "__main__":
    main(Path(sys.argv[1]))
