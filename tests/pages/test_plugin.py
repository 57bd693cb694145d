"""The pytest side: what is collected, how failures and skips are told, and --update-pages."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pages.check import check
from pages.parse import parse_file
from pages.run import Runner
from pages.update import Update

pytest_plugins = ["pytester"]

GOOD = "```python\nx = 1\nprint(x)\n```\n\n```text\n1\n```\n"
NEW = """# Title

```python
class P:
    def _repr_svg_(self):
        return "<svg></svg>"


picture = P()
print("a  ")
print("```")
```
Text.

<!--pytest-codeblocks:figure(picture)-->
![One two three.](assets/figures/new-p.svg)

- item

    <!--pytest-codeblocks:cont-->

    ```python
    print(type(picture).__name__)
    ```

    ```text
    Q
    ```

> ```python
> print(1)
>
> print(2)
> ```

<!--pytest-codeblocks:expect-error(ValueError)-->
```python
int("a")
```

```python
x = 1
```

```text
1
```

End.
"""
UPDATED = """# Title

```python
class P:
    def _repr_svg_(self):
        return "<svg></svg>"


picture = P()
print("a  ")
print("```")
```

````text
a
```
````

Text.

<!--pytest-codeblocks:figure(picture)-->
![One two three.](assets/figures/new-p.svg)

- item

    <!--pytest-codeblocks:cont-->

    ```python
    print(type(picture).__name__)
    ```

    ```text
    P
    ```

> ```python
> print(1)
>
> print(2)
> ```
>
> ```text
> 1
> 2
> ```

<!--pytest-codeblocks:expect-error(ValueError)-->
```python
int("a")
```

```text
ValueError: invalid literal for int() with base 10: 'a'
```

```python
x = 1
```

