"""How an answer is judged and explained: with exercises of one line."""

import dataclasses
import itertools
import re
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from attention_ref.exercises import Exercise, Verdict


def exercise(right: Callable, inputs: list[tuple], mistakes=(), rules=()) -> Exercise:
    return Exercise(
        solution=right,
        specification=right,
        inputs=lambda rng: iter(inputs),
        mistakes=mistakes,
        rules=rules,
        hints=(),
    )


def compared(came: object, right: object) -> Verdict:
    """Judge an answer that is always the same, where another is right."""
    return exercise(lambda x: right, [(1,)]).judge(lambda x: came)


def shown(value: object) -> list[str]:
    """Return the lines that show an argument beside a wrong answer."""
    lines = exercise(lambda x: np.zeros(1), [(value,)]).judge(lambda x: np.ones(1)).evidence
    return lines.split("\n")[:-2]


LARGEST = [(right, size) for size in (1.0, 1000.0) for right in (size, -size)]


@pytest.mark.parametrize(("largest", "size"), LARGEST)
def test_rounding_passes_in_proportion_to_the_largest_number(largest: float, size: float):
    right = np.array([largest, 0.0, np.inf, -np.inf, np.nan])
    for number in (0, 1):
        for sign in (1, -1):
            for error, passes in ((0.9e-9 * size, True), (1.1e-9 * size, False)):
                came = right.copy()
                came[number] += sign * error
                assert bool(compared(came, right)) is passes


def test_small_numbers_are_compared_as_one_is():
    assert compared(np.array([0.9e-9]), np.array([1e-30]))
    assert not compared(np.array([1.1e-9]), np.array([1e-30]))


@pytest.mark.parametrize(
    ("came", "right"),
    [
        (np.inf, -np.inf),
        (np.nan, np.inf),
        (0.0, np.nan),
        (np.nan, 0.0),
        (1e300, np.inf),
        (4, 3),
        (10**12 + 1, 10**12),
        (True, False),
    ],
)
def test_other_numbers_are_told_apart(came: object, right: object):
    verdict = compared(np.array([came]), np.array([right]))
    assert verdict.diagnosis == "not yet. It returns other numbers than the definition."
    assert compared(np.array([right]), np.array([right]))


def test_no_numbers_are_right_where_none_are_expected():
    assert compared(np.zeros((0, 3)), np.zeros((0, 3)))
    assert "the shape (0, 3), got (3, 0)" in compared(np.zeros((3, 0)), np.zeros((0, 3))).diagnosis


ONE = np.ones(1)


@pytest.mark.parametrize(
    ("came", "right", "said"),
    [
        ((ONE,), (ONE, ONE), "It must return 2 arrays, got 1."),
        (ONE, (ONE, ONE), "It must return 2 arrays, got 1."),
        ([ONE] * 3, (ONE, ONE), "It must return 2 arrays, got 3."),
        ((ONE, 1.0), (ONE, ONE), "It must return an array, got float."),
        ((ONE, 2 * ONE), (ONE, ONE), "It returns other numbers than the definition."),
        ((2 * ONE, ONE), (ONE, ONE), "It returns other numbers than the definition."),
        ((ONE, ONE), ONE, "It must return an array, got tuple."),
        ([1.0], ONE, "It must return an array, got list."),
        (np.float64(1), ONE, "It must return an array, got float64."),
        (np.ones((1, 2)), np.ones((2, 1)), "It must return the shape (2, 1), got (1, 2)."),
        (np.array([1]), ONE, "It must return floats, got int64."),
        (ONE, np.array([1]), "It must return integers, got float64."),
        (np.array([True]), np.array([1]), "It must return integers, got bool."),
        (np.array([1]), np.array([True]), "It must return bool, got int64."),
        (ONE.astype(complex), ONE, "It must return floats, got complex128."),
        ("one", 1.0, "It must return floats, got <U3."),
        (2.0, 1.0, "It returns other numbers than the definition."),
    ],
)
def test_what_must_be_returned_is_said(came: object, right: object, said: str):
    verdict = compared(came, right)
    assert not verdict
    assert verdict.diagnosis == f"not yet. {said}"


