"""Every reference of a learn page or a docstring is in the bibliography, and nothing else is."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
BIBLIOGRAPHY = ROOT / "docs" / "reference" / "bibliography.md"
LEARN = sorted((ROOT / "docs" / "learn").glob("*.md"))
CODE = sorted((ROOT / "src" / "attention_ref").rglob("*.py"))
IDENTIFIER = r"(?:arxiv(?::\s*|\.org/abs/)|doi(?::\s*|\.org/))([\w.]*\w/[\w./]*\w|\d{4}\.\d{4,5})"
NAME = r"[\w-]*[^\W\d_][\w-]*"
CITATION = re.compile(
    rf"(?P<name>{NAME})(?: Team| Jones| et al\.|(?:, {NAME})* and {NAME})?"
    r" (?P<year>(?:19|20)\d\d)\b(?: \((?P<hint>[^)]*)\)|, \"(?P<title>[^\"]*)\")?"
)


class Entry(NamedTuple):
    """A source: who is cited by which years, with what tells apart two of one author and year."""

    key: str
    name: str
    years: tuple[str, ...]
    hint: str
    title: str
    identifier: str


def entries(text: str) -> list[Entry]:
    """Read the list: each item is **key.** authors *title*, then its identifier, if it has one."""
    found = []
    for item in items(text):
        read = re.match(
            r"- \*\*(([^,]+?)(?: et al\.|,| and)?[^(*]*?([\d, ]+)(?: \((.*)\))?)\.\*\*", item
        )
        title = re.search(r"\. \*([^*]+)\*\.", item)
        assert read, f"{BIBLIOGRAPHY.name}: must begin with **Name et al. year.**: {item}"
        assert title, f"{BIBLIOGRAPHY.name}: a title in *italics* is missing: {item}"
        key, _, years, hint = read.groups()
        identifier = re.search(IDENTIFIER, item, re.IGNORECASE)
        name = re.match(NAME, key)
        found.append(
            Entry(
                key,
                name.group() if name else "",
                tuple(re.findall(r"\d{4}", years)),
                hint or "",
                title.group(1),
                identifier.group(1) if identifier else "",
            )
        )
    return found


def items(text: str) -> list[str]:
    """Return the items of a list, each in one line."""
    return [" ".join(i.split()) for i in re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)]


def letters(text: str) -> str:
    return re.sub(r"\W|_", "", text).casefold()


def by_item(item: str, known: list[Entry]) -> list[Entry]:
    """Return the entry of a page's reference: that of its identifier, else of its title."""
    if identifier := re.search(IDENTIFIER, item, re.IGNORECASE):
        return [entry for entry in known if entry.identifier == identifier.group(1)]
    return [entry for entry in known if letters(entry.title) in letters(item)]


def by_name(citation: re.Match[str], known: list[Entry]) -> list[Entry]:
    """Return the entries of a docstring's citation: author and year, narrowed by what follows."""
    name, year, hint, title = citation.group("name", "year", "hint", "title")
    found = [entry for entry in known if entry.name == name and year in entry.years]
    if title:
        return [entry for entry in found if letters(entry.title).startswith(letters(title))]
    return [entry for entry in found if not (hint and entry.hint) or entry.hint == hint]


def cited(docstring: str) -> list[re.Match[str]]:
    section = re.search(r"^References:\n((?: .*\n?|\n)*)", docstring, re.MULTILINE)
    return list(CITATION.finditer(" ".join(section.group(1).split()))) if section else []


def docstrings(path: Path) -> list[tuple[int, str]]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [
        (getattr(node, "lineno", 1), ast.get_docstring(node) or "")
        for node in nodes
        if isinstance(node, kinds)
    ]


