"""Attention over a part of the keys: chosen blocks, or the k best for each query."""

import itertools
import math

from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    check_query_and_key,
    check_score_terms,
    check_value,
    require_broadcast,
    require_dtype,
    require_shape,
)
from attention_ref._scaled_dot_product import attention_stages, scaled_dot_product_attention


def expand_block_mask(
    block_mask: Bool[Array, "*batch q_blocks kv_blocks"],
    q_len: int,
    kv_len: int,
    *,
    q_block: int,
    kv_block: int,
) -> Bool[Array, "*batch q_len kv_len"]:
    r"""Repeat each entry of a mask of blocks for every pair of positions in its block.

    $$M_{ij} = B_{\lfloor i / q_\text{block} \rfloor,\, \lfloor j / kv_\text{block} \rfloor}$$

    The last block of an axis may be cut short by the end of the sequence.

    Args:
        block_mask: True where the queries of a block may attend to the keys of a block.
            `(*batch, ceil(q_len / q_block), ceil(kv_len / kv_block))`
        q_len: The number of queries.
        kv_len: The number of keys.
        q_block: The number of queries in a block.
        kv_block: The number of keys in a block.

    Returns:
        True where a query may attend. `(*batch, q_len, kv_len)`

    Raises:
        ValueError: If `block_mask` has not one entry for each pair of blocks.
        TypeError: If `block_mask` is not boolean, or a length is not an integer.

    Complexity: O(q_len * kv_len) time and memory for each batch item.

    Examples:
        >>> import numpy as np
        >>> block_mask = np.array([[True, False], [False, True]])
        >>> expand_block_mask(block_mask, 3, 5, q_block=2, kv_block=3).astype(int)
        array([[1, 1, 1, 0, 0],
               [1, 1, 1, 0, 0],
               [0, 0, 0, 1, 1]])
    """
    xp = array_namespace(block_mask=block_mask)
    require_dtype(xp, "bool", block_mask=block_mask)
    q_len = as_integer("q_len", q_len, least=0)
    kv_len = as_integer("kv_len", kv_len, least=0)
    q_blocks = _count("q_block", q_block, q_len)
    kv_blocks = _count("kv_block", kv_block, kv_len)
    fits = block_mask.ndim >= 2 and tuple(block_mask.shape[-2:]) == (q_blocks, kv_blocks)
    require_shape("block_mask", block_mask, fits, f"(*batch, {q_blocks=}, {kv_blocks=})")
    rows = xp.repeat(block_mask, q_block, axis=-2)[..., :q_len, :]
    return xp.repeat(rows, kv_block, axis=-1)[..., :kv_len]


