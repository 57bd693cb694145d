"""Scaled dot-product attention, one statement for each term of the equation."""

import math
from typing import Any, NamedTuple

from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    as_number,
    check_query_and_key,
    check_score_terms,
    check_value,
    working_dtype,
)
from attention_ref._parts import in_parts
from attention_ref._softmax import all_finite, logsumexp, masked_softmax


class AttentionStages(NamedTuple):
    """Every intermediate of one attention, in the order in which `attention_stages` computes them.

    All but `output` stay in the dtype that they are computed in, which is at least float32.

    Attributes:
        scores: Dot products of queries and keys, already scaled. `(*batch, q_len, kv_len)`
        capped: The scores after the soft cap. `(*batch, q_len, kv_len)`
        biased: After the bias and the mask, -inf where masked. `(*batch, q_len, kv_len)`
        weights: After the softmax: rows that sum to one, or to less beside a sink, or to zero
            where a query may see nothing. `(*batch, q_len, kv_len)`
        logsumexp: Logarithm of the softmax's denominator, the sink included. `(*batch, q_len)`
        output: The weighted average of the values, in their dtype. `(*batch, q_len, d_v)`
    """

    scores: Float[Array, "*batch q_len kv_len"]
    capped: Float[Array, "*batch q_len kv_len"]
    biased: Float[Array, "*batch q_len kv_len"]
    weights: Float[Array, "*batch q_len kv_len"]
    logsumexp: Float[Array, "*batch q_len"]
    output: Float[Array, "*batch q_len d_v"]


def attention_scores(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    *,
    scale: float | None = None,
) -> Float[Array, "*batch q_len kv_len"]:
    r"""Score every key for every query: their dot product, times the scale.

    $$S = QK^\top / \sqrt{d_k}$$

    A query or key with an entry that is NaN or infinite has NaN for each of its scores.

    Args:
        query: What each position looks for. `(*batch, q_len, d_k)`
        key: What each position offers to be found by, in the dtype of `query`.
            `(*batch, kv_len, d_k)`
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.

    Returns:
        The scores, in the dtype of `query`. `(*batch, q_len, kv_len)`

    Raises:
        ValueError: If `query` and `key` differ in `d_k` or in their batch axes, which are not
            broadcast.
        TypeError: If they are not real floating arrays of one library and one dtype.

    Complexity: O(q_len * kv_len * d_k) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query = np.array([[1.0, 2.0, 3.0, 4.0]])
        >>> key = np.array([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]])
        >>> attention_scores(query, key)  # 2 and 10, divided by the square root of 4
        array([[1., 5.]])
        >>> attention_scores(query, key, scale=1.0)
        array([[ 2., 10.]])

    References:
        Vaswani et al. 2017, section 3.2.1, equation 1 and footnote 4.
    """
    xp = check_query_and_key(query, key)
    dtype = working_dtype(xp, query)
    scores = _scores(xp, query, key, scale, dtype)
    return xp.astype(scores, query.dtype, copy=False)


