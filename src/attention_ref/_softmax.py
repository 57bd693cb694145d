"""Turn scores into weights: the softmax, with a mask, and the logarithm of its denominator."""

from typing import Any

from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    as_axis,
    as_number,
    require_broadcast,
    require_dtype,
    require_mask,
    working_dtype,
)


def softmax(
    x: Float[Array, "*shape"], axis: int = -1, *, temperature: float = 1.0
) -> Float[Array, "*shape"]:
    r"""Turn numbers into positive weights that sum to one along an axis.

    $$\operatorname{softmax}(x)_i = \frac{e^{x_i / T}}{\sum_j e^{x_j / T}}$$

    The order is kept; the ratio of two weights is $e$ to the difference of the numbers over $T$.
    The largest number is subtracted first, which changes no weight and keeps the powers finite.
    As $T$ approaches 0 all weight moves to the largest number; as $T$ grows, the weights even out.
    A NaN, an inf or nothing but -inf gives NaN: what must not count belongs in `masked_softmax`.

    Args:
        x: Any numbers, for instance scores. `(*shape)`
        axis: The axis along which the weights sum to one.
        temperature: $T$, above zero.

    Returns:
        The weights, in the dtype of `x`, computed in at least float32. `(*shape)`

    Raises:
        ValueError: If `temperature` is zero or less, or `x` has no such `axis`.
        TypeError: If `x` is not an array of real floating numbers.

    Complexity: O(n) time and memory for n numbers.

    Examples:
        >>> import numpy as np
        >>> x = np.log(np.array([1.0, 2.0, 5.0]))
        >>> softmax(x).round(3)
        array([0.125, 0.25 , 0.625])
        >>> softmax(x, temperature=0.5).round(3)  # in proportion to 1, 4, 25
        array([0.033, 0.133, 0.833])
        >>> softmax(np.array([1000.0, 1000.0]))
        array([0.5, 0.5])

    References:
        Bridle 1990, "Probabilistic interpretation of feedforward classification network
        outputs". Hinton et al. 2015, section 2, equation 1 (temperature).
    """
    xp = array_namespace(x=x)
    require_dtype(xp, "real floating", x=x)
    axis = as_axis(axis, "x", x)
    temperature = as_number("temperature", temperature, positive=True)
    wide = xp.astype(x, working_dtype(xp, x), copy=False)
    # Subtracting comes before dividing: x / temperature alone may overflow.
    powers = xp.exp((wide - _peak(xp, wide, axis)) / temperature)
    weights = powers / xp.sum(powers, axis=axis, keepdims=True)
    return xp.astype(weights, x.dtype, copy=False)


