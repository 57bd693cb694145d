"""Native sparse attention: summaries of all blocks, a few blocks whole, and the last positions."""

from typing import Any

import array_api_compat
from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    listed,
    require_dtype,
    require_dtype_of,
    require_shape,
    working_dtype,
)
from attention_ref._gated import gated_attention
from attention_ref._masks import causal_mask, sliding_window_mask
from attention_ref._multi_head import check_grouped_heads, expand_kv_heads
from attention_ref._scaled_dot_product import attention_weights
from attention_ref._sparse import expand_block_mask, top_k_mask


def native_sparse_attention(
    query: Float[Array, "*batch heads q_len d_k"],
    key: Float[Array, "*batch kv_heads kv_len d_k"],
    value: Float[Array, "*batch kv_heads kv_len d_v"],
    gates: Float[Array, "*batch heads q_len 3"],
    *,
    block_size: int,
    blocks: int,
    left: int | None,
    compressed_key: Float[Array, "*batch kv_heads complete_blocks d_k"] | None = None,
    compressed_value: Float[Array, "*batch kv_heads complete_blocks d_v"] | None = None,
    q_start: int | None = None,
    scale: float | None = None,
) -> Float[Array, "*batch heads q_len d_v"]:
    r"""Add three causal attentions: to summaries of blocks, to selected blocks, to a window.

    $$o = \sum_{c \in \{\text{cmp}, \text{slc}, \text{win}\}}
    \sigma(g_c) \operatorname{attention}(q, K_c, V_c)$$

    The **compressed** branch sees one key and one value for each block that is complete at the
    query's position. The **selected** branch sees the positions themselves, in the blocks that
    `select_blocks` picks from the weights of the first. The **window** sees the query's own
    position and `left` before it. Query heads that share a key head share the selection.

    Blocks of summary and of selection are the same here, without overlap. In the paper the
    summaries are learned and each branch has its own keys and values: pass those of the first
    branch as `compressed_key` and `compressed_value`. This is the specification, by masks over all
    scores: it shows what is computed, and not what is saved.

    Args:
        query: What each position looks for. `(*batch, heads, q_len, d_k)`
        key: What each position offers to be found by; `kv_heads` divides `heads`.
            `(*batch, kv_heads, kv_len, d_k)`
        value: What each position hands over; an infinite entry counts as NaN.
            `(*batch, kv_heads, kv_len, d_v)`
        gates: $g$ before the sigmoid, in the order compressed, selected, window.
            `(*batch, heads, q_len, 3)`
        block_size: The number of positions in a block.
        blocks: How many blocks each query selects, as in `select_blocks`.
        left: How many positions before its own a query sees in the window; None is all.
        compressed_key: One key for each complete block; None is the mean of its keys.
            `(*batch, kv_heads, kv_len // block_size, d_k)`
        compressed_value: One value for each complete block; None is the mean of its values.
            `(*batch, kv_heads, kv_len // block_size, d_v)`
        q_start: The position of the first query among the keys, as in `causal_mask`.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.

    Returns:
        One vector a query head and position, in the dtype of `value`. `(*batch, heads, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong.

    Complexity: O(heads * q_len * kv_len * (d_k + d_v)) time and O(heads * q_len * kv_len) memory; a
        kernel that reads only what is visible needs
        O(heads * q_len * (kv_len / block_size + blocks * block_size + left) * (d_k + d_v)) time.

    Examples:
        >>> import numpy as np
        >>> query = key = np.zeros((1, 6, 1))
        >>> value = np.array([[[0.0], [2.0], [4.0], [6.0], [8.0], [10.0]]])
        >>> only = np.where(np.eye(3, dtype=bool), np.inf, -np.inf)[:, None, None, :]
        >>> for gates in only:  # of the last query: means 1, 5 and 9; all; 8 and 10
        ...     gates = np.broadcast_to(gates, (1, 6, 3))
        ...     print(native_sparse_attention(query, key, value, gates, block_size=2, blocks=3,
        ...                                   left=1)[0, -1])
        [5.]
        [5.]
        [9.]

    References:
        Yuan et al. 2025, "Native sparse attention: hardware-aligned and natively trainable sparse
        attention", equations 5 to 12.
    """
    xp = check_grouped_heads(query, key, value)
    require_dtype(xp, "real floating", query=query, key=key, value=value)
    require_dtype_of("query", query, key=key)
    *batch, heads, q_len, _ = query.shape
    shape = (*batch, heads, q_len, 3)
    array_namespace(query=query, gates=gates)
    require_dtype(xp, "real floating", gates=gates)
    fits = tuple(gates.shape) == shape
    require_shape("gates", gates, fits, f"(*batch, heads, q_len, 3) = {shape}")
    block_size = as_integer("block_size", block_size, least=1)
    kv_len = key.shape[-2]
    dtype = working_dtype(xp, query, value, gates)
    query, key, wide, gates = (xp.astype(x, dtype) for x in (query, key, value, gates))
    wide = xp.where(xp.isfinite(wide), wide, xp.nan)  # or branches may add inf and -inf
    compressed = (
        _summaries(xp, "compressed_key", compressed_key, key, block_size),
        _summaries(xp, "compressed_value", compressed_value, wide, block_size),
    )
    chosen = select_blocks(
        query,
        compressed[0],
        kv_len,
        block_size=block_size,
        blocks=blocks,
        q_start=q_start,
        scale=scale,
    )
    chosen = expand_block_mask(chosen, q_len, kv_len, q_block=1, kv_block=block_size)
    causal = causal_mask(q_len, kv_len, q_start=q_start, like=query)
    window = sliding_window_mask(q_len, kv_len, left=left, q_start=q_start, like=query)
    branches = (
        (*compressed, _complete(causal, block_size)),
        (key, wide, expand_kv_heads(chosen, heads) & causal),
        (key, wide, window),
    )
    output: Any = 0.0
    for branch, (keys, values, mask) in enumerate(branches):
        output = output + gated_attention(
            query,
            expand_kv_heads(keys, heads),
            expand_kv_heads(values, heads),
            gates[..., branch : branch + 1],
            mask=mask,
            scale=scale,
        )
    return xp.astype(output, value.dtype)


