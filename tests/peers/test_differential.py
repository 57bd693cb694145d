"""Differential attention beside Hugging Face's DiffLlama, with random weights and tiny sizes."""

import copy

import pytest
import torch
from transformers import DiffLlamaConfig, DiffLlamaModel

from attention_ref import (
    causal_mask,
    differential_attention,
    differential_lambda,
    differential_lambda_init,
    expand_kv_heads,
    merge_heads,
    rms_norm,
    rotary_embedding,
    split_heads,
)

LENGTH, HEADS, KV_HEADS, D, LAYERS = 11, 12, 4, 6, 3


@pytest.fixture(scope="module")
def calls():
    """Run a model, and keep what enters and leaves each attention, the output in float64 too."""
    generator = torch.manual_seed(1)
    config = DiffLlamaConfig(
        vocab_size=50,
        hidden_size=30,
        intermediate_size=14,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=D,
        lambda_std_dev=0.5,
        rms_norm_eps=1e-3,
        attn_implementation="eager",
        pad_token_id=0,
    )
    model = DiffLlamaModel(config).eval()
    for weight in model.parameters():
        std = 0.5 if weight.ndim == 1 else (2 / weight.shape[-1]) ** 0.5
        torch.nn.init.normal_(weight, std=std, generator=generator)
    kept = []

    def hook(module, _, kwargs, output):
        kwargs = {n: wide(x) for n, x in kwargs.items()}
        module = copy.deepcopy(module).double()
        exact = module.forward(**kwargs)[0]
        kept.append((module, kwargs["hidden_states"], exact, (output[0] - exact).abs().max()))

    for layer in model.layers:
        layer.self_attn.register_forward_hook(hook, with_kwargs=True)
    with torch.no_grad():
        model(input_ids=torch.randint(0, 50, (2, LENGTH), generator=generator), use_cache=False)
    return kept


def wide(x):
    if isinstance(x, tuple):
        return tuple(map(wide, x))
    return x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x


def pair(x):
    """Lay each head beside its partner, which is half of the heads further on."""
    return torch.cat(x.chunk(2, dim=1), dim=-1)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_diff_llama(calls, layer):
    module, x, theirs, error = calls[layer]
    query, key, value = (
        split_heads(x @ projection.weight.T, heads)
        for projection, heads in (
            (module.q_proj, HEADS),
            (module.k_proj, KV_HEADS),
            (module.v_proj, KV_HEADS),
        )
    )
    query, key = (rotary_embedding(x, layout="half") for x in (query, key))
    # Query heads h and h + heads / 2 make one pair, which reads a value of twice the features.
    value = expand_kv_heads(pair(value), HEADS // 2)
    vectors = (module.lambda_q1, module.lambda_k1, module.lambda_q2, module.lambda_k2)
    initial = differential_lambda_init(layer + 1)
    factor = differential_lambda(*vectors, initial=initial)
    assert abs(factor - initial) > 0.01
    output = differential_attention(
        pair(query),
        pair(expand_kv_heads(key, HEADS)),
        value,
        factor=factor,
        mask=causal_mask(LENGTH, like=x),
    )
    output = (1 - initial) * rms_norm(output, epsilon=1e-3)
    # They lay the first heads' outputs side by side again, as every Llama does.
    found = merge_heads(output) @ module.o_proj.weight.T
    assert found.dtype == theirs.dtype == torch.float64
    assert 0 < error < 1e-4
    # Even in float64, theirs takes rotations and the factor in float32.
    assert (found - theirs).abs().max() <= 2 * error
