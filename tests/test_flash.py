import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as torch_attention

from attention_ref import (
    alibi_bias,
    attention_backward,
    attention_stages,
    causal_mask,
    document_mask,
    flash_attention,
    flash_attention_backward,
    mask_tiles,
    merge_partial,
    padding_mask,
    prefix_mask,
    scaled_dot_product_attention,
    sliding_window_mask,
    streaming_mask,
)

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 8)
BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 5, 7, 11, 13
SHAPE = (BATCH, HEADS, Q_LEN, KV_LEN)
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [2 * rng.standard_normal(shape) for shape in shapes]


def draw_inputs(seed):
    lead = SHAPE[:2]
    return draw(seed, (*lead, Q_LEN, D_K), (*lead, KV_LEN, D_K), (*lead, KV_LEN, D_V))


def draw_options(seed):
    bias, sink = draw(seed + 1, SHAPE, HEADS)
    mask = np.random.default_rng(seed).random(SHAPE) < 0.5
    mask[..., 1, :], bias[0, 0, 3] = False, -np.inf
    sink[0] = -np.inf
    return {"mask": mask, "bias": bias, "sink": sink, "softcap": 3.0, "scale": 0.4}


def spoil(query, key, value):
    query[0, 2, 4, 1] = key[0, 0, 2, 3] = np.nan
    key[1, 2, 5, 0] = value[1, 1, 3, 2] = np.inf
    value[1, 1, 4, 2], value[1, 2, 4, 2] = -np.inf, np.nan


def chosen(options, names):
    return {name: options[name] for name in names}


every_choice = st.sets(st.sampled_from(["mask", "bias", "sink", "softcap", "scale"]))


@given(seed=seeds, q_tile=sizes, kv_tile=sizes, names=every_choice, spoiled=st.booleans())
def test_both_passes_equal_those_of_the_whole(library, seed, q_tile, kv_tile, names, spoiled):
    inputs, options = draw_inputs(seed), chosen(draw_options(seed), names)
    if spoiled:
        spoil(*inputs)
    (gradient,) = draw(seed + 2, (*SHAPE[:3], D_V))
    arrays = {n: library.array(x) if np.ndim(x) else x for n, x in options.items()}
    tiles = {"q_tile": q_tile, "kv_tile": kv_tile}
    ours = list(map(library.array, inputs))
    part = flash_attention(*ours, **arrays, **tiles)
    found = flash_attention_backward(library.array(gradient), *ours, *part, **arrays, **tiles)

    theirs = [torch.asarray(x).requires_grad_() for x in inputs]
    arrays = {n: torch.asarray(x) if np.ndim(x) else x for n, x in options.items()}
    if "sink" in arrays:
        theirs.append(arrays["sink"].requires_grad_())
    stages = attention_stages(*theirs[:3], **arrays)
    expected = torch.autograd.grad(stages.output, theirs, torch.asarray(gradient))
    for got, exact in (
        (part.output, stages.output),
        (part.logsumexp, stages.logsumexp),
        *zip(found, expected, strict=False),
    ):
        np.testing.assert_allclose(library.numpy(got), exact.detach().numpy(), **CLOSE)
    assert (found.sink is None) == ("sink" not in options)


@given(seed=seeds, q_tile=sizes, kv_tile=sizes)
def test_pytorch_agrees_with_both_passes(seed, q_tile, kv_tile):
    inputs = [torch.asarray(x).requires_grad_() for x in draw_inputs(seed)]
    (gradient,) = (torch.asarray(x) for x in draw(seed, (*SHAPE[:3], D_V)))
    with sdpa_kernel(SDPBackend.MATH):
        theirs = torch_attention(*inputs)
    tiles = {"q_tile": q_tile, "kv_tile": kv_tile}
    part = flash_attention(*inputs, **tiles)
    torch.testing.assert_close(part.output, theirs, **CLOSE)
    expected = torch.autograd.grad(theirs, inputs, gradient)
    by_autograd = torch.autograd.grad(part.output, inputs, gradient)
    detached = [x.detach() for x in (*inputs, *part)]
    by_hand = flash_attention_backward(gradient, *detached, **tiles)
    for exact, ours, hand in zip(expected, by_autograd, by_hand, strict=False):
        torch.testing.assert_close(ours, exact, **CLOSE)
        torch.testing.assert_close(hand, exact, **CLOSE)