def references(known: list[Entry]) -> list[tuple[str, list[Entry]]]:
    """Return every reference as where it stands with its text, and the entries that it means."""
    found = []
    for path in LEARN:
        name = path.relative_to(ROOT).as_posix()
        for item in items(path.read_text(encoding="utf-8").split("\n## References\n", 1)[1]):
            found.append((f"{name}: {item}", by_item(item, known)))
    for path in CODE:
        name = path.relative_to(ROOT).as_posix()
        for lineno, docstring in docstrings(path):
            for citation in cited(docstring):
                where = f"{name}:{lineno}: {citation.group()}"
                found.append((where, by_name(citation, known)))
    return found


KNOWN = entries(BIBLIOGRAPHY.read_text(encoding="utf-8"))


def test_every_reference_is_in_the_bibliography():
    missing = [where for where, meant in references(KNOWN) if not meant]
    assert not missing, "\n".join(["", *missing])


def test_every_entry_of_the_bibliography_is_used():
    used = {entry for _, meant in references(KNOWN) for entry in meant}
    assert [entry.key for entry in KNOWN if entry not in used] == []


def test_every_source_is_listed_once():
    for field in ("key", "title", "identifier"):
        values = [letters(value) for entry in KNOWN if (value := getattr(entry, field))]
        assert sorted(values) == sorted(set(values))


def test_identifiers_on_all_pages_and_in_the_code_are_in_the_bibliography():
    known = {entry.identifier for entry in KNOWN}
    files = [path for end in ("md", "py") for path in (ROOT / "docs").rglob(f"*.{end}")] + CODE
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    found = {
        (path.relative_to(ROOT).as_posix(), identifier)
        for path, text in texts.items()
        for identifier in re.findall(IDENTIFIER, text, re.IGNORECASE)
    }
    assert sorted(pair for pair in found if pair[1] not in known) == []


SAMPLE = entries(
    "- **Doe et al. 2001, 2003.** A. Doe and others. *On Rows*. [arXiv:0102.00345](x). One.\n"
    "- **Roe 2002 (left).** B. Roe. *To the Left*. Venue. Two.\n"
    "- **Roe 2002 (right).** B. Roe. *To the Right*. Venue.\n  Three.\n"
)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Doe et al. 2001, section 2.", ["Doe et al. 2001, 2003"]),
        ("Doe, Poe and Moe 2003 (Rows).", ["Doe et al. 2001, 2003"]),
        ("Roe 2002 (left), section 1.", ["Roe 2002 (left)"]),
        ('Roe 2002, "To the right".', ["Roe 2002 (right)"]),
        ("Roe 2002, section 1.", ["Roe 2002 (left)", "Roe 2002 (right)"]),
        ("Roe 2002 (upper), section 1.", []),
        ("Doe 2002.", []),
        ("Moe et al. 2001.", []),
        ('Roe 2002, "Upwards".', []),
    ],
)
def test_a_citation_means_author_and_year(text: str, keys: list[str]):
    (citation,) = cited(f"Do it.\n\nReferences:\n    {text}\n")
    assert [entry.key for entry in by_name(citation, SAMPLE)] == keys


@pytest.mark.parametrize(
    ("item", "keys"),
    [
        ('- A. Doe, "Rows", [arXiv:0102.00345](https://arxiv.org/abs/0102.00345).', [0]),
        ("- A. Doe. *On Rows*. 2001, section 2.", [0]),
        ('- B. Roe, "To the left", 2002.', [1]),
        ('- A. Doe, "On Rows", arXiv:0102.00346.', []),
        ('- A. Doe, "On Columns", 2001.', []),
    ],
)
def test_a_reference_means_its_identifier_or_its_title(item: str, keys: list[int]):
    assert by_item(item, SAMPLE) == [SAMPLE[key] for key in keys]


def test_an_entry_without_a_year_or_a_title_is_an_error():
    with pytest.raises(AssertionError, match="must begin with"):
        entries("- **Doe et al.** A. Doe. *On Rows*.\n")
    with pytest.raises(AssertionError, match="a title in"):
        entries("- **Doe 2001.** A. Doe. On Rows.\n")
