"""What to add to the scores so that they depend on how far apart a query and a key stand."""

from bisect import bisect_left
from typing import Any

import array_api_compat
from jaxtyping import Float, Integer

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    given,
    require_dtype,
    require_shape,
    working_dtype,
)
from attention_ref._like import floats_like
from attention_ref._masks import relative_positions


def alibi_slopes(heads: int, *, like: Array | None = None) -> Float[Array, " heads"]:
    r"""Return how steeply each head's attention falls with distance in ALiBi.

    $$m_h = 2^{-8 h / n}, \qquad h = 1, \dots, n$$

    This is the whole rule where the number of heads $n$ is a power of two. Otherwise the authors'
    code takes the slopes of the largest power of two below, and fills up with every other slope
    of the power of two above, from the first; so do BLOOM and MPT. Two other rules are in use:
    the formula as it stands for any $n$, which is the paper's text, and another number than 8,
    which MPT calls `alibi_bias_max`.

    Args:
        heads: The number of query heads, $n$.
        like: An array whose library and device the slopes take; None is NumPy.

    Returns:
        One slope a head, in the dtype that attention computes in: float64 without `like` or if
        that is float64, else float32. `(heads,)`

    Raises:
        ValueError: If `heads` is below 1.
        TypeError: If `heads` is not an integer, or `like` no array of real floating numbers.

    Complexity: O(heads) time and memory.

    Examples:
        >>> 1 / alibi_slopes(4)
        array([  4.,  16.,  64., 256.])
        >>> 1 / alibi_slopes(6)  # those of 4, then the first and third of 8
        array([  4.,  16.,  64., 256.,   2.,   8.])

    References:
        Press et al. 2022 (ALiBi), section 3, and `get_slopes` in the code released with it.
    """
    heads = as_integer("heads", heads, least=1)
    power = 2 ** (heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * h / power) for h in range(1, power + 1)]
    slopes += [2.0 ** (-8 * h / (2 * power)) for h in range(1, 2 * (heads - power), 2)]
    return floats_like(slopes, like)


def alibi_bias(
    slopes: Float[Array, " heads"],
    q_len: int,
    kv_len: int | None = None,
    *,
    q_start: int | Integer[Array, "*batch"] | None = None,
) -> Float[Array, "*batch heads q_len kv_len"]:
    r"""Return the bias that grows more negative with the distance of the key from the query.

    $$B_{hij} = -m_h\, |\, q_\text{start} + i - j \,|$$

    The bias hides nothing: for causal attention pass a mask too. Before the query this is the
    paper's bias; after it, where the paper masks, it falls off alike, as in FlashAttention. BLOOM
    and MPT add $m_h j$ or $m_h (j - \text{kv len} + 1)$ instead, which under a causal mask gives
    the same weights, as each row differs by a constant.

    Args:
        slopes: $m$, from `alibi_slopes` or of one's own. `(heads,)`
        q_len: The number of queries.
        kv_len: The number of keys; None is `q_len`.
        q_start: The position of the first query among the keys, or one for each batch item
            `(*batch)`; as in `causal_mask`.

    Returns:
        What to pass as `bias`, in the dtype, library and device of `slopes`, computed in at least
        float32. `(*batch, heads, q_len, kv_len)`

    Raises:
        ValueError: If `slopes` has not one axis, or the lengths differ and `q_start` does not say
            how they align.
        TypeError: If `slopes` is no array of real floating numbers, or a length or `q_start` is
            not an integer.

    Complexity: O(heads * q_len * kv_len) time and memory for each batch item.

    Examples:
        >>> import numpy as np
        >>> alibi_bias(np.array([0.5]), 3)
        array([[[ 0. , -0.5, -1. ],
                [-0.5,  0. , -0.5],
                [-1. , -0.5,  0. ]]])
        >>> alibi_bias(np.array([0.5]), 1, 3, q_start=2)
        array([[[-1. , -0.5,  0. ]]])

    References:
        Press et al. 2022 (ALiBi), section 3, figure 3.
    """
    xp = _check("slopes", slopes, q_start)
    require_shape("slopes", slopes, slopes.ndim == 1, "(heads,)")
    _, ahead = relative_positions(q_len, kv_len, q_start, slopes)
    dtype = working_dtype(xp, slopes)
    nearness = xp.astype(-xp.abs(ahead), dtype)
    bias = xp.astype(slopes, dtype)[:, None, None] * nearness[..., None, :, :]
    return xp.astype(bias, slopes.dtype)


