import math

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    causal_mask,
    expand_block_mask,
    grouped_query_attention,
    native_sparse_attention,
    select_blocks,
    sliding_window_mask,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, KV_HEADS, LENGTH, D_K, D_V = 2, 6, 2, 23, 5, 7
SIZES = {"block_size": 3, "blocks": 4, "left": 4}  # seven whole blocks, and one cut short
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def draw(seed, q_len=LENGTH):
    rng = np.random.default_rng(seed)
    query = 2 * rng.standard_normal((BATCH, HEADS, q_len, D_K))
    key = rng.standard_normal((BATCH, KV_HEADS, LENGTH, D_K))
    value = rng.standard_normal((BATCH, KV_HEADS, LENGTH, D_V))
    return [query, key, value, rng.standard_normal((BATCH, HEADS, q_len, 3))]


def one_hot(branch, q_len=LENGTH):
    gates = np.full((BATCH, HEADS, q_len, 3), -np.inf)
    gates[..., branch] = np.inf
    return gates


def means(x, block_size):
    """Return the mean of each complete block."""
    starts = range(0, x.shape[-2] - block_size + 1, block_size)
    return np.stack([x[..., s : s + block_size, :].mean(-2) for s in starts], axis=-2)


def attend_slowly(q, keys, values):
    """Return the weights and the output of one query."""
    powers = [math.exp(math.fsum(q * k) / math.sqrt(len(q))) for k in keys]
    weights = [power / math.fsum(powers) for power in powers]
    zero = np.zeros(D_V)
    return weights, sum((w * v for w, v in zip(weights, values, strict=True)), zero)


