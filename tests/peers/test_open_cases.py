"""What ONNX's cases leave open, beside PyTorch's attention in float64 or one row at a time."""

import math

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as torch_attention

from attention_ref import (
    alibi_bias,
    alibi_slopes,
    attention_stages,
    causal_mask,
    document_mask,
    expand_kv_heads,
    padding_mask,
    scaled_dot_product_attention,
)

BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 5, 7, 11, 13
SHAPE = (BATCH, HEADS, Q_LEN, KV_LEN)
# Both sum in float64, in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [2 * rng.standard_normal(shape) for shape in shapes]


def draw_inputs(seed, batch=BATCH, heads=HEADS, q_len=Q_LEN, kv_len=KV_LEN):
    lead = batch, heads
    return draw(seed, (*lead, q_len, D_K), (*lead, kv_len, D_K), (*lead, kv_len, D_V))


def draw_mask(seed, *shape):
    """Draw a mask of half True, in which each query sees the last key at least."""
    mask = np.random.default_rng(seed).random(shape) < 0.5
    mask[..., -1] = True
    return mask


def theirs(*arrays, mask=None, **options):
    """Call PyTorch's plain formula; its mask may be boolean or added."""
    mask = None if mask is None else torch.as_tensor(mask)
    with sdpa_kernel(SDPBackend.MATH):
        return torch_attention(*map(torch.as_tensor, arrays), attn_mask=mask, **options)


def ours(library, *arrays, **options):
    options = {
        name: library.array(option) if isinstance(option, np.ndarray) else option
        for name, option in options.items()
    }
    output = scaled_dot_product_attention(*map(library.array, arrays), **options)
    return library.numpy(output)


