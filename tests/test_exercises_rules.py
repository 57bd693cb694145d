"""What the rules of the exercises refuse: no answer is so wrong that a rule cannot be asked."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from attention_ref.exercises import EXERCISES, Exercise, check

RULES = [(exercise, rule) for exercise in EXERCISES.values() for rule in exercise.rules]
ALL = pytest.mark.parametrize(
    ("exercise", "rule"),
    RULES,
    ids=[f"{exercise.name}-{rule.__name__.lstrip('_')}" for exercise, rule in RULES],
)
# These say only that a number must not be too small.
WITHOUT_UPPER_BOUND = ("_weights_are_positive", "_not_below_zero", "_above_zero")


def broken(exercise: Exercise, rule: Callable, change: Callable) -> bool:
    """Tell whether changing one number of some right answer breaks the rule."""
    for case in exercise.inputs(np.random.default_rng(0)):
        for answer in changed(exercise.specification(*case), change):
            with np.errstate(all="ignore"):
                if not rule(answer, *case):
                    return True
    return False


def changed(right: object, change: Callable) -> Iterator:
    """Yield right answers with one number changed, each in its turn."""
    parts = [np.asarray(part) for part in (right if isinstance(right, tuple) else (right,))]
    for at, part in enumerate(parts):
        for place in np.ndindex(*part.shape):
            wrong = part.copy()
            wrong[place] = change(part[place])
            others = (*parts[:at], wrong, *parts[at + 1 :])
            yield others if isinstance(right, tuple) else wrong


def up(number):
    return not number if number.dtype.kind == "b" else number + 1


def down(number):
    return not number if number.dtype.kind == "b" else number - 1


def no_number(number):
    return np.nan if number.dtype.kind == "f" else down(number)


@ALL
def test_a_number_too_large_or_too_small_by_one_breaks_the_rule(exercise: Exercise, rule: Callable):
    assert broken(exercise, rule, down)
    assert broken(exercise, rule, up) is (rule.__name__ not in WITHOUT_UPPER_BOUND)


@ALL
def test_what_is_no_number_breaks_the_rule(exercise: Exercise, rule: Callable):
    assert broken(exercise, rule, no_number)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_an_answer_that_is_one_number_throughout_is_explained(exercise: Exercise, number: float):
    def filled(*case):
        right = exercise.specification(*case)
        if isinstance(right, tuple):
            return tuple(np.full(part.shape, number) for part in right)
        return np.full(np.shape(right), number)

    verdict = check(exercise.name, filled)
    assert not verdict
    assert "\n  expected" in repr(verdict)
