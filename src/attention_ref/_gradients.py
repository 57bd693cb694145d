"""The backward pass of attention by hand: one gradient a stage, from the last to the first."""

import math
from typing import NamedTuple

from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    as_number,
    require_dtype,
    require_shape,
)
from attention_ref._like import sum_to
from attention_ref._scaled_dot_product import attention_stages, isolated_average, isolated_matmul


class AttentionGradients(NamedTuple):
    """What `attention_backward` returns, each in the shape and dtype of its argument.

    Attributes:
        query: `(*batch, q_len, d_k)`
        key: `(*batch, kv_len, d_k)`
        value: `(*batch, kv_len, d_v)`
        bias: `(*batch, q_len, kv_len)` or what broadcasts to it; None without a bias.
        sink: `(*batch)` or what broadcasts to it; None without a sink.
    """

    query: Float[Array, "*batch q_len d_k"]
    key: Float[Array, "*batch kv_len d_k"]
    value: Float[Array, "*batch kv_len d_v"]
    bias: Float[Array, "..."] | None
    sink: Float[Array, "..."] | None


def attention_backward(
    gradient: Float[Array, "*batch q_len d_v"],
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> AttentionGradients:
    r"""Take the gradient of a loss through `scaled_dot_product_attention`.

    The forward pass, with the scale $\lambda$ and the soft cap $c$, has one line a stage:

    $$S = \lambda QK^\top, \quad C = c \tanh(S / c), \quad Z = C + B, \quad
    A = \operatorname{softmax}(Z), \quad O = AV$$

    Write $dX$ for the gradient of the loss by $X$; given is $dO$. A change of $A$ or $V$ changes
    $O$ by $dA\, V + A\, dV$ in the calculus of small changes, and so a product hands its gradient
    to each factor, times the other factor transposed:

    $$dV = A^\top dO, \qquad dA = dO\, V^\top$$

    In the softmax $\partial A_{ij} / \partial Z_{ik} = A_{ij} (\delta_{jk} - A_{ik})$: a score
    gains by what its own weight is worth, less what the row is worth on average, $\Delta_i$:

    $$\Delta_i = \sum_j A_{ij}\, dA_{ij}, \qquad dZ_{ij} = A_{ij} (dA_{ij} - \Delta_i)$$

    A bias is added, so $dB = dZ$, summed over what it was stretched along. A sink is a score whose
    value is zero, worth nothing: with the log-sum-exp $L$,

    $$d\text{sink} = -\sum_i e^{\text{sink} - L_i} \Delta_i$$

    Last, $\tanh' = 1 - \tanh^2$, and a product again:

    $$dS = dZ \odot \left(1 - (C / c)^2\right), \qquad
    dQ = \lambda\, dS\, K, \qquad dK = \lambda\, dS^\top Q$$

    A masked score has no gradient. Nor has a query that may see nothing, or whose weights are
    NaN; nor an entry of the output that is not finite, since an inf or NaN in `value` was handed
    on and not computed. What is not finite in `gradient` reaches only what its query may see.

    Args:
        gradient: The gradient of the loss by the output, $dO$. `(*batch, q_len, d_v)`
        query: As in `scaled_dot_product_attention`, like all that follow. `(*batch, q_len, d_k)`
        key: What each position offers to be found by. `(*batch, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_len, d_v)`
        mask: True where a query may attend.
        bias: Added to the scores after the soft cap.
        scale: $\lambda$; None is $1 / \sqrt{d_k}$.
        softcap: $c$, or None.
        sink: One logit in the denominator, or None.

    Returns:
        The gradients of `query`, `key`, `value`, `bias` and `sink`.

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong, above all a mask that is not boolean.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(q_len * kv_len) memory.
        `flash_attention_backward` needs less memory, and gives no gradient of a bias.

    Examples:
        >>> import numpy as np
        >>> query, key = np.array([[1.0]]), np.array([[0.0], [0.0]])  # weights 1/2 and 1/2
        >>> value, bias = np.array([[2.0], [6.0]]), np.zeros((1, 2))  # so the output is 4
        >>> gradients = attention_backward(np.array([[1.0]]), query, key, value, bias=bias)
        >>> gradients.value, gradients.bias  # half of (2 - 4), half of (6 - 4)
        (array([[0.5],
               [0.5]]), array([[-1.,  1.]]))

    References:
        Dao et al. 2022 (FlashAttention), appendix B.2. Bridle 1990, "Probabilistic
        interpretation of feedforward classification network outputs" (the derivative of the
        softmax).
    """
    stages = attention_stages(
        query, key, value, mask=mask, bias=bias, scale=scale, softcap=softcap, sink=sink
    )
    xp = array_namespace(query=query, gradient=gradient)
    require_dtype(xp, "real floating", gradient=gradient)
    shape = tuple(stages.output.shape)
    require_shape("gradient", gradient, tuple(gradient.shape) == shape, f"{shape}")

    def computed(x: Array) -> Array:
        return xp.where(xp.isfinite(x), xp.astype(x, stages.weights.dtype), 0.0)

    alive = xp.isfinite(stages.logsumexp)
    visible = (stages.biased != -xp.inf) & alive[..., None]
    weights = xp.where(visible, stages.weights, 0.0)
    handed_on = ~xp.isfinite(stages.output)
    d_output = xp.where(handed_on, 0.0, xp.astype(gradient, weights.dtype))

    d_value = isolated_average(
        xp, xp.matrix_transpose(weights), d_output, xp.matrix_transpose(visible)
    )
    d_weights = isolated_matmul(xp, d_output, xp.matrix_transpose(computed(value)))
    d_weights = xp.where(visible, d_weights, 0.0)
    delta = xp.sum(weights * d_weights, axis=-1, keepdims=True)
    d_biased = xp.where(visible, weights * (d_weights - delta), 0.0)
    d_bias = None if bias is None else sum_to(xp, d_biased, bias)
    d_sink = None
    if sink is not None:
        logits = xp.where(alive, xp.astype(sink, weights.dtype)[..., None], -xp.inf)
        sink_weights = xp.exp(logits - xp.where(alive, stages.logsumexp, 0.0))
        worth = xp.where(logits == -xp.inf, 0.0, sink_weights * delta[..., 0])
        d_sink = sum_to(xp, -xp.sum(worth, axis=-1), sink)
    d_scores = d_biased
    if softcap is not None:
        softcap = as_number("softcap", softcap)
        d_scores = xp.where(visible, d_biased * (1 - (stages.capped / softcap) ** 2), 0.0)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else as_number("scale", scale)
    d_query = scale * (d_scores @ computed(key))
    d_key = scale * (xp.matrix_transpose(d_scores) @ computed(query))
    return AttentionGradients(
        xp.astype(d_query, query.dtype),
        xp.astype(d_key, key.dtype),
        xp.astype(d_value, value.dtype),
        d_bias,
        d_sink,
    )
