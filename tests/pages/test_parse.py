"""What the parser makes of a page: blocks, outputs, programs, and refusals with their lines."""

from pathlib import Path

import pytest

from pages.cases import CASES, Case
from pages.model import Block, Page
from pages.parse import parse

PATH = Path("docs/learn/x.md")


def read(text: str) -> Page:
    return parse(text.encode(), PATH, PATH.as_posix())


def accepted(text: str) -> Page:
    page = read(text)
    assert page.problems == ()
    return page


def named(page: Page, name: str) -> Block:
    return next(block for block in page.blocks if block.code.startswith(name))


def programs(text: str) -> dict[str, list[str]]:
    """Return, for each block, the first words of the blocks of its program."""
    page = accepted(text)
    return {
        block.code.split()[0]: [one.code.split()[0] for one in page.program(block)]
        for block in page.blocks
    }


@pytest.mark.parametrize(
    "case", [one for one in CASES if one.ours == "refuses"], ids=lambda c: c.what
)
def test_what_could_hide_code_is_refused(case: Case) -> None:
    problems = read(case.page).problems
    assert [problem.lineno for problem in problems][:1] == [case.line]
    assert all(len(problem.message) > 20 for problem in problems)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("```sh\nls\n```\n", 1, "write ```console"),
        ("```latex\nx\n```\n", 1, "unknown language 'latex'"),
        ("```latex\nx\n```\n", 1, "write ```python, or one of text, console"),
        ("```\nx\n```\n", 1, "a fence needs a language"),
        ("```python3\nx\n```\n", 1, "write ```python, with nothing after it"),
        ("text\n[^1]: note\n", 2, "empty line before a footnote"),
        (":   meaning\n", 1, "under its term"),
        ("``` python code ```\n", 1, "no fence"),
        ("text ```python\nx\n```\n", 1, "a line of its own"),
        ("```python\n\n```\n", 1, "empty block"),
        ("a\x0bb\n", 1, "U+000B"),
        ("a\u2028b\n", 1, "U+2028"),
        ("a\r\nb\n", 1, "Windows"),
        ("---\ntitle: x\n\ntext\n", 1, "front matter"),
        ("---\n- x\n---\n", 1, "front matter"),
        ('!!! "x"\n', 1, "opens nothing"),
        ("/// tab | A\n", 1, "opens nothing"),
        ("<!-- open\n", 1, "not closed"),
        ("<!-- a --> text\n", 1, "ends its line"),
        ("text <!-- a -->\n", 1, "line of its own"),
        ("Text\n- item\n\n    ```python\n    x\n    ```\n", 4, "belongs to nothing"),
        ("- item\n  - item\n", 2, "margin"),
        ("> quote\ntext\n", 2, "empty line after a quote"),
        ("a[^1]\n\n[^1]: b\n```python\nx\n```\n", 4, "empty line after a footnote"),
        (":::attention_ref\n    `x`\n", 1, ":::"),
        ("    \n", 1, "spaces alone"),
        ("<!--pytest-codeblocks:cont-->\n```python\nx\n```\n", 1, "continues nothing"),
        ("<!--pytest-codeblocks:cont()-->\n```python\nx\n```\n", 1, "nothing"),
        (
            "<!--pytest-codeblocks:expect-error-->\n```python\nx\n```\n",
            1,
            "expect-error(ValueError)",
        ),
        ("<!--pytest-codeblocks:expect-error(a b)-->\n```python\nx\n```\n", 1, "one name"),
        ("<!--pytest-codeblocks:not-output()-->\n```text\nx\n```\n", 1, "not-output(reason)"),
        ("<!--pytest-codeblocks:not-output(x)-->\n```python\nx\n```\n", 1, "before a ```text"),
        ("<!--pytest-codeblocks:skip-->\n```python\nx\n```\n", 1, "reason"),
        ("<!--pytest-codeblocks:figure(p)-->\nText\n", 1, "nothing follows figure"),
        ("<!--pytest.mark.slow-->\n```python\nx\n```\n", 1, "skip, skipif or xfail"),
        ("<!--pytest.mark.xfail(reason='')-->\n```python\nx\n```\n", 1, "say why"),
        ("<!-- pytest: cont -->\n```python\nx\n```\n", 1, "unknown directive"),
        (
            "```python\nx\n```\n\n<!--pytest-codeblocks:cont-->\n<!--pytest-codeblocks:cont-->\n"
            "```python\ny\n```\n",
            6,
            "given twice",
        ),
        (
            "```python\nx\n```\n\n<!--pytest-codeblocks:cont-->\n"
            "```python\nfrom __future__ import annotations\n```\n",
            6,
            "__future__",
        ),
        ("```python\nx\n```\n\nText\n\n```text\n1\n```\n", 7, "nobody's output"),
        ("```python\nx\n```\n\n```text\n1\n```\n\n```text\n1\n```\n", 9, "nobody's output"),
        ('=== "A"\n\n    ```python\n    x\n    ```\n\n```text\n1\n```\n', 7, "nobody's output"),
        ("![A b c.](../assets/figures/x-a.svg)\n", 1, "figure(name)"),
        (
            "```python\nx\n```\n\n<!--pytest-codeblocks:figure(p)-->\n"
            "![Alt](../assets/figures/x-a.svg)\n",
            6,
            "full sentence",
        ),
        (
            "```python\nx\n```\n\n<!--pytest-codeblocks:figure(p)-->\n"
            "![One two three.](../assets/figures/y-a.svg)\n",
            6,
            "x-<what>.svg",
        ),
    ],
)
def test_a_refusal_names_the_line_and_what_to_write(text: str, line: int, message: str) -> None:
    first = read(text).problems[0]
    assert first.lineno == line
    assert message in first.message


