"""JAX's convention: `jax.nn.dot_product_attention`."""

from typing import Any

from jaxtyping import Bool, Float, Integer, Shaped

from attention_ref._checks import Array, array_namespace, given, require_dtype_of
from attention_ref._masks import causal_mask, padding_mask, sliding_window_mask
from attention_ref.interop._answers import as_float, attend_hiding_by_a_number, both, refuse

__all__ = ["dot_product_attention"]


def dot_product_attention(
    query: Float[Array, "*batch q_len heads d"],
    key: Float[Array, "*batch kv_len kv_heads d"],
    value: Float[Array, "*batch kv_len kv_heads d"],
    bias: Shaped[Array, "..."] | None = None,
    mask: Bool[Array, "..."] | None = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    query_seq_lengths: Integer[Array, " batch"] | None = None,
    key_value_seq_lengths: Integer[Array, " batch"] | None = None,
    local_window_size: int | tuple[int, int] | None = None,
    implementation: str | None = None,
    return_residual: bool = False,
) -> Any:
    r"""Answer as `jax.nn.dot_product_attention`.

    The length stands before the heads. A boolean mask is True where a query may attend; a
    boolean `bias`, which is the fourth argument, is **added as 0 and 1**. Causal and windows are
    top-left. A query that may see nothing gets the mean of all values. JAX takes the softmax in
    float32 even of float64; here float64 stays.

    Args:
        query: `(batch, q_len, heads, d)`, or without the batch
        key: `(batch, kv_len, kv_heads, d)`
        value: The shape of `key`.
        bias: Added to the scores; broadcasts to `(batch, heads, q_len, kv_len)`.
        mask: Boolean; broadcasts likewise.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d}$.
        is_causal: Whether query $i$ sees keys 0 to $i$, whatever the lengths are.
        query_seq_lengths: How many queries are real; the others get 0. `(batch,)`
        key_value_seq_lengths: How many keys are real; the others are hidden. `(batch,)`
        local_window_size: How many keys a query sees on the left and on the right beside its
            own position; one number is both.
        implementation: Of JAX's two, `xla`, which None is too.
        return_residual: Whether to return the log-sum-exp too.

    Returns:
        The output `(batch, q_len, heads, d)`; with `return_residual=True` also the log-sum-exp
        `(batch, q_len, heads)`.

    Raises:
        ValueError: If shapes do not fit together, or another implementation is asked for.
        TypeError: If dtypes differ, or the mask is not boolean.

    Complexity: O(q_len * kv_len * d) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query, value = np.zeros((1, 1, 1)), np.array([[[0.0]], [[8.0]]])
        >>> mask = np.array([[[True, False]]])
        >>> dot_product_attention(query, value, value, mask=mask)
        array([[[0.]]])
        >>> dot_product_attention(query, value, value, mask & False)  # as bias: adds nothing
        array([[[4.]]])
        >>> dot_product_attention(query, value, value, mask=mask & False)  # the mean
        array([[[4.]]])
    """
    xp = array_namespace(query=query, key=key, value=value, **given(bias=bias, mask=mask))
    require_dtype_of("query", query, value=value)
    function = "JAX's dot_product_attention"
    rule = "implementation must be None or xla"
    refuse(function, rule, implementation not in {None, "xla"}, implementation)
    rule = f"value must have the shape of key, {tuple(key.shape)}"
    refuse(function, rule, value.shape != key.shape, tuple(value.shape))
    query, key, value = (xp.moveaxis(x, -3, -2) for x in (query, key, value))
    q_len, kv_len = query.shape[-2], key.shape[-2]
    if is_causal:
        mask = both(mask, causal_mask(q_len, kv_len, q_start=0, like=query))
    if local_window_size is not None:
        if isinstance(local_window_size, int):
            local_window_size = (local_window_size, local_window_size)
        left, right = local_window_size
        window = sliding_window_mask(q_len, kv_len, left=left, right=right, q_start=0, like=query)
        mask = both(mask, window)
    if key_value_seq_lengths is not None:
        mask = both(mask, padding_mask(key_value_seq_lengths, kv_len)[:, None, :, :])
    real = None
    if query_seq_lengths is not None:
        real = xp.matrix_transpose(padding_mask(query_seq_lengths, q_len))[:, None, :, :]
        mask = both(mask, real)
    stages = attend_hiding_by_a_number(
        query, key, value, mask=mask, bias=as_float(xp, bias, query), scale=scale
    )
    output = stages.output if real is None else xp.where(real, stages.output, 0.0)
    output = xp.moveaxis(output, -3, -2)
    return (output, _residual(xp, stages.logsumexp, query)) if return_residual else output


def _residual(xp: Any, log_sum: Array, query: Array) -> Array:
    """Move the heads of the log-sum-exp to the end; below the range of the dtype lies -inf."""
    least = xp.finfo(query.dtype).min
    narrow = xp.astype(xp.where(log_sum < least, -xp.inf, log_sum), query.dtype)
    return xp.moveaxis(narrow, -2, -1)