def relative_position_bucket(
    relative_position: Integer[Array, "*shape"],
    *,
    bidirectional: bool,
    num_buckets: int,
    max_distance: int,
) -> Integer[Array, "*shape"]:
    r"""Sort distances into T5's buckets: one each when near, ever wider ones when far.

    $$\text{bucket}(r) = \begin{cases} r & r < e \\
    \min\!\left(e + \left\lfloor \frac{\log(r / e)}{\log(\text{max distance} / e)}\,
    (n - e) \right\rfloor,\; n - 1\right) & \text{otherwise} \end{cases}
    \qquad e = \lfloor n / 2 \rfloor$$

    In one direction, as in T5's decoder, $r$ is how far the key lies before the query, every key
    after it counts as 0, and $n$ is `num_buckets`. In both, as in the encoder, $r$ is the
    distance, $n$ is half of `num_buckets`, and keys after the query use the second half. T5 and
    its kin have 32 buckets and a `max_distance` of 128. The buckets are found in whole numbers,
    so no rounding of a logarithm moves an edge.

    Args:
        relative_position: The key's position minus the query's. `(*shape)`
        bidirectional: Whether keys after the query have buckets of their own.
        num_buckets: The number of buckets: at least 2, and in both directions even and at least 4.
        max_distance: The distance from which all share the last bucket, above $e$.

    Returns:
        Each bucket's number, from 0 to `num_buckets - 1`. `(*shape)`

    Raises:
        ValueError: If `num_buckets` or `max_distance` is out of its range.
        TypeError: If `relative_position` is no array of integers, a number not an integer, or
            `bidirectional` not a bool.

    Complexity: O(n log num_buckets) time and O(n) memory for n positions.

    Examples:
        >>> import numpy as np
        >>> behind = np.array([0, -1, -2, -3, -4, -7, -8, -15, -16, -99, 5])
        >>> relative_position_bucket(  # from 4, 8, 16 and 32 on: a bucket each
        ...     behind, bidirectional=False, num_buckets=8, max_distance=64
        ... )
        array([0, 1, 2, 3, 4, 4, 5, 5, 6, 7, 0])

    References:
        Raffel et al. 2020 (T5), section 2.1, and `_relative_position_bucket` in the code released
        with it.
    """
    xp = array_namespace(relative_position=relative_position)
    require_dtype(xp, "integral", relative_position=relative_position)
    edges = _bucket_edges(bidirectional, num_buckets, max_distance)
    device = array_api_compat.device(relative_position)
    wide = xp.arange(0, device=device).dtype  # int64, or in JAX's default int32
    edges_array = xp.asarray(edges, dtype=wide, device=device)
    ahead = xp.reshape(xp.astype(relative_position, wide), (-1,))
    distance = xp.abs(ahead) if bidirectional else xp.clip(-ahead, 0, None)
    bucket = xp.searchsorted(edges_array, distance, side="right")
    if bidirectional:
        bucket = xp.where(ahead > 0, bucket + num_buckets // 2, bucket)
    return xp.reshape(bucket, tuple(relative_position.shape))


def relative_position_bias(
    table: Float[Array, "num_buckets heads"],
    q_len: int,
    kv_len: int | None = None,
    *,
    bidirectional: bool,
    max_distance: int,
    q_start: int | Integer[Array, "*batch"] | None = None,
) -> Float[Array, "*batch heads q_len kv_len"]:
    r"""Look up T5's learned bias of each head for the bucket of each query's and key's distance.

    $$B_{hij} = T_{\text{bucket}(j - q_\text{start} - i),\; h}$$

    T5 does not scale its scores: pass `scale=1.0` to attention beside this bias. One table serves
    all layers of a stack.

    Args:
        table: The learned bias $T$ of each bucket and head, stored as in Hugging Face's
            `relative_attention_bias.weight`. `(num_buckets, heads)`
        q_len: The number of queries.
        kv_len: The number of keys; None is `q_len`.
        bidirectional: Whether keys after the query have buckets of their own: True in T5's
            encoder, False in its decoder.
        max_distance: The distance from which all share the last bucket; 128 in T5.
        q_start: The position of the first query among the keys, or one for each batch item
            `(*batch)`; as in `causal_mask`.

    Returns:
        What to pass as `bias`, in the dtype, library and device of `table`.
        `(*batch, heads, q_len, kv_len)`

    Raises:
        ValueError: If `table` has not two axes, its number of buckets or `max_distance` is out of
            the range of `relative_position_bucket`, or the lengths differ and `q_start` does not
            say how they align.
        TypeError: If `table` is no array of real floating numbers, a number is not an integer, or
            `bidirectional` not a bool.

    Complexity: O(heads * q_len * kv_len) time and memory for each batch item.

    Examples:
        >>> import numpy as np
        >>> table = np.array([[0.0], [0.1], [0.2], [0.3]])  # 0, before, same is unused, after
        >>> relative_position_bias(table, 3, bidirectional=True, max_distance=8)
        array([[[0. , 0.3, 0.3],
                [0.1, 0. , 0.3],
                [0.1, 0.1, 0. ]]])

    References:
        Raffel et al. 2020 (T5), section 2.1. Shaw et al. 2018, section 3.2 (relative positions
        clipped at a distance).
    """
    xp = _check("table", table, q_start)
    require_shape("table", table, table.ndim == 2, "(num_buckets, heads)")
    num_buckets, heads = table.shape
    _, ahead = relative_positions(q_len, kv_len, q_start, table)
    bucket = relative_position_bucket(
        ahead, bidirectional=bidirectional, num_buckets=num_buckets, max_distance=max_distance
    )
    rows = xp.take(table, xp.reshape(bucket, (-1,)), axis=0)
    return xp.moveaxis(xp.reshape(rows, (*bucket.shape, heads)), -1, -3)


def _check(name: str, array: Array, q_start: Any) -> Any:
    starts = q_start if array_api_compat.is_array_api_obj(q_start) else None
    xp = array_namespace(**{name: array}, **given(q_start=starts))
    require_dtype(xp, "real floating", **{name: array})
    return xp


def _bucket_edges(bidirectional: bool, num_buckets: int, max_distance: int) -> list[int]:
    """Return the least distance in each bucket but the first, of one direction."""
    if not isinstance(bidirectional, bool):
        raise TypeError(f"bidirectional must be a bool, got {type(bidirectional).__name__}")
    least = 4 if bidirectional else 2
    num_buckets = as_integer("num_buckets", num_buckets, least=least)
    if bidirectional and num_buckets % 2:
        raise ValueError(f"num_buckets must be even, half for each direction, got {num_buckets}")
    buckets = num_buckets // 2 if bidirectional else num_buckets
    exact = buckets // 2
    wide = buckets - exact
    max_distance = as_integer("max_distance", max_distance)
    if max_distance <= exact:
        raise ValueError(
            f"max_distance must be above {exact}, the number of buckets that hold one distance, "
            f"got {max_distance}"
        )

    def starts_at(step: int) -> int:
        # The least r with wide * log(r / exact) / log(max_distance / exact) >= step, as powers.
        bound = exact ** (wide - step) * max_distance**step
        return bisect_left(range(max_distance), bound, key=lambda distance: distance**wide)

    return [*range(1, exact + 1), *(starts_at(step) for step in range(1, wide))]
