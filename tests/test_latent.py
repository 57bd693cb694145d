import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    KVCache,
    StaticKVCache,
    causal_mask,
    latent_attention,
    latent_attention_absorbed,
    latent_cache_bytes,
    merge_heads,
    multi_head_attention,
    rms_norm,
    rotary_embedding,
    scaled_dot_product_attention,
    sliding_window_mask,
    split_heads,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, Q_LEN, KV_LEN = 2, 3, 5, 7
D_NOPE, D_ROTARY, D_LATENT, D_V = 11, 4, 13, 17
CLOSE = {"rtol": 1e-10, "atol": 1e-11}
FORMS = pytest.mark.parametrize("form", [latent_attention, latent_attention_absorbed])
SHAPES = (
    (BATCH, HEADS, Q_LEN, D_NOPE),
    (BATCH, HEADS, Q_LEN, D_ROTARY),
    (BATCH, 1, KV_LEN, D_LATENT),
    (BATCH, 1, KV_LEN, D_ROTARY),
    (HEADS, D_LATENT, D_NOPE),
    (HEADS, D_LATENT, D_V),
)


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def draw_inputs(seed):
    *others, w_uk, w_uv = draw(seed, *SHAPES)
    return [*others, w_uk / math.sqrt(D_LATENT), w_uv]


def draw_options(seed):
    bias, sink = draw(seed, (BATCH, HEADS, Q_LEN, KV_LEN), (HEADS,))
    mask = np.random.default_rng(seed).random(bias.shape) < 0.6
    mask[0, 1, 2] = False
    return {"mask": mask, "bias": bias, "sink": sink, "softcap": 2.0}


def moved(library, options):
    return {k: library.array(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}


@FORMS
@given(seed=seeds)
def test_every_head_attends_on_its_own_projection(library, form, seed):
    inputs, options = draw_inputs(seed), draw_options(seed)
    output = form(*map(library.array, inputs), **moved(library, options))
    assert output.shape == (BATCH, HEADS, Q_LEN, D_V)
    query, rotary_query, latent, rotary_key, w_uk, w_uv = inputs
    for b, h in np.ndindex(BATCH, HEADS):
        # The scores are a sum of two products, without a key that holds both parts.
        scores = query[b, h] @ w_uk[h].T @ latent[b, 0].T + rotary_query[b, h] @ rotary_key[b, 0].T
        scores = 2 * np.tanh(scores / math.sqrt(D_NOPE + D_ROTARY) / 2) + options["bias"][b, h]
        weights = np.exp(scores) * options["mask"][b, h]
        total = weights.sum(-1, keepdims=True)
        total = np.where(total == 0, 1, total + np.exp(options["sink"][h]))
        expected = weights / total @ (latent[b, 0] @ w_uv[h])
        np.testing.assert_allclose(library.numpy(output)[b, h], expected, **CLOSE)
    assert not library.numpy(output)[0, 1, 2].any()


@given(seed=seeds, plain=st.booleans())
def test_both_forms_are_equal_and_so_are_their_gradients(seed, plain):
    inputs = [torch.asarray(x).requires_grad_() for x in draw_inputs(seed)]
    options = {} if plain else draw_options(seed)
    options = {k: torch.asarray(v) if k != "softcap" else v for k, v in options.items()}
    found = []
    for form in (latent_attention, latent_attention_absorbed):
        output = form(*inputs, **options)
        found.append((output, *torch.autograd.grad((output**2).sum(), inputs)))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, **CLOSE)


@FORMS
def test_without_a_rotary_part_it_is_multi_head_attention_on_the_latents(library, form):
    x, w_q, w_uk, w_uv, w_o = draw(
        1,
        (BATCH, KV_LEN, D_LATENT),
        (D_LATENT, HEADS * D_NOPE),
        (D_LATENT, HEADS * D_NOPE),
        (D_LATENT, HEADS * D_V),
        (HEADS * D_V, 19),
    )
    mask = causal_mask(KV_LEN)
    expected = multi_head_attention(x, w_q, w_uk, w_uv, w_o, heads=HEADS, mask=mask)
    x, w_q, w_uk, w_uv, w_o, mask = map(library.array, (x, w_q, w_uk, w_uv, w_o, mask))
    query, latent = split_heads(x @ w_q, HEADS), x[:, None, :, :]
    inputs = query, query[..., :0], latent, latent[..., :0]
    attended = form(*inputs, split_heads(w_uk, HEADS), split_heads(w_uv, HEADS), mask=mask)
    found = library.numpy(merge_heads(attended) @ w_o)
    np.testing.assert_allclose(found, expected, **CLOSE)


