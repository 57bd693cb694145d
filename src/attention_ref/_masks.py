"""Which keys a query may see, as boolean arrays: combine them with `&`, `|` and `~`.

Every mask ends in the axes `(q_len, kv_len)`. One with batch axes in front meets scores
`(batch, heads, q_len, kv_len)` as `mask[:, None]`.
"""

from typing import Any

import array_api_compat
import array_api_compat.numpy
from jaxtyping import Bool, Integer

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    require_dtype,
    require_shape,
)


def causal_mask(
    q_len: int,
    kv_len: int | None = None,
    *,
    q_start: int | Integer[Array, "*batch"] | None = None,
    like: Array | None = None,
) -> Bool[Array, "*batch q_len kv_len"]:
    r"""Let each query see the key at its own position and the keys before it.

    $$M_{ij} = [\, j \le q_\text{start} + i \,]$$

    With fewer queries than keys, as in decoding, libraries disagree on which position the first
    query has, so `q_start` must say it: 0 (top-left, as in PyTorch and JAX) or `kv_len - q_len`
    (bottom-right, as in FlashAttention and MLX).

    Args:
        q_len: The number of queries.
        kv_len: The number of keys; None is `q_len`.
        q_start: The position of the first query among the keys, or one for each batch item
            `(*batch)`; None is 0, and allowed only if `q_len` and `kv_len` are equal. It may be
            negative: a query before the first key sees nothing.
        like: An array whose library and device the mask takes; None is the library of `q_start`,
            and NumPy for an integer.

    Returns:
        True where a query may attend. `(*batch, q_len, kv_len)`; for scores with heads write
        `mask[:, None]` if `q_start` has a batch axis.

    Raises:
        ValueError: If the lengths differ and `q_start` does not say how they align.
        TypeError: If a length or `q_start` is not an integer.

    Complexity: O(q_len * kv_len) time and memory for each batch item.

    Examples:
        >>> causal_mask(3).astype(int)
        array([[1, 0, 0],
               [1, 1, 0],
               [1, 1, 1]])
        >>> causal_mask(2, 4, q_start=2).astype(int)
        array([[1, 1, 1, 0],
               [1, 1, 1, 1]])
        >>> import numpy as np
        >>> causal_mask(1, 4, q_start=np.array([1, 3]))[:, 0].astype(int)  # two batch items
        array([[1, 1, 0, 0],
               [1, 1, 1, 1]])

    References:
        Vaswani et al. 2017, section 3.2.3.
    """
    _, ahead = relative_positions(q_len, kv_len, q_start, like)
    return ahead <= 0


def sliding_window_mask(
    q_len: int,
    kv_len: int | None = None,
    *,
    left: int | None,
    right: int | None = 0,
    q_start: int | Integer[Array, "*batch"] | None = None,
    like: Array | None = None,
) -> Bool[Array, "*batch q_len kv_len"]:
    r"""Let each query see its own position, `left` positions before it and `right` after it.

    $$M_{ij} = [\, -\text{left} \le j - (q_\text{start} + i) \le \text{right} \,]$$

    Both counts leave out the query's own position, so `left=2` shows three keys. A causal window
    of W tokens in Hugging Face's sense is `left=W - 1`. None leaves a side open, where
    FlashAttention has -1; `left=None` is `causal_mask`.

    Args:
        q_len: The number of queries.
        kv_len: The number of keys; None is `q_len`.
        left: How many positions before its own a query sees; None is all.
        right: How many positions after its own a query sees; None is all.
        q_start: The position of the first query among the keys, as in `causal_mask`.
        like: An array whose library and device the mask takes, as in `causal_mask`.

    Returns:
        True where a query may attend. `(*batch, q_len, kv_len)`

    Raises:
        ValueError: If `left` or `right` is negative, or the lengths differ and `q_start` does not
            say how they align.
        TypeError: If a length, a count or `q_start` is not an integer.

    Complexity: O(q_len * kv_len) time and memory for each batch item.

    Examples:
        >>> sliding_window_mask(4, left=1).astype(int)
        array([[1, 0, 0, 0],
               [1, 1, 0, 0],
               [0, 1, 1, 0],
               [0, 0, 1, 1]])
        >>> sliding_window_mask(1, 5, left=None, right=1, q_start=2).astype(int)
        array([[1, 1, 1, 1, 0]])

    References:
        Beltagy et al. 2020 (Longformer), section 3.1. Jiang et al. 2023 (Mistral 7B), section 2.
    """
    _, ahead = relative_positions(q_len, kv_len, q_start, like)
    xp = array_namespace(ahead=ahead)
    mask = xp.ones_like(ahead, dtype=xp.bool)
    if left is not None:
        mask = mask & (ahead >= -as_integer("left", left, least=0, note=", or None for no bound"))
    if right is not None:
        mask = mask & (ahead <= as_integer("right", right, least=0, note=", or None for no bound"))
    return mask


