"""The adapters without the libraries: their edges by hand, on every array library, and the docs."""

import doctest
import importlib
import importlib.metadata
import inspect
import logging
import math
import re
import sys
import warnings
from pathlib import Path

import array_api_compat
import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_ref import interop
from attention_ref.interop import _conventions
from attention_ref.interop.__main__ import LIBRARIES, tables, updated
from attention_ref.interop._conventions import (
    _LIBRARIES,
    DOCUMENTED,
    MISSING,
    NONE,
    QUESTIONS,
    RUN,
    Answer,
    _answer,
    _ask,
)

BATCH, HEADS, KV_HEADS, Q_LEN, KV_LEN, D = 2, 6, 3, 5, 7, 11
PAGE = Path(__file__).parents[1] / "docs/reference/conventions.md"
NEGATIVE = -1e30  # what adding it to a score leaves of the score: nothing
LENGTH_FIRST = {"jax", "keras", "flash_attn"}


def draw(seed, *shape):
    return 2 * np.random.default_rng(seed).standard_normal(shape)


def draw_inputs(kv_heads=KV_HEADS):
    return (
        draw(1, BATCH, HEADS, Q_LEN, D),
        draw(2, BATCH, kv_heads, KV_LEN, D),
        draw(3, BATCH, kv_heads, KV_LEN, D),
    )


def by_hand(query, key, value, added=0.0, sink=None, softcap=None):
    """Average in plain NumPy: the heads repeated, everything added to the scores."""
    group = query.shape[1] // key.shape[1]
    key, value = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    scores = scores if softcap is None else softcap * np.tanh(scores / softcap)
    scores = scores + added
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    total = powers.sum(-1, keepdims=True)
    if sink is not None:
        total = total + np.exp(sink[:, None, None] - scores.max(-1, keepdims=True))
    return powers / total @ value


def call(library, name, arrays, **options):
    """Call an adapter in its own layout, and return its output with the heads first."""

    def given(x):
        return library.array(x) if isinstance(x, np.ndarray) else x

    adapter = interop.ADAPTERS[name]
    if name in LENGTH_FIRST:
        arrays = [x.swapaxes(1, 2) for x in arrays]
    if name == "torch_mha":
        arrays = [x.swapaxes(1, 2).reshape(BATCH, x.shape[2], -1) for x in arrays]
        options["num_heads"] = HEADS
    if name in {"torch", "flex"}:
        options["enable_gqa"] = True
    if name == "mlx":
        options = {"scale": D**-0.5} | options
    if name == "transformers":
        options = {"attention_mask": None, "scaling": D**-0.5} | options
    output = adapter(*map(given, arrays), **{k: given(x) for k, x in options.items()})
    output = library.numpy(output[0] if isinstance(output, tuple) else output)
    if name == "torch_mha":
        output = output.reshape(BATCH, Q_LEN, HEADS, -1)
    heads_last = LENGTH_FIRST | {"torch_mha", "transformers"}
    return output.swapaxes(1, 2) if name in heads_last else output


def kv_heads_of(name):
    return HEADS if name == "torch_mha" else KV_HEADS


@pytest.mark.parametrize("name", interop.ADAPTERS)
def test_without_options_all_give_the_same(library, name):
    arrays = draw_inputs(kv_heads_of(name))
    np.testing.assert_allclose(call(library, name, arrays), by_hand(*arrays), rtol=1e-12)


def corner(first):
    return np.where(np.arange(KV_LEN) <= np.arange(Q_LEN)[:, None] + first, 0.0, NEGATIVE)


@pytest.mark.parametrize(
    ("name", "options", "first"),
    [
        ("torch", {"is_causal": True}, 0),
        ("jax", {"is_causal": True}, 0),
        ("keras", {"is_causal": True}, 0),
        ("onnx", {"is_causal": 1}, 0),
        ("onnx", {"is_causal": 1, "nonpad_kv_seqlen": np.array([KV_LEN] * 2)}, KV_LEN - Q_LEN),
        ("mlx", {"mask": "causal"}, KV_LEN - Q_LEN),
        ("flash_attn", {"causal": True}, KV_LEN - Q_LEN),
    ],
)
def test_where_causal_begins(library, name, options, first):
    arrays = draw_inputs()
    expected = by_hand(*arrays, corner(first))
    np.testing.assert_allclose(call(library, name, arrays, **options), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "left", "right", "first"),
    [
        ("jax", {"local_window_size": 2}, 2, 2, 0),
        ("jax", {"local_window_size": (3, 1)}, 3, 1, 0),
        ("onnx", {"left_window_size": 1}, 1, KV_LEN, 0),
        ("onnx", {"right_window_size": 0}, KV_LEN, 0, 0),
        ("flash_attn", {"window_size": (2, 1)}, 2, 1, KV_LEN - Q_LEN),
        ("flash_attn", {"window_size": (-1, 1)}, KV_LEN, 1, KV_LEN - Q_LEN),
    ],
)
def test_what_a_window_is(library, name, options, left, right, first):
    arrays = draw_inputs()
    ahead = np.arange(KV_LEN) - np.arange(Q_LEN)[:, None] - first
    added = np.where((ahead >= -left) & (ahead <= right), 0.0, NEGATIVE)
    expected = by_hand(*arrays, added)
    np.testing.assert_allclose(call(library, name, arrays, **options), expected, rtol=1e-12)