D_MODEL, D_QUERY, LENGTH = 19, 5, 11
WIDTHS = (
    (BATCH, LENGTH, D_MODEL),
    (D_MODEL, D_QUERY),
    (D_QUERY, HEADS * (D_NOPE + D_ROTARY)),
    (D_MODEL, D_LATENT),
    (D_MODEL, D_ROTARY),
    (HEADS, D_LATENT, D_NOPE),
    (HEADS, D_LATENT, D_V),
)


def project(x, w_dq, w_uq, w_dkv, w_kr, position):
    """What a model does before: queries of low rank, norms, and the rotation of one part."""
    query = split_heads(rms_norm(x @ w_dq) @ w_uq, HEADS)
    latent, rotary_key = rms_norm(x @ w_dkv)[:, None, :, :], (x @ w_kr)[:, None, :, :]
    turned = (
        rotary_embedding(part, layout="interleaved", positions=position)
        for part in (query[..., D_NOPE:], rotary_key)
    )
    rotary_query, rotary_key = turned
    return query[..., :D_NOPE], rotary_query, latent, rotary_key


@FORMS
@given(
    seed=seeds,
    cuts=st.sets(st.integers(1, LENGTH - 1)).map(lambda found: [0, *sorted(found), LENGTH]),
    left=st.none() | st.integers(0, LENGTH),
)
def test_decoding_from_latents_equals_the_full_computation(library, form, seed, cuts, left):
    x, *weights, w_uk, w_uv = draw(seed, *WIDTHS)
    mask = sliding_window_mask(LENGTH, left=left)
    expected = latent_attention(*project(x, *weights, 0), w_uk, w_uv, mask=mask)
    x, *weights, w_uk, w_uv = map(library.array, (x, *weights, w_uk, w_uv))
    _, _, latent, rotary_key = project(x, *weights, 0)
    rolling = KVCache.empty(rotary_key, latent)
    static = StaticKVCache.empty(rotary_key, latent, LENGTH)
    for start, stop in pairwise(cuts):
        query, rotary_query, latent, rotary_key = project(x[:, start:stop, :], *weights, start)
        rolling, static = (cache.append(rotary_key, latent) for cache in (rolling, static))
        for cache in (rolling, static):
            output = form(
                query,
                rotary_query,
                cache.value,
                cache.key,
                w_uk,
                w_uv,
                mask=cache.mask(stop - start, left=left),
            )
            np.testing.assert_allclose(library.numpy(output), expected[:, :, start:stop], **CLOSE)
        rolling = rolling if left is None else rolling.last(left)


def test_the_cache_has_as_many_bytes_as_the_cost_says():
    _, _, latent, rotary_key, _, _ = draw_inputs(2)
    cache = KVCache.empty(rotary_key, latent).append(rotary_key, latent)
    assert cache.key.nbytes + cache.value.nbytes == BATCH * latent_cache_bytes(
        KV_LEN, layers=1, d_latent=D_LATENT, d_rotary=D_ROTARY, itemsize=8
    )


@FORMS
@given(seed=seeds, shift=st.integers(1, 50))
def test_a_shift_of_all_positions_changes_nothing_and_one_of_the_keys_does(form, seed, shift):
    x, *weights, w_uk, w_uv = draw(seed, *WIDTHS)
    mask = causal_mask(LENGTH)
    query, rotary_query, latent, rotary_key = project(x, *weights, 0)
    output = form(query, rotary_query, latent, rotary_key, w_uk, w_uv, mask=mask)
    _, later_query, _, later_key = project(x, *weights, shift)
    shifted = form(query, later_query, latent, later_key, w_uk, w_uv, mask=mask)
    np.testing.assert_allclose(shifted, output, **CLOSE)
    apart = form(query, rotary_query, latent, later_key, w_uk, w_uv, mask=mask)
    assert np.abs(apart[:, :, 1:] - output[:, :, 1:]).max() > 1e-3


