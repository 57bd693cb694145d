"""Attention modules of Hugging Face's models, with random weights and tiny sizes.

A hook takes what enters and leaves each attention of a running model, so that masks, padding and
positions are the library's own. From the same input, the module's weights and what the batch is
(lengths, positions), our functions give the module's output.
"""

import copy
import math
from typing import NamedTuple

import pytest
import torch
from torch.nn.functional import linear
from transformers import (
    BertConfig,
    BertModel,
    Gemma2Config,
    Gemma2Model,
    GPT2Config,
    GPT2Model,
    GptOssConfig,
    GptOssModel,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5Model,
)

from attention_ref import (
    causal_mask,
    expand_kv_heads,
    llama3_frequency_scaling,
    merge_heads,
    multi_head_attention,
    padding_mask,
    relative_position_bias,
    rotary_embedding,
    rotary_frequencies,
    scaled_dot_product_attention,
    sliding_window_mask,
    split_heads,
    yarn_attention_factor,
    yarn_frequency_scaling,
)

LENGTH, HEADS, KV_HEADS, D = 11, 6, 3, 8
LENGTHS = torch.tensor([11, 7, 4])
IDS = torch.randint(0, 50, (3, LENGTH), generator=torch.manual_seed(2))
RIGHT_PADDED = torch.arange(LENGTH) < LENGTHS[:, None]
LEFT_PADDED = RIGHT_PADDED.flip(-1)
SMALL = {
    "vocab_size": 50,
    "hidden_size": 30,
    "intermediate_size": 14,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 64,
    "attn_implementation": "eager",
    "pad_token_id": 0,
}
GROUPED = {**SMALL, "num_key_value_heads": KV_HEADS, "head_dim": D}


class Call(NamedTuple):
    """One run of one attention module: in float64, and how far float32 is from that."""

    module: torch.nn.Module
    x: torch.Tensor
    context: torch.Tensor | None
    output: torch.Tensor
    error: float


def as_float64(value):
    if isinstance(value, tuple):
        return tuple(map(as_float64, value))
    is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() if is_float else value


def run(model_class, config, kind, **inputs):
    """Run a model with random weights in float32, and return the calls of its attention."""
    generator = torch.manual_seed(1)
    model = model_class(config).eval()
    for weight in model.parameters():
        # Scores of a few units, so that no softmax is flat.
        width = math.sqrt(weight.shape[-1] / 2) if weight.ndim > 1 else 1.0
        torch.nn.init.normal_(weight, std=1 / width, generator=generator)
    calls = []

    def hook(module, args, kwargs, output):
        args, kwargs = as_float64(args), {k: as_float64(v) for k, v in kwargs.items()}
        x = args[0] if args else kwargs["hidden_states"]
        wide = copy.deepcopy(module).double()
        exact = wide.forward(*args, **kwargs)[0]
        error = float((output[0] - exact).abs().max())
        assert 0 < error < 1e-4
        calls.append(Call(wide, x, kwargs.get("key_value_states"), exact, error))

    for module in model.modules():
        if type(module).__name__ == kind:
            module.register_forward_hook(hook, with_kwargs=True)
    with torch.no_grad():
        model(input_ids=IDS, use_cache=False, **inputs)
    return calls


def assert_equal(found, call):
    """Compare in parts of what float32 loses in the module; ours is computed in float64."""
    assert found.dtype == call.output.dtype == torch.float64
    assert (found - call.output).abs().max() <= 2 * call.error


def project(layer, x):
    return linear(x, layer.weight, layer.bias)


def grouped_heads(module, x):
    """Return query, key and value, one key and value head for several query heads."""
    return (
        split_heads(project(module.q_proj, x), HEADS),
        split_heads(project(module.k_proj, x), KV_HEADS),
        split_heads(project(module.v_proj, x), KV_HEADS),
    )


def attend(module, query, key, value, **options):
    key, value = expand_kv_heads(key, HEADS), expand_kv_heads(value, HEADS)
    merged = merge_heads(scaled_dot_product_attention(query, key, value, **options))
    return project(module.o_proj, merged)


def causal(left=None):
    return sliding_window_mask(LENGTH, left=left, like=IDS)


