"""The cases of the conformance kit: sizes that cannot be confused, and each term alone."""

from dataclasses import replace

import numpy as np
import pytest

from attention_ref.testing import FEATURES
from attention_ref.testing._cases import CASES
from attention_ref.testing._conventions import CONVENTIONS
from attention_ref.testing._judge import drawn, truth
from attention_ref.testing._problems import round_to

BY_NAME = {case.name: case for case in CASES}


def sizes(case):
    return (case.batch, case.heads, case.kv_heads, case.q_len, case.kv_len, case.d_k, case.d_v)


# Different primes, so that no two axes can be swapped unseen. What differs has its reason.
SELF = (2, 3, 3, 7, 7, 5, 5)
CROSS = (2, 3, 3, 5, 11, 7, 7)
SHARED_HEADS = (2, 6, 2, 7, 7, 5, 5)
OTHERS = {
    "one query": (2, 3, 3, 1, 11, 5, 5),
    "one key": (2, 3, 3, 5, 1, 5, 5),
    "one head, one item": (1, 1, 1, 5, 7, 5, 5),
    "another d_v": (2, 3, 3, 5, 11, 7, 13),
    "cached decoding, as a mask": (2, 3, 3, 3, 11, 5, 5),
    "causal, cached": (2, 3, 3, 3, 11, 5, 5),
    "causal, cached, one query": (2, 3, 3, 1, 7, 5, 5),
    "one key head": (2, 5, 1, 7, 7, 5, 5),
    # So many ones add up to 4096 and 512 where each sum is rounded: see below.
    "float16, long sums": (1, 1, 1, 2, 4201, 5, 5),
    "bfloat16, long sums": (1, 1, 1, 2, 521, 5, 5),
}
ACROSS = {
    "cross-attention",
    "scale, cross",
    "mask of each item",
    "mask of each item and head",
    "padding",
    "bias of each item",
    "gradient, cross",
}


def test_each_case_has_a_name_of_its_own():
    assert len(BY_NAME) == len(CASES)


def test_sizes_are_primes_that_tell_the_axes_apart():
    for case in CASES:
        expected = CROSS if case.name in ACROSS else SELF
        if case.heads == 6:
            assert "grouped" in case.needs
            expected = SHARED_HEADS
        assert sizes(case) == OTHERS.get(case.name, expected), case.name


def test_each_term_is_there_exactly_where_its_feature_is_asked_for():
    for case in CASES:
        has = {
            "mask": case.mask is not None,
            "bias": case.bias is not None,
            "causal": case.causal,
            "cached": case.causal and case.q_len < case.kv_len,
            "window": case.window is not None,
            "grouped": case.kv_heads < case.heads,
            "scale": case.scale is not None,
            "softcap": case.softcap is not None,
            "sink": case.sink,
            "d_v": case.d_v != case.d_k,
            "dead_rows": case.mask == "dead",
            "isolation": case.special in ("key", "value"),
            "float64": case.dtype == "float64",
            "half": case.dtype in ("float16", "bfloat16"),
            "gradient": case.gradient,
        }
        assert list(has) == list(FEATURES)
        assert case.needs == {name for name, there in has.items() if there}, case.name


def test_each_feature_but_of_positions_is_asked_for_with_as_little_else_as_can_be():
    least = {"cached": {"causal"}, "dead_rows": {"mask"}, "isolation": {"mask"}}
    for name in FEATURES:
        assert any(case.needs == {name} | least.get(name, set()) for case in CASES), name


def test_the_terms_that_meet():
    """A bent score that is biased, a masked one that is bent: the order of the equation shows."""
    pairs = {frozenset(case.needs) for case in CASES if len(case.needs) == 2}
    for pair in (
        "bias mask",
        "bias scale",
        "bias causal",
        "softcap mask",
        "softcap causal",
        "softcap bias",
        "sink mask",
        "sink causal",
        "grouped mask",
        "grouped causal",
        "causal mask",
        "window mask",
        "window causal",
        "half mask",
        "half causal",
        "float64 mask",
    ):
        assert frozenset(pair.split()) in pairs, pair
    with_gradient = {name for case in CASES if case.gradient for name in case.needs}
    assert with_gradient == {
        "gradient",
        "mask",
        "causal",
        "scale",
        "bias",
        "softcap",
        "sink",
        "grouped",
    }