def test_the_backward_pass_agrees_with_finite_differences():
    inputs, options = draw_inputs(4), draw_options(4)
    gradient, *directions = draw(5, (*SHAPE[:3], D_V), *(x.shape for x in inputs), HEADS)
    tiles = {"q_tile": 2, "kv_tile": 3}
    part = flash_attention(*inputs, **options, **tiles)
    found = flash_attention_backward(gradient, *inputs, *part, **options, **tiles)
    expected = sum(np.sum(g * d) for g, d in zip(found, directions, strict=True))

    def loss(step):
        *moved, sink = (
            x + step * d for x, d in zip((*inputs, options["sink"]), directions, strict=True)
        )
        return np.sum(gradient * flash_attention(*moved, **options | {"sink": sink}).output)

    step = 1e-5
    np.testing.assert_allclose((loss(step) - loss(-step)) / (2 * step), expected, rtol=1e-7)


@given(seed=seeds, cuts=st.sets(st.integers(0, KV_LEN), max_size=4), names=every_choice)
def test_any_split_of_the_keys_merges_to_the_whole(library, seed, cuts, names):
    inputs, options = draw_inputs(seed), chosen(draw_options(seed), names)
    (gradient,) = map(library.array, draw(seed + 2, (*SHAPE[:3], D_V)))
    query, key, value = map(library.array, inputs)
    arrays = {n: library.array(x) if np.ndim(x) else x for n, x in options.items()}
    whole = flash_attention(query, key, value, **arrays)
    gradients = flash_attention_backward(gradient, query, key, value, *whole, **arrays)
    ends = [0, *sorted(cuts), KV_LEN]
    parts, back = [], []
    for start, stop in pairwise(ends):
        share = {n: x for n, x in arrays.items() if n != "sink" or not parts}
        for name in {"mask", "bias"} & set(arrays):
            share[name] = arrays[name][..., start:stop]
        few = key[:, :, start:stop, :], value[:, :, start:stop, :]
        parts.append(flash_attention(query, *few, **share))
        back.append(flash_attention_backward(gradient, query, *few, *whole, **share))
    merged = merge_partial(*zip(*parts, strict=True))
    total = sum(library.numpy(found.query) for found in back)
    keys = np.concatenate([library.numpy(found.key) for found in back], axis=-2)
    for got, expected in (
        (library.numpy(merged.output), whole.output),
        (library.numpy(merged.logsumexp), whole.logsumexp),
        (total, gradients.query),
        (keys, gradients.key),
    ):
        np.testing.assert_allclose(got, library.numpy(expected), **CLOSE)


@given(
    q_len=sizes, kv_len=sizes, q_start=st.integers(-3, 9), left=st.none() | st.integers(0, 4),
    right=st.none() | st.integers(0, 4), q_tile=sizes, kv_tile=sizes,
)  # fmt: skip
def test_the_tiles_of_a_mask_make_the_whole(q_len, kv_len, q_start, left, right, q_tile, kv_tile):
    options = {"left": left, "right": right}
    whole = sliding_window_mask(q_len, kv_len, q_start=q_start, **options)
    tile = mask_tiles(sliding_window_mask, q_start=q_start, **options)
    for i in range(0, q_len, q_tile):
        for j in range(0, kv_len, kv_tile):
            expected = whole[i : i + q_tile, j : j + kv_tile]
            q_end, kv_end = (a + b for a, b in zip((i, j), expected.shape, strict=True))
            found = tile(slice(i, q_end), slice(j, kv_end))
            np.testing.assert_array_equal(np.broadcast_to(found, expected.shape), expected)
            assert (found.size == 1) == (expected.all() or not expected.any())


