"""The array libraries that functions are called with: arrays in, arrays out, gradients."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np


@dataclass(frozen=True)
class Library:
    """How to make an array of a library, and how to write it down."""

    name: str
    module: str
    alias: str
    constructor: str
    dtypes: frozenset[str]

    def array(self, x: np.ndarray, dtype: str, device: Any = None) -> Any:
        """Return the array in the library, of this dtype and on this device."""
        xp = importlib.import_module(self.module)
        made = getattr(xp, self.constructor)(x, dtype=getattr(xp, self._spelled(dtype)))
        return made if device is None else array_api_compat.to_device(made, device)

    def _spelled(self, dtype: str) -> str:
        return "bool_" if dtype == "bool" and self.name in ("numpy", "mlx") else dtype

    @property
    def import_line(self) -> str:
        """Return the line that imports the library."""
        same = self.module == self.alias
        return f"import {self.module}" if same else f"import {self.module} as {self.alias}"

    def write(self, x: np.ndarray, dtype: str, device: Any = None) -> str:
        """Return the expression that makes the array."""
        place = "" if device is None else f", device={str(device)!r}"
        ends = f", dtype={self.alias}.{self._spelled(dtype)}{place})"
        if x.size > 12 and (x == x.flat[0]).all():
            return f"{self.alias}.full({x.shape}, {x.flat[0].item()}{ends}"
        return f"{self.alias}.{self.constructor}({x.tolist()}{ends}"

    def gradients(
        self, call: Callable[..., Any], inputs: list[Any], cotangent: Callable[[Any], Any]
    ) -> list[Any]:
        """Return the gradients of the inputs; None is one that nothing reaches."""
        if self.name == "torch":
            torch: Any = importlib.import_module("torch")
            leaves = [x.detach().clone().requires_grad_() for x in inputs]
            out = call(*leaves)
            if not out.requires_grad:
                return [None] * len(leaves)
            return list(torch.autograd.grad(out, leaves, cotangent(out), allow_unused=True))
        jax: Any = importlib.import_module("jax")
        out, pull = jax.vjp(call, *inputs)
        return list(pull(cotangent(out)))


_HALF = frozenset({"float16"})
_FULL = frozenset({"float32", "float64"})
LIBRARIES = {
    "numpy": Library("numpy", "numpy", "np", "array", _HALF | _FULL),
    "torch": Library("torch", "torch", "torch", "tensor", _HALF | _FULL | {"bfloat16"}),
    "mlx": Library("mlx", "mlx.core", "mx", "array", _HALF | {"float32", "bfloat16"}),
    "jax": Library("jax", "jax.numpy", "jnp", "array", _HALF | _FULL | {"bfloat16"}),
}


def to_numpy(x: Any) -> np.ndarray:
    """Return any library's array as float64 of NumPy."""
    if hasattr(x, "detach"):
        x = x.detach().cpu().double()
    elif str(x.dtype) == "mlx.core.bfloat16":  # which NumPy cannot read
        x = x.astype(importlib.import_module("mlx.core").float32)
    return np.asarray(x).astype(np.float64)


def dtype_of(x: Any) -> str:
    """Spell a dtype the same way in every library."""
    return str(getattr(x.dtype, "name", x.dtype)).rpartition(".")[-1]
