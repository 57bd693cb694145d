"""A MkDocs hook: one stylesheet, which a page waits for once, in the place of the theme's and ours.

Three rules of the theme are changed on the way. A browser cannot tell from them which elements they
are about; so each had it compute the style of the whole page anew, while the theme's script starts.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

_LINK = re.compile(r'[ \t]*<link rel="stylesheet" href="([^"]*?)(assets/[^"]+\.css)">\n?')
_MAP = re.compile(r"/\*# sourceMappingURL=.*?\*/")
# What the theme has, as a pattern, and what takes its place.
CHANGED = (
    # Colours fade when the reader switches them: to prevent that is all that this rule is for.
    (r"\[data-md-color-switching\] \*,[^{}]*\{transition-duration:0s!important\}", ""),
    # The script puts a class on the root, and "[class] … :first-child" may be anywhere below it.
    (r"(\.md-typeset) table:not\(\[class\]\)( t[dh]>:(?:first|last)-child)", r"\1\2"),
    # The class "no-js", which it takes away, decides how the chosen tab looks without scripts.
    (r"(\.tabbed-labels>)(:(?:first|nth)-child)", r"\1label\2"),
)


def on_post_build(config: MkDocsConfig) -> None:
    """Write the stylesheet, link it from every page, and remove what it is made of."""
    site = Path(config.site_dir)
    pages = {file: file.read_text(encoding="utf-8") for file in site.rglob("*.html")}
    (names,) = {tuple(name for _, name in _LINK.findall(html)) for html in pages.values()}
    style = joined([(site / name).read_text(encoding="utf-8") for name in names])
    whole = f"assets/style.{sha256(style.encode()).hexdigest()[:8]}.css"
    (site / whole).write_text(style, encoding="utf-8", newline="\n")
    for file, html in pages.items():
        first, *_ = _LINK.finditer(html)
        link = first[0].replace(first[2], whole)
        rest = _LINK.sub("", html[first.end() :])
        file.write_text(html[: first.start()] + link + rest, encoding="utf-8", newline="\n")
    for name in names:
        (site / name).unlink()
        (site / f"{name}.map").unlink(missing_ok=True)


def joined(styles: list[str]) -> str:
    """Return `styles` as one, with `CHANGED` changed."""
    style = "\n".join(_MAP.sub("", one).strip() for one in styles) + "\n"
    for pattern, replacement in CHANGED:
        style, found = re.subn(pattern, replacement, style)
        if not found:
            raise PluginError(f"the theme's styles must have a rule like this to change: {pattern}")
    return style
