"""Multi-head latent attention: all heads' keys and values, projected from one small vector.

A position keeps that vector, the latent, and one rotary key, both shared by all heads: as keys
and values of a single head. So `KVCache.empty(rotary_key, latent)` is its cache.
"""

import math
from typing import Any

from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    listed,
    require_dtype,
    require_dtype_of,
    require_shape,
    working_dtype,
)
from attention_ref._multi_head import expand_kv_heads
from attention_ref._scaled_dot_product import isolated_matmul, scaled_dot_product_attention


def latent_attention(
    query: Float[Array, "*batch heads q_len d_nope"],
    rotary_query: Float[Array, "*batch heads q_len d_rotary"],
    latent: Float[Array, "*batch 1 kv_len d_latent"],
    rotary_key: Float[Array, "*batch 1 kv_len d_rotary"],
    w_uk: Float[Array, "heads d_latent d_nope"],
    w_uv: Float[Array, "heads d_latent d_v"],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch heads q_len d_v"]:
    r"""Expand the latents into each head's keys and values, then attend.

    $$O_i = \operatorname{softmax}\!\left(
    \frac{[Q_i;\, Q^R_i]\, [C\, W^{UK}_i;\; K^R]^\top}{\sqrt{d_\text{nope} + d_\text{rotary}}}
    \right) C\, W^{UV}_i$$

    The scores have two terms, $Q_i (C W^{UK}_i)^\top + Q^R_i {K^R}^\top$. Only the second knows
    positions: a rotation between $Q_i$ and $W^{UK}_i$ would depend on the position of the key,
    and `latent_attention_absorbed` could not move the projection to the query.

    The projections to these arguments are the caller's: DeepSeek's models normalize the latent,
    and a latent that queries may come from, before any of the projections here.

    Args:
        query: The part of the queries that does not turn, `q_nope` in DeepSeek's code.
            `(*batch, heads, q_len, d_nope)`
        rotary_query: The part that does, already turned, `q_pe`.
            `(*batch, heads, q_len, d_rotary)`
        latent: One vector for the keys and values of all heads, $c^{KV}$, already normalized if
            the model does so. `(*batch, 1, kv_len, d_latent)`
        rotary_key: One key for all heads, already turned, `k_pe`.
            `(*batch, 1, kv_len, d_rotary)`
        w_uk: Each head's projection from latents to keys. `(heads, d_latent, d_nope)`; of the
            weight of a PyTorch layer, `split_heads(weight.T, heads)`.
        w_uv: Each head's projection from latents to values. `(heads, d_latent, d_v)`
        mask: As in `scaled_dot_product_attention`, like all that follow.
        bias: Added to the scores.
        scale: What the dot products are multiplied by; None is
            $1 / \sqrt{d_\text{nope} + d_\text{rotary}}$. With YaRN, DeepSeek multiplies that by
            the square of `yarn_attention_factor`.
        softcap: The bound that the scores approach, or None.
        sink: One logit a head in the denominator, or None.

    Returns:
        One vector a head and query, in the dtype of `query`, computed in at least float32;
        `merge_heads` and the output's projection follow. `(*batch, heads, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong, or not the same for all.

    Complexity: O(heads * kv_len * d_latent * (d_nope + d_v)) time to expand, and
        O(heads * q_len * kv_len * (d_nope + d_rotary + d_v)) time to attend;
        O(heads * kv_len * (q_len + d_nope + d_rotary + d_v)) memory.

    Examples:
        >>> import numpy as np
        >>> query, rotary_query = np.zeros((2, 1, 3)), np.zeros((2, 1, 4))  # scores of zero
        >>> latent, rotary_key = np.array([[[2.0], [6.0]]]), np.zeros((1, 2, 4))
        >>> w_uk, w_uv = np.ones((2, 1, 3)), np.array([[[1.0]], [[10.0]]])
        >>> latent_attention(query, rotary_query, latent, rotary_key, w_uk, w_uv)
        array([[[ 4.]],
        <BLANKLINE>
               [[40.]]])

    References:
        DeepSeek-AI 2024 (DeepSeek-V2), sections 2.1.2 and 2.1.3, and 3.1.2 (norms).
    """
    xp, dtype, query, rotary_query, latent, rotary_key, w_uk, w_uv = _prepare(
        query, rotary_query, latent, rotary_key, w_uk, w_uv
    )
    key = isolated_matmul(xp, latent, w_uk)
    value = isolated_matmul(xp, latent, w_uv)
    output = scaled_dot_product_attention(
        xp.concat([query, rotary_query], axis=-1),
        xp.concat([key, expand_kv_heads(rotary_key, query.shape[-3])], axis=-1),
        value,
        mask=mask,
        bias=bias,
        scale=scale,
        softcap=softcap,
        sink=sink,
    )
    return xp.astype(output, dtype)


def latent_attention_absorbed(
    query: Float[Array, "*batch heads q_len d_nope"],
    rotary_query: Float[Array, "*batch heads q_len d_rotary"],
    latent: Float[Array, "*batch 1 kv_len d_latent"],
    rotary_key: Float[Array, "*batch 1 kv_len d_rotary"],
    w_uk: Float[Array, "heads d_latent d_nope"],
    w_uv: Float[Array, "heads d_latent d_v"],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch heads q_len d_v"]:
    r"""Attend to the latents themselves: the same result as `latent_attention`, to rounding.

    $$O_i = \operatorname{softmax}\!\left(
    \frac{[Q_i {W^{UK}_i}^\top;\, Q^R_i]\, [C;\; K^R]^\top}
    {\sqrt{d_\text{nope} + d_\text{rotary}}}
    \right) C \; W^{UV}_i$$

    A product of three matrices may begin at either end: the key's projection moves to the query,
    and the value's to the output. What is left between them is multi-query attention, in which
    the cache is the one key and, but for its rotary part, the one value. Expanding costs time for
    each key, absorbing for each query; so this form is for decoding, where the queries are few.
    The scale keeps the sizes of the other form, although the vectors are longer.

    Args:
        query: As in `latent_attention`, like all that follow. `(*batch, heads, q_len, d_nope)`
        rotary_query: The turned part of the queries. `(*batch, heads, q_len, d_rotary)`
        latent: One vector for all heads. `(*batch, 1, kv_len, d_latent)`
        rotary_key: One turned key for all heads. `(*batch, 1, kv_len, d_rotary)`
        w_uk: Each head's projection from latents to keys. `(heads, d_latent, d_nope)`
        w_uv: Each head's projection from latents to values. `(heads, d_latent, d_v)`
        mask: True where a query may attend.
        bias: Added to the scores.
        scale: What the dot products are multiplied by; None is
            $1 / \sqrt{d_\text{nope} + d_\text{rotary}}$.
        softcap: The bound that the scores approach, or None.
        sink: One logit a head in the denominator, or None.

    Returns:
        One vector a head and query, in the dtype of `query`. `(*batch, heads, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong, or not the same for all.

    Complexity: O(heads * q_len * d_latent * (d_nope + d_v)) time to absorb, and
        O(heads * q_len * kv_len * (d_latent + d_rotary)) time to attend;
        O(heads * kv_len * (q_len + d_latent + d_rotary)) memory, as each head has its own copy of
        the latents, which a kernel has not.

    Examples:
        >>> import numpy as np
        >>> query, rotary_query = np.ones((2, 1, 1)), np.zeros((2, 1, 4))
        >>> latent, rotary_key = np.log([[[1.0], [3.0]]]), np.zeros((1, 2, 4))
        >>> w_uk, w_uv = np.array([[[0.0]], [[1.0]]]), np.ones((2, 1, 1)) / np.log(3)
        >>> output = latent_attention_absorbed(
        ...     query, rotary_query, latent, rotary_key, w_uk, w_uv, scale=1.0
        ... )
        >>> output[:, 0, 0]  # the second head weighs the latents 0 and log 3 as 1 to 3
        array([0.5 , 0.75])

    References:
        DeepSeek-AI 2024 (DeepSeek-V2), section 2.1.2 (absorption).
    """
    xp, dtype, query, rotary_query, latent, rotary_key, w_uk, w_uv = _prepare(
        query, rotary_query, latent, rotary_key, w_uk, w_uv
    )
    heads, d_k = query.shape[-3], query.shape[-1] + rotary_query.shape[-1]
    latent_query = isolated_matmul(xp, query, xp.matrix_transpose(w_uk))
    shared_key = xp.concat([latent, rotary_key], axis=-1)
    latent_output = scaled_dot_product_attention(
        xp.concat([latent_query, rotary_query], axis=-1),
        expand_kv_heads(shared_key, heads),
        expand_kv_heads(latent, heads),
        mask=mask,
        bias=bias,
        scale=1 / math.sqrt(d_k) if scale is None else scale,
        softcap=softcap,
        sink=sink,
    )
    return xp.astype(isolated_matmul(xp, latent_output, w_uv), dtype)


def _prepare(
    query: Array,
    rotary_query: Array,
    latent: Array,
    rotary_key: Array,
    w_uk: Array,
    w_uv: Array,
) -> tuple[Any, ...]:
    """Check the arrays; return their library, their dtype, and them in the one to compute in."""
    others = {
        "rotary_query": rotary_query,
        "latent": latent,
        "rotary_key": rotary_key,
        "w_uk": w_uk,
        "w_uv": w_uv,
    }
    xp = array_namespace(query=query, **others)
    require_dtype(xp, "real floating", query=query)
    require_dtype_of("query", query, **others)
    fits = query.ndim >= 3 and query.shape[-1] > 0
    require_shape("query", query, fits, "(..., heads, q_len, d_nope) with d_nope of at least 1")
    *batch, heads, q_len, d_nope = query.shape
    fits = list(rotary_query.shape[:-1]) == [*batch, heads, q_len]
    rule = f"({listed(batch)}heads={heads}, q_len={q_len}, d_rotary)"
    require_shape("rotary_query", rotary_query, fits, rule)
    fits = latent.ndim == query.ndim and list(latent.shape[:-2]) == [*batch, 1]
    require_shape("latent", latent, fits, f"({listed(batch)}1, kv_len, d_latent)")
    kv_len, d_latent = latent.shape[-2:]
    d_rotary = rotary_query.shape[-1]
    fits = list(rotary_key.shape) == [*batch, 1, kv_len, d_rotary]
    rule = f"({listed(batch)}1, kv_len={kv_len}, d_rotary={d_rotary})"
    require_shape("rotary_key", rotary_key, fits, rule)
    fits = tuple(w_uk.shape) == (heads, d_latent, d_nope)
    rule = f"(heads={heads}, d_latent={d_latent}, d_nope={d_nope})"
    require_shape("w_uk", w_uk, fits, rule)
    fits = w_uv.ndim == 3 and tuple(w_uv.shape[:2]) == (heads, d_latent)
    require_shape("w_uv", w_uv, fits, f"(heads={heads}, d_latent={d_latent}, d_v)")
    working = working_dtype(xp, query)
    wide = (xp.astype(array, working) for array in (query, *others.values()))
    return xp, query.dtype, *wide
