"""Several attentions side by side: project, split into heads, attend, merge, project."""

from typing import Any

from jaxtyping import Bool, Float, Shaped

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    given,
    listed,
    require_dtype,
    require_dtype_of,
    require_shape,
    working_dtype,
)
from attention_ref._scaled_dot_product import isolated_matmul, scaled_dot_product_attention


def split_heads(
    x: Shaped[Array, "*batch length d_model"], heads: int
) -> Shaped[Array, "*batch heads length d_head"]:
    r"""Cut the features of each position into heads, and move the heads before the length.

    $$\text{out}_{hij} = x_{i,\; h\, d_\text{head} + j}, \qquad
    d_\text{head} = d_\text{model} / \text{heads}$$

    A reshape to the shape of the result has the right shape and mixes up the positions.

    Args:
        x: One vector a position, usually a projection. `(*batch, length, d_model)`
        heads: The number of heads, which divides `d_model`.

    Returns:
        One shorter vector a head and position. `(*batch, heads, length, d_head)`

    Raises:
        ValueError: If `heads` does not divide `d_model`, or `x` has fewer than two axes.
        TypeError: If `x` is not an array, or `heads` not an integer.

    Complexity: O(length * d_model) time and memory at most; some libraries return a view.

    Examples:
        >>> import numpy as np
        >>> split_heads(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), heads=2)
        array([[[1, 2],
                [5, 6]],
        <BLANKLINE>
               [[3, 4],
                [7, 8]]])

    References:
        Vaswani et al. 2017, section 3.2.2.
    """
    xp = array_namespace(x=x)
    heads = as_integer("heads", heads, least=1)
    require_shape("x", x, x.ndim >= 2, "(..., length, d_model)")
    *batch, length, d_model = x.shape
    require_division("heads", heads, "d_model", d_model)
    return xp.moveaxis(xp.reshape(x, (*batch, length, heads, d_model // heads)), -2, -3)


def merge_heads(
    x: Shaped[Array, "*batch heads length d_head"],
) -> Shaped[Array, "*batch length d_model"]:
    r"""Lay the heads of each position side by side again, which undoes `split_heads`.

    $$\text{out}_{i,\; h\, d_\text{head} + j} = x_{hij}$$

    Args:
        x: One vector a head and position. `(*batch, heads, length, d_head)`

    Returns:
        One vector a position, head after head. `(*batch, length, d_model)`

    Raises:
        ValueError: If `x` has fewer than three axes.
        TypeError: If `x` is not an array.

    Complexity: O(heads * length * d_head) time and memory.

    Examples:
        >>> import numpy as np
        >>> merge_heads(np.array([[[1, 2], [5, 6]], [[3, 4], [7, 8]]]))
        array([[1, 2, 3, 4],
               [5, 6, 7, 8]])

    References:
        Vaswani et al. 2017, section 3.2.2 ("Concat").
    """
    xp = array_namespace(x=x)
    require_shape("x", x, x.ndim >= 3, "(..., heads, length, d_head)")
    *batch, heads, length, d_head = x.shape
    return xp.reshape(xp.moveaxis(x, -3, -2), (*batch, length, heads * d_head))


def expand_kv_heads(
    x: Shaped[Array, "*batch kv_heads kv_len d"], heads: int
) -> Shaped[Array, "*batch heads kv_len d"]:
    r"""Repeat each key or value head for the query heads that share it.

    $$\text{out}_h = x_{\lfloor h / (\text{heads} / \text{kv heads}) \rfloor}$$

    Neighbours share: with two heads for four queries, the first two queries read the first.

    Args:
        x: The keys or values of fewer heads. `(*batch, kv_heads, kv_len, d)`
        heads: The number of query heads, a multiple of `kv_heads`.

    Returns:
        One copy for each query head. `(*batch, heads, kv_len, d)`

    Raises:
        ValueError: If `kv_heads` does not divide `heads`, or `x` has fewer than three axes.
        TypeError: If `x` is not an array, or `heads` not an integer.

    Complexity: O(heads * kv_len * d) time and memory.

    Examples:
        >>> import numpy as np
        >>> expand_kv_heads(np.array([[[1, 2]], [[3, 4]]]), heads=4)[:, 0]
        array([[1, 2],
               [1, 2],
               [3, 4],
               [3, 4]])

    References:
        Ainslie et al. 2023 (grouped-query attention), section 2.2, figure 2.
    """
    xp = array_namespace(x=x)
    heads = as_integer("heads", heads, least=1)
    require_shape("x", x, x.ndim >= 3, "(..., kv_heads, kv_len, d)")
    kv_heads = x.shape[-3]
    require_division("kv_heads", kv_heads, "heads", heads)
    return xp.repeat(x, heads // kv_heads, axis=-3)


def grouped_query_attention(
    query: Float[Array, "*batch heads q_len d_k"],
    key: Float[Array, "*batch kv_heads kv_len d_k"],
    value: Float[Array, "*batch kv_heads kv_len d_v"],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch heads q_len d_v"]:
    r"""Attend with more query heads than key and value heads: neighbours share one.

    $$\text{head}_h = \operatorname{attention}(Q_h, K_g, V_g), \qquad
    g = \lfloor h / (\text{heads} / \text{kv heads}) \rfloor$$

    One key and value head for all is multi-query attention; as many as query heads is
    `scaled_dot_product_attention`. `kv_heads` is read off `key`, so no argument turns this on.

    Args:
        query: What each position looks for. `(*batch, heads, q_len, d_k)`
        key: What each position offers to be found by; `kv_heads` divides `heads`.
            `(*batch, kv_heads, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_heads, kv_len, d_v)`
        mask: As in `scaled_dot_product_attention`, like all that follow; it meets the query heads.
        bias: Added to the scores.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach, or None.
        sink: One logit in the denominator for each query head, or None.

    Returns:
        One vector a query head and position, in the dtype of `value`. `(*batch, heads, q_len, d_v)`

    Raises:
        ValueError: If `kv_heads` does not divide `heads`, or shapes do not fit together.
        TypeError: If a dtype is wrong, above all a mask that is not boolean.

    Complexity: O(heads * q_len * kv_len * (d_k + d_v)) time, as with a key head for each query
        head: what shrinks is the cache. O(heads * kv_len * (q_len + d_k + d_v)) memory, as the
        shared heads are repeated here.

    Examples:
        >>> import numpy as np
        >>> query, key = np.zeros((4, 1, 1)), np.zeros((2, 1, 1))
        >>> grouped_query_attention(query, key, np.array([[[3.0]], [[5.0]]])).ravel()
        array([3., 3., 5., 5.])

    References:
        Ainslie et al. 2023 (grouped-query attention), section 2.2, figure 2. Shazeer 2019
        (multi-query attention).
    """
    check_grouped_heads(query, key, value)
    heads = query.shape[-3]
    return scaled_dot_product_attention(
        query,
        expand_kv_heads(key, heads),
        expand_kv_heads(value, heads),
        mask=mask,
        bias=bias,
        scale=scale,
        softcap=softcap,
        sink=sink,
    )


def check_grouped_heads(query: Array, key: Array, value: Array) -> Any:
    """Check what attention with shared heads asks of the three, and return their library."""
    xp = array_namespace(query=query, key=key, value=value)
    require_shape("query", query, query.ndim >= 3, "(..., heads, q_len, d_k)")
    *batch, heads, _, d_k = query.shape
    fits = key.ndim == query.ndim and [*key.shape[:-3], key.shape[-1]] == [*batch, d_k]
    require_shape("key", key, fits, f"({listed(batch)}kv_heads, kv_len, d_k={d_k})")
    *_, kv_heads, kv_len, _ = key.shape
    require_division("kv_heads", kv_heads, "heads", heads)
    fits = value.ndim == key.ndim and list(value.shape[:-1]) == [*batch, kv_heads, kv_len]
    require_shape("value", value, fits, f"({listed(batch)}{kv_heads=}, {kv_len=}, d_v)")
    return xp


def multi_head_attention(
    x: Float[Array, "*batch q_len d_model"],
    w_q: Float[Array, "d_model heads_d_k"],
    w_k: Float[Array, "d_context kv_heads_d_k"],
    w_v: Float[Array, "d_context kv_heads_d_v"],
    w_o: Float[Array, "heads_d_v d_out"],
    *,
    heads: int,
    kv_heads: int | None = None,
    context: Float[Array, "*batch kv_len d_context"] | None = None,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch q_len d_out"]:
    r"""Attend with several heads at once, each on its own projections of the whole input.

    $$\operatorname{Concat}(\text{head}_1, \dots, \text{head}_h)\, W_O, \qquad
    \text{head}_i = \operatorname{attention}(X W_{Q,i},\; C W_{K,i},\; C W_{V,i})$$

    Head $i$ has the columns `i * d_k` to `(i + 1) * d_k` of `w_q`. The weights multiply from the
    right, `x @ w_q`, which is the transpose of what PyTorch's `nn.Linear` stores.

    Args:
        x: The positions that ask, and in self-attention also answer. `(*batch, q_len, d_model)`
        w_q: The projection to queries. `(d_model, heads * d_k)`
        w_k: The projection to keys. `(d_context, kv_heads * d_k)`
        w_v: The projection to values. `(d_context, kv_heads * d_v)`
        w_o: The projection of the merged heads. `(heads * d_v, d_out)`
        heads: The number of query heads.
        kv_heads: The number of key and value heads, which divides `heads`; None is `heads`.
            With fewer, neighbouring query heads share one, as in `expand_kv_heads`.
        context: The positions that answer, for cross-attention; None is `x`.
            `(*batch, kv_len, d_context)`
        mask: True where a query may attend. `(q_len, kv_len)` or fewer axes for one mask that
            all share; otherwise all the axes `(*batch, heads, q_len, kv_len)`, of which any may
            be 1. What lies between is refused, as the batch could be taken for the heads.
        bias: Added to the scores after the soft cap. Shaped as `mask`.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach, as in `scaled_dot_product_attention`.
        sink: One logit a head, in the denominator. `(heads,)`

    Returns:
        One vector a query, in the dtype of `x`. `(*batch, q_len, d_out)`

    Raises:
        ValueError: If shapes do not fit together, or heads do not divide.
        TypeError: If a dtype is wrong: a weight that differs from `x`, a mask not boolean.

    Complexity: O(length * d_model * heads * d_k) time for the projections, and
        O(heads * q_len * kv_len * (d_k + d_v)) time for the attention.

    Examples:
        >>> import numpy as np
        >>> x = np.array([[2.0, 4.0], [6.0, 8.0]])
        >>> flat, eye = np.zeros((2, 2)), np.eye(2)  # scores of zero, values as they are
        >>> multi_head_attention(x, flat, flat, eye, eye, heads=2)
        array([[4., 6.],
               [4., 6.]])
        >>> causal = np.array([[True, False], [True, True]])
        >>> multi_head_attention(x, flat, flat, eye, eye, heads=2, mask=causal)
        array([[2., 4.],
               [4., 6.]])
        >>> multi_head_attention(x, flat, flat[:, :1], eye[:, :1], eye, heads=2, kv_heads=1)
        array([[4., 4.],
               [4., 4.]])
        >>> multi_head_attention(x, flat, flat, eye, eye, heads=2, context=np.array([[1.0, 9.0]]))
        array([[1., 9.],
               [1., 9.]])

    References:
        Vaswani et al. 2017, section 3.2.2.
    """
    heads = as_integer("heads", heads, least=1)
    kv_heads = heads if kv_heads is None else as_integer("kv_heads", kv_heads, least=1)
    context = x if context is None else context
    weights = {"w_q": w_q, "w_k": w_k, "w_v": w_v, "w_o": w_o}
    xp = check_inputs(x, context, weights, heads, kv_heads)
    check_axes(x, mask=mask, bias=bias)
    dtype = working_dtype(xp, x)
    source, context, w_q, w_k, w_v, w_o = (
        xp.astype(array, dtype) for array in (x, context, w_q, w_k, w_v, w_o)
    )
    query = split_heads(isolated_matmul(xp, source, w_q), heads)
    key = split_heads(isolated_matmul(xp, context, w_k), kv_heads)
    value = split_heads(isolated_matmul(xp, context, w_v), kv_heads)
    attended = grouped_query_attention(
        query, key, value, mask=mask, bias=bias, scale=scale, softcap=softcap, sink=sink
    )
    output = isolated_matmul(xp, merge_heads(attended), w_o)
    return xp.astype(output, x.dtype)


def check_inputs(
    x: Array, context: Array, weights: dict[str, Array], heads: int, kv_heads: int
) -> Any:
    xp = array_namespace(x=x, context=context, **weights)
    require_dtype(xp, "real floating", x=x)
    require_dtype_of("x", x, context=context, **weights)
    require_division("kv_heads", kv_heads, "heads", heads)
    require_shape("x", x, x.ndim >= 2, "(..., q_len, d_model)")
    *batch, _, d_model = x.shape
    fits = context.ndim == x.ndim and list(context.shape[:-2]) == batch
    require_shape("context", context, fits, f"({listed(batch)}kv_len, d_context)")

    d_context = context.shape[-1]
    w_q, w_k, w_v, w_o = weights.values()
    rule = f"(d_model={d_model}, heads={heads} * d_k)"
    require_shape("w_q", w_q, _is_matrix(w_q, d_model, heads), rule)
    columns = kv_heads * (w_q.shape[1] // heads)
    rule = f"(d_context={d_context}, kv_heads * d_k = {columns})"
    require_shape("w_k", w_k, tuple(w_k.shape) == (d_context, columns), rule)
    rule = f"(d_context={d_context}, kv_heads={kv_heads} * d_v)"
    require_shape("w_v", w_v, _is_matrix(w_v, d_context, kv_heads), rule)
    rows = heads * (w_v.shape[1] // kv_heads)
    require_shape("w_o", w_o, _is_matrix(w_o, rows, 1), f"(heads * d_v = {rows}, d_out)")
    return xp


def _is_matrix(weight: Array, rows: int, divisor: int) -> bool:
    return bool(weight.ndim == 2 and weight.shape[0] == rows and weight.shape[1] % divisor == 0)


def check_axes(x: Array, **arrays: Array | None) -> None:
    there = given(**arrays)
    array_namespace(x=x, **there)
    for name, array in there.items():
        if 2 < array.ndim < x.ndim + 1:
            raise ValueError(
                f"{name} must have shape (q_len, kv_len) or (*batch, heads, q_len, kv_len), "
                f"got {tuple(array.shape)}: write {name}[:, None] for one a batch item, "
                f"{name}[None] for one a head"
            )


def require_division(name: str, divisor: int, of: str, number: int) -> None:
    if divisor == 0 or number % divisor:
        raise ValueError(f"{name} must divide {of}={number}, got {divisor}")
