"""A MkDocs hook: a Content-Security-Policy on every page, as a static host can send none.

No script runs but the site's own files and the few lines that stand in its pages, of the theme and
of overrides/, which are named by their digests, and nothing is loaded from another host. The theme
moves from page to page without a new document, so each page allows the lines of all.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig

_INLINE = re.compile(r"<script(?![^>]*\s(?:src|type)=)[^>]*>(.*?)</script>", re.DOTALL)
_HEAD = '<meta charset="utf-8">'
_serving: list[bool] = []


def on_startup(command: str, **_: Any) -> None:
    """Note whether this is `mkdocs serve`, which puts a script of its own into each page."""
    _serving[:] = [command == "serve"]


def on_post_build(config: MkDocsConfig) -> None:
    """Write the policy into every page."""
    if any(_serving):
        return
    files = sorted(Path(config.site_dir).rglob("*.html"))
    pages = {file: file.read_text(encoding="utf-8") for file in files}
    scripts = {script for html in pages.values() for script in inline_scripts(html)}
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts)}">'
    for file, html in pages.items():
        file.write_text(html.replace(_HEAD, f"{_HEAD}\n{meta}", 1), encoding="utf-8", newline="\n")


def inline_scripts(html: str) -> list[str]:
    """Return the scripts that stand in a page and would be run."""
    return _INLINE.findall(html)


def policy(scripts: set[str]) -> str:
    """Return the policy that allows `scripts` and the site's own files."""
    digests = sorted(b64encode(sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return "; ".join(
        (
            "default-src 'self'",
            # Python is WebAssembly; where a host sends this policy as a header, so does the worker.
            f"script-src 'self' 'wasm-unsafe-eval' {allowed}",
            "style-src 'self' 'unsafe-inline'",  # of the editor, of formulas, of tables
            "img-src 'self' data: blob:",  # data: the theme's icons; blob: live figures
            "connect-src 'self' blob:",
            "object-src 'none'",
            "worker-src 'self'",  # Python, the search, and the worker that keeps the site
            "base-uri 'self'",
            "form-action 'none'",
        )
    )
