from itertools import pairwise

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    KVCache,
    StaticKVCache,
    alibi_bias,
    causal_mask,
    expand_kv_heads,
    rotary_embedding,
    scaled_dot_product_attention,
    sliding_window_mask,
    streaming_mask,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, KV_HEADS, LENGTH, D_K, D_V = 2, 6, 3, 11, 4, 5
CLOSE = {"rtol": 1e-11, "atol": 1e-12}
SLOPES = np.array([0.5, 0.25, 0.1, 0.05, 0.03, 0.01])
cuts = st.sets(st.integers(1, LENGTH - 1)).map(lambda found: [0, *sorted(found), LENGTH])


def draw(seed, length=LENGTH):
    rng = np.random.default_rng(seed)
    shapes = (BATCH, HEADS, length, D_K), (BATCH, KV_HEADS, length, D_K)
    return [rng.standard_normal(shape) for shape in (*shapes, (BATCH, KV_HEADS, length, D_V))]


def attend(query, key, value, **options):
    key, value = (expand_kv_heads(x, HEADS) for x in (key, value))
    return scaled_dot_product_attention(query, key, value, **options)


def turn(x, positions):
    return rotary_embedding(x, layout="half", positions=positions)


def in_whole(query, key, value, left):
    """Attend at once, without a cache; rotary and ALiBi together, as no model has them."""
    mask = sliding_window_mask(LENGTH, left=left)
    bias = alibi_bias(SLOPES, LENGTH)
    return attend(turn(query, 0), turn(key, 0), value, mask=mask, bias=bias)


@given(seed=seeds, cuts=cuts, left=st.none() | st.integers(0, LENGTH))
def test_decoding_equals_the_full_computation(library, seed, cuts, left):
    query, key, value = draw(seed)
    expected = in_whole(query, key, value, left)
    query, key, value, slopes = map(library.array, (query, key, value, SLOPES))
    growing = rolling = KVCache.empty(key, value)
    static = StaticKVCache.empty(key, value, LENGTH + 2)
    for start, stop in pairwise(cuts):
        q, k, v = (x[:, :, start:stop, :] for x in (query, key, value))
        for cache in (growing, rolling, static):
            first = cache.position
            if cache is static:
                first = cache.position[:, None, None] + library.array(np.arange(stop - start))
            else:
                assert first == start
            turned = turn(q, first), turn(k, first)
            longer = cache.append(turned[1], v)
            bias = alibi_bias(slopes, stop - start, longer.key.shape[-2], q_start=longer.q_start)
            output = attend(
                turned[0],
                longer.key,
                longer.value,
                mask=longer.mask(stop - start, left=left),
                bias=bias,
            )
            np.testing.assert_allclose(library.numpy(output), expected[:, :, start:stop], **CLOSE)
            if cache is static:
                static = longer
            elif cache is growing:
                growing = longer
            if cache is rolling:
                rolling = longer if left is None else longer.last(left)
                assert left is None or rolling.key.shape[-2] == min(left, stop)


@given(seed=seeds, cuts=cuts, left=st.integers(0, LENGTH), sink_tokens=st.integers(0, 5))
def test_streaming_equals_the_full_computation(library, seed, cuts, left, sink_tokens):
    query, key, value = draw(seed)
    query, key = turn(query, 0), turn(key, 0)
    window = {"left": left, "sink_tokens": sink_tokens}
    expected = attend(query, key, value, mask=streaming_mask(LENGTH, **window))
    query, key, value = map(library.array, (query, key, value))
    rolling = KVCache.empty(key, value)
    static = StaticKVCache.empty(key, value, LENGTH)
    for start, stop in pairwise(cuts):
        q, k, v = (x[:, :, start:stop, :] for x in (query, key, value))
        rolling, static = rolling.append(k, v), static.append(k, v)
        for cache in (rolling, static):
            output = attend(q, cache.key, cache.value, mask=cache.mask(stop - start, **window))
            np.testing.assert_allclose(library.numpy(output), expected[:, :, start:stop], **CLOSE)
        rolling = rolling.last(left, sink_tokens=sink_tokens)
        assert rolling.key.shape[-2] == rolling.value.shape[-2] == min(sink_tokens + left, stop)
        assert rolling.position == stop


def turn_as_complex(x, positions):
    turned = (x[:2] + 1j * x[2:]) * np.exp(1j * positions * np.array([1.0, 0.01]))
    return np.concat([turned.real, turned.imag])


