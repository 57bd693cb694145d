"""How the conformance kit asks and compares: what counts as wrong, and by how much."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from attention_ref import scaled_dot_product_attention
from attention_ref.testing._cases import CASES
from attention_ref.testing._conventions import CONVENTIONS
from attention_ref.testing._faults import FAULTS, Fault
from attention_ref.testing._formula import attend
from attention_ref.testing._gradient_faults import GRADIENT_FAULTS, backward
from attention_ref.testing._judge import (
    Outcome,
    _close,
    _compared,
    _gap,
    drawn,
    has_modes,
    judge_of,
    truth,
)
from attention_ref.testing._problems import Case, epsilon

TORCH, _ = judge_of(CONVENTIONS["torch"], None, None)
OURS, _ = judge_of(CONVENTIONS["attention_ref"], None, None)
PLAIN = Case("plain")
GRADIENT = Case("gradient", gradient=True)


def off_by(share, case=PLAIN):
    """Return a function whose first number is off by so much of what is allowed."""
    _, (right, *_), bounds = truth(TORCH.convention, case)

    def attend(query, key, value, **terms):
        answer = torch.tensor(right)
        answer[0, 0, 0, 0] += share * bounds[0]
        return answer.to(value.dtype)

    return attend


@pytest.mark.parametrize(("share", "kind"), [(0.5, "holds"), (0.9, "holds"), (1.1, "values")])
def test_an_answer_may_be_off_by_what_is_allowed(share, kind):
    for sign in (1, -1):
        outcome = TORCH.ask(off_by(sign * share), PLAIN)
        assert outcome.kind == kind
        assert outcome.failed == (kind == "values")
        assert outcome.case == PLAIN
    bound = truth(TORCH.convention, PLAIN)[2][0]
    if kind == "holds":
        assert abs(float(outcome.detail.split()[0]) - share) < 0.06
        assert outcome.detail.endswith(" of the allowed difference")
    else:
        assert outcome.detail == f"output off by {1.1 * bound:.2g}, {bound:.2g} allowed"


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_wrong_however_much_is_allowed(wrong):
    outcome = TORCH.ask(off_by(wrong), PLAIN)
    assert outcome.kind == "values"
    assert outcome.detail.startswith("output off by inf")


def test_nan_and_inf_are_right_where_they_are_due():
    due = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert _gap(due, due) == 0
    further = np.array([0.0, 0.0, 0.0, 2.0])
    assert _gap(due + further, due) == _gap(due - further, due) == 2
    for at, other in ((0, 1.0), (0, np.inf), (1, -np.inf), (1, 1.0), (3, np.nan), (3, np.inf)):
        changed = due.copy()
        changed[at] = other
        assert _gap(changed, due) == _gap(due, changed) == np.inf
    assert _gap(np.zeros((0, 2)), np.zeros((0, 2))) == 0


def test_answers_are_close_if_each_is_within_its_bound():
    x, y = np.zeros(3), np.ones((2, 2))
    bounds = np.array([1.0, 0.5])
    assert _close((x, y), (x + 1, y + 0.5), bounds)
    assert not _close((x, y), (x + 1.1, y), bounds)
    assert not _close((x, y), (x, y - 0.6), bounds)
    assert not _close((x, y), (x, y[:1]), bounds)


def test_an_answer_off_by_all_that_is_allowed_holds():
    zero = np.zeros((1, 1, 1, 1))
    outcome = _compared(PLAIN, (zero + 0.25,), ["float32"], (zero,), np.array([0.25]))
    assert (outcome.kind, outcome.detail) == ("holds", "1.00 of the allowed difference")


def test_where_nothing_may_be_off_the_answer_has_to_be_the_same():
    zero = np.zeros((1, 1, 1, 1))
    outcome = _compared(PLAIN, (zero,), ["float32"], (zero,), np.zeros(1))
    assert (outcome.kind, outcome.detail) == ("holds", "0.00 of the allowed difference")
    outcome = _compared(PLAIN, (zero + 1e-30,), ["float32"], (zero,), np.zeros(1))
    assert (outcome.kind, outcome.detail) == ("values", "output off by 1e-30, 0 allowed")


def test_the_worst_of_three_gradients_is_told():
    outcome = TORCH.ask(lambda q, k, v: sdpa(q, k.detach(), v + 0.001 * v.detach()), GRADIENT)
    assert outcome.kind == "gradients"
    assert outcome.detail.startswith("gradient of key off by ")
    assert outcome.failed
    right = TORCH.ask(sdpa, GRADIENT)
    assert right.kind == "holds"
    assert not right.failed


def test_another_shape_is_told_in_the_axes_of_the_reference():
    outcome = TORCH.ask(lambda q, k, v: v[..., :-1], PLAIN)
    assert (outcome.kind, outcome.failed) == ("shape", True)
    assert outcome.detail == (
        "output of shape (2, 3, 7, 4), and not (2, 3, 7, 5), as (batch, heads, q_len, d)"
    )


def test_another_dtype_is_told_where_the_values_are_right():
    outcome = TORCH.ask(lambda q, k, v: sdpa(q, k, v).double(), PLAIN)
    assert (outcome.kind, outcome.failed) == ("dtype", True)
    assert outcome.detail == "output in float64 for float32"
    assert TORCH.ask(lambda q, k, v: 2 * sdpa(q, k, v).double(), PLAIN).kind == "values"


def test_what_is_raised_is_told_in_one_line():
    def attend(query, key, value):
        raise KeyError("no\n   such  name")

    outcome = TORCH.ask(attend, PLAIN)
    assert (outcome.kind, outcome.failed, outcome.answer) == ("raises", True, None)
    assert outcome.detail == "KeyError: 'no\\n such name'"


def test_the_output_is_the_first_of_what_comes():
    for kind in (tuple, list):
        outcome = TORCH.ask(lambda *given, kind=kind: kind([sdpa(*given), None]), PLAIN)
        assert outcome.kind == "holds"
        outcome = TORCH.ask(lambda *given, kind=kind: kind([sdpa(*given), None]), GRADIENT)
        assert outcome.kind == "holds"


def test_what_a_dtype_cannot_hold_is_not_tried():
    def attend(*arrays):
        raise AssertionError("not asked")

    outcome = TORCH.ask(attend, Case("far", dtype="float16", size=2.0**17))
    assert (outcome.kind, outcome.failed) == ("not tried", False)
    assert outcome.detail == "beyond what float16 can hold"
    outcome = TORCH.ask(attend, Case("large", dtype="float16", size=2.0**8))
    assert outcome.kind == "not tried"
    assert outcome.detail == "the formula itself overflows in float16"
    held = TORCH.ask(sdpa, Case("held", dtype="bfloat16", size=64.0))
    assert held.kind == "holds"


@pytest.mark.parametrize("special", ["key", "value"])
def test_what_is_masked_may_be_nan(special):
    case = Case("NaN", mask="full", special=special)
    assert OURS.ask(scaled_dot_product_attention, case).kind == "holds"
    assert OURS.ask(lambda q, k, v, mask: v, case).kind == "values"


def test_where_every_answer_is_nan_another_is_wrong():
    judge, _ = judge_of(CONVENTIONS["torch_mha"], None, None)
    case = Case("nothing to see", mask="dead", batch=1, q_len=1)
    assert np.isnan(truth(judge.convention, case)[1][0]).all()
    outcome = judge.ask(lambda query, *rest, **terms: query * torch.nan, case)
    assert (outcome.kind, outcome.detail) == ("holds", "0.00 of the allowed difference")
    assert judge.ask(lambda query, *rest, **terms: query, case).kind == "values"


class Layer:
    """Knows training from evaluation, and notes how it was called."""

    def __init__(self, training=None):
        self.calls = []
        self.mode = "as it was"
        if training is not None:
            self.training = training

    def train(self):
        self.mode = "train"

    def eval(self):
        self.mode = "eval"

    def __call__(self, query, key, value):
        self.calls.append(self.mode)
        if len(self.calls) == 2:
            raise ValueError
        return sdpa(query, key, value)


@pytest.mark.parametrize(("training", "after"), [(True, "train"), (False, "eval"), (None, "train")])
def test_a_module_is_put_into_the_mode_of_the_case_and_back(training, after):
    layer = Layer(training)
    for mode in ("train", "eval"):  # the second call raises
        TORCH.ask(layer, replace(PLAIN, mode=mode))
        assert layer.mode == after
    assert layer.calls == ["train", "eval"]


def test_only_what_can_be_put_into_both_modes_has_them():
    assert has_modes(torch.nn.Identity())
    assert not has_modes(sdpa)
    for lacking in ("train", "eval"):
        there = {"train": int, "eval": int} | {lacking: "a word"}
        assert not has_modes(SimpleNamespace(**there))
        del there[lacking]
        assert not has_modes(SimpleNamespace(**there))


def test_chance_is_what_differs_by_more_than_is_allowed():
    generator = np.random.default_rng(0)

    def shaken(by):
        def attend(query, key, value):
            answer = scaled_dot_product_attention(query, key, value) + 1
            return answer + np.float32(by * generator.uniform())

        return attend

    for by, is_random in ((0.0, False), (1e-8, False), (0.1, True)):
        function = shaken(by)
        assert OURS.is_random(function, OURS.ask(function, PLAIN)) is is_random

    def sometimes(query, key, value):
        if generator.uniform() < 2:
            raise ValueError
        return value

    raised = OURS.ask(sometimes, PLAIN)
    assert OURS.is_random(sometimes, raised) is False
    answered = OURS.ask(shaken(0.0), PLAIN)
    assert OURS.is_random(sometimes, answered) is False


def test_random_gradients_are_chance_too():
    def attend(query, key, value):
        return sdpa(torch.nn.functional.dropout(query, 0.5), key, value)

    assert TORCH.is_random(attend, TORCH.ask(attend, GRADIENT)) is True
    assert TORCH.is_random(sdpa, TORCH.ask(sdpa, GRADIENT)) is False


def fault(name):
    (found,) = (one for one in (*FAULTS, *GRADIENT_FAULTS) if one.name == name)
    return found


def test_a_fault_predicts_its_own_answer_and_no_other():
    def unscaled(query, key, value):
        return scaled_dot_product_attention(query, key, value, scale=1.0)

    wrong, right = OURS.ask(unscaled, PLAIN), OURS.ask(scaled_dot_product_attention, PLAIN)
    assert OURS.predicts(fault("no scale"), wrong) is True
    assert OURS.predicts(fault("no scale"), right) is False
    assert OURS.predicts(fault("scaled twice"), wrong) is False
    # Where it would not show, it says nothing: one key, no mask, nothing answered, a gradient.
    one_key = Case("one key", kv_len=1)
    assert OURS.predicts(fault("no scale"), OURS.ask(unscaled, one_key)) is None
    assert OURS.predicts(fault("mask inverted"), wrong) is None
    assert OURS.predicts(fault("no scale"), Outcome(PLAIN, "raises", "")) is None
    assert OURS.predicts(fault("key detached"), wrong) is None
    assert TORCH.predicts(fault("no scale"), TORCH.ask(sdpa, GRADIENT)) is None


def test_a_gradient_fault_predicts_its_gradients():
    outcome = TORCH.ask(lambda q, k, v: sdpa(q, k.detach(), v), GRADIENT)
    assert TORCH.predicts(fault("key detached"), outcome) is True
    assert TORCH.predicts(fault("query detached"), outcome) is False


def test_a_prediction_may_be_off_by_eight_times_what_an_answer_may():
    bound = truth(TORCH.convention, PLAIN)[2][0]
    predicted = fault("no scale").answer(truth(TORCH.convention, PLAIN)[0])
    size = np.abs(predicted).max()
    bound = max(8 * bound, 16 * epsilon("float32") * size)
    for share, found in ((0.9, True), (1.1, False)):
        answer = predicted.copy()
        answer[0, 0, 0, 0] += share * bound
        outcome = Outcome(PLAIN, "values", "", (answer,))
        assert TORCH.predicts(fault("no scale"), outcome) is found


def test_large_wrong_numbers_may_be_off_by_their_own_rounding():
    case = Case("large", size=64.0)
    predicted = fault("no softmax").answer(truth(TORCH.convention, case)[0])
    size = np.abs(predicted).max()
    bound = truth(TORCH.convention, case)[2][0]
    assert 16 * epsilon("float32") * size > 8 * bound
    for share, found in ((0.99, True), (1.01, False)):
        answer = predicted.copy()
        answer[0, 0, 0, 0] += share * 16 * epsilon("float32") * size
        outcome = Outcome(case, "values", "", (answer,))
        assert TORCH.predicts(fault("no softmax"), outcome) is found


def test_small_wrong_numbers_may_be_off_by_their_own_rounding_alone():
    case = Case("one key", batch=1, heads=1, kv_heads=1, q_len=1, kv_len=1, d_v=1, seed=3)
    value = truth(TORCH.convention, case)[0].value.item()
    doubled = Fault("doubled", "", {"output": lambda p, o: 2 * o})
    allowed = 16 * epsilon("float32") * 2 * abs(value)
    for share, found in ((0.99, True), (1.01, False)):
        answer = np.full((1, 1, 1, 1), 2 * value + share * allowed)
        assert TORCH.predicts(doubled, Outcome(case, "values", "", (answer,))) is found


def test_a_fault_may_predict_nothing_but_nan():
    spoilt = Fault("spoilt", "", {"output": lambda p, o: np.full_like(o, np.nan)})
    for answer, found in ((np.nan, True), (1.0, False)):
        outcome = Outcome(PLAIN, "values", "", (np.full((2, 3, 7, 5), answer),))
        assert TORCH.predicts(spoilt, outcome) is found


def errors(problem, dtype, orders):
    """Return how far the formula in a dtype is from itself in float64, in each order of its sums"""
    plain = backward if problem.case.gradient else lambda p: (attend(p),)
    exact = plain(problem)
    return [
        [np.abs(x - y).max() for x, y in zip(plain(replace(problem, dtype=dtype, order=order)),
                                             exact, strict=True)]
        for order in orders
    ]  # fmt: skip


@pytest.mark.parametrize("case", [PLAIN, GRADIENT], ids=lambda case: case.name)
def test_allowed_is_twice_the_largest_error_over_other_draws_and_every_order(case):
    """Three ways to scale, and two to have the weights in the backward pass: six orders in all."""
    for seed in range(20):
        case = replace(case, seed=seed)
        one, many = (drawn(TORCH.convention, replace(case, batch=n)) for n in (2, 2 * 16))
        largest = np.max(errors(one, "float32", range(3)) + errors(many, "float32", range(6)), 0)
        np.testing.assert_allclose(truth(TORCH.convention, case)[2], 2 * largest, rtol=1e-4)


def test_where_other_draws_overflow_allowed_is_twice_the_error_of_the_case_s_own():
    """In three orders, each of which scales in another way."""
    end, found = np.finfo(np.float32).max, 0
    for seed in range(30):
        case = Case("near the end", size=1.40625 * 2.0**62, scale=2.0**-124, seed=seed)
        one, many = (drawn(TORCH.convention, replace(case, batch=n)) for n in (2, 2 * 16))
        scores = [np.abs(p.query @ p.key.swapaxes(-1, -2)).max() for p in (one, many)]
        if scores[0] < end < scores[1]:
            found += 1
            bounds = truth(TORCH.convention, case)[2]
            largest = np.max(errors(one, "float32", range(3)), 0)
            np.testing.assert_allclose(bounds, 2 * largest, rtol=1e-4)
    assert found > 5


def test_allowed_is_a_rounding_of_the_largest_number_where_nothing_is_computed():
    """A single key's value is the answer: no sum, no product that rounds."""
    case = Case("one key", batch=1, heads=1, kv_heads=1, q_len=1, kv_len=1, d_v=1, seed=3)
    _, (right,), (bound,) = truth(TORCH.convention, case)
    assert right.item() == 0.25
    assert bound == 2 * epsilon("float32") * 0.25


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_allowed_is_at_least_twice_a_rounding_and_not_many_times_more(dtype):
    for case in CASES:
        its = CONVENTIONS["torch"]
        if case.dtype == dtype and case.needs <= its.features - {"isolation"}:
            _, right, bounds = truth(its, case)
            if "large" in case.name or case.special:
                continue
            for exact, bound in zip(right, bounds, strict=True):
                size = np.abs(exact[np.isfinite(exact)]).max()
                assert 2 * epsilon(dtype) * size <= bound < 40 * epsilon(dtype) * max(size, 1)


