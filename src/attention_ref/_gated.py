"""Gated attention: each query decides how much of its output passes."""

from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    check_query_and_key,
    check_value,
    require_broadcast,
    require_dtype,
    working_dtype,
)
from attention_ref._scaled_dot_product import scaled_dot_product_attention


def gated_attention(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    gate: Float[Array, "..."],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch q_len d_v"]:
    r"""Multiply the output of attention by a sigmoid gate, one an entry or one a head.

    $$\operatorname{softmax}\!\left(QK^\top / \sqrt{d_k}\right)V \odot \sigma(G), \qquad
    \sigma(x) = \frac{1}{1 + e^{-x}}$$

    The weights of a row sum to one, so a query that finds nothing must still take something; with
    a gate it can take nothing. The gate is computed from the query's position, `gate = x @ w_gate`,
    and given here before the sigmoid. It acts on each head before the heads are merged and
    projected. An output that is not finite passes as it is.

    Args:
        query: What each position looks for. `(*batch, q_len, d_k)`
        key: What each position offers to be found by. `(*batch, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_len, d_v)`
        gate: $G$, any numbers: large passes all, very negative nothing. `(*batch, q_len, d_v)`, or
            `(*batch, q_len, 1)` for one number a head; it broadcasts to the output.
        mask: As in `scaled_dot_product_attention`, like all that follow.
        bias: Added to the scores.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach, or None.
        sink: One logit in the denominator, or None.

    Returns:
        One vector a query, in the dtype of `value`. `(*batch, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong, above all a mask that is not boolean.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query, value = np.zeros((1, 1)), np.array([[2.0, 4.0], [6.0, 8.0]])
        >>> key, gate = np.zeros((2, 1)), np.array([[0.0, np.inf]])
        >>> gated_attention(query, key, value, gate)  # half of the mean 4, and all of 6
        array([[2., 6.]])

    References:
        Qiu et al. 2025, "Gated attention for large language models".
    """
    xp = check_query_and_key(query, key)
    check_value(xp, key, value)
    array_namespace(query=query, gate=gate)
    require_dtype(xp, "real floating", gate=gate)
    shape = (*query.shape[:-1], value.shape[-1])
    require_broadcast("gate", gate, shape, f"(*batch, q_len, d_v) = {shape}")
    dtype = working_dtype(xp, query, value, gate)
    output = scaled_dot_product_attention(
        query,
        key,
        xp.astype(value, dtype),
        mask=mask,
        bias=bias,
        scale=scale,
        softcap=softcap,
        sink=sink,
    )
    # A product with what is not finite has a gradient of NaN, even where zero flows back.
    undefined, finite = xp.isnan(gate), xp.isfinite(output)
    gate = xp.astype(xp.where(undefined, 0.0, gate), dtype)
    passed = (1 + xp.tanh(gate / 2)) / 2  # the sigmoid, by a function that never overflows
    output = xp.where(finite, passed * xp.where(finite, output, 0.0), output)
    return xp.astype(xp.where(undefined, xp.nan, output), value.dtype)
