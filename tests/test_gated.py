import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import gated_attention, scaled_dot_product_attention

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 5, 7, 11, 13
WHOLE = (BATCH, HEADS, Q_LEN, D_V)


def draw(seed, gate_shape=WHOLE):
    rng = np.random.default_rng(seed)
    shapes = ((BATCH, HEADS, *shape) for shape in ((Q_LEN, D_K), (KV_LEN, D_K), (KV_LEN, D_V)))
    return [*(rng.standard_normal(shape) for shape in shapes), 3 * rng.normal(size=gate_shape)]


@given(
    seed=seeds,
    shape=st.sampled_from([WHOLE, (BATCH, HEADS, Q_LEN, 1), (HEADS, 1, D_V), (D_V,), ()]),
)
def test_each_entry_is_multiplied_by_the_sigmoid_of_its_gate(library, seed, shape):
    *inputs, gate = draw(seed, shape)
    rng = np.random.default_rng(seed + 1)
    terms = {
        "mask": rng.random((Q_LEN, KV_LEN)) < 0.7,
        "bias": rng.standard_normal((HEADS, 1, KV_LEN)),
        "sink": rng.standard_normal(HEADS),
    }
    options = {"scale": 0.3, "softcap": 2.0}
    there = {n: library.array(x) for n, x in terms.items()}
    gates = library.array(np.asarray(gate))
    found = gated_attention(*map(library.array, inputs), gates, **there, **options)
    found = library.numpy(found)
    plain = scaled_dot_product_attention(*inputs, **terms, **options)
    gate = np.broadcast_to(gate, WHOLE)
    for place in np.ndindex(WHOLE):
        passed = 1 / (1 + math.exp(-gate[place]))
        assert found[place] == pytest.approx(passed * plain[place], rel=1e-11, abs=1e-13)


def test_a_gate_of_one_is_plain_attention_and_of_zero_none(library):
    *inputs, _ = map(library.array, draw(1))
    plain = library.numpy(scaled_dot_product_attention(*inputs))
    for logit, factor in ((np.inf, 1), (800.0, 1), (0.0, 0.5), (-800.0, 0), (-np.inf, 0)):
        gate = library.array(np.full((1, 1), logit))
        found = library.numpy(gated_attention(*inputs, gate))
        np.testing.assert_array_equal(found, factor * plain)


def test_forward_and_gradient_agree_with_pytorch():
    query, key, value, gate = (torch.asarray(x).requires_grad_() for x in draw(2))
    inputs = (query, key, value, gate)
    theirs = torch.nn.functional.scaled_dot_product_attention(query, key, value) * gate.sigmoid()
    ours = gated_attention(*inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    for got, expected in zip(
        torch.autograd.grad((ours**2).sum(), inputs),
        torch.autograd.grad((theirs**2).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


def test_gradients_agree_with_finite_differences():
    inputs = [torch.asarray(x[0, 0, :3, :2]).requires_grad_() for x in draw(3)]
    assert torch.autograd.gradcheck(gated_attention, inputs)
    closed = torch.full((1, 1), -torch.inf).double().requires_grad_()
    output = gated_attention(*inputs[:3], closed)
    for gradient in torch.autograd.grad(output.sum(), (*inputs[:3], closed)):
        assert not gradient.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_masked_and_what_another_gate_holds_change_no_bit(library, bad):
    query, key, value, gate = draw(4)
    mask = np.ones((Q_LEN, KV_LEN), dtype=bool)
    mask[:, 3] = mask[1] = False
    found = []
    for filler in (0.0, bad):
        key[..., 3, 1] = value[..., 3, 2] = gate[..., 4, :] = filler
        arrays = map(library.array, (query, key, value, gate))
        found.append(library.numpy(gated_attention(*arrays, mask=library.array(mask))))
    np.testing.assert_array_equal(found[1][..., :4, :], found[0][..., :4, :])
    assert not found[1][..., 1, :].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_that_no_loss_uses_leaves_the_gradients_finite(bad):
    query, key, value, gate = draw(6)
    query[..., 4, 1] = gate[..., 3, :] = bad
    inputs = [torch.asarray(x).requires_grad_() for x in (query, key, value, gate)]
    output = gated_attention(*inputs)
    assert output[..., 4, :].isnan().all()
    for gradient in torch.autograd.grad((output[..., :3, :] ** 2).sum(), inputs):
        assert gradient.isfinite().all()


def test_an_infinite_output_passes_as_it_is(library):
    query, key, value, gate = draw(7)
    value[..., 3, 2], gate[..., 0, :] = np.inf, -np.inf
    found = library.numpy(gated_attention(*map(library.array, (query, key, value, gate))))
    assert (found[..., 2] == np.inf).all()
    assert np.isfinite(np.delete(found, 2, axis=-1)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula_in_float32(dtype):
    dtype = getattr(torch, dtype)
    inputs = [torch.asarray(x).to(dtype) for x in draw(5)]

    def formula(working):
        query, key, value, gate = (x.to(working) for x in inputs)
        weights = torch.softmax(query @ key.mT / D_K**0.5, -1)
        return weights @ value / (1 + torch.exp(-gate))

    exact, plain = formula(torch.float64), formula(torch.float32)
    found = gated_attention(*inputs)
    assert found.dtype == dtype
    allowed = 2 * (plain.to(dtype).double() - exact).abs().max()
    assert (found.double() - exact).abs().max() <= allowed


X = np.zeros((2, 5, 3))


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: gated_attention(X, X, X, np.zeros((2, 5, 2))),
            ValueError,
            "gate must have shape that broadcasts to (*batch, q_len, d_v) = (2, 5, 3), "
            "got (2, 5, 2)",
        ),
        (
            lambda: gated_attention(X, X, X, np.zeros((1, 2, 5, 3))),
            ValueError,
            "gate must have shape that broadcasts to (*batch, q_len, d_v) = (2, 5, 3), "
            "got (1, 2, 5, 3)",
        ),
        (
            lambda: gated_attention(X, X, X, np.ones(3, dtype=bool)),
            TypeError,
            "gate must have a real floating dtype, got bool",
        ),
        (
            lambda: gated_attention(X, X, X, torch.zeros(3)),
            TypeError,
            "gate must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: gated_attention(X, X, X[:, 1:], np.zeros(3)),
            ValueError,
            "value must have shape (2, kv_len=5, d_v), got (2, 4, 3)",
        ),
        (
            lambda: gated_attention(X, X, X.astype(np.int64), np.zeros(3)),
            TypeError,
            "value must have a real floating dtype, got int64",
        ),
        (
            lambda: gated_attention(X, X[..., :2], X, np.zeros(3)),
            ValueError,
            "key must have shape (..., kv_len, d_k=3), got (2, 5, 2)",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
