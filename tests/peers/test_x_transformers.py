"""The attention of x-transformers: two paths, a head order of its own, and a bias under the cap."""

import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_ref import (
    attention_scores,
    causal_mask,
    expand_kv_heads,
    masked_softmax,
    padding_mask,
    scaled_dot_product_attention,
    top_k_attention,
)

BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 5, 7, 11, 13
SHAPE = (BATCH, HEADS, Q_LEN, KV_LEN)
# Both sum in float64, in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


@pytest.fixture(scope="module")
def attend_class():
    """Load the one file: the package brings a dozen others, for all that it trains."""
    root = Path(importlib.util.find_spec("x_transformers").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("x_transformers_attend", root / "attend.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setitem(sys.modules, spec.name, module)  # where its dataclass looks for its names
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        spec.loader.exec_module(module)
    return module.Attend


@pytest.fixture
def theirs(attend_class):
    def run(query, key, value, mask=None, attn_bias=None, *, sink=None, **options):
        # What it calls qk_norm is a softmax in the dtype of the scores, and nothing else.
        attend = attend_class(
            heads=HEADS, qk_norm=True, head_learned_sink=sink is not None, **options
        )
        if sink is not None:
            attend.head_attn_sink = torch.nn.Parameter(sink.detach())
        return attend(query, key, value, mask=mask, attn_bias=attn_bias)[0]

    return run


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [torch.asarray(2 * rng.standard_normal(shape)) for shape in shapes]


def draw_inputs(seed, heads=HEADS, kv_heads=None, q_len=Q_LEN):
    lead = BATCH, kv_heads or heads, KV_LEN
    return draw(seed, (BATCH, heads, q_len, D_K), (*lead, D_K), (*lead, D_V))


def draw_mask(seed):
    """Draw a mask of half True, in which a query sees the first key at least, but for one."""
    mask = torch.asarray(np.random.default_rng(seed).random(SHAPE) < 0.5)
    mask[..., 0] = True
    mask[:, 1, 2] = False
    return mask


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, **CLOSE)


def far(found, expected):
    return (found - expected).abs().max() > 0.1


@pytest.mark.parametrize("flash", [False, True])
@pytest.mark.parametrize("scale", [None, 0.25])
def test_mask_and_bias_and_a_query_that_sees_nothing(theirs, flash, scale):
    inputs, mask, (bias,) = draw_inputs(1), draw_mask(1), draw(2, SHAPE)
    found = scaled_dot_product_attention(*inputs, mask=mask, bias=bias, scale=scale)
    assert_close(found, theirs(*inputs, mask, bias, flash=flash, scale=scale))
    assert not found[:, 1, 2].any()


@pytest.mark.parametrize("flash", [False, True])
@pytest.mark.parametrize("q_len", [1, 5, 7])
def test_causal_is_bottom_right(theirs, flash, q_len):
    inputs = draw_inputs(3, q_len=q_len)
    lengths = torch.tensor([4, 7])
    mask = causal_mask(q_len, KV_LEN, q_start=KV_LEN - q_len, like=lengths)
    mask = mask & padding_mask(lengths, KV_LEN)
    found = scaled_dot_product_attention(*inputs, mask=mask[:, None])
    keys = torch.arange(KV_LEN) < lengths[:, None]
    if flash:  # which takes a mask of four axes alone
        keys = keys[:, None, None]
    assert_close(found, theirs(*inputs, keys, causal=True, flash=flash))


def test_a_query_whose_past_is_padding_gets_zero_or_the_mean_of_the_values(theirs):
    inputs = draw_inputs(4, q_len=KV_LEN)
    keys = torch.ones(BATCH, 1, 1, KV_LEN, dtype=torch.bool)
    keys[..., :2] = False  # padded on the left
    mask = causal_mask(KV_LEN, like=keys) & keys
    found = scaled_dot_product_attention(*inputs, mask=mask)
    assert_close(found, theirs(*inputs, keys, causal=True, flash=True))
    plain = theirs(*inputs, keys, causal=True)
    assert_close(found[:, :, 2:], plain[:, :, 2:])
    # The plain path looks for such rows in the mask that it is given, before the causal one, and
    # hides scores by a large finite number: equal scores share the weight, the future's too.
    mean = inputs[2].mean(2, keepdim=True).expand(-1, -1, 2, -1)
    assert_close(plain[:, :, :2], mean)


@pytest.mark.parametrize("flash", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_query_head_h_reads_key_head_h_modulo_their_number(theirs, flash, kv_heads):
    heads = 6
    query, key, value = draw_inputs(5, heads, kv_heads)
    expected = theirs(query, key, value, flash=flash)
    tiled = (torch.cat([x] * (heads // kv_heads), dim=1) for x in (key, value))
    assert_close(scaled_dot_product_attention(query, *tiled), expected)
    repeated = (expand_kv_heads(x, heads) for x in (key, value))
    differs = far(scaled_dot_product_attention(query, *repeated), expected)
    assert differs == (kv_heads == 2)


def test_soft_cap(theirs):
    inputs = draw_inputs(6)
    found = scaled_dot_product_attention(*inputs, softcap=3.0)
    assert_close(found, theirs(*inputs, softclamp_logits=True, logit_softclamp_value=3.0))


def test_its_soft_cap_comes_after_the_bias(theirs):
    (query, key, value), mask, (bias,) = draw_inputs(7), draw_mask(7), draw(8, SHAPE)
    expected = theirs(
        query, key, value, mask, bias, softclamp_logits=True, logit_softclamp_value=3.0
    )
    scores = 3.0 * torch.tanh((attention_scores(query, key) + bias) / 3.0)
    assert_close(masked_softmax(scores, mask) @ value, expected)
    found = scaled_dot_product_attention(query, key, value, mask=mask, bias=bias, softcap=3.0)
    assert far(found, expected)


def test_sinks(theirs):
    inputs, mask, (sink,) = draw_inputs(9), draw_mask(9), draw(10, (HEADS,))
    found = scaled_dot_product_attention(*inputs, mask=mask, sink=sink)
    assert_close(found, theirs(*inputs, mask, sink=sink))


@pytest.mark.parametrize("flash", [False, True])
def test_its_zero_key_is_a_sink_of_zero(theirs, flash):
    inputs, mask = draw_inputs(11), draw_mask(11)
    found = scaled_dot_product_attention(*inputs, mask=mask, sink=inputs[0].new_zeros(HEADS))
    assert_close(found, theirs(*inputs, mask, add_zero_kv=True, flash=flash))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_top_k(theirs, k):
    inputs, mask = draw_inputs(12), draw_mask(12)
    # Of rows with fewer than k visible keys, all are kept.
    assert (mask.sum(-1) < 3).any()
    found = top_k_attention(*inputs, k=k, mask=mask)
    assert_close(found, theirs(*inputs, mask, sparse_topk=k))


@pytest.mark.parametrize("flash", [False, True])
def test_gradients(theirs, flash):
    mask, (bias, direction) = draw_mask(13), draw(14, SHAPE, (*SHAPE[:3], D_V))
    inputs = [x.requires_grad_() for x in (*draw_inputs(13), bias)]
    found = scaled_dot_product_attention(*inputs[:3], mask=mask, bias=bias)
    expected = theirs(*inputs[:3], mask, bias, flash=flash)
    ours, others = (
        torch.autograd.grad((output * direction).sum(), inputs) for output in (found, expected)
    )
    torch.testing.assert_close(ours, others, rtol=1e-11, atol=1e-11)
