import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    block_sparse_attention,
    causal_mask,
    expand_block_mask,
    scaled_dot_product_attention,
    top_k_attention,
    top_k_mask,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 7, 11, 5, 13
Q_BLOCK, KV_BLOCK, Q_BLOCKS, KV_BLOCKS = 3, 5, 3, 3
SIZES = {"q_block": Q_BLOCK, "kv_block": KV_BLOCK}
CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def draw_inputs(seed):
    rng = np.random.default_rng(seed)
    shapes = ((BATCH, HEADS, *shape) for shape in ((Q_LEN, D_K), (KV_LEN, D_K), (KV_LEN, D_V)))
    return [2 * rng.standard_normal(shape) for shape in shapes]


def draw_terms(seed):
    rng = np.random.default_rng(seed + 1)
    return {
        "mask": rng.random((BATCH, 1, Q_LEN, KV_LEN)) < 0.6,
        "bias": np.where(rng.random((Q_LEN, KV_LEN)) < 0.1, -np.inf, rng.normal(size=KV_LEN)),
        "sink": rng.standard_normal(HEADS),
        "softcap": 3.0,
        "scale": 0.7,
    }


def draw_block_mask(seed):
    rng = np.random.default_rng(seed + 2)
    return rng.random((BATCH, HEADS, Q_BLOCKS, KV_BLOCKS)) < 0.5


def convert(function, terms):
    return {n: function(x) if isinstance(x, np.ndarray) else x for n, x in terms.items()}


def at(terms, place):
    """Return the terms of one batch item and head."""
    full = {"mask": (BATCH, HEADS, Q_LEN, KV_LEN), "bias": (BATCH, HEADS, Q_LEN, KV_LEN)}
    full["sink"] = (BATCH, HEADS)
    return {n: np.broadcast_to(x, full[n])[place] if n in full else x for n, x in terms.items()}


def attend_slowly(query, key, value, keys_of, *, mask, bias, scale, softcap, sink):
    """Attend with one head, a query at a time, to the keys that `keys_of(i, scores)` names."""
    outputs = []
    for i, q in enumerate(query):
        scores = {}
        for j, k in enumerate(key):
            if mask[i, j] and bias[i, j] > -math.inf:
                scaled = scale * math.fsum(a * b for a, b in zip(q, k, strict=True))
                scores[j] = softcap * math.tanh(scaled / softcap) + bias[i, j]
        kept = [j for j in keys_of(i, scores) if j in scores]
        powers = {j: math.exp(scores[j]) for j in kept}
        total = math.fsum([*powers.values(), math.exp(sink)])
        outputs.append(sum((powers[j] / total * value[j] for j in kept), np.zeros(len(value[0]))))
    return np.stack(outputs)


