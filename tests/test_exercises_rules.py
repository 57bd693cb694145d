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


# ------------------------------------------------------------------ what single rules let pass

COLUMNS = np.array([[0.0, 10.0], [1.0, 11.0]])
EYE = np.eye(2)
BETWEEN = {
    "look_up_all": (EYE, EYE, COLUMNS, 1.0),
    "mix": (np.ones((2, 2)), COLUMNS),
    "attention": (EYE, EYE, COLUMNS),
    "self_attention": (EYE, EYE, EYE, COLUMNS),
    "cross_attention": (EYE[None], EYE[None], EYE, EYE, COLUMNS, [2]),
    "kernel_smoother": (EYE, EYE, COLUMNS, 1.0),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_an_average_lies_between_the_values_of_its_own_column(name: str):
    (rule,) = EXERCISES[name].rules
    for answer, holds in (
        (COLUMNS, True),
        (np.array([[0.5, 9.5], [0.5, 10.5]]), False),
        (np.array([[1.5, 10.5], [0.5, 10.5]]), False),
    ):
        assert rule(answer[None] if name == "cross_attention" else answer, *BETWEEN[name]) == holds


def test_padding_has_no_values():
    (rule,) = EXERCISES["cross_attention"].rules
    *rest, lengths = BETWEEN["cross_attention"]
    assert lengths == [2]
    assert not rule(COLUMNS[None], *rest, [1])
    assert rule(COLUMNS[None, :1], *rest, [1])


@pytest.mark.parametrize("name", ["merge", "join"])
def test_the_average_of_two_that_agree_is_theirs(name: str):
    (rule,) = EXERCISES[name].rules
    once = np.ones(2)
    assert rule(COLUMNS, COLUMNS, once, COLUMNS, once)


def test_the_ends_of_a_range_are_in_it_or_not():
    share, loss = EXERCISES["induction_score"].rules[0], EXERCISES["next_letter_loss"].rules[0]
    maps, one = np.ones((1, 2, 2)), np.array([1.0])
    assert share(one, maps, 1)
    assert not share(0 * one, maps, 1)
    assert loss(0 * one, np.zeros((2, 2)), np.zeros(2, int))
    (distance,) = EXERCISES["squared_distances"].rules
    assert distance(np.zeros((2, 2)), EYE, EYE)


def test_a_word_may_be_in_a_text_once_or_more_often():
    (rule,) = EXERCISES["tf_idf"].rules
    counts = np.array([[1, 0], [2, 1]])
    assert rule(np.array([[0.0, 0.0], [0.0, 0.5]]), counts)
    assert not rule(np.array([[0.5, 0.0], [0.0, 0.5]]), counts)


@pytest.mark.parametrize(
    ("name", "number"),
    [("softmax", 1), ("softmax_backward", 0), ("masked_weights", 1), ("layer_norm", 0)],
)
def test_what_one_row_has_too_much_is_not_made_up_for_by_another(name: str, number: int):
    exercise = EXERCISES[name]
    broken = []
    for case in exercise.inputs(np.random.default_rng(0)):
        answer = exercise.specification(*case)
        if answer.ndim == 2 and len(answer) > 1:
            answer[0] += 0.1
            answer[1] -= 0.1
            broken.append(not exercise.rules[number](answer, *case))
    assert any(broken)


def test_a_query_that_is_not_sure_may_get_what_a_sure_one_may_not():
    (rule,) = EXERCISES["query_gradient"].rules
    rest = EYE, EYE, EYE
    weights = np.array([[1.0, 0.0], [0.5, 0.5]])
    assert rule(np.array([[0.0, 0.0], [1.0, 1.0]]), weights, *rest)
    assert not rule(np.array([[1.0, 1.0], [0.0, 0.0]]), weights, *rest)


def test_heads_and_tokens_are_counted_whole():
    (share,) = EXERCISES["sink_share"].rules
    maps = np.full((1, 2, 2, 2), 0.5)
    assert [bool(share(np.array(part), maps)) for part in (0.0, 0.3, 0.5, 1.0)] == [
        True,
        False,
        True,
        True,
    ]
    (found,) = EXERCISES["score_heads"].rules
    assert found(np.array([0.0, 1.0]), np.ones((2, 2, 2)), np.array([-1, 0]))


def test_a_part_may_be_as_long_as_the_whole_and_no_longer():
    (rule,) = EXERCISES["handed_over"].rules
    assert rule(np.array([2.0, 2.0]), EYE, 2 * EYE, EYE)
    assert not rule(np.array([2.0, 3.0]), EYE, 2 * EYE, EYE)
