"""A number in a sentence is printed on its page: no number is typed by hand."""

import re
from bisect import bisect_left
from pathlib import Path

import pytest

from pages.model import Page
from pages.parse import parse, parse_file
from pages.prose import blank, unfenced

ROOT = Path(__file__).parents[2]
# Pages that tell what is found. The others state what a library or a paper says.
PAGES = sorted(
    path
    for part in ("index.md", "learn/*.md", "explore/*.md", "reference/misconceptions.md")
    for path in (ROOT / "docs").glob(part)
)
# Not read: front matter, headings (a false claim may stand there), references, comments, tags,
# code, addresses, and what is a name: a year, a version, where something stands in a source.
UNREAD = re.compile(
    r"\A---\n.*?\n---\n|^#+ (?!References)[^\n]*|^## References\n.*\Z|<!--.*?-->|</?\w[^>\n]*>"
    r"|`[^`\n]+`|(?<=\])\([^)\s]*\)|^\[[^\]]+\]: [^\n]*"
    r"|(?i:\b(?:sections?|equations?|figures?|tables?|python|pytorch|numpy|llama))"
    r"\s\d[\d.]*(?:(?:,|\sand|\sto)\s\d[\d.]*)*"
    r"|(?<![\d.,])(?:19|20)\d\d(?![\d.,]*\d)",
    re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?!\w|[.,]\d)")
SHOWN = re.compile(r"\d[\d,_]*(?:\.\d*)?(?:e[-+]?\d+)?")


def unprinted(page: Page) -> list[str]:
    """Return each number with a point, or of three digits, that no block has or prints, as line.

    A sentence may round it, and may say 12.5 per cent for 0.125.
    """
    code = "\n".join(fence.content for fence in page.fences)
    shown = sorted(
        float(text.replace(",", "").replace("_", "")) * unit
        for text in SHOWN.findall(code)
        for unit in (1, 100)
    )
    text = blank(UNREAD, unfenced(page))
    found = []
    for number in NUMBER.finditer(text):
        digits = number.group().replace(",", "")
        if "." not in digits and len(digits) < 3:
            continue
        # Half of the last digit; a hair more, for 0.125 is 0.12 to some and 0.13 to others.
        slack = 0.500001 * 10.0 ** -len(digits.partition(".")[2]) if "." in digits else 0
        at = bisect_left(shown, float(digits) - slack)
        if at == len(shown) or shown[at] > float(digits) + slack:
            line = text.count("\n", 0, number.start()) + 1
            found.append(f"line {line}: {number.group()} is printed by no block of the page")
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_numbers_in_sentences_are_printed_on_the_page(path: Path):
    assert unprinted(parse_file(path, ROOT)) == []


BLOCK = """
```python
print(0.9468, 1_234, 0.125, 2.5e3)
```

```text
0.9468 1234 0.125 2500.0
```

"""


def read(text: str) -> list[str]:
    return unprinted(parse((BLOCK + text).encode(), Path("a.md"), "a.md"))


@pytest.mark.parametrize(
    "text",
    [
        "It is 0.9468, or 0.947, or about 0.9: 94.7 % or 94.68 per cent.\n",
        "It is 1,234, or 1234; 2,500 or 12.5 %.\n",
        "Ten of 12 fell, in 1999 and 2026, in section 3.1, equations 3.2\nand 3.3, Python 3.11.\n",
        "See `0.333`, [this](../a/0.333.md), [that][x] and <b title='0.333'>more</b>.\n",
        "[x]: https://example.org/0.333\n",
        "## The claim of 0.333\n",
        "## References\n\n- A. Author, *0.333*, 2000, arXiv:1234.56789.\n",
    ],
)
def test_what_is_printed_rounded_or_a_name_may_stand(text: str):
    assert read(text) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("It is 0.9469.\n", "0.9469"),
        ("It is 0.946.\n", "0.946"),
        ("It is 94.6 %.\n", "94.6"),
        ("It is $0.333$.\n", "0.333"),
        ("It is **0.333**, as the figure shows.\n", "0.333"),
        ("It is 1,235.\n", "1,235"),
        ("It is 1233 times.\n", "1233"),
        ("It is 1233, then less.\n", "1233"),
        ("It is -0.333.\n", "0.333"),
        ("![A picture of 0.333.](a.svg)\n", "0.333"),
        ("<figcaption>It is 0.333.</figcaption>\n", "0.333"),
        ('??? question "0.333"\n', "0.333"),
        ("| a | 0.333 |\n", "0.333"),
    ],
)
def test_a_number_that_no_block_prints_is_named_with_its_line(text: str, number: str):
    line = BLOCK.count("\n") + 1
    assert read(text) == [f"line {line}: {number} is printed by no block of the page"]
