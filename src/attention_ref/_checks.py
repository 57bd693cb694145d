"""What functions ask of their inputs, in one line: the argument, the rule and what came."""

import math
import numbers
from typing import Any

import array_api_compat

Array = Any  # an array of any library that follows the Python array API standard


def given(**arrays: Array | None) -> dict[str, Array]:
    """Return the optional arguments that are not left at None."""
    return {name: array for name, array in arrays.items() if array is not None}


def array_namespace(**arrays: Array) -> Any:
    """Return the library that all of the arrays belong to."""
    for name, array in arrays.items():
        if not array_api_compat.is_array_api_obj(array):
            came = type(array).__name__
            raise TypeError(f"{name} must be an array (NumPy, PyTorch, ...), got {came}")
        # 2 is a dtype that a package has added, such as bfloat16, whose kind NumPy cannot tell.
        if array_api_compat.is_numpy_array(array) and array.dtype.isbuiltin == 2:
            raise TypeError(f"{name} must have one of NumPy's own dtypes, got {dtype_name(array)}")
    (first_name, first), *others = arrays.items()
    for name, array in others:
        if _library(array) != _library(first):
            raise TypeError(
                f"{name} must be an array of the library of {first_name} ({_library(first)}), "
                f"got {_library(array)}"
            )
    return array_api_compat.array_namespace(first)


def _library(array: Array) -> str:
    name: str = array_api_compat.array_namespace(array).__name__
    return name.removeprefix("array_api_compat.").partition(".")[0]


def dtype_name(array: Array) -> str:
    """Spell a dtype the same way in every library: `float32`, never `torch.float32`."""
    return str(array.dtype).rpartition(".")[-1]


def working_dtype(xp: Any, *arrays: Array | None) -> Any:
    """Return the dtype to compute in: the widest of the arrays', and at least float32."""
    dtype = xp.float32
    for array in arrays:
        if array is not None:
            dtype = xp.result_type(dtype, array.dtype)
    return dtype


def require_dtype(xp: Any, kind: str, **arrays: Array) -> None:
    """Raise a TypeError unless every array's dtype is of the kind, such as `real floating`."""
    article = "an" if kind == "integral" else "a"
    for name, array in arrays.items():
        if not xp.isdtype(array.dtype, kind):
            raise TypeError(f"{name} must have {article} {kind} dtype, got {dtype_name(array)}")


def require_dtype_of(first_name: str, first: Array, **arrays: Array) -> None:
    """Raise a TypeError unless every array has the dtype of the first: none is promoted unseen."""
    for name, array in arrays.items():
        if array.dtype != first.dtype:
            raise TypeError(
                f"{name} must have the dtype of {first_name} ({dtype_name(first)}), "
                f"got {dtype_name(array)}"
            )


def require_mask(xp: Any, mask: Array) -> None:
    """Raise a TypeError for a mask that is not boolean."""
    if not xp.isdtype(mask.dtype, "bool"):
        raise TypeError(
            f"mask must be boolean, True where a query may attend, got {dtype_name(mask)}: "
            "numbers would be added to the scores, where 0 and 1 hide nothing "
            "(0 and -inf do: pass them as bias)"
        )


def require_shape(name: str, array: Array, holds: bool, rule: str) -> None:
    """Raise a ValueError with the rule and the actual shape unless the rule holds."""
    if not holds:
        raise ValueError(f"{name} must have shape {rule}, got {tuple(array.shape)}")


def listed(batch: list[int]) -> str:
    """Spell the batch axes of a shape that goes on after them."""
    return "".join(f"{length}, " for length in batch)


def require_broadcast(name: str, array: Array, shape: tuple[int, ...], rule: str) -> None:
    """Raise a ValueError unless the array can be stretched to the shape, as NumPy stretches."""
    lengths = tuple(array.shape)
    fits = len(lengths) <= len(shape) and all(
        length in (1, full) for length, full in zip(lengths[::-1], shape[::-1], strict=False)
    )
    require_shape(name, array, fits, f"that broadcasts to {rule}")


def as_number(name: str, number: Any, *, positive: bool = False) -> float:
    """Return the argument as a float, which promotes no array; raise unless it is in range."""
    rule = "a finite number above zero" if positive else "a finite number"
    if not isinstance(number, numbers.Real) or isinstance(number, bool):
        raise TypeError(f"{name} must be {rule}, got {type(number).__name__}")
    if not math.isfinite(number) or (positive and number <= 0):
        raise ValueError(f"{name} must be {rule}, got {number}")
    return float(number)


def as_integer(name: str, number: Any, *, least: int | None = None, note: str = "") -> int:
    """Return the argument as an int; raise unless it is an integer and not below the least."""
    if not isinstance(number, numbers.Integral) or isinstance(number, bool):
        raise TypeError(f"{name} must be an integer{note}, got {type(number).__name__}")
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}{note}, got {number}")
    return int(number)


def as_axis(axis: Any, name: str, array: Array) -> int:
    """Return the axis as an int; raise unless it is one of the array's, counted from either end."""
    index = as_integer("axis", axis)
    if not -array.ndim <= index < array.ndim:
        shape = tuple(array.shape)
        raise ValueError(f"axis must be one of {name}, which has shape {shape}, got {index}")
    return index


def check_query_and_key(query: Array, key: Array) -> Any:
    """Check what every attention asks of the two, and return their library."""
    xp = array_namespace(query=query, key=key)
    require_dtype(xp, "real floating", query=query, key=key)
    require_dtype_of("query", query, key=key)
    fits = query.ndim >= 2 and query.shape[-1] > 0
    require_shape("query", query, fits, "(..., q_len, d_k) with d_k of at least 1")
    *batch, _, d_k = query.shape
    fits = key.ndim >= 2 and key.shape[-1] == d_k
    require_shape("key", key, fits, f"(..., kv_len, d_k={d_k})")
    fits = list(key.shape[:-2]) == batch
    require_shape("key", key, fits, f"({listed(batch)}kv_len, d_k={d_k})")
    return xp


def check_value(xp: Any, key: Array, value: Array) -> None:
    """Check what every attention asks of the values."""
    array_namespace(key=key, value=value)
    require_dtype(xp, "real floating", value=value)
    *batch, kv_len, _ = key.shape
    fits = value.ndim == key.ndim and list(value.shape[:-1]) == [*batch, kv_len]
    require_shape("value", value, fits, f"({listed(batch)}kv_len={kv_len}, d_v)")


def check_score_terms(
    query: Array, key: Array, *, mask: Array | None, bias: Array | None, sink: Array | None
) -> None:
    """Check the arrays that act on the scores: they broadcast, the scores do not."""
    xp = array_namespace(query=query, **given(mask=mask, bias=bias, sink=sink))
    batch = tuple(query.shape[:-2])
    shape = (*batch, query.shape[-2], key.shape[-2])
    if mask is not None:
        require_mask(xp, mask)
        require_broadcast("mask", mask, shape, f"(*batch, q_len, kv_len) = {shape}")
    if bias is not None:
        if xp.isdtype(bias.dtype, "bool"):
            raise TypeError("bias must have a real floating dtype, got bool: pass it as mask")
        require_dtype(xp, "real floating", bias=bias)
        require_broadcast("bias", bias, shape, f"(*batch, q_len, kv_len) = {shape}")
    if sink is not None:
        require_dtype(xp, "real floating", sink=sink)
        require_broadcast("sink", sink, batch, f"(*batch) = {batch}")
