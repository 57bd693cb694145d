"""ALiBi and T5's buckets beside the models of transformers that use them."""

import numpy as np
import pytest
import torch
from transformers import T5Config
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

from attention_ref import (
    alibi_bias,
    alibi_slopes,
    relative_position_bias,
    relative_position_bucket,
    softmax,
)

EPS = np.finfo(np.float32).eps


@pytest.mark.parametrize("heads", [1, 2, 3, 8, 12, 16, 40, 71, 112])
def test_slopes_are_blooms(heads):
    positions = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)
    expected = positions[:, 0, 1]
    # They are powers in float32, of a base that is rounded first.
    np.testing.assert_allclose(alibi_slopes(heads), expected, rtol=8 * EPS)


@pytest.mark.parametrize("heads", [1, 4, 5, 12, 40, 112])
def test_slopes_are_mpts(heads):
    expected = -build_mpt_alibi_tensor(heads, 2)[:, 0, 0]
    np.testing.assert_allclose(alibi_slopes(heads), expected, rtol=EPS)


def test_weights_of_the_last_query_are_blooms_and_mpts():
    bias = alibi_bias(alibi_slopes(8).astype(np.float32), 1, 11, q_start=10)
    bloom = build_alibi_tensor(torch.ones(1, 11), 8, torch.float32)
    mpt = build_mpt_alibi_tensor(8, 11)
    for theirs in (bloom, mpt):
        np.testing.assert_allclose(softmax(bias), theirs.softmax(-1), rtol=0, atol=4 * EPS)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_buckets", [8, 32, 64, 320])
@pytest.mark.parametrize("max_distance", [128, 200, 800])
def test_buckets_are_t5s(library, bidirectional, num_buckets, max_distance):
    numbers = {"num_buckets": num_buckets, "max_distance": max_distance}
    if max_distance <= num_buckets // (4 if bidirectional else 2):
        return
    positions = np.arange(-3000, 3001)
    expected = T5Attention._relative_position_bucket(
        torch.asarray(positions), bidirectional=bidirectional, **numbers
    )
    found = relative_position_bucket(
        library.array(positions), bidirectional=bidirectional, **numbers
    )
    np.testing.assert_array_equal(library.numpy(found), expected)


@pytest.mark.parametrize("is_decoder", [True, False])
def test_bias_and_its_gradient_are_t5s(is_decoder):
    config = T5Config(d_model=6, d_kv=2, num_heads=3, is_decoder=is_decoder)
    layer = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    table = layer.relative_attention_bias.weight
    weight = torch.randn(3, 200, 200, generator=torch.manual_seed(0))
    expected = layer.compute_bias(200, 200)[0]
    found = relative_position_bias(
        table,
        200,
        bidirectional=not is_decoder,
        max_distance=config.relative_attention_max_distance,
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    ours, theirs = (
        torch.autograd.grad((bias * weight).sum(), table)[0] for bias in (found, expected)
    )
    torch.testing.assert_close(ours, theirs)
