"""Cut the scores, masks and biases of attention into tiles, none of which is kept."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat
from jaxtyping import Bool, Integer

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    as_number,
    check_query_and_key,
    check_score_terms,
    check_value,
    require_broadcast,
    require_dtype,
    require_mask,
    working_dtype,
)
from attention_ref._masks import prefix_mask, streaming_mask
from attention_ref._softmax import all_finite

Tile = Callable[[slice, slice], Any]  # an array, from the positions of queries and of keys


def mask_tiles(
    mask: Callable[..., Bool[Array, "*batch q_len kv_len"]],
    *,
    q_start: int | Integer[Array, "*batch"] = 0,
    **options: Any,
) -> Tile:
    r"""Turn a mask that depends on distance alone into a function that gives its tiles.

    It calls `causal_mask` or `sliding_window_mask` with the tile's size, and with the `q_start`
    that puts it in its place. The entries of such a tile depend on $j - i$ alone, so one row of
    q_len + kv_len - 1 keys holds all there are, and tells at little cost whether the tile is True
    or False all over.

    Args:
        mask: The mask, called as `mask(q_len, kv_len, q_start=..., **options)`.
        q_start: The position of the first query among the keys; an array where it differs in the
            batch, `(batch, 1)` if there are heads.
        options: What else the mask takes: `left`, `right`, `like`.

    Returns:
        A function from the slices of queries and keys to a boolean array that broadcasts to the
        tile, `(1, 1)` where all entries are the same. It combines with others as arrays do:
        `lambda queries, keys: causal(queries, keys) & window(queries, keys)`.

    Raises:
        ValueError: If `mask` is `prefix_mask` or `streaming_mask`, which look at the position of a
            key; by the function that it returns, as `mask` does for these arguments.
        TypeError: By the function that it returns, as `mask` does for these arguments.

    Complexity: O(q_tile + kv_tile) for a tile all True or all False, O(q_tile * kv_tile) otherwise.

    Examples:
        >>> from attention_ref import causal_mask
        >>> tile = mask_tiles(causal_mask)
        >>> tile(slice(4, 6), slice(3, 6)).astype(int)
        array([[1, 1, 0],
               [1, 1, 1]])
        >>> tile(slice(4, 6), slice(0, 3))
        array([[ True]])

    References:
        Dao 2023 (FlashAttention-2), section 3.1.1 (causal blocks).
    """
    if mask in (prefix_mask, streaming_mask):
        raise ValueError(
            "mask must depend on the distance of query and key alone, as causal_mask and "
            f"sliding_window_mask do, got {mask.__name__}"
        )

    def tile(queries: slice, keys: slice) -> Array:
        q_len, kv_len = queries.stop - queries.start, keys.stop - keys.start
        first = q_start + (queries.start - keys.start)
        strip = mask(1, q_len + kv_len - 1, q_start=first + (q_len - 1), **options)
        xp = array_namespace(mask=strip)
        if xp.all(strip) or not xp.any(strip):
            return strip[..., :1]
        return mask(q_len, kv_len, q_start=first, **options)

    return tile


@dataclass(frozen=True)
class Tiles:
    """The arguments that every tile is made from."""

    xp: Any
    query: Array
    key: Array
    value: Array
    mask: Array | Tile | None
    bias: Array | Tile | None
    scale: float
    softcap: float | None
    sink: Array

    def items(self) -> Iterable[tuple[int, ...]]:
        return itertools.product(*(range(length) for length in self.query.shape[:-2]))

    def zeros(self, *shape: int) -> Array:
        device = array_api_compat.device(self.query)
        return self.xp.zeros(shape, dtype=self.value.dtype, device=device)

    def scores(self, item: Sequence[int], rows: slice, columns: slice) -> Any:
        """Return a tile's scores and the soft cap's slopes; None where all of it is masked."""
        xp = self.xp
        mask = self._cut("mask", self.mask, item, rows, columns)
        if mask is not None and not xp.any(mask):
            return None
        query = self.query[*item, rows, :] * self.scale
        scores = query @ xp.matrix_transpose(self.key[*item, columns, :])
        slope: Any = 1.0
        if self.softcap is not None:
            bounded = xp.tanh(scores / self.softcap)
            scores, slope = self.softcap * bounded, 1 - bounded**2
        bias = self._cut("bias", self.bias, item, rows, columns)
        if bias is not None:
            bias = xp.astype(bias, scores.dtype)
            scores = xp.where(bias == -xp.inf, -xp.inf, scores + bias)
        if mask is not None and not xp.all(mask):
            scores = xp.where(mask, scores, -xp.inf)
        return scores, slope

    def _cut(
        self, name: str, term: Array | Tile | None, item: Sequence[int], rows: slice, columns: slice
    ) -> Array | None:
        if term is None:
            return None
        batch = tuple(self.query.shape[:-2])
        shape = (*batch, rows.stop - rows.start, columns.stop - columns.start)
        if callable(term):
            tile = term(rows, columns)
            if tile is None:
                return None
            xp = array_namespace(query=self.query, **{name: tile})
            if name == "mask":
                require_mask(xp, tile)
            else:
                require_dtype(xp, "real floating", bias=tile)
            require_broadcast(name, tile, shape, f"its tile, {shape}")
        else:
            array: Array = self.xp.reshape(term, _two_axes_at_least(term))
            tile = array[
                ...,
                slice(None) if array.shape[-2] == 1 else rows,
                slice(None) if array.shape[-1] == 1 else columns,
            ]
        tile = self.xp.broadcast_to(tile, (*batch, *_two_axes_at_least(tile)[-2:]))
        return tile[*item, :, :]


def prepare_tiles(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | Tile | None,
    bias: Array | Tile | None,
    scale: float | None,
    softcap: float | None,
    sink: Array | None,
    q_tile: int,
    kv_tile: int,
) -> tuple[Any, Tiles]:
    xp = check_query_and_key(query, key)
    check_value(xp, key, value)
    arrays = {name: None if callable(x) else x for name, x in {"mask": mask, "bias": bias}.items()}
    check_score_terms(query, key, **arrays, sink=sink)
    as_integer("q_tile", q_tile, least=1)
    as_integer("kv_tile", kv_tile, least=1)
    dtype = working_dtype(xp, query, value, arrays["bias"], sink)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else as_number("scale", scale)
    softcap = None if softcap is None else as_number("softcap", softcap, positive=True)
    query, key, value = (xp.astype(x, dtype, copy=False) for x in (query, key, value))
    query, key = _nan_unless_finite(xp, query), _nan_unless_finite(xp, key)
    batch, device = tuple(query.shape[:-2]), array_api_compat.device(query)
    start = xp.full((), -xp.inf, dtype=dtype, device=device) if sink is None else sink
    start = xp.broadcast_to(xp.astype(start, dtype), batch)
    return xp, Tiles(xp, query, key, value, mask, bias, scale, softcap, start)


def cuts(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def assemble(
    xp: Any,
    like: Array,
    places: list[tuple[Any, ...]],
    results: Iterable[tuple[Array, ...]],
    forms: list[tuple[Any, Any]],
) -> list[Array]:
    """Put the blocks in their places: in place, not to hold them twice, where the library can."""
    device = array_api_compat.device(like)
    wholes = [xp.zeros(tuple(shape), dtype=dtype, device=device) for shape, dtype in forms]
    if not places:
        return wholes
    if not array_api_compat.is_writeable_array(wholes[0]):
        columns = zip(*results, strict=True)
        return [
            xp.reshape(xp.concat(list(blocks)), whole.shape)
            for blocks, whole in zip(columns, wholes, strict=True)
        ]
    for place, blocks in zip(places, results, strict=True):
        for whole, block in zip(wholes, blocks, strict=True):
            whole[place] = block
    return wholes


def _two_axes_at_least(array: Array) -> tuple[int, ...]:
    return (*(1,) * (2 - array.ndim), *array.shape)


def _nan_unless_finite(xp: Any, x: Array) -> Array:
    """Give NaN to the whole of a query or key that is not finite: so all of its scores are."""
    if all_finite(xp, x):
        return x
    return xp.where(xp.all(xp.isfinite(x), axis=-1, keepdims=True), x, xp.nan)
