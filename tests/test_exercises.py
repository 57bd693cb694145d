"""Every exercise: its checker is right, explains what is wrong, and its page shows it."""

import ast
import doctest
import importlib
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_ref.exercises import EXERCISES, Exercise, check
from mutation.lists import equivalent
from mutation.mutants import Mutants
from pages.parse import parse_file

ROOT = Path(__file__).parents[1]
LEARN = ROOT / "docs" / "learn"
OTHER_SEEDS = tuple(range(3, 8))
ALL = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
PAGES = sorted({exercise.page for exercise in EXERCISES.values()})


def words(function: Callable) -> str:
    return " ".join(function.__doc__.split())


@ALL
@pytest.mark.parametrize("seeds", [(0, 1, 2), OTHER_SEEDS], ids=["its seeds", "other seeds"])
def test_right_answers_pass(exercise: Exercise, seeds: tuple[int, ...]):
    assert exercise.judge(exercise.solution, seeds=seeds)
    assert exercise.judge(exercise.specification, seeds=seeds)


@ALL
def test_each_mistake_is_refused_in_its_own_words(exercise: Exercise):
    assert len(exercise.mistakes) >= 5
    for mistake in exercise.mistakes:
        for seeds in ((0, 1, 2), OTHER_SEEDS):
            verdict = exercise.judge(mistake, seeds=seeds)
            assert not verdict, mistake.__name__
            assert verdict.diagnosis == f"not yet. {words(mistake)}"


@ALL
def test_each_mistake_is_refused_with_every_single_seed(exercise: Exercise):
    for mistake, seed in itertools.product(exercise.mistakes, range(3)):
        assert not exercise.judge(mistake, seeds=(seed,)), (mistake.__name__, seed)


@ALL
def test_what_is_said_differs(exercise: Exercise):
    said = [words(function) for function in (*exercise.mistakes, *exercise.rules)]
    assert len(set(said)) == len(said)
    assert all(text.endswith(".") for text in (*said, exercise.task))
    assert 2 <= len(set(exercise.hints)) <= 3


@ALL
def test_the_stub_is_refused(exercise: Exercise):
    written = _compiled(exercise, exercise.stub)
    assert "is a return missing?" in exercise.judge(written).diagnosis
    assert words(written) == exercise.task


@ALL
def test_the_inputs_start_small(exercise: Exercise):
    sizes = []
    for case in exercise.inputs(np.random.default_rng(0)):
        assert isinstance(case, tuple)
        sizes.append(sum(np.size(one) for one in case))
    assert sizes[0] <= 40
    assert len(sizes) >= 3


@ALL
def test_the_inputs_depend_on_the_seed_alone_and_the_first_not_on_that(exercise: Exercise):
    first, again, other = (list(map(_text, exercise.inputs(_seeded(seed)))) for seed in (0, 0, 1))
    assert first == again
    assert first[0] == other[0]


@ALL
def test_the_rules_hold_for_right_answers_and_not_for_all_others(exercise: Exercise):
    for rule in exercise.rules:
        broken = False
        for case in exercise.inputs(np.random.default_rng(0)):
            right = exercise.specification(*_copies(case))
            assert rule(right, *case), rule.__name__
            for mistake in exercise.mistakes:
                with np.errstate(all="ignore"):
                    try:
                        wrong = mistake(*_copies(case))
                        broken |= np.shape(wrong) == np.shape(right) and not rule(wrong, *case)
                    except ValueError:
                        continue  # this mistake fits not every input
        assert broken, f"{rule.__name__} holds for every mistake"


@ALL
def test_planted_faults_are_refused(exercise: Exercise, tmp_path: Path):
    path = tmp_path / "solution.py"
    path.write_text(exercise.solution_source, encoding="utf-8")
    keys = [mutant.key for mutant in _mutants(path)]
    accepted = {key[1:] for key in keys if _accepts(exercise, path, key)}
    module = exercise.solution.__module__.removeprefix("attention_ref.")
    function = f"{module}.{exercise.name}"
    assert accepted == {key[1:] for key in equivalent() if key[0] == function}


def _mutants(path: Path) -> Iterator:
    for mutant in Mutants("solution", path):
        if not mutant.before.startswith("def "):
            yield mutant


