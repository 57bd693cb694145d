"""What a reader reads of a page: its sentences, without code, formulas' marks and addresses."""

from __future__ import annotations

import re

from pages.model import Page


def unfenced(page: Page) -> str:
    """Return the page without its fences, each character at its place."""
    fenced = {n for fence in page.fences for n in range(fence.lineno, fence.end + 1)}
    lines = enumerate(page.lines, start=1)
    return "\n".join(" " * len(line) if n in fenced else line for n, line in lines)


def blank(pattern: re.Pattern[str], text: str) -> str:
    """Return the text with spaces for what the pattern finds."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)
