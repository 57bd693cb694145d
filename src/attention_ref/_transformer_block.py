"""The block around attention: normalise, attend, add; normalise, feed forward, add."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Bool, Float

from attention_ref._attention_layer import (
    BIASES,
    WEIGHTS,
    LayerOutput,
    attention_layer,
    named_parameters,
)
from attention_ref._checks import (
    Array,
    array_namespace,
    as_number,
    given,
    require_dtype,
    require_dtype_of,
    require_shape,
    working_dtype,
)
from attention_ref._kv_cache import KVCache
from attention_ref._scaled_dot_product import isolated_matmul


def layer_norm(
    x: Float[Array, "*batch d"],
    gain: Float[Array, " d"],
    shift: Float[Array, " d"] | None = None,
    *,
    epsilon: float = 1e-5,
) -> Float[Array, "*batch d"]:
    r"""Give the features of each position mean 0 and variance 1, then scale and shift them.

    $$g \odot \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + b$$

    The variance is that of the features themselves, divided by $d$ and not by $d - 1$. A vector
    with an entry that is not finite becomes NaN, and no other does.

    Args:
        x: One vector a position. `(*batch, d)`
        gain: $g$, what each feature is multiplied by. `(d,)`
        shift: $b$, what is then added; None is nothing. `(d,)`
        epsilon: Keeps a vector of equal features from a division by zero.

    Returns:
        The normalised vectors in the dtype of `x`, computed in at least float32. `(*batch, d)`

    Raises:
        ValueError: If `gain` or `shift` is no vector of the features of `x`, or `epsilon` is not
            above zero.
        TypeError: If an argument is no array of real floating numbers, all of one dtype.

    Complexity: O(batch * d) time and memory.

    Examples:
        >>> import numpy as np
        >>> layer_norm(np.array([[3.0, 5.0], [70.0, 10.0]]), np.ones(2)).round(3)
        array([[-1.,  1.],
               [ 1., -1.]])

    References:
        Ba, Kiros and Hinton 2016, section 3.
    """
    epsilon = as_number("epsilon", epsilon, positive=True)
    xp = array_namespace(x=x, gain=gain, **given(shift=shift))
    require_dtype(xp, "real floating", x=x)
    require_shape("x", x, x.ndim >= 1 and x.shape[-1] > 0, "(..., d) with d of at least 1")
    _check_parameter(x, "gain", gain, (x.shape[-1],), "the features of x")
    _check_parameter(x, "shift", shift, (x.shape[-1],), "the features of x")
    dtype = working_dtype(xp, x)
    wide = xp.astype(x, dtype)
    # Set apart first, or the gradient of what is not finite would be NaN where zero flows back.
    finite = xp.all(xp.isfinite(wide), axis=-1, keepdims=True)
    wide = xp.where(finite, wide, 0.0)
    centered = wide - xp.mean(wide, axis=-1, keepdims=True)
    variance = xp.mean(centered * centered, axis=-1, keepdims=True)
    normalized = centered / xp.sqrt(variance + epsilon) * xp.astype(gain, dtype)
    shifted = normalized if shift is None else normalized + xp.astype(shift, dtype)
    return xp.astype(xp.where(finite, shifted, xp.nan), x.dtype)


def feed_forward(
    x: Float[Array, "*batch d_model"],
    w_in: Float[Array, "d_model d_ff"],
    w_out: Float[Array, "d_ff d_out"],
    b_in: Float[Array, " d_ff"] | None = None,
    b_out: Float[Array, " d_out"] | None = None,
) -> Float[Array, "*batch d_out"]:
    r"""Pass each position alone through two layers, with negative numbers cut off between.

    $$\max(0,\, x W_\text{in} + b_\text{in})\, W_\text{out} + b_\text{out}$$

    Nothing moves between positions here: only attention does that. Later models put another
    function in the place of the maximum.

    Args:
        x: One vector a position. `(*batch, d_model)`
        w_in: The first layer, usually to four times the features. `(d_model, d_ff)`
        w_out: The second layer. `(d_ff, d_out)`
        b_in: Added after the first product; None is nothing. `(d_ff,)`
        b_out: Added after the second; None is nothing. `(d_out,)`

    Returns:
        One vector a position in the dtype of `x`, computed in at least float32. `(*batch, d_out)`

    Raises:
        ValueError: If shapes do not fit together.
        TypeError: If an argument is no array of real floating numbers, all of one dtype.

    Complexity: O(batch * (d_model + d_out) * d_ff) time; O(batch * d_ff) memory.

    Examples:
        >>> import numpy as np
        >>> both_signs = np.array([[1.0, -1.0]])
        >>> feed_forward(np.array([[3.0], [-4.0]]), both_signs, np.ones((2, 1)))
        array([[3.],
               [4.]])

    References:
        Vaswani et al. 2017, section 3.3, equation 2.
    """
    xp = array_namespace(x=x, w_in=w_in, w_out=w_out, **given(b_in=b_in, b_out=b_out))
    require_dtype(xp, "real floating", x=x)
    require_shape("x", x, x.ndim >= 1, "(..., d_model)")
    d_model = x.shape[-1]
    fits = w_in.ndim == 2 and w_in.shape[0] == d_model
    require_shape("w_in", w_in, fits, f"(d_model={d_model}, d_ff)")
    d_ff = w_in.shape[1]
    fits = w_out.ndim == 2 and w_out.shape[0] == d_ff
    require_shape("w_out", w_out, fits, f"(d_ff={d_ff}, d_out)")
    require_dtype_of("x", x, w_in=w_in, w_out=w_out)
    _check_parameter(x, "b_in", b_in, (d_ff,), "the columns of w_in")
    _check_parameter(x, "b_out", b_out, (w_out.shape[1],), "the columns of w_out")
    dtype = working_dtype(xp, x)
    hidden = isolated_matmul(xp, xp.astype(x, dtype), xp.astype(w_in, dtype))
    hidden = hidden if b_in is None else hidden + xp.astype(b_in, dtype)
    # Not where(hidden > 0, ...), which would turn NaN into 0.
    positive = xp.where(hidden <= 0, 0.0, hidden)
    output = isolated_matmul(xp, positive, xp.astype(w_out, dtype))
    output = output if b_out is None else output + xp.astype(b_out, dtype)
    return xp.astype(output, x.dtype)


def transformer_block(
    x: Float[Array, "*batch length d_model"],
    parameters: Mapping[str, Array],
    *,
    heads: int,
    kv_heads: int | None = None,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    rotary: Callable[..., Array] | None = None,
    cache: KVCache | None = None,
) -> LayerOutput:
    r"""Add what attention finds, then what the feed-forward layers make of it, to each position.

    $$y = x + \operatorname{attention}(\operatorname{norm}(x)), \qquad
    \text{output} = y + \operatorname{feed}(\operatorname{norm}(y))$$

    This is the pre-norm block of GPT-2 and after: `x` itself is passed on unchanged, and only what
    is added to it comes from normalised numbers. The first transformer normalised the sums; that
    is `post_norm_transformer_block`, whose weights are not interchangeable with these.

    Args:
        x: One vector a position. `(*batch, length, d_model)`
        parameters: Of `attention_layer` under `attention.`, such as `attention.w_q`; of
            `feed_forward` under `feed_forward.`; and `gain` or also `shift` of `layer_norm` under
            `attention_norm.` and `feed_forward_norm.`.
        heads: As in `attention_layer`, like all that follow.
        kv_heads: The number of key and value heads; None is `heads`.
        mask: True where a query may attend.
        bias: Added to the scores.
        rotary: Turns queries and keys.
        cache: The keys and values of earlier positions.

    Returns:
        `output` in the dtype of `x`, and the attention's `weights` and `cache`.

    Raises:
        ValueError: If a name is missing or unknown, or shapes do not fit together.
        TypeError: If a dtype is wrong: a weight that differs from `x`, a mask not boolean.

    Complexity: That of `attention_layer` and `feed_forward` together.

    Examples:
        >>> import numpy as np
        >>> eye, nothing = np.eye(2), np.zeros((2, 2))
        >>> parameters = {f"attention.{name}": eye for name in ("w_q", "w_k", "w_v", "w_o")}
        >>> parameters |= {"attention_norm.gain": np.ones(2), "feed_forward_norm.gain": np.ones(2)}
        >>> parameters |= {"feed_forward.w_in": nothing, "feed_forward.w_out": nothing}
        >>> x = np.array([[3.0, 5.0]])  # one position, which attends to itself: -1 and 1
        >>> transformer_block(x, parameters, heads=1).output.round(3)
        array([[2., 6.]])

    References:
        Radford et al. 2019 (GPT-2), section 2.3. Xiong et al. 2020, figure 1 (b).
    """
    attention, attention_norm, feed, feed_norm = _parts(parameters)
    attended = attention_layer(
        layer_norm(x, **attention_norm),
        attention,
        heads=heads,
        kv_heads=kv_heads,
        mask=mask,
        bias=bias,
        rotary=rotary,
        cache=cache,
    )
    x = x + attended.output
    x = x + feed_forward(layer_norm(x, **feed_norm), **feed)
    return attended._replace(output=x)


def post_norm_transformer_block(
    x: Float[Array, "*batch length d_model"],
    parameters: Mapping[str, Array],
    *,
    heads: int,
    kv_heads: int | None = None,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    rotary: Callable[..., Array] | None = None,
    cache: KVCache | None = None,
) -> LayerOutput:
    r"""Run the block of the first transformer, which normalises after each sum.

    $$y = \operatorname{norm}(x + \operatorname{attention}(x)), \qquad
    \text{output} = \operatorname{norm}(y + \operatorname{feed}(y))$$

    BERT and the other encoders of its time have it.

    Args:
        x: One vector a position. `(*batch, length, d_model)`
        parameters: As in `transformer_block`, like all that follow.
        heads: The number of query heads.
        kv_heads: The number of key and value heads; None is `heads`.
        mask: True where a query may attend.
        bias: Added to the scores.
        rotary: Turns queries and keys.
        cache: The keys and values of earlier positions.

    Returns:
        `output` in the dtype of `x`, and the attention's `weights` and `cache`.

    Raises:
        ValueError: If a name is missing or unknown, or shapes do not fit together.
        TypeError: If a dtype is wrong: a weight that differs from `x`, a mask not boolean.

    Complexity: That of `attention_layer` and `feed_forward` together.

    Examples:
        >>> import numpy as np
        >>> eye, nothing = np.eye(2), np.zeros((2, 2))
        >>> parameters = {f"attention.{name}": eye for name in ("w_q", "w_k", "w_v", "w_o")}
        >>> parameters |= {"attention_norm.gain": np.ones(2), "feed_forward_norm.gain": np.ones(2)}
        >>> parameters |= {"feed_forward.w_in": nothing, "feed_forward.w_out": nothing}
        >>> post_norm_transformer_block(np.array([[3.0, 5.0]]), parameters, heads=1).output.round(3)
        array([[-1.,  1.]])

    References:
        Vaswani et al. 2017, section 3.1. Xiong et al. 2020, figure 1 (a).
    """
    attention, attention_norm, feed, feed_norm = _parts(parameters)
    attended = attention_layer(
        x,
        attention,
        heads=heads,
        kv_heads=kv_heads,
        mask=mask,
        bias=bias,
        rotary=rotary,
        cache=cache,
    )
    x = layer_norm(x + attended.output, **attention_norm)
    x = layer_norm(x + feed_forward(x, **feed), **feed_norm)
    return attended._replace(output=x)


def _parts(parameters: Mapping[str, Array]) -> list[dict[str, Array]]:
    parts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "attention.": (WEIGHTS, BIASES),
        "attention_norm.": (("gain",), ("shift",)),
        "feed_forward.": (("w_in", "w_out"), ("b_in", "b_out")),
        "feed_forward_norm.": (("gain",), ("shift",)),
    }
    for name in parameters:
        if not name.startswith(tuple(parts)):
            rule = ", ".join(parts)
            raise ValueError(f"parameters must have names that begin with {rule}, got {name}")
    return [named_parameters(parameters, part, *names) for part, names in parts.items()]


def _check_parameter(
    x: Array, name: str, parameter: Any, shape: tuple[int, ...], what: str
) -> None:
    if parameter is not None:
        require_dtype_of("x", x, **{name: parameter})
        fits = tuple(parameter.shape) == shape
        require_shape(name, parameter, fits, f"{shape}, {what}")