def select_blocks(
    query: Float[Array, "*batch heads q_len d_k"],
    compressed_key: Float[Array, "*batch kv_heads complete_blocks d_k"],
    kv_len: int,
    *,
    block_size: int,
    blocks: int,
    q_start: int | None = None,
    scale: float | None = None,
) -> Bool[Array, "*batch kv_heads q_len kv_blocks"]:
    r"""Choose the blocks that each query reads whole: three fixed ones, and those that weigh most.

    $$p_b = \sum_{h \in \text{group}}
    \operatorname{softmax}(q_h K_\text{cmp}^\top / \sqrt{d_k})_b$$

    Always chosen are the first block, the query's own and the one before it, as in the paper's
    experiments. The other places go to the complete blocks with the largest $p$, summed over the
    query heads that share a key head, so that these read the same keys; of equal ones to the
    first. No block after the query's own is chosen, even if places are left.

    Args:
        query: What each position looks for. `(*batch, heads, q_len, d_k)`
        compressed_key: One key for each complete block; `kv_heads` divides `heads`.
            `(*batch, kv_heads, kv_len // block_size, d_k)`
        kv_len: The number of keys.
        block_size: The number of positions in a block.
        blocks: How many blocks to choose, the three fixed ones included; at least three.
        q_start: The position of the first query among the keys, as in `causal_mask`.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.

    Returns:
        True for the chosen blocks; `expand_block_mask` with `q_block=1` makes a mask of it, to be
        combined with `causal_mask`. `(*batch, kv_heads, q_len, ceil(kv_len / block_size))`

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong.

    Complexity: O(heads * q_len * kv_len / block_size * d_k) time; O(heads * q_len * kv_len /
        block_size) memory.

    Examples:
        >>> import numpy as np
        >>> query, summaries = np.ones((1, 10, 1)), np.array([[[1.0], [2.0], [5.0], [3.0], [4.0]]])
        >>> select_blocks(query, summaries, 10, block_size=2, blocks=4)[0, ::3].astype(int)
        array([[1, 0, 0, 0, 0],
               [1, 1, 0, 0, 0],
               [1, 1, 1, 1, 0],
               [1, 0, 1, 1, 1]])

    References:
        Yuan et al. 2025, "Native sparse attention: hardware-aligned and natively trainable sparse
        attention", equations 8 to 11.
    """
    kv_len = as_integer("kv_len", kv_len, least=0)
    block_size = as_integer("block_size", block_size, least=1)
    blocks = as_integer("blocks", blocks, least=3, note=", for the first and the last two")
    xp = array_namespace(query=query, compressed_key=compressed_key)
    require_dtype(xp, "real floating", query=query, compressed_key=compressed_key)
    require_shape("query", query, query.ndim >= 3, "(..., heads, q_len, d_k)")
    *batch, heads, q_len, d_k = query.shape
    shape, count = tuple(compressed_key.shape), kv_len // block_size
    fits = len(shape) == query.ndim and (*shape[:-3], *shape[-2:]) == (*batch, count, d_k)
    rule = f"({listed(batch)}kv_heads, kv_len // block_size = {count}, {d_k=})"
    require_shape("compressed_key", compressed_key, fits, rule)
    kv_heads = shape[-3]
    dtype = working_dtype(xp, query, compressed_key)
    causal = causal_mask(q_len, kv_len, q_start=q_start, like=query)
    weights = attention_weights(
        xp.astype(query, dtype),
        expand_kv_heads(xp.astype(compressed_key, dtype), heads),
        mask=_complete(causal, block_size),
        scale=scale,
    )
    shape = (*batch, kv_heads, heads // kv_heads, q_len, count)
    weight = xp.sum(xp.reshape(weights, shape), axis=-3)
    device = array_api_compat.device(query)
    first = 0 if q_start is None else as_integer("q_start", q_start)
    position = first + xp.arange(q_len, device=device)
    own = (position // block_size)[:, None]
    # A last block that is cut short has no summary: it is read as a query's own, or not at all.
    cut = -(-kv_len // block_size) - count
    short = xp.zeros((*weight.shape[:-1], cut), dtype=weight.dtype, device=device)
    weight = xp.concat([weight, short], axis=-1)
    block = xp.arange(weight.shape[-1], device=device)
    weight = xp.where((block == 0) | (block >= own - 1), xp.inf, weight)
    behind = block <= own
    return top_k_mask(xp.where(behind, weight, -xp.inf), blocks) & behind


def _summaries(xp: Any, name: str, given: Array | None, whole: Array, block_size: int) -> Array:
    """Return what was given, if it fits, or else the mean of each complete block."""
    *batch, length, d = whole.shape
    shape = (*batch, length // block_size, d)
    if given is None:
        blocks = xp.reshape(whole[..., : shape[-2] * block_size, :], (*shape[:-1], block_size, d))
        return xp.mean(xp.where(xp.isfinite(blocks), blocks, xp.nan), axis=-2)
    array_namespace(**{"query": whole, name: given})
    require_dtype(xp, "real floating", **{name: given})
    rule = f"({listed(batch)}kv_len // block_size = {shape[-2]}, {d})"
    require_shape(name, given, tuple(given.shape) == shape, rule)
    return xp.astype(given, whole.dtype)


def _complete(causal: Array, block_size: int) -> Array:
    """Return the columns of a causal mask at the ends of blocks: whole blocks in the past."""
    kv_len = causal.shape[-1]
    return causal[..., slice(min(block_size - 1, kv_len), kv_len, block_size)]