def as_flash_attention(q, k, v, scale, causal, window, softcap, slopes):
    """Say again, one score at a time, what FlashAttention's own tests take for right.

    That is `attention_ref` and `construct_local_mask` of its repository's hopper/test_util.py at
    c082294; for ALiBi, which has another form where it is causal, csrc/flash_attn/src/mask.h at
    04da83f. A window of -1 on one side alone is open there, as csrc/flash_attn/flash_api.cpp has
    it at 00979f5; `construct_local_mask` was never asked for one on the right.
    """
    batch, q_len, heads, width = q.shape
    kv_len, group = k.shape[1], heads // k.shape[2]
    left, right = window
    right = 0 if causal else right
    output = np.zeros(q.shape)
    for b, h, i in np.ndindex(batch, heads, q_len):
        place, powers = i + kv_len - q_len, {}
        for j in range(kv_len):
            if 0 <= left < place - j or 0 <= right < j - place:
                continue
            products = zip(q[b, i, h].tolist(), k[b, j, h // group].tolist(), strict=True)
            score = math.fsum(x * y for x, y in products) * (scale or 1 / math.sqrt(width))
            score = softcap * math.tanh(score / softcap) if softcap else score
            if slopes is not None:
                slope = slopes[h] if slopes.ndim == 1 else slopes[b, h]
                score += slope * (j if causal else -abs(place - j))
            powers[j] = math.exp(score)
        for j, power in powers.items():  # none for a query that sees no key, which keeps its zeros
            output[b, i, h] += power / math.fsum(powers.values()) * v[b, j, h // group]
    return output


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.sampled_from([(5, 7), (7, 3), (1, 5), (5, 5), (3, 1)]),
    kv_heads=st.sampled_from([1, 3]),
    scale=st.sampled_from([None, 0.3]),
    causal=st.booleans(),
    sides=st.tuples(st.integers(-1, 6), st.integers(-1, 6)),
    softcap=st.sampled_from([0.0, 1.5]),
    slopes=st.sampled_from([None, (3,), (2, 3)]),
)
def test_flash_attention_is_what_its_own_tests_compare_it_with(
    library, seed, lengths, kv_heads, scale, causal, sides, softcap, slopes
):
    q_len, kv_len = lengths
    q, k = draw(seed, 2, q_len, 3, D), draw(seed + 1, 2, kv_len, kv_heads, D)
    v = draw(seed + 2, 2, kv_len, kv_heads, D)
    slopes = None if slopes is None else np.abs(draw(seed + 3, *slopes))
    expected = as_flash_attention(q, k, v, scale, causal, sides, softcap, slopes)
    found = interop.flash_attn.flash_attn_func(
        *map(library.array, (q, k, v)),
        softmax_scale=scale,
        causal=causal,
        window_size=sides,
        softcap=softcap,
        alibi_slopes=None if slopes is None else library.array(slopes),
    )
    np.testing.assert_allclose(library.numpy(found), expected, rtol=1e-10, atol=1e-12)


MASK = np.random.default_rng(4).random((Q_LEN, KV_LEN)) < 0.5
MASK[:, 0] = True
MASK[2] = False
ADDED = np.where(MASK, 0.0, NEGATIVE)
SEEN = np.arange(Q_LEN) != 2


def masked(name, hidden=MASK):
    """Return the options that hide in the convention's own form."""
    four = hidden[None, None]
    number = np.where(hidden, 0.0, float(np.finfo(np.float64).min))
    return {
        "torch": {"attn_mask": hidden},
        "torch_mha": {"attn_mask": ~hidden},
        "jax": {"mask": four},
        "keras": {"mask": four},
        "onnx": {"attn_mask": hidden},
        "mlx": {"mask": hidden},
        "transformers": {"attention_mask": number},
    }[name]


MASKED = ["torch", "torch_mha", "jax", "keras", "onnx", "mlx", "transformers"]


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_and_a_query_that_may_see_nothing(library, name):
    arrays = draw_inputs(kv_heads_of(name))
    found = call(library, name, arrays, **masked(name))
    expected = by_hand(*arrays, ADDED)
    np.testing.assert_allclose(found[:, :, SEEN], expected[:, :, SEEN], rtol=1e-12)
    group = HEADS // kv_heads_of(name)
    mean = np.repeat(arrays[2], group, axis=1).mean(axis=2)
    nothing = {"torch": 0.0, "onnx": 0.0, "torch_mha": np.nan}.get(name, mean)
    nothing = np.broadcast_to(nothing, mean.shape)
    np.testing.assert_allclose(found[:, :, 2], nothing, rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", [name for name in MASKED if name != "transformers"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_hidden_changes_nothing_where_the_library_may_give_nan(library, name, bad):
    arrays = draw_inputs(kv_heads_of(name))
    mask = MASK.copy()
    mask[:, -1] = False
    clean = call(library, name, arrays, **masked(name, mask))
    for spoilt in arrays[1:]:
        spoilt[:, :, -1] = bad
    found = call(library, name, arrays, **masked(name, mask))
    np.testing.assert_array_equal(found[:, :, SEEN], clean[:, :, SEEN])


@pytest.mark.parametrize("name", ["onnx", "flash_attn", "transformers"])
def test_the_cap_comes_before_what_is_added(library, name):
    arrays = draw_inputs()
    slopes = np.abs(draw(5, HEADS))
    distance = np.abs(np.arange(KV_LEN) - np.arange(Q_LEN)[:, None] - (KV_LEN - Q_LEN))
    added = -slopes[:, None, None] * distance
    term = {"onnx": "attn_mask", "flash_attn": "alibi_slopes", "transformers": "attention_mask"}
    options = {term[name]: slopes if name == "flash_attn" else added, "softcap": 3.0}
    expected = by_hand(*arrays, added, softcap=3.0)
    np.testing.assert_allclose(call(library, name, arrays, **options), expected, rtol=1e-12)


@pytest.mark.parametrize(("name", "term"), [("mlx", "sinks"), ("transformers", "s_aux")])
def test_a_sink(library, name, term):
    arrays, sink = draw_inputs(), draw(6, HEADS)
    expected = by_hand(*arrays, sink=sink)
    np.testing.assert_allclose(call(library, name, arrays, **{term: sink}), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["jax", "keras"])
def test_a_boolean_bias_is_added_as_0_and_1(library, name):
    arrays = draw_inputs()
    expected = by_hand(*arrays, MASK.astype(float))
    found = call(library, name, arrays, bias=MASK[None, None])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_functions_of_flex_see_scores_and_indices(library):
    arrays = draw_inputs()
    slopes = library.array(np.abs(draw(5, HEADS)))
    xp = array_api_compat.array_namespace(slopes)

    def score_mod(score, b, h, q_idx, kv_idx):
        distance = xp.astype((q_idx - kv_idx) * b, score.dtype)
        return score - xp.reshape(slopes, h.shape) * distance

    def mask_mod(b, h, q_idx, kv_idx):
        return (kv_idx <= q_idx + h) & (q_idx != 3)

    b, h, q, k = np.ogrid[:BATCH, :HEADS, :Q_LEN, :KV_LEN]
    added = -library.numpy(slopes)[h] * (q - k) * b + np.where(k <= q + h, 0.0, NEGATIVE)
    expected = by_hand(*arrays, added)
    expected[:, :, 3] = 0
    found = call(library, "flex", arrays, score_mod=score_mod, block_mask=mask_mod)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


SCALES = {
    "torch": "scale",
    "flex": "scale",
    "jax": "scale",
    "onnx": "scale",
    "keras": "scale",
    "mlx": "scale",
    "flash_attn": "softmax_scale",
    "transformers": "scaling",
}


@pytest.mark.parametrize("name", SCALES)
def test_the_scale_that_is_given_counts(library, name):
    query, key, value = draw_inputs()
    found = call(library, name, (query, key, value), **{SCALES[name]: 0.3 * D**-0.5})
    np.testing.assert_allclose(found, by_hand(0.3 * query, key, value), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "term", "sink"),
    [
        ("jax", "bias", None),
        ("keras", "bias", None),
        ("mlx", "mask", "sinks"),
        ("transformers", "attention_mask", "s_aux"),
    ],
)
def test_a_query_whose_scores_are_all_minus_infinity(library, name, term, sink):
    """Its weights are the softmax of nothing, unless a sink takes them all."""
    arrays, numbers = draw_inputs(), np.where(MASK, 0.0, -np.inf)
    numbers = numbers[None, None] if name in LENGTH_FIRST else numbers
    found = call(library, name, arrays, **{term: numbers})
    expected = by_hand(*arrays, ADDED)
    np.testing.assert_allclose(found[:, :, SEEN], expected[:, :, SEEN], rtol=1e-12)
    assert np.isnan(found[:, :, 2]).all()
    if sink is not None:
        found = call(library, name, arrays, **{term: numbers, sink: draw(6, HEADS)})
        with np.errstate(over="ignore", invalid="ignore"):  # in the row that sees nothing
            expected = by_hand(*arrays, ADDED, draw(6, HEADS))
        np.testing.assert_allclose(found[:, :, SEEN], expected[:, :, SEEN], rtol=1e-12)
        assert (found[:, :, 2] == 0).all()


def by_hand_weights(query, key, added=0.0):
    every = np.broadcast_to(np.eye(key.shape[2]), (*key.shape[:3], key.shape[2]))
    return by_hand(query, key, every, added)


def test_weights_of_transformers(library):
    query, key, value = draw_inputs()
    mask = np.where(MASK, 0.0, -np.inf)
    _, weights = interop.transformers.eager_attention_forward(
        *map(library.array, (query, key, value)), library.array(mask), D**-0.5
    )
    expected = by_hand_weights(query, key, ADDED)
    expected[:, :, 2] = np.nan
    np.testing.assert_allclose(library.numpy(weights), expected, rtol=1e-12, atol=1e-15)


def test_lengths_and_the_log_sum_exp_of_jax(library):
    arrays = draw_inputs()
    q_lens, kv_lens = np.array([2, Q_LEN]), np.array([KV_LEN, 3])
    real = np.arange(Q_LEN) < q_lens[:, None]
    seen = np.arange(KV_LEN) < kv_lens[:, None]
    added = np.where(seen, 0.0, NEGATIVE)[:, None, None]
    expected = np.where(real[:, None, :, None], by_hand(*arrays, added), 0.0)
    options = {"query_seq_lengths": q_lens, "key_value_seq_lengths": kv_lens}
    found = call(library, "jax", arrays, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    output, residual = interop.jax.dot_product_attention(
        *(library.array(x.swapaxes(1, 2)) for x in arrays),
        key_value_seq_lengths=library.array(kv_lens),
        return_residual=True,
    )
    key = np.repeat(arrays[1], HEADS // KV_HEADS, axis=1)
    scores = arrays[0] @ key.swapaxes(-1, -2) / np.sqrt(D) + added
    sums = np.log(np.exp(scores).sum(-1)).swapaxes(1, 2)
    np.testing.assert_allclose(library.numpy(residual), sums, rtol=1e-12)
    np.testing.assert_allclose(library.numpy(output).swapaxes(1, 2), by_hand(*arrays, added))


def test_a_query_beyond_its_length_has_seen_nothing_in_jax(library):
    _, residual = interop.jax.dot_product_attention(
        *(library.array(x.swapaxes(1, 2)) for x in draw_inputs()),
        query_seq_lengths=library.array(np.array([2, Q_LEN])),
        return_residual=True,
    )
    residual = library.numpy(residual)
    nothing = -0.7 * float(np.finfo(np.float32).max)
    np.testing.assert_allclose(residual[0, 2:], nothing, rtol=1e-6)
    assert (np.abs(residual[0, :2]) < 100).all()
    assert (np.abs(residual[1]) < 100).all()


@pytest.mark.parametrize(
    ("dtype", "term", "operand", "expected"),
    [
        (np.float32, "mask", False, -0.7 * np.finfo(np.float32).max),
        (np.float16, "mask", False, -np.inf),
        (np.float16, "bias", np.finfo(np.float16).min, np.finfo(np.float16).min),
    ],
)
def test_the_log_sum_exp_that_jax_gives_where_nothing_is_seen(dtype, term, operand, expected):
    zero = np.zeros((1, 1, 1, 1), dtype)
    operand = np.full((1, 1, 1, 1), operand, dtype if term == "bias" else bool)
    _, residual = interop.jax.dot_product_attention(
        zero, zero, zero, **{term: operand}, return_residual=True
    )
    assert residual.dtype == dtype
    np.testing.assert_allclose(residual, [[[expected]]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_a_mask_and_a_bias_that_together_hide_all(dtype):
    """JAX writes its number over what the mask hides alone, and then that is all there is."""
    zero, value = np.zeros((1, 1, 1, 1), dtype), np.array([[[[1]], [[2]], [[4]]]], dtype)
    mask = np.array([[[[True, False, False]]]])
    bias = np.array([[[[-np.inf, 5, 7]]]], dtype)
    found = interop.jax.dot_product_attention(zero, 0 * value, value, bias, mask)
    assert found.dtype == dtype
    assert found.ravel() == [3.0]


HIDDEN_KEYS = np.arange(KV_LEN) >= np.array([[4], [KV_LEN]])
HIDDEN_SCORES = ~np.broadcast_to(MASK | (np.arange(Q_LEN) == 2)[:, None], (Q_LEN, KV_LEN))
PER_HEAD = draw(7, BATCH, HEADS, Q_LEN, KV_LEN)
HINTED = {"attn_mask": HIDDEN_SCORES, "is_causal": True}
ONE_HIDDEN = np.arange(KV_LEN) == 5
# What the masks of nn.MultiheadAttention add to the scores.
MULTI_HEAD = [
    (
        {"key_padding_mask": HIDDEN_KEYS},
        np.where(HIDDEN_KEYS, NEGATIVE, 0.0)[:, None, None],
    ),
    (
        {"key_padding_mask": PER_HEAD[:, 0, 0]},
        PER_HEAD[:, :1, :1],
    ),
    (
        {"attn_mask": PER_HEAD[0, 0]},
        PER_HEAD[0, 0],
    ),
    (
        {"attn_mask": PER_HEAD.reshape(-1, Q_LEN, KV_LEN)},
        PER_HEAD,
    ),
    (
        {"attn_mask": PER_HEAD[0, 0], "key_padding_mask": PER_HEAD[:, 0, 0]},
        PER_HEAD[0, 0] + PER_HEAD[:, :1, :1],
    ),
    (
        {"attn_mask": HIDDEN_SCORES, "key_padding_mask": ONE_HIDDEN[None].repeat(BATCH, 0)},
        np.where(HIDDEN_SCORES | ONE_HIDDEN, NEGATIVE, 0.0),
    ),
    (
        {"attn_mask": HIDDEN_SCORES, "key_padding_mask": PER_HEAD[:, 0, 0]},
        np.where(HIDDEN_SCORES, NEGATIVE, PER_HEAD[:, :1, :1]),
    ),
]


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(("options", "added"), MULTI_HEAD)
def test_masks_of_multi_head_attention(library, options, added, need_weights):
    arrays = draw_inputs(HEADS)
    found = call(library, "torch_mha", arrays, need_weights=need_weights, **options)
    np.testing.assert_allclose(found, by_hand(*arrays, added), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "causal"),
    [
        ({"need_weights": False}, True),
        ({"need_weights": True}, False),
        ({"need_weights": False, "key_padding_mask": HIDDEN_KEYS & False}, False),
    ],
)
def test_where_pytorch_takes_a_hint_for_the_mask(library, options, causal):
    arrays = draw_inputs(HEADS)
    added = corner(0) if causal else np.where(HIDDEN_SCORES, NEGATIVE, 0.0)
    found = call(library, "torch_mha", arrays, **HINTED, **options)
    np.testing.assert_allclose(found, by_hand(*arrays, added), rtol=1e-12)


@pytest.mark.parametrize("average", [True, False])
def test_weights_of_multi_head_attention(library, average):
    arrays = draw_inputs(HEADS)
    merged = [library.array(x.swapaxes(1, 2).reshape(BATCH, x.shape[2], -1)) for x in arrays]
    multi_head_attention = interop.torch.multi_head_attention
    _, weights = multi_head_attention(*merged, average_attn_weights=average, num_heads=HEADS)
    expected = by_hand_weights(*arrays[:2])
    expected = expected.mean(axis=1) if average else expected
    np.testing.assert_allclose(library.numpy(weights), expected, rtol=1e-12)
    output, nothing = multi_head_attention(*merged, need_weights=False, num_heads=HEADS)
    assert nothing is None
    assert output.shape == (BATCH, Q_LEN, HEADS * D)


def test_the_axes_of_the_batch_are_stretched_by_pytorch(library):
    query, key, value = draw(1, 2, 1, Q_LEN, D), draw(2, 1, 3, KV_LEN, D), draw(3, 3, KV_LEN, D)
    found = interop.torch.scaled_dot_product_attention(
        *map(library.array, (query, key, value)), library.array(ADDED)
    )
    query, key, value = (np.broadcast_to(x, (2, 3, *x.shape[-2:])) for x in (query, key, value))
    expected = by_hand(query, key, value, ADDED)
    np.testing.assert_allclose(library.numpy(found)[..., SEEN, :], expected[..., SEEN, :])
    with pytest.raises(ValueError, match="shape"):
        interop.torch.scaled_dot_product_attention(*draw_inputs())


def test_flex_gives_the_log_sum_exp(library):
    arrays, added = draw_inputs(), np.where(MASK, 0.0, -np.inf)
    seen, numbers = library.array(MASK), library.array(added)
    xp = array_api_compat.array_namespace(seen)
    key = np.repeat(arrays[1], HEADS // KV_HEADS, axis=1)
    with np.errstate(divide="ignore"):
        sums = np.exp(arrays[0] @ key.swapaxes(-1, -2) / np.sqrt(D) + added).sum(-1)
        sums = np.log(sums)
    for options in (
        {"block_mask": lambda b, h, q, k: xp.reshape(seen, (1, 1, Q_LEN, KV_LEN))},
        {"score_mod": lambda score, b, h, q, k: score + numbers},
    ):
        output, found = interop.torch.flex_attention(
            *map(library.array, arrays), **options, enable_gqa=True, return_lse=True
        )
        np.testing.assert_allclose(library.numpy(found), sums, rtol=1e-12)
        assert (library.numpy(output)[:, :, 2] == 0).all()


def test_an_adapter_stays_on_the_device():
    device = array_api_strict.Device("device1")
    x, mask = (
        array_api_strict.asarray(one, device=device)
        for one in (np.zeros((2, 3, 5, 7)), np.zeros((5, 5), dtype=bool))
    )
    output, _ = interop.torch.multi_head_attention(x[0, ...], x[0, ...], x[0, ...], num_heads=1)
    assert output.device == device
    hidden, _ = interop.torch.multi_head_attention(
        *[x[0, ...]] * 3, attn_mask=mask, is_causal=True, need_weights=False, num_heads=1
    )
    assert hidden.device == device
    flex = interop.torch.flex_attention(x, x, x, block_mask=lambda b, h, q, k: q >= k)
    assert flex.device == device


def packed(x):
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def test_onnx_takes_heads_that_are_packed(library):
    arrays = draw_inputs()
    found = interop.onnx.attention(
        *(library.array(packed(x)) for x in arrays), q_num_heads=HEADS, kv_num_heads=KV_HEADS
    )
    np.testing.assert_allclose(library.numpy(found.Y), packed(by_hand(*arrays)), rtol=1e-12)
    assert found.present_key.shape == (BATCH, KV_HEADS, KV_LEN, D)


def test_onnx_keeps_what_came_before(library):
    query, key, value = draw_inputs()
    past = draw(8, BATCH, KV_HEADS, 3, D), draw(9, BATCH, KV_HEADS, 3, D)
    found = interop.onnx.attention(
        *map(library.array, (query, key, value)), None, *map(library.array, past), is_causal=1
    )
    keys, values = np.concatenate([past[0], key], 2), np.concatenate([past[1], value], 2)
    np.testing.assert_array_equal(library.numpy(found.present_key), keys)
    np.testing.assert_array_equal(library.numpy(found.present_value), values)
    added = np.where(np.arange(10) <= np.arange(Q_LEN)[:, None] + 3, 0.0, NEGATIVE)
    np.testing.assert_allclose(library.numpy(found.Y), by_hand(query, keys, values, added))


@pytest.mark.parametrize("operand", [HIDDEN_SCORES[:, :5], ADDED[:, :4], PER_HEAD[..., :4]])
def test_onnx_hides_what_a_mask_falls_short_of(library, operand):
    arrays = draw_inputs()
    boolean = operand.dtype == bool
    given = ~operand if boolean else np.where(operand == NEGATIVE, -5.0, operand)
    added = np.full((*operand.shape[:-1], KV_LEN), NEGATIVE)
    added[..., : operand.shape[-1]] = np.where(operand, NEGATIVE, 0.0) if boolean else given
    found = call(library, "onnx", arrays, attn_mask=given)
    np.testing.assert_allclose(found, by_hand(*arrays, added), rtol=1e-12)


def test_a_mask_falls_short_of_the_keys_beside_more_queries_too(library):
    arrays = draw(1, BATCH, HEADS, 9, D), *draw_inputs()[1:]
    mask = draw(4, 9, 5)
    added = np.concatenate([mask, np.full((9, 2), NEGATIVE)], axis=1)
    found = call(library, "onnx", arrays, attn_mask=mask)
    np.testing.assert_allclose(found, by_hand(*arrays, added), rtol=1e-12)


def test_onnx_hides_what_a_cache_has_no_keys_for(library):
    arrays, lengths = draw_inputs(), np.array([3, 6])
    added = np.where(np.arange(KV_LEN) < lengths[:, None], 0.0, NEGATIVE)[:, None, None]
    found = call(library, "onnx", arrays, nonpad_kv_seqlen=lengths)
    np.testing.assert_allclose(found, by_hand(*arrays, added), rtol=1e-12)


def test_onnx_returns_the_scores_unless_it_is_asked_for_more():
    query, key, value = draw_inputs(HEADS)
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(D)
    found = interop.onnx.attention(query, key, value, softcap=2.0, attn_mask=ADDED)
    np.testing.assert_allclose(found.qk_matmul_output, scores, rtol=1e-12)


@pytest.mark.parametrize("number", [11, 1, None])
def test_onnx_computes_in_the_type_that_is_asked_for(number):
    """Scores near a thousand: rounded in float32, they are far off by their exponential."""
    query, key, value = (x.astype(np.float32) for x in draw_inputs())
    found = interop.onnx.attention(30 * query, 10 * key, value, softmax_precision=number)
    exact = by_hand(*(x.astype(float) for x in (30 * query, 10 * key, value)))
    assert found.Y.dtype == np.float32
    rounded_once = np.abs(found.Y - exact) <= np.finfo(np.float32).eps * np.abs(exact)
    assert rounded_once.all() == (number == 11)


@pytest.mark.parametrize("name", interop.ADAPTERS)
def test_half_stays_half(name):
    arrays = [x.astype(np.float16) for x in draw_inputs(kv_heads_of(name))]
    layout = [x.swapaxes(1, 2) for x in arrays] if name in LENGTH_FIRST else arrays
    if name == "torch_mha":
        layout = [x.swapaxes(1, 2).reshape(BATCH, x.shape[2], -1) for x in arrays]
    extra = {
        "torch": {"enable_gqa": True},
        "flex": {"enable_gqa": True},
        "torch_mha": {"num_heads": HEADS},
        "mlx": {"scale": 1.0},
        "transformers": {"attention_mask": None, "scaling": 1.0},
    }
    output = interop.ADAPTERS[name](*layout, **extra.get(name, {}))
    assert (output[0] if isinstance(output, tuple) else output).dtype == np.float16


X = np.zeros((2, 2, 3, 4))


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("attempt", "line"),
    [
        (
            lambda: interop.torch.scaled_dot_product_attention(X, X, X, MASK, is_causal=True),
            "attn_mask must be None beside is_causal=True, as in PyTorch's "
            "scaled_dot_product_attention, got both",
        ),
        (
            lambda: interop.torch.scaled_dot_product_attention(X, X, X, None, 0.5),
            "dropout_p must be 0, as no other answer is drawn, got 0.5",
        ),
        (
            lambda: interop.torch.multi_head_attention(*[X[0]] * 3, is_causal=True, num_heads=2),
            "attn_mask must be given beside is_causal=True, as in PyTorch's MultiheadAttention, "
            "got None",
        ),
        (
            lambda: interop.torch.flex_attention(X, X[:, :1], X[:, :1]),
            "key must have heads=2 unless enable_gqa=True, as in PyTorch's flex_attention, got 1",
        ),
        (
            lambda: interop.jax.dot_product_attention(X, X, X[..., :3]),
            "value must have the shape of key, (2, 2, 3, 4), as in JAX's dot_product_attention, "
            "got (2, 2, 3, 3)",
        ),
        (
            lambda: interop.jax.dot_product_attention(X, X, X, implementation="cudnn"),
            "implementation must be None or xla, as in JAX's dot_product_attention, got cudnn",
        ),
        (
            lambda: interop.keras.dot_product_attention(X, X, X, attn_logits_soft_cap=2.0),
            "attn_logits_soft_cap must be None, as in Keras' dot_product_attention on a CPU, "
            "got 2.0",
        ),
        (
            lambda: interop.mlx.scaled_dot_product_attention(X, X, X, scale=1.0, mask="window"),
            'mask must be "causal" or an array, as in MLX\'s scaled_dot_product_attention, '
            "got window",
        ),
        (
            lambda: interop.onnx.attention(X[0], X[0], X[0]),
            "q_num_heads and kv_num_heads must be given for inputs of three axes, as in ONNX's "
            "Attention, got (None, None)",
        ),
        (
            lambda: interop.keras.dot_product_attention(X, X, X, flash_attention=True),
            "flash_attention must not be True, as in Keras' dot_product_attention on a CPU, "
            "got True",
        ),
        (
            lambda: interop.flash_attn.flash_attn_func(X, X, X, 0.1),
            "dropout_p must be 0, as no other answer is drawn, got 0.1",
        ),
        (
            lambda: interop.transformers.eager_attention_forward(X, X, X, None, 1.0, 0.1),
            "dropout must be 0, as no other answer is drawn, got 0.1",
        ),
        (
            lambda: interop.onnx.attention(X, X, X, q_num_heads=2, kv_num_heads=2),
            "q_num_heads and kv_num_heads must be None for inputs of four axes, as in ONNX's "
            "Attention, got (2, 2)",
        ),
        (
            lambda: interop.onnx.attention(X[0], X[0], X[0], q_num_heads=2),
            "q_num_heads and kv_num_heads must be given for inputs of three axes, as in ONNX's "
            "Attention, got (2, None)",
        ),
        (
            lambda: interop.onnx.attention(X, X, X, past_value=X),
            "past_key and past_value must be given together, as in ONNX's Attention, got one",
        ),
        (
            lambda: interop.onnx.attention(
                X, X, X, past_key=X, past_value=X, nonpad_kv_seqlen=np.array([3, 3])
            ),
            "nonpad_kv_seqlen must be None beside past_key, as in ONNX's Attention, got both",
        ),
        (
            lambda: interop.onnx.attention(X, X, X, past_key=X),
            "past_key and past_value must be given together, as in ONNX's Attention, got one",
        ),
    ],
)
def test_what_a_library_refuses_is_refused_in_one_line(attempt, line):
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        attempt()


# The arrays that an adapter may be given beside the first three.
BESIDE = {
    "torch": ["attn_mask"],
    "torch_mha": ["key_padding_mask", "attn_mask"],
    "flex": [],
    "jax": ["bias", "mask"],
    "onnx": ["attn_mask", "past_key", "past_value"],
    "keras": ["bias", "mask"],
    "mlx": ["mask", "sinks"],
    "flash_attn": ["alibi_slopes"],
    "transformers": ["attention_mask", "s_aux"],
}
NEEDED = {
    "torch_mha": {"num_heads": 2},
    "mlx": {"scale": 1.0},
    "transformers": {"attention_mask": None, "scaling": 1.0},
}


def operands(name):
    return list(inspect.signature(interop.ADAPTERS[name]).parameters)[:3]


def call_with(name, **changes):
    arrays = dict.fromkeys(operands(name), X[0] if name == "torch_mha" else X)
    return interop.ADAPTERS[name](**arrays | NEEDED.get(name, {}) | changes)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("name", "argument"), [(name, one) for name in BESIDE for one in operands(name) + BESIDE[name]]
)
def test_what_is_no_array_is_refused_by_its_name(name, argument):
    line = rf"^{argument} must be an array \(NumPy, PyTorch, \.\.\.\), got list$"
    with pytest.raises(TypeError, match=line):
        call_with(name, **{argument: [1.0]})


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("name", "argument"), [(name, one) for name in BESIDE for one in operands(name)[1:]]
)
def test_nothing_is_promoted_unseen(name, argument):
    first = operands(name)[0]
    narrow = {argument: (X[0] if name == "torch_mha" else X).astype(np.float32)}
    if (name, argument) == ("onnx", "V"):  # which has a type of its own in the operator
        assert call_with(name, **narrow).Y.dtype == np.float32
        return
    line = rf"^{argument} must have the dtype of {first} \(float64\), got float32$"
    with pytest.raises(TypeError, match=line):
        call_with(name, **narrow)


@pytest.mark.parametrize("name", interop.ADAPTERS)
def test_every_adapter_is_documented_and_its_example_true(name):
    adapter = interop.ADAPTERS[name]
    text = inspect.getdoc(adapter)
    headings = re.findall(r"^(Args|Returns|Raises|Complexity|Examples):", text, re.M)
    assert headings == ["Args", "Returns", "Raises", "Complexity", "Examples"]
    arguments = text.partition("Args:\n")[2].partition("\nReturns:")[0]
    described = re.findall(r"^    (\w+): \S", arguments, re.M)
    assert described == list(inspect.signature(adapter).parameters)
    module = importlib.import_module(adapter.__module__)
    (example,) = doctest.DocTestFinder(recurse=False).find(
        adapter, name, module, globs=vars(module).copy()
    )
    output = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(example, out=output.append)
    assert failed == 0, "".join(output)
    assert tried > 0


ANSWERS = [
    Answer(question, library, answer, version, how)
    for question in QUESTIONS
    for library, answer, version, how in (
        ("attention_ref", "0", "0.1.0", RUN),
        ("A", "1", "2.3", RUN),
        ("B", "0", "4.5", DOCUMENTED),
        ("C", "", "", MISSING),
    )
]


def test_a_table_has_a_row_an_answer():
    written = tables(ANSWERS)
    assert written["a sink"].splitlines() == [
        "| a sink | libraries |",
        "|---|---|",
        "| 0 | attention_ref, B (documented) |",
        "| 1 | A |",
    ]
    assert written[LIBRARIES].splitlines()[2:] == [
        "| A | 2.3 | run |",
        "| B | 4.5 | documented, not run |",
        "| C |  | not installed |",
    ]


def test_a_page_is_written_between_its_markers_alone():
    page = "".join(
        f"before {name}\n\n<!-- written by python -m attention_ref.interop: {name} -->\n"
        "\nstale\n\n<!-- as far as this -->\nafter\n"
        for name in (LIBRARIES, *QUESTIONS)
    )
    once = updated(page, ANSWERS)
    assert "stale" not in once
    assert re.findall(r"^(?:before|after).*", once, re.M) == re.findall(
        r"^(?:before|after).*", page, re.M
    )
    assert all(table in once for table in tables(ANSWERS).values())
    assert updated(once, ANSWERS) == once
    with pytest.raises(ValueError, match="the page must have a line"):
        updated(page.replace("a sink", "a sank"), ANSWERS)


@pytest.mark.no_shape_checks
def test_attention_ref_answers_as_its_conventions_say():
    mine = {question: _ask(question, _LIBRARIES[0]).answer for question in QUESTIONS}
    assert mine == {
        "True in a boolean mask": "may attend",
        "numbers as a mask": "TypeError",
        "a boolean bias": "TypeError",
        "where the soft cap acts": "before the mask",
        "a query whose keys are all hidden": "0",
        "a query whose mask is -inf throughout": "TypeError",
        "NaN in a hidden key": "changes nothing",
        "NaN in a hidden value": "changes nothing",
        "causal, 2 queries and 5 keys": "ValueError",
        "keys that query i sees in a window of 2": "i-2 i-1 i",
        "key head of query head h": "h // (heads // kv_heads)",
        "the default scale": "1 / sqrt(d_k)",
        "a sink": "one more term of the denominator",
        "the output's dtype for float16": "float16",
        "float16 scores beyond 65504": "right",
        "the output's dtype for float64": "float64",
    }


def hiding(*arrays, allowed):
    return by_hand(*arrays, np.where(allowed, 0.0, NEGATIVE))


def capping(*arrays, allowed=True, softcap):
    return by_hand(*arrays, np.where(allowed, 0.0, NEGATIVE), softcap=softcap)


def hiding_before_the_cap(query, key, value, allowed=True, softcap=None):
    """Cap what hides too, so that it hides nothing: e^2 to one, in favour of the seen key."""
    key = np.where(np.reshape(allowed, (-1, 1)), key, NEGATIVE)
    return by_hand(query, key, value, softcap=softcap)


def in_half(query, key, value):
    """Attend in float16, where two scores of infinity share the weight."""
    with np.errstate(over="ignore"):
        scores = query @ key.swapaxes(-1, -2)
    largest = scores == scores.max(-1, keepdims=True)
    return (largest / largest.sum(-1, keepdims=True) @ value).astype(np.float16)


def moved(query, key, lower, upper):
    ahead = np.arange(key.shape[2]) - np.arange(query.shape[2])[:, None]
    return np.where((ahead >= lower) & (ahead <= upper), 0.0, NEGATIVE)


def deaf(*arrays, mask=None, allowed=None, causal=False, sink=None, scale=None):
    return by_hand(*arrays)


def refusing(*arrays):
    raise NotImplementedError


def shared_out(query, key, value):
    group = query.shape[1] // key.shape[1]
    return by_hand(query, np.tile(key, (1, group, 1, 1)), np.tile(value, (1, group, 1, 1)))


# A library of each habit, in plain NumPy. What a habit gives in numbers is worked out where the
# question is: two keys of weights 1/4 and 3/4.
HABITS = [
    ("True in a boolean mask", lambda *x, mask: hiding(*x, allowed=mask), "may attend"),
    ("True in a boolean mask", lambda *x, mask: hiding(*x, allowed=~mask), "**hidden**"),
    ("True in a boolean mask", lambda *x, mask: by_hand(*x, mask), "**added as 1**"),
    ("True in a boolean mask", deaf, "another answer: 6.0000"),
    ("True in a boolean mask", by_hand, "takes none"),
    ("numbers as a mask", lambda *x, mask: by_hand(*x, mask), "added"),
    (
        "numbers as a mask",
        lambda *x, mask: hiding(*x, allowed=mask != 0),
        "cast to boolean: all but 0 may attend",
    ),
    ("a boolean bias", lambda *x, bias: by_hand(*x, bias), "**added as 0 and 1**"),
    ("a boolean bias", lambda *x, bias: hiding(*x, allowed=bias), "a mask"),
    ("a boolean bias", by_hand, "takes none"),
    ("where the soft cap acts", capping, "before the mask"),
    (
        "where the soft cap acts",
        lambda *x, allowed=True, softcap: hiding(*x, allowed=allowed),
        "another answer: 6.0000",
    ),
    ("where the soft cap acts", hiding_before_the_cap, "after the mask"),
    ("where the soft cap acts", hiding, "takes none"),
    ("a query whose keys are all hidden", lambda *x, allowed: x[0] * 0, "0"),
    ("a query whose keys are all hidden", hiding, "**the mean of all values**"),
    (
        "a query whose keys are all hidden",
        deaf,
        "**all keys are seen**",
    ),
    ("a query whose keys are all hidden", lambda *x, allowed: x[0] * np.nan, "NaN"),
    ("a query whose mask is -inf throughout", lambda *x, mask: x[0] * 0, "0"),
    (
        "a query whose mask is -inf throughout",
        lambda *x, mask: by_hand(*x, np.maximum(mask, NEGATIVE)),
        "**the mean of all values**",
    ),
    (
        "a query whose mask is -inf throughout",
        lambda *x, mask: hiding(*x, allowed=mask != 0),
        "**all keys are seen**",
    ),
    ("NaN in a hidden key", hiding, "NaN"),
    (
        "NaN in a hidden key",
        lambda q, k, v, allowed: hiding(q, np.nan_to_num(k), v, allowed=allowed),
        "changes nothing",
    ),
    ("NaN in a hidden value", hiding, "NaN"),
    (
        "NaN in a hidden value",
        lambda q, k, v, allowed: hiding(q, k, np.nan_to_num(v), allowed=allowed),
        "changes nothing",
    ),
    (
        "causal, 2 queries and 5 keys",
        lambda q, k, v, causal: by_hand(q, k, v, moved(q, k, -9, 0)),
        "top-left",
    ),
    (
        "causal, 2 queries and 5 keys",
        lambda q, k, v, causal: by_hand(q, k, v, moved(q, k, -9, 3)),
        "bottom-right",
    ),
    (
        "causal, 2 queries and 5 keys",
        deaf,
        "[5, 5] keys",
    ),
    (
        "keys that query i sees in a window of 2",
        lambda q, k, v, window: by_hand(q, k, v, moved(q, k, -window, 0)),
        "i-2 i-1 i",
    ),
    (
        "keys that query i sees in a window of 2",
        lambda q, k, v, window: by_hand(q, k, v, moved(q, k, 1 - window, 0)),
        "i-1 i",
    ),
    (
        "keys that query i sees in a window of 2",
        lambda q, k, v, window: by_hand(q, k, v, moved(q, k, -window, window)),
        "i-2 i-1 i i+1 i+2",
    ),
    ("key head of query head h", by_hand, "h // (heads // kv_heads)"),
    ("key head of query head h", shared_out, "h % kv_heads"),
    ("the default scale", by_hand, "1 / sqrt(d_k)"),
    ("the default scale", lambda q, k, v: by_hand(2 * q, k, v), "1"),
    ("the default scale", lambda q, k, v: by_hand(q / 4, k, v), "another answer: 0.1250"),
    ("the default scale", deaf, "none: it must be given"),
    ("a sink", lambda *x, sink: by_hand(*x, sink=sink), "one more term of the denominator"),
    ("a sink", deaf, "another answer: 6.0000"),
    ("the output's dtype for float16", lambda *x: by_hand(*x).astype(np.float32), "float32"),
    ("the output's dtype for float16", in_half, "float16"),
    ("the output's dtype for float16", refusing, "NotImplementedError"),
    ("float16 scores beyond 65504", lambda *x: by_hand(*(y.astype(float) for y in x)), "right"),
    ("float16 scores beyond 65504", in_half, "**both infinite, and even**"),
    ("float16 scores beyond 65504", lambda *x: x[0] * np.nan, "NaN"),
    ("the output's dtype for float64", by_hand, "float64"),
    (
        "the output's dtype for float64",
        lambda *x: by_hand(*(y.astype(np.float32) for y in x)).astype(float),
        "float64, float32 inside",
    ),
    (
        "the output's dtype for float64",
        lambda *x: by_hand(*x).astype(np.float32),
        "float32",
    ),
]


@pytest.mark.parametrize(("question", "attend", "answer"), HABITS)
def test_a_question_tells_what_a_library_does(question, attend, answer):
    assert _answer(QUESTIONS[question], attend) == answer


def test_every_question_is_asked_of_a_library_made_up_here():
    assert {question for question, *_ in HABITS} == set(QUESTIONS)


def test_a_library_that_must_be_given_a_scale_is_given_the_usual_one():
    found = []

    def attend(*arrays, scale):
        found.append((scale, arrays[0].shape[-1]))
        return by_hand(*arrays).astype(arrays[0].dtype)

    for question in ("key head of query head h", "the output's dtype for float16"):
        _answer(QUESTIONS[question], attend)
    assert found == [(1.0, 1), (pytest.approx(8**-0.5), 8)]


def test_what_a_library_says_beside_its_answer_is_not_heard(capfd, caplog):
    def attend(*arrays):
        warnings.warn("slow", UserWarning, stacklevel=1)
        print("slow", file=sys.stderr)
        logging.getLogger("library").error("slow")
        return by_hand(*arrays)

    loud = _LIBRARIES[0]._replace(attend=attend)
    assert _ask("key head of query head h", loud).answer == "h // (heads // kv_heads)"
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []  # nor by what handles the messages of the program that asks
    assert logging.root.isEnabledFor(logging.CRITICAL)


def test_all_libraries_are_asked_question_after_question(monkeypatch):
    mine, documented = _LIBRARIES[0], _LIBRARIES[-1]
    missing = mine._replace(name="none", package="no-such-package")
    monkeypatch.setattr(_conventions, "_LIBRARIES", (mine, missing, documented))
    answers = interop.conventions()
    assert [answer.question for answer in answers[::3]] == list(QUESTIONS)
    version = importlib.metadata.version("attention-ref")
    assert answers[:3] == [
        ("True in a boolean mask", "attention_ref", "may attend", version, RUN),
        ("True in a boolean mask", "none", "", "", MISSING),
        ("True in a boolean mask", "FlashAttention", NONE, "2.6 and later", DOCUMENTED),
    ]


def on_the_page(library):
    """Return what the page of conventions shows that a library answers."""
    found, question = {}, ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        match line.strip("|").split("|"):
            case [answer, " libraries "]:
                question = answer.strip()
            case [answer, names] if library in names.replace(" (documented)", "").strip().split(
                ", "
            ):
                found[question] = answer.strip()
    return {question: found.get(question) for question in QUESTIONS}


def installed(library):
    try:
        return bool(importlib.metadata.version(library.package))
    except importlib.metadata.PackageNotFoundError:
        return library.documented is not None


# All that there are once tests/peers has installed them.
@pytest.mark.no_shape_checks
@pytest.mark.parametrize("library", [*filter(installed, _LIBRARIES)], ids=lambda one: one.name)
def test_a_library_answers_what_the_page_shows(library):
    found = {question: _ask(question, library).answer for question in QUESTIONS}
    assert found == on_the_page(library.name)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize("library", [*filter(installed, _LIBRARIES[:-1])], ids=lambda one: one.name)
def test_what_a_library_says_when_it_refuses_is_not_heard(library, monkeypatch, capfd):
    query, key = (np.ones((1, 1, 1, width), dtype=np.float32) for width in (2, 3))
    monkeypatch.setitem(QUESTIONS, "widths that differ", lambda attend: attend(query, key, query))
    answer = _ask("widths that differ", library).answer
    assert answer.endswith(("Error", "Fail"))
    assert capfd.readouterr() == ("", "")