def test_positions_within_the_cache():
    """As StreamingLLM has them: the tokens that are kept count from 0, a gap counts nothing."""
    query, key, value = draw(8)
    left, sink_tokens = 3, 2
    cache = KVCache.empty(key, value)
    for t in range(LENGTH):
        now = slice(t, t + 1)
        cache = cache.append(key[:, :, now], value[:, :, now])
        output = attend(
            turn(query[:, :, now], cache.q_start),
            turn(cache.key, 0),
            cache.value,
            mask=cache.mask(1, left=left, sink_tokens=sink_tokens),
            bias=alibi_bias(SLOPES, 1, cache.key.shape[-2], q_start=cache.q_start),
        )
        cache = cache.last(left, sink_tokens=sink_tokens)
        kept = [j for j in range(t + 1) if j < sink_tokens or j >= t - left]
        for b, h in np.ndindex(BATCH, HEADS):
            g = h // (HEADS // KV_HEADS)
            turned = turn_as_complex(query[b, h, t], len(kept) - 1)
            scores = [
                turned @ turn_as_complex(key[b, g, j], place) / D_K**0.5
                - SLOPES[h] * (len(kept) - 1 - place)
                for place, j in enumerate(kept)
            ]
            weights = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(output[b, h, 0], weights @ value[b, g, kept], **CLOSE)


def test_positions_within_the_cache_differ_from_the_text_once_tokens_are_gone():
    query, key, value = draw(9)
    left, sink_tokens = 3, 2
    mask = streaming_mask(LENGTH, left=left, sink_tokens=sink_tokens)
    in_the_text = attend(turn(query, 0), turn(key, 0), value, mask=mask)
    cache = KVCache.empty(key, value)
    for t in range(LENGTH):
        now = slice(t, t + 1)
        cache = cache.append(key[:, :, now], value[:, :, now])
        output = attend(turn(query[:, :, now], cache.q_start), turn(cache.key, 0), cache.value)
        same = np.abs(output - in_the_text[:, :, now]).max() < 1e-12
        assert same == (cache.q_start == t) == (t <= left + sink_tokens)
        cache = cache.last(left, sink_tokens=sink_tokens)


@given(seed=seeds, lengths=st.lists(st.integers(1, 7), min_size=BATCH, max_size=BATCH))
def test_prompts_of_different_lengths_decode_together(library, seed, lengths):
    query, key, value = draw(seed)
    prompt, steps = 7, LENGTH - 7
    padded = [np.zeros_like(x[:, :, :prompt]) + np.nan for x in (key, value)]
    for b, length in enumerate(lengths):
        for x, whole in zip(padded, (key, value), strict=True):
            x[b, :, :length] = whole[b, :, :length]
    cache = StaticKVCache.empty(*map(library.array, (key, value)), LENGTH)
    cache = cache.append(*map(library.array, padded), library.array(np.array(lengths)))
    for step in range(steps):
        q, k, v = (
            np.stack([x[b, :, n + step : n + step + 1] for b, n in enumerate(lengths)])
            for x in (query, key, value)
        )
        cache = cache.append(library.array(k), library.array(v))
        np.testing.assert_array_equal(library.numpy(cache.position), np.array(lengths) + step + 1)
        output = attend(library.array(q), cache.key, cache.value, mask=cache.mask(1))
        for b, length in enumerate(lengths):
            end = length + step + 1
            alone = attend(q[b], key[b, :, :end], value[b, :, :end])
            np.testing.assert_allclose(library.numpy(output)[b], alone, **CLOSE)


def test_the_prompt_of_a_ragged_batch_attends_within_itself(library):
    query, key, value = draw(1)
    cache = StaticKVCache.empty(*map(library.array, (key, value)), 13)
    lengths = library.array(np.array([3, 11]))
    cache = cache.append(*map(library.array, (key, value)), lengths)
    output = attend(library.array(query), cache.key, cache.value, mask=cache.mask(LENGTH))
    whole = attend(query, key, value, mask=causal_mask(LENGTH))
    np.testing.assert_allclose(library.numpy(output)[0, :, :3], whole[0, :, :3], **CLOSE)
    np.testing.assert_allclose(library.numpy(output)[1], whole[1], **CLOSE)


def test_a_wrong_corner_or_position_would_be_seen():
    """The two faults that a cache invites change the result, so the tests above can see them."""
    query, key, value = draw(2)
    cache = KVCache.empty(key, value).append(key[:, :, :-1], value[:, :, :-1])
    cache = cache.append(key[:, :, -1:], value[:, :, -1:])
    right = attend(query[:, :, -1:], *cache[:2], mask=cache.mask(1))
    top_left = causal_mask(1, LENGTH, q_start=0)
    assert not np.allclose(right, attend(query[:, :, -1:], *cache[:2], mask=top_left))
    turned = attend(turn(query[:, :, -1:], LENGTH - 1), turn(key, 0), value)
    assert not np.allclose(turned, attend(turn(query[:, :, -1:], 0), turn(key, 0), value))


