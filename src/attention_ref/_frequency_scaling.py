"""Rotary frequencies for contexts longer than the trained one: each scaling is one function."""

import math
from typing import Any

from jaxtyping import Float

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    as_number,
    require_dtype,
    require_shape,
    working_dtype,
)
from attention_ref._like import floats_like


def linear_frequency_scaling(
    frequencies: Float[Array, " pairs"], *, factor: float
) -> Float[Array, " pairs"]:
    r"""Slow all rotations down alike: position interpolation.

    $$\theta'_j = \theta_j / s$$

    Args:
        frequencies: As made by `rotary_frequencies`. `(d_rotary / 2,)`
        factor: $s$, how many times longer the context becomes.

    Returns:
        The frequencies for `rotary_embedding`, in their own dtype. `(d_rotary / 2,)`

    Raises:
        ValueError: If `factor` is not above zero, or `frequencies` has not one axis.
        TypeError: If `frequencies` is no array of real floating numbers.

    Complexity: O(d_rotary) time and memory.

    Examples:
        >>> import numpy as np
        >>> linear_frequency_scaling(np.array([1.0, 0.01]), factor=2.0)
        array([0.5  , 0.005])

    References:
        Chen et al. 2023 (position interpolation), section 2.3, equation 4.
    """
    _check(frequencies)
    return frequencies / as_number("factor", factor, positive=True)


def ntk_frequency_scaling(
    frequencies: Float[Array, " pairs"], *, factor: float
) -> Float[Array, " pairs"]:
    r"""Slow the slowest rotation down by the factor, the fastest not at all: a larger base.

    $$\theta'_j = \theta_j\, s^{-2j / (d_\text{rotary} - 2)}$$

    It equals `rotary_frequencies` with `base` times $s^{d_\text{rotary} / (d_\text{rotary} - 2)}$.
    Hugging Face's `dynamic` scaling is this with $s = fn / L - (f - 1)$ for a length $n$ beyond
    the trained length $L$ and a configured factor $f$.

    Args:
        frequencies: As made by `rotary_frequencies`, at least two. `(d_rotary / 2,)`
        factor: $s$, how many times longer the context becomes.

    Returns:
        The frequencies for `rotary_embedding`, in their own dtype. `(d_rotary / 2,)`

    Raises:
        ValueError: If `factor` is not above zero, or `frequencies` are fewer than two.
        TypeError: If `frequencies` is no array of real floating numbers.

    Complexity: O(d_rotary) time and memory.

    Examples:
        >>> import numpy as np
        >>> ntk_frequency_scaling(np.array([1.0, 0.5, 0.25]), factor=4.0)
        array([1.    , 0.25  , 0.0625])

    References:
        bloc97 2023, "NTK-aware scaled RoPE"; Peng et al. 2023 (YaRN), section 3.1.
    """
    xp = _check(frequencies, least=2)
    factor = as_number("factor", factor, positive=True)
    last = frequencies.shape[0] - 1
    factors = floats_like([factor ** (-j / last) for j in range(last + 1)], frequencies)
    return xp.astype(frequencies * factors, frequencies.dtype)