def test_masks_and_biases_by_tile_combine(library):
    query, key, value = draw_inputs(7)
    ids, lengths, slopes = np.array([1, 1, 2, 2, 2, 2, 3]), np.array([6, 7]), np.array([0.5, 1, 2])
    starts = np.array([1, 2])
    mask = causal_mask(Q_LEN, KV_LEN, q_start=starts) & padding_mask(lengths, KV_LEN)
    mask = (mask & document_mask(ids[:Q_LEN], ids))[:, None]
    bias = alibi_bias(slopes, Q_LEN, KV_LEN, q_start=2)
    exact = attention_stages(query, key, value, mask=mask, bias=bias)
    query, key, value, ids, slopes = map(library.array, (query, key, value, ids, slopes))
    causal = mask_tiles(causal_mask, q_start=library.array(starts[:, None]))
    padding = library.array(padding_mask(lengths, KV_LEN)[:, None])
    part = flash_attention(
        query,
        key,
        value,
        mask=lambda queries, keys: (
            causal(queries, keys) & document_mask(ids[queries], ids[keys]) & padding[..., keys]
        ),
        bias=lambda queries, keys: alibi_bias(
            slopes,
            queries.stop - queries.start,
            keys.stop - keys.start,
            q_start=2 + queries.start - keys.start,
        ),
        q_tile=2,
        kv_tile=3,
    )
    np.testing.assert_allclose(library.numpy(part.output), exact.output, **CLOSE)
    np.testing.assert_allclose(library.numpy(part.logsumexp), exact.logsumexp, **CLOSE)


STRETCHED = [(), (KV_LEN,), (1, KV_LEN), (Q_LEN, 1), (HEADS, 1, KV_LEN), (BATCH, 1, Q_LEN, 1)]


@pytest.mark.parametrize("shape", STRETCHED)
def test_what_broadcasts_does_so_in_each_tile(library, shape):
    inputs, bias = draw_inputs(0), np.asarray(draw(1, shape)[0])
    mask = np.asarray(np.random.default_rng(0).random(shape) < 0.7)
    terms = {"mask": library.array(mask), "bias": library.array(bias)}
    found = flash_attention(*map(library.array, inputs), **terms, q_tile=2, kv_tile=3)
    expected = scaled_dot_product_attention(*inputs, mask=mask, bias=bias)
    assert expected.any()
    np.testing.assert_allclose(library.numpy(found.output), expected, **CLOSE)


def test_no_tile_is_no_mask_and_no_bias():
    query, key, value = draw_inputs(6)
    part = flash_attention(query, key, value, mask=lambda q, k: None, bias=lambda q, k: None)
    np.testing.assert_array_equal(part.output, flash_attention(query, key, value).output)


def test_a_tile_that_is_masked_all_over_is_skipped():
    asked = []

    def bias(queries, keys):  # asked for where the tile is computed
        asked.append((queries.start, keys.start))
        return np.zeros((1, 1))

    query = np.ones((6, 2))
    flash_attention(
        query, query, query, mask=mask_tiles(causal_mask), bias=bias, q_tile=2, kv_tile=2
    )
    assert asked == [(0, 0), (2, 0), (2, 2), (4, 0), (4, 2), (4, 4)]