def test_a_cache_is_never_changed(library):
    _, key, value = map(library.array, draw(3))
    for empty in (KVCache.empty(key, value), StaticKVCache.empty(key, value, 2 * LENGTH)):
        one = empty.append(key, value)
        before = [library.numpy(x).copy() for x in one[:2]]
        one.append(key, value)
        for x, kept in zip(one[:2], before, strict=True):
            np.testing.assert_array_equal(library.numpy(x), kept)
        assert not library.numpy(empty.key).any()


def test_the_last_tokens_keep_their_positions():
    _, key, value = draw(4)
    cache = KVCache.empty(key, value).append(key, value)
    short = cache.last(3)
    np.testing.assert_array_equal(short.key, key[:, :, -3:])
    np.testing.assert_array_equal(short.value, value[:, :, -3:])
    assert (short.position, short.q_start) == (LENGTH, 3 - LENGTH)
    assert cache.last(LENGTH + 1).key.shape == key.shape
    assert cache.last(0).key.shape[-2] == 0
    assert cache.last(0).append(key, value).q_start == 0
    streaming = cache.last(3, sink_tokens=2)
    np.testing.assert_array_equal(streaming.key, key[:, :, [0, 1, -3, -2, -1]])
    np.testing.assert_array_equal(streaming.value, value[:, :, [0, 1, -3, -2, -1]])
    assert (streaming.position, streaming.q_start) == (LENGTH, 5 - LENGTH)
    assert streaming.last(3, sink_tokens=2).key.shape == streaming.key.shape
    assert cache.last(0, sink_tokens=2).key.shape[-2] == 2
    assert cache.last(0, sink_tokens=LENGTH + 1).key.shape == key.shape


