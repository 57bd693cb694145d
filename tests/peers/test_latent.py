"""DeepSeek's attention modules in transformers, with random weights and tiny sizes.

From the same input, the module's weights and what the batch is (positions, padding), our
functions give the module's output: at once, padded on the left, and token by token with a cache.
"""

import copy
import math

import pytest
import torch
from torch.nn.functional import linear
from transformers import DeepseekV2Config, DeepseekV3Config, DynamicCache
from transformers.models.deepseek_v2.modeling_deepseek_v2 import (
    DeepseekV2Attention,
    DeepseekV2RotaryEmbedding,
)
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3Attention,
    DeepseekV3RotaryEmbedding,
)

from attention_ref import (
    KVCache,
    causal_mask,
    latent_attention,
    latent_attention_absorbed,
    merge_heads,
    rms_norm,
    rotary_embedding,
    rotary_frequencies,
    split_heads,
    yarn_attention_factor,
    yarn_frequency_scaling,
)

BATCH, LENGTH, HEADS = 3, 11, 5
# Version 2 turns features as complex numbers in place, which wants its sizes even.
D_MODEL, D_QUERY, D_NOPE, D_ROTARY, D_LATENT, D_V = 5 * 23, 13, 6, 4, 14, 19
BASE = 500.0
YARN = {"factor": 4.0, "beta_fast": 8.0, "beta_slow": 1.0}
MSCALE = 0.7


def every_module(test):
    for name, values in {
        "form": [latent_attention, latent_attention_absorbed],
        "version": [2, 3],
        "low_rank": [False, True],
        "yarn": [False, True],
    }.items():
        test = pytest.mark.parametrize(name, values)(test)
    return test


class Peer:
    """An attention module in float64 and in float32, and our functions on its weights."""

    def __init__(self, version, low_rank, yarn):
        config_class, module_class, rotary_class = {
            2: (DeepseekV2Config, DeepseekV2Attention, DeepseekV2RotaryEmbedding),
            3: (DeepseekV3Config, DeepseekV3Attention, DeepseekV3RotaryEmbedding),
        }[version]
        self.scale = 1 / math.sqrt(D_NOPE + D_ROTARY)
        self.frequencies = rotary_frequencies(D_ROTARY, base=BASE, like=torch.zeros(1).double())
        rope = {"rope_type": "default", "rope_theta": BASE}
        if yarn:
            length = 40
            rope |= {"rope_type": "yarn", "original_max_position_embeddings": length, **YARN}
            rope |= {"mscale": MSCALE, "mscale_all_dim": MSCALE}
            self.scale *= yarn_attention_factor(YARN["factor"], mscale=MSCALE) ** 2
            self.frequencies = yarn_frequency_scaling(
                self.frequencies, original_length=length, **YARN
            )
        config = config_class(
            vocab_size=50,
            hidden_size=D_MODEL,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            q_lora_rank=D_QUERY if low_rank else None,
            kv_lora_rank=D_LATENT,
            qk_nope_head_dim=D_NOPE,
            qk_rope_head_dim=D_ROTARY,
            v_head_dim=D_V,
            attention_bias=True,
            max_position_embeddings=160,
            rope_parameters=rope,
            attn_implementation="eager",
        )
        self.narrow = module_class(config, layer_idx=0).eval()
        generator = torch.manual_seed(1)
        for weight in self.narrow.parameters():
            # Scores of a few units, so that no softmax is flat; and no gain is one.
            width = math.sqrt(weight.shape[-1] / 2) if weight.ndim > 1 else 1.0
            torch.nn.init.normal_(weight, std=1 / width, generator=generator)
        self.wide = copy.deepcopy(self.narrow).double()
        self.rotary = rotary_class(config)

    def theirs(self, module, x, positions, mask, cache=None):
        bias = torch.zeros(mask.shape, dtype=x.dtype)
        bias = bias.masked_fill(~mask, torch.finfo(torch.float32).min)
        rotary = self.rotary(x, positions)
        with torch.no_grad():
            output, _ = module(
                x,
                position_embeddings=rotary,
                attention_mask=bias,
                past_key_values=cache,
            )
        return output

    def project(self, x, positions):
        """Return what `latent_attention` takes but for the weights, from the module's."""
        module, positions = self.wide, positions[:, None]
        if module.q_lora_rank is None:
            query = module.q_proj(x)
        else:
            query = module.q_b_proj(normed(module.q_a_layernorm, module.q_a_proj(x)))
        query = split_heads(query, HEADS)
        latent, rotary_key = module.kv_a_proj_with_mqa(x)[:, None].split([D_LATENT, D_ROTARY], -1)
        turned = (
            rotary_embedding(
                part, layout="interleaved", positions=positions, frequencies=self.frequencies
            )
            for part in (query[..., D_NOPE:], rotary_key)
        )
        rotary_query, rotary_key = turned
        return query[..., :D_NOPE], rotary_query, normed(module.kv_a_layernorm, latent), rotary_key

    def ours(self, form, projected, mask):
        w_uk, w_uv = split_heads(self.wide.kv_b_proj.weight.T, HEADS).split([D_NOPE, D_V], -1)
        attended = form(*projected, w_uk, w_uv, mask=mask, scale=self.scale)
        layer = self.wide.o_proj
        return linear(merge_heads(attended), layer.weight, layer.bias)