@pytest.mark.parametrize(
    ("came", "right"),
    [
        ([ONE, ONE], (ONE, ONE)),
        (np.float32([1]), ONE),
        (np.array([1], np.int8), np.array([1])),
        (np.array([1], np.uint8), np.array([1])),
        (1.0, np.float64(1)),
        (np.array(1.0), 1.0),
    ],
)
def test_another_kind_of_the_same_passes(came: object, right: object):
    assert compared(came, right)


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (np.arange(12.0), ["  x = [ 0.  1.  2.  3.  4.  5.  6.  7.  8.  9. 10. 11.]"]),
        (np.arange(13.0), ["  x = [0. 1. 2. ...], of shape (13,)"]),
        (np.zeros((13, 1), bool), ["  x = [False False False ...], of shape (13, 1)"]),
        (np.array([[1, 20], [3, 4]]), ["  x = [[ 1 20]", "       [ 3  4]]"]),
        (np.array([1 / 3, 1e-9, 2.0]), ["  x = [0.3333 0.     2.    ]"]),
        (np.array(0.5), ["  x = 0.5"]),
        (np.array(["a"]), ["  x = array(['a'], dtype='<U1')"]),
        ((np.ones(1), 2), ["  x = [1.]", "  x = 2"]),
        (len, ["  x = len"]),
        (sys.stdout.write, ["  x = write"]),
        ("w" * 99, ["  x = '" + "w" * 77]),
    ],
)
def test_an_argument_is_shown(value: object, lines: list[str]):
    assert shown(value) == lines


class Nameless:
    def __call__(self):
        return None


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no")


def test_whatever_an_argument_is_it_is_shown():
    assert shown(Nameless()) == ["  x = a function"]
    assert shown(Unprintable()) == ["  x = Unprintable"]


class Unreadable:
    def __array__(self, *_, **__):
        raise RuntimeError("no")


def test_what_no_numbers_can_be_read_from_is_named():
    verdict = compared(Unreadable(), 1.0)
    assert verdict.diagnosis == "not yet. It must return numbers, got Unreadable."
    assert "Unreadable object" in verdict.evidence


def test_the_readers_print_options_change_nothing():
    values = np.array([0.5, 1 / 3, 2.0]), np.arange(12.0) * 123456.5
    plain = [shown(value) for value in values]
    with np.printoptions(floatmode="fixed", linewidth=30, precision=2, suppress=False):
        assert [shown(value) for value in values] == plain


def test_a_long_row_is_broken_at_78_columns():
    lines = shown(np.arange(12.0) * 123456.5)
    assert len(lines) > 1
    for line, following in itertools.pairwise(lines):
        more = following.split()[0]
        assert len(line) <= 78 + len("  x = ") < len(line) + 1 + len(more) + 1


def test_the_words_are_broken_at_78_columns():
    verdict = Verdict("e", False, " ".join(["ab-cd"] * 40), "  last = 1")
    *lines, last = repr(verdict).split("\n")
    assert last == "  last = 1"
    assert lines[:2] == ["e: " + " ".join(["ab-cd"] * 12), " ".join(["ab-cd"] * 13)]
    assert repr(Verdict("e", False, "a" * 37 + " " + "b" * 37, "")).count("\n") == 0
    assert repr(Verdict("e", False, "a" * 37 + " " + "b" * 38, "")).count("\n") == 1
    assert repr(Verdict("e", False, "a " + "b" * 90, "")) == "e: a\n" + "b" * 90


def test_both_answers_are_shown_unless_none_came():
    evidence = compared((ONE, 2 * ONE), (ONE, ONE)).evidence
    assert evidence == "  x = 1\n  came     [1.]\n  came     [2.]\n  expected [1.]\n  expected [1.]"
    assert compared(None, ONE).evidence == "  x = 1"


def test_a_list_that_is_changed_is_named():
    def right(first, second):
        return ONE

    def changes(first, second):
        second.append(3)
        return ONE

    verdict = exercise(right, [([1], [2])]).judge(changes)
    assert verdict.diagnosis.endswith(
        "It changes its argument second, which the caller still needs."
    )
    assert verdict.evidence == "  first = [1]\n  second = [2]\n  second afterwards = [2, 3]"


def test_as_much_may_be_printed_as_is_said():
    def prints(x):
        print("a" * 4999)
        print("b" * (4999 + x))
        return ONE

    assert exercise(lambda x: ONE, [(0,)]).judge(prints)
    said = exercise(lambda x: ONE, [(1,)]).judge(prints).diagnosis
    assert said == "not yet. It raises RuntimeError in line 3: more than 10000 characters printed"


def test_three_draws_are_judged_and_again_the_same():
    drawn = []

    def inputs(rng):
        drawn.append(rng.random())
        yield (ONE,)

    one = dataclasses.replace(exercise(lambda x: x, []), inputs=inputs)
    assert one.judge(lambda x: x)
    assert one.judge(lambda x: x)
    assert len(set(drawn[:3])) == 3
    assert drawn[3:] == drawn[:3]


def test_an_answer_may_warn():
    def warns(x):
        warnings.warn("deprecated", stacklevel=1)
        return ONE

    assert exercise(lambda x: ONE, [(1,)]).judge(warns)


def test_what_is_written_is_counted():
    def writes(x):
        return np.array([1.0 if sys.stdout.write("abc") == 3 else 0.0])

    assert exercise(lambda x: ONE, [(1,)]).judge(writes)


