"""The constructs of a page, line by line, as Python-Markdown and pymdownx know them."""

from __future__ import annotations

import re

INDENT = 4
INERT = ("console", "toml", "yaml", "json", "markdown", "html")
LANGUAGES = ("python", "text", *INERT)
FENCES = ("```", "~~~")

# The openers are those of Python-Markdown and pymdownx, to the letter, but at the margin only.
FENCE = re.compile(r"(?P<marker>`{3,}|~{3,})(?P<info>.*)$")
ADMONITION = re.compile(r'!!! ?([\w\-]+(?: +[\w\-]+)*)(?: +"(.*?)")? *$')
DETAILS = re.compile(
    r"\?{3}(\+)? ?(?:([\w\-]+(?: +[\w\-]+)*?)?(?: +\"(.*?)\")|([\w\-]+(?: +[\w\-]+)*?)) *$"
)
TAB = re.compile(r'={3}(?P<flag>\+|\+!|!\+|!)? +"(?P<label>.*?)" *$')
LIST = re.compile(r"(?:[*+-]|\d+\.) +(?P<rest>.*)$")
FOOTNOTE = re.compile(r"\[\^[^\]]*\]: *(?P<rest>.*)$")
DEFINITION = re.compile(r": {1,3}(?P<rest>.*)$")
AUTODOC = re.compile(r"::: ?[\w.:]+ *$")
OPTION = re.compile(r" {4,}(?:- )?\w+(?:: *[\w.\[\], ]*)?$")
RULE = re.compile(r"(?:(?:-+ {0,2}){3,}|(?:_+ {0,2}){3,}|(?:\*+ {0,2}){3,}) *$")
HEADING = re.compile(r"#{1,6}(?!#)")
UNDERLINE = re.compile(r"[=-]+ *$")
IMAGE = re.compile(
    r"!\[(?P<alt>[^\]]*)\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)(?:\{[^}]*\})?\s*$"
)

SNIPPET = re.compile(r"\s*;*-+8<-+")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029\ufeff]")
SUSPECT = re.compile(rf"\t|8<|{CONTROL.pattern}")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_RAW_HTML = re.compile(
    r"</?(pre|code|xmp|listing|plaintext|textarea|script|style|template|iframe|object|embed)\b",
    re.IGNORECASE,
)
_NO_OPENER = re.compile(r"!!!|\?\?\?|===[^=]|/{3,}\s*[a-z]")

_ATTRIBUTE = r"""(?:title|hl_lines|linenums)=(?:"[^"\n]*"|'[^'\n]*')"""
_INFO = re.compile(rf"(?P<language>[a-z]+)(?P<options>(?: {_ATTRIBUTE})*)$")
_WORD = re.compile(r"[A-Za-z][\w+#-]*")
_PYTHON = re.compile(
    r"i?py.*|.*python.*|jupyter.*|code-?(cell|block)|doctest|numpy|(py)?torch|sage|cython|exec"
)
_SHELL = re.compile(r"(ba|z|fi|c|k|da)?sh|shell.*|terminal|cmd|powershell|bat")


def is_plain(text: str) -> bool:
    """Tell whether a line is text that goes on with the paragraph above it."""
    text = text.lstrip(" ")
    openers = (LIST, FOOTNOTE, DEFINITION, TAB, DETAILS, ADMONITION, HEADING, RULE, UNDERLINE)
    return not text.startswith((*FENCES, "<", ">", ":::")) and not any(
        opener.match(text) for opener in openers
    )


def language(info: str) -> str | None:
    """Return the language of a fence, or None if its info string is outside the dialect."""
    match = _INFO.match(info)
    return match["language"] if match and match["language"] in LANGUAGES else None


def instead_of_info(marker: str, info: str) -> str:
    """Say what to write in place of an info string that names no language of the dialect."""
    word = found[0].lower() if (found := _WORD.search(info)) else ""
    known = f"{marker}python, or one of {', '.join(LANGUAGES[1:])}"
    if "`" in info:
        return "code between backticks on one line is no fence: write it on lines of its own"
    if not info.strip():
        return f"a fence needs a language: write {known}"
    if _PYTHON.fullmatch(word):
        return f'write {marker}python, with nothing after it but title="..." or hl_lines="..."'
    if _SHELL.fullmatch(word):
        return f"write {marker}console, with a $ before each command"
    return f"unknown language {info.strip()!r}: write {known}"


def instead_of_text(text: str) -> str | None:
    """Say what to write in place of a line of text that a reader could see as code."""
    bare = _CODE_SPAN.sub("", text)
    message = None
    if found := _RAW_HTML.search(bare):
        message = f"raw <{found[1].lower()}> is shown and not tested: write a fence, or `code`"
    elif "<!--" in bare:
        message = "a comment starts on a line of its own"
    elif text.startswith(" ") and not is_plain(text):
        message = "start this at the margin of the text around it, or 4 spaces in"
    elif FOOTNOTE.match(text):
        message = "leave an empty line before a footnote"
    elif DEFINITION.match(text):
        message = "a definition stands directly under its term"
    elif _NO_OPENER.match(text):
        message = f'this opens nothing: write !!! note "A", ??? note "A" or === "A", got {text}'
    elif "assets/figures/" in bare and re.search(r"!\[|<img\b", bare):
        message = (
            "a figure is made on the page: write <!--pytest-codeblocks:figure(name)--> on the line "
            "before, where name is the picture in the block above"
        )
    return message


def hides_fence(text: str) -> bool:
    """Tell whether a fence could start within a line of text."""
    return any(fence in _CODE_SPAN.sub("", text) for fence in FENCES)