def streaming_mask(
    q_len: int,
    kv_len: int | None = None,
    *,
    left: int | None,
    sink_tokens: int,
    q_start: int | Integer[Array, "*batch"] | None = None,
    like: Array | None = None,
) -> Bool[Array, "*batch q_len kv_len"]:
    r"""Let each query see a window of the keys before it, and always the first ones.

    $$M_{ij} = [\, j \le q_\text{start} + i \,] \land \left(
    [\, q_\text{start} + i - j \le \text{left} \,] \lor [\, j < \text{sink tokens} \,]\right)$$

    Trained models park weight on the first tokens, and fail once a window has left them behind;
    with some of them in sight, commonly four, they go on. These are tokens, each with a key and a
    value, and not the `sink` of attention, which is a logit without either.

    Args:
        q_len: The number of queries.
        kv_len: The number of keys; None is `q_len`.
        left: How many positions before its own a query sees; None is all.
        sink_tokens: How many of the first keys each query sees that does not stand before them.
        q_start: The position of the first query among the keys, as in `causal_mask`.
        like: An array whose library and device the mask takes, as in `causal_mask`.

    Returns:
        True where a query may attend. `(*batch, q_len, kv_len)`

    Raises:
        ValueError: If a count is negative, or the lengths differ and `q_start` does not say how
            they align.
        TypeError: If a length, a count or `q_start` is not an integer.

    Complexity: O(q_len * kv_len) time and memory for each batch item.

    Examples:
        >>> streaming_mask(5, left=1, sink_tokens=1).astype(int)
        array([[1, 0, 0, 0, 0],
               [1, 1, 0, 0, 0],
               [1, 1, 1, 0, 0],
               [1, 0, 1, 1, 0],
               [1, 0, 0, 1, 1]])

    References:
        Xiao et al. 2024 (StreamingLLM), section 3.2.
    """
    keys, ahead = relative_positions(q_len, kv_len, q_start, like)
    sinks = keys < as_integer("sink_tokens", sink_tokens, least=0)
    window = sliding_window_mask(q_len, kv_len, left=left, q_start=q_start, like=like)
    return window | (sinks & (ahead <= 0))


def padding_mask(lengths: Integer[Array, "*batch"], kv_len: int) -> Bool[Array, "*batch 1 kv_len"]:
    r"""Let every query see the first keys of its sequence, as many as the sequence is long.

    $$M_{bij} = [\, j < \text{length}_b \,]$$

    It hides padding keys. The outputs at padding queries are still computed, and are to be left
    out of the loss.

    Args:
        lengths: How many keys of each sequence are real. `(*batch)`
        kv_len: The number of keys, padding included.

    Returns:
        True at real keys, in the library and on the device of `lengths`. The middle axis
        broadcasts over the queries, and against `causal_mask`. `(*batch, 1, kv_len)`; for scores
        with heads write `mask[:, None]`.

    Raises:
        ValueError: If a length is negative or exceeds `kv_len`.
        TypeError: If `lengths` is not an array of integers.

    Complexity: O(batch * kv_len) time and memory.

    Examples:
        >>> import numpy as np
        >>> padding_mask(np.array([2, 4]), 4).astype(int)
        array([[[1, 1, 0, 0]],
        <BLANKLINE>
               [[1, 1, 1, 1]]])
        >>> (causal_mask(3) & padding_mask(np.array([2]), 3)).astype(int)
        array([[[1, 0, 0],
                [1, 1, 0],
                [1, 1, 0]]])
    """
    xp = array_namespace(lengths=lengths)
    require_dtype(xp, "integral", lengths=lengths)
    kv_len = as_integer("kv_len", kv_len, least=0)
    keys = xp.arange(kv_len, device=array_api_compat.device(lengths))
    lengths = xp.astype(lengths, keys.dtype)
    outside = (lengths < 0) | (lengths > kv_len)
    if xp.any(outside):
        raise ValueError(
            f"lengths must lie between 0 and kv_len={kv_len}, got {int(lengths[outside][0])}"
        )
    return keys < lengths[..., None, None]


