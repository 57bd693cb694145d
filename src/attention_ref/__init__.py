"""Attention, executed: a reference implementation over plain arrays of any library."""

from attention_ref._attention_layer import LayerOutput, attention_layer
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
from attention_ref._differential import (
    differential_attention,
    differential_lambda,
    differential_lambda_init,
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
from attention_ref._gated import gated_attention
from attention_ref._gradients import AttentionGradients, attention_backward
from attention_ref._kv_cache import KVCache, StaticKVCache
from attention_ref._latent import latent_attention, latent_attention_absorbed
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
    streaming_mask,
)
from attention_ref._multi_head import (
    expand_kv_heads,
    grouped_query_attention,
    merge_heads,
    multi_head_attention,
    split_heads,
)
from attention_ref._native_sparse import native_sparse_attention, select_blocks
from attention_ref._positions import (
    rotary_embedding,
    rotary_frequencies,
    rotate_pairs,
    sinusoidal_encoding,
)
from attention_ref._qk_norm import qk_norm_attention, rms_norm
from attention_ref._real_maps import RealMap, real_map
from attention_ref._scaled_dot_product import (
    AttentionStages,
    attention_scores,
    attention_stages,
    attention_weights,
    scaled_dot_product_attention,
)
from attention_ref._softmax import logsumexp, masked_softmax, softmax
from attention_ref._sparse import (
    block_sparse_attention,
    expand_block_mask,
    top_k_attention,
    top_k_mask,
)
from attention_ref._tiles import mask_tiles
from attention_ref._tiny_transformer import TinyTransformerOutput, tiny_transformer
from attention_ref._trained_tiny_transformer import trained_tiny_transformer
from attention_ref._transformer_block import (
    feed_forward,
    layer_norm,
    post_norm_transformer_block,
    transformer_block,
)
from attention_ref._viz import Heatmap, heatmap
from attention_ref._viz_dataflow import Dataflow, dataflow
from attention_ref._viz_line_plot import LinePlot, line_plot
from attention_ref._viz_stacked_bars import StackedBars, stacked_bars
from attention_ref._viz_vector_plot import VectorPlot, vector_plot

__all__ = [
    "AttentionGradients",
    "AttentionStages",
    "Dataflow",
    "FlashGradients",
    "Heatmap",
    "KVCache",
    "LayerOutput",
    "LinePlot",
    "LinearAttention",
    "PartialAttention",
    "RealMap",
    "StackedBars",
    "StaticKVCache",
    "TinyTransformerOutput",
    "VectorPlot",
    "alibi_bias",
    "alibi_slopes",
    "attention_backward",
    "attention_backward_flops",
    "attention_bytes",
    "attention_flops",
    "attention_layer",
    "attention_scores",
    "attention_stages",
    "attention_weights",
    "block_sparse_attention",
    "causal_mask",
    "dataflow",
    "differential_attention",
    "differential_lambda",
    "differential_lambda_init",
    "document_mask",
    "expand_block_mask",
    "expand_kv_heads",
    "feed_forward",
    "flash_attention",
    "flash_attention_backward",
    "flash_attention_backward_flops",
    "flash_attention_bytes",
    "gated_attention",
    "grouped_query_attention",
    "hard_lookup",
    "heatmap",
    "kv_cache_bytes",
    "latent_attention",
    "latent_attention_absorbed",
    "latent_cache_bytes",
    "layer_norm",
    "line_plot",
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
    "native_sparse_attention",
    "ntk_frequency_scaling",
    "padding_mask",
    "post_norm_transformer_block",
    "prefix_mask",
    "projection_flops",
    "qk_norm_attention",
    "real_map",
    "relative_position_bias",
    "relative_position_bucket",
    "rms_norm",
    "rotary_embedding",
    "rotary_frequencies",
    "rotate_pairs",
    "scaled_dot_product_attention",
    "select_blocks",
    "sinusoidal_encoding",
    "sliding_window_mask",
    "soft_lookup",
    "softmax",
    "split_heads",
    "stacked_bars",
    "streaming_mask",
    "tiny_transformer",
    "top_k_attention",
    "top_k_mask",
    "trained_tiny_transformer",
    "transformer_block",
    "vector_plot",
    "visible_pairs",
    "yarn_attention_factor",
    "yarn_frequency_scaling",
]
