"""Layers whose weights PyTorch trains, over the functions of `attention_ref`.

Each layer holds its weights under the names that the functions have for them, and computes
nothing itself: its `state_dict`, as NumPy arrays, gives the same numbers without PyTorch.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "attention_ref.torch needs PyTorch, which is not installed: "
        "pip install 'attention-ref[torch]'",
        name="torch",
    ) from None

from attention_ref.torch._all_to_all import all_to_all_attention
from attention_ref.torch._cross_attention import CrossAttention
from attention_ref.torch._latent_attention import LatentAttention
from attention_ref.torch._ring import ring_attention
from attention_ref.torch._self_attention import GroupedQueryAttention, MultiHeadAttention
from attention_ref.torch._tiny_transformer import TinyTransformer
from attention_ref.torch._transformer_block import PostNormTransformerBlock, TransformerBlock

__all__ = [
    "CrossAttention",
    "GroupedQueryAttention",
    "LatentAttention",
    "MultiHeadAttention",
    "PostNormTransformerBlock",
    "TinyTransformer",
    "TransformerBlock",
    "all_to_all_attention",
    "ring_attention",
]