def prefix_mask(
    q_len: int,
    kv_len: int | None = None,
    *,
    prefix: int | Integer[Array, "*batch"],
    q_start: int | Integer[Array, "*batch"] | None = None,
    like: Array | None = None,
) -> Bool[Array, "*batch q_len kv_len"]:
    r"""Let every query see the whole prefix, and beyond it only what is not in its future.

    $$M_{ij} = [\, j < \text{prefix} \,] \lor [\, j \le q_\text{start} + i \,]$$

    Args:
        q_len: The number of queries.
        kv_len: The number of keys; None is `q_len`.
        prefix: How many keys every query sees, or one number for each batch item. `(*batch)`
        q_start: The position of the first query among the keys, as in `causal_mask`.
        like: An array whose library and device the mask takes; None is the library of `prefix` or
            `q_start`, and NumPy for integers.

    Returns:
        True where a query may attend. `(*batch, q_len, kv_len)`

    Raises:
        ValueError: If the lengths differ and `q_start` does not say how they align, or an integer
            `prefix` is negative.
        TypeError: If a length, `prefix` or `q_start` is not an integer.

    Complexity: O(q_len * kv_len) time and memory for each batch item.

    Examples:
        >>> prefix_mask(4, prefix=2).astype(int)
        array([[1, 1, 0, 0],
               [1, 1, 0, 0],
               [1, 1, 1, 0],
               [1, 1, 1, 1]])

    References:
        Raffel et al. 2020 (T5), section 3.2.1 (model structures).
    """
    if array_api_compat.is_array_api_obj(prefix):
        like = prefix if like is None else like
    else:
        as_integer("prefix", prefix, least=0)
    keys, ahead = relative_positions(q_len, kv_len, q_start, like)
    return (keys < _beside_keys(keys, "prefix", prefix)) | (ahead <= 0)


def document_mask(
    query_ids: Integer[Array, "*batch q_len"],
    key_ids: Integer[Array, "*batch kv_len"] | None = None,
) -> Bool[Array, "*batch q_len kv_len"]:
    r"""Let each query see the keys of its own document, among several packed into one row.

    $$M_{ij} = [\, \text{query id}_i = \text{key id}_j \,]$$

    Combine it with `causal_mask` for packed language modelling.

    Args:
        query_ids: The number of each query's document. `(*batch, q_len)`
        key_ids: The number of each key's document; None is `query_ids`. `(*batch, kv_len)`

    Returns:
        True where the documents agree, in the library and on the device of `query_ids`.
        `(*batch, q_len, kv_len)`

    Raises:
        ValueError: If the ids lack an axis, or differ in their batch axes.
        TypeError: If they are not arrays of integers.

    Complexity: O(q_len * kv_len) time and memory for each batch item.

    Examples:
        >>> import numpy as np
        >>> ids = np.array([7, 7, 9])
        >>> document_mask(ids).astype(int)
        array([[1, 1, 0],
               [1, 1, 0],
               [0, 0, 1]])
        >>> document_mask(ids[2:], ids).astype(int)
        array([[0, 0, 1]])

    References:
        Krell et al. 2021, "Efficient sequence packing without cross-contamination".
    """
    key_ids = query_ids if key_ids is None else key_ids
    xp = array_namespace(query_ids=query_ids, key_ids=key_ids)
    require_dtype(xp, "integral", query_ids=query_ids, key_ids=key_ids)
    require_shape("query_ids", query_ids, query_ids.ndim > 0, "(*batch, q_len)")
    batch = tuple(query_ids.shape[:-1])
    fits = key_ids.ndim == query_ids.ndim and tuple(key_ids.shape[:-1]) == batch
    require_shape("key_ids", key_ids, fits, f"(*batch, kv_len) with batch axes {batch}")
    return query_ids[..., :, None] == key_ids[..., None, :]


def align(q_len: int, kv_len: int | None, q_start: Any) -> tuple[int, int, Any]:
    """Return both lengths and where the first query stands among the keys, or refuse to guess."""
    q_len = as_integer("q_len", q_len, least=0)
    kv_len = q_len if kv_len is None else as_integer("kv_len", kv_len, least=0)
    if q_start is None and q_len != kv_len:
        raise ValueError(
            f"q_start must be given where q_len={q_len} and kv_len={kv_len} differ: "
            f"0 gives query 0 position 0 (top-left), "
            f"{kv_len - q_len} gives the last query the last position (bottom-right)"
        )
    return q_len, kv_len, 0 if q_start is None else q_start


def relative_positions(
    q_len: int, kv_len: int | None, q_start: Any, like: Array | None
) -> tuple[Array, Array]:
    """Return the keys' positions, and how far each key lies ahead of each query."""
    q_len, kv_len, q_start = align(q_len, kv_len, q_start)
    if like is None and array_api_compat.is_array_api_obj(q_start):
        like = q_start
    xp = array_api_compat.numpy if like is None else array_namespace(like=like)
    device = None if like is None else array_api_compat.device(like)
    keys = xp.arange(kv_len, device=device)
    queries = xp.arange(q_len, device=device)[:, None] + _beside_keys(keys, "q_start", q_start)
    return keys, keys - queries


def _beside_keys(keys: Array, name: str, number: Any) -> Any:
    """Return an integer as it is, and one a batch item with axes for the queries and keys."""
    if not array_api_compat.is_array_api_obj(number):
        return as_integer(name, number)
    xp = array_namespace(like=keys, **{name: number})
    require_dtype(xp, "integral", **{name: number})
    return xp.astype(number, keys.dtype)[..., None, None]
