"""The browser's runner of programs, in this Python: each program starts afresh, and is run once."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pages.state

ROOT = Path(__file__).parents[2]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setitem(sys.modules, "state", pages.state)
    spec = importlib.util.spec_from_file_location("runner", ROOT / "web/src/runner.py")
    assert spec is not None
    assert spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    monkeypatch.setattr(runner, "DIRECTORY", str(tmp_path))
    return runner


@pytest.fixture
def run(runner: ModuleType) -> Run:
    def run(*codes: str, error: str | None = None, exercise: str | None = None) -> dict[str, Any]:
        blocks = [{"name": f"block {n}", "code": code} for n, code in enumerate(codes, start=1)]
        program = {"blocks": blocks, "error": error, "figures": [], "exercise": exercise}
        return dict(json.loads(runner.run(json.dumps(program))))

    return run


def test_a_block_goes_on_where_the_one_above_ended(run: Run) -> None:
    first = "import sys\nsys.setrecursionlimit(777)\nx = [1]"
    run(first)
    run(first, "x.append(2)\nprint(x)")
    went_on = run(first, "x.append(2)\nprint(x)", "import sys\nprint(x, sys.getrecursionlimit())")
    assert (went_on["output"], went_on["error"]) == ("[1, 2] 777\n", "")


@pytest.mark.parametrize(
    "between",
    [
        ("x = [1]", "x.append(2)\nprint(x)"),  # itself, once more
        ("x = [1]", "x.append(3)"),  # another one that continues the first
        ("x = [1]", "x.append(4)\n1 / 0"),  # one that fails half-way
        ("x = [5]",),
    ],
)
def test_no_block_sees_what_is_not_of_its_program(between: tuple[str, ...], run: Run) -> None:
    run("x = [1]")
    run(*between)
    assert run("x = [1]", "x.append(2)\nprint(x)")["output"] == "[1, 2]\n"


def test_a_chain_is_run_once(run: Run, tmp_path: Path) -> None:
    log = tmp_path.parent / "log"
    codes = [f"with open({str(log)!r}, 'a') as log: log.write('{n} ')" for n in range(4)]
    for number in range(4):
        run(*codes[: number + 1])
    assert log.read_text() == "0 1 2 3 "


def test_what_another_block_continues_is_compiled_once(
    run: Run, runner: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(code: str, *rest: Any, **options: Any) -> Any:
        seen.append(code)
        return compile(code, *rest, **options)

    monkeypatch.setattr(runner, "compile", watched, raising=False)
    first = "from __future__ import annotations\nx = []\ndef add(one: Unknown): x.append(one)"
    for number in range(3):
        outcome = run(first, f"add({number})\nprint(x)")
        assert (outcome["output"], outcome["error"]) == (f"[{number}]\n", "")
    assert seen.count(first) == 1


def test_what_compiling_warns_of_is_said_each_time(run: Run) -> None:
    codes = ("import warnings\nwarnings.simplefilter('always')", "x = 1 is 1")
    run(*codes, "print(x)")
    assert run(*codes)["output"].startswith("SyntaxWarning: ")


def test_files_of_another_program_are_gone(run: Run) -> None:
    run("from pathlib import Path\nPath('a').write_text('')")
    assert run("from pathlib import Path\nprint(list(Path().iterdir()))")["output"] == "[]\n"


def test_the_block_that_fails_is_named(run: Run) -> None:
    failed = run("x = 1", "print('before')\nx / 0", "print('never')")
    assert (failed["failed"], failed["output"]) == (1, "before\n")
    assert failed["error"].endswith("ZeroDivisionError: division by zero\n")
    assert '"block 2", line 2' in failed["error"]


def test_a_declared_error_is_part_of_the_output(run: Run) -> None:
    assert run("1 / 0", error="ZeroDivisionError")["output"] == (
        "ZeroDivisionError: division by zero\n"
    )
    assert run("1 / 0", error="ValueError")["output"] == ""


RIGHT = (
    "from attention_ref import softmax as ours\n\ndef softmax(x, axis):\n    return ours(x, axis)"
)
WRONG = "def softmax(x, axis):\n    return x"
CHECKED = "from attention_ref.exercises import check\nprint(check('softmax', softmax))"


def test_the_function_of_the_last_block_is_judged(run: Run) -> None:
    right = run(f"{RIGHT}\n{CHECKED}", exercise="softmax")
    assert (right["passed"], right["output"], right["error"]) == (True, "softmax: passes.\n", "")
    wrong = run(f"{WRONG}\n{CHECKED}", exercise="softmax")
    assert (wrong["passed"], wrong["error"]) == (False, "")
    assert wrong["output"].startswith("softmax: not yet. ")
    assert wrong["output"].count("softmax: ") == 1
    assert run(f"{RIGHT}\n{CHECKED}")["passed"] is None


@pytest.mark.parametrize(
    "claim",
    [
        "print('softmax: passes.')",
        "check = lambda *_: 'softmax: passes.'\nprint(check('softmax', softmax))",
        f"from attention_ref import softmax as right\n{CHECKED.replace(' softmax)', ' right)')}",
    ],
)
def test_what_a_block_prints_decides_nothing(claim: str, run: Run) -> None:
    outcome = run(f"{WRONG}\n{claim}", exercise="softmax")
    assert outcome["passed"] is False
    said, told = outcome["output"].split("\n", 1)
    assert said == "softmax: passes."
    assert told.startswith("softmax: not yet. ")


def test_a_verdict_that_the_block_does_not_print_is_said(run: Run) -> None:
    outcome = run(f"{RIGHT}\nprint('mine', end='')", exercise="softmax")
    assert (outcome["passed"], outcome["output"]) == (True, "mine\nsoftmax: passes.\n")


def test_a_function_of_a_block_above_is_no_answer(run: Run) -> None:
    outcome = run(RIGHT, "x = 1", exercise="softmax")
    assert outcome["passed"] is None
    assert outcome["error"] == "The block defines no 'softmax', which Check looks for.\n"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("def softmax(x, axis):\n    raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("softmax = 3", "TypeError: function must be the function itself"),
        ("def softmax(", "SyntaxError"),
        (f"{RIGHT}\n1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_cannot_be_judged_has_no_verdict(code: str, error: str, run: Run) -> None:
    outcome = run(code, exercise="softmax")
    assert outcome["passed"] is None
    assert error in outcome["error"]


def test_an_answer_is_heard_once(run: Run) -> None:
    code = "import sys\ndef softmax(x, axis):\n    print('here', file=sys.stderr)\n    return x"
    assert "here" not in run(code, exercise="softmax")["output"]