def test_in_float64_as_much_finer_and_half_as_much_again():
    narrow = truth(TORCH.convention, PLAIN)[2]
    wide = truth(TORCH.convention, replace(PLAIN, dtype="float64"))[2]
    np.testing.assert_allclose(wide / narrow, 1.5 * 2.0**-29)


def test_what_is_right_is_the_adapter_s_and_its_gradients():
    problem, (right,), bounds = truth(OURS.convention, PLAIN)
    exact = scaled_dot_product_attention(problem.query, problem.key, problem.value)
    np.testing.assert_array_equal(right, exact)
    assert bounds.shape == (1,)
    _, gradients, bounds = truth(TORCH.convention, GRADIENT)
    assert len(gradients) == 3
    assert bounds.shape == (3,)
    assert truth(TORCH.convention, PLAIN) is truth(TORCH.convention, Case("plain"))


def test_arrays_are_made_in_the_dtype_of_the_case_and_masks_stay_boolean():
    given = {}

    def attend(query, key, value, **terms):
        given.update(terms, query=query, key=key, value=value)
        return sdpa(query, key, value, **terms)

    outcome = TORCH.ask(attend, Case("mask", mask="full", dtype="float16", scale=0.5))
    assert outcome.kind == "holds"
    assert given["attn_mask"].dtype == torch.bool
    assert {given[name].dtype for name in ("query", "key", "value")} == {torch.float16}
    assert given["scale"] == 0.5
    meta, _ = judge_of(CONVENTIONS["torch"], None, "meta")
    meta.ask(attend, Case("mask", mask="full"))
    assert given["query"].device.type == given["attn_mask"].device.type == "meta"


