"""What the kit takes for each fault's answer is what a function with that fault answers.

The functions are those of `test_testing_faults.py`, over PyTorch: an independent peer of the
NumPy formula in which the kit changes steps.
"""

from dataclasses import replace

import numpy as np
import pytest

from attention_ref import scaled_dot_product_attention
from attention_ref.testing._cases import CASES
from attention_ref.testing._conventions import CONVENTIONS
from attention_ref.testing._faults import FAULTS
from attention_ref.testing._formula import attend
from attention_ref.testing._gradient_faults import GRADIENT_FAULTS
from attention_ref.testing._judge import Judge, drawn
from attention_ref.testing._libraries import LIBRARIES
from attention_ref.testing._problems import Case
from test_testing_faults import OURS, POSITIONS, flash, ours

KNOWN = {fault.name: fault for fault in (*FAULTS, *GRADIENT_FAULTS)}
HALF = {"sum in half precision", "average in half precision"}


def asked(convention, *, gradient):
    """Yield the problems of a convention in float64, once each; those in half precision as such."""
    its = CONVENTIONS[convention]
    for case in CASES:
        held = case.needs <= its.features and (not its.one_width or case.d_k == case.d_v)
        if held and case.gradient == gradient and case.mode == "eval":
            half = case.dtype in ("float16", "bfloat16")
            yield drawn(its, case if half else replace(case, dtype="float64"))


def answers(function, convention, problem):
    return Judge(CONVENTIONS[convention], LIBRARIES["torch"])._answers(function, problem)[0]


def agree(mine, theirs, problem):
    """Tell whether they agree: up to the order of sums, or the fault's own rounding."""
    rough = problem.case.dtype in ("float16", "bfloat16")
    return all(
        one.shape == other.shape
        and np.allclose(one, other, *((0.05, 0.05) if rough else (1e-7, 1e-9)), equal_nan=True)
        for one, other in zip(mine, theirs, strict=True)
    )


def apart(name, case):
    """Tell what a function with this fault does in a way of its own, or another dtype shows."""
    if (case.dtype in ("float16", "bfloat16")) != (name in HALF):
        return True
    if case.special in ("key", "value"):
        return name != f"NaN of a masked {case.special}"
    if name in ("query and key swapped", "keys averaged", "mask transposed"):
        return case.q_len != case.kv_len or case.d_k != case.d_v
    # The softmax of a function with a sink is one of its own.
    own = name.startswith("softmax over") or name == "gradient without row sum"
    if name == "mask added" and case.mask is None:
        return case.sink  # what adds a mask is given none here
    return case.sink and own


def compare(name, faulty, right, convention):
    fault = KNOWN[name]
    gradient = name in {one.name for one in GRADIENT_FAULTS}
    shown = 0
    for problem in asked(convention, gradient=gradient):
        if apart(name, problem.case):
            continue
        mine = fault.answer(problem)
        theirs = answers(faulty, convention, problem)
        exact = answers(right, convention, problem)
        if mine is None:  # the fault has no say: then it must change nothing
            assert agree(theirs, exact, problem), problem.case
            continue
        mine = mine if gradient else (mine,)
        assert agree(mine, theirs, problem), problem.case
        shown += not agree(mine, exact, problem)
    assert shown


@pytest.mark.parametrize("name", [name for name in OURS if name in KNOWN])
def test_a_fault_answers_as_a_function_that_has_it(name):
    compare(name, ours(name), ours(), "attention_ref")


@pytest.mark.parametrize("name", [name for name in POSITIONS if name in KNOWN])
def test_a_fault_of_position_or_layout_answers_as_a_function_that_has_it(name):
    compare(name, flash(name), flash(), "flash_attn")


def test_every_known_fault_is_compared():
    # The answer to dead rows that is known by this name is right in our own convention.
    assert set(KNOWN) == {*OURS, *POSITIONS, "dead rows zero"} - {"random", "output dtype"}


