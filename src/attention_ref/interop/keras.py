"""Keras' convention: `keras.ops.dot_product_attention`."""

from jaxtyping import Float, Shaped

from attention_ref._checks import Array, array_namespace
from attention_ref.interop._answers import refuse
from attention_ref.interop.jax import dot_product_attention as _as_jax

__all__ = ["dot_product_attention"]


def dot_product_attention(
    query: Float[Array, "batch q_len heads d"],
    key: Float[Array, "batch kv_len kv_heads d"],
    value: Float[Array, "batch kv_len kv_heads d"],
    bias: Shaped[Array, "..."] | None = None,
    mask: Shaped[Array, "..."] | None = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Float[Array, "batch q_len heads d"]:
    r"""Answer as `keras.ops.dot_product_attention` on JAX and a CPU.

    That is JAX's answer, but for the mask: **every number that is not 0 lets attend**, so that
    a mask of 0 and -inf is read inside out.

    Args:
        query: `(batch, q_len, heads, d)`
        key: `(batch, kv_len, kv_heads, d)`
        value: The shape of `key`.
        bias: Added to the scores, booleans as 0 and 1; broadcasts to
            `(batch, heads, q_len, kv_len)`.
        mask: Cast to boolean, True where a query may attend; broadcasts likewise.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d}$.
        is_causal: Whether query $i$ sees keys 0 to $i$, whatever the lengths are.
        flash_attention: None or False, as nothing else runs on a CPU.
        attn_logits_soft_cap: None: Keras applies it on a TPU alone, and elsewhere forgets it.

    Returns:
        The output. `(batch, q_len, heads, d)`

    Raises:
        ValueError: If shapes do not fit together, or for what only other devices do.
        TypeError: If dtypes differ.

    Complexity: O(q_len * kv_len * d) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query, value = np.zeros((1, 1, 1, 1)), np.array([[[[0.0]], [[8.0]]]])
        >>> added = np.array([[[[0.0, -np.inf]]]])
        >>> dot_product_attention(query, value, value, added)[0, 0]
        array([[0.]])
        >>> dot_product_attention(query, value, value, mask=added)[0, 0]
        array([[8.]])
    """
    function = "Keras' dot_product_attention on a CPU"
    rule = "attn_logits_soft_cap must be None"
    refuse(function, rule, attn_logits_soft_cap is not None, attn_logits_soft_cap)
    refuse(function, "flash_attention must not be True", bool(flash_attention), flash_attention)
    if mask is not None:
        xp = array_namespace(mask=mask)
        mask = xp.astype(mask, xp.bool)
    output: Array = _as_jax(query, key, value, bias, mask, scale=scale, is_causal=is_causal)
    return output
