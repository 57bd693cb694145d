"""Make what fits an array that is given: its library, its device, its dtype, its shape."""

from typing import Any

import array_api_compat
import numpy as np

from attention_ref._checks import Array, array_namespace, require_dtype, working_dtype


def floats_like(numbers: list[float], like: Array | None) -> Array:
    """Return the numbers in the library, device and working dtype of `like`; None is NumPy."""
    if like is None:
        return np.asarray(numbers)
    xp = array_namespace(like=like)
    require_dtype(xp, "real floating", like=like)
    return xp.asarray(numbers, dtype=working_dtype(xp, like), device=array_api_compat.device(like))


def sum_to(xp: Any, x: Array, like: Array) -> Array:
    """Sum over the axes that an array was stretched along: the gradient of broadcasting it."""
    shape = (1,) * (x.ndim - like.ndim) + tuple(like.shape)
    axes = tuple(axis for axis, length in enumerate(shape) if length == 1)
    return xp.astype(xp.reshape(xp.sum(x, axis=axes), like.shape), like.dtype)
