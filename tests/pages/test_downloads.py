"""What a page downloads as runs, and shows what the page shows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from attention_docs.colab import first_cell, pip_install
from pages.check import check, normal
from pages.downloads import cells, notebook, script
from pages.model import Page
from pages.parse import parse_file
from pages.run import Runner
from pages.test_runnable import fence, page_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [page for path in sorted(DOCS.rglob("*.md")) if (page := parse_file(path, ROOT)).blocks]
SITE = "https://example.org/site/"


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()


def text_of(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return "\n".join(output.traceback) if output.output_type == "error" else ""


@pytest.mark.no_shape_checks  # as a reader has it
@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_script_of_a_page_runs_and_prints_what_the_page_shows(
    page: Page, runner: Runner
) -> None:
    made = cells(page, SITE, SITE)
    shown = "\n".join(cell.printed for cell in made if cell.printed)
    text = "`````python\n" + script(made) + "`````\n"
    if shown:
        text += "\n`````text\n" + shown + "\n`````\n"
    alone = page_of(text)
    assert [one.made for one in check(runner, alone, alone.blocks[0])] == []


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_notebook_of_a_page_is_valid_and_shows_its_outputs_and_figures(page: Page) -> None:
    read = nbformat.reads(notebook(cells(page, SITE, SITE)), as_version=4)
    nbformat.validate(read)
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    texts = ["".join(text_of(output) for output in cell.outputs).rstrip("\n") for cell in code]
    for block in page.blocks:
        if block.output:
            assert any(text.endswith(normal(block.output.content)) for text in texts)
    pictures = [
        output.data["image/svg+xml"]
        for cell in code
        for output in cell.outputs
        if output.output_type == "display_data"
    ]
    figures = [figure.path.read_text("utf-8") for block in page.blocks for figure in block.figures]
    assert pictures == figures


def test_a_notebook_gives_when_run_what_it_shows() -> None:
    page = page_of(
        "# A page\n\nText with a [link](reference/x.md#y).\n\n"
        + fence("python", "import math\nimport attention_ref\n\nx = [math.pi]\nprint(len(x))")
        + "\n"
        + fence("text", "1")
        + """
=== "Other"

    <!--pytest-codeblocks:cont-->
    <!--pytest-codeblocks:expect-error(KeyError)-->
    ```python
    x = {}
    print("before")
    x[3]
    ```

    ```text
    before
    KeyError: 3
    ```

<!--pytest-codeblocks:cont-->
```python
x.append(2)
print(x)
```

```text
[3.141592653589793, 2]
```
"""
    )
    made = cells(page, f"{SITE}learn/x/", SITE)
    assert [cell.source for cell in made if not cell.code] == [
        f"From [{SITE}learn/x/]({SITE}learn/x/). It needs `{pip_install(['attention_ref'])}`.",
        f"# A page\n\nText with a [link]({SITE}reference/x/#y).",
        "**Other**",
    ]
    # What follows the tab finds another x, so it comes with its program.
    assert made[-1].source == (
        "import math\nimport attention_ref\n\n\n"
        "x = [math.pi]\nprint(len(x))\n\n\nx.append(2)\nprint(x)"
    )
    # The cell that installs the package stands in the notebook, which is run with it below.
    assert [cell.source for cell in made if cell.magic] == [first_cell(["attention_ref"])]
    assert "%pip" in notebook(made)
    assert "%pip" not in script(made)
    shown = nbformat.reads(notebook(made), as_version=4)
    ran = NotebookClient(shown.copy(), kernel_name="python3").execute()
    for cell, again in zip(shown.cells, ran.cells, strict=True):
        if cell.cell_type == "code":
            printed = [one.text for one in again.outputs if one.output_type == "stream"]
            assert "".join(printed) == "".join(
                one.text for one in cell.outputs if one.output_type == "stream"
            )
            assert [
                (one.ename, one.evalue) for one in again.outputs if one.output_type == "error"
            ] == [(one.ename, one.evalue) for one in cell.outputs if one.output_type == "error"]


def test_a_script_catches_the_errors_that_belong_to_the_page(runner: Runner) -> None:
    code = 'text = """a\n  b"""\nprint(text)\nint(text)'
    message = "ValueError: invalid literal for int() with base 10: 'a\\n  b'"
    page = page_of(
        "<!--pytest-codeblocks:expect-error(ValueError)-->\n"
        + fence("python", code)
        + "\n"
        + fence("text", f"a\n  b\n{message}")
        + "\n<!--pytest-codeblocks:expect-error(SyntaxError)-->\n"
        + fence("python", "f(")
        + "\n"
        + fence("text", "SyntaxError: '(' was never closed")
    )
    made = script(cells(page, SITE, SITE))
    assert "exec(" in made
    alone = page_of(f"{fence('python', made)}\n{fence('text', f'a{chr(10)}  b{chr(10)}{message}')}")
    (difference,) = check(runner, alone, alone.blocks[0])
    assert difference.made.startswith(f"a\n  b\n{message}\nSyntaxError: '(' was never closed")


def test_numpy_prints_again_as_it_does(runner: Runner) -> None:
    page = page_of(
        fence("python", "import numpy as np\n\nnp.set_printoptions(precision=2)")
        + "\n"
        + fence("python", "import numpy as np\n\nprint(np.array([0.125]))")
        + "\n"
        + fence("text", "[0.125]")
    )
    alone = page_of(
        f"{fence('python', script(cells(page, SITE, SITE)))}\n{fence('text', '[0.125]')}"
    )
    assert check(runner, alone, alone.blocks[0]) == []
