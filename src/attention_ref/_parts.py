"""Attend for a part of the batch and of the queries at a time, so that few scores are in memory."""

import math
from collections.abc import Callable
from typing import Any

from attention_ref._checks import Array

# The scores of a part: they fit in a processor's cache more often than not. But a product of few
# rows is slow, so a part has this many queries, if there are, whatever the number of keys.
_SCORES, _ROWS = 2**16, 128


def in_parts(
    xp: Any,
    attend: Callable[..., Array],
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    bias: Array | None,
    sink: Array | None,
) -> Array:
    """Halve the batch, then the queries, until the scores are few; attend, and join the outputs.

    No query needs another's row, nor one item of the batch another.
    """
    shape = tuple(query.shape)
    axes = [axis for axis in range(-len(shape), -2) if shape[axis] > 1]
    if shape[-2] >= 2 * _ROWS:
        axes.append(-2)
    if not axes or math.prod(shape[:-1]) * key.shape[-2] <= _SCORES:
        return attend(query, key, value, mask, bias, sink)
    axis, outputs = axes[0], []
    middle = shape[axis] // 2
    for part in (slice(0, middle), slice(middle, None)):
        keys, values = (key, value) if axis == -2 else (_cut(x, axis, part) for x in (key, value))
        terms = _cut(mask, axis, part), _cut(bias, axis, part), _cut(sink, axis + 2, part)
        outputs.append(in_parts(xp, attend, _cut(query, axis, part), keys, values, *terms))
    return xp.concat(outputs, axis=axis)


def _cut(array: Array | None, axis: int, part: slice) -> Array | None:
    """Return a part along an axis counted from the end; all, if the array has one for all there."""
    if array is None or not -array.ndim <= axis < 0 or array.shape[axis] == 1:
        return array
    return array[..., part, *[slice(None)] * (-1 - axis)]
