"""The backward pass of the conformance kit: its rounding, and heads that are shared."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from attention_ref.testing._gradient_faults import GRADIENT_FAULTS, backward
from attention_ref.testing._problems import Case, draw, epsilon, round_to


def drawn(**terms):
    case = Case("case", gradient=True, **terms)
    return draw(case, alignment="top-left", dead="zero", layout="heads")


def test_key_heads_get_the_sum_over_the_query_heads_that_share_them():
    p = drawn(heads=6, kv_heads=2, softcap=1.5, bias="full")
    leaves = [torch.tensor(x, requires_grad=True) for x in (p.query, p.key, p.value)]
    query, key, value = leaves[0], *(x.repeat_interleave(3, 1) for x in leaves[1:])
    s = 1.5 * torch.tanh(query @ key.mT * p.scale / 1.5) + torch.tensor(p.bias)
    (s.softmax(-1) @ value).backward(torch.tensor(p.cotangent))
    for order in range(3):
        for mine, leaf in zip(backward(replace(p, order=order)), leaves, strict=True):
            np.testing.assert_allclose(mine, leaf.grad, rtol=1e-10, atol=1e-11)
    _, key, value = backward(p)
    _, first_key, first_value = backward(p, shared_heads="first")
    _, mean_key, mean_value = backward(p, shared_heads="mean")
    np.testing.assert_allclose(mean_key, key / 3)
    np.testing.assert_allclose(mean_value, value / 3)
    alone = backward(replace(p, cotangent=p.cotangent * (np.arange(6) % 3 == 0)[:, None, None]))
    np.testing.assert_allclose(first_key, alone[1])
    np.testing.assert_allclose(first_value, alone[2])


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("terms", [{}, {"sink": True}, {"softcap": 1.5, "mask": "full"}])
def test_its_gradients_are_numbers_of_the_dtype_and_near(order, terms):
    p = drawn(**terms)
    exact = backward(p)
    near = backward(replace(p, dtype="float16", order=order))
    for x, y in zip(near, exact, strict=True):
        np.testing.assert_array_equal(x, round_to(x, "float16"))
        assert 0 < np.abs(x - y).max() < 0.02


def test_the_order_decides_whether_the_weights_are_computed_again():
    """From the row's log-sum-exp, where it is odd; a row that sees nothing has none."""
    p = replace(drawn(sink=True, mask="dead"), dtype="float32")
    for order in (1, 3):
        again, plain = backward(replace(p, order=order)), backward(replace(p, order=order + 1))
        for x, y in zip(again, plain, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-5)
        assert any((x != y).any() for x, y in zip(again, plain, strict=True))


def test_an_odd_order_has_weights_as_inexact_as_the_log_sum_exp_they_are_taken_from():
    """The weight of a single key is one in even orders; in odd ones the logarithm's error shows."""
    terms = {"heads": 1, "kv_heads": 1, "q_len": 1, "kv_len": 1, "d_k": 1, "d_v": 1}
    p = replace(drawn(batch=500, size=64.0, **terms), dtype="float32")
    for order in (0, 2, 4):
        np.testing.assert_array_equal(backward(replace(p, order=order))[2], p.cotangent)
    scores = p.query * p.key
    told = scores * p.cotangent != 0
    for order in (1, 3, 5):
        weights = backward(replace(p, order=order))[2][told] / p.cotangent[told]
        off = np.log(weights) / scores[told] / epsilon("float32")
        assert 0.9 < np.abs(off).max() < 1.6  # up to one epsilon, and half a one as it is rounded


@pytest.mark.parametrize("fault", GRADIENT_FAULTS[:5], ids=lambda fault: fault.name)
def test_what_is_detached_has_a_gradient_of_zero(fault):
    p = drawn()
    lost = {
        "gradient detached": ("query", "key", "value"),
        "weights detached": ("query", "key"),
        "query detached": ("query",),
        "key detached": ("key",),
        "value detached": ("value",),
    }[fault.name]
    names = ("query", "key", "value")
    for name, x, right in zip(names, fault.answer(p), backward(p), strict=True):
        np.testing.assert_array_equal(x, 0 * right if name in lost else right)