def test_a_score_mod_is_called_with_tensors():
    flex, _ = judge_of(CONVENTIONS["flex"], None, None)

    def attend(query, key, value, score_mod=None):
        s = query @ key.mT / query.shape[-1] ** 0.5
        axes = [torch.arange(n) for n in s.shape]
        grid = torch.meshgrid(*axes, indexing="ij")
        assert score_mod.added is None or score_mod.added.dtype == query.dtype
        assert score_mod.tanh is torch.tanh
        return torch.softmax(score_mod(s, *grid), -1) @ value

    for terms in ({"softcap": 1.5}, {"bias": "full"}, {"softcap": 1.5, "bias": "full"}):
        outcome = flex.ask(attend, Case("bent", **terms))
        assert outcome.kind == "holds", outcome


def test_terms_come_by_the_names_and_in_the_layout_of_the_convention():
    judge, _ = judge_of(CONVENTIONS["flash_attn"], None, None)
    problem, _, _ = truth(judge.convention, Case("causal", causal=True, q_len=5, kv_len=11))
    terms = judge.terms(problem)
    assert list(terms) == ["q", "k", "v", "causal"]
    np.testing.assert_array_equal(terms["k"], problem.key.swapaxes(1, 2))
    assert terms["q"].shape == (2, 5, 3, 5)