def test_a_page_that_is_not_utf8_is_refused() -> None:
    assert parse(b"a\n\xff\n", PATH, "x").problems[0].lineno == 2


@pytest.mark.parametrize(
    "text",
    [
        "Inline `x` and `` ```python `` and `#!python x`.\n",
        "| a |\n| --- |\n| `<!--pytest-codeblocks:cont-->` |\n",
        "$$\n  \\begin{bmatrix} 1 \\\\ 2 \\end{bmatrix}\n$$\n",
        "a[^1]\n\n[^1]: note\n    that goes on\n",
        "term\n:   meaning\n:   another\n",
        "<!-- a remark\n     of two lines -->\n",
        "::: attention_ref.softmax\n    options:\n      heading_level: 2\n",
        "1. item\nthat goes on\n\n    and on\n2. item\n",
        "````markdown\n```python\nx\n```\n````\n",
        "<figure markdown>\n\n<figcaption>Text.</figcaption>\n</figure>\n",
        "Title\n=====\n\n- item\n",
        "![Any image](x.png)\n\nText on assets/figures/x-a.svg\n",
        "- - nested\n\n* * *\n\ntext\n",
    ],
)
def test_what_holds_no_python_is_let_be(text: str) -> None:
    assert accepted(text).blocks == ()


def test_content_loses_the_indentation_of_its_containers() -> None:
    page = accepted(
        "> - item\n>\n>     ```python\n>     def f():\n>\n>         return 1\n>     ```\n"
    )
    (block,) = page.blocks
    assert block.code == "def f():\n\n    return 1\n"
    assert (block.fence.prefix, block.fence.lineno, block.fence.end) == (">     ", 3, 7)


def test_front_matter_is_no_text() -> None:
    page = accepted("---\ntitle: x\ndescription: |\n  ```python\n---\n\n```python\nx\n```\n")
    assert [block.lineno for block in page.blocks] == [7]


def test_the_output_of_a_block_is_the_text_directly_below() -> None:
    page = accepted(
        "```python\na\n```\n\n```text\n1\n```\n\n```python\nb\n```\n\n"
        '??? success "Answer"\n\n    ```text\n    2\n    ```\n\n```python\nc\n```\n\nText.\n\n'
        "<!--pytest-codeblocks:expected-output-->\n```text\n3\n```\n\n"
        "<!--pytest-codeblocks:not-output(an example)-->\n```text\n4\n```\n"
    )
    outputs = [block.output and block.output.content for block in page.blocks]
    assert outputs == ["1\n", "2\n", "3\n"]
    assert [fence.content for fence in page.inert()] == ["4\n"]


