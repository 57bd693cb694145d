"""Pages that a reader sees broken code or a wrong output on. Each should make its tests fail."""

from __future__ import annotations

from typing import NamedTuple

FAULT = "1 / 0"


class Case(NamedTuple):
    """A page with a fault that a reader can see."""

    what: str
    page: str
    ours: str  # "fails", or "refuses" if the page is outside the dialect
    line: int  # of the page, which our report names


def _fence(info: str, code: str = FAULT, marker: str = "```") -> str:
    return f"{marker}{info}\n{code}\n{marker}\n"


def _indent(text: str, prefix: str = "    ") -> str:
    return "".join(f"{prefix}{line}".rstrip() + "\n" for line in text.splitlines())


_FENCE = _fence("python")
_FIRST = _fence("python", "x = 1")
_CONT = "<!--pytest-codeblocks:cont-->\n"

CASES = (
    Case("`` ```python ``", _FENCE, "fails", 2),
    Case("the same, with Windows line ends", _FENCE.replace("\n", "\r\n"), "fails", 2),
    Case("the same, after a byte-order mark", f"\ufeff{_FENCE}", "fails", 2),
    Case("the same, directly under a paragraph", f"Text\n{_FENCE}", "fails", 3),
    Case('`` ```python title="a.py" ``', _fence('python title="a.py"'), "fails", 2),
    Case('`` ```python hl_lines="1" ``', _fence('python hl_lines="1"'), "fails", 2),
    Case('`` ```python linenums="1" ``', _fence('python linenums="1"'), "fails", 2),
    Case("`` ```python {.x} ``", _fence("python {.x}"), "refuses", 1),
    Case("`` ```{python} ``", _fence("{python}"), "refuses", 1),
    Case("`` ``` {.python} ``", _fence(" {.python}"), "refuses", 1),
    Case("`` ```{ .python .annotate } ``", _fence("{ .python .annotate }"), "refuses", 1),
    Case("`` ```{code-cell} ipython3 ``", _fence("{code-cell} ipython3"), "refuses", 1),
    Case("`` ``` python ``", _fence(" python"), "refuses", 1),
    *(
        Case(f"`` ```{one} ``", _fence(one), "refuses", 1)
        for one in ("py", "py3", "python3", "Python", "ipython", "pyi", "numpy", "jupyter-execute")
    ),
    Case("`` ```pycon ``", _fence("pycon", f">>> {FAULT}\n1"), "refuses", 1),
    Case("a fence with no language", _fence(""), "refuses", 1),
    Case("`~~~python`", _fence("python", marker="~~~"), "fails", 2),
    Case("four backticks", _fence("python", marker="````"), "fails", 2),
    Case("in an admonition", f"!!! note\n\n{_indent(_FENCE)}", "fails", 4),
    Case("in folded details", f'??? note "Answer"\n\n{_indent(_FENCE)}', "fails", 4),
    Case("in a tab", f'=== "A"\n\n{_indent(_FENCE)}', "fails", 4),
    Case("in the second tab", f'=== "A"\n\n    a\n\n=== "B"\n\n{_indent(_FENCE)}', "fails", 8),
    Case(
        "in a tab of a tab",
        '=== "A"\n\n' + _indent(f'=== "B"\n\n{_indent(_FENCE)}'),
        "fails",
        6,
    ),
    Case("in an ordered list", f"1. item\n\n{_indent(_FENCE)}", "fails", 4),
    Case("in a bullet list", f"- item\n\n{_indent(_FENCE)}", "fails", 4),
    Case("in a list, 2 spaces in", f"- item\n\n{_indent(_FENCE, '  ')}", "refuses", 3),
    Case("behind the marker of a list", f"- {_indent(_FENCE, '  ').lstrip()}", "refuses", 1),
    Case("in a quote", _indent(_FENCE, "> "), "fails", 2),
    Case("in a list in a quote", _indent(f"- item\n\n{_indent(_FENCE)}", "> "), "fails", 4),
    Case("in a definition", f"term\n:   text\n\n{_indent(_FENCE)}", "fails", 5),
    Case("in a footnote", f"a[^1]\n\n[^1]:\n{_indent(_FENCE)}", "refuses", 3),
    Case("indented by a tab character", f"1. item\n\n{_indent(_FENCE, chr(9))}", "refuses", 3),
    Case("in a `<div>`", f"<div markdown>\n\n{_FENCE}\n</div>\n", "fails", 4),
    Case("an indented code block", f"Text\n\n    {FAULT}\n", "refuses", 3),
    Case("the same, with `:::python`", f"Text\n\n    :::python\n    {FAULT}\n", "refuses", 3),
    Case("the same, with `#!python`", f"Text\n\n    #!python\n    {FAULT}\n", "refuses", 3),
    Case("a fence with `#!python`", _fence("python", f"#!python\n{FAULT}"), "fails", 3),
    Case("`<pre>`", f"<pre>\n{FAULT}\n</pre>\n", "refuses", 1),
    Case(
        '`<pre><code class="language-python">`',
        f'<pre><code class="language-python">\n{FAULT}\n</code></pre>\n',
        "refuses",
        1,
    ),
    Case("a fence in a comment", f"<!--\n{_FENCE}-->\n", "refuses", 1),
    Case("a snippet from a file", '--8<-- "broken.py"\n', "refuses", 1),
    Case("a fence that is not closed", f"```python\n{FAULT}\n", "refuses", 1),
    Case("a fence that closes 2 spaces in", f"```python\n{FAULT}\n  ```\n", "refuses", 3),
    Case(
        "after front matter that holds a fence",
        f"---\ntitle: |\n  ```python\n---\n\n{_FENCE}",
        "fails",
        7,
    ),
    Case('under `if __name__ == "__main__":`',
         _fence("python", f'if __name__ == "__main__":\n    {FAULT}'), "fails", 3),
    Case("after an output", f"{_fence('python', 'print(1)')}\n{_fence('text', '1')}\n{_FENCE}",
         "fails", 10),
    Case("continues, after an output",
         f"{_fence('python', 'print(1)')}\n{_fence('text', '1')}\n{_CONT}{_FENCE}", "fails", 11),
    Case("a function that an earlier block defines, called by one that does not continue it",
         f"{_fence('python', 'def f(): pass')}\n{_fence('python', 'f()')}", "fails", 6),
    Case("the first tab needs what the second defines",
         f'=== "A"\n\n{_indent(_FIRST)}\n=== "B"\n\n{_indent(_CONT + _fence("python", "y = 2"))}\n'
         f"{_CONT}{_fence('python', 'y')}", "fails", 16),
    Case("`<!--pytest-codeblock:cont-->`",
         f"{_FIRST}\n<!--pytest-codeblock:cont-->\n{_fence('python', 'y = 1')}", "refuses", 5),
    Case("`<!--pytest.codeblocks:cont-->`",
         f"{_FIRST}\n<!--pytest.codeblocks:cont-->\n{_fence('python', 'y = 1')}", "refuses", 5),
    Case("`cont` with no block after it", f"{_FIRST}\n{_CONT}\nText\n", "refuses", 5),
    Case("`skip`, with no reason", f"<!--pytest.mark.skip-->\n{_FENCE}", "refuses", 1),
    Case("`skipfile`", f"<!--pytest-codeblocks:skipfile-->\n{_FENCE}", "refuses", 1),
    Case("another error than the declared one",
         f"<!--pytest-codeblocks:expect-error(TypeError)-->\n{_FENCE}", "fails", 3),
    Case("a declared error that does not come",
         f"<!--pytest-codeblocks:expect-error(TypeError)-->\n{_FIRST}", "fails", 2),
    Case("another message than the error has",
         "<!--pytest-codeblocks:expect-error(ZeroDivisionError)-->\n"
         f"{_FENCE}\n{_fence('text', 'ZeroDivisionError: no')}", "fails", 3),
    Case("another output", f"{_fence('python', 'print(1)')}\n{_fence('text', '2')}", "fails", 2),
    Case("another output, declared by `expected-output`",
         f"{_fence('python', 'print(1)')}\n<!--pytest-codeblocks:expected-output-->\n"
         f"{_fence('text', '2')}", "fails", 2),
    Case("another output, folded",
         f"{_fence('python', 'print(1)')}\n??? note \"Output\"\n\n{_indent(_fence('text', '2'))}",
         "fails", 2),
    Case("an output that nothing prints", f"{_FIRST}\n{_fence('text', '1')}", "fails", 1),
    Case("printing that the page does not show", _fence("python", "print(1)"), "fails", 2),
    Case("a text that no block prints", f"Text\n\n{_fence('text', '0.5')}", "refuses", 3),
    Case("an unseeded random number",
         f"{_fence('python', 'import random; print(random.random())')}\n{_fence('text', '0.84')}",
         "fails", 2),
    Case("a number that is right only after an earlier block's seed",
         _fence("python", "import random; random.seed(1)") + "\n"
         + _fence("python", "import random; print(random.random())") + "\n"
         + "<!--pytest-codeblocks:expected-output-->\n" + _fence("text", "0.13436424411240122"),
         "fails", 6),
    Case("a warning", _fence("python", "import warnings; warnings.warn('old')"), "fails", 2),
    Case("`sys.exit()` before the fault", _fence("python", f"import sys; sys.exit()\n{FAULT}"),
         "fails", 2),
    Case("`raise KeyboardInterrupt`", _fence("python", "raise KeyboardInterrupt"), "fails", 2),
    Case("`input()`", _fence("python", "input()"), "fails", 2),
    Case("output of a process that it starts",
         _fence("python", "import os; _ = os.system('echo 1')"), "fails", 1),
    Case("a figure that no block makes",
         "![A figure that shows it.](assets/figures/case-what.svg)\n", "refuses", 1),
)  # fmt: skip