def test_gpt2():
    config = GPT2Config(
        vocab_size=50,
        n_embd=30,
        n_layer=2,
        n_head=HEADS,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
        scale_attn_by_inverse_layer_idx=True,
        attn_implementation="eager",
    )
    for depth, call in enumerate(run(GPT2Model, config, "GPT2Attention"), start=1):
        packed, output = call.module.c_attn, call.module.c_proj
        qkv = (call.x @ packed.weight + packed.bias).chunk(3, dim=-1)
        query, key, value = (split_heads(x, HEADS) for x in qkv)
        attended = scaled_dot_product_attention(
            query, key, value, mask=causal(), scale=1 / math.sqrt(5) / depth
        )
        assert_equal(merge_heads(attended) @ output.weight + output.bias, call)


def test_bert_padded():
    config = BertConfig(**SMALL)
    calls = run(BertModel, config, "BertSelfAttention", attention_mask=RIGHT_PADDED.long())
    assert len(calls) == 2
    for call in calls:
        layers = call.module.query, call.module.key, call.module.value
        query, key, value = (split_heads(project(layer, call.x), HEADS) for layer in layers)
        mask = padding_mask(LENGTHS, LENGTH)[:, None]
        assert_equal(merge_heads(scaled_dot_product_attention(query, key, value, mask=mask)), call)


def test_llama_grouped_and_padded_on_the_left():
    positions = (LEFT_PADDED.cumsum(-1) - 1).clamp(min=0)
    calls = run(
        LlamaModel,
        LlamaConfig(**GROUPED),
        "LlamaAttention",
        attention_mask=LEFT_PADDED.long(),
        position_ids=positions,
    )
    assert len(calls) == 2
    for call in calls:
        query, key, value = grouped_heads(call.module, call.x)
        query, key = (
            rotary_embedding(x, layout="half", positions=positions[:, None]) for x in (query, key)
        )
        mask = causal() & LEFT_PADDED[:, None]
        found = attend(call.module, query, key, value, mask=mask[:, None])
        # A padding query may see nothing. Theirs adds the most negative float32 to every score,
        # which leaves them equal: it gets the mean of all values, of padding and the future too.
        assert not found[~LEFT_PADDED].any()
        mean = expand_kv_heads(value, HEADS).mean(-2, keepdim=True)
        mean = project(call.module.o_proj, merge_heads(mean)).expand(found.shape)
        assert_equal(torch.where(LEFT_PADDED[..., None], found, mean), call)


LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
YARN = {"factor": 4.0, "beta_fast": 8.0, "beta_slow": 1.0}


@pytest.mark.parametrize("scaling", ["default", "llama3", "yarn"])
def test_llama_with_scaled_frequencies(scaling):
    base, length = 500.0, 40
    frequencies = rotary_frequencies(D, base=base, like=torch.zeros(1).double())
    plain, scale, parameters = frequencies, None, {}
    if scaling == "llama3":
        parameters = LLAMA3
        frequencies = llama3_frequency_scaling(frequencies, original_length=length, **LLAMA3)
    if scaling == "yarn":
        parameters = YARN
        frequencies = yarn_frequency_scaling(frequencies, original_length=length, **YARN)
        scale = yarn_attention_factor(YARN["factor"]) ** 2 / math.sqrt(D)
    if parameters:
        assert (frequencies - plain).abs().max() > 0.01
        parameters = {**parameters, "original_max_position_embeddings": length}
    config = LlamaConfig(
        **{**GROUPED, "max_position_embeddings": 160},
        rope_parameters={"rope_type": scaling, "rope_theta": base, **parameters},
    )
    for call in run(LlamaModel, config, "LlamaAttention"):
        query, key, value = grouped_heads(call.module, call.x)
        query, key = (
            rotary_embedding(x, layout="half", frequencies=frequencies) for x in (query, key)
        )
        assert_equal(attend(call.module, query, key, value, mask=causal(), scale=scale), call)


def test_mistral_window():
    window = 4
    config = MistralConfig(**GROUPED, sliding_window=window)
    for call in run(MistralModel, config, "MistralAttention"):
        query, key, value = grouped_heads(call.module, call.x)
        query, key = (rotary_embedding(x, layout="half") for x in (query, key))
        # Their window counts the query's own position.
        assert_equal(attend(call.module, query, key, value, mask=causal(left=window - 1)), call)


