"""Attention as a model has it: named weights, biases, rotated keys, and a cache."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    require_dtype_of,
    require_shape,
    working_dtype,
)
from attention_ref._kv_cache import KVCache
from attention_ref._multi_head import (
    check_axes,
    check_inputs,
    expand_kv_heads,
    merge_heads,
    split_heads,
)
from attention_ref._scaled_dot_product import attention_stages, isolated_matmul

WEIGHTS = ("w_q", "w_k", "w_v", "w_o")
BIASES = ("b_q", "b_k", "b_v", "b_o")


class LayerOutput(NamedTuple):
    """What a layer of a model returns: its output, and what figures and the next token need.

    Attributes:
        output: One vector a position. `(*batch, q_len, d_out)`
        weights: How much of each key each query took, in at least float32.
            `(*batch, heads, q_len, kv_len)`
        cache: The keys and values, those from before included.
    """

    output: Float[Array, "*batch q_len d_out"]
    weights: Float[Array, "*batch heads q_len kv_len"]
    cache: KVCache


def attention_layer(
    x: Float[Array, "*batch q_len d_model"],
    parameters: Mapping[str, Array],
    *,
    heads: int,
    kv_heads: int | None = None,
    context: Float[Array, "*batch kv_len d_context"] | None = None,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    rotary: Callable[..., Array] | None = None,
    cache: KVCache | None = None,
) -> LayerOutput:
    r"""Run `multi_head_attention` with what models put around it, and keep weights and cache.

    $$\operatorname{Concat}(\text{head}_1, \dots, \text{head}_h)\, W_O + b_O, \qquad
    \text{head}_i = \operatorname{attention}(X W_{Q,i} + b_{Q,i},\; \dots)$$

    Parameters come as a mapping from name to array, such as a PyTorch layer's `state_dict`, so
    that a trained layer runs on any library. Keys and values are rounded to the dtype of `x`
    before the attention, whether a cache is passed or not: decoding gives the same numbers.

    Args:
        x: The positions that ask, and in self-attention also answer. `(*batch, q_len, d_model)`
        parameters: `w_q`, `w_k`, `w_v` and `w_o`, as in `multi_head_attention`, and any of `b_q`,
            `b_k`, `b_v` and `b_o`, one number a column, which are added to the products.
        heads: The number of query heads.
        kv_heads: The number of key and value heads, which divides `heads`; None is `heads`.
        context: The positions that answer, for cross-attention; None is `x`.
            `(*batch, kv_len, d_context)`
        mask: True where a query may attend, the keys in the cache included. Shaped as in
            `multi_head_attention`.
        bias: Added to the scores. Shaped as `mask`.
        rotary: Turns queries and keys: called as `rotary(query, positions=first)`, where `first`
            is the position of the first row; `rotary_embedding` with a layout, for example.
        cache: The keys and values of earlier positions; None is none.

    Returns:
        `output` in the dtype of `x`, the `weights`, and the `cache` with the new keys and values.

    Raises:
        ValueError: If a name is missing or unknown, or shapes do not fit together.
        TypeError: If a dtype is wrong: a weight that differs from `x`, a mask not boolean.

    Complexity: O(length * d_model * heads * d_k) time for the projections, and
        O(heads * q_len * kv_len * (d_k + d_v)) time for the attention.

    Examples:
        >>> import numpy as np
        >>> flat, eye = np.zeros((2, 2)), np.eye(2)  # scores of zero, values as they are
        >>> parameters = {"w_q": flat, "w_k": flat, "w_v": eye, "w_o": eye, "b_o": np.ones(2)}
        >>> first = attention_layer(np.array([[2.0, 4.0]]), parameters, heads=2)
        >>> first.output
        array([[3., 5.]])
        >>> attention_layer(np.array([[6.0, 8.0]]), parameters, heads=2, cache=first.cache).output
        array([[5., 7.]])

    References:
        Vaswani et al. 2017, section 3.2.2.
    """
    heads = as_integer("heads", heads, least=1)
    kv_heads = heads if kv_heads is None else as_integer("kv_heads", kv_heads, least=1)
    context = x if context is None else context
    parameters = named_parameters(parameters, "", WEIGHTS, BIASES)
    weights = {name: parameters[name] for name in WEIGHTS}
    xp = check_inputs(x, context, weights, heads, kv_heads)
    check_axes(x, mask=mask, bias=bias)

    query = split_heads(_project(xp, x, parameters, "q"), heads)
    key = split_heads(_project(xp, context, parameters, "k"), kv_heads)
    value = split_heads(_project(xp, context, parameters, "v"), kv_heads)
    cache = KVCache.empty(key, value) if cache is None else cache
    if rotary is not None:
        query, key = (rotary(array, positions=cache.position) for array in (query, key))
    cache = cache.append(key, value)
    stages = attention_stages(
        query,
        expand_kv_heads(cache.key, heads),
        expand_kv_heads(cache.value, heads),
        mask=mask,
        bias=bias,
    )
    output = _project(xp, merge_heads(stages.output), parameters, "o")
    return LayerOutput(output, stages.weights, cache)


def named_parameters(
    parameters: Mapping[str, Array],
    part: str,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
) -> dict[str, Array]:
    """Return the parameters of one part, whose names begin with it, under the rest of the name."""
    found = {
        name.removeprefix(part): array
        for name, array in parameters.items()
        if name.startswith(part)
    }
    if not set(required) <= set(found) <= {*required, *optional}:
        rule = ", ".join(part + name for name in required)
        rule += " and at most " + ", ".join(part + name for name in optional) if optional else ""
        came = ", ".join(part + name for name in found) or "none"
        raise ValueError(f"parameters must hold {rule}, got {came}")
    return found


def _project(xp: Any, x: Array, parameters: Mapping[str, Array], name: str) -> Array:
    dtype = working_dtype(xp, x)
    weight = parameters[f"w_{name}"]
    product = isolated_matmul(xp, xp.astype(x, dtype), xp.astype(weight, dtype))
    if f"b_{name}" in parameters:
        added = parameters[f"b_{name}"]
        array_namespace(x=x, **{f"b_{name}": added})
        require_dtype_of("x", x, **{f"b_{name}": added})
        columns = weight.shape[1]
        fits = tuple(added.shape) == (columns,)
        require_shape(f"b_{name}", added, fits, f"({columns},), one number a column of w_{name}")
        product = product + xp.astype(added, dtype)
    return xp.astype(product, x.dtype)