def llama3_frequency_scaling(
    frequencies: Float[Array, " pairs"],
    *,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_length: int,
) -> Float[Array, " pairs"]:
    r"""Slow down what turns seldom in the trained length, as Llama 3.1 and later do.

    $$\theta'_j = (1 - g_j)\, \theta_j / s + g_j\, \theta_j, \qquad
    g_j = \operatorname{clip}\!\left(\frac{r_j - l}{h - l}, 0, 1\right), \qquad
    r_j = \frac{L\, \theta_j}{2 \pi}$$

    $r_j$ is how many turns a pair makes in the trained length: from $h$ on a frequency stays,
    up to $l$ it is divided. Llama 3.1 has the factors 8, 1 and 4, and the length 8192.

    Args:
        frequencies: As made by `rotary_frequencies`. `(d_rotary / 2,)`
        factor: $s$, what slow frequencies are divided by.
        low_freq_factor: $l$, the number of turns up to which the whole factor applies.
        high_freq_factor: $h$, the number of turns from which none applies, above $l$.
        original_length: $L$, the longest context in training.

    Returns:
        The frequencies for `rotary_embedding`, in their own dtype. `(d_rotary / 2,)`

    Raises:
        ValueError: If a number is out of its range, or `frequencies` has not one axis.
        TypeError: If `frequencies` is no array of real floating numbers, or a number none.

    Complexity: O(d_rotary) time and memory.

    Examples:
        >>> import numpy as np
        >>> turns = np.array([8.0, 2.5, 0.5])  # in the trained length: fast, halfway, slow
        >>> scaled = llama3_frequency_scaling(
        ...     2 * np.pi * turns / 100,
        ...     factor=5.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=100,
        ... )
        >>> (scaled / (2 * np.pi) * 100).round(3)
        array([8. , 1.5, 0.1])

    References:
        `apply_scaling` in the code released with Llama 3.1 (Meta 2024); the numbers are in
        Hugging Face's `config.json` of those models, as `rope_type: llama3`.
    """
    xp = _check(frequencies)
    factor = as_number("factor", factor, positive=True)
    low = as_number("low_freq_factor", low_freq_factor, positive=True)
    high = as_number("high_freq_factor", high_freq_factor, positive=True)
    if high <= low:
        raise ValueError(f"high_freq_factor must be above low_freq_factor={low}, got {high}")
    original_length = as_integer("original_length", original_length, least=1)
    wide = xp.astype(frequencies, working_dtype(xp, frequencies))
    turns = original_length * wide / (2 * math.pi)
    kept = xp.clip((turns - low) / (high - low), 0.0, 1.0)
    return xp.astype((1 - kept) * wide / factor + kept * wide, frequencies.dtype)