def _accepts(exercise: Exercise, path: Path, key: tuple[str, str, str]) -> bool:
    mutants = Mutants("solution", path)  # a tree takes one fault
    next(mutant for mutant in mutants if mutant.key == key).plant()
    wrong = _compiled(exercise, ast.unparse(ast.fix_missing_locations(mutants.tree)))
    return bool(exercise.judge(wrong))


def _compiled(exercise: Exercise, source: str) -> Callable:
    namespace = dict(vars(sys.modules[exercise.solution.__module__]))
    exec(source, namespace)
    return namespace[exercise.name]


def _seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _text(case: tuple) -> str:
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return repr([one.__name__ if callable(one) else one for one in case])


def _copies(case: tuple) -> list:
    return [one.copy() if isinstance(one, np.ndarray) else one for one in case]


def test_every_page_has_its_exercises():
    nav = re.findall(r"learn/([\w-]+)\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert set(PAGES) == set(nav)
    for page in PAGES:
        count = sum(exercise.page == page for exercise in EXERCISES.values())
        assert 2 <= count <= 3, page


def test_no_two_pages_share_a_name():
    listed = [
        exercise.name
        for page in PAGES
        for exercise in importlib.import_module(
            f"attention_ref.exercises._{page.replace('-', '_')}"
        ).EXERCISES
    ]
    assert len(listed) == len(set(listed)) == len(EXERCISES)


@ALL
def test_the_page_shows_the_stub_and_the_solution(exercise: Exercise):
    page = parse_file(LEARN / f"{exercise.page}.md", ROOT)
    blocks = [block.fence.content for block in page.blocks]
    line = f'print(check("{exercise.name}", {exercise.name}))'
    stub = f"{exercise.stub}\n\n{line}"
    assert any(stub in block for block in blocks), f"a block of the page must hold:\n{stub}"
    bare = _without_docstring(exercise.solution_source)
    solution = f"{bare}\n\n{line}"
    shown = any(
        line in block and ast.dump(one) == ast.dump(ast.parse(bare).body[0])
        for block in blocks
        for one in ast.parse(block).body
    )
    assert shown, f"a block of the page must hold:\n{solution}"


def _without_docstring(source: str) -> str:
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    lines = source.splitlines()
    docstring = function.body[0]
    return "\n".join(lines[: docstring.lineno - 1] + lines[docstring.end_lineno :]) + "\n"


# ------------------------------------------------------------------ what an answer may do


def _softmax(x, axis):
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _prints(x, axis):
    print(_softmax(x, axis))


def _prints_without_end(x, axis):
    while True:
        print("x" * 100)


def _raises(x, axis):
    weights = _softmax(x, axis)
    return weights.no_such_name


def _leaves(x, axis):
    sys.exit("bye")


class _Unreadable:
    def __array__(self, *_, **__):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")


class _UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no")


def _raises_unspeakably(x, axis):
    raise _UnspeakableError


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x, axis: None, "It returns nothing (None): is a return missing?"),
        (_prints, "It prints its answer and returns nothing (None): return it."),
        (_prints_without_end, "RuntimeError in line 3: more than 10000 characters printed"),
        (_raises, "It raises AttributeError in line 3: 'numpy.ndarray' object has no attribute"),
        (_leaves, "It raises SystemExit in line 2: bye"),
        (_raises_unspeakably, "It raises _UnspeakableError in line 2"),
        (lambda x: x, "It raises TypeError: "),
        (lambda x, axis: _softmax(x, axis).tolist(), "It must return an array, got list."),
        (lambda x, axis: itertools.count(), "It must return an array, got count."),
        (lambda x, axis: _Unreadable(), "It must return an array, got _Unreadable."),
        (lambda x, axis: _softmax(x, axis)[..., None], "It must return the shape (3,), got (3, 1)"),
        (lambda x, axis: x > 0, "It must return floats, got bool."),
        (lambda x, axis: _softmax(x, axis).astype(object), "It must return floats, got object."),
        (lambda x, axis: np.full_like(x, np.nan), "A weight is negative or nan"),
        (lambda x, axis: _softmax(x, axis) * 0.9, "The weights do not sum to 1 along `axis`."),
        (
            lambda x, axis: np.flip(_softmax(x, axis), axis),
            "It returns other numbers than the definition.",
        ),
        (lambda x, axis: np.exp(x), "The weights do not sum to 1 along `axis`."),
    ],
)
def test_whatever_an_answer_does_is_said(function: Callable, said: str):
    verdict = check("softmax", function)
    assert not verdict
    assert said in verdict.diagnosis
    assert verdict.diagnosis in repr(verdict).replace("\n", " ")