def normed(layer, x):
    return rms_norm(x, layer.weight, epsilon=layer.variance_epsilon)


def assert_equal(found, exact, narrow):
    """Compare in parts of what float32 loses in the module; ours is computed in float64."""
    error = (narrow.double() - exact).abs().max()
    assert 0 < error < 1e-4
    assert found.dtype == exact.dtype == torch.float64
    assert (found - exact).abs().max() <= 2 * error


X = torch.randn(BATCH, LENGTH, D_MODEL, generator=torch.manual_seed(2))


@every_module
def test_prefill(form, version, low_rank, yarn):
    peer = Peer(version, low_rank, yarn)
    positions = torch.arange(LENGTH).expand(BATCH, -1)
    mask = causal_mask(LENGTH, like=X)[None, None]
    exact, narrow = (
        peer.theirs(module, X.to(dtype), positions, mask)
        for module, dtype in ((peer.wide, torch.float64), (peer.narrow, torch.float32))
    )
    found = peer.ours(form, peer.project(X.double(), positions), mask)
    assert_equal(found, exact, narrow)


@every_module
def test_padded_on_the_left(form, version, low_rank, yarn):
    peer = Peer(version, low_rank, yarn)
    real = torch.arange(LENGTH) >= torch.tensor([0, 4, 7])[:, None]
    positions = (real.cumsum(-1) - 1).clamp(min=0)
    mask = (causal_mask(LENGTH, like=X) & real[:, None])[:, None]
    exact, narrow = (
        peer.theirs(module, X.to(dtype), positions, mask)
        for module, dtype in ((peer.wide, torch.float64), (peer.narrow, torch.float32))
    )
    projected = peer.project(X.double(), positions)
    found = peer.ours(form, projected, mask)
    # A padding query may see nothing: it attends to nothing, and gets the output's bias. Theirs
    # adds the most negative float32 to every score, which leaves them equal: it gets the mean of
    # all values, of padding and the future too.
    assert torch.equal(found[~real], peer.wide.o_proj.bias.expand(found[~real].shape))
    flat = peer.ours(form, [0 * projected[0], 0 * projected[1], *projected[2:]], None)
    assert_equal(torch.where(real[..., None], found, flat), exact, narrow)


@every_module
def test_cached_decoding(form, version, low_rank, yarn):
    peer = Peer(version, low_rank, yarn)
    theirs = [
        (peer.wide, torch.float64, DynamicCache()),
        (peer.narrow, torch.float32, DynamicCache()),
    ]
    whole = torch.arange(LENGTH).expand(BATCH, -1)
    _, _, latent, rotary_key = peer.project(X.double(), whole)
    cache = KVCache.empty(rotary_key, latent)
    for start, stop in ((0, 7), (7, 8), (8, 9), (9, 11)):
        x, positions = X[:, start:stop], whole[:, start:stop]
        query, rotary_query, latent, rotary_key = peer.project(x.double(), positions)
        cache = cache.append(rotary_key, latent)
        mask = cache.mask(stop - start)[None, None]
        exact, narrow = (
            peer.theirs(module, x.to(dtype), positions, mask, past)
            for module, dtype, past in theirs
        )
        found = peer.ours(form, (query, rotary_query, cache.value, cache.key), mask)
        assert_equal(found, exact, narrow)
    # Theirs keeps the same two arrays. Version 3 lays the first features of all pairs before the
    # second ones as it turns them, in queries and keys alike.
    kept = theirs[0][2].layers[0]
    key = cache.key
    if version == 3:
        key = torch.concat([key[..., 0::2], key[..., 1::2]], dim=-1)
    torch.testing.assert_close(cache.value, kept.keys, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(key, kept.values, rtol=1e-6, atol=1e-6)