@given(seed=seeds, bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_masked_changes_no_bit(library, seed, bad):
    query, key, value = draw_inputs(seed)
    mask = np.ones(SHAPE[2:], dtype=bool)
    mask[:, 4] = False
    mask = library.array(mask)
    spoiled = key.copy(), value.copy()
    for x in spoiled:
        x[..., 4, 2] = bad
    (gradient,) = draw(seed, (*SHAPE[:3], D_V))
    results = []
    for k, v in ((key, value), spoiled):
        arrays = list(map(library.array, (query, k, v)))
        part = flash_attention(*arrays, mask=mask, softcap=2.0, kv_tile=3)
        back = flash_attention_backward(
            library.array(gradient), *arrays, *part, mask=mask, softcap=2.0, kv_tile=3
        )
        results.append([*part, *back[:3]])
    for clean, found in zip(*results, strict=True):
        assert np.isfinite(library.numpy(clean)).all()
        np.testing.assert_array_equal(library.numpy(found), library.numpy(clean))


def spoil_gradient(seed, gradient):
    """Put NaN and inf into the gradient of a query that sees nothing, and of some that see."""
    rng = np.random.default_rng(seed)
    gradient[0, 0, 1, 2] = rng.choice([np.nan, np.inf])
    for _ in range(3):
        place = tuple(rng.integers(length) for length in gradient.shape)
        gradient[place] = rng.choice([np.nan, np.inf, -np.inf])


@given(seed=seeds, q_tile=sizes, kv_tile=sizes, names=every_choice, spoiled=st.booleans())
def test_a_bad_gradient_goes_where_that_of_the_whole_goes(
    library, seed, q_tile, kv_tile, names, spoiled
):
    inputs, options = draw_inputs(seed), chosen(draw_options(seed), names)
    (gradient,) = draw(seed + 2, (*SHAPE[:3], D_V))
    spoil_gradient(seed, gradient)
    if spoiled:
        spoil(*inputs)
    arrays = {n: library.array(x) if np.ndim(x) else x for n, x in options.items()}
    gradient, *inputs = map(library.array, (gradient, *inputs))
    tiles = {"q_tile": q_tile, "kv_tile": kv_tile}
    with np.errstate(invalid="ignore"):
        part = flash_attention(*inputs, **arrays, **tiles)
        found = flash_attention_backward(gradient, *inputs, *part, **arrays, **tiles)
        whole = attention_backward(gradient, *inputs, **arrays)
    for name, got in found._asdict().items():
        if got is not None:
            expected = library.numpy(getattr(whole, name))
            np.testing.assert_allclose(library.numpy(got), expected, **CLOSE, err_msg=name)


@given(seed=seeds, tile=sizes)
def test_a_bad_gradient_reaches_what_autograd_gives_each_query_alone(seed, tile):
    query, key, value = (torch.asarray(x[0, 0]) for x in draw_inputs(seed))
    mask = torch.asarray(draw_options(seed)["mask"][0, 0])
    (gradient,) = draw(seed + 2, (*SHAPE[:3], D_V))
    spoil_gradient(seed, gradient)
    gradient = torch.asarray(gradient[0, 0])
    part = flash_attention(query, key, value, mask=mask)
    tiles = {"q_tile": tile, "kv_tile": tile}
    found = flash_attention_backward(gradient, query, key, value, *part, mask=mask, **tiles)
    expected = [torch.zeros_like(x) for x in (query, key, value)]
    for i, seen in enumerate(mask):
        if not seen.any():
            continue
        q, k, v = (x.clone().requires_grad_() for x in (query[i : i + 1], key[seen], value[seen]))
        output = torch.softmax(q @ k.mT / D_K**0.5, -1) @ v
        by_row = torch.autograd.grad(output, (q, k, v), gradient[i : i + 1])
        for whole, where, own in zip(expected, (slice(i, i + 1), seen, seen), by_row, strict=True):
            whole[where] += own
    for got, exact in zip(found, expected, strict=False):
        assert (got.isfinite() == exact.isfinite()).all()
        finite = exact.isfinite()
        torch.testing.assert_close(got[finite], exact[finite], **CLOSE)


def test_nothing_to_see_gives_zero(library):
    arrays = list(map(library.array, draw_inputs(8)))
    nothing = library.array(np.zeros((1, 1), dtype=bool))
    empty = [arrays[0], arrays[1][:, :, :0, :], arrays[2][:, :, :0, :]]
    for inputs, options in ((arrays, {"mask": nothing}), (empty, {})):
        part = flash_attention(*inputs, **options)
        assert not library.numpy(part.output).any()
        assert (library.numpy(part.logsumexp) == -np.inf).all()
        back = flash_attention_backward(part.output + 1.0, *inputs, *part, **options)
        assert not any(library.numpy(x).any() for x in back[:3])
    merged = merge_partial([part.output] * 2, [part.logsumexp] * 2)
    assert not library.numpy(merged.output).any()
    assert (library.numpy(merged.logsumexp) == -np.inf).all()
    none = flash_attention(arrays[0][:, :, :0, :], *arrays[1:])
    assert none.output.shape == (BATCH, HEADS, 0, D_V)


def test_all_is_on_the_device_of_the_query():
    device = array_api_strict.Device("device1")
    inputs = [array_api_strict.asarray(x, device=device) for x in draw_inputs(12)]
    tiles = {"q_tile": 2, "kv_tile": 3}
    tiles |= {"mask": mask_tiles(causal_mask, q_start=2, like=inputs[0])}
    part = flash_attention(*inputs, **tiles)
    gradients = flash_attention_backward(part.output, *inputs, *part, **tiles)
    nobody = flash_attention(inputs[0][:0, ...], *(x[:0, ...] for x in inputs[1:]))
    assert {x.device for x in (*part, *gradients[:3], *nobody)} == {device}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_whole(dtype):
    shape = (2, 257, 16)
    inputs = [x.astype(dtype) for x in draw(9, shape, shape, shape)]
    exact = scaled_dot_product_attention(*(x.astype(float) for x in inputs))
    whole = scaled_dot_product_attention(*inputs)
    part = flash_attention(*inputs, q_tile=64, kv_tile=64)
    assert part.output.dtype == dtype
    assert part.logsumexp.dtype == np.float32
    assert np.abs(part.output - exact).max() <= 2 * np.abs(whole - exact).max()


def test_scores_that_grow_from_tile_to_tile_do_not_overflow(library):
    query = library.array(np.ones((1, 1), dtype=np.float32))
    key = library.array(np.array([[-1e30], [0.0], [1e30]], dtype=np.float32))
    part = flash_attention(query, key, key, kv_tile=1)
    np.testing.assert_array_equal(library.numpy(part.output), library.numpy(key[2:, :]))


def test_memory_is_linear_and_a_pool_changes_no_bit():
    def peak(length):
        inputs = [x.astype(np.float32) for x in draw(10, *[(length, 8)] * 3)]
        tracemalloc.start()
        part = flash_attention(*inputs, mask=mask_tiles(causal_mask), q_tile=64, kv_tile=64)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        with ThreadPoolExecutor(2) as pool:
            pooled = flash_attention(
                *inputs, mask=mask_tiles(causal_mask), q_tile=64, kv_tile=64, map_blocks=pool.map
            )
        np.testing.assert_array_equal(pooled.output, part.output)
        return most

    short, long = peak(500), peak(2000)
    assert long < 4 * short
    assert long < 2000 * 2000  # less than one byte a score


def test_one_tile_of_scores_is_in_memory_at_a_time():
    inputs = draw(11, *[(1000, 4)] * 3)
    tracemalloc.start()
    flash_attention(*inputs, q_tile=250, kv_tile=250)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1.6 * 250 * 250 * 8


@pytest.mark.parametrize("asked", ["query", "key", "value", "sink"])
def test_one_gradient_alone_is_right_where_others_are_computed_in_place(asked):
    names = ["query", "key", "value", "sink"]
    arrays = dict(zip(names, [*draw_inputs(12), *draw(13, HEADS)], strict=True))
    tensors = {n: torch.asarray(x).requires_grad_(n == asked) for n, x in arrays.items()}
    tiled = flash_attention(**tensors, q_tile=3, kv_tile=2).output
    whole = attention_stages(**tensors).output
    found, expected = (
        torch.autograd.grad((output**2).sum(), tensors[asked])[0] for output in (tiled, whole)
    )
    torch.testing.assert_close(found, expected, **CLOSE)


X, Y = np.zeros((5, 3)), np.zeros((7, 3))
PART = X, X[:, 0]  # an output and its log-sum-exp


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: flash_attention(X, Y, Y, q_tile=0),
            ValueError,
            "q_tile must be at least 1, got 0",
        ),
        (
            lambda: flash_attention(X, Y, Y, kv_tile=2.0),
            TypeError,
            "kv_tile must be an integer, got float",
        ),
        (
            lambda: flash_attention(X, Y, Y, mask=np.ones((5, 6), dtype=bool)),
            ValueError,
            "mask must have shape that broadcasts to (*batch, q_len, kv_len) = (5, 7), got (5, 6)",
        ),
        (
            lambda: flash_attention(X, Y, Y, mask=lambda q, k: np.ones((5, 6), dtype=bool)),
            ValueError,
            "mask must have shape that broadcasts to its tile, (5, 7), got (5, 6)",
        ),
        (
            lambda: flash_attention(X, Y, Y, mask=lambda q, k: torch.ones(1, dtype=torch.bool)),
            TypeError,
            "mask must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: flash_attention(X, Y, Y, bias=lambda q, k: np.ones(7, dtype=bool)),
            TypeError,
            "bias must have a real floating dtype, got bool",
        ),
        (
            lambda: flash_attention(X, Y, Y, softcap=0.0),
            ValueError,
            "softcap must be a finite number above zero, got 0.0",
        ),
        (
            lambda: flash_attention_backward(Y, X, Y, Y, *PART),
            ValueError,
            "gradient must have shape (5, 3), got (7, 3)",
        ),
        (
            lambda: flash_attention_backward(X, X, Y, Y, Y, X[:, 0]),
            ValueError,
            "output must have shape (5, 3), got (7, 3)",
        ),
        (
            lambda: flash_attention_backward(X, X, Y, Y, X, X),
            ValueError,
            "logsumexp must have shape (5,), got (5, 3)",
        ),
        (
            lambda: merge_partial([], []),
            ValueError,
            "logsumexps must be as many as outputs, at least one, got 0 and 0",
        ),
        (
            lambda: merge_partial([X], []),
            ValueError,
            "logsumexps must be as many as outputs, at least one, got 0 and 1",
        ),
        (
            lambda: merge_partial([X, Y], [X[:, 0], Y[:, 0]]),
            ValueError,
            "outputs[1] must have shape (5, 3), got (7, 3)",
        ),
        (
            lambda: merge_partial([X], [X]),
            ValueError,
            "logsumexps[0] must have shape (5,), got (5, 3)",
        ),
        (
            lambda: mask_tiles(prefix_mask, prefix=2),
            ValueError,
            "mask must depend on the distance of query and key alone, as causal_mask and "
            "sliding_window_mask do, got prefix_mask",
        ),
        (
            lambda: mask_tiles(streaming_mask, left=1, sink_tokens=2),
            ValueError,
            "mask must depend on the distance of query and key alone, as causal_mask and "
            "sliding_window_mask do, got streaming_mask",
        ),
        (
            lambda: flash_attention(X, Y, Y, q_tile=2.0),
            TypeError,
            "q_tile must be an integer, got float",
        ),
        (
            lambda: flash_attention(X, Y, Y, kv_tile=0),
            ValueError,
            "kv_tile must be at least 1, got 0",
        ),
        (
            lambda: flash_attention(X, Y.astype(np.float32), Y),
            TypeError,
            "key must have the dtype of query (float64), got float32",
        ),
        (
            lambda: flash_attention(X, Y, X),
            ValueError,
            "value must have shape (kv_len=7, d_v), got (5, 3)",
        ),
        (
            lambda: flash_attention(X, Y, Y, scale=np.nan),
            ValueError,
            "scale must be a finite number, got nan",
        ),
        (
            lambda: flash_attention(X, Y, Y, sink=np.zeros(5)),
            ValueError,
            "sink must have shape that broadcasts to (*batch) = (), got (5,)",
        ),
        (
            lambda: flash_attention(X, Y, Y, bias=np.zeros((5, 6))),
            ValueError,
            "bias must have shape that broadcasts to (*batch, q_len, kv_len) = (5, 7), got (5, 6)",
        ),
        (
            lambda: flash_attention(X, Y, Y, mask=lambda q, k: np.ones((5, 7))),
            TypeError,
            "mask must be boolean, True where a query may attend, got float64: numbers would be "
            "added to the scores, where 0 and 1 hide nothing (0 and -inf do: pass them as bias)",
        ),
        (
            lambda: flash_attention(X, Y, Y, bias=lambda q, k: torch.ones(7)),
            TypeError,
            "bias must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: flash_attention(X, Y, Y, bias=lambda q, k: np.ones((5, 6))),
            ValueError,
            "bias must have shape that broadcasts to its tile, (5, 7), got (5, 6)",
        ),
        (
            lambda: flash_attention_backward(X.astype(int), X, Y, Y, *PART),
            TypeError,
            "gradient must have a real floating dtype, got int64",
        ),
        (
            lambda: flash_attention_backward(torch.asarray(X), X, Y, Y, *PART),
            TypeError,
            "gradient must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: merge_partial([X[0]], [X[0, 0]]),
            ValueError,
            "outputs[0] must have shape (..., q_len, d_v), got (3,)",
        ),
        (
            lambda: merge_partial([X, torch.asarray(X)], [X[:, 0]] * 2),
            TypeError,
            "outputs[1] must be an array of the library of outputs[0] (numpy), got torch",
        ),
        (
            lambda: merge_partial([X], [torch.asarray(X[:, 0])]),
            TypeError,
            "logsumexps[0] must be an array of the library of outputs[0] (numpy), got torch",
        ),
        (
            lambda: merge_partial([X], [X[:, 0].astype(int)]),
            TypeError,
            "logsumexps[0] must have a real floating dtype, got int64",
        ),
        (
            lambda: merge_partial([X, X.astype(int)], [X[:, 0]] * 2),
            TypeError,
            "outputs[1] must have a real floating dtype, got int64",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