def masked_softmax(
    scores: Float[Array, "*shape"], mask: Bool[Array, "..."], axis: int = -1
) -> Float[Array, "*shape"]:
    r"""Take the softmax over what the mask lets through; everything else weighs exactly zero.

    $$w_i = \frac{m_i\, e^{s_i}}{\sum_j m_j\, e^{s_j}}, \qquad m_i \in \{0, 1\}$$

    Where the mask lets nothing through all weights are zero, and so is the gradient; other
    libraries give NaN there, or even weights. What is masked has no influence, NaN included; a
    NaN that is not masked makes NaN of its own row, and of no other row's gradient.

    Args:
        scores: One number for each entry. `(*shape)`
        mask: True where an entry counts; broadcasts to `(*shape)`.
        axis: The axis along which the weights sum to one, or to zero.

    Returns:
        The weights, in the dtype of `scores`. `(*shape)`

    Raises:
        ValueError: If `mask` does not broadcast to `scores`, or `scores` has no such `axis`.
        TypeError: If `mask` is not boolean, or `scores` is not real floating.

    Complexity: O(n) time and memory for n scores.

    Examples:
        >>> import numpy as np
        >>> scores = np.log(np.array([[1.0, 3.0, np.nan], [1.0, 1.0, 1.0]]))
        >>> mask = np.array([[True, True, False], [False, False, False]])
        >>> masked_softmax(scores, mask).round(3)
        array([[0.25, 0.75, 0.  ],
               [0.  , 0.  , 0.  ]])

    References:
        Vaswani et al. 2017, section 3.2.3 (masking with -inf inside the softmax).
    """
    xp = array_namespace(scores=scores, mask=mask)
    require_dtype(xp, "real floating", scores=scores)
    axis = as_axis(axis, "scores", scores)
    require_mask(xp, mask)
    shape = tuple(scores.shape)
    require_broadcast("mask", mask, shape, f"that of scores, {shape}")
    mask = xp.broadcast_to(mask, shape)
    visible = scores if xp.all(mask) else xp.where(mask, scores, -xp.inf)
    if shape[axis] and all_finite(xp, xp.max(visible, axis=axis)):  # each row sees, and no NaN
        return softmax(visible, axis)
    nothing = ~xp.any(mask, axis=axis, keepdims=True)
    undefined = xp.any(xp.isnan(visible), axis=axis, keepdims=True)
    # Such rows are set after a softmax of zeros. To overwrite its NaN instead would clean the
    # weights alone: the gradient is 0 * NaN, which is NaN.
    weights = softmax(xp.where(nothing | undefined, 0.0, visible), axis)
    return xp.where(mask, xp.where(undefined, xp.nan, weights), 0.0)


def logsumexp(x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    r"""Take the logarithm of a sum of powers of $e$, the denominator of the softmax.

    $$\operatorname{logsumexp}(x) = \log \sum_j e^{x_j}$$

    It lies between the largest number and that number plus $\log n$, and never overflows. Of
    nothing, or of nothing but -inf, it is -inf, with zero gradient.

    Args:
        x: Any numbers, for instance scores. `(*shape)`
        axis: The axis to sum along, which the result no longer has.

    Returns:
        The logarithms, in the dtype of `x`, computed in at least float32.

    Raises:
        ValueError: If `x` has no such `axis`.
        TypeError: If `x` is not an array of real floating numbers.

    Complexity: O(n) time and memory for n numbers.

    Examples:
        >>> import numpy as np
        >>> float(np.exp(logsumexp(np.log(np.array([1.0, 2.0, 5.0])))).round(3))
        8.0
        >>> logsumexp(np.array([[1000.0, -np.inf], [-np.inf, -np.inf]]))
        array([1000.,  -inf])

    References:
        Blanchard, Higham and Higham 2021, "Accurately computing the log-sum-exp and softmax
        functions", section 1 (the shifted formulas).
    """
    xp = array_namespace(x=x)
    require_dtype(xp, "real floating", x=x)
    axis = as_axis(axis, "x", x)
    wide = xp.astype(x, working_dtype(xp, x))
    undefined = xp.any(xp.isnan(wide), axis=axis, keepdims=True)
    wide = xp.where(undefined, 0.0, wide)
    peak = _peak(xp, wide, axis)
    total = xp.sum(xp.exp(wide - peak), axis=axis, keepdims=True)
    nothing = total == 0
    result = peak + xp.log(xp.where(nothing, 1.0, total))
    result = xp.where(undefined, xp.nan, xp.where(nothing, -xp.inf, result))
    return xp.astype(xp.squeeze(result, axis=axis), x.dtype)


def all_finite(xp: Any, x: Array) -> bool:
    """Tell whether no number is NaN or infinite: NaN is the largest and the smallest if any is."""
    return 0 in x.shape or bool(xp.min(x) > -xp.inf and xp.max(x) < xp.inf)


def _peak(xp: Any, x: Array, axis: int) -> Array:
    """Return the largest number along the axis, held finite because inf - inf is NaN."""
    if x.shape[axis] == 0:  # there is none, and any number will do: nothing is subtracted from
        return xp.sum(x, axis=axis, keepdims=True)
    largest = xp.finfo(x.dtype).max
    return xp.clip(xp.max(x, axis=axis, keepdims=True), -largest, largest)
