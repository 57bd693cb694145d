"""A MkDocs hook: the theme's script, changed in three places.

As it starts, it makes every address of the page absolute, that of the stylesheet too. A browser
then takes it for another stylesheet, and computes the style of the whole page anew. And it tells
each name of the navigation about every other that comes in sight, to give those that are cut a
title; none is cut here.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

# What the theme has, as a pattern, and what takes its place.
CHANGED = (
    # An address becomes absolute, but for that of a stylesheet in use.
    (
        r"(let (\w)=(\w)\.getAttribute\((\w)\);if\(\2)(&&![^{}]*\.test\(\2\)\)\{\3\[\4\]=\3\[\4\])",
        r"\1&&!\3.sheet\5",
    ),
    # The head of the next page takes the place of this one's but for what is in both: a stylesheet
    # is, if its address is the same.
    (
        r'(for\(let (\w) of \w+\(":scope > \*",\w\.head\)\)\w\.set\()\2\.outerHTML,',
        r'\1\2.sheet?.href??(\2.rel==="stylesheet"?\2.href:\2.outerHTML),',
    ),
    # The names that are watched for whether they are cut.
    (r'(\(\(\)=>\w\(")(\.md-ellipsis"\)\))', r"\1.md-header \2"),
)


def on_post_build(config: MkDocsConfig) -> None:
    """Write the changed script under a name of its own, and have every page load it."""
    site = Path(config.site_dir)
    (theirs,) = site.glob("assets/javascripts/bundle.*.min.js")
    script = changed(theirs.read_text(encoding="utf-8"))
    ours = theirs.with_name(f"bundle.{sha256(script.encode()).hexdigest()[:8]}.min.js")
    theirs.unlink()
    ours.write_text(script, encoding="utf-8", newline="\n")
    theirs.with_name(f"{theirs.name}.map").unlink()
    for file in site.rglob("*.html"):
        html = file.read_text(encoding="utf-8").replace(theirs.name, ours.name)
        file.write_text(html, encoding="utf-8", newline="\n")


def changed(script: str) -> str:
    """Return the theme's script with `CHANGED` changed."""
    script = re.sub(r"\n//# sourceMappingURL=.*", "", script)
    for pattern, replacement in CHANGED:
        script, found = re.subn(pattern, replacement, script)
        if found != 1:
            raise PluginError(f"the theme's script must have one place like this: {pattern}")
    return script
