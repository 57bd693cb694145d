"""Attention, executed: a reference implementation over plain arrays of any library."""

from attention_ref._biases import (
    alibi_bias,
    alibi_slopes,
    relative_position_bias,
    relative_position_bucket,
)
from attention_ref._cost import (
    attention_backward_flops,
    attention_bytes,
    attention_flops,
    flash_attention_backward_flops,
    flash_attention_bytes,
    kv_cache_bytes,
    latent_cache_bytes,
    projection_flops,
    visible_pairs,
)
from attention_ref._flash import (
    FlashGradients,
    PartialAttention,
    flash_attention,
    flash_attention_backward,
    merge_partial,
)
from attention_ref._frequency_scaling import (
    linear_frequency_scaling,
    llama3_frequency_scaling,
    ntk_frequency_scaling,
    yarn_attention_factor,
    yarn_frequency_scaling,
)
from attention_ref._gradients import AttentionGradients, attention_backward
from attention_ref._kv_cache import KVCache, StaticKVCache
from attention_ref._linear import (
    LinearAttention,
    linear_attention,
    linear_attention_chunked,
    linear_attention_recurrent,
)
from attention_ref._lookup import hard_lookup, soft_lookup
from attention_ref._masks import (
    causal_mask,
    document_mask,
    padding_mask,
    prefix_mask,
    sliding_window_mask,
)
from attention_ref._multi_head import (
    expand_kv_heads,
    merge_heads,
    multi_head_attention,
    split_heads,
)
from attention_ref._positions import (
    rotary_embedding,
    rotary_frequencies,
    rotate_pairs,
    sinusoidal_encoding,
)
from attention_ref._scaled_dot_product import (
    AttentionStages,
    attention_scores,
    attention_stages,
    attention_weights,
    scaled_dot_product_attention,
)
from attention_ref._softmax import logsumexp, masked_softmax, softmax
from attention_ref._tiles import mask_tiles
from attention_ref._viz import Heatmap, heatmap

__all__ = [
    "AttentionGradients",
    "AttentionStages",
    "FlashGradients",
    "Heatmap",
    "KVCache",
    "LinearAttention",
    "PartialAttention",
    "StaticKVCache",
    "alibi_bias",
    "alibi_slopes",
    "attention_backward",
    "attention_backward_flops",
    "attention_bytes",
    "attention_flops",
    "attention_scores",
    "attention_stages",
    "attention_weights",
    "causal_mask",
    "document_mask",
    "expand_kv_heads",
    "flash_attention",
    "flash_attention_backward",
    "flash_attention_backward_flops",
    "flash_attention_bytes",
    "hard_lookup",
    "heatmap",
    "kv_cache_bytes",
    "latent_cache_bytes",
    "linear_attention",
    "linear_attention_chunked",
    "linear_attention_recurrent",
    "linear_frequency_scaling",
    "llama3_frequency_scaling",
    "logsumexp",
    "mask_tiles",
    "masked_softmax",
    "merge_heads",
    "merge_partial",
    "multi_head_attention",
    "ntk_frequency_scaling",
    "padding_mask",
    "prefix_mask",
    "projection_flops",
    "relative_position_bias",
    "relative_position_bucket",
    "rotary_embedding",
    "rotary_frequencies",
    "rotate_pairs",
    "scaled_dot_product_attention",
    "sinusoidal_encoding",
    "sliding_window_mask",
    "soft_lookup",
    "softmax",
    "split_heads",
    "visible_pairs",
    "yarn_attention_factor",
    "yarn_frequency_scaling",
]
