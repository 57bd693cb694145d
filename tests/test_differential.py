import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    causal_mask,
    differential_attention,
    differential_lambda,
    differential_lambda_init,
    scaled_dot_product_attention,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 5, 7, 11, 13
CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def draw(seed):
    rng = np.random.default_rng(seed)
    shapes = ((Q_LEN, 2 * D_K), (KV_LEN, 2 * D_K), (KV_LEN, D_V))
    return [rng.standard_normal((BATCH, HEADS, *shape)) for shape in shapes]


def weights_slowly(query, key, mask):
    rows = []
    for q, sees in zip(query, mask, strict=True):
        powers = [
            math.exp(math.fsum(q * k) / math.sqrt(len(q))) if seen else 0.0
            for k, seen in zip(key, sees, strict=True)
        ]
        total = math.fsum(powers)
        rows.append([power / total if total else 0.0 for power in powers])
    return np.array(rows)


@given(seed=seeds)
def test_it_agrees_with_the_paper_s_difference_of_two_maps(library, seed):
    query, key, value = draw(seed)
    rng = np.random.default_rng(seed + 1)
    mask = rng.random((BATCH, HEADS, Q_LEN, KV_LEN)) < 0.7
    factor = rng.standard_normal(HEADS)
    found = differential_attention(
        *map(library.array, (query, key, value)),
        factor=library.array(factor),
        mask=library.array(mask),
    )
    for b, h in np.ndindex(BATCH, HEADS):
        first, second = (
            weights_slowly(query[b, h][:, half], key[b, h][:, half], mask[b, h])
            for half in (slice(0, D_K), slice(D_K, 2 * D_K))
        )
        expected = (first - factor[h] * second) @ value[b, h]
        np.testing.assert_allclose(library.numpy(found)[b, h], expected, **CLOSE)


def test_with_a_factor_of_zero_it_is_the_first_map_alone(library):
    query, key, value = draw(1)
    found = differential_attention(*map(library.array, (query, key, value)), factor=0.0)
    first = map(library.array, (query[..., :D_K], key[..., :D_K], value))
    np.testing.assert_array_equal(
        library.numpy(found), library.numpy(scaled_dot_product_attention(*first))
    )


def test_what_both_maps_attend_to_cancels(library):
    query, key, value = draw(2)
    query, key = (np.concat([x[..., :D_K]] * 2, axis=-1) for x in (query, key))
    arrays = list(map(library.array, (query, key, value)))
    assert not library.numpy(differential_attention(*arrays, factor=1.0)).any()
    ones = library.array(np.ones_like(value))
    found = library.numpy(differential_attention(*arrays[:2], ones, factor=0.25))
    np.testing.assert_allclose(found, 0.75, **CLOSE)


def test_every_term_reaches_both_maps(library):
    query, key, value = draw(3)
    rng = np.random.default_rng(4)
    terms = {
        "mask": rng.random((Q_LEN, KV_LEN)) < 0.7,
        "bias": rng.standard_normal((HEADS, 1, KV_LEN)),
        "sink": rng.standard_normal(HEADS),
    }
    numbers = {"scale": 0.3, "softcap": 2.0}
    there = {n: library.array(x) for n, x in terms.items()}
    arrays = map(library.array, (query, key, value))
    found = differential_attention(*arrays, factor=0.7, **there, **numbers)
    first, second = (
        scaled_dot_product_attention(query[..., half], key[..., half], value, **terms, **numbers)
        for half in (slice(0, D_K), slice(D_K, 2 * D_K))
    )
    np.testing.assert_allclose(library.numpy(found), first - 0.7 * second, **CLOSE)


def test_gradients_agree_with_finite_differences():
    query, key, value = (torch.asarray(x[0, :2, :3, :4]).requires_grad_() for x in draw(5))
    factor = torch.asarray([0.3, 0.8]).double().requires_grad_()

    def attend(query, key, value, factor):
        mask = causal_mask(3, like=query)
        return differential_attention(query, key, value, factor=factor, mask=mask)

    assert torch.autograd.gradcheck(attend, (query, key, value, factor))
    vectors = torch.randn(4, 3, 5, generator=torch.manual_seed(1)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: differential_lambda(*v, initial=0.2), vectors)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_masked_changes_no_bit_and_no_gradient(bad):
    mask = torch.ones(Q_LEN, KV_LEN, dtype=torch.bool)
    mask[:, 3] = mask[1] = False
    found = []
    for filler in (0.0, bad):
        query, key, value = draw(6)
        key[..., 3, 1] = key[..., 3, D_K + 1] = value[..., 3, 2] = filler
        inputs = [torch.asarray(x).requires_grad_() for x in (query, key, value)]
        output = differential_attention(*inputs, factor=0.5, mask=mask)
        assert not output[..., 1, :].any()
        found.append((output, *torch.autograd.grad((output**2).sum(), inputs)))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_a_row_of_nan_that_no_loss_uses_leaves_the_gradients_finite():
    query, key, value = draw(9)
    query[..., 4, 1] = query[..., 3, D_K + 1] = np.nan
    factor = np.array([0.3, 0.5, 0.8])
    inputs = [torch.asarray(x).requires_grad_() for x in (query, key, value, factor)]
    output = differential_attention(*inputs[:3], factor=inputs[3])
    assert output[..., 3:, :].isnan().all()
    for gradient in torch.autograd.grad((output[..., :3, :] ** 2).sum(), inputs):
        assert gradient.isfinite().all()