def attention_weights(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch q_len kv_len"]:
    r"""Weigh every key for every query: the softmax of the scores over the keys.

    $$A = \operatorname{softmax}\!\left(QK^\top / \sqrt{d_k} + B\right)$$

    Args:
        query: What each position looks for. `(*batch, q_len, d_k)`
        key: What each position offers to be found by. `(*batch, kv_len, d_k)`
        mask: As in `scaled_dot_product_attention`, like all that follow.
        bias: Added to the scores.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach, or None.
        sink: One logit in the denominator, or None.

    Returns:
        The weights, in the dtype of `query`; each row sums to one, or to zero where a query may
        see nothing. `(*batch, q_len, kv_len)`

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong, above all a mask that is not boolean.

    Complexity: O(q_len * kv_len * d_k) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query, key = np.array([[1.0], [2.0]]), np.log(np.array([[1.0], [3.0]]))
        >>> attention_weights(query, key).round(3)  # in proportion to 1 and 3, then 1 and 9
        array([[0.25, 0.75],
               [0.1 , 0.9 ]])
        >>> attention_weights(query, key, mask=np.array([True, False]))
        array([[1., 0.],
               [1., 0.]])

    References:
        Vaswani et al. 2017, section 3.2.1, equation 1.
    """
    xp = check_query_and_key(query, key)
    check_score_terms(query, key, mask=mask, bias=bias, sink=sink)
    dtype = working_dtype(xp, query, bias, sink)
    scores = _scores(xp, query, key, scale, dtype)
    _, biased, allowed = _adjust(xp, scores, mask, bias, softcap)
    _, weights = _normalize(xp, biased, allowed, sink)
    return xp.astype(weights, query.dtype, copy=False)


def scaled_dot_product_attention(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch q_len d_v"]:
    r"""Average the values, weighted by how well each key matches the query.

    $$\operatorname{softmax}\!\left(QK^\top / \sqrt{d_k} + B\right)V$$

    In order: scale, soft cap, bias, mask, softmax. Heads are one of the batch axes,
    `(batch, heads, length, d)`. Batch axes must be equal; only `mask`, `bias` and `sink` broadcast,
    from the last axis as in NumPy. So a mask `(batch, q_len, kv_len)` meets the heads, and needs
    `mask[:, None]`.

    A query that may see nothing has output, weights and gradient zero. What is masked changes no
    other row by a bit, be it NaN or inf, and puts no NaN into the gradient; a query that may see
    it gets NaN, or the infinity that it sees in a value. Most libraries give NaN in both cases.

    Args:
        query: What each position looks for. `(*batch, q_len, d_k)`
        key: What each position offers to be found by, in the dtype of `query`.
            `(*batch, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_len, d_v)`
        mask: True where a query may attend; broadcasts to `(*batch, q_len, kv_len)`. The
            opposite of `nn.MultiheadAttention`, where True hides.
        bias: Added to the scores after the soft cap; -inf masks. Broadcasts to
            `(*batch, q_len, kv_len)`.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: $c$, above zero: a score $s$ becomes $c \tanh(s / c)$.
        sink: A logit that takes part in the denominator and has no value: weights then sum to
            less than one. Usually one a head, `(heads,)`; broadcasts to `(*batch)`.

    Returns:
        One vector a query, in the dtype of `value`, computed in the widest dtype among the
        arguments and in at least float32. `(*batch, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range; the message gives
            the rule and the shape that came.
        TypeError: If a dtype is wrong: a mask that is not boolean, integers, or a key whose dtype
            is not the query's.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(kv_len) memory, for the scores of 128 to 255
        queries of one head, or of more where keys are few; O(q_len * kv_len) where gradients are
        taken.

    Examples:
        >>> import numpy as np
        >>> query, key = np.array([[1.0]]), np.log(np.array([[1.0], [3.0]]))
        >>> value = np.array([[0.0, 4.0], [8.0, 4.0]])
        >>> scaled_dot_product_attention(query, key, value).round(3)  # weights 1/4 and 3/4
        array([[6., 4.]])
        >>> sink = np.log(np.array(4.0))  # weights 1/8 and 3/8
        >>> scaled_dot_product_attention(query, key, value, sink=sink).round(3)
        array([[3., 2.]])
        >>> key[1] = value[1] = np.nan
        >>> for mask in ([True, True], [True, False], [False, False]):
        ...     print(scaled_dot_product_attention(query, key, value, mask=np.array(mask)))
        [[nan nan]]
        [[0. 4.]]
        [[0. 0.]]

    References:
        Vaswani et al. 2017, section 3.2.1, equation 1. Gemma Team 2024 (Gemma 2), section 2
        (soft cap). Xiao et al. 2024, section 3.3 (sink).
    """
    xp = check_query_and_key(query, key)
    check_value(xp, key, value)
    check_score_terms(query, key, mask=mask, bias=bias, sink=sink)

    def attend(query: Array, key: Array, value: Array, *terms: Array | None) -> Array:
        mask, bias, sink = terms
        *_, output = _attend(xp, query, key, value, mask, bias, scale, softcap, sink)
        return output

    return in_parts(xp, attend, query, key, value, mask, bias, sink)


def attention_stages(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> AttentionStages:
    r"""Compute `scaled_dot_product_attention` and keep every intermediate.

    $$S = QK^\top / \sqrt{d_k}, \quad A = \operatorname{softmax}(c \tanh(S / c) + B), \quad O = AV$$

    Args:
        query: What each position looks for. `(*batch, q_len, d_k)`
        key: What each position offers to be found by. `(*batch, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_len, d_v)`
        mask: As in `scaled_dot_product_attention`, like all that follow.
        bias: Added to the scores.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach, or None.
        sink: One logit in the denominator, or None.

    Returns:
        The stages `scores`, `capped`, `biased`, `weights`, `logsumexp` and `output`.

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong, above all a mask that is not boolean.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query, key = np.array([[2.0]]), np.array([[50.0], [0.0], [9.0]])
        >>> bias = np.array([5.0, 7.0, -np.inf])
        >>> stages = attention_stages(query, key, key, bias=bias, softcap=2.0)
        >>> for name, stage in stages._asdict().items():
        ...     print(name, stage.round(3))
        scores [[100.   0.  18.]]
        capped [[2. 0. 2.]]
        biased [[  7.   7. -inf]]
        weights [[0.5 0.5 0. ]]
        logsumexp [7.693]
        output [[25.]]

    References:
        Vaswani et al. 2017, section 3.2.1, equation 1.
    """
    xp = check_query_and_key(query, key)
    check_value(xp, key, value)
    check_score_terms(query, key, mask=mask, bias=bias, sink=sink)
    terms = mask, bias, scale, softcap, sink
    scores, capped, biased, logits, weights, output = _attend(xp, query, key, value, *terms)
    return AttentionStages(scores, capped, biased, weights, logsumexp(logits), output)


def isolated_matmul(xp: Any, a: Array, b: Array) -> Array:
    """Multiply matrices; a row or column that is not finite gives NaN, to itself alone.

    0 * NaN is NaN, so the zero gradient of a masked score would still turn into NaN on its way
    through an ordinary product. What is not finite therefore takes no part in the product.
    """
    if all_finite(xp, a) and all_finite(xp, b):
        # PyTorch's gradient of b then lies in memory as it does below, which decides its last bit.
        return a @ (xp.where(xp.isfinite(b), b, 0.0) if getattr(b, "requires_grad", False) else b)
    finite_a, finite_b = xp.isfinite(a), xp.isfinite(b)
    product = xp.where(finite_a, a, 0.0) @ xp.where(finite_b, b, 0.0)
    finite_rows = xp.all(finite_a, axis=-1, keepdims=True)
    finite_columns = xp.all(finite_b, axis=-2, keepdims=True)
    return xp.where(finite_rows & finite_columns, product, xp.nan)


def isolated_average(xp: Any, weights: Array, value: Array, allowed: Array) -> Array:
    """Sum the weighted values; one that is not finite reaches the rows allowed to see it alone."""
    if all_finite(xp, value):
        return isolated_matmul(xp, weights, value)
    output = isolated_matmul(xp, weights, xp.where(xp.isfinite(value), value, 0.0))
    # A weight of zero times NaN is NaN: what is not finite took no part in the product, and is
    # now given to the queries that may see it.
    sight = xp.astype(allowed, value.dtype)
    sees_inf, sees_minus_inf, sees_nan = (
        sight @ xp.astype(entries, value.dtype) > 0
        for entries in (value == xp.inf, value == -xp.inf, xp.isnan(value))
    )
    undefined = sees_nan | (sees_inf & sees_minus_inf) | xp.isnan(output)
    output = xp.where(sees_inf, xp.inf, xp.where(sees_minus_inf, -xp.inf, output))
    return xp.where(undefined, xp.nan, output)


def _scores(xp: Any, query: Array, key: Array, scale: float | None, dtype: Any) -> Array:
    # Copies: how an array lies in memory decides the last bit of a product in some libraries, and
    # what `isolated_matmul` puts in the place of one that is not finite lies as a copy does.
    query, key = xp.astype(query, dtype), xp.astype(key, dtype)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else as_number("scale", scale)
    return isolated_matmul(xp, query, xp.matrix_transpose(key)) * scale


def _adjust(
    xp: Any, scores: Array, mask: Array | None, bias: Array | None, softcap: float | None
) -> tuple[Array, Array, Array]:
    allowed = xp.ones_like(scores, dtype=xp.bool)
    allowed = allowed if mask is None else allowed & mask
    allowed = allowed if bias is None else allowed & (bias != -xp.inf)
    capped = scores
    if softcap is not None:
        softcap = as_number("softcap", softcap, positive=True)
        capped = softcap * xp.tanh(scores / softcap)
    biased = capped if bias is None else capped + xp.astype(bias, scores.dtype)
    visible = biased if xp.all(allowed) else xp.where(allowed, biased, -xp.inf)
    return capped, visible, allowed


def _normalize(xp: Any, biased: Array, allowed: Array, sink: Array | None) -> tuple[Array, Array]:
    """Return what the softmax is taken of, and the weights of the keys."""
    if sink is None:
        return biased, masked_softmax(biased, allowed)
    # A sink is one more key, which every query sees and which has no value.
    sink = xp.astype(sink, biased.dtype)[..., None, None]
    sink = xp.broadcast_to(sink, (*biased.shape[:-1], 1))
    biased = xp.concat([biased, sink], axis=-1)
    allowed = xp.concat([allowed, sink != -xp.inf], axis=-1)
    return biased, masked_softmax(biased, allowed)[..., :-1]


def _attend(
    xp: Any,
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    bias: Array | None,
    scale: float | None,
    softcap: float | None,
    sink: Array | None,
) -> tuple[Array, ...]:
    dtype = working_dtype(xp, query, value, bias, sink)
    scores = _scores(xp, query, key, scale, dtype)
    capped, biased, allowed = _adjust(xp, scores, mask, bias, softcap)
    logits, weights = _normalize(xp, biased, allowed, sink)
    output = isolated_average(xp, weights, xp.astype(value, dtype), allowed)
    return scores, capped, biased, logits, weights, xp.astype(output, value.dtype, copy=False)