def test_a_zero_for_dead_rows_is_a_fault_where_the_convention_has_another_answer():
    problem = drawn(CONVENTIONS["torch_mha"], Case("dead", mask="dead"))
    right, zero = CONVENTIONS["torch_mha"].reference(problem), KNOWN["dead rows zero"]
    assert np.isnan(right).any()
    expected = np.where(np.isnan(right), 0, right)
    np.testing.assert_allclose(zero.answer(problem), expected, rtol=1e-12)


def test_a_fault_has_no_say_without_what_it_is_about():
    """There a function that has it is right, and would speak against it."""
    p = drawn(CONVENTIONS["attention_ref"], Case("sink", sink=True))
    assert KNOWN["mask added"].answer(p) is None
    p = drawn(CONVENTIONS["attention_ref"], Case("half", dtype="float16"))
    assert KNOWN["-1e9 for -inf"].answer(p) is None
    assert KNOWN["sum in half precision"].answer(p) is not None
    assert KNOWN["average in half precision"].answer(p) is not None
    p = drawn(CONVENTIONS["attention_ref"], Case("single", sink=True))
    assert KNOWN["sum in half precision"].answer(p) is None
    assert KNOWN["average in half precision"].answer(p) is None
    p = drawn(CONVENTIONS["flash_attn"], Case("window", window=(1, 1), q_len=5, kv_len=11))
    assert KNOWN["causal corner"].answer(p) is None


def test_the_other_corner_is_the_other_one_in_either_convention():
    case = Case("cached", causal=True, q_len=5, kv_len=11)
    starts = {"torch": 6, "flash_attn": 0}
    for name, start in starts.items():
        problem = drawn(CONVENTIONS[name], case)
        right = replace(problem, start=start)
        np.testing.assert_array_equal(KNOWN["causal corner"].answer(problem), attend(right))


def test_an_output_that_is_viewed_is_read_in_the_layout_of_the_convention():
    case = Case("plain", q_len=5, kv_len=11)
    problem = drawn(CONVENTIONS["flash_attn"], case)
    right = attend(problem)
    # Computed with heads first, and handed over as if the length were.
    viewed = CONVENTIONS["flash_attn"].take(right.reshape(2, 5, 3, 5), 3)
    np.testing.assert_array_equal(KNOWN["output viewed"].answer(problem), viewed)
    problem = drawn(CONVENTIONS["torch"], case)
    viewed = right.swapaxes(1, 2).reshape(right.shape)
    np.testing.assert_array_equal(KNOWN["output viewed"].answer(problem), viewed)


@pytest.mark.parametrize("name", sorted(HALF))
def test_short_sums_in_half_precision_are_near_however_large_the_scores(name):
    case = Case("large", dtype="float16", size=4.0)
    problem = drawn(CONVENTIONS["attention_ref"], case)
    right = attend(problem)
    assert 0 < np.abs(KNOWN[name].answer(problem) - right).max() < 0.01


def test_two_faults_in_one_function_answer_as_both():
    p = drawn(CONVENTIONS["attention_ref"], Case("both", mask="full", bias="full"))
    inverted, unscaled = KNOWN["mask inverted"], KNOWN["no scale"]
    arrays = {"mask": ~p.mask, "bias": p.bias, "scale": 1.0}
    right = scaled_dot_product_attention(p.query, p.key, p.value, **arrays)
    for both in (inverted.beside(unscaled), unscaled.beside(inverted)):
        np.testing.assert_allclose(both.answer(p), right, rtol=1e-9)
    assert inverted.beside(unscaled).name == "mask inverted"
    # What the problem becomes with the one is what the other sees.
    rolled = KNOWN["mask of another item"].beside(inverted)
    arrays["mask"], arrays["scale"] = np.roll(~p.mask, 1, axis=0), None
    right = scaled_dot_product_attention(p.query, p.key, p.value, **arrays)
    np.testing.assert_allclose(rolled.answer(p), right, rtol=1e-9)
    # Each has to have a say, that one after the other has changed the problem.
    plain = drawn(CONVENTIONS["attention_ref"], Case("plain"))
    for both in (inverted.beside(unscaled), unscaled.beside(inverted)):
        assert both.answer(plain) is None
    assert inverted.beside(KNOWN["mask ignored"]).answer(p) is None
    # Two cannot change the same step.
    assert unscaled.beside(KNOWN["scaled twice"]) is None