def nsa_slowly(query, key, value, gates, compressed_key, compressed_value, sizes, q_start=0):
    """Compute one group, a query at a time, by lists of positions; return output and blocks."""
    size, n = sizes["block_size"], sizes["blocks"]
    output, selected = np.zeros((*query.shape[:-1], D_V)), []
    for i in range(query.shape[1]):
        t = q_start + i
        whole = (t + 1) // size  # blocks complete at the query's position
        branches, importance = [], [0.0] * whole
        for q in query[:, i]:
            weights, compressed = attend_slowly(q, compressed_key[:whole], compressed_value[:whole])
            importance = [a + b for a, b in zip(importance, weights, strict=True)]
            branches.append([compressed])
        fixed = {0, max(t // size - 1, 0), t // size}
        rest = sorted(set(range(whole)) - fixed, key=lambda b: (-importance[b], b))
        chosen = sorted(fixed | set(rest[: n - len(fixed)]))
        selected.append(chosen)
        seen = [j for b in chosen for j in range(b * size, min((b + 1) * size, t + 1))]
        window = range(max(t - sizes["left"], 0), t + 1)
        for h, q in enumerate(query[:, i]):
            for places in (seen, list(window)):
                branches[h].append(attend_slowly(q, key[places], value[places])[1])
            for gate, part in zip(gates[h, i], branches[h], strict=True):
                output[h, i] += part / (1 + math.exp(-gate))
    return output, selected


@given(
    seed=seeds, blocks=st.integers(3, 9), learned=st.booleans(), q_start=st.sampled_from([0, 16])
)
def test_it_agrees_with_a_loop(library, seed, blocks, learned, q_start):
    query, key, value, gates = draw(seed, LENGTH - q_start)
    sizes = SIZES | {"blocks": blocks}
    compressed_key, compressed_value = means(key, 3), means(value, 3)
    options = {}
    if learned:
        compressed_key, compressed_value = np.tanh(compressed_key), 2 * compressed_value
        options["compressed_key"] = library.array(compressed_key)
        options["compressed_value"] = library.array(compressed_value)
    arrays = list(map(library.array, (query, key, value, gates)))
    found = native_sparse_attention(*arrays, **sizes, q_start=q_start, **options)
    chosen = select_blocks(
        arrays[0],
        library.array(compressed_key),
        LENGTH,
        block_size=3,
        blocks=blocks,
        q_start=q_start,
    )
    group = HEADS // KV_HEADS
    for b, g in np.ndindex(BATCH, KV_HEADS):
        shared = slice(g * group, (g + 1) * group)
        expected, places = nsa_slowly(
            query[b, shared],
            key[b, g],
            value[b, g],
            gates[b, shared],
            compressed_key[b, g],
            compressed_value[b, g],
            sizes,
            q_start,
        )
        np.testing.assert_allclose(library.numpy(found)[b, shared], expected, **CLOSE)
        marks = library.numpy(chosen)[b, g]
        assert [np.flatnonzero(row).tolist() for row in marks] == places


def test_with_every_block_selected_and_its_gate_alone_it_is_full_attention(library):
    query, key, value, _ = draw(1)
    arrays = list(map(library.array, (query, key, value)))
    full = library.numpy(grouped_query_attention(*arrays, mask=causal_mask(LENGTH, like=arrays[0])))
    gates = library.array(one_hot(1))
    found = native_sparse_attention(*arrays, gates, **SIZES | {"blocks": 8})
    np.testing.assert_allclose(library.numpy(found), full, **CLOSE)
    fewer = library.numpy(native_sparse_attention(*arrays, gates, **SIZES | {"blocks": 7}))
    assert not np.allclose(fewer, full)
    gates = library.array(one_hot(2))
    found = native_sparse_attention(*arrays, gates, **SIZES | {"left": None})
    np.testing.assert_allclose(library.numpy(found), full, **CLOSE)
    found = native_sparse_attention(*arrays, library.array(one_hot(0)), **SIZES | {"block_size": 1})
    np.testing.assert_allclose(library.numpy(found), full, **CLOSE)


def test_each_gate_opens_one_branch(library):
    query, key, value, gates = draw(2)
    parts = []
    for branch in range(3):
        arrays = map(library.array, (query, key, value, one_hot(branch)))
        parts.append(library.numpy(native_sparse_attention(*arrays, **SIZES)))
    window = sliding_window_mask(LENGTH, left=4)
    np.testing.assert_allclose(
        parts[2], grouped_query_attention(query, key, value, mask=window), **CLOSE
    )
    complete = np.arange(1, LENGTH + 1)[:, None] >= 3 * np.arange(1, 8)
    compressed = grouped_query_attention(query, means(key, 3), means(value, 3), mask=complete)
    np.testing.assert_allclose(parts[0], compressed, **CLOSE)
    assert not parts[0][..., :2, :].any()  # no block is complete yet
    chosen = select_blocks(query, means(key, 3), LENGTH, block_size=3, blocks=4)
    mask = expand_block_mask(chosen, LENGTH, LENGTH, q_block=1, kv_block=3) & causal_mask(LENGTH)
    mask = np.repeat(mask, 3, axis=1)
    np.testing.assert_allclose(
        parts[1], grouped_query_attention(query, key, value, mask=mask), **CLOSE
    )
    whole = library.numpy(
        native_sparse_attention(*map(library.array, (query, key, value, gates)), **SIZES)
    )
    passed = 1 / (1 + np.exp(-gates))
    expected = sum(passed[..., c : c + 1] * part for c, part in enumerate(parts))
    np.testing.assert_allclose(whole, expected, **CLOSE)


def test_the_scale_reaches_every_branch_and_the_selection(library):
    query, key, value, gates = draw(11)
    scale = 4 / math.sqrt(D_K)  # a power of two more than the default: no rounding differs
    arrays = list(map(library.array, (query, key, value, gates)))
    found = native_sparse_attention(*arrays, **SIZES, scale=scale)
    larger = native_sparse_attention(library.array(4 * query), *arrays[1:], **SIZES)
    np.testing.assert_allclose(library.numpy(found), library.numpy(larger), **CLOSE)
    plain = native_sparse_attention(*arrays, **SIZES)
    assert not np.allclose(library.numpy(found), library.numpy(plain))


def test_a_group_shares_its_blocks_and_the_groups_do_not(library):
    query, key, _, _ = draw(3)
    order = np.array([2, 0, 1, 5, 3, 4])  # within the groups
    found, same, other = (
        library.numpy(
            select_blocks(
                library.array(x), library.array(means(key, 3)), LENGTH, block_size=3, blocks=4
            )
        )
        for x in (query, query[:, order], query[:, [5, 4, 3, 2, 1, 0]])
    )
    assert found.shape == (BATCH, KV_HEADS, LENGTH, 8)
    np.testing.assert_array_equal(same, found)
    assert (other != found).any()
    assert (found[:, 0] != found[:, 1]).any()


@pytest.mark.parametrize("bad", [1.0, np.nan, np.inf])
@pytest.mark.parametrize("cut", [1, 9, 13, 22])
def test_the_future_changes_no_bit(library, cut, bad):
    query, key, value, gates = draw(4)
    before = native_sparse_attention(*map(library.array, (query, key, value, gates)), **SIZES)
    for x in (query, key, value):
        x[:, :, cut:, 1] += bad
    after = native_sparse_attention(*map(library.array, (query, key, value, gates)), **SIZES)
    earlier, later = (library.numpy(x)[:, :, :cut] for x in (before, after))
    np.testing.assert_array_equal(later, earlier)
    assert not np.array_equal(library.numpy(after), library.numpy(before))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nor_does_it_put_a_nan_into_the_gradient(bad):
    found = []
    for filler in (0.0, bad):
        arrays = draw(5)
        for x in arrays[1:3]:
            x[:, :, 14:, 1] = filler
        inputs = [torch.asarray(x).requires_grad_() for x in arrays]
        output = native_sparse_attention(*inputs, **SIZES)[:, :, :14]
        found.append((output, *torch.autograd.grad((output**2).sum(), inputs)))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_one_query_after_the_other_is_the_whole(library):
    query, key, value, gates = map(library.array, draw(6))
    whole = library.numpy(native_sparse_attention(query, key, value, gates, **SIZES))
    for t in (0, 2, 11, 22):
        one = native_sparse_attention(
            query[:, :, t : t + 1, :],
            key[:, :, : t + 1, :],
            value[:, :, : t + 1, :],
            gates[:, :, t : t + 1, :],
            q_start=t,
            **SIZES,
        )
        np.testing.assert_allclose(library.numpy(one)[:, :, 0], whole[:, :, t], **CLOSE)


def test_a_query_before_all_keys_gives_zero_and_so_does_its_gradient():
    inputs = [torch.asarray(x).requires_grad_() for x in draw(7)]
    output = native_sparse_attention(*inputs, **SIZES, q_start=-4)
    assert not output[:, :, :4].any()
    assert output[:, :, 4:].all()
    for gradient in torch.autograd.grad(output[:, :, :4].sum(), inputs):
        assert not gradient.any()


def test_gradients_agree_with_finite_differences():
    query, key, value, gates = (torch.asarray(x[:1, :, :5, :3]) for x in draw(8))
    inputs = [
        x.requires_grad_()
        for x in (query[:, :2, :, :2], key[:, :1, :, :2], value[:, :1, :, :1], gates[:, :2])
    ]

    def attend(*inputs):
        return native_sparse_attention(*inputs, block_size=1, blocks=3, left=1)

    assert torch.autograd.gradcheck(attend, inputs)


def test_fewer_keys_than_a_block_or_none(library):
    query, key, value, _ = map(library.array, draw(9))
    gates = library.array(one_hot(1))
    long = native_sparse_attention(query, key, value, gates, block_size=29, blocks=3, left=1)
    full = grouped_query_attention(query, key, value, mask=causal_mask(LENGTH, like=query))
    np.testing.assert_allclose(library.numpy(long), library.numpy(full), **CLOSE)
    nothing = native_sparse_attention(
        query, key[:, :, :0, :], value[:, :, :0, :], gates, q_start=0, **SIZES
    )
    assert nothing.shape == (BATCH, HEADS, LENGTH, D_V)
    assert not library.numpy(nothing).any()


def test_an_infinite_value_counts_as_nan_where_it_is_seen():
    query, key, value, gates = draw(12)
    value[0, 0, 4, 2] = np.inf
    found = native_sparse_attention(query, key, value, gates, **SIZES)
    group = found[0, : HEADS // KV_HEADS, :, 2]
    assert np.isnan(group[:, 4]).all()  # of the window, in which no other branch sees it
    assert not np.isinf(found).any()
    group[:] = 0
    assert np.isfinite(found).all()


def test_one_sequence_alone_needs_no_batch():
    query, key, _, _ = draw(13)
    summaries, sizes = key[:, :, :7], {"block_size": 3, "blocks": 4}
    chosen = select_blocks(query, summaries, LENGTH, **sizes)
    alone = select_blocks(query[1], summaries[1], LENGTH, **sizes)
    np.testing.assert_array_equal(alone, chosen[1])


def test_all_is_on_the_device_of_the_query():
    device = array_api_strict.Device("device1")
    inputs = [array_api_strict.asarray(x, device=device) for x in draw(11)]
    assert native_sparse_attention(*inputs, **SIZES).device == device


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_error_is_at_most_twice_that_of_float32(dtype):
    dtype = getattr(torch, dtype)
    arrays = [torch.asarray(x).to(dtype) for x in draw(10)]
    every = SIZES | {"blocks": 8}  # what is selected could change with the precision

    def formula(working):
        query, key, value, gates = (x.to(working) for x in arrays)
        key, value = (x.repeat_interleave(3, 1) for x in (key, value))
        t = torch.arange(LENGTH)[:, None]
        j = torch.arange(LENGTH)
        summaries = (x[:, :, :21].unflatten(2, (7, 3)).mean(3) for x in (key, value))
        output = torch.zeros((), dtype=working)
        for c, (k, v, sees) in enumerate(
            (
                (*summaries, 3 * torch.arange(1, 8) <= t + 1),
                (key, value, j <= t),
                (key, value, (j <= t) & (j >= t - 4)),
            )
        ):
            scores = torch.where(sees, query @ k.mT / D_K**0.5, -torch.inf)
            scores = torch.where(sees.any(-1, keepdim=True), scores, 0.0)
            weights = torch.where(sees, torch.softmax(scores, -1), 0.0)
            output = output + torch.sigmoid(gates[..., c : c + 1]) * (weights @ v)
        return output

    exact, plain = formula(torch.float64), formula(torch.float32)
    found = native_sparse_attention(*arrays, **every)
    assert found.dtype == dtype
    allowed = 2 * (plain.to(dtype).double() - exact).abs().max()
    assert (found.double() - exact).abs().max() <= allowed


Q, K, G = np.zeros((2, 6, 5, 3)), np.zeros((2, 2, 5, 3)), np.zeros((2, 6, 5, 3))
SMALL = {"block_size": 2, "blocks": 3, "left": 1}


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: native_sparse_attention(Q, K, K, G[..., :2], **SMALL),
            ValueError,
            "gates must have shape (*batch, heads, q_len, 3) = (2, 6, 5, 3), got (2, 6, 5, 2)",
        ),
        (
            lambda: native_sparse_attention(Q, K, K, G.astype(int), **SMALL),
            TypeError,
            "gates must have a real floating dtype, got int64",
        ),
        (
            lambda: native_sparse_attention(Q, K[:, [0] * 4], K, G, **SMALL),
            ValueError,
            "kv_heads must divide heads=6, got 4",
        ),
        (
            lambda: native_sparse_attention(Q, K.astype(np.float32), K, G, **SMALL),
            TypeError,
            "key must have the dtype of query (float64), got float32",
        ),
        (
            lambda: native_sparse_attention(Q, K, K.astype(int), G, **SMALL),
            TypeError,
            "value must have a real floating dtype, got int64",
        ),
        (
            lambda: native_sparse_attention(Q, K, K, G, **SMALL | {"block_size": 0}),
            ValueError,
            "block_size must be at least 1, got 0",
        ),
        (
            lambda: native_sparse_attention(Q, K, K, G, **SMALL | {"blocks": 2}),
            ValueError,
            "blocks must be at least 3, for the first and the last two, got 2",
        ),
        (
            lambda: native_sparse_attention(Q, K, K, G, **SMALL, compressed_key=K),
            ValueError,
            "compressed_key must have shape (2, 2, kv_len // block_size = 2, 3), got (2, 2, 5, 3)",
        ),
        (
            lambda: native_sparse_attention(Q, K, K, G, **SMALL, compressed_value=[]),
            TypeError,
            "compressed_value must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: select_blocks(Q, K, 5, block_size=2, blocks=3),
            ValueError,
            "compressed_key must have shape (2, kv_heads, kv_len // block_size = 2, d_k=3), "
            "got (2, 2, 5, 3)",
        ),
        (
            lambda: select_blocks(Q, K[:, :, :2, :2], 5, block_size=2, blocks=3),
            ValueError,
            "compressed_key must have shape (2, kv_heads, kv_len // block_size = 2, d_k=3), "
            "got (2, 2, 2, 2)",
        ),
        (
            lambda: select_blocks(Q, K[:, :, :2], 5.0, block_size=2, blocks=3),
            TypeError,
            "kv_len must be an integer, got float",
        ),
        (
            lambda: native_sparse_attention(Q.astype(int), K, K, G, **SMALL),
            TypeError,
            "query must have a real floating dtype, got int64",
        ),
        (
            lambda: native_sparse_attention(Q, K.astype(int), K, G, **SMALL),
            TypeError,
            "key must have a real floating dtype, got int64",
        ),
        (
            lambda: native_sparse_attention(Q, K, K, torch.asarray(G), **SMALL),
            TypeError,
            "gates must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: native_sparse_attention(
                Q, K, K, G, **SMALL, compressed_key=torch.asarray(K[:, :, :2])
            ),
            TypeError,
            "compressed_key must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: native_sparse_attention(
                Q, K, K, G, **SMALL, compressed_value=K[:, :, :2].astype(int)
            ),
            TypeError,
            "compressed_value must have a real floating dtype, got int64",
        ),
        (
            lambda: select_blocks(Q, K[:, :, :2], 5, block_size=0, blocks=3),
            ValueError,
            "block_size must be at least 1, got 0",
        ),
        (
            lambda: select_blocks(Q, K[:, :, :0], -1, block_size=2, blocks=3),
            ValueError,
            "kv_len must be at least 0, got -1",
        ),
        (
            lambda: select_blocks(Q, K[:, :, :2], 5, block_size=2, blocks=3, q_start=0.5),
            TypeError,
            "q_start must be an integer, got float",
        ),
        (
            lambda: select_blocks(Q[0, 0], K[:, :, :2], 5, block_size=2, blocks=3),
            ValueError,
            "query must have shape (..., heads, q_len, d_k), got (5, 3)",
        ),
        (
            lambda: select_blocks(Q, torch.asarray(K[:, :, :2]), 5, block_size=2, blocks=3),
            TypeError,
            "compressed_key must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: select_blocks(Q.astype(int), K[:, :, :2], 5, block_size=2, blocks=3),
            TypeError,
            "query must have a real floating dtype, got int64",
        ),
        (
            lambda: select_blocks(Q, K[:, :, :2].astype(int), 5, block_size=2, blocks=3),
            TypeError,
            "compressed_key must have a real floating dtype, got int64",
        ),
        (
            lambda: select_blocks(Q, K[:, [0] * 4, :2], 5, block_size=2, blocks=3),
            ValueError,
            "kv_heads must divide heads=6, got 4",
        ),
        (
            lambda: select_blocks(Q[0], K[0, 0, :2], 5, block_size=2, blocks=3),
            ValueError,
            "compressed_key must have shape (kv_heads, kv_len // block_size = 2, d_k=3), "
            "got (2, 3)",
        ),
        (
            lambda: native_sparse_attention(
                Q, K, K, G, **SMALL | {"block_size": 1}, compressed_key=K[:, :, :2]
            ),
            ValueError,
            "compressed_key must have shape (2, 2, kv_len // block_size = 5, 3), got (2, 2, 2, 3)",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
