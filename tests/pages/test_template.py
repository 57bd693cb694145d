"""Hold every page of docs/learn to the template that docs/contribute/style.md gives."""

import re
from pathlib import Path

import pytest

from pages.model import Block, Page
from pages.parse import parse, parse_file

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "learn").glob("*.md"))
SECTIONS = [
    "The problem",
    "It breaks",
    "Check it",
    "Try it",
    "Exercises",
    "Summary",
    "Next",
    "References",
]
BLOCK_LINES, BLOCK_COLUMNS = 15, 78
STEPS = range(3, 7)
WORDS = range(600, 1401)
BLOCKS = range(5, 13)
FIGURES = range(1, 4)


def faults(page: Page) -> list[str]:
    """Return what the page lacks, a line each."""
    return [
        *_section_faults(page),
        *_size_faults(page),
        *(
            f"line {block.lineno}: {fault}"
            for block in page.blocks
            for fault in _block_faults(block)
        ),
    ]


def _prose(page: Page) -> list[tuple[int, str]]:
    fenced = {n for fence in page.fences for n in range(fence.lineno, fence.end + 1)}
    lines = enumerate(page.lines, start=1)
    return [(number, text) for number, text in lines if number not in fenced]


def _section_faults(page: Page) -> list[str]:
    found = []
    prose = _prose(page)
    headings = [text[3:] for _, text in prose if text.startswith("## ")]
    kinds = [re.split(r"[:(]", heading)[0].strip() for heading in headings]
    named = [kind for kind in kinds if kind in SECTIONS]
    if named != SECTIONS:
        found.append(f"sections {SECTIONS} must stand in this order, got {named}")
    elif (steps := kinds.index("It breaks") - 1 - kinds.index("The problem")) not in STEPS:
        found.append(f"between The problem and It breaks stand 3 to 6 steps, got {steps}")
    if not any(text.startswith("**Before you start:**") for _, text in prose):
        found.append("a line **Before you start:** is missing")
    if not any(text.lstrip().startswith("??? question") for _, text in prose):
        found.append('a prediction (??? question "Predict: ...") is missing')
    if "References" in headings:
        text = "\n".join(text for _, text in prose).rsplit("## References", 1)[1]
        if not 1 <= (count := len(re.findall(r"^- ", text, re.MULTILINE))) <= 5:
            found.append(f"references must be one to five list items, got {count}")
    exercises = sum(1 for _, text in prose if re.match(r"\*\*\d\. ", text))
    if exercises not in (2, 3):
        found.append(f"exercises must be two or three, each **1. Its name.**, got {exercises}")
    return found


def _size_faults(page: Page) -> list[str]:
    text = "\n".join(text for _, text in _prose(page))
    text = text.split("\n---\n", 1)[1].split("\n## References", 1)[0]
    text = re.sub(r"<!--.*?-->|<[^>]*>|\$\$.*?\$\$|!\[.*?\]\(.*?\)", "", text, flags=re.DOTALL)
    words = sum(1 for word in text.split() if re.search(r"\w", word))
    end = next((n for n, line in _prose(page) if line == "## Try it"), len(page.lines))
    text_blocks = [block for block in page.blocks if block.lineno < end]
    main_path = sum(1 for block in text_blocks if not block.branch)
    figures = sum(len(block.figures) for block in page.blocks)
    return [
        f"{name} must be {rule.start} to {rule.stop - 1}, got {count}"
        for name, rule, count in (
            ("words", WORDS, words),
            ("blocks on the main path before Try it", BLOCKS, main_path),
            ("figures", FIGURES, figures),
        )
        if count not in rule
    ]


def _block_faults(block: Block) -> list[str]:
    lines = block.fence.content.splitlines()
    found = []
    if (count := sum(1 for line in lines if line.strip())) > BLOCK_LINES:
        found.append(f"a block has at most {BLOCK_LINES} lines, got {count}")
    if (width := max(map(len, lines), default=0)) > BLOCK_COLUMNS:
        found.append(f"a line has at most {BLOCK_COLUMNS} columns, got {width}")
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_learn_pages_follow_the_template(path: Path):
    assert faults(parse_file(path, ROOT)) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("## It breaks", "## Its limits", "sections"),
        ("**Before you start:**", "Before you start:", "**Before you start:** is missing"),
        ("??? question", "??? note", "a prediction"),
        ("## Summary\n", "## Summary\n" + "word " * 1400, "words must be 600 to 1400"),
        ("```python\n", "```python\n" + "x = 0\n" * 15, "at most 15 lines"),
        ("```python\n", "```python\n# " + "x" * 77 + "\n", "line has at most 78 columns, got 79"),
        ("codeblocks:figure", "codeblocks:fugure", "figures must be 1 to 3, got 0"),
        ("\n- ", "\n- One.\n- Two.\n- Three.\n- Four.\n- Five.\n- ", "references must be"),
        ("\n**1. ", "\n**1. a**\n\n**1. b**\n\n**1. ", "exercises must be two or three"),
    ],
)
def test_a_departure_from_the_template_is_named(old: str, new: str, fault: str):
    good = PAGES[0].read_text(encoding="utf-8")
    assert old in good
    bad = parse(good.replace(old, new).encode(), PAGES[0], "docs/learn/bad.md")
    assert fault in "\n".join(faults(bad))