def test_gradients_reach_what_was_appended():
    _, key, value = (torch.asarray(x).requires_grad_() for x in draw(5))
    for empty in (KVCache.empty(key, value), StaticKVCache.empty(key, value, LENGTH + 1)):
        cache = empty.append(key[:, :, :4], value[:, :, :4]).append(key[:, :, 4:], value[:, :, 4:])
        gradients = torch.autograd.grad(cache.key.sum() + 2 * cache.value.sum(), (key, value))
        assert (gradients[0] == 1).all()
        assert (gradients[1] == 2).all()
    kept = KVCache.empty(key, value).append(key, value).last(3, sink_tokens=2)
    gradients = torch.autograd.grad(kept.key.sum(), key)
    assert gradients[0][0, 0, :, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_appending_nothing(library):
    _, key, value = map(library.array, draw(6))
    for cache in (KVCache.empty(key, value), StaticKVCache.empty(key, value, LENGTH)):
        full = cache.append(key, value)
        same = full.append(key[:, :, :0, :], value[:, :, :0, :])
        np.testing.assert_array_equal(library.numpy(same.key), library.numpy(full.key))
        np.testing.assert_array_equal(same.q_start, full.position)
        np.testing.assert_array_equal(same.position, full.position)


def test_float16_stays_float16():
    _, key, value = (x.astype(np.float16) for x in draw(7))
    for empty in (KVCache.empty(key, value), StaticKVCache.empty(key, value, LENGTH)):
        cache = empty.append(key, value)
        assert cache.key.dtype == cache.value.dtype == np.float16


def test_a_static_cache_is_on_the_device_of_its_keys():
    device = array_api_strict.Device("device1")
    key, value = (array_api_strict.asarray(x, device=device) for x in draw(10)[1:])
    cache = StaticKVCache.empty(key, value, LENGTH).append(key, value)
    assert {x.device for x in cache} == {cache.mask(1).device} == {device}


def test_an_empty_cache_starts_at_zero_and_may_stay_empty():
    _, key, value = draw(8)
    growing = KVCache.empty(key, value)
    assert (growing.q_start, growing.position) == (0, 0)
    no_room = StaticKVCache.empty(key, value, 0)
    assert no_room.key.shape == (BATCH, KV_HEADS, 0, D_K)
    assert no_room.append(key[:, :, :0], value[:, :, :0]).position.tolist() == [0, 0]


def test_a_sequence_may_bring_no_token_and_a_batch_no_axis():
    _, key, value = draw(9, 3)
    static = StaticKVCache.empty(key, value, 5).append(key, value, np.array([0, 3]))
    assert static.position.tolist() == [0, 3]
    assert not static.key[0].any()
    np.testing.assert_array_equal(static.key[1, :, :3], key[1])
    alone = KVCache.empty(key[0], value[0]).append(key[0], value[0])
    np.testing.assert_array_equal(alone.key, key[0])


KEY, VALUE = np.zeros((2, 3, 5, 7)), np.zeros((2, 3, 5, 11))
SHAPES = "must have shape (2, 3, length, "


def growing():
    return KVCache.empty(KEY, VALUE)


def static():
    return StaticKVCache.empty(KEY, VALUE, 6)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: KVCache.empty([1.0], VALUE),
            TypeError,
            "key must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: KVCache.empty(KEY.astype(int), VALUE),
            TypeError,
            "key must have a real floating dtype, got int64",
        ),
        (
            lambda: KVCache.empty(KEY[0, 0], VALUE),
            ValueError,
            "key must have shape (..., kv_heads, length, d_k), got (5, 7)",
        ),
        (
            lambda: KVCache.empty(KEY, VALUE[:, :, :4]),
            ValueError,
            "value must have shape (2, 3, length=5, d_v), got (2, 3, 4, 11)",
        ),
        (
            lambda: growing().append(KEY[:1], VALUE),
            ValueError,
            f"key {SHAPES}7), got (1, 3, 5, 7)",
        ),
        (
            lambda: static().append(KEY, VALUE[..., :7]),
            ValueError,
            f"value {SHAPES}11), got (2, 3, 5, 7)",
        ),
        (
            lambda: static().append(KEY[:, :, :1], VALUE),
            ValueError,
            "value must have shape (2, 3, length=1, d_v), got (2, 3, 5, 11)",
        ),
        (
            lambda: growing().append(KEY.astype(np.float32), VALUE),
            TypeError,
            "key must have the dtype of what is kept (float64), got float32",
        ),
        (
            lambda: growing().append(torch.asarray(KEY), VALUE),
            TypeError,
            "key must be an array of the library of what is kept (numpy), got torch",
        ),
        (
            lambda: static().append(KEY, VALUE).append(KEY, VALUE),
            ValueError,
            "key must have at most as many tokens as there is room for, capacity=6, "
            "got 10 with those before",
        ),
        (
            lambda: static().append(KEY, VALUE, np.array([5, 6])),
            ValueError,
            "lengths must lie between 0 and the 5 of key, got 5 to 6",
        ),
        (
            lambda: static().append(KEY, VALUE, np.array([-1, 2])),
            ValueError,
            "lengths must lie between 0 and the 5 of key, got -1 to 2",
        ),
        (
            lambda: static().append(KEY, VALUE, np.array([1])),
            ValueError,
            "lengths must have shape (2,), got (1,)",
        ),
        (
            lambda: static().append(KEY, VALUE, np.array([1.0, 2.0])),
            TypeError,
            "lengths must have an integral dtype, got float64",
        ),
        (
            lambda: StaticKVCache.empty(KEY, VALUE, 2.5),
            TypeError,
            "capacity must be an integer, got float",
        ),
        (lambda: growing().last(-1), ValueError, "length must be at least 0, got -1"),
        (
            lambda: growing().last(2, sink_tokens=1.0),
            TypeError,
            "sink_tokens must be an integer, got float",
        ),
        (
            lambda: growing().last(1, sink_tokens=-1),
            ValueError,
            "sink_tokens must be at least 0, got -1",
        ),
        (
            lambda: StaticKVCache.empty(KEY, VALUE[:, :, :4], 6),
            ValueError,
            "value must have shape (2, 3, length=5, d_v), got (2, 3, 4, 11)",
        ),
        (
            lambda: StaticKVCache.empty(KEY, VALUE, -1),
            ValueError,
            "capacity must be at least 0, got -1",
        ),
        (
            lambda: static().append(KEY, VALUE, torch.zeros(2, dtype=torch.int64)),
            TypeError,
            "lengths must be an array of the library of key (numpy), got torch",
        ),
        (
            lambda: KVCache.empty(KEY, torch.asarray(VALUE)),
            TypeError,
            "value must be an array of the library of key (numpy), got torch",
        ),
        (
            lambda: KVCache.empty(KEY, VALUE.astype(int)),
            TypeError,
            "value must have a real floating dtype, got int64",
        ),
        (
            lambda: growing().append(KEY, torch.asarray(VALUE)),
            TypeError,
            "value must be an array of the library of what is kept (numpy), got torch",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