def test_expand_block_mask_looks_up_the_block_of_each_pair(library):
    block_mask = draw_block_mask(0)
    found = expand_block_mask(library.array(block_mask), Q_LEN, KV_LEN, **SIZES)
    expected = np.zeros((BATCH, HEADS, Q_LEN, KV_LEN), dtype=bool)
    for i, j in np.ndindex(Q_LEN, KV_LEN):
        expected[..., i, j] = block_mask[..., i // Q_BLOCK, j // KV_BLOCK]
    np.testing.assert_array_equal(library.numpy(found), expected)


@given(seed=seeds)
def test_block_sparse_agrees_with_a_loop(library, seed):
    inputs, terms, block_mask = draw_inputs(seed), draw_terms(seed), draw_block_mask(seed)
    found = block_sparse_attention(
        *map(library.array, inputs),
        library.array(block_mask),
        **SIZES,
        **convert(library.array, terms),
    )
    assert found.shape == (BATCH, HEADS, Q_LEN, D_V)
    for place in np.ndindex(BATCH, HEADS):

        def keys_of(i, _, place=place):
            return [j for j in range(KV_LEN) if block_mask[place][i // Q_BLOCK, j // KV_BLOCK]]

        expected = attend_slowly(*(x[place] for x in inputs), keys_of, **at(terms, place))
        np.testing.assert_allclose(library.numpy(found)[place], expected, **CLOSE)


@given(seed=seeds, few=st.booleans())
def test_it_equals_the_expanded_mask_and_so_do_the_gradients(seed, few):
    block_mask = torch.asarray(draw_block_mask(seed))
    block_mask = block_mask[0, 0] if few else block_mask  # one for all heads
    dense = expand_block_mask(block_mask, Q_LEN, KV_LEN, **SIZES)
    found = []
    for blocks in (True, False):
        inputs = [torch.asarray(x).requires_grad_() for x in draw_inputs(seed)]
        terms = convert(torch.asarray, draw_terms(seed))
        leaves = [*inputs, terms["sink"].requires_grad_()]
        if blocks:
            output = block_sparse_attention(*inputs, block_mask, **SIZES, **terms)
        else:
            terms["mask"] = terms["mask"] & dense
            output = scaled_dot_product_attention(*inputs, **terms)
        found.append((output, *torch.autograd.grad((output**2).sum(), leaves)))
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("terms", [{}, draw_terms(3)])
def test_with_every_block_it_is_full_attention(library, terms):
    inputs, terms = map(library.array, draw_inputs(3)), convert(library.array, terms)
    query, key, value = inputs
    every = library.array(np.ones((Q_BLOCKS, KV_BLOCKS), dtype=bool))
    found = block_sparse_attention(query, key, value, every, **SIZES, **terms)
    full = scaled_dot_product_attention(query, key, value, **terms)
    np.testing.assert_allclose(library.numpy(found), library.numpy(full), **CLOSE)


def test_no_pair_outside_the_chosen_blocks_is_computed(monkeypatch):
    pairs = []

    def count(query, key, value, **options):
        pairs.append(query.shape[0] * key.shape[0])
        return scaled_dot_product_attention(query, key, value, **options)

    monkeypatch.setattr("attention_ref._sparse.scaled_dot_product_attention", count)
    block_mask = draw_block_mask(4)
    block_sparse_attention(*draw_inputs(4), block_mask, **SIZES)
    assert sum(pairs) == expand_block_mask(block_mask, Q_LEN, KV_LEN, **SIZES).sum()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_block_that_is_not_chosen_changes_no_bit_and_no_gradient(bad):
    block_mask = torch.asarray([[True, False, True]] * Q_BLOCKS)
    found = []
    for filler in (0.0, bad):
        query, key, value = draw_inputs(5)
        key[..., 5:10, 1] = value[..., 5:10, 1] = filler
        inputs = [torch.asarray(x).requires_grad_() for x in (query, key, value)]
        output = block_sparse_attention(*inputs, block_mask, **SIZES)
        found.append((output, *torch.autograd.grad((output**2).sum(), inputs)))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("sink", [None, torch.zeros(HEADS).double()])
def test_queries_without_a_block_give_zero_and_so_do_their_gradients(sink):
    block_mask = torch.asarray([[True, True, True], [False, False, False], [True, False, True]])
    inputs = [torch.asarray(x).requires_grad_() for x in draw_inputs(6)]
    output = block_sparse_attention(*inputs, block_mask, **SIZES, sink=sink)
    assert not output[..., 3:6, :].any()
    assert output[..., [0, 1, 2, 6], :].all()
    for gradient in torch.autograd.grad(output[..., 3:6, :].sum(), inputs):
        assert not gradient.any()


def test_lengths_of_zero(library):
    query, key, value = draw_inputs(7)
    none = library.array(np.ones((Q_BLOCKS, 0), dtype=bool))
    inputs = map(library.array, (query, key[..., :0, :], value[..., :0, :]))
    assert not library.numpy(block_sparse_attention(*inputs, none, **SIZES)).any()
    inputs = map(library.array, (query[..., :0, :], key, value))
    none = library.array(np.ones((0, KV_BLOCKS), dtype=bool))
    assert block_sparse_attention(*inputs, none, **SIZES).shape == (BATCH, HEADS, 0, D_V)
    inputs = [library.array(x[:0]) for x in (query, key, value)]
    every = library.array(np.ones((Q_BLOCKS, KV_BLOCKS), dtype=bool))
    assert block_sparse_attention(*inputs, every, **SIZES).shape == (0, HEADS, Q_LEN, D_V)
    inputs = map(library.array, (query, key, value[..., :0]))
    assert block_sparse_attention(*inputs, every, **SIZES).shape == (BATCH, HEADS, Q_LEN, 0)


@given(seed=seeds, k=st.integers(1, 9))
def test_top_k_mask_is_the_rank_by_counting(library, seed, k):
    scores = np.random.default_rng(seed).integers(-3, 3, size=(3, 7)) / 2  # with many ties
    found = library.numpy(top_k_mask(library.array(scores), k))
    for row, marks in zip(scores.tolist(), found, strict=True):
        for i, score in enumerate(row):
            before = sum(s > score or (s == score and j < i) for j, s in enumerate(row))
            assert marks[i] == (before < k)


def test_top_k_mask_takes_nan_for_infinite(library):
    scores = np.array([[1.0, np.nan, np.inf, 2.0], [-np.inf, 0.0, -np.inf, np.nan]])
    found = library.numpy(top_k_mask(library.array(scores), 2))
    assert found.tolist() == [[False, True, True, False], [False, True, False, True]]
    first = top_k_mask(library.array(np.array([np.inf, np.nan, 1.0])), 1)
    assert library.numpy(first).tolist() == [True, False, False]


@given(seed=seeds, k=st.integers(1, KV_LEN + 2))
def test_top_k_attention_agrees_with_a_loop(library, seed, k):
    inputs, terms = draw_inputs(seed), draw_terms(seed)
    found = top_k_attention(*map(library.array, inputs), k=k, **convert(library.array, terms))
    for place in np.ndindex(BATCH, HEADS):

        def keys_of(_, scores):
            return sorted(scores, key=lambda j: (-scores[j], j))[:k]

        expected = attend_slowly(*(x[place] for x in inputs), keys_of, **at(terms, place))
        np.testing.assert_allclose(library.numpy(found)[place], expected, **CLOSE)


@pytest.mark.parametrize("k", [KV_LEN, KV_LEN + 1])
def test_with_every_key_it_is_full_attention(library, k):
    inputs = list(map(library.array, draw_inputs(8)))
    found = library.numpy(top_k_attention(*inputs, k=k))
    full = library.numpy(scaled_dot_product_attention(*inputs))
    np.testing.assert_array_equal(found, full)
    fewer = library.numpy(top_k_attention(*inputs, k=KV_LEN - 1))
    assert (fewer != full).any(-1).all()


def test_of_equal_scores_the_first_are_kept(library):
    query, key, value = np.zeros((2, 1)), np.zeros((5, 1)), np.arange(1.0, 6.0)[:, None]
    mask = np.array([[True] * 5, [False, True, False, True, True]])
    found = top_k_attention(*map(library.array, (query, key, value)), k=2, mask=library.array(mask))
    assert library.numpy(found).tolist() == [[1.5], [3.0]]


def test_the_gradient_goes_through_what_is_kept():
    query, key, value = (torch.asarray(x[0, 0]).requires_grad_() for x in draw_inputs(9))
    output = top_k_attention(query, key, value, k=2)
    sees = torch.stack([torch.autograd.grad(o.sum(), value, retain_graph=True)[0] for o in output])
    assert torch.equal((sees != 0).any(-1), top_k_mask(query @ key.T, 2))
    mask = top_k_mask(query @ key.T, 2)
    masked = scaled_dot_product_attention(query, key, value, mask=mask)
    for ours, exact in zip(
        torch.autograd.grad((output**2).sum(), (query, key, value)),
        torch.autograd.grad((masked**2).sum(), (query, key, value)),
        strict=True,
    ):
        assert torch.equal(ours, exact)
    small = [torch.asarray(x[0, 0, :4, :2]).requires_grad_() for x in draw_inputs(9)]
    assert torch.autograd.gradcheck(lambda q, k, v: top_k_attention(q, k, v, k=2), small)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_masked_key_takes_no_place_and_changes_no_bit(bad):
    mask = torch.ones(Q_LEN, KV_LEN, dtype=torch.bool)
    mask[:, 4] = mask[2] = False
    found = []
    for filler in (0.0, bad):
        query, key, value = draw_inputs(10)
        key[..., 4, 1] = value[..., 4, 1] = filler
        inputs = [torch.asarray(x).requires_grad_() for x in (query, key, value)]
        output = top_k_attention(*inputs, k=3, mask=mask)
        assert not output[..., 2, :].any()
        found.append((output, *torch.autograd.grad((output**2).sum(), inputs)))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_a_nan_that_may_be_seen_is_seen():
    query, key, value = draw_inputs(11)
    key[0, 0, 4, 1] = np.nan
    found = top_k_attention(query, key, value, k=1, mask=causal_mask(Q_LEN, KV_LEN, q_start=0))
    assert np.isnan(found[0, 0, 4:]).all()
    assert np.isfinite(found[0, 0, :4]).all()
    assert np.isfinite(found[0, 1:]).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("form", ["blocks", "top k"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula(form, dtype):
    dtype = getattr(torch, dtype)
    query, key, value = (torch.asarray(x).to(dtype) for x in draw_inputs(12))
    if form == "blocks":
        block_mask = torch.ones(Q_BLOCKS, KV_BLOCKS, dtype=torch.bool)
        block_mask[1, 2] = False
        mask = expand_block_mask(block_mask, Q_LEN, KV_LEN, **SIZES)
        found = block_sparse_attention(query, key, value, block_mask, **SIZES)
    else:
        mask = top_k_mask(query.double() @ key.double().mT, 4)
        found = top_k_attention(query, key, value, k=4)

    def formula(working):
        q, k, v = (x.to(working) for x in (query, key, value))
        scores = torch.where(mask, q @ k.mT / D_K**0.5, -torch.inf)
        return torch.softmax(scores, -1) @ v

    exact, plain = formula(torch.float64), formula(torch.float32)
    assert found.dtype == dtype
    allowed = 2 * (plain.to(dtype).double() - exact).abs().max()
    assert (found.double() - exact).abs().max() <= allowed


def test_no_keys_are_in_no_blocks(library):
    nothing = library.array(np.ones((2, 0), dtype=bool))
    assert expand_block_mask(nothing, 5, 0, q_block=3, kv_block=2).shape == (5, 0)


X = np.zeros((2, 5, 3))
B = np.ones((2, 3), dtype=bool)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: expand_block_mask(B, 5, 5, q_block=2, kv_block=2),
            ValueError,
            "block_mask must have shape (*batch, q_blocks=3, kv_blocks=3), got (2, 3)",
        ),
        (
            lambda: expand_block_mask(B * 1.0, 5, 5, q_block=3, kv_block=2),
            TypeError,
            "block_mask must have a bool dtype, got float64",
        ),
        (
            lambda: expand_block_mask(B, 5, 5, q_block=0, kv_block=2),
            ValueError,
            "q_block must be at least 1, got 0",
        ),
        (
            lambda: expand_block_mask(B, -1, 5, q_block=3, kv_block=2),
            ValueError,
            "q_len must be at least 0, got -1",
        ),
        (
            lambda: expand_block_mask(B, 5, 5.0, q_block=3, kv_block=2),
            TypeError,
            "kv_len must be an integer, got float",
        ),
        (
            lambda: block_sparse_attention(X, X, X, B, q_block=2, kv_block=2),
            ValueError,
            "block_mask must have shape that broadcasts to (*batch, q_blocks, kv_blocks) = "
            "(2, 3, 3), got (2, 3)",
        ),
        (
            lambda: block_sparse_attention(X, X, X, B.astype(int), q_block=3, kv_block=2),
            TypeError,
            "block_mask must have a bool dtype, got int64",
        ),
        (
            lambda: block_sparse_attention(X, X, X, B, q_block=3, kv_block=True),
            TypeError,
            "kv_block must be an integer, got bool",
        ),
        (
            lambda: block_sparse_attention(X, X, X, B.tolist(), q_block=3, kv_block=2),
            TypeError,
            "block_mask must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: block_sparse_attention(X, X[:, :, :2], X, B, q_block=3, kv_block=2),
            ValueError,
            "key must have shape (..., kv_len, d_k=3), got (2, 5, 2)",
        ),
        (
            lambda: block_sparse_attention(X, X, X[:, 1:], B, q_block=3, kv_block=2),
            ValueError,
            "value must have shape (2, kv_len=5, d_v), got (2, 4, 3)",
        ),
        (
            lambda: block_sparse_attention(X, X, X, B, q_block=3, kv_block=2, mask=B),
            ValueError,
            "mask must have shape that broadcasts to (*batch, q_len, kv_len) = (2, 5, 5), "
            "got (2, 3)",
        ),
        (lambda: top_k_mask(X, 0), ValueError, "k must be at least 1, got 0"),
        (lambda: top_k_mask(X, 1.0), TypeError, "k must be an integer, got float"),
        (
            lambda: top_k_mask(X.astype(int), 1),
            TypeError,
            "scores must have a real floating dtype, got int64",
        ),
        (
            lambda: top_k_mask(np.asarray(1.0), 1),
            ValueError,
            "scores must have shape (*batch, n), got ()",
        ),
        (lambda: top_k_attention(X, X, X, k=0), ValueError, "k must be at least 1, got 0"),
        (
            lambda: top_k_attention(X, X, X, k=2, mask=np.ones(5)),
            TypeError,
            "mask must be boolean, True where a query may attend, got float64: numbers would be "
            "added to the scores, where 0 and 1 hide nothing (0 and -inf do: pass them as bias)",
        ),
        (
            lambda: expand_block_mask(B, 5, -1, q_block=3, kv_block=2),
            ValueError,
            "kv_len must be at least 0, got -1",
        ),
        (
            lambda: block_sparse_attention(X, X, X, torch.asarray(B), q_block=3, kv_block=2),
            TypeError,
            "block_mask must be an array of the library of query (numpy), got torch",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
