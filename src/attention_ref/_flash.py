"""Exact attention by tiles: the scores of one tile at a time, and never all of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import array_api_compat
from jaxtyping import Bool, Float

from attention_ref._checks import (
    Array,
    array_namespace,
    require_dtype,
    require_shape,
)
from attention_ref._like import sum_to
from attention_ref._scaled_dot_product import attention_stages, isolated_average
from attention_ref._softmax import all_finite
from attention_ref._tiles import Tile, assemble, cuts, prepare_tiles

MapBlocks = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class PartialAttention(NamedTuple):
    """Attention over some or all of the keys, in the form that `merge_partial` can merge.

    Attributes:
        output: The weighted average of the values, in their dtype. `(*batch, q_len, d_v)`
        logsumexp: Logarithm of the softmax's denominator, the sink included, in the dtype that it
            is computed in; -inf where a query may see nothing. `(*batch, q_len)`
    """

    output: Float[Array, "*batch q_len d_v"]
    logsumexp: Float[Array, "*batch q_len"]


class FlashGradients(NamedTuple):
    """What `flash_attention_backward` returns, each in the shape and dtype of its argument.

    Attributes:
        query: `(*batch, q_len, d_k)`
        key: `(*batch, kv_len, d_k)`
        value: `(*batch, kv_len, d_v)`
        sink: `(*batch)` or what broadcasts to it; None without a sink.
    """

    query: Float[Array, "*batch q_len d_k"]
    key: Float[Array, "*batch kv_len d_k"]
    value: Float[Array, "*batch kv_len d_v"]
    sink: Float[Array, "..."] | None


def flash_attention(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    *,
    mask: Bool[Array, "..."] | Tile | None = None,
    bias: Float[Array, "..."] | Tile | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
    q_tile: int = 512,
    kv_tile: int = 512,
    map_blocks: MapBlocks = map,
) -> PartialAttention:
    r"""Compute `scaled_dot_product_attention` exactly, in memory that grows with the length alone.

    Going over the keys tile by tile, each query keeps the largest score so far $m$, the sum of
    powers $\ell$ and the weighted sum of values $a$; a tile with scores $s$ and values $V$ makes

    $$m' = \max(m, \max s), \quad \ell' = e^{m - m'} \ell + \textstyle\sum e^{s - m'}, \quad
    a' = e^{m - m'} a + e^{s - m'} V,$$

    and in the end the output is $a / \ell$. Nothing is approximated; only sums round differently.

    A mask or bias of full size is not linear in memory. So each may be a function that gives one
    tile: called with the slices of the queries and of the keys, it returns an array that
    broadcasts to `(*batch, queries, keys)`, or None for no mask or bias there. A tile of the mask
    that is False all over is skipped.
    `mask_tiles(causal_mask)` is such a function, and so is
    `lambda queries, keys: document_mask(ids[queries], ids[keys])`; they combine as arrays do.
    An array that broadcasts, as `padding_mask` gives it, may be passed as it is.

    A pool uses more than one core: `ThreadPoolExecutor(2).map` as `map_blocks`. As two layers of
    threads get in each other's way, give the library below one thread: OPENBLAS_NUM_THREADS=1 set
    before NumPy is imported, `torch.set_num_threads(1)` in PyTorch.

    A compiled kernel needs the two products as well: they are 74 of 100 parts of the time on NumPy
    and 68 on PyTorch, on one core of an AMD EPYC with AVX-512. What is more here is the rest. A
    kernel takes maximum, power and sum while a score is in a register; here each is a pass over a
    tile in the cache: 15 parts for subtraction and power, 6 for the maximum and 5 for all else on
    NumPy; 22, 2 and 8 on PyTorch, whose power of a float32 takes nearly twice NumPy's time. Where
    a gradient is asked in PyTorch, the powers also take new memory.

    Args:
        query: What each position looks for. `(*batch, q_len, d_k)`
        key: What each position offers to be found by, in the dtype of `query`.
            `(*batch, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_len, d_v)`
        mask: True where a query may attend: an array, or a function that gives a tile.
        bias: Added to the scores after the soft cap, -inf masks: an array, or a function.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach, as in `scaled_dot_product_attention`.
        sink: A logit in the denominator, usually one a head; broadcasts to `(*batch)`. Where the
            keys are split, give it to one part alone.
        q_tile: How many queries a tile has at most.
        kv_tile: How many keys a tile has at most.
        map_blocks: What calls a function for each block of rows: `map`, or that of a pool.

    Returns:
        The output, and the logarithm of each row's denominator.

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong, above all a mask that is not boolean.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time, less the tiles skipped; O(q_tile * kv_tile)
        memory for each block at work, beside the output.

    Examples:
        >>> import numpy as np
        >>> query, key = np.array([[1.0]]), np.log(np.array([[1.0], [3.0]]))
        >>> value = np.array([[0.0, 4.0], [8.0, 4.0]])
        >>> part = flash_attention(query, key, value, kv_tile=1)  # weights 1/4 and 3/4
        >>> part.output.round(3), np.exp(part.logsumexp).round(3)
        (array([[6., 4.]]), array([4.]))

    References:
        Milakov and Gimelshein 2018, algorithm 3. Rabe and Staats 2021, section 2. Dao et al. 2022
        (FlashAttention), algorithm 1; Dao 2023 (FlashAttention-2), section 3.1.
    """
    xp, tiles = prepare_tiles(query, key, value, mask, bias, scale, softcap, sink, q_tile, kv_tile)
    finite_values = _zero_unless_finite(xp, tiles.value)
    infinite = None if finite_values is tiles.value else _infinite(xp, tiles.value)
    ones = tiles.zeros(min(kv_tile, key.shape[-2]), 1) + 1

    def add_tile(
        sums: tuple[Array, ...], item: list[int], rows: slice, columns: slice
    ) -> tuple[Array, ...]:
        """Do one step. Its scores are gone when it returns: the next ones take their memory."""
        tile = tiles.scores(item, rows, columns)
        if tile is None:
            return sums
        (scores, _), (peak, denominator, total, seen) = tile, sums
        higher = xp.maximum(peak, xp.max(scores, axis=-1, keepdims=True))
        shift = _shift(xp, higher)
        faded = xp.exp(peak - shift)
        if infinite is not None:
            visible = xp.astype(scores != -xp.inf, total.dtype)
            seen = seen + visible @ infinite[*item, columns, :]
        powers = _powers(xp, scores, shift)
        # A product with ones sums each row, and on NumPy in a third of the time of `sum`.
        denominator = denominator * faded + powers @ ones[: powers.shape[-1], :]
        total = total * faded + powers @ finite_values[*item, columns, :]
        return higher, denominator, total, seen

    def attend(place: tuple[Any, ...]) -> tuple[Array, Array]:
        *item, rows, _ = place
        total = tiles.zeros(rows.stop - rows.start, value.shape[-1])
        # A sink is what the sums start from; without one they start from nothing.
        peak = tiles.zeros(rows.stop - rows.start, 1) + tiles.sink[*item]
        denominator = xp.exp(peak - _shift(xp, peak))
        sums = peak, denominator, total, xp.concat([total, total], axis=-1)
        for columns in cuts(key.shape[-2], kv_tile):
            sums = add_tile(sums, item, rows, columns)
        peak, denominator, total, seen = sums
        whole = xp.where(denominator == 0, 1.0, denominator)
        output = total / whole if infinite is None else _add_infinite(xp, total / whole, seen)
        logarithm = xp.where(denominator == 0, -xp.inf, _shift(xp, peak) + xp.log(whole))
        return xp.astype(output, value.dtype), logarithm[:, 0]

    places = [
        (*item, rows, ...) for item in tiles.items() for rows in cuts(query.shape[-2], q_tile)
    ]
    forms = [
        ((*query.shape[:-1], value.shape[-1]), value.dtype),
        (query.shape[:-1], tiles.value.dtype),
    ]
    return PartialAttention(*assemble(xp, query, places, map_blocks(attend, places), forms))


def flash_attention_backward(
    gradient: Float[Array, "*batch q_len d_v"],
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*batch kv_len d_k"],
    value: Float[Array, "*batch kv_len d_v"],
    output: Float[Array, "*batch q_len d_v"],
    logsumexp: Float[Array, "*batch q_len"],
    *,
    mask: Bool[Array, "..."] | Tile | None = None,
    bias: Float[Array, "..."] | Tile | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sink: Float[Array, "..."] | None = None,
    q_tile: int = 512,
    kv_tile: int = 512,
    map_blocks: MapBlocks = map,
) -> FlashGradients:
    r"""Take the gradient of a loss through `flash_attention`, computing each tile anew.

    The log-sum-exp $L$ that the forward pass kept gives the weights of a tile back at once. With
    the gradient $G$ of the output $O$, and $\Delta_i = \sum_j G_{ij} O_{ij}$ for each row,

    $$A = e^{S - L}, \quad dV = A^\top G, \quad dS = A \odot (G V^\top - \Delta), \quad
    dQ = \lambda\, dS\, K, \quad dK = \lambda\, dS^\top Q,$$

    where $\lambda$ is the scale. The soft cap multiplies $dS$ by $1 - (s / c)^2$, $s$ being the
    capped score; a sink, whose value is zero, has the gradient $-\sum_i e^{\text{sink} - L_i}
    \Delta_i$.

    Where the keys are split, pass each part with the output and log-sum-exp of the whole: the
    gradients of the query then add up, and those of the keys are whole. The gradient of a bias is
    as large as the scores, and is not computed.

    A row that may see nothing, or whose weights are NaN, adds zero to every gradient. An inf or NaN
    in `gradient` reaches what its query may see and nothing else, as in `attention_backward`.
    PyTorch, differentiating the forward pass itself, hands it to the value of every key, as 0 *
    NaN is NaN.

    Args:
        gradient: The gradient of the loss by the output. `(*batch, q_len, d_v)`
        query: As in `flash_attention`, like all that is not described here.
        key: What each position offers to be found by. `(*batch, kv_len, d_k)`
        value: What each position hands over. `(*batch, kv_len, d_v)`
        output: What `flash_attention` returned. `(*batch, q_len, d_v)`
        logsumexp: What `flash_attention` returned. `(*batch, q_len)`
        mask: As in the forward pass.
        bias: As in the forward pass.
        scale: As in the forward pass.
        softcap: As in the forward pass.
        sink: As in the forward pass.
        q_tile: How many queries a tile has at most.
        kv_tile: How many keys a tile has at most.
        map_blocks: What calls a function for each item of the batch: `map`, or that of a pool.

    Returns:
        The gradients of `query`, `key`, `value` and `sink`.

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time, less the tiles skipped; O(q_tile * kv_tile)
        memory for each item at work, beside the gradients.

    Examples:
        >>> import numpy as np
        >>> query, key = np.array([[1.0]]), np.array([[0.0], [0.0]])  # weights 1/2 and 1/2
        >>> value = np.array([[2.0], [6.0]])
        >>> part = flash_attention(query, key, value)
        >>> gradients = flash_attention_backward(np.array([[1.0]]), query, key, value, *part)
        >>> gradients.value, gradients.key  # half of (2 - 4), half of (6 - 4)
        (array([[0.5],
               [0.5]]), array([[-1.],
               [ 1.]]))

    References:
        Dao et al. 2022 (FlashAttention), algorithm 4. Dao 2023 (FlashAttention-2), algorithm 2.
    """
    xp, tiles = prepare_tiles(query, key, value, mask, bias, scale, softcap, sink, q_tile, kv_tile)
    _check_forward(query, value, gradient=gradient, output=output, logsumexp=logsumexp)
    # What is not finite let no gradient through: the forward pass set it, and did not compute it.
    queries, keys, values = (
        _zero_unless_finite(xp, x) for x in (tiles.query, tiles.key, tiles.value)
    )
    finite = xp.isfinite(output)
    slopes = xp.where(finite, xp.astype(gradient, values.dtype), 0.0)
    deltas = xp.sum(slopes * xp.where(finite, xp.astype(output, values.dtype), 0.0), axis=-1)
    # Where G is not finite, the gradient of each score that its row sees is NaN.
    deltas = xp.where(xp.isfinite(deltas), deltas, xp.nan)
    alive = xp.isfinite(logsumexp)
    logarithms = xp.where(alive, xp.astype(logsumexp, values.dtype), xp.inf)  # weights of zero

    def differentiate(place: tuple[Any, ...]) -> tuple[Array, Array, Array]:
        item = place[:-1]
        q, k, v, g = (x[*item, :, :] for x in (queries, keys, values, slopes))
        row_cuts, d_key, d_value = cuts(q.shape[0], q_tile), [], []
        d_query = [tiles.zeros(rows.stop - rows.start, q.shape[1]) for rows in row_cuts]
        for columns in cuts(k.shape[0], kv_tile):
            d_key.append(tiles.zeros(columns.stop - columns.start, q.shape[1]))
            d_value.append(tiles.zeros(columns.stop - columns.start, v.shape[1]))
            for i, rows in enumerate(row_cuts):
                tile = tiles.scores(item, rows, columns)
                if tile is None:
                    continue
                scores, cap_slope = tile
                scores = xp.where(alive[*item, rows][:, None], scores, -xp.inf)
                visible = scores != -xp.inf
                powers = xp.exp(scores - logarithms[*item, rows][:, None])
                d_value[-1] = d_value[-1] + isolated_average(
                    xp, xp.matrix_transpose(powers), g[rows, :], xp.matrix_transpose(visible)
                )
                d_weights = g[rows, :] @ xp.matrix_transpose(v[columns, :])
                d_scores = powers * (d_weights - deltas[*item, rows][:, None]) * cap_slope
                d_scores = xp.where(visible, d_scores, 0.0)
                d_query[i] = d_query[i] + d_scores @ k[columns, :]
                d_key[-1] = d_key[-1] + xp.matrix_transpose(d_scores) @ q[rows, :]
        return tuple(
            xp.concat(blocks) if blocks else x
            for blocks, x in ((d_query, q), (d_key, k), (d_value, v))
        )

    places = [(*item, ...) for item in tiles.items()]
    forms = [(x.shape, queries.dtype) for x in (query, key, value)]
    d_query, d_key, d_value = assemble(xp, query, places, map_blocks(differentiate, places), forms)
    d_sink = None
    if sink is not None:
        # A row that sees nothing is zero whatever the sink. If NaN reached its gradient, that of
        # its query is zero all the same.
        touched = alive & (xp.isfinite(deltas) | xp.any(xp.isnan(d_query), axis=-1))
        logits = xp.where(touched, tiles.sink[..., None], -xp.inf)
        worth = xp.where(logits == -xp.inf, 0.0, xp.exp(logits - logarithms) * deltas)
        d_sink = sum_to(xp, -xp.sum(worth, axis=-1), sink)
    return FlashGradients(
        xp.astype(d_query * tiles.scale, query.dtype),
        xp.astype(d_key * tiles.scale, key.dtype),
        xp.astype(xp.where(xp.isfinite(value), d_value, 0.0), value.dtype),
        d_sink,
    )


def merge_partial(
    outputs: Sequence[Float[Array, "*batch q_len d_v"]],
    logsumexps: Sequence[Float[Array, "*batch q_len"]],
) -> PartialAttention:
    r"""Merge attentions of the same queries over parts of the keys into attention over all.

    $$L = \log \sum_p e^{L_p}, \qquad O = \sum_p e^{L_p - L}\, O_p$$

    It is attention once more: the parts are the keys, their log-sum-exps the scores, their outputs
    the values. So keys may be split over devices, as in ring attention, or over workers that each
    read a stretch of a long cache, as in flash-decoding. The order and the sizes do not matter,
    and a part in which a query may see nothing counts for nothing.

    Args:
        outputs: One output a part. `(*batch, q_len, d_v)` each
        logsumexps: One log-sum-exp a part. `(*batch, q_len)` each

    Returns:
        The output and log-sum-exp of the whole, to be merged again if need be. To merge a list of
        results write `merge_partial(*zip(*parts))`.

    Raises:
        ValueError: If there is no part, or the parts differ in number or in shape.
        TypeError: If they are not real floating arrays of one library.

    Complexity: O(parts * q_len * d_v) time and memory.

    Examples:
        >>> import numpy as np
        >>> outputs = np.array([[2.0]]), np.array([[6.0]])
        >>> whole = merge_partial(outputs, (np.log(np.array([1.0])), np.log(np.array([3.0]))))
        >>> whole.output.round(3), np.exp(whole.logsumexp).round(3)  # weights 1/4 and 3/4
        (array([[5.]]), array([4.]))

    References:
        Rabe and Staats 2021, section 2. Liu, Zaharia and Abbeel 2023 (ring attention), section 3.
        Dao et al. 2023, "Flash-Decoding for long-context inference".
    """
    if not outputs or len(outputs) != len(logsumexps):
        raise ValueError(
            "logsumexps must be as many as outputs, at least one, "
            f"got {len(logsumexps)} and {len(outputs)}"
        )
    first = outputs[0]
    for i, (output, logarithm) in enumerate(zip(outputs, logsumexps, strict=True)):
        names = {"outputs[0]": first, f"outputs[{i}]": output, f"logsumexps[{i}]": logarithm}
        xp = array_namespace(**names)
        require_dtype(xp, "real floating", **names)
        require_shape("outputs[0]", first, first.ndim >= 2, "(..., q_len, d_v)")
        shape = tuple(first.shape)
        require_shape(f"outputs[{i}]", output, tuple(output.shape) == shape, f"{shape}")
        fits = tuple(logarithm.shape) == shape[:-1]
        require_shape(f"logsumexps[{i}]", logarithm, fits, f"{shape[:-1]}")
    scores = xp.stack(list(logsumexps), axis=-1)[..., None, :]
    alike = xp.zeros_like(scores)
    merged = attention_stages(
        alike[..., :1], xp.matrix_transpose(alike), xp.stack(list(outputs), axis=-2), bias=scores
    )
    return PartialAttention(merged.output[..., 0, :], merged.logsumexp[..., 0])


def _check_forward(query: Array, value: Array, **arrays: Array) -> None:
    array_namespace(query=query, **arrays)
    shape = (*query.shape[:-1], value.shape[-1])
    for name, array in arrays.items():
        require_dtype(array_namespace(x=array), "real floating", **{name: array})
        expected = shape[:-1] if name == "logsumexp" else shape
        require_shape(name, array, tuple(array.shape) == expected, f"{expected}")


def _powers(xp: Any, scores: Array, shift: Array) -> Array:
    """Raise e to the scores less the shift: in the scores' own memory where the library can."""
    if array_api_compat.is_numpy_namespace(xp):  # a tenth less time in all
        return xp.exp(xp.subtract(scores, shift, out=scores), out=scores)
    if array_api_compat.is_torch_namespace(xp) and not scores.requires_grad:
        return scores.sub_(shift).exp_()
    return xp.exp(scores - shift)


def _shift(xp: Any, peak: Array) -> Array:
    """Return what to subtract: 0 from scores of -inf, as -inf - -inf is NaN; NaN for inf."""
    return xp.where(peak == -xp.inf, 0.0, xp.where(peak == xp.inf, xp.nan, peak))


def _zero_unless_finite(xp: Any, x: Array) -> Array:
    return x if all_finite(xp, x) else xp.where(xp.isfinite(x), x, 0.0)


def _infinite(xp: Any, value: Array) -> Array:
    """Mark, side by side, which values pull up to inf and which down to -inf; NaN does both."""
    nan = xp.isnan(value)
    signs = xp.concat([nan | (value == xp.inf), nan | (value == -xp.inf)], axis=-1)
    return xp.astype(signs, value.dtype)


def _add_infinite(xp: Any, output: Array, seen: Array) -> Array:
    """Give the infinities and NaN to the rows that see them, however little they weigh there."""
    up, down = seen[:, : output.shape[1]] > 0, seen[:, output.shape[1] :] > 0
    infinite = xp.where(up, xp.inf, xp.where(down, -xp.inf, output))
    return xp.where((up & down) | xp.isnan(output), xp.nan, infinite)
