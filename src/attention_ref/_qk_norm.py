"""QK-norm: queries and keys of one length, so that the scores are bounded."""

from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    as_number,
    check_query_and_key,
    require_broadcast,
    require_dtype,
    require_shape,
    working_dtype,
)
from attention_ref._scaled_dot_product import scaled_dot_product_attention


def rms_norm(
    x: Float[Array, "*batch d"],
    gain: Float[Array, "..."] | None = None,
    *,
    epsilon: float = 1e-6,
) -> Float[Array, "*batch d"]:
    r"""Divide each vector by the root of the mean of its squares, and multiply by a gain.

    $$\operatorname{RMSNorm}(x)_i = \frac{x_i}{\sqrt{\frac{1}{d} \sum_j x_j^2 + \epsilon}}\, g_i$$

    Without a gain, every vector has the length $\sqrt{d}$ after it. A vector with an entry that is
    not finite becomes NaN, and no other does.

    Args:
        x: Vectors along the last axis. `(*batch, d)`
        gain: $g$, learned; broadcasts to `x`, usually `(d,)`. None is one.
        epsilon: What keeps a vector of zeros from being divided by zero, above zero.

    Returns:
        The vectors, in the dtype of `x`, computed in at least float32. `(*batch, d)`

    Raises:
        ValueError: If `gain` does not broadcast to `x`, or `epsilon` is zero or less.
        TypeError: If an array is not real floating.

    Complexity: O(d) time and memory for each vector.

    Examples:
        >>> import numpy as np
        >>> rms_norm(np.array([[3.0, 4.0], [6.0, 8.0]]) / np.sqrt(12.5)).round(3)
        array([[0.849, 1.131],
               [0.849, 1.131]])

    References:
        Zhang and Sennrich 2019, "Root mean square layer normalization", equation 4.
    """
    xp = array_namespace(x=x)
    require_dtype(xp, "real floating", x=x)
    require_shape("x", x, x.ndim >= 1 and x.shape[-1] > 0, "(*batch, d) with d of at least 1")
    epsilon = as_number("epsilon", epsilon, positive=True)
    _check_gain("gain", gain, "x", x)
    wide = xp.astype(x, working_dtype(xp, x, gain))
    # Set apart first, or the gradient of what is not finite would be NaN where zero flows back.
    finite = xp.all(xp.isfinite(wide), axis=-1, keepdims=True)
    wide = xp.where(finite, wide, 0.0)
    normed = wide / xp.sqrt(xp.mean(wide**2, axis=-1, keepdims=True) + epsilon)
    if gain is not None:
        normed = normed * xp.astype(gain, normed.dtype)
    return xp.astype(xp.where(finite, normed, xp.nan), x.dtype)


def qk_norm_attention(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    *,
    query_gain: Float[Array, "..."] | None = None,
    key_gain: Float[Array, "..."] | None = None,
    epsilon: float = 1e-6,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch q_len d_v"]:
    r"""Normalize each query and each key before they meet.

    $$\operatorname{softmax}\!\left(
    \operatorname{RMSNorm}(Q) \operatorname{RMSNorm}(K)^\top / \sqrt{d_k}\right)V$$

    However long a query or key was, a score is then at most $\sqrt{d_k}$, or the product of the
    gains times that. This is the form of Qwen 3 and others, whose gains are learned, one for each
    of the d_k features, shared by the heads. The first form divides by the Euclidean length and
    learns one factor $g$ for the scores: `scale=g / d_k` without gains, as the score is then $g$
    times the cosine. With rotary positions, rotate between `rms_norm` and
    `scaled_dot_product_attention`: a rotation keeps the length, but not the gains' places.

    Args:
        query: What each position looks for. `(*batch, q_len, d_k)`
        key: What each position offers to be found by. `(*batch, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_len, d_v)`
        query_gain: Multiplies the normalized queries; `(d_k,)`, or None for one.
        key_gain: Multiplies the normalized keys; `(d_k,)`, or None for one.
        epsilon: As in `rms_norm`.
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
        >>> query, key = np.array([[5.0, 0.0]]), np.array([[9.0, 0.0], [0.0, 0.1]])
        >>> value = np.array([[0.0], [4.0]])  # the cosines are 1 and 0: weights 3/4 and 1/4
        >>> qk_norm_attention(query, key, value, scale=np.log(3) / 2).round(3)
        array([[1.]])

    References:
        Henry et al. 2020, "Query-key normalization for transformers". Yang et al. 2025, "Qwen3
        technical report".
    """
    xp = check_query_and_key(query, key)
    _check_gain("query_gain", query_gain, "query", query)
    _check_gain("key_gain", key_gain, "key", key)
    dtype = working_dtype(xp, query)
    return scaled_dot_product_attention(
        rms_norm(xp.astype(query, dtype), query_gain, epsilon=epsilon),
        rms_norm(xp.astype(key, dtype), key_gain, epsilon=epsilon),
        value,
        mask=mask,
        bias=bias,
        scale=scale,
        softcap=softcap,
        sink=sink,
    )


def _check_gain(name: str, gain: Array | None, of: str, x: Array) -> None:
    if gain is not None:
        xp = array_namespace(**{of: x, name: gain})
        require_dtype(xp, "real floating", **{name: gain})
        shape = tuple(x.shape)
        require_broadcast(name, gain, shape, f"that of {of}, {shape}")