def test_an_answer_is_known_by_its_numbers_not_by_its_code():
    def by_columns(x, axis):
        return np.apply_along_axis(lambda row: _softmax(row, 0), 0, x)

    assert "The columns were normalised" in check("softmax", by_columns).diagnosis


def test_the_evidence_is_the_smallest_input_that_shows_it():
    verdict = check("softmax", lambda x, axis: _softmax(x, -1))
    assert verdict.evidence == (
        "  x = [[1. 2.]\n"
        "       [2. 5.]]\n"
        "  axis = 0\n"
        "  came     [[0.2689 0.7311]\n"
        "            [0.0474 0.9526]]\n"
        "  expected [[0.2689 0.0474]\n"
        "            [0.7311 0.9526]]"
    )


def test_an_argument_that_is_changed_is_named_and_shown():
    def in_place(weights, grad):
        grad -= (weights * grad).sum(axis=-1, keepdims=True)
        return weights * grad

    verdict = check("softmax_backward", in_place)
    assert verdict.diagnosis.endswith("It changes its argument grad, which the caller still needs.")
    assert verdict.evidence.splitlines()[-1] == "  grad afterwards = [[ 0.75 -0.25]]"


def test_a_large_array_is_shown_by_its_shape():
    def wrong_when_large(x, axis):
        return _softmax(x, axis) * (1 if x.size < 20 else 2)

    evidence = check("softmax", wrong_when_large).evidence
    assert evidence.count("of shape (2, 3, 5)") == 3
    assert len(evidence.splitlines()) == 4


def test_the_readers_print_options_change_nothing_and_neither_do_warnings():
    plain = repr(check("softmax", lambda x, axis: np.exp(x) / 0.0))
    with np.printoptions(precision=2, suppress=False), np.errstate(all="raise"):
        assert repr(check("softmax", lambda x, axis: np.exp(x) / 0.0)) == plain


def test_a_verdict_is_as_true_as_the_answer_is_right():
    assert bool(check("softmax", _softmax)) is True
    assert repr(check("softmax", _softmax)) == "softmax: passes."
    assert bool(check("softmax", _prints)) is False


def test_an_answer_for_torch_takes_torchs_arrays():
    assert check("softmax", torch.softmax, asarray=torch.asarray)
    wrong = check("softmax", lambda x, axis: torch.softmax(x, 0), asarray=torch.asarray)
    assert "The columns were normalised" in wrong.diagnosis
    assert "got ndarray" in check("softmax", _numpy_for_torch, asarray=torch.asarray).diagnosis


def _numpy_for_torch(x, axis):
    return torch.softmax(x, axis).numpy()


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="must be an exercise, such as 'softmax', got 'softmaxx'"):
        check("softmaxx", _softmax)
    with pytest.raises(ValueError, match=r"must be an exercise, such as '.+', got 3"):
        check(3, _softmax)


def test_a_call_is_no_function():
    with pytest.raises(TypeError, match="the function itself, without a call, got ndarray"):
        check("softmax", _softmax(np.ones(3), -1))


def test_the_example_of_check_is_true():
    (example,) = doctest.DocTestFinder(recurse=False).find(check, "check", globs={"check": check})
    assert doctest.DocTestRunner(verbose=False).run(example) == (0, 2)


def test_interrupting_stops_the_check():
    def stopped(x, axis):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("softmax", stopped)


def test_printing_is_the_answers_affair_and_ends_with_it(capsys):
    check("softmax", _prints)
    print("after")
    assert capsys.readouterr().out == "after\n"


def test_each_call_gets_arguments_of_its_own():
    kept = []

    def keeps(x, axis):
        kept.append(x)
        for old in kept[:-1]:
            old[...] = 0
        return _softmax(x, axis)

    assert check("softmax", keeps)


def test_the_exercises_cannot_be_changed():
    with pytest.raises(TypeError):
        EXERCISES["softmax"] = EXERCISES["merge"]
