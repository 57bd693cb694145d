"""The formula of the conformance kit: what it computes in float64, and each step's rounding."""

from dataclasses import replace

import numpy as np
import pytest

from attention_ref import attention_backward, scaled_dot_product_attention
from attention_ref.testing import _formula
from attention_ref.testing._cases import CASES
from attention_ref.testing._conventions import CONVENTIONS
from attention_ref.testing._faults import FAULTS
from attention_ref.testing._formula import attend
from attention_ref.testing._gradient_faults import backward
from attention_ref.testing._judge import drawn
from attention_ref.testing._problems import Case, draw, round_to

OURS = CONVENTIONS["attention_ref"]


def test_in_every_order_of_its_sums_it_is_our_own_attention():
    for case in CASES:
        if not case.needs <= OURS.features or case.gradient:
            continue
        p = drawn(OURS, case)
        right = scaled_dot_product_attention(
            p.query, p.key, p.value, mask=p.mask, bias=p.bias, scale=case.scale,
            softcap=case.softcap, sink=p.sink,
        )  # fmt: skip
        for order in range(3):
            answer = attend(replace(p, order=order))
            np.testing.assert_allclose(answer, right, rtol=0, atol=1e-11, err_msg=case.name)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_formula_of_the_kit_is_the_adapter(name):
    convention = CONVENTIONS[name]
    for case in CASES:
        if not case.needs <= convention.defaults or (convention.one_width and case.d_v != case.d_k):
            continue
        if not case.gradient:
            problem = drawn(convention, case)
            right = convention.reference(problem)
            np.testing.assert_allclose(attend(problem), right, rtol=0, atol=1e-12)


def test_neighbours_share_a_key_head():
    case = Case("shared", heads=6, kv_heads=2)
    p = draw(case, alignment=None, dead="zero", layout="heads")
    query, key, value = _formula.inputs(p)
    assert query is p.query
    for head in range(6):
        np.testing.assert_array_equal(key[:, head], p.key[:, head // 3])
        np.testing.assert_array_equal(value[:, head], p.value[:, head // 3])


@pytest.mark.parametrize(("dead", "answer"), [("zero", 0.0), ("mean", None), ("nan", np.nan)])
def test_a_query_that_may_see_nothing_gets_what_the_convention_says(dead, answer):
    p = draw(Case("dead", mask="dead", kv_len=11), alignment=None, dead=dead, layout="heads")
    dead_rows = attend(p)[0, :, 3]
    expected = p.value[0].mean(axis=-2) if answer is None else np.full((3, 5), answer)
    np.testing.assert_allclose(dead_rows, expected)
    alive = attend(replace(p, dead="zero"))[0, :, :3]
    np.testing.assert_array_equal(attend(p)[0, :, :3], alive)


def one(dtype="float16", order=0, **terms):
    """Return a problem of one feature and one key, whose products have a single term."""
    sizes = {"q_len": 5, "kv_len": 1, "d_k": 1, "d_v": 1, "batch": 1, "heads": 2, "kv_heads": 2}
    p = draw(Case("one", dtype=dtype, **sizes | terms), alignment=None, dead="zero", layout="heads")
    return replace(p, dtype=dtype, order=order)


def test_scores_are_rounded_after_the_scale_or_before_or_at_both_ends():
    """As kernels do that scale the scores, the query, or query and key by the root."""
    scale = 0.37
    half = np.sqrt(scale)
    p = one(scale=scale)
    query, key = 1 + p.query / 1024, 1 + p.key / 1024
    turned = key.swapaxes(-1, -2)

    def rounded(x):
        return round_to(x, "float16")

    expected = (
        rounded(rounded(query * turned) * scale),
        rounded(rounded(query * scale) * turned),
        rounded(rounded(query * half) * rounded(turned * half)),
    )
    for order in range(6):
        s = _formula.scores(replace(p, order=order), query, key, scale)
        np.testing.assert_array_equal(s, expected[order % 3])
    assert len({x.tobytes() for x in expected}) == 3


def test_each_step_ends_in_numbers_of_the_dtype():
    p = one(softcap=1.5, bias="full", kv_len=7)
    rough = p.query @ p.key.swapaxes(-1, -2) / 3
    shares = np.full((1, 2, 5, 7), 1 / 7)
    everything = np.ones((1, 2, 5, 7), dtype=bool)
    for x in (
        _formula.capped(p, rough),
        _formula.biased(p, rough),
        _formula.weights(p, rough, everything),
        _formula.average(p, shares, p.value / 3),
        attend(p),
    ):
        np.testing.assert_array_equal(x, round_to(x, "float16"))
    bent = round_to(1.5 * np.tanh(round_to(rough / 1.5, "float16")), "float16")
    np.testing.assert_array_equal(_formula.capped(p, rough), bent)


def test_without_a_cap_and_a_bias_the_scores_stay_as_they_are():
    p = one()
    s = p.query / 3
    assert _formula.capped(p, s) is s
    assert _formula.biased(p, s) is s


def test_the_softmax_takes_powers_of_rounded_differences_over_a_rounded_total():
    p = one(kv_len=3)
    z = np.array([[1.0, 0.3, -2.7]])
    powers = p.exp(round_to(z - 1.0, "float16"))
    np.testing.assert_array_equal(powers, round_to(powers, "float16"))
    total = round_to(powers.sum(axis=-1, keepdims=True), "float16")
    shares = _formula.weights(p, z, np.ones(3, dtype=bool))
    np.testing.assert_array_equal(shares, round_to(powers / total, "float16"))


@pytest.mark.parametrize("name", ["sink in the numerator", "sink not a logit"])
def test_a_sink_that_is_ignored_weighs_nothing_in_another_mistake_s_softmax(name):
    """Both may stand in one function, which is asked about each pair of mistakes."""
    p = drawn(OURS, Case("sink", sink=True))
    known = {fault.name: fault for fault in FAULTS}
    both = known["sink ignored"].beside(known[name]).answer(p)
    if name == "sink in the numerator":
        np.testing.assert_allclose(both, attend(replace(p, sink=None)), rtol=1e-9)
    else:  # the sink itself is added, which is then -inf
        np.testing.assert_array_equal(both, 0)


def test_the_largest_score_of_a_row_without_any_is_zero():
    z = np.array([[1.0, -np.inf], [-np.inf, -np.inf]])
    np.testing.assert_array_equal(_formula.largest(z), [[1], [0]])
    np.testing.assert_array_equal(_formula.largest(z, 0), [[1, 0]])


@pytest.mark.parametrize("name", ["attention_ref", "flex", "transformers"])
def test_its_gradients_are_those_of_the_reference_in_every_order(name):
    its = CONVENTIONS[name]
    for case in CASES:
        if not case.gradient or "grouped" in case.needs or not case.needs <= its.features:
            continue
        p = drawn(its, case).folded()
        ours = attention_backward(
            p.cotangent,
            p.query,
            p.key,
            p.value,
            mask=p.mask,
            bias=None if p.bias is None else np.broadcast_to(p.bias, p.shape),
            scale=case.scale,
            softcap=case.softcap,
            sink=p.sink,
        )
        for order in range(3):
            for mine, theirs in zip(backward(replace(p, order=order)), ours, strict=False):
                np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-11)
