"""Numbers as an array beside another: in its library, on its device, in the dtype to compute in."""

from typing import Any

import array_api_compat
import array_api_compat.numpy

from attention_ref._checks import Array, array_namespace, require_dtype, working_dtype


def floats_like(numbers: list[float], like: Array | None) -> Array:
    """Return the numbers in the library, device and working dtype of `like`; None is NumPy."""
    if like is None:
        numpy: Any = array_api_compat.numpy
        return numpy.asarray(numbers, dtype=numpy.float64)
    xp = array_namespace(like=like)
    require_dtype(xp, "real floating", like=like)
    return xp.asarray(numbers, dtype=working_dtype(xp, like), device=array_api_compat.device(like))
