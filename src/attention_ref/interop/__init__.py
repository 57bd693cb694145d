"""Attention in other libraries' conventions: their signatures, answered as they answer."""

from collections.abc import Callable
from typing import Any

from attention_ref.interop import flash_attn, jax, keras, mlx, onnx, torch, transformers
from attention_ref.interop._conventions import Answer, conventions

__all__ = [
    "ADAPTERS",
    "Answer",
    "conventions",
    "flash_attn",
    "jax",
    "keras",
    "mlx",
    "onnx",
    "torch",
    "transformers",
]

ADAPTERS: dict[str, Callable[..., Any]] = {
    "torch": torch.scaled_dot_product_attention,
    "torch_mha": torch.multi_head_attention,
    "flex": torch.flex_attention,
    "jax": jax.dot_product_attention,
    "onnx": onnx.attention,
    "keras": keras.dot_product_attention,
    "mlx": mlx.scaled_dot_product_attention,
    "flash_attn": flash_attn.flash_attn_func,
    "transformers": transformers.eager_attention_forward,
}
