"""Where each position stands, told to the features: added as sinusoids, or turned as rotations.

Rotary embedding is made of parts that compose: frequencies, which a model with a longer context
scales; the angles, each position times each frequency; and the rotation of pairs of features.
"""

from typing import Any, Literal

import array_api_compat
from jaxtyping import Float, Integer

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    as_number,
    given,
    listed,
    require_dtype,
    require_shape,
    working_dtype,
)
from attention_ref._like import floats_like

Layout = Literal["interleaved", "half"]


def sinusoidal_encoding(
    length: int, d_model: int, *, like: Array | None = None
) -> Float[Array, "length d_model"]:
    r"""Return the vectors that the first transformer adds to its inputs, one a position.

    $$P_{i,2j} = \sin(i\, \theta_j), \qquad P_{i,2j+1} = \cos(i\, \theta_j), \qquad
    \theta_j = 10000^{-2j / d_\text{model}}$$

    The authors' own code and fairseq put all sines into the first half and all cosines into the
    second instead; trained weights fit only the order that they were trained with.

    Args:
        length: The number of positions.
        d_model: The number of features, which is even.
        like: An array whose library, device and dtype the result takes; None is NumPy's float64.

    Returns:
        One vector a position, computed in at least float32; for other positions than
        `0, ..., length - 1` take its rows. `(length, d_model)`

    Raises:
        ValueError: If `length` is negative, or `d_model` is odd or below 2.
        TypeError: If one is not an integer, or `like` no array of real floating numbers.

    Complexity: O(length * d_model) time and memory.

    Examples:
        >>> sinusoidal_encoding(2, 4).round(3)  # frequencies 1 and 0.01
        array([[0.   , 1.   , 0.   , 1.   ],
               [0.841, 0.54 , 0.01 , 1.   ]])

    References:
        Vaswani et al. 2017, section 3.5.
    """
    length = as_integer("length", length, least=0)
    d_model = _as_even("d_model", d_model)
    frequencies = _frequencies(d_model, 10000.0, like)
    xp = array_namespace(frequencies=frequencies)
    device = array_api_compat.device(frequencies)
    positions = xp.arange(length, dtype=frequencies.dtype, device=device)
    angles = positions[:, None] * frequencies
    pairs = xp.stack([xp.sin(angles), xp.cos(angles)], axis=-1)
    encoding = xp.reshape(pairs, (length, d_model))
    return encoding if like is None else xp.astype(encoding, like.dtype)


def rotary_frequencies(
    d_rotary: int, *, base: float = 10000.0, like: Array | None = None
) -> Float[Array, " pairs"]:
    r"""Return how far rotary embedding turns each pair of features from one position to the next.

    $$\theta_j = \text{base}^{-2j / d_\text{rotary}}, \qquad j = 0, \dots, d_\text{rotary}/2 - 1$$

    Args:
        d_rotary: How many features turn, an even number: all $d_k$ of a head, or some of them.
        base: Where the frequencies, which begin at 1, would end. Llama 3 has 500000.
        like: An array whose library and device the frequencies take; None is NumPy.

    Returns:
        Angles in radians, from fast to slow: float64 without `like` or if that is float64, else
        float32. `(d_rotary / 2,)`

    Raises:
        ValueError: If `d_rotary` is odd or below 2, or `base` is not above zero.
        TypeError: If a number is none, or `like` no array of real floating numbers.

    Complexity: O(d_rotary) time and memory.

    Examples:
        >>> rotary_frequencies(4)
        array([1.  , 0.01])
        >>> rotary_frequencies(6, base=8.0)
        array([1.  , 0.5 , 0.25])

    References:
        Su et al. 2021 (RoFormer), section 3.2.2, equation 15.
    """
    base = as_number("base", base, positive=True)
    return _frequencies(_as_even("d_rotary", d_rotary), base, like)


