import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from attention_ref import (
    KVCache,
    attention_backward,
    attention_backward_flops,
    attention_bytes,
    attention_flops,
    causal_mask,
    flash_attention,
    flash_attention_backward,
    flash_attention_backward_flops,
    flash_attention_bytes,
    kv_cache_bytes,
    latent_cache_bytes,
    mask_tiles,
    multi_head_attention,
    projection_flops,
    scaled_dot_product_attention,
    sliding_window_mask,
    visible_pairs,
)

BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 5, 7, 11, 13
SIZES = {"heads": HEADS, "d_k": D_K, "d_v": D_V}
BYTES = {**SIZES, "kv_heads": HEADS, "itemsize": 8}
bounds = st.none() | st.integers(0, 5)
lengths = st.integers(0, 9)


def draw(*shapes):
    rng = np.random.default_rng(1)
    return [torch.asarray(rng.standard_normal(shape)) for shape in shapes]


def draw_inputs():
    lead = BATCH, HEADS
    return draw((*lead, Q_LEN, D_K), (*lead, KV_LEN, D_K), (*lead, KV_LEN, D_V))


def counted(function):
    """Return how many operations in products of matrices PyTorch sees the function run."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@given(q_len=lengths, kv_len=lengths, left=bounds, right=bounds, start=st.integers(-4, 12))
def test_pairs_are_the_trues_of_the_mask(q_len, kv_len, left, right, start):
    window = {"left": left, "right": right, "q_start": start}
    mask = sliding_window_mask(q_len, kv_len, **window)
    assert visible_pairs(q_len, kv_len, **window) == mask.sum()
    assert visible_pairs(q_len, left=left, right=right) == (
        sliding_window_mask(q_len, left=left, right=right).sum()
    )
    assert visible_pairs(q_len, kv_len, q_start=start) == (
        causal_mask(q_len, kv_len, q_start=start).sum()
    )


def test_pairs_need_no_mask_in_memory():
    n = 100_000
    assert visible_pairs(n) == n * (n + 1) // 2
    assert visible_pairs(n, left=None, right=None) == n * n
    assert visible_pairs(n, left=1023) == 1024 * n - 1023 * 1024 // 2


@pytest.mark.parametrize("mask", [None, causal_mask(Q_LEN, KV_LEN, q_start=2)])
def test_operations_of_attention_and_of_autograd_are_as_counted(mask):
    inputs = [x.requires_grad_() for x in draw_inputs()]
    mask = None if mask is None else torch.asarray(mask)
    pairs = Q_LEN * KV_LEN  # a mask that is applied to scores saves nothing
    forward = counted(lambda: scaled_dot_product_attention(*inputs, mask=mask))
    assert forward == BATCH * attention_flops(pairs, **SIZES)
    output = scaled_dot_product_attention(*inputs, mask=mask)
    backward = counted(lambda: torch.autograd.grad(output.sum(), inputs))
    assert backward == BATCH * attention_backward_flops(pairs, **SIZES)
    detached = [x.detach() for x in (output, *inputs)]
    by_hand = counted(lambda: attention_backward(*detached, mask=mask))
    assert by_hand == forward + backward


@given(left=bounds, right=bounds, start=st.integers(-2, 4))
def test_operations_of_tiles_are_those_of_the_visible_pairs(left, right, start):
    inputs = [x[0, :1] for x in draw_inputs()]
    sizes = SIZES | {"heads": 1}
    window = {"left": left, "right": right, "q_start": start}
    pairs = visible_pairs(Q_LEN, KV_LEN, **window)
    tile = mask_tiles(sliding_window_mask, **window, like=inputs[0])
    options = {"mask": tile, "q_tile": 1, "kv_tile": 1}
    forward = counted(lambda: flash_attention(*inputs, **options))
    sums = 2 * pairs  # of the powers: as products with ones they are counted here
    assert forward == attention_flops(pairs, **sizes) + sums
    part = flash_attention(*inputs, **options)
    backward = counted(lambda: flash_attention_backward(part.output, *inputs, *part, **options))
    assert backward == flash_attention_backward_flops(pairs, **sizes)


def test_the_backward_pass_is_twice_or_two_and_a_half_times_the_forward_pass():
    forward = attention_flops(100, heads=2, d_k=7, d_v=7)
    assert attention_backward_flops(100, heads=2, d_k=7, d_v=7) == 2 * forward
    assert 2 * flash_attention_backward_flops(100, heads=2, d_k=7, d_v=7) == 5 * forward


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("cross", [False, True])
def test_operations_of_a_layer_are_as_counted(kv_heads, cross):
    d_model, heads, d_k, d_v = 19, 4, 3, 5
    shapes = (heads * d_k, kv_heads * d_k, kv_heads * d_v)
    arrays = draw((BATCH, 5, d_model), *((d_model, n) for n in shapes), (heads * d_v, d_model))
    arrays = [x.requires_grad_() for x in arrays]
    (context,) = draw((BATCH, 7, d_model)) if cross else [None]
    kv_len = 7 if cross else 5
    options = {"heads": heads, "kv_heads": kv_heads, "context": context}
    forward = counted(lambda: multi_head_attention(*arrays, **options))
    inside = {"heads": heads, "d_k": d_k, "d_v": d_v}
    projections = projection_flops(5, kv_len, d_model=d_model, kv_heads=kv_heads, **inside)
    attention = attention_flops(5 * kv_len, **inside)  # the same for any number of kv_heads
    assert forward == BATCH * (projections + attention)
    if not cross:
        output = multi_head_attention(*arrays, **options).sum()
        backward = counted(lambda: torch.autograd.grad(output, arrays))
        assert backward == 2 * forward


def test_attention_overtakes_the_projections_at_twice_the_size_of_the_model():
    sizes = {"heads": 4, "d_k": 8, "d_v": 8}
    for length, sign in ((63, -1), (64, 0), (65, 1)):
        projections = projection_flops(length, length, d_model=32, kv_heads=4, **sizes)
        difference = attention_flops(length**2, **sizes) - projections
        assert np.sign(difference) == sign


class ByteCounter(TorchDispatchMode):
    """Count the bytes that products and softmaxes read and write."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.bmm, torch.ops.aten._softmax):
            arrays = [x for x in (*args, result) if isinstance(x, torch.Tensor)]
            self.total += sum(x.numel() * x.element_size() for x in arrays)
        return result