def test_each_scale_is_far_from_what_a_wrong_one_would_be():
    for case in CASES:
        if case.scale is not None:
            default = case.d_k**-0.5
            for other in (default, default**2, 1 / case.scale, case.scale**2, 1.0):
                assert abs(case.scale / other - 1) > 0.05, case.name
            assert 0 < case.scale < 1


def test_each_window_has_two_sides_that_differ_and_hide_something():
    for case in CASES:
        if case.window is not None:
            left, right = case.window
            assert left != right
            assert left + right + 1 < case.kv_len
            assert (right == 0) == case.causal  # what is causal sees nothing to the right


def test_sizes_are_powers_of_two_so_that_every_dtype_still_holds_the_numbers():
    for case in CASES:
        assert np.frexp(case.size)[0] == 0.5, case.name


def scores(name):
    p = drawn(CONVENTIONS["attention_ref"], BY_NAME[name])
    return p.query @ p.key.swapaxes(-1, -2) * p.scale, p


def test_large_scores_overflow_in_a_softmax_that_subtracts_nothing():
    for case in CASES:
        if "large scores" in case.name and not case.gradient:
            z, _ = scores(case.name)
            assert np.exp(z.astype(np.longdouble)).max() > np.finfo(np.float32).max, case.name
    # Weights that are all at one key leave small differences to the gradient.
    z, _ = scores("gradient, large scores")
    assert np.median(np.sort(z)[..., -1] - np.sort(z)[..., -2]) > 5
    # Where all are far below zero, all of them are zero, and a finite number in the place of -inf
    # is above them.
    z, p = scores("mask, scores far below zero")
    assert z[p.allowed()].max() < -1e9


def test_a_soft_cap_bends_some_scores_and_does_not_make_them_all_equal():
    for case in CASES:
        if case.softcap is not None:
            z, _ = scores(case.name)
            assert 0.5 < np.abs(z).max() / case.softcap < 10, case.name


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_ones_that_are_added_up_in_half_precision_stop_halfway(dtype):
    """The total stays where the next one is less than half of a step: sum in float32."""
    case = BY_NAME[f"{dtype}, long sums"]
    total = np.zeros(())
    for _ in range(case.kv_len):
        total = round_to(total + 1, dtype)
    assert total < case.kv_len / 2 * 1.3
    _, (right,), bounds = truth(CONVENTIONS["torch"], case)
    np.testing.assert_allclose(right, 1)
    assert bounds[0] < 0.1


def test_a_module_is_trained_in_plain_causal_and_masked_cases():
    training = [case for case in CASES if case.mode == "train"]
    assert [case.name.removesuffix(", training") for case in training] == [
        "self-attention",
        "causal",
        "mask shared by all",
    ]
    for case in training:
        twin = BY_NAME[case.name.removesuffix(", training")]
        assert vars(case) == vars(twin) | {"name": case.name, "mode": "train"}


def test_the_terms_of_a_name_are_those_of_the_case():
    for case in CASES:
        said = case.name.split(", ")[0]
        if said in ("mask shared by all", "mask of each item", "mask of each head"):
            assert case.mask == said.split()[-1].replace("all", "shared")
        if said in ("float16", "bfloat16", "float64"):
            assert case.dtype == said
        else:
            assert case.dtype == "float32"


@pytest.mark.parametrize("name", CONVENTIONS)
def test_only_what_is_said_to_have_dead_rows_has_them(name):
    convention = CONVENTIONS[name]
    for case in CASES:
        for seed in range(10):
            sees = drawn(convention, replace(case, seed=seed)).allowed().any(axis=-1)
            assert sees.all() == ("dead_rows" not in case.needs), (case, seed)