def test_the_gradients_of_a_convention_are_asked_for_in_its_layout():
    judge, _ = judge_of(CONVENTIONS["flash_attn"], None, None)

    def attend(q, k, v):
        return sdpa(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)

    case = Case("gradient", gradient=True, q_len=5, kv_len=11)
    assert judge.ask(attend, case).kind == "holds"
    outcome = judge.ask(lambda q, k, v: attend(q, k, v).detach(), case)
    assert outcome.kind == "gradients"
    assert all((x == 0).all() for x in outcome.answer)
    assert [x.shape for x in outcome.answer] == [(2, 3, 5, 5), (2, 3, 11, 5), (2, 3, 11, 5)]


@pytest.mark.parametrize("gradient", [False, True])
def test_heads_that_are_merged_into_the_features_are_taken_apart(gradient):
    judge, _ = judge_of(CONVENTIONS["torch_mha"], None, None)

    def attend(query, key, value, num_heads, attn_mask=None):
        apart = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (query, key, value))
        hidden = attn_mask.reshape(2, num_heads, 5, 11)
        return sdpa(*apart, attn_mask=~hidden).transpose(1, 2).flatten(2)

    case = Case("merged", mask="full", q_len=5, kv_len=11, gradient=gradient)
    assert judge.ask(attend, case).kind == "holds"


@pytest.mark.parametrize(
    ("convention", "dtype", "library", "name"),
    [
        ("attention_ref", None, "numpy", None),
        ("attention_ref", "float16", "numpy", "float16"),
        ("attention_ref", np.float16, "numpy", "float16"),
        ("attention_ref", np.dtype("float16"), "numpy", "float16"),
        ("attention_ref", torch.float16, "torch", "float16"),
        ("attention_ref", "torch.float16", "torch", "float16"),
        ("torch", torch.bfloat16, "torch", "bfloat16"),
        ("torch", np.float32, "torch", "float32"),
        ("jax", "<class 'jax.numpy.bfloat16'>", "jax", "bfloat16"),
        ("mlx", "mlx.core.float16", "mlx", "float16"),
        ("onnx", torch.float32, "torch", "float32"),
    ],
)
def test_the_dtype_says_which_library_where_the_convention_leaves_it_open(
    convention, dtype, library, name
):
    judge, found = judge_of(CONVENTIONS[convention], dtype, "there")
    assert (judge.library.name, found) == (library, name)
    assert judge.convention is CONVENTIONS[convention]
    assert judge.device == "there"