def test_bytes_of_the_plain_formula_are_as_counted():
    query, key, value = (x[0] for x in draw_inputs())
    with ByteCounter() as counter:
        torch.softmax(query @ key.mT, -1) @ value
    assert counter.total == attention_bytes(Q_LEN, KV_LEN, **BYTES)


@pytest.mark.parametrize("q_tile", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("kv_tile", [1, 3, 100])
def test_bytes_of_tiles_are_as_counted(q_tile, kv_tile):
    inputs = [x[0].numpy() for x in draw_inputs()]
    moved = 0

    def bias(queries, keys):  # called once for each tile that is computed
        nonlocal moved
        moved += inputs[1][0, keys].nbytes + inputs[2][0, keys].nbytes
        if keys.start == 0:  # each block of queries is read once, and its output written
            moved += (queries.stop - queries.start) * (D_K + D_V) * 8

    flash_attention(*inputs, bias=bias, q_tile=q_tile, kv_tile=kv_tile)
    assert moved == flash_attention_bytes(Q_LEN, KV_LEN, **BYTES, q_tile=q_tile)


def test_with_all_queries_in_one_tile_everything_moves_once():
    inputs = [x[0].numpy() for x in draw_inputs()]
    output = scaled_dot_product_attention(*inputs)
    least = sum(x.nbytes for x in (*inputs, output))
    assert flash_attention_bytes(Q_LEN, KV_LEN, **BYTES, q_tile=Q_LEN) == least
    scores = HEADS * Q_LEN * KV_LEN * 8
    assert attention_bytes(Q_LEN, KV_LEN, **BYTES) == least + 4 * scores
    shared = flash_attention_bytes(Q_LEN, KV_LEN, **BYTES | {"kv_heads": 1}, q_tile=Q_LEN)
    assert shared == least - 2 * (inputs[1][0].nbytes + inputs[2][0].nbytes)
    assert attention_bytes(0, KV_LEN, **BYTES) == 0


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_a_cache_has_as_many_bytes_as_its_arrays(kv_heads):
    key, value = (x.numpy() for x in draw((kv_heads, 1, D_K), (kv_heads, 1, D_V)))
    sizes = {"layers": 1, "kv_heads": kv_heads, "d_k": D_K, "d_v": D_V, "itemsize": 8}
    whole = rolling = KVCache.empty(key, value)
    left = 3
    for length in range(1, 9):
        whole, rolling = whole.append(key, value), rolling.append(key, value)
        assert whole.key.nbytes + whole.value.nbytes == kv_cache_bytes(length, **sizes)
        kept = min(length, left + 1)
        assert rolling.key.nbytes + rolling.value.nbytes == kv_cache_bytes(kept, **sizes)
        rolling = rolling.last(left)
    layers = kv_cache_bytes(8, **sizes | {"layers": 17})
    assert layers == 17 * (whole.key.nbytes + whole.value.nbytes)


def test_what_latent_attention_keeps_is_enough_for_all_heads():
    heads, length, d_latent, d_rotary, d_nope, d_v = 3, 7, 5, 2, 11, 13
    latent, rotary_key, query, w_k, w_v = (
        x.numpy()
        for x in draw(
            (length, d_latent),
            (length, d_rotary),
            (heads, 1, d_nope + d_rotary),
            (heads, d_latent, d_nope),
            (heads, d_latent, d_v),
        )
    )
    shared = np.broadcast_to(rotary_key, (heads, length, d_rotary))
    key, scale = np.concat([latent @ w_k, shared], axis=-1), 1 / math.sqrt(d_nope + d_rotary)
    plain = scaled_dot_product_attention(query, key, latent @ w_v, scale=scale)
    # The query goes through the key's projection, so that the cache itself is key and value.
    absorbed = query[..., :d_nope] @ w_k.swapaxes(-1, -2)
    absorbed = np.concat([absorbed, query[..., d_nope:]], axis=-1)
    cache = np.concat([latent, rotary_key], axis=-1)
    output = scaled_dot_product_attention(
        absorbed.reshape(heads, d_latent + d_rotary), cache, latent, scale=scale
    )
    np.testing.assert_allclose(output[:, None] @ w_v, plain, rtol=1e-12)
    sizes = {"layers": 1, "d_latent": d_latent, "d_rotary": d_rotary, "itemsize": 8}
    assert cache.nbytes == latent_cache_bytes(length, **sizes)
    few = [torch.asarray(x) for x in (absorbed, np.stack([cache] * 3), np.stack([latent] * 3))]
    assert counted(lambda: scaled_dot_product_attention(*few)) == attention_flops(
        length, heads=heads, d_k=d_latent + d_rotary, d_v=d_latent
    )


def test_published_sizes():
    # DeepSeek-V2, table 1, for its 128 heads of 128 in 60 layers: elements a token.
    layers = {"layers": 60, "itemsize": 1}
    multi_head = kv_cache_bytes(1, kv_heads=128, d_k=128, d_v=128, **layers)
    latent = latent_cache_bytes(1, d_latent=512, d_rotary=64, **layers)
    assert multi_head == 2 * 128 * 128 * 60
    assert latent == 9 * 128 * 60 // 2
    assert round(multi_head / latent, 1) == 56.9


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: visible_pairs(5, 7),
            ValueError,
            "q_start must be given where q_len=5 and kv_len=7 differ: 0 gives query 0 position 0 "
            "(top-left), 2 gives the last query the last position (bottom-right)",
        ),
        (
            lambda: visible_pairs(5, left=-1),
            ValueError,
            "left must be at least 0, or None for no bound, got -1",
        ),
        (
            lambda: visible_pairs(5, right=1.0),
            TypeError,
            "right must be an integer, or None for no bound, got float",
        ),
        (
            lambda: visible_pairs(5, q_start=1.5),
            TypeError,
            "q_start must be an integer, got float",
        ),
        (
            lambda: attention_flops(2.0, **SIZES),
            TypeError,
            "pairs must be an integer, got float",
        ),
        (
            lambda: attention_backward_flops(2, heads=-1, d_k=1, d_v=1),
            ValueError,
            "heads must be at least 0, got -1",
        ),
        (
            lambda: flash_attention_backward_flops(2, heads=1, d_k=1, d_v=-1),
            ValueError,
            "d_v must be at least 0, got -1",
        ),
        (
            lambda: projection_flops(1, 1, d_model=True, heads=1, kv_heads=1, d_k=1, d_v=1),
            TypeError,
            "d_model must be an integer, got bool",
        ),
        (
            lambda: attention_bytes(-1, 1, **BYTES),
            ValueError,
            "q_len must be at least 0, got -1",
        ),
        (
            lambda: flash_attention_bytes(1, 1, **BYTES, q_tile=0),
            ValueError,
            "q_tile must be at least 1, got 0",
        ),
        (
            lambda: kv_cache_bytes(1, layers=1, kv_heads=1, d_k=1, d_v=1, itemsize=0.5),
            TypeError,
            "itemsize must be an integer, got float",
        ),
        (
            lambda: latent_cache_bytes(-2, layers=1, d_latent=1, d_rotary=1, itemsize=1),
            ValueError,
            "length must be at least 0, got -2",
        ),
        (
            lambda: visible_pairs(5, right=-1),
            ValueError,
            "right must be at least 0, or None for no bound, got -1",
        ),
        (
            lambda: projection_flops(1, 1, d_model=1, heads=1, kv_heads=-1, d_k=1, d_v=1),
            ValueError,
            "kv_heads must be at least 0, got -1",
        ),
        (
            lambda: flash_attention_bytes(1, 1, **BYTES | {"d_k": -1}, q_tile=1),
            ValueError,
            "d_k must be at least 0, got -1",
        ),
        (
            lambda: flash_attention_bytes(1, 1, **BYTES | {"itemsize": 0.5}, q_tile=1),
            TypeError,
            "itemsize must be an integer, got float",
        ),
        (
            lambda: kv_cache_bytes(-1, layers=1, kv_heads=1, d_k=1, d_v=1, itemsize=1),
            ValueError,
            "length must be at least 0, got -1",
        ),
        (
            lambda: latent_cache_bytes(1, layers=1, d_latent=-1, d_rotary=1, itemsize=1),
            ValueError,
            "d_latent must be at least 0, got -1",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
