import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    attention_scores,
    qk_norm_attention,
    rms_norm,
    scaled_dot_product_attention,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 5, 7, 11, 13


def draw(seed):
    rng = np.random.default_rng(seed)
    shapes = ((BATCH, HEADS, *shape) for shape in ((Q_LEN, D_K), (KV_LEN, D_K), (KV_LEN, D_V)))
    return [*(rng.standard_normal(shape) for shape in shapes), *rng.standard_normal((2, D_K))]


@given(seed=seeds, shape=st.sampled_from([None, (D_K,), (HEADS, 1, D_K), (1,)]))
def test_rms_norm_agrees_with_a_loop(library, seed, shape):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((HEADS, Q_LEN, D_K))
    gain = None if shape is None else rng.standard_normal(shape)
    found = rms_norm(library.array(x), None if gain is None else library.array(gain), epsilon=0.25)
    gains = np.broadcast_to(1.0 if gain is None else gain, x.shape)
    for place in np.ndindex(x.shape):
        square = math.fsum(entry**2 for entry in x[place[:-1]]) / D_K
        expected = x[place] / math.sqrt(square + 0.25) * gains[place]
        assert library.numpy(found)[place] == pytest.approx(expected, rel=1e-13)


def test_it_is_that_of_pytorch_forward_and_backward():
    x = torch.asarray(draw(1)[0]).requires_grad_()
    gain = torch.asarray(draw(1)[3]).requires_grad_()
    ours = rms_norm(x, gain, epsilon=1e-3)
    theirs = torch.nn.functional.rms_norm(x, (D_K,), gain, eps=1e-3)
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)
    for got, expected in zip(
        torch.autograd.grad((ours**3).sum(), (x, gain)),
        torch.autograd.grad((theirs**3).sum(), (x, gain)),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_vector_becomes_nan_alone_in_the_gradient_too(bad):
    x = torch.asarray(draw(2)[0])
    x[0, 0, 3, 4] = bad
    x.requires_grad_()
    normed = rms_norm(x)
    rows = torch.zeros(x.shape[:-1], dtype=torch.bool)
    rows[0, 0, 3] = True
    assert torch.equal(normed.isnan().all(-1), rows)
    assert torch.equal(normed.isnan().any(-1), rows)
    (gradient,) = torch.autograd.grad(normed[~rows].square().sum(), x)
    assert gradient.isfinite().all()


def test_zeros_stay_zeros_and_huge_vectors_have_the_same_length(library):
    x = np.array([[0.0, 0.0], [3e-3, 4e-3], [3e99, 4e99]])
    found = library.numpy(rms_norm(library.array(x), epsilon=1e-30))
    np.testing.assert_allclose(np.sum(found**2, -1), [0, 2, 2], rtol=1e-12)


def test_the_default_epsilon_is_a_millionth(library):
    short = library.array(np.array([[1e-3, 0.0]]))  # the mean of the squares is half of that
    found = library.numpy(rms_norm(short))
    np.testing.assert_allclose(found, [[math.sqrt(2 / 3), 0.0]], rtol=1e-12)
    query, key, value = (library.array(x[0, 0] * 1e-3) for x in draw(9)[:3])
    np.testing.assert_array_equal(
        library.numpy(qk_norm_attention(query, key, value)),
        library.numpy(qk_norm_attention(query, key, value, epsilon=1e-6)),
    )


def test_one_vector_and_one_feature_are_enough(library):
    alone = library.numpy(rms_norm(library.array(np.array([3.0, 4.0])), epsilon=1e-30))
    np.testing.assert_allclose(alone, np.array([3.0, 4.0]) / math.sqrt(12.5), rtol=1e-12)
    signs = library.numpy(rms_norm(library.array(np.array([[-5.0], [2.0]])), epsilon=1e-30))
    np.testing.assert_allclose(signs, [[-1.0], [1.0]], rtol=1e-12)


def test_henry_divides_by_the_length_and_learns_one_factor(library):
    query, key, value, _, _ = draw(3)
    factor = 7.0
    found = qk_norm_attention(
        *map(library.array, (query, key, value)), epsilon=1e-300, scale=factor / D_K
    )
    lengths = (np.linalg.norm(x, axis=-1) for x in (query, key))
    over = np.multiply.outer(*map(np.ravel, lengths))
    cosine = np.empty((BATCH, HEADS, Q_LEN, KV_LEN))
    over = over.reshape(BATCH, HEADS, Q_LEN, BATCH, HEADS, KV_LEN)
    for b, h in np.ndindex(BATCH, HEADS):
        cosine[b, h] = query[b, h] @ key[b, h].T / over[b, h, :, b, h]
    powers = np.exp(factor * cosine)
    expected = powers / powers.sum(-1, keepdims=True) @ value
    np.testing.assert_allclose(library.numpy(found), expected, rtol=1e-11, atol=1e-13)


def test_every_term_reaches_the_attention(library):
    query, key, value, query_gain, key_gain = draw(4)
    rng = np.random.default_rng(5)
    terms = {
        "mask": rng.random((Q_LEN, KV_LEN)) < 0.7,
        "bias": rng.standard_normal((HEADS, 1, KV_LEN)),
        "sink": rng.standard_normal(HEADS),
    }
    numbers = {"scale": 0.3, "softcap": 2.0}
    gains = {"query_gain": query_gain, "key_gain": key_gain}
    there = {n: library.array(x) for n, x in (terms | gains).items()}
    arrays = map(library.array, (query, key, value))
    found = qk_norm_attention(*arrays, epsilon=0.5, **there, **numbers)
    normed = (
        x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 0.5) * gain
        for x, gain in ((query, query_gain), (key, key_gain))
    )
    expected = scaled_dot_product_attention(*normed, value, **terms, **numbers)
    np.testing.assert_allclose(library.numpy(found), expected, rtol=1e-11, atol=1e-13)