def block_sparse_attention(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    block_mask: Bool[Array, "..."],
    *,
    q_block: int,
    kv_block: int,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch q_len d_v"]:
    r"""Attend to the chosen blocks of keys; the others are never read.

    $$O_I = \operatorname{attention}(Q_I, K_{\mathcal{J}}, V_{\mathcal{J}}), \qquad
    \mathcal{J} = \{ j : B_{I,\, \lfloor j / kv_\text{block} \rfloor} \}$$

    For each block of queries the keys of its blocks are gathered, and attended to. It equals
    `scaled_dot_product_attention` with `expand_block_mask` as mask. What is not causal inside a
    block on the diagonal needs `mask` too.

    Args:
        query: What each position looks for. `(*batch, q_len, d_k)`
        key: What each position offers to be found by. `(*batch, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_len, d_v)`
        block_mask: True for the blocks to compute; broadcasts to
            `(*batch, ceil(q_len / q_block), ceil(kv_len / kv_block))`.
        q_block: The number of queries in a block; the last may have fewer.
        kv_block: The number of keys in a block; the last may have fewer.
        mask: True where a query may attend, inside the chosen blocks; as in
            `scaled_dot_product_attention`, like all that follow.
        bias: Added to the scores.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach, or None.
        sink: One logit in the denominator, or None.

    Returns:
        One vector a query, in the dtype of `value`. `(*batch, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong, above all a mask that is not boolean.

    Complexity: O(pairs * (d_k + d_v)) time for as many pairs of a query and a key as the chosen
        blocks hold; O(q_block * kv_len) memory beside the output.

    Examples:
        >>> import numpy as np
        >>> query, key = np.zeros((2, 1)), np.zeros((4, 1))
        >>> value = np.array([[1.0], [3.0], [5.0], [9.0]])
        >>> block_mask = np.array([[True, False], [False, True]])
        >>> block_sparse_attention(query, key, value, block_mask, q_block=1, kv_block=2)
        array([[2.],
               [7.]])

    References:
        Child et al. 2019, "Generating long sequences with sparse transformers". Zaheer et al. 2020
        (Big Bird).
    """
    xp = check_query_and_key(query, key)
    check_value(xp, key, value)
    check_score_terms(query, key, mask=mask, bias=bias, sink=sink)
    array_namespace(query=query, block_mask=block_mask)
    require_dtype(xp, "bool", block_mask=block_mask)
    *batch, q_len, _ = query.shape
    kv_len = key.shape[-2]
    shape = (*batch, _count("q_block", q_block, q_len), _count("kv_block", kv_block, kv_len))
    require_broadcast("block_mask", block_mask, shape, f"(*batch, q_blocks, kv_blocks) = {shape}")
    block_mask = xp.broadcast_to(block_mask, shape)
    mask, bias = (
        None if x is None else xp.broadcast_to(x, (*batch, q_len, kv_len)) for x in (mask, bias)
    )
    sink = None if sink is None else xp.broadcast_to(sink, tuple(batch))

    outputs = [xp.reshape(value, (math.prod(value.shape[:-1]), value.shape[-1]))[:0, :]]
    for *item, row in itertools.product(*map(range, shape[:-1])):
        queries = slice(row * q_block, min((row + 1) * q_block, q_len))
        keys = xp.nonzero(xp.repeat(block_mask[*item, row, :], kv_block)[:kv_len])[0]
        outputs.append(
            scaled_dot_product_attention(
                query[*item, queries, :],
                xp.take(key[*item, :, :], keys, axis=-2),
                xp.take(value[*item, :, :], keys, axis=-2),
                mask=None if mask is None else xp.take(mask[*item, queries, :], keys, axis=-1),
                bias=None if bias is None else xp.take(bias[*item, queries, :], keys, axis=-1),
                scale=scale,
                softcap=softcap,
                sink=None if sink is None else sink[tuple(item)],
            )
        )
    return xp.reshape(xp.concat(outputs), (*batch, q_len, value.shape[-1]))


def top_k_mask(scores: Float[Array, "*batch n"], k: int) -> Bool[Array, "*batch n"]:
    r"""Mark the k largest of each row; of equal ones, those that come first.

    $$M_i = \big[\, \#\{ j : s_j > s_i \lor (s_j = s_i \land j < i) \} < k \,\big]$$

    So exactly k are marked, or all if there are fewer. A NaN counts as infinite: it is kept, and
    seen, where a comparison would drop it.

    Args:
        scores: Any numbers, for instance scores, -inf where masked. `(*batch, n)`
        k: How many to mark, at least one.

    Returns:
        True at the k largest. `(*batch, n)`

    Raises:
        ValueError: If `k` is below one, or `scores` has no axis.
        TypeError: If `scores` is not an array of real floating numbers, or `k` not an integer.

    Complexity: O(n log n) time and O(n) memory for each row.

    Examples:
        >>> import numpy as np
        >>> top_k_mask(np.array([[5.0, 7.0, 7.0, 7.0], [1.0, 4.0, 2.0, 3.0]]), k=2).astype(int)
        array([[0, 1, 1, 0],
               [0, 1, 0, 1]])
    """
    xp = array_namespace(scores=scores)
    require_dtype(xp, "real floating", scores=scores)
    require_shape("scores", scores, scores.ndim >= 1, "(*batch, n)")
    k = as_integer("k", k, least=1)
    ranked = xp.where(xp.isnan(scores), xp.inf, scores)
    order = xp.argsort(ranked, axis=-1, descending=True, stable=True)
    rank: Array = xp.argsort(order, axis=-1)  # the inverse of a permutation
    return rank < k


def top_k_attention(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    *,
    k: int,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch q_len d_v"]:
    r"""Let each query attend to the k keys that it scores highest among those it may see.

    $$\operatorname{softmax}(S + T)V, \qquad T_{ij} = 0 \text{ if } S_{ij} \text{ is among the } k
    \text{ largest of row } i, \; -\infty \text{ if not}$$

    The scores that are compared are those after the soft cap and the bias. Which keys are kept is
    no function to differentiate: the gradient goes through those that are, as if it were a mask.
    With k of kv_len or more it is `scaled_dot_product_attention`.

    Args:
        query: What each position looks for. `(*batch, q_len, d_k)`
        key: What each position offers to be found by. `(*batch, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_len, d_v)`
        k: How many keys each query keeps; all that it may see, if they are fewer. Of equal scores,
            the first are kept.
        mask: True where a query may attend; as in `scaled_dot_product_attention`, like all that
            follow. What is masked takes none of the k places.
        bias: Added to the scores.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach, or None.
        sink: One logit in the denominator, or None; it takes none of the k places.

    Returns:
        One vector a query, in the dtype of `value`. `(*batch, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong, above all a mask that is not boolean.

    Complexity: O(q_len * kv_len * (d_k + d_v + log(kv_len))) time; O(q_len * kv_len) memory. All
        scores are computed, to find the largest.

    Examples:
        >>> import numpy as np
        >>> query, key = np.array([[1.0]]), np.log(np.array([[1.0], [3.0], [2.0]]))
        >>> value = np.array([[100.0], [0.0], [5.0]])
        >>> top_k_attention(query, key, value, k=2)  # 3 and 2 are kept: 0 * 3/5 + 5 * 2/5
        array([[2.]])

    References:
        Zhao et al. 2019, "Explicit sparse transformer". Gupta et al. 2021, "Memory-efficient
        transformers via top-k attention".
    """
    options = {"bias": bias, "scale": scale, "softcap": softcap, "sink": sink}
    scores = attention_stages(query, key, value, mask=mask, **options).biased
    kept = top_k_mask(scores, k)
    kept = kept if mask is None else kept & mask
    return scaled_dot_product_attention(query, key, value, mask=kept, **options)


def _count(name: str, block: int, length: int) -> int:
    """Return how many blocks a length has, the last perhaps shorter."""
    return -(-length // as_integer(name, block, least=1))