def assert_equal_gradients(found, expected, inputs):
    """Compare the gradients of two outputs along one direction, for every input."""
    direction = torch.asarray(draw(99, tuple(found.shape))[0])
    for a, b in zip(
        torch.autograd.grad((found * direction).sum(), inputs),
        torch.autograd.grad((expected * direction).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


class TestAMaskShorterThanTheKeys:
    def test_hides_the_others_once_it_is_filled_up(self, library):
        query, key, value = draw_inputs(1)
        short = draw_mask(1, Q_LEN, 4)
        filled = np.pad(short, [(0, 0), (0, KV_LEN - 4)])
        expected = theirs(query, key[..., :4, :], value[..., :4, :], mask=short)
        np.testing.assert_allclose(ours(library, query, key, value, mask=filled), expected, **CLOSE)
        (added,) = draw(2, (Q_LEN, 4))
        filled = np.pad(added, [(0, 0), (0, KV_LEN - 4)], constant_values=-np.inf)
        expected = theirs(query, key[..., :4, :], value[..., :4, :], mask=added)
        np.testing.assert_allclose(ours(library, query, key, value, bias=filled), expected, **CLOSE)

    @pytest.mark.parametrize("name", ["mask", "bias"])
    def test_is_refused_as_it_is(self, library, name):
        (added,) = draw(2, (Q_LEN, 4))
        short = {"mask": added > 0, "bias": added}[name]
        with pytest.raises(ValueError, match=rf"^{name} must have shape .*, got \(5, 4\)$"):
            ours(library, *draw_inputs(1), **{name: short})
        with pytest.raises(RuntimeError):  # as PyTorch does
            theirs(*draw_inputs(1), mask=short)


def test_a_mask_of_three_axes_belongs_to_the_heads_even_where_heads_equal_batch(library):
    n = 3
    query, key, value = draw_inputs(3, batch=n, heads=n)
    mask = draw_mask(3, n, Q_LEN, KV_LEN)
    a_head = ours(library, query, key, value, mask=mask)
    np.testing.assert_allclose(a_head, theirs(query, key, value, mask=mask), **CLOSE)
    a_batch_item = ours(library, query, key, value, mask=mask[:, None])
    assert np.abs(a_head - a_batch_item).max() > 0.1
    for i in range(n):
        alone = (x[:, i] for x in (query, key, value))
        np.testing.assert_allclose(a_head[:, i], theirs(*alone, mask=mask[i]), **CLOSE)
        alone = (x[i] for x in (query, key, value))
        np.testing.assert_allclose(a_batch_item[i], theirs(*alone, mask=mask[i]), **CLOSE)


def with_a_sink_as_a_key(query, key, value, sink):
    """Put a key in front whose score is the sink, and whose value is zero."""
    zero = torch.zeros((), dtype=query.dtype)
    key = torch.cat([zero.expand(*key.shape[:-2], 1, D_K), key], dim=-2)
    value = torch.cat([zero.expand(*value.shape[:-2], 1, D_V), value], dim=-2)
    added = torch.cat([sink[:, None, None].expand(HEADS, Q_LEN, 1), zero.expand(*SHAPE[1:])], -1)
    return theirs(query, key, value, mask=added)


def test_a_sink_is_a_key_without_a_value(library):
    *arrays, sink = [*draw_inputs(4), *draw(5, (HEADS,))]
    expected = with_a_sink_as_a_key(*map(torch.asarray, (*arrays, sink)))
    np.testing.assert_allclose(ours(library, *arrays, sink=sink), expected, **CLOSE)


def test_gradients_with_a_sink():
    inputs = [torch.asarray(x).requires_grad_() for x in [*draw_inputs(4), *draw(5, (HEADS,))]]
    *arrays, sink = inputs
    found = scaled_dot_product_attention(*arrays, sink=sink)
    assert_equal_gradients(found, with_a_sink_as_a_key(*inputs), inputs)


@pytest.mark.parametrize("heads", [4, 6])
def test_alibi(library, heads):
    query, key, value = draw_inputs(6, heads=heads, q_len=KV_LEN)
    # As the paper has it, and its code for numbers that are no power of two.
    slopes = [2.0 ** (-2 * (h + 1)) for h in range(4)] + [2.0**-1, 2.0**-3]
    added = np.array(
        [
            [
                [-slope * (i - j) if j <= i else -np.inf for j in range(KV_LEN)]
                for i in range(KV_LEN)
            ]
            for slope in slopes[:heads]
        ]
    )
    slopes = alibi_slopes(heads, like=library.array(query))
    bias = library.numpy(alibi_bias(slopes, KV_LEN))
    found = ours(library, query, key, value, bias=bias, mask=causal_mask(KV_LEN))
    np.testing.assert_allclose(found, theirs(query, key, value, mask=added), **CLOSE)


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@pytest.mark.parametrize("added", [False, True])
def test_gradients_with_grouped_heads_and_a_mask(kv_heads, added):
    query, key, value = (torch.asarray(x).requires_grad_() for x in draw_inputs(7, heads=6))
    key, value = (x[:, :kv_heads].detach().requires_grad_() for x in (key, value))
    mask = torch.asarray(draw_mask(7, BATCH, 6, Q_LEN, KV_LEN))
    bias = torch.asarray(draw(8, tuple(mask.shape))[0]).requires_grad_()
    inputs = [query, key, value, *([bias] if added else [])]
    found = scaled_dot_product_attention(
        query,
        expand_kv_heads(key, 6),
        expand_kv_heads(value, 6),
        mask=mask,
        bias=bias if added else None,
    )
    operand = bias.masked_fill(~mask, -math.inf) if added else mask
    expected = theirs(query, key, value, mask=operand, enable_gqa=True)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert_equal_gradients(found, expected, inputs)


@pytest.mark.parametrize("sinks", [False, True])
def test_no_keys_at_all(library, sinks):
    query, key, value = draw_inputs(9, kv_len=0)
    sink = draw(9, (HEADS,))[0]
    options = {"sink": library.array(sink)} if sinks else {}
    stages = attention_stages(*map(library.array, (query, key, value)), **options)
    expected = theirs(query, key, value)
    np.testing.assert_array_equal(expected, np.zeros((BATCH, HEADS, Q_LEN, D_V)))
    np.testing.assert_array_equal(library.numpy(stages.output), expected)
    # The logarithm of the sum of no powers, or of the sink's alone.
    total = sink[:, None] if sinks else -np.inf
    expected = np.broadcast_to(total, (BATCH, HEADS, Q_LEN))
    np.testing.assert_allclose(library.numpy(stages.logsumexp), expected, rtol=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["key", "value", "bias"])
def test_what_is_masked_may_be_anything(library, bad, where):
    query, key, value = draw_inputs(10)
    lengths = np.array([4, 6])
    (bias,) = draw(11, SHAPE)
    expected = [
        theirs(
            query[b],
            key[b, :, :length],
            value[b, :, :length],
            mask=bias[b, :, :, :length],
        )
        for b, length in enumerate(lengths)
    ]
    for b, length in enumerate(lengths):
        spoilt = {"key": key[b, :, length:], "value": value[b, :, length:]}
        spoilt["bias"] = bias[b, :, :, length:]
        spoilt[where][...] = bad
    mask = padding_mask(lengths, KV_LEN)[:, None]
    found = ours(library, query, key, value, mask=mask, bias=bias)
    np.testing.assert_allclose(found, torch.stack(expected), **CLOSE)
    # PyTorch itself lets the two others through: inf - inf and 0 * inf are NaN.
    operand = np.where(mask, bias, -np.inf)
    finite = theirs(query, key, value, mask=operand).isfinite()
    assert bool(finite.all()) == (where == "bias")


DOCUMENTS = (2, 4, 1, 3)


def test_packed_documents_attend_as_if_alone(library):
    length = sum(DOCUMENTS)
    query, key, value = draw_inputs(12, q_len=length, kv_len=length)
    ids = np.repeat([5, 2, 5000, 7], DOCUMENTS)
    mask = document_mask(ids) & causal_mask(length)
    found = ours(library, query, key, value, mask=mask)
    ends = np.cumsum(DOCUMENTS)
    for start, stop in zip(ends - DOCUMENTS, ends, strict=True):
        alone = (x[:, :, start:stop] for x in (query, key, value))
        expected = theirs(*alone, is_causal=True)
        np.testing.assert_allclose(found[:, :, start:stop], expected, **CLOSE)


def test_gradients_of_packed_documents_stay_within_them():
    length = sum(DOCUMENTS)
    arrays = draw_inputs(13, q_len=length, kv_len=length)
    inputs = [torch.asarray(x).requires_grad_() for x in arrays]
    ids = torch.asarray(np.repeat(np.arange(4), DOCUMENTS))
    mask = document_mask(ids) & causal_mask(length, like=inputs[0])
    found = scaled_dot_product_attention(*inputs, mask=mask)
    parts = zip(*(x.split(DOCUMENTS, dim=2) for x in inputs), strict=True)
    expected = torch.cat([theirs(*part, is_causal=True) for part in parts], dim=2)
    assert_equal_gradients(found, expected, inputs)