def test_an_infinite_value_that_may_be_seen_is_nan(library):
    query, key, value = draw(7)
    value[0, 0, 4, 2] = np.inf
    mask = causal_mask(Q_LEN, KV_LEN, q_start=0)
    arrays = map(library.array, (query, key, value))
    found = differential_attention(*arrays, factor=0.5, mask=library.array(mask))
    spoiled = np.zeros((BATCH, HEADS, Q_LEN, D_V), dtype=bool)
    spoiled[0, 0, 4:, 2] = True
    np.testing.assert_array_equal(np.isnan(library.numpy(found)), spoiled)


@given(seed=seeds)
def test_lambda_is_the_difference_of_two_powers(library, seed):
    vectors = np.random.default_rng(seed).standard_normal((4, 3, 5)) / 2
    found = library.numpy(differential_lambda(*map(library.array, vectors), initial=0.3))
    for h, (q1, k1, q2, k2) in enumerate(vectors.swapaxes(0, 1).tolist()):
        raised, lowered = (
            math.exp(math.fsum(a * b for a, b in zip(q, k, strict=True)))
            for q, k in ((q1, k1), (q2, k2))
        )
        assert found[h] == pytest.approx(raised - lowered + 0.3, rel=1e-11, abs=1e-12)


def test_lambda_starts_at_a_fifth_and_nears_four():
    assert differential_lambda_init(1) == pytest.approx(0.2)
    assert differential_lambda_init(2) == pytest.approx(0.8 - 0.6 * 0.7408182206817179)
    depths = [differential_lambda_init(layer) for layer in range(1, 60)]
    assert depths == sorted(depths)
    assert 0.7999 < depths[-1] < 0.8


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula_in_float32(dtype):
    dtype = getattr(torch, dtype)
    inputs = [torch.asarray(x).to(dtype) for x in draw(8)]

    def formula(working):
        query, key, value = (x.to(working) for x in inputs)
        first, second = (
            torch.softmax(query[..., half] @ key[..., half].mT / D_K**0.5, -1)
            for half in (slice(0, D_K), slice(D_K, 2 * D_K))
        )
        return (first - 0.8 * second) @ value

    exact, plain = formula(torch.float64), formula(torch.float32)
    found = differential_attention(*inputs, factor=0.8)
    assert found.dtype == dtype
    allowed = 2 * (plain.to(dtype).double() - exact).abs().max()
    assert (found.double() - exact).abs().max() <= allowed
    vectors = [x[0, 0, 0].to(dtype) for x in (*inputs, *inputs)][:4]
    vectors = [x[:5] for x in vectors]
    assert differential_lambda(*vectors, initial=0.8).dtype == dtype


X, V = np.zeros((2, 5, 4)), np.zeros(3)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: differential_attention(X[..., :3], X[..., :3], X, factor=0.5),
            ValueError,
            "query must have shape (..., q_len, 2 * d_k), got (2, 5, 3)",
        ),
        (
            lambda: differential_attention(X, X[..., :2], X, factor=0.5),
            ValueError,
            "key must have shape (..., kv_len, d_k=4), got (2, 5, 2)",
        ),
        (
            lambda: differential_attention(X, X, X, factor=np.zeros(3)),
            ValueError,
            "factor must have shape that broadcasts to (*batch) = (2,), got (3,)",
        ),
        (
            lambda: differential_attention(X, X, X, factor=np.array(1)),
            TypeError,
            "factor must have a real floating dtype, got int64",
        ),
        (
            lambda: differential_attention(X, X, X, factor="0.5"),
            TypeError,
            "factor must be a finite number, got str",
        ),
        (
            lambda: differential_attention(X, X, X, factor=math.nan),
            ValueError,
            "factor must be a finite number, got nan",
        ),
        (
            lambda: differential_lambda(V, V, V, V[:2], initial=0.2),
            ValueError,
            "lambda_k2 must have shape that of lambda_q1, (3,), got (2,)",
        ),
        (
            lambda: differential_lambda(V, V, V.astype(np.float32), V, initial=0.2),
            TypeError,
            "lambda_q2 must have the dtype of lambda_q1 (float64), got float32",
        ),
        (
            lambda: differential_lambda(V, V, V, V, initial=None),
            TypeError,
            "initial must be a finite number, got NoneType",
        ),
        (lambda: differential_lambda_init(0), ValueError, "layer must be at least 1, got 0"),
        (
            lambda: differential_lambda_init(1.0),
            TypeError,
            "layer must be an integer, got float",
        ),
        (
            lambda: differential_attention(X, X, X.astype(int), factor=0.5),
            TypeError,
            "value must have a real floating dtype, got int64",
        ),
        (
            lambda: differential_attention(X, X, X, factor=torch.zeros(2)),
            TypeError,
            "factor must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: differential_lambda(*[V.astype(int)] * 4, initial=0.2),
            TypeError,
            "lambda_q1 must have a real floating dtype, got int64",
        ),
        (
            lambda: differential_lambda(*[np.array(0.0)] * 4, initial=0.2),
            ValueError,
            "lambda_q1 must have shape (*batch, d_k), got ()",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