@given(seed=seeds, stretch=st.floats(1e-3, 1e6))
def test_the_length_of_a_query_or_key_changes_nothing_and_scores_are_bounded(seed, stretch):
    query, key, value, _, _ = draw(seed)
    plain = qk_norm_attention(query, key, value, epsilon=1e-300)
    key[..., 2, :] *= stretch
    found = qk_norm_attention(stretch * query, key, value, epsilon=1e-300)
    np.testing.assert_allclose(found, plain, rtol=1e-10, atol=1e-12)
    scores = attention_scores(rms_norm(stretch * query), rms_norm(key))
    assert np.abs(scores).max() <= math.sqrt(D_K) * (1 + 1e-12)


def test_gradients_agree_with_finite_differences():
    query, key, value, query_gain, key_gain = draw(6)
    arrays = (
        query[0, 0, :3, :4],
        key[0, 0, :5, :4],
        value[0, 0, :5, :2],
        query_gain[:4],
        key_gain[:4],
    )
    inputs = [torch.asarray(x).requires_grad_() for x in arrays]

    def attend(query, key, value, query_gain, key_gain):
        return qk_norm_attention(query, key, value, query_gain=query_gain, key_gain=key_gain)

    assert torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_masked_changes_no_bit_and_no_gradient(bad):
    mask = torch.ones(Q_LEN, KV_LEN, dtype=torch.bool)
    mask[:, 3] = mask[1] = False
    found = []
    for filler in (0.0, bad):
        query, key, value, _, _ = draw(7)
        key[..., 3, 1] = value[..., 3, 2] = filler
        inputs = [torch.asarray(x).requires_grad_() for x in (query, key, value)]
        output = qk_norm_attention(*inputs, mask=mask)
        assert not output[..., 1, :].any()
        found.append((output, *torch.autograd.grad((output**2).sum(), inputs)))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula_in_float32(dtype):
    dtype = getattr(torch, dtype)
    inputs = [torch.asarray(x).to(dtype) for x in draw(8)]

    def formula(working):
        query, key, value, *gains = (x.to(working) for x in inputs)
        query, key = (
            x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain
            for x, gain in zip((query, key), gains, strict=True)
        )
        return torch.softmax(query @ key.mT / D_K**0.5, -1) @ value

    exact, plain = formula(torch.float64), formula(torch.float32)
    found = qk_norm_attention(*inputs[:3], query_gain=inputs[3], key_gain=inputs[4])
    assert found.dtype == rms_norm(inputs[0]).dtype == dtype
    allowed = 2 * (plain.to(dtype).double() - exact).abs().max()
    assert (found.double() - exact).abs().max() <= allowed


X = np.zeros((2, 5, 3))


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: rms_norm(X, epsilon=0),
            ValueError,
            "epsilon must be a finite number above zero, got 0",
        ),
        (
            lambda: rms_norm(X.astype(int)),
            TypeError,
            "x must have a real floating dtype, got int64",
        ),
        (
            lambda: rms_norm(X[..., :0]),
            ValueError,
            "x must have shape (*batch, d) with d of at least 1, got (2, 5, 0)",
        ),
        (
            lambda: rms_norm(X, np.zeros(2)),
            ValueError,
            "gain must have shape that broadcasts to that of x, (2, 5, 3), got (2,)",
        ),
        (
            lambda: rms_norm(X, torch.zeros(3)),
            TypeError,
            "gain must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: qk_norm_attention(X, X[..., :2], X),
            ValueError,
            "key must have shape (..., kv_len, d_k=3), got (2, 5, 2)",
        ),
        (
            lambda: qk_norm_attention(X, X, X, key_gain=np.zeros(2)),
            ValueError,
            "key_gain must have shape that broadcasts to that of key, (2, 5, 3), got (2,)",
        ),
        (
            lambda: qk_norm_attention(X, X, X, query_gain=np.ones(3, dtype=bool)),
            TypeError,
            "query_gain must have a real floating dtype, got bool",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