End.
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run pytest in a folder with a docs/ folder, with the engine and without other plugins."""
    pytester.makeini("[pytest]\n")
    (pytester.path / "docs").mkdir()

    def run(*arguments: str, **pages: str) -> pytest.RunResult:
        for name, text in pages.items():
            (pytester.path / "docs" / f"{name}.md").write_bytes(text.encode())
        return pytester.runpytest_inprocess("-p", "pages.plugin", *arguments)

    return run


def test_pages_are_collected_without_a_flag_and_once(run: Run) -> None:
    result = run("docs", "--collect-only", "-q", a=GOOD, b=GOOD)
    assert [line for line in result.outlines if "::" in line] == [
        "docs/a.md::line 1",
        "docs/b.md::line 1",
    ]
    run("--codeblocks", "docs/a.md").assert_outcomes(passed=1)


def test_one_block_is_run_by_its_id(run: Run) -> None:
    page = GOOD + "\n<!--pytest-codeblocks:cont-->\n```python\nassert x == 1\n```\n"
    run("docs/a.md::line 11", a=page).assert_outcomes(passed=1)


def test_a_problem_stops_its_page_alone(run: Run) -> None:
    result = run("docs", a="```py\n1 / 0\n```\n\n" + GOOD, b=GOOD)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "docs/a.md:1: write ```python*",
            "FAILED docs/a.md::line 1 - docs/a.md:1: write ```python*",
        ]
    )
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_a_failure_shows_the_page_and_nothing_of_the_engine(run: Run) -> None:
    result = run("docs", a=GOOD.replace("1\n```\n", "2\n```\n"), b="```python\n1 / 0\n```\n")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["docs/a.md:3: the page shows another output", "*print(x)*", "-2", "+1"]
    )
    result.stdout.fnmatch_lines(['  File "docs/b.md", line 2, in <module>', "    1 / 0"])
    result.stdout.no_fnmatch_line("*tests*pages*")


def test_skipped_and_expected_failures_are_listed_with_their_reasons(run: Run) -> None:
    page = (
        '<!--pytest.mark.skip(reason="takes an hour")-->\n```python\nx = 1\n```\n\n'
        "<!--pytest-codeblocks:cont-->\n```python\nx\n```\n\n"
        '<!--pytest.mark.xfail(reason="not yet")-->\n```python\n1 / 0\n```\n\n'
        "<!--pytest-codeblocks:importorskip(no_such_module)-->\n```python\nx\n```\n"
    )
    result = run("docs", a=page)
    result.assert_outcomes(skipped=3, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "*blocks that prove nothing*",
            "docs/a.md::line 2 skipped: takes an hour",
            "docs/a.md::line 7 skipped: takes an hour",
            "docs/a.md::line 17 skipped: needs no_such_module, which is not installed",
            "docs/a.md::line 12 xfailed: not yet",
        ]
    )


def test_a_mark_that_cannot_be_read_fails_at_its_block(run: Run) -> None:
    result = run("docs", a='<!--pytest.mark.skipif(nope, reason="x")-->\n```python\n1\n```\n')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["docs/a.md:2: a mark of this block cannot be read: NameError*"])


def test_a_page_passes_backwards_and_in_several_processes(run: Run) -> None:
    cont = "\n<!--pytest-codeblocks:cont-->\n```python\nx += 1\nprint(x)\n```\n\n```text\n{}\n```\n"
    page = GOOD + "".join(cont.format(number) for number in range(2, 9))
    lines = [1, *range(11, 11 + 10 * 7, 10)]
    run("-p", "xdist", "-n", "2", "docs", a=page).assert_outcomes(passed=8)
    backwards = [f"docs/a.md::line {line}" for line in reversed(lines)]
    run("-p", "no:randomly", *backwards).assert_outcomes(passed=8)


def test_update_writes_outputs_and_figures_and_fails(run: Run, pytester: pytest.Pytester) -> None:
    result = run("docs", "--update-pages", new=NEW)
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(
        [
            "*pages updated: review the changes, then run again*",
            "docs/new.md:3: wrote the output of line 3",
            "docs/new.md:15: drew assets/figures/new-p.svg",
            "docs/new.md:26: wrote the output of line 22",
            "docs/new.md:30: wrote the output of line 30",
            "docs/new.md:37: wrote the output of line 37",
            "docs/new.md:45: removed the output of line 41",
        ]
    )
    docs = pytester.path / "docs"
    assert (docs / "new.md").read_text() == UPDATED
    assert (docs / "assets" / "figures" / "new-p.svg").read_text() == "<svg></svg>\n"
    run("docs").assert_outcomes(passed=5)
    run("docs", "--update-pages").assert_outcomes(passed=5)
    assert (docs / "new.md").read_text() == UPDATED
    assert sorted(path.name for path in docs.rglob("*")) == [
        "assets",
        "figures",
        "new-p.svg",
        "new.md",
    ]


def test_update_keeps_line_ends_and_the_byte_order_mark(
    run: Run, pytester: pytest.Pytester
) -> None:
    run("docs", "--update-pages", new="\ufeff" + NEW.replace("\n", "\r\n"))
    written = (pytester.path / "docs" / "new.md").read_bytes()
    assert written == ("\ufeff" + UPDATED.replace("\n", "\r\n")).encode()


def test_update_leaves_what_it_does_not_run(run: Run, pytester: pytest.Pytester) -> None:
    run("docs/new.md::line 30", "--update-pages", new=NEW)
    written = (pytester.path / "docs" / "new.md").read_text()
    assert written == NEW.replace(
        "> print(2)\n> ```\n", "> print(2)\n> ```\n>\n> ```text\n> 1\n> 2\n> ```\n"
    )


def test_update_writes_no_page_that_fails(run: Run, pytester: pytest.Pytester) -> None:
    page = "```python\nprint(1)\n1 / 0\n```\n"
    run("docs", "--update-pages", new=page).assert_outcomes(failed=1)
    assert (pytester.path / "docs" / "new.md").read_text() == page


def test_update_refuses_several_processes(run: Run) -> None:
    result = run("-p", "xdist", "-n", "2", "--update-pages", "docs", a=GOOD)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--update-pages writes files: run it without -n"])


def test_update_refuses_a_page_that_changed_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("```python\nprint(1)\n```\n")
    page = parse_file(path, tmp_path)
    update, runner = Update(page), Runner()
    for difference in check(runner, page, page.blocks[0]):
        update.add(difference)
    runner.close()
    path.write_text("edited")
    with pytest.raises(OSError, match=r"a\.md was changed while it ran"):
        update.write()
    assert path.read_text() == "edited"
