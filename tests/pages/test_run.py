"""How blocks run: each in its own program, from a fresh state; reports speak of the page."""

import os
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pages.cases import CASES, Case
from pages.check import Difference, PageError, check, report
from pages.model import Page
from pages.parse import parse
from pages.run import Runner
from pages.state import SETTINGS

CONT = "<!--pytest-codeblocks:cont-->\n"


@pytest.fixture
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()


def page_of(*parts: str) -> Page:
    page = parse("\n".join(parts).encode(), Path("docs/x.md"), "docs/x.md")
    assert page.problems == ()
    return page


def python(code: str, *directives: str) -> str:
    return f"{''.join(directives)}```python\n{code}\n```\n"


def text(output: str) -> str:
    return f"```text\n{output}\n```\n"


def differences(runner: Runner, page: Page) -> list[Difference]:
    return [one for block in page.blocks for one in check(runner, page, block)]


def printed(runner: Runner, *codes: str) -> list[str]:
    """Return what each code prints, as blocks of one program."""
    page = page_of(*(python(code, *([CONT] if at else [])) for at, code in enumerate(codes)))
    return [runner.run(page, block).output.strip() for block in page.blocks]


@pytest.mark.parametrize(
    "case", [one for one in CASES if one.ours == "fails"], ids=lambda c: c.what
)
def test_a_fault_that_a_reader_sees_fails_at_its_line(case: Case, runner: Runner) -> None:
    page = parse(case.page.encode(), Path("docs/case.md"), "docs/case.md")
    assert page.problems == ()
    found = ""
    for block in page.blocks:
        try:
            found = "".join(report(page, one) for one in check(runner, page, block))
        except PageError as error:
            found = str(error)
        if found:
            break
    assert found.startswith(f"docs/case.md:{case.line}: ")


# Programs


def test_a_program_is_the_same_alone_in_order_and_backwards(runner: Runner) -> None:
    page = page_of(
        python("import random; random.seed(3); x = [1]"),
        python("x.append(2); print(x, random.random())", CONT),
        text("[1, 2] 0.23796462709189137"),
        python("x.append(3); print(x, random.random())", CONT),
        text("[1, 2, 3] 0.5442292252959519"),
    )
    assert differences(runner, page) == []
    for block in reversed(page.blocks):
        assert check(runner, page, block) == []
        alone = Runner()
        assert check(alone, page, block) == []
        alone.close()