def rotary_embedding(
    x: Float[Array, "*batch length d"],
    *,
    layout: Layout,
    positions: int | Integer[Array, "..."] = 0,
    d_rotary: int | None = None,
    frequencies: Float[Array, " pairs"] | None = None,
) -> Float[Array, "*batch length d"]:
    r"""Turn pairs of features by angles in proportion to the position.

    $$\begin{bmatrix} a' \\ b' \end{bmatrix} =
    \begin{bmatrix} \cos i\theta_j & -\sin i\theta_j \\ \sin i\theta_j & \cos i\theta_j
    \end{bmatrix} \begin{bmatrix} a \\ b \end{bmatrix}$$

    Apply it to queries and keys, never to values: the dot product of a turned query and a turned
    key depends on the difference of their positions alone. `layout` says which features make a
    pair, and has no default: weights trained with one layout are wrong with the other, and
    nothing would show it.

    Args:
        x: The queries or keys. `(*batch, length, d)`
        layout: `"interleaved"` pairs features $2j$ and $2j + 1$, as in the paper, Llama's own
            code, GPT-J and GGUF files of Llama. `"half"` pairs $j$ and
            $j + d_\text{rotary} / 2$, as in GPT-NeoX and Hugging Face's Llama.
        positions: The position of the first row, from which the others count on: in decoding,
            the number of keys in the cache. Or the position of each row: `(length,)`, or all the
            axes `(*batch, length)` of `x`, of which any may be 1. What lies between is refused,
            as the batch could be taken for the heads.
        d_rotary: How many features turn, the first ones; None is all. The others pass unchanged.
        frequencies: The angle a position of each pair, as made by `rotary_frequencies` or scaled
            for a longer context; None is `rotary_frequencies(d_rotary)`. `(d_rotary / 2,)`

    Returns:
        The turned vectors, of the same length each, in the dtype of `x`. The angles are computed
        in the widest dtype of `x`, `frequencies` and float32. `(*batch, length, d)`

    Raises:
        ValueError: If `layout` is no such name, `d_rotary` is odd or exceeds `d`, or shapes do
            not fit together.
        TypeError: If a dtype is wrong, or a number not an integer.

    Complexity: O(batch * length * d) time and memory.

    Examples:
        >>> import numpy as np
        >>> x = np.array([[1.0, 0.0, 2.0, 0.0], [1.0, 0.0, 2.0, 0.0]])
        >>> quarter = np.array([np.pi / 2, np.pi])  # a quarter turn, half a turn
        >>> rotary_embedding(x, layout="interleaved", frequencies=quarter).round(3) + 0.0
        array([[ 1.,  0.,  2.,  0.],
               [ 0.,  1., -2.,  0.]])
        >>> rotary_embedding(x, layout="half", frequencies=quarter).round(3) + 0.0
        array([[ 1.,  0.,  2.,  0.],
               [-2.,  0.,  1.,  0.]])

    References:
        Su et al. 2021 (RoFormer), section 3.2.2, equation 15. Black et al. 2022 (GPT-NeoX-20B)
        (a part of the features).
    """
    arrays = {"x": x, **given(frequencies=frequencies)}
    xp = array_namespace(**arrays)
    require_dtype(xp, "real floating", **arrays)
    require_shape("x", x, x.ndim >= 2, "(..., length, d)")
    d = x.shape[-1]
    d_rotary = _as_even("d_rotary", d if d_rotary is None else d_rotary)
    if d_rotary > d:
        raise ValueError(f"d_rotary must be at most d={d}, got {d_rotary}")
    if frequencies is None:
        frequencies = _frequencies(d_rotary, 10000.0, x)
    fits = tuple(frequencies.shape) == (d_rotary // 2,)
    require_shape("frequencies", frequencies, fits, f"(d_rotary / 2 = {d_rotary // 2},)")
    dtype = working_dtype(xp, x, frequencies)
    rows = xp.astype(_rows(x, positions), dtype)
    angles = rows[..., None] * xp.astype(frequencies, dtype)
    return rotate_pairs(x, xp.cos(angles), xp.sin(angles), layout=layout)


def rotate_pairs(
    x: Float[Array, "*batch length d"],
    cos: Float[Array, "*angles pairs"],
    sin: Float[Array, "*angles pairs"],
    *,
    layout: Layout,
) -> Float[Array, "*batch length d"]:
    r"""Turn pairs of features by angles whose cosines and sines are given.

    $$a' = a \cos\alpha - b \sin\alpha, \qquad b' = a \sin\alpha + b \cos\alpha$$

    This is the second half of `rotary_embedding`, for angles that several calls share, or that
    are no products of a position and a frequency.

    Args:
        x: The queries or keys. `(*batch, length, d)`
        cos: The cosine for each pair, `(length, pairs)`; or all the axes
            `(*batch, length, pairs)`, of which all but the last may be 1. The first `2 * pairs`
            features turn.
        sin: The sines. Shaped as `cos`.
        layout: Which features make a pair, as in `rotary_embedding`.

    Returns:
        The turned vectors, in the dtype of `x`, computed in at least float32.
        `(*batch, length, d)`

    Raises:
        ValueError: If `layout` is no such name, or shapes do not fit together.
        TypeError: If an argument is no array of real floating numbers.

    Complexity: O(batch * length * d) time and memory.

    Examples:
        >>> import numpy as np
        >>> x = np.array([[1.0, 2.0, 3.0, 4.0]])
        >>> cos, sin = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])  # a quarter turn, none
        >>> rotate_pairs(x, cos, sin, layout="interleaved")
        array([[-2.,  1.,  3.,  4.]])
        >>> rotate_pairs(x, cos, sin, layout="half")
        array([[-3.,  2.,  1.,  4.]])

    References:
        Su et al. 2021 (RoFormer), section 3.4.2, equation 34.
    """
    xp = array_namespace(x=x, cos=cos, sin=sin)
    require_dtype(xp, "real floating", x=x, cos=cos, sin=sin)
    require_shape("x", x, x.ndim >= 2, "(..., length, d)")
    if layout not in ("interleaved", "half"):
        raise ValueError(f'layout must be "interleaved" or "half", got {layout!r}')
    *batch, length, d = x.shape
    fits = cos.ndim > 0 and 1 <= cos.shape[-1] <= d // 2
    fits = fits and _broadcasts(tuple(cos.shape[:-1]), (*batch, length))
    rule = f"({length}, pairs) or ({listed(batch)}{length}, pairs) with pairs from 1 to {d // 2}"
    require_shape("cos", cos, fits, rule)
    fits = tuple(sin.shape) == tuple(cos.shape)
    require_shape("sin", sin, fits, f"of cos, {tuple(cos.shape)}")
    dtype = working_dtype(xp, x, cos, sin)
    cos, sin, wide = (xp.astype(array, dtype) for array in (cos, sin, x))
    pairs = cos.shape[-1]
    if layout == "interleaved":
        a, b = wide[..., 0 : 2 * pairs : 2], wide[..., 1 : 2 * pairs : 2]
    else:
        a, b = wide[..., :pairs], wide[..., pairs : 2 * pairs]
    turned = [a * cos - b * sin, a * sin + b * cos]
    if layout == "interleaved":
        features = xp.reshape(xp.stack(turned, axis=-1), (*batch, length, 2 * pairs))
    else:
        features = xp.concat(turned, axis=-1)
    return xp.concat([xp.astype(features, x.dtype), x[..., 2 * pairs :]], axis=-1)


def _frequencies(d_rotary: int, base: float, like: Array | None) -> Array:
    return floats_like([base ** (-2 * j / d_rotary) for j in range(d_rotary // 2)], like)


def _rows(x: Array, positions: Any) -> Array:
    """Return the position of each row of x, with the axes of x or its length alone."""
    axes = tuple(x.shape[:-1])
    steps = array_namespace(x=x).arange(axes[-1], device=array_api_compat.device(x))
    if not array_api_compat.is_array_api_obj(positions):
        return steps + as_integer("positions", positions, note=" or an array of integers")
    xp = array_namespace(x=x, positions=positions)
    require_dtype(xp, "integral", positions=positions)
    if positions.ndim == 0:
        return steps + xp.astype(positions, steps.dtype)
    fits = _broadcasts(tuple(positions.shape), axes)
    require_shape("positions", positions, fits, f"({axes[-1]},) or {axes}, any of which may be 1")
    return positions


def _broadcasts(shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Take the last axis or all, any of which may be 1: fewer could take a batch for heads."""
    return len(shape) in (1, len(axes)) and all(
        length in (1, full) for length, full in zip(shape[::-1], axes[::-1], strict=False)
    )


def _as_even(name: str, number: Any) -> int:
    number = as_integer(name, number, least=2)
    if number % 2:
        raise ValueError(f"{name} must be even, as features turn in pairs, got {number}")
    return int(number)