def yarn_frequency_scaling(
    frequencies: Float[Array, " pairs"],
    *,
    factor: float,
    original_length: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> Float[Array, " pairs"]:
    r"""Slow down what turns seldom in the trained length, with a ramp over the pairs: YaRN.

    $$\theta'_j = (1 - g_j)\, \theta_j / s + g_j\, \theta_j, \qquad
    g_j = 1 - \operatorname{clip}\!\left(
    \frac{j - \lfloor j_\text{fast} \rfloor}{\lceil j_\text{slow} \rceil -
    \lfloor j_\text{fast} \rfloor}, 0, 1\right)$$

    $j_\text{fast}$ and $j_\text{slow}$ are where a pair makes `beta_fast` and `beta_slow` turns
    in the trained length. This is the authors' code, which the models use. The paper's text has
    the ramp over the number of turns instead, as `llama3_frequency_scaling` has. YaRN also
    sharpens the softmax: see `yarn_attention_factor`. GPT-OSS has the ramp from $j_\text{fast}$
    to $j_\text{slow}$ as they are, between the pairs: `truncate=False`.

    Args:
        frequencies: As made by `rotary_frequencies`, at least two. `(d_rotary / 2,)`
        factor: $s$, how many times longer the context becomes.
        original_length: The longest context in training.
        beta_fast: The number of turns from which a frequency stays.
        beta_slow: The number of turns up to which it is divided by the factor, below `beta_fast`.
        truncate: Whether the ramp starts and ends at a pair, rounded outwards: the floor and the
            ceiling above.

    Returns:
        The frequencies for `rotary_embedding`, in their own dtype. `(d_rotary / 2,)`

    Raises:
        ValueError: If a number is out of its range, or `frequencies` are fewer than two or do not
            fall.
        TypeError: If `frequencies` is no array of real floating numbers, a number none, or
            `truncate` not a bool.

    Complexity: O(d_rotary) time and memory.

    Examples:
        >>> import numpy as np
        >>> frequencies = np.array([1.0, 0.5, 0.25, 0.125, 0.0625])
        >>> yarn = {"factor": 2.0, "original_length": 50, "beta_fast": 5.66, "beta_slow": 0.707}
        >>> scaled = yarn_frequency_scaling(frequencies, **yarn)
        >>> (scaled / frequencies).round(3)  # 8, 4, 2, 1, 0.5 turns: the ramp is from 0 to 4
        array([1.   , 0.875, 0.75 , 0.625, 0.5  ])
        >>> scaled = yarn_frequency_scaling(frequencies, **yarn, truncate=False)
        >>> (scaled / frequencies).round(2)  # from 0.5 to 3.5
        array([1.  , 0.92, 0.75, 0.58, 0.5 ])

    References:
        Peng et al. 2023 (YaRN), section 3.2, and `yarn_find_correction_range` in the code
        released with it.
    """
    xp = _check(frequencies, least=2)
    factor = as_number("factor", factor, positive=True)
    original_length = as_integer("original_length", original_length, least=1)
    beta_fast = as_number("beta_fast", beta_fast, positive=True)
    beta_slow = as_number("beta_slow", beta_slow, positive=True)
    if beta_fast <= beta_slow:
        raise ValueError(f"beta_fast must be above beta_slow={beta_slow}, got {beta_fast}")
    if not isinstance(truncate, bool):
        raise TypeError(f"truncate must be a bool, got {type(truncate).__name__}")
    if not frequencies[0] > frequencies[-1] > 0:
        raise ValueError(
            "frequencies must fall and stay above zero, "
            f"got {float(frequencies[0])} to {float(frequencies[-1])}"
        )
    pairs = frequencies.shape[0]
    wide = xp.astype(frequencies, working_dtype(xp, frequencies))
    ratio = xp.log(wide[0] / wide[-1]) / (pairs - 1)

    def where_it_makes(turns: float) -> Array:
        return xp.log(wide[0] * (original_length / (2 * math.pi * turns))) / ratio

    start, stop = where_it_makes(beta_fast), where_it_makes(beta_slow)
    if truncate:
        start, stop = xp.floor(start), xp.ceil(stop)
    start, stop = xp.clip(start, 0, None), xp.clip(stop, None, 2 * pairs - 1)
    width = xp.where(stop == start, 0.001, stop - start)  # never zero: then the ramp is a step
    index = floats_like([float(j) for j in range(pairs)], wide)
    kept = 1 - xp.clip((index - start) / width, 0.0, 1.0)
    return xp.astype((1 - kept) * wide / factor + kept * wide, frequencies.dtype)


def yarn_attention_factor(factor: float, *, mscale: float = 1.0) -> float:
    r"""Return what YaRN multiplies the turned queries and the turned keys by, each.

    $$m = 0.1\, \text{mscale} \ln s + 1$$

    The scores grow by $m^2$, so pass `scale=m**2 / sqrt(d_k)` to attention. Hugging Face
    multiplies cosines and sines instead, which leaves out the features that do not turn;
    DeepSeek-V3 has $m^2$ in its scale.

    Args:
        factor: $s$, how many times longer the context becomes; up to 1 nothing changes.
        mscale: A weight of the logarithm, which DeepSeek sets.

    Returns:
        $m$, at least 1.

    Raises:
        ValueError: If `factor` is not above zero, or a number not finite.
        TypeError: If one is no number.

    Complexity: O(1).

    Examples:
        >>> import math
        >>> yarn_attention_factor(math.e)
        1.1

    References:
        Peng et al. 2023 (YaRN), definition 3, where it is $\sqrt{1/t}$.
    """
    factor = as_number("factor", factor, positive=True)
    return 0.1 * as_number("mscale", mscale) * math.log(max(factor, 1.0)) + 1.0


def _check(frequencies: Array, least: int = 1) -> Any:
    xp = array_namespace(frequencies=frequencies)
    require_dtype(xp, "real floating", frequencies=frequencies)
    fits = frequencies.ndim == 1 and frequencies.shape[0] >= least
    require_shape("frequencies", frequencies, fits, f"(d_rotary / 2,), at least ({least},)")
    return xp
