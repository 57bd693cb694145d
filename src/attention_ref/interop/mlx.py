"""MLX's convention: `mlx.core.fast.scaled_dot_product_attention`."""

from jaxtyping import Float, Shaped

from attention_ref._checks import Array, array_namespace, given, require_dtype_of
from attention_ref._masks import causal_mask
from attention_ref.interop._answers import attend_hiding_by_a_number, mask_or_bias, refuse

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(
    q: Float[Array, "batch heads q_len d_k"],
    k: Float[Array, "batch kv_heads kv_len d_k"],
    v: Float[Array, "batch kv_heads kv_len d_v"],
    *,
    scale: float,
    mask: Shaped[Array, "..."] | str | None = None,
    sinks: Float[Array, " heads"] | None = None,
) -> Float[Array, "batch heads q_len d_v"]:
    r"""Answer as `mlx.core.fast.scaled_dot_product_attention`.

    A boolean mask is True where a query may attend, numbers are added, and `"causal"` is
    bottom-right. A query that may see nothing gets the mean of all values, NaN where numbers of
    -inf hide them all, and 0 beside a sink.

    Args:
        q: `(batch, heads, q_len, d_k)`
        k: `(batch, kv_heads, kv_len, d_k)`
        v: `(batch, kv_heads, kv_len, d_v)`
        scale: What the dot products are multiplied by; there is no default.
        mask: Boolean, floating point or `"causal"`; broadcasts to
            `(batch, heads, q_len, kv_len)`.
        sinks: One logit a head, in the denominator. `(heads,)`

    Returns:
        The output. `(batch, heads, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, or `mask` is another string.
        TypeError: If dtypes differ, or the mask is neither boolean nor floating point.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> q, v = np.zeros((1, 1, 2, 1)), np.array([[[[0.0], [4.0], [8.0]]]])
        >>> scaled_dot_product_attention(q, v, v, scale=1.0, mask="causal")[0, 0, :, 0]
        array([2., 4.])
    """
    array = None if isinstance(mask, str) else mask
    xp = array_namespace(q=q, k=k, v=v, **given(mask=array, sinks=sinks))
    require_dtype_of("q", q, k=k, v=v)
    if isinstance(mask, str):
        rule = 'mask must be "causal" or an array'
        refuse("MLX's scaled_dot_product_attention", rule, mask != "causal", mask)
        q_len, kv_len = q.shape[-2], k.shape[-2]
        mask = causal_mask(q_len, kv_len, q_start=kv_len - q_len, like=q)
    allowed, bias = mask_or_bias(xp, mask)
    stages = attend_hiding_by_a_number(q, k, v, mask=allowed, bias=bias, scale=scale, sink=sinks)
    return stages.output