def test_a_line_is_counted_from_the_answers_own_def():
    def helper():
        raise KeyError("here")

    def answer(x):
        if x:
            return helper()
        return ONE

    said = exercise(lambda x: ONE, [(1,)]).judge(answer).diagnosis
    assert said == "not yet. It raises KeyError in line 3: 'here'"
    assert "raises TypeError: " in exercise(lambda x: ONE, [("a",)]).judge(abs).diagnosis


# ------------------------------------------------------------------ which words are said


def raises_key(x):
    """It looks for a key."""
    return {}[x]


def returns_nothing(x):
    """It returns nothing."""


def adds_in_place(x):
    """It adds in place."""
    x += 1
    return x.sum(keepdims=True)


def adds_one(x):
    """It adds one."""
    return (x + 1).sum(keepdims=True)


def doubles(x):
    """It doubles."""
    return 2 * x.sum(keepdims=True)


MISTAKES = (raises_key, returns_nothing, adds_in_place, adds_one, doubles)


def summed(x):
    return x.sum(keepdims=True)


def total(inputs: list[np.ndarray], rules=()) -> Exercise:
    return exercise(summed, [(x,) for x in inputs], MISTAKES, rules)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_known_among_others(mistake: Callable):
    verdict = total([np.array([1.0]), np.array([3.0, 5.0])]).judge(mistake)
    assert verdict.diagnosis == f"not yet. {mistake.__doc__}"


def test_a_mistake_must_be_the_same_on_every_input():
    wrong = total([np.array([1.0]), np.array([3.0, 5.0])]).judge(lambda x: 2 * x[:1])
    assert wrong.diagnosis == "not yet. It returns other numbers than the definition."
    assert total([np.array([1.0])]).judge(lambda x: 2 * x[:1]).diagnosis == "not yet. It adds one."


def test_a_mistake_is_known_in_a_list_too():
    def doubled(x):
        """The first is doubled."""
        return 2 * ONE, np.ones(2)

    judge = exercise(lambda x: (ONE, np.ones(2)), [(1,)], (doubled,)).judge
    assert judge(lambda x: list(doubled(x))).diagnosis == "not yet. The first is doubled."


def test_another_error_is_another_mistake():
    def raises_index(x):
        raise IndexError("far")

    def changes_and_returns_nothing(x):
        x += 1

    inputs = [np.array([1.0])]
    assert "It raises IndexError in line 2: far" in total(inputs).judge(raises_index).diagnosis
    said = total(inputs).judge(changes_and_returns_nothing).diagnosis
    assert said == "not yet. It returns nothing (None): is a return missing?"


def positive(answer, x):
    """A sum of squares is positive."""
    return np.all(answer > 0)


def below_nine(answer, x):
    """It is too large."""
    return np.all(answer < 9)


def test_the_first_wrong_answer_that_breaks_a_rule_is_shown():
    inputs = [np.array([1.0]), np.array([2.0]), np.array([3.0]), np.array([4.0])]

    def wrong(x):
        return np.array([{1: 1.0, 2: 2.5, 3: -3.0, 4: 10.0}[int(x[0])]])

    verdict = total(inputs, (below_nine, positive)).judge(wrong)
    assert verdict.diagnosis == "not yet. A sum of squares is positive."
    assert verdict.evidence.startswith("  x = [3.]\n  came     [-3.]")
    verdict = total(inputs[:2], (below_nine, positive)).judge(wrong)
    assert verdict.diagnosis == "not yet. It returns other numbers than the definition."
    assert verdict.evidence.startswith("  x = [2.]\n  came     [2.5]")


def test_a_rule_may_divide_by_zero():
    def finite(answer, x):
        """It divides by zero."""
        return np.all(np.isfinite(1 / answer))

    with np.errstate(all="raise"):
        verdict = total([np.array([1.0])], (finite,)).judge(lambda x: np.zeros(1))
    assert verdict.diagnosis == "not yet. It divides by zero."


def test_no_rule_is_asked_about_an_answer_of_another_kind():
    def short(answer, x):
        raise AssertionError("asked")

    verdict = total([np.array([1.0])], (short,)).judge(lambda x: np.zeros(2))
    assert re.search(r"the shape \(1,\), got \(2,\)", verdict.diagnosis)


def test_a_rule_is_given_the_arguments_as_they_were_and_arrays():
    seen = []

    def rule(answer, x):
        """It holds."""
        seen.append((answer, x))
        return True

    total([np.array([1.0, 2.0])], (rule,)).judge(lambda x: np.zeros(1))
    answer, x = seen[0]
    assert isinstance(answer, np.ndarray)
    np.testing.assert_array_equal(x, [1.0, 2.0])
