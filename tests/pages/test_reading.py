"""Read the learn pages in their order: no term of the glossary stands before it is defined."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from markdown.extensions.toc import slugify

from pages.model import Page
from pages.parse import parse, parse_file
from pages.prose import blank, unfenced

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"
NAV = [
    name
    for part in yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    for name in part.get("Learn", [])
]
FIRST = re.compile(r"(.+\.) First in \[[^\]]+\]\(\.\./(learn/[\w-]+\.md)(?:#([\w-]+))?\)\.")
# A caption is HTML, in which Markdown's links are not links.
LINK = re.compile(r"<figcaption>.*?</figcaption>|(?<!!)\[([^\]]*)\]\(([^)\s]*)\)", re.DOTALL)
# Not read for terms: front matter, headings, references, comments, tags, formulas, code, and what
# stands for an image, since its caption says the same.
UNREAD = re.compile(
    r"\A---\n.*?\n---\n|^#+ (?!References)[^\n]*|^## References\n.*\Z|<!--.*?-->|</?\w[^>\n]*>"
    r"|\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`|!\[[^\]]*\]\([^)]*\)",
    re.DOTALL | re.MULTILINE,
)


class Term(NamedTuple):
    """An entry of the glossary, and the section of a page that it says to define the term."""

    name: str
    lineno: int
    meaning: str
    page: str
    anchor: str


class Place(NamedTuple):
    """A character of a page; places are in reading order."""

    page: int
    offset: int


def terms(text: str) -> list[Term]:
    """Read the entries of a glossary: a heading, its meaning, and where the term first stands."""
    found = []
    for entry in re.finditer(r"^## (.+)\n((?:(?!##? ).*\n?)*)", text, re.MULTILINE):
        lineno = text.count("\n", 0, entry.start()) + 1
        first = FIRST.fullmatch(" ".join(entry.group(2).split()))
        assert first, (
            f"{GLOSSARY.name}:{lineno}: must end in 'First in [Page](../learn/page.md#...).'"
        )
        meaning, page, anchor = first.groups()
        found.append(Term(entry.group(1), lineno, meaning, page, anchor or ""))
    return found


def prose(page: Page) -> str:
    """Return what a reader reads of a page, each character at its place; all else is blank."""
    return blank(UNREAD, unfenced(page))


def forms(name: str) -> str:
    """Return a pattern of a term as it stands in sentences: its plural, and masked for mask."""
    words = r"[\s-]+".join(map(re.escape, name.split()))
    return (
        rf"{words[:-1]}(?:{words[-1]}(?:s|es|ed)?|ies)"
        if words[-1] == "y"
        else rf"{words}(?:s|es|ed)?"
    )


def section(text: str, anchor: str) -> range:
    """Return where a section lies; without an anchor, what stands above the first heading."""
    start, inside = 0, not anchor
    for heading in re.finditer(r"^#{2,} (.+)$", text, re.MULTILINE):
        if inside:
            return range(start, heading.start())
        start, inside = heading.end(), slugify(heading.group(1), "-") == anchor
    return range(start, len(text)) if inside else range(0)


def definition(term: Term, page: Page) -> int | None:
    """Return where the section that the glossary names has the term, or a word of it, in bold."""
    there = section(unfenced(page), term.anchor)
    words = "|".join([forms(term.name), *map(forms, term.name.split())])
    for bold in re.finditer(rf"\*\*(?:{words})\*\*", prose(page), re.IGNORECASE):
        if bold.start() in there:
            return bold.start()
    return None


def too_early(pages: list[Page], glossary: list[Term]) -> list[str]:
    """Return each term that stands in a sentence before its definition, as page:line.

    One that links to its definition or to the glossary may stand, and may stand again below, on
    that page.
    """
    numbers = {page.name.removeprefix("docs/"): number for number, page in enumerate(pages)}
    found, defined = [], {}
    for term in glossary:
        number = numbers.get(term.page)
        offset = None if number is None else definition(term, pages[number])
        if number is None or offset is None:
            found.append(
                f"{GLOSSARY.name}:{term.lineno}: {term.page} does not define {term.name!r}"
            )
        else:
            defined[term] = Place(number, offset)
    if not defined:
        return found
    longest = sorted(defined, key=lambda term: -len(term.name))
    pattern = re.compile("|".join(rf"\b({forms(t.name)})\b" for t in longest), re.IGNORECASE)
    for number, page in enumerate(pages):
        text = prose(page)
        links = list(LINK.finditer(unfenced(page)))
        linked = set()
        for use in pattern.finditer(text):
            term = longest[use.lastindex - 1]
            if Place(number, use.start()) >= defined[term] or term in linked:
                continue
            around = [link for link in links if link.start() <= use.start() < link.end()]
            if any(leads_to(link.group(2) or "", page, term) for link in around):
                linked.add(term)
            else:
                line = text.count("\n", 0, use.start()) + 1
                where = f"{term.page}:{_line(pages[defined[term].page], defined[term].offset)}"
                found.append(f"{page.name}:{line}: {use.group()!r} is defined later, in {where}")
    return found


def leads_to(target: str, page: Page, term: Term) -> bool:
    path, _, anchor = target.partition("#")
    if path == "../reference/glossary.md":
        return anchor == slugify(term.name, "-")
    if path:
        return f"learn/{path}" == term.page
    return page.name == f"docs/{term.page}" and anchor == term.anchor


def _line(page: Page, offset: int) -> int:
    return prose(page).count("\n", 0, offset) + 1


def test_terms_are_defined_before_they_are_used():
    pages = [parse_file(ROOT / "docs" / name, ROOT) for name in NAV]
    found = too_early(pages, terms(GLOSSARY.read_text(encoding="utf-8")))
    assert not found, "\n".join(["", *found])


def test_each_term_is_defined_once_in_the_order_of_the_alphabet():
    names = [term.name.casefold() for term in terms(GLOSSARY.read_text(encoding="utf-8"))]
    assert names == sorted(set(names))


def test_what_a_learn_page_defines_in_bold_is_in_the_glossary():
    names = [term.name for term in terms(GLOSSARY.read_text(encoding="utf-8"))]
    known = re.compile("|".join(map(forms, names)), re.IGNORECASE)
    words = re.compile("|".join(forms(w) for name in names for w in name.split()), re.IGNORECASE)
    found = []
    for name in NAV:
        text = prose(parse_file(ROOT / "docs" / name, ROOT))
        for bold in re.finditer(r"(?<![\w*])\*\*([^*\n:.]+)\*\*(?![\w*])", text):
            if not known.fullmatch(bold.group(1)) and not words.fullmatch(bold.group(1)):
                line = text.count("\n", 0, bold.start()) + 1
                found.append(
                    f"docs/{name}:{line}: {bold.group()}: is in no entry; stress is in *italics*"
                )
    assert not found, "\n".join(["", *found])


ENTRY = "# Glossary\n\n## mask\n\nWhat hides a key. First in [B](../learn/b.md#hide).\n"


def read(before: str, after: str = "## Hide\n\nA **mask** hides keys.\n") -> list[str]:
    """Read two pages, of which the second defines mask in line 3."""
    texts = {"a": before, "b": after}
    pages = [parse(t.encode(), Path(f"{n}.md"), f"docs/learn/{n}.md") for n, t in texts.items()]
    return [fault.removeprefix("docs/learn/") for fault in too_early(pages, terms(ENTRY))]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Use a mask.\n", 1),
        ("One.\n\nTwo *Masks*.\n", 3),
        ("A key\nis masked.\n", 2),
        ("A **mask** without a definition.\n", 1),
        ("A [mask](c.md) that leads elsewhere.\n", 1),
        ("A [mask](c.md#hide) that leads elsewhere.\n", 1),
        ("A [mask](#hide) that leads elsewhere.\n", 1),
        ("See [B](b.md) for a mask.\n", 1),
        ("See [mask](../reference/glossary.md#key).\n", 1),
        ("A mask, see [mask](b.md).\n", 1),
        ("???+ note\n    In a note, a mask.\n", 2),
        ("<figcaption>Figure 1. A mask.</figcaption>\n", 1),
        ("<figcaption>Figure 1. A [mask](b.md).</figcaption>\n", 1),
        ("```python\nmask = 1\n```\n\nA mask.\n", 5),
    ],
)
def test_a_term_before_its_definition_is_named_with_its_line(text: str, line: int):
    assert [fault.split(": ")[0] for fault in read(text)] == [f"a.md:{line}"]


@pytest.mark.parametrize(
    "text",
    [
        "Nothing.\n",
        "---\ntitle: The mask\n---\n\n# Masks\n\n## Make a mask\n",
        "An unmasked masker has a maskless `mask` and $mask$.\n",
        "A [mask](b.md#hide), then this mask again.\n",
        "A [masked\nkey](../reference/glossary.md#mask) for a mask.\n",
        "```python\nmask = 1\n```\n",
        "## References\n\n- A. Author, *Masks*, 2000.\n",
    ],
)
def test_what_is_linked_or_no_sentence_may_stand_before(text: str):
    assert read(text) == []


@pytest.mark.parametrize(
    ("after", "fault"),
    [
        ("## Hide\n\nThe mask is **bold** nowhere.\n", "glossary.md:3: "),
        ("A **mask**.\n\n## Hide\n\nIt hides.\n", "glossary.md:3: "),
        ("A mask.\n\n## Hide\n\nA **mask** hides keys.\n", "b.md:1: "),
        ("## Hide\n\nEach mask is a **mask**.\n", "b.md:3: "),
    ],
)
def test_a_definition_stands_in_bold_where_the_glossary_says(after: str, fault: str):
    assert [fault_[: len(fault)] for fault_ in read("Nothing.\n", after)] == [fault]


def test_a_longer_term_is_not_taken_for_the_shorter_in_it():
    longer = ENTRY + "\n## mask token\n\nA token. First in [A](../learn/a.md).\n"
    texts = {
        "a": "A **mask token** is one. Mask-tokens are two.\n",
        "b": "## Hide\n\nA **mask**.\n",
    }
    pages = [parse(t.encode(), Path(f"{n}.md"), f"docs/learn/{n}.md") for n, t in texts.items()]
    assert too_early(pages, terms(longer)) == []


def test_an_entry_that_names_no_place_is_an_error():
    with pytest.raises(AssertionError, match=r"glossary\.md:3: must end in"):
        terms("# Glossary\n\n## mask\n\nWhat hides a key.\n")
