"""Differential attention: one map of weights minus another, as in a differential amplifier."""

import math

import array_api_compat
from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    as_number,
    check_query_and_key,
    check_value,
    require_broadcast,
    require_dtype,
    require_dtype_of,
    require_shape,
    working_dtype,
)
from attention_ref._scaled_dot_product import scaled_dot_product_attention


def differential_attention(
    query: Float[Array, "*batch q_len two_d_k"],
    key: Float[Array, "*batch kv_len two_d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    *,
    factor: float | Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch q_len d_v"]:
    r"""Subtract a second attention from the first, so that what both attend to cancels.

    $$\left(\operatorname{softmax}\!\left(Q_1 K_1^\top / \sqrt{d_k}\right)
    - \lambda \operatorname{softmax}\!\left(Q_2 K_2^\top / \sqrt{d_k}\right)\right) V$$

    The two lie side by side in the last axis of `query` and `key`: $Q = [Q_1, Q_2]$. Rows of the
    difference sum to $1 - \lambda$, and may have negative entries. In the paper $\lambda$ comes
    from `differential_lambda`, values have 2 * d_k features, and the output of each head is then
    normalized, `(1 - initial) * rms_norm(output, gain)`, before the heads are merged.

    Args:
        query: What each position looks for, twice. `(*batch, q_len, 2 * d_k)`
        key: What each position offers to be found by, twice. `(*batch, kv_len, 2 * d_k)`
        value: What each position hands over; an infinite entry counts as NaN, since its weight
            could have either sign. `(*batch, kv_len, d_v)`
        factor: $\lambda$, a number or an array that broadcasts to `(*batch)`; with heads,
            `(heads,)` is one a head.
        mask: As in `scaled_dot_product_attention`, like all that follow; both attentions have it.
        bias: Added to the scores of both.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$, of half the
            last axis.
        softcap: The bound that the scores approach, or None.
        sink: One logit in the denominator of both, or None.

    Returns:
        One vector a query, in the dtype of `value`. `(*batch, q_len, d_v)`

    Raises:
        ValueError: If the last axis of `query` is odd, or shapes do not fit together.
        TypeError: If a dtype is wrong, above all a mask that is not boolean.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query, key = np.array([[1.0, 0.0]]), np.log(np.array([[3.0, 1.0], [1.0, 1.0]]))
        >>> value = np.array([[0.0], [8.0]])  # weights 3/4 and 1/4, minus half of 1/2 and 1/2
        >>> differential_attention(query, key, value, factor=0.5).round(3)
        array([[0.]])

    References:
        Ye et al. 2024, "Differential transformer", section 2.1, equation 1.
    """
    xp = check_query_and_key(query, key)
    check_value(xp, key, value)
    both = query.shape[-1]
    require_shape("query", query, both % 2 == 0, "(..., q_len, 2 * d_k)")
    dtype = working_dtype(xp, query, value)
    subtracted: float | Array
    if array_api_compat.is_array_api_obj(factor):
        array_namespace(query=query, factor=factor)
        require_dtype(xp, "real floating", factor=factor)
        batch = tuple(query.shape[:-2])
        require_broadcast("factor", factor, batch, f"(*batch) = {batch}")
        subtracted = xp.astype(factor, dtype)[..., None, None]
    else:
        subtracted = as_number("factor", factor)
    wide = xp.astype(value, dtype)
    first, second = (
        scaled_dot_product_attention(
            query[..., half],
            key[..., half],
            wide,
            mask=mask,
            bias=bias,
            scale=scale,
            softcap=softcap,
            sink=sink,
        )
        for half in (slice(0, both // 2), slice(both // 2, both))
    )
    # A product with NaN would give the factor, which all share, a gradient of NaN.
    finite = xp.isfinite(second)
    difference = first - subtracted * xp.where(finite, second, 0.0)
    return xp.astype(xp.where(finite, difference, xp.nan), value.dtype)


def differential_lambda(
    lambda_q1: Float[Array, "*batch d_k"],
    lambda_k1: Float[Array, "*batch d_k"],
    lambda_q2: Float[Array, "*batch d_k"],
    lambda_k2: Float[Array, "*batch d_k"],
    *,
    initial: float,
) -> Float[Array, "*batch"]:
    r"""Compute the factor of `differential_attention` from the four vectors that are learned.

    $$\lambda = \exp(\lambda_{q1} \cdot \lambda_{k1}) - \exp(\lambda_{q2} \cdot \lambda_{k2})
    + \lambda_\text{init}$$

    Args:
        lambda_q1: Learned, near zero at first; one vector a layer in the paper. `(*batch, d_k)`
        lambda_k1: Likewise, and in the same dtype, like all four. `(*batch, d_k)`
        lambda_q2: Likewise. `(*batch, d_k)`
        lambda_k2: Likewise. `(*batch, d_k)`
        initial: $\lambda_\text{init}$, as `differential_lambda_init` gives it.

    Returns:
        $\lambda$, in the dtype of the vectors. `(*batch)`

    Raises:
        ValueError: If the vectors differ in shape, or `initial` is not finite.
        TypeError: If they are not real floating arrays of one dtype.

    Complexity: O(d_k) time and memory.

    Examples:
        >>> import numpy as np
        >>> zeros = np.zeros(3)
        >>> float(differential_lambda(zeros, zeros, zeros, zeros, initial=0.2))
        0.2

    References:
        Ye et al. 2024, "Differential transformer", section 2.1, equation 2.
    """
    vectors = {
        "lambda_q1": lambda_q1,
        "lambda_k1": lambda_k1,
        "lambda_q2": lambda_q2,
        "lambda_k2": lambda_k2,
    }
    xp = array_namespace(**vectors)
    require_dtype(xp, "real floating", **vectors)
    require_dtype_of("lambda_q1", lambda_q1, **vectors)
    shape = tuple(lambda_q1.shape)
    for name, vector in vectors.items():
        require_shape(name, vector, vector.ndim >= 1, "(*batch, d_k)")
        require_shape(name, vector, tuple(vector.shape) == shape, f"that of lambda_q1, {shape}")
    initial = as_number("initial", initial)
    dtype = working_dtype(xp, lambda_q1)
    q1, k1, q2, k2 = (xp.astype(vector, dtype) for vector in vectors.values())
    raised, lowered = (xp.exp(xp.sum(q * k, axis=-1)) for q, k in ((q1, k1), (q2, k2)))
    return xp.astype(raised - lowered + initial, lambda_q1.dtype)


def differential_lambda_init(layer: int) -> float:
    r"""Return where the factor of a layer starts: low at first, towards 0.8 in deep layers.

    $$\lambda_\text{init} = 0.8 - 0.6\, e^{-0.3\, (l - 1)}$$

    Args:
        layer: $l$, the layer, counted from 1; Hugging Face counts from 0.

    Returns:
        $\lambda_\text{init}$, which `differential_lambda` and the norm of the heads take.

    Raises:
        ValueError: If `layer` is below 1.
        TypeError: If `layer` is not an integer.

    Complexity: O(1) time and memory.

    Examples:
        >>> [round(differential_lambda_init(layer), 2) for layer in (1, 2, 28)]
        [0.2, 0.36, 0.8]

    References:
        Ye et al. 2024, "Differential transformer", section 2.1.
    """
    return 0.8 - 0.6 * math.exp(-0.3 * (as_integer("layer", layer, least=1) - 1))
