"""What the copy buttons give runs alone; what the browser is told of a page is true."""

import json
from pathlib import Path

import pytest

from attention_ref.exercises import EXERCISES, Exercise
from pages.check import check, normal
from pages.model import Block, Page
from pages.parse import parse, parse_file
from pages.run import Runner
from pages.runnable import describe, main, missing
from pages.source import copied

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PROGRAMS = [
    (page, block)
    for page in (parse_file(path, ROOT) for path in sorted(DOCS.rglob("*.md")))
    for block in page.blocks
    if len(page.program(block)) > 1
]


def page_of(text: str) -> Page:
    page = parse(text.encode(), ROOT / "docs/x.md", "docs/x.md")
    assert page.problems == ()
    return page


def fence(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


@pytest.fixture(scope="module")
def runner():
    runner = Runner()
    yield runner
    runner.close()


@pytest.mark.no_shape_checks  # as a reader has it
@pytest.mark.parametrize(
    ("page", "block"), PROGRAMS, ids=[f"{page.name}:{block.lineno}" for page, block in PROGRAMS]
)
def test_a_copied_program_prints_what_its_blocks_print(
    page: Page, block: Block, runner: Runner
) -> None:
    program = page.program(block)
    shown = "\n".join(normal(one.output.content) for one in program if one.output)
    declared = f"<!--pytest-codeblocks:expect-error({block.error})-->\n" if block.error else ""
    text = declared + fence("python", copied(program)) + (fence("text", shown) if shown else "")
    alone = page_of(text)
    assert check(runner, alone, alone.blocks[0]) == []


def program(*codes: str) -> str:
    cont = "<!--pytest-codeblocks:cont-->\n"
    page = page_of(f"\n{cont}".join(fence("python", code) for code in codes))
    return copied(page.program(page.blocks[-1]))


def test_imports_come_first_and_once() -> None:
    assert program(
        "import math\nimport numpy as np\n\nx = np.ones(3)",
        "import numpy as np\nfrom math import (\n    pi,\n)\n\ny = x * pi * math.e",
    ) == (
        "import math\nimport numpy as np\nfrom math import (\n    pi,\n)\n\n\n"
        "x = np.ones(3)\n\n\ny = x * pi * math.e\n"
    )


@pytest.mark.parametrize(
    ("codes", "kept"),
    [
        # A name that means two things keeps its places.
        (
            ("def exp(x): return x", "from math import exp\nprint(exp(0))"),
            "from math import exp\np",
        ),
        (("from math import exp", "exp = abs"), "from math import exp\n\n\nexp = abs"),
        (("from math import pow", "from operator import pow"), "pow\n\n\nfrom operator import pow"),
        (("import math; x = 1", "y = 2"), "import math; x = 1\n\n\ny = 2"),
        (("x = 1", "if x:\n    import math"), "x = 1\n\n\nif x:\n    import math"),
    ],
)
def test_an_import_stays_where_moving_it_could_change_the_program(
    codes: tuple[str, ...], kept: str
) -> None:
    assert kept in program(*codes)


def test_imports_of_the_future_come_before_all() -> None:
    made = program("import math\nfrom __future__ import annotations", "x = math.pi")
    assert made.startswith("from __future__ import annotations\nimport math\n")


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import numpy.linalg, math", set()),
        ("from attention_ref.exercises import x", set()),
        ("import torch.nn", {"torch"}),
        ("def f():\n    from torch import nn", {"torch"}),
        ("from attention_ref.torch import MultiHeadAttention", {"torch"}),
        ("from attention_ref import torch", {"torch"}),
        ("import attention_ref.torch", {"torch"}),
        ("import sqlite3, array_api_strict", {"sqlite3", "array_api_strict"}),
    ],
)
def test_what_a_browser_lacks_is_named(code: str, modules: set[str]) -> None:
    page = page_of(f"{fence('python', code)}\n<!--pytest-codeblocks:cont-->\n```python\nx\n```\n")
    assert missing(page.program(page.blocks[1])) == modules


def test_a_plan_describes_the_page() -> None:
    page = page_of(
        "```python\nx = 2\n```\n\n<!--pytest-codeblocks:cont-->\n"
        "<!--pytest-codeblocks:expect-error(ValueError)-->\n```python\nraise ValueError(x)\n```\n\n"
        "```text\nValueError: 2\n```\n"
    )
    first, second = describe(page)["blocks"]
    assert (first["fence"], first["program"], first["copy"], first["output"]) == (
        0,
        [0],
        None,
        None,
    )
    assert (second["fence"], second["program"], second["output"]) == (1, [0, 1], 2)
    assert second["copy"] == "x = 2\n\n\nraise ValueError(x)\n"
    assert (first["error"], second["error"]) == (None, "ValueError")


def stub_and_check(name: str) -> str:
    return f"{EXERCISES[name].stub}\n\nprint(check({name!r}, {name}))".replace("'", '"')


def test_the_stub_of_an_exercise_is_known_and_nothing_else_is() -> None:
    stub = stub_and_check("softmax")
    page = page_of(
        "\n".join(
            fence("python", code)
            for code in (
                stub,
                stub.replace("    ...", "    return x"),  # a wrong answer that the page shows
                EXERCISES["softmax"].stub,
                'print(check("softmax", softmax))',
            )
        )
    )
    first, *others = (block["exercise"] for block in describe(page)["blocks"])
    assert first["name"] == "softmax"
    assert first["hints"] == EXERCISES["softmax"].hints
    assert others == [None] * 3


def test_another_task_has_another_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def described() -> str:
        page = page_of(fence("python", stub_and_check("softmax")))
        return str(describe(page)["blocks"][0]["exercise"]["id"])

    before, stub = described(), EXERCISES["softmax"].stub
    assert before.startswith("softmax-")
    other = stub.replace("scores of any size", "scores of any kind")
    monkeypatch.setattr(Exercise, "stub", other)
    assert described().startswith("softmax-")
    assert described() != before
    monkeypatch.setattr(Exercise, "stub", stub)
    assert described() == before


def test_every_page_gets_a_plan_and_every_exercise_its_page(tmp_path: Path) -> None:
    main(tmp_path / "run")
    plans = {path.relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*.json")}
    plans.remove(Path("exercises.json"))
    sources = (*DOCS.rglob("*.md"), *DOCS.glob("notebooks/*.py"))
    assert plans == {path.relative_to(DOCS).with_suffix(".json") for path in sources}
    assert json.loads((tmp_path / "run/index.json").read_text("utf-8"))["runtime"] is None
    listed = json.loads((tmp_path / "run/exercises.json").read_text("utf-8"))
    names = [(page, one.rpartition("-")[0]) for page, ids in listed.items() for one in ids]
    assert sorted(names) == sorted((f"learn/{one.page}", one.name) for one in EXERCISES.values())
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/files.json").write_text('{"a.wasm": 3}', encoding="utf-8")
    main(tmp_path / "run")
    assert json.loads((tmp_path / "run/index.json").read_text("utf-8"))["runtime"] == {"a.wasm": 3}