def expanded(query, rotary_query, latent, rotary_key, w_uk, w_uv):
    scores = query @ (latent @ w_uk).mT + rotary_query @ rotary_key.mT
    return torch.softmax(scores / math.sqrt(D_NOPE + D_ROTARY), -1) @ (latent @ w_uv)


def absorbed(query, rotary_query, latent, rotary_key, w_uk, w_uv):
    scores = (query @ w_uk.mT) @ latent.mT + rotary_query @ rotary_key.mT
    return (torch.softmax(scores / math.sqrt(D_NOPE + D_ROTARY), -1) @ latent) @ w_uv


@pytest.mark.parametrize(
    ("form", "formula"), [(latent_attention, expanded), (latent_attention_absorbed, absorbed)]
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula_in_float32(form, formula, dtype):
    dtype = getattr(torch, dtype)
    inputs = [torch.asarray(x).to(dtype) for x in draw_inputs(3)]
    exact = formula(*(x.double() for x in inputs))
    plain_error = (formula(*(x.float() for x in inputs)).to(dtype).double() - exact).abs().max()
    output = form(*inputs)
    assert output.dtype == dtype
    assert (output.double() - exact).abs().max() <= 2 * plain_error


@FORMS
@given(bad=st.sampled_from([np.nan, np.inf]), which=st.sampled_from([2, 3]), seed=seeds)
def test_garbage_that_is_masked_changes_no_bit_and_no_gradient(form, bad, which, seed):
    inputs = draw_inputs(seed)
    mask = torch.asarray(np.arange(KV_LEN) != 4)
    found = []
    for filler in (0.0, bad):
        inputs[which][:, 0, 4, 1] = filler
        tensors = [torch.asarray(x.copy()).requires_grad_() for x in inputs]
        output = form(*tensors, mask=mask)
        found.append((output, *torch.autograd.grad((output**2).sum(), tensors)))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert torch.isnan(form(*tensors)).all()


@FORMS
def test_garbage_in_one_head_or_query_stays_there(library, form):
    inputs = draw_inputs(4)
    whole = form(*inputs)
    inputs[0][0, 1, 2, 3] = np.nan
    inputs[4][2, 5, 7] = np.inf
    inputs[5][0, 3, 1] = np.nan
    output = library.numpy(form(*map(library.array, inputs)))
    bad = np.zeros(output.shape, dtype=bool)
    bad[0, 1, 2], bad[:, 2], bad[:, 0, :, 1] = True, True, True
    np.testing.assert_array_equal(np.isnan(output), bad)
    np.testing.assert_allclose(output[~bad], whole[~bad], **CLOSE)


@FORMS
def test_no_batch_axes_and_several(library, form):
    inputs = draw_inputs(5)
    whole = form(*inputs)
    one = form(*(library.array(x[0] if x.ndim == 4 else x) for x in inputs))
    np.testing.assert_allclose(library.numpy(one), whole[0], **CLOSE)
    more = form(*(library.array(x[:, None] if x.ndim == 4 else x) for x in inputs))
    np.testing.assert_allclose(library.numpy(more)[:, 0], whole, **CLOSE)


@FORMS
def test_no_key_gives_zeros_and_no_query_nothing(library, form):
    query, rotary_query, latent, rotary_key, *weights = map(library.array, draw_inputs(6))
    no_key = latent[..., :0, :], rotary_key[..., :0, :]
    nothing = library.numpy(form(query, rotary_query, *no_key, *weights))
    assert nothing.shape == (BATCH, HEADS, Q_LEN, D_V)
    assert not nothing.any()
    no_query = query[..., :0, :], rotary_query[..., :0, :]
    assert form(*no_query, latent, rotary_key, *weights).shape == (BATCH, HEADS, 0, D_V)


@FORMS
def test_the_scale_is_of_the_expanded_sizes_unless_given(form):
    inputs = draw_inputs(7)
    scale = 1 / math.sqrt(D_NOPE + D_ROTARY)
    np.testing.assert_array_equal(form(*inputs, scale=scale), form(*inputs))
    flat = np.broadcast_to((inputs[2] @ inputs[5]).mean(-2, keepdims=True), form(*inputs).shape)
    np.testing.assert_allclose(form(*inputs, scale=0.0), flat, **CLOSE)


@FORMS
def test_one_feature_that_does_not_turn_is_enough(form):
    rng = np.random.default_rng(0)
    query, latent = rng.standard_normal((3, 5, 1)), rng.standard_normal((1, 7, 2))
    rotary_query, rotary_key = np.zeros((3, 5, 4)), np.zeros((1, 7, 4))
    w_uk, w_uv = rng.standard_normal((3, 2, 1)), rng.standard_normal((3, 2, 11))
    found = form(query, rotary_query, latent, rotary_key, w_uk, w_uv, scale=0.3)
    expected = scaled_dot_product_attention(query, latent @ w_uk, latent @ w_uv, scale=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


X = [np.zeros(shape) for shape in SHAPES]
NAMES = ("query", "rotary_query", "latent", "rotary_key", "w_uk", "w_uv")


@pytest.mark.no_shape_checks
@FORMS
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"query": [1.0]},
            TypeError,
            "query must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            {"query": X[0].astype(int)},
            TypeError,
            "query must have a real floating dtype, got int64",
        ),
        (
            {"latent": X[2].astype(np.float32)},
            TypeError,
            "latent must have the dtype of query (float64), got float32",
        ),
        (
            {"w_uv": torch.asarray(X[5])},
            TypeError,
            "w_uv must be an array of the library of query (numpy), got torch",
        ),
        (
            {"query": X[0][0, 0]},
            ValueError,
            "query must have shape (..., heads, q_len, d_nope) with d_nope of at least 1, "
            "got (5, 11)",
        ),
        (
            {"query": X[0][..., :0]},
            ValueError,
            "query must have shape (..., heads, q_len, d_nope) with d_nope of at least 1, "
            "got (2, 3, 5, 0)",
        ),
        (
            {"rotary_query": X[1][:, :1]},
            ValueError,
            "rotary_query must have shape (2, heads=3, q_len=5, d_rotary), got (2, 1, 5, 4)",
        ),
        (
            {"latent": X[2][:, 0]},
            ValueError,
            "latent must have shape (2, 1, kv_len, d_latent), got (2, 7, 13)",
        ),
        (
            {"latent": X[2].repeat(3, axis=1)},
            ValueError,
            "latent must have shape (2, 1, kv_len, d_latent), got (2, 3, 7, 13)",
        ),
        (
            {"rotary_key": X[3][:, :, :6]},
            ValueError,
            "rotary_key must have shape (2, 1, kv_len=7, d_rotary=4), got (2, 1, 6, 4)",
        ),
        (
            {"w_uk": X[4].swapaxes(-1, -2)},
            ValueError,
            "w_uk must have shape (heads=3, d_latent=13, d_nope=11), got (3, 11, 13)",
        ),
        (
            {"w_uv": X[5][0]},
            ValueError,
            "w_uv must have shape (heads=3, d_latent=13, d_v), got (13, 17)",
        ),
        (
            {"w_uv": X[5][:2]},
            ValueError,
            "w_uv must have shape (heads=3, d_latent=13, d_v), got (2, 13, 17)",
        ),
        (
            {"mask": np.zeros((BATCH, Q_LEN, KV_LEN), dtype=bool)},
            ValueError,
            "mask must have shape that broadcasts to (*batch, q_len, kv_len) = (2, 3, 5, 7), "
            "got (2, 5, 7)",
        ),
        (
            {"scale": "1"},
            TypeError,
            "scale must be a finite number, got str",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(form, change, error, message):
    with pytest.raises(error) as raised:
        form(**{**dict(zip(NAMES, X, strict=True)), **change})
    assert str(raised.value) == message