def test_figures_belong_to_the_nearest_block_above() -> None:
    page = accepted(
        "```python\na\n```\n\n```text\n1\n```\n\n<figure markdown>\n\n"
        "<!--pytest-codeblocks:figure(p)-->\n![One two three.](../assets/figures/x-a.svg)\n\n"
        "</figure>\n"
    )
    (figure,) = page.blocks[0].figures
    assert (figure.name, figure.lineno) == ("p", 11)
    assert figure.path == Path("docs/learn/../assets/figures/x-a.svg")


CONT = "<!--pytest-codeblocks:cont-->\n"
RAISES = "<!--pytest-codeblocks:expect-error(ValueError)-->\n"


def fence(code: str, *directives: str) -> str:
    return f"{''.join(directives)}```python\n{code}\n```\n\n"


def tabs(**contents: str) -> str:
    return "".join(
        f'=== "{label}"\n\n'
        + "".join(f"    {line}\n" if line else "\n" for line in text.split("\n"))
        for label, text in contents.items()
    )


def test_cont_goes_back_to_the_block_that_starts_afresh() -> None:
    text = fence("a") + fence("b") + fence("c", CONT) + "Text.\n\n" + fence("d", CONT)
    assert programs(text) == {"a": ["a"], "b": ["b"], "c": ["b", "c"], "d": ["b", "c", "d"]}


def test_a_later_tab_is_a_side_branch() -> None:
    text = (
        fence("a")
        + tabs(NumPy=fence("n1", CONT), PyTorch=fence("t1", CONT), JAX=fence("j1", CONT))
        + fence("b", CONT)
        + tabs(NumPy=fence("n2", CONT), PyTorch=fence("t2", CONT))
        + fence("c", CONT)
    )
    assert programs(text) == {
        "a": ["a"],
        "n1": ["a", "n1"],
        "t1": ["a", "n1", "t1"],
        "j1": ["a", "n1", "j1"],
        "b": ["a", "n1", "b"],
        "n2": ["a", "n1", "b", "n2"],
        "t2": ["a", "n1", "t1", "b", "n2", "t2"],
        "c": ["a", "n1", "b", "n2", "c"],
    }


def test_a_later_tab_that_starts_afresh_has_a_program_of_its_own() -> None:
    text = (
        tabs(NumPy=fence("n1"), PyTorch=fence("t1"))
        + tabs(NumPy=fence("n2", CONT), PyTorch=fence("t2", CONT))
        + fence("b")
        + tabs(NumPy=fence("n3", CONT), PyTorch=fence("t3", CONT))
    )
    assert programs(text) == {
        "n1": ["n1"],
        "t1": ["t1"],
        "n2": ["n1", "n2"],
        "t2": ["t1", "t2"],
        "b": ["b"],
        "n3": ["b", "n3"],
        "t3": ["b", "n3", "t3"],
    }


def test_tabs_within_tabs() -> None:
    inner = tabs(One=fence("i1", CONT), Two=fence("i2", CONT))
    text = fence("a") + tabs(NumPy=fence("n", CONT), PyTorch=inner) + fence("b", CONT)
    assert programs(text) == {
        "a": ["a"],
        "n": ["a", "n"],
        "i1": ["a", "n", "i1"],
        "i2": ["a", "n", "i1", "i2"],
        "b": ["a", "n", "b"],
    }


def test_a_tab_set_of_its_own_starts_on_the_main_path() -> None:
    text = f"{tabs(A=fence('a'))}Text.\n\n{tabs(B=fence('b', CONT))}{fence('c', CONT)}"
    assert programs(text)["c"] == ["a", "b", "c"]
    text = tabs(A=fence("a")) + tabs(B=fence("b", CONT)).replace("===", "===!") + fence("c", CONT)
    assert programs(text)["c"] == ["a", "b", "c"]


def test_a_block_that_raises_is_part_of_no_later_program() -> None:
    text = fence("a") + fence("b", CONT, RAISES) + fence("c", RAISES) + fence("d", CONT)
    assert programs(text) == {"a": ["a"], "b": ["a", "b"], "c": ["c"], "d": ["a", "d"]}
    xfail = '<!--pytest.mark.xfail(reason="later")-->\n'
    assert programs(fence("a") + fence("b", CONT, xfail) + fence("c", CONT))["c"] == ["a", "c"]