def test_a_block_in_order_runs_nothing_again(runner: Runner, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f"with open({str(log)!r}, 'a') as log:\n    log.write('x')"
    page = page_of(python(code), python(code, CONT))
    assert differences(runner, page) == []
    assert log.read_text() == "xx"
    check(runner, page, page.blocks[1])
    assert log.read_text() == "xxxx"


def test_a_side_branch_leaves_no_trace(runner: Runner) -> None:
    side = python("x.append(2)", CONT).replace("\n", "\n    ")
    page = page_of(
        python("x = [1]"),
        f'=== "A"\n\n    text\n\n=== "B"\n\n    {side.rstrip()}\n',
        python("print(x)", CONT),
        text("[1]"),
    )
    assert differences(runner, page) == []


def test_what_a_raising_block_changed_is_forgotten(runner: Runner) -> None:
    page = page_of(
        python("x = [1]"),
        python(
            "x.append(2)\nint('a')", CONT, "<!--pytest-codeblocks:expect-error(ValueError)-->\n"
        ),
        text("ValueError: invalid literal for int() with base 10: 'a'"),
        python("print(x)", CONT),
        text("[1]"),
    )
    assert differences(runner, page) == []


def test_a_block_that_continues_a_failing_one_says_so(runner: Runner) -> None:
    page = page_of(python("\nint('a')"), python("1", CONT))
    with pytest.raises(PageError, match=r"docs/x\.md:3: this fails, so the block at line 7"):
        check(runner, page, page.blocks[1])


def test_future_imports_carry_on(runner: Runner) -> None:
    codes = (
        "from __future__ import annotations",
        "def f(x: nowhere): pass\nprint(f.__annotations__)",
    )
    assert printed(runner, *codes)[1] == "{'x': 'nowhere'}"


def test_a_stream_that_was_kept_still_prints(runner: Runner) -> None:
    assert printed(runner, "import sys; out = sys.stdout", "print(1, file=out)") == ["", "1"]


# The module that a block believes to be


def test_a_block_is_the_main_module(runner: Runner) -> None:
    code = """
import dataclasses, inspect, pickle, sys, typing
@dataclasses.dataclass
class P:
    x: "int"
    k: "typing.ClassVar[int]" = 2
def f():
    return 1
print(__name__, sys.modules["__main__"].P is P, pickle.loads(pickle.dumps(P(3))))
print(typing.get_type_hints(P)["x"], inspect.getsource(f).split()[-1])
"""
    main = sys.modules["__main__"]
    assert printed(runner, code)[0].split("\n") == ["__main__ True P(x=3)", "<class 'int'> 1"]
    assert sys.modules["__main__"] is main


# State

CHANGES = {
    "environment": ("import os; os.environ['PAGE_X'] = '1'", "import os; 'PAGE_X' in os.environ"),
    "path": ("import sys; sys.path.insert(0, '/x')", "import sys; '/x' in sys.path"),
    "arguments": ("import sys; sys.argv.append('x')", "import sys; 'x' in sys.argv"),
    "recursion limit": (
        "import sys; sys.setrecursionlimit(4321)",
        "import sys; sys.getrecursionlimit() == 4321",
    ),
    "builtins": ("import builtins; builtins.max = min", "max(1, 2) == 1"),
    "decimal context": (
        "import decimal; decimal.getcontext().prec = 3",
        "import decimal; decimal.getcontext().prec == 3",
    ),
    "locale": (
        "import locale; locale.setlocale(locale.LC_ALL, 'C')",
        "import locale; locale.setlocale(locale.LC_ALL) == 'C'",
    ),
    "logging": (
        "import logging; logging.root.setLevel(7)",
        "import logging; logging.root.level == 7",
    ),
    "random seed": (
        "import random; random.seed(1)",
        "import random; random.random() == 0.13436424411240122",
    ),
    "numpy seed": (
        "import numpy as np; np.random.seed(1)",
        "import numpy as np; np.random.rand() == 0.417022004702574",
    ),
    "numpy printing": (
        "import numpy as np; np.set_printoptions(precision=2)",
        "import numpy as np; np.get_printoptions()['precision'] == 2",
    ),
    "numpy floating-point errors": (
        "import numpy as np; np.seterr(all='ignore')",
        "import numpy as np; np.geterr()['divide'] == 'ignore'",
    ),
    "torch seed": (
        "import torch; torch.manual_seed(1)",
        "import torch; torch.initial_seed() == 1",
    ),
    "torch printing": (
        "import torch; torch.set_printoptions(precision=2)",
        "import torch; str(torch.tensor(1 / 3)) == 'tensor(0.33)'",
    ),
    "torch settings": (
        "import torch; torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)",
        "import torch; torch.get_default_dtype() == torch.float64 and not torch.is_grad_enabled()",
    ),
    "matplotlib settings": (
        "import matplotlib; matplotlib.rcParams['lines.linewidth'] = 9.0",
        "import matplotlib; matplotlib.rcParams['lines.linewidth'] == 9.0",
    ),
    "warnings": (
        "import warnings; warnings.simplefilter('ignore')",
        "import warnings; warnings.filters[0][0] == 'ignore'",
    ),
    "directory": (
        "import os; os.mkdir('a'); os.chdir('a')",
        "import os; os.getcwd()[-2:] == os.sep + 'a'",
    ),
    "files": ("open('b', 'w').close()", "import os; os.path.exists('b')"),
}  # fmt: skip


def test_every_setting_is_tried() -> None:
    assert {setting.name for setting in SETTINGS} <= set(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_carries_along_a_program_and_no_further(name: str, runner: Runner) -> None:
    change, seen = CHANGES[name]
    *first, last = seen.split("; ")
    look = "; ".join([*first, f"print({last})"])
    assert printed(runner, change, look) == ["", "True"]
    assert printed(runner, look) == ["False"]
    namespace: dict[str, object] = {}
    exec("; ".join([*first, f"value = ({last})"]), namespace)
    assert not namespace["value"], "the process is changed"


def test_what_other_tests_changed_is_not_seen(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_X", "1")
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    with np.printoptions(precision=1):
        torch.set_default_dtype(torch.float64)
        try:
            code = (
                "import os, numpy as np, torch\nprint('PYTEST_X' in os.environ, np.array([1 / 3]))"
            )
            assert printed(
                runner, f"{code}\nprint(torch.ones(1).dtype, torch.get_num_threads())"
            ) == ["False [0.33333333]\ntorch.float32 1"]
            assert torch.get_default_dtype() == torch.float64
        finally:
            torch.set_default_dtype(dtype)
    assert torch.get_num_threads() == threads


def test_unseeded_numbers_differ_from_run_to_run(runner: Runner) -> None:
    code = "import random, numpy, torch\nprint(random.random(), numpy.random.rand(), torch.rand(1))"
    once, again = printed(runner, code), printed(runner, code)
    assert not set(once[0].split()) & set(again[0].split())


def test_the_process_is_put_back_after_a_failure(runner: Runner) -> None:
    before = (Path.cwd(), dict(os.environ), sys.stdout, random.getstate())
    page = page_of(
        python("import os, random\nos.chdir('/'); random.seed(1); os.environ['A'] = 'b'; 1 / 0")
    )
    with pytest.raises(PageError):
        check(runner, page, page.blocks[0])
    assert (Path.cwd(), dict(os.environ), sys.stdout, random.getstate()) == before


# What a page cannot show


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("import sys; sys.exit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("import pytest; pytest.skip('no')", "Skipped"),
        ("input()", "EOFError: a page has no input"),
        ("import sys; print(1, file=sys.stderr)", "writes to standard error: 1"),
        ("import os; _ = os.write(1, b'raw')", "writes past sys.stdout, unseen by any test: raw"),
        ("import os; _ = os.write(2, b'raw')", "writes past sys.stdout"),
        ("import sys; _ = sys.__stdout__.write('raw'); sys.__stdout__.flush()", "past sys.stdout"),
        (
            "import subprocess, sys; _ = subprocess.run([sys.executable, '-c', 'print(1)'])",
            "past sys.stdout",
        ),
        ("print('\\x1b[1m')", "which a page cannot show"),
        ("print('a\\tb')", "which a page cannot show"),
        ("import warnings; warnings.warn('old')", "UserWarning"),
        (
            "import warnings; warnings.simplefilter('default'); warnings.warn('old')",
            "UserWarning: old",
        ),
        ("def f(:", "SyntaxError"),
        ("await f()", "SyntaxError"),
        (
            "import threading; done = threading.Event()\n"
            "threading.Thread(target=done.wait, args=(1,)).start()",
            "leaves a thread running",
        ),
    ],
)
def test_what_a_page_cannot_show_fails(code: str, complaint: str, runner: Runner) -> None:
    page = page_of(python(code))
    with pytest.raises(PageError) as failure:
        check(runner, page, page.blocks[0])
    assert complaint in str(failure.value)
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(timeout=2)


def test_a_warning_may_be_caught_and_shown(runner: Runner) -> None:
    code = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    warnings.warn("old")
print(caught[0].message)
"""
    assert printed(runner, code) == ["old"]


# Outputs, errors and figures


def test_spaces_at_the_ends_of_lines_do_not_count(runner: Runner) -> None:
    page = page_of(python("print('a  \\n\\n  b\\n\\n')"), text("a\n\n  b"))
    assert differences(runner, page) == []
    page = page_of(python("print('a\\nb')"), text(" a\nb"))
    assert len(differences(runner, page)) == 1


def test_the_report_names_the_line_that_printed(runner: Runner) -> None:
    page = page_of(python("print('same')\nfor x in (1, 2):\n    print(x)"), text("same\n1\n3"))
    (difference,) = differences(runner, page)
    assert report(page, difference).split("\n") == [
        "docs/x.md:4: the page shows another output",
        "",
        "    print(x)",
        "",
        "--- docs/x.md:7 (shown)",
        "+++ docs/x.md:1 (printed)",
        "@@ -1,3 +1,3 @@",
        " same",
        " 1",
        "-3",
        "+2",
        "",
        "If the new one is right: pytest docs/x.md --update-pages",
    ]


def test_the_traceback_starts_on_the_page(runner: Runner) -> None:
    page = page_of(
        "- item\n", "    ```python\n    def f():\n        return 1 / 0\n\n    f()\n    ```\n"
    )
    with pytest.raises(PageError) as failure:
        check(runner, page, page.blocks[0])
    lines = str(failure.value).rstrip().split("\n")
    # Which lines are underlined, and how, differs from one Python to the next.
    assert [line for line in lines if not line or set(line) - set(" ~^")] == [
        "docs/x.md:5: ZeroDivisionError",
        "",
        "    return 1 / 0",
        "",
        "Traceback (most recent call last):",
        '  File "docs/x.md", line 7, in <module>',
        "    f()",
        '  File "docs/x.md", line 5, in f',
        "    return 1 / 0",
        "ZeroDivisionError: division by zero",
    ]


def test_a_declared_error_ends_the_output(runner: Runner) -> None:
    declared = "<!--pytest-codeblocks:expect-error(LinAlgError)-->\n"
    code = "import numpy as np\nprint(1)\nnp.linalg.inv(np.zeros((2, 2)))"
    shown = "1\nnumpy.linalg.LinAlgError: Singular matrix"
    page = page_of(python(code, declared), text(shown))
    assert differences(runner, page) == []
    page = page_of(python(code, declared), text("1"))
    assert [(one.made, one.line) for one in differences(runner, page)] == [(shown, 5)]
    page = page_of(python(code, declared))
    assert [one.made for one in differences(runner, page)] == [shown]


def test_a_subclass_of_the_declared_error_is_another_error(runner: Runner) -> None:
    page = page_of(python("{}[1]", "<!--pytest-codeblocks:expect-error(LookupError)-->\n"))
    with pytest.raises(PageError, match="KeyError; its page declares LookupError"):
        check(runner, page, page.blocks[0])


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("other = 1", "defines no 'p'"),
        ("p = 1", "'p' a int, which has no _repr_svg_"),
        ("class P:\n    def _repr_svg_(self): return 3\np = P()", "gives no SVG"),
        ("class P:\n    def _repr_svg_(self): 1 / 0\np = P()", "fails: ZeroDivisionError"),
    ],
)
def test_a_figure_must_be_a_picture(code: str, complaint: str, runner: Runner) -> None:
    page = page_of(
        python(code),
        "<!--pytest-codeblocks:figure(p)-->\n![One two three.](assets/figures/x-a.svg)\n",
    )
    with pytest.raises(PageError) as failure:
        check(runner, page, page.blocks[0])
    assert complaint in str(failure.value)
    assert str(failure.value).startswith(f"docs/x.md:{page.blocks[0].figures[0].lineno}: ")