def test_qwen3_normalizes_queries_and_keys():
    def normalize(norm, x):
        root = (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
        return x / root * norm.weight

    for call in run(Qwen3Model, Qwen3Config(**GROUPED), "Qwen3Attention"):
        query, key, value = grouped_heads(call.module, call.x)
        query, key = normalize(call.module.q_norm, query), normalize(call.module.k_norm, key)
        query, key = (rotary_embedding(x, layout="half") for x in (query, key))
        assert_equal(attend(call.module, query, key, value, mask=causal()), call)


def test_gemma2_soft_cap_scale_and_every_other_layer_a_window():
    softcap, window, scalar = 3.0, 4, 20
    config = Gemma2Config(
        **GROUPED,
        sliding_window=window,
        attn_logit_softcapping=softcap,
        query_pre_attn_scalar=scalar,
    )
    calls = run(Gemma2Model, config, "Gemma2Attention")
    for call, left in zip(calls, (window - 1, None), strict=True):
        query, key, value = grouped_heads(call.module, call.x)
        query, key = (rotary_embedding(x, layout="half") for x in (query, key))
        options = {"mask": causal(left), "softcap": softcap, "scale": 1 / math.sqrt(scalar)}
        assert_equal(attend(call.module, query, key, value, **options), call)


@pytest.mark.parametrize("scaling", ["default", "yarn"])
def test_gpt_oss_sinks(scaling):
    window, base, length = 4, 500.0, 40
    frequencies = rotary_frequencies(D, base=base, like=torch.zeros(1).double())
    scale, parameters = 1 / math.sqrt(D), {}
    if scaling == "yarn":
        # Its ramp begins and ends between two pairs, where that of other models is rounded.
        parameters = {**YARN, "truncate": False, "original_max_position_embeddings": length}
        plain = yarn_frequency_scaling(frequencies, original_length=length, **YARN)
        frequencies = yarn_frequency_scaling(
            frequencies, original_length=length, truncate=False, **YARN
        )
        assert (frequencies / plain - 1).abs().max() > 0.01
        scale *= yarn_attention_factor(YARN["factor"]) ** 2
    config = GptOssConfig(
        # Its experts want whole words.
        **{**GROUPED, "hidden_size": 32, "intermediate_size": 16, "max_position_embeddings": 160},
        sliding_window=window,
        num_local_experts=2,
        num_experts_per_tok=1,
        rope_parameters={"rope_type": scaling, "rope_theta": base, **parameters},
    )
    calls = run(GptOssModel, config, "GptOssAttention")
    for call, left in zip(calls, (window - 1, None), strict=True):
        query, key, value = grouped_heads(call.module, call.x)
        query, key = (
            rotary_embedding(x, layout="half", frequencies=frequencies) for x in (query, key)
        )
        options = {"mask": causal(left), "sink": call.module.sinks, "scale": scale}
        assert_equal(attend(call.module, query, key, value, **options), call)


def test_t5_encoder_decoder_and_cross():
    config = T5Config(
        vocab_size=50,
        d_model=30,
        d_kv=D,
        num_heads=HEADS,
        d_ff=14,
        num_layers=2,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=9,
        attn_implementation="eager",
    )
    length = 7
    calls = run(
        T5Model,
        config,
        "T5Attention",
        attention_mask=RIGHT_PADDED.long(),
        decoder_input_ids=IDS[:, :length],
    )
    encoder, decoder = (
        relative_position_bias(
            calls[index].module.relative_attention_bias.weight,
            calls[index].x.shape[1],
            bidirectional=index == 0,
            max_distance=config.relative_attention_max_distance,
        )[None]
        for index in (0, 2)
    )
    padding = padding_mask(LENGTHS, LENGTH)[:, None]
    itself = {"mask": padding, "bias": encoder}
    future = {"mask": causal_mask(length, like=IDS), "bias": decoder}
    cross = {"mask": padding}
    for call, options in zip(calls, (itself, itself, future, cross, future, cross), strict=True):
        weights = (getattr(call.module, name).weight.T for name in "qkvo")
        assert (call.context is not None) == (options is cross)
        # T5 has no scale: its weights are initialized smaller instead.
        found = multi_head_attention(
            call.x, *weights, heads=HEADS, context=call.context, scale=1.0, **options
        )
        assert_equal(found, call)
