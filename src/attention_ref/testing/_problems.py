"""What a function is asked: one small attention, drawn from a case and a seed, in NumPy."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

FEATURES = (
    "mask",
    "bias",
    "causal",
    "cached",
    "window",
    "grouped",
    "scale",
    "softcap",
    "sink",
    "d_v",
    "dead_rows",
    "isolation",
    "float64",
    "half",
    "gradient",
)


@dataclass(frozen=True)
class Case:
    """One attention to ask for, in words and sizes; the sizes are different primes.

    Attributes:
        name: What it tries; unique among the cases of a run.
        needs: The features that a function must have for it.
        mask: `shared` by all, one an `item`, one a `head`, `full`, `padding`, `cached` (causal,
            the last query last), `dead` (with queries that may see nothing), or None.
        bias: `head` (one a head, shared by the batch), `full`, `infinite` (some of it -inf).
        size: What the queries and keys are multiplied by.
        special: `far` (all scores far below zero), `long` (a long sum of equal terms), `key` or
            `value` (NaN and inf in masked places), or None.
        mode: `train` or `eval`, for a function that knows the difference.
    """

    name: str
    needs: frozenset[str] = frozenset()
    batch: int = 2
    heads: int = 3
    kv_heads: int = 3
    q_len: int = 7
    kv_len: int = 7
    d_k: int = 5
    d_v: int = 5
    mask: str | None = None
    bias: str | None = None
    causal: bool = False
    window: tuple[int | None, int | None] | None = None
    scale: float | None = None
    softcap: float | None = None
    sink: bool = False
    size: float = 1.0
    special: str | None = None
    gradient: bool = False
    dtype: str = "float32"
    mode: str = "eval"
    seed: int = 0


@dataclass(frozen=True)
class Problem:
    """The arrays of a case, in float64, on a grid that every dtype holds exactly."""

    case: Case
    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    mask: np.ndarray | None = None
    bias: np.ndarray | None = None
    sink: np.ndarray | None = None
    causal: bool = False  # whether the function is told so, by a word and not by a mask
    start: int | None = None  # the position of the first query
    window: tuple[int | None, int | None] | None = None
    cotangent: np.ndarray = field(default_factory=lambda: np.ones(()))
    dead: str = "zero"  # what a query that may see nothing gets: zero, mean or nan
    layout: str = "heads"  # which of `heads` and `length` comes first in the arguments
    dtype: str = "float64"  # what the formula rounds to after each step
    order: int = 0  # which order its sums are taken in

    @property
    def scale(self) -> float:
        """The factor of the scores."""
        given = self.case.scale
        return float(1 / np.sqrt(self.query.shape[-1])) if given is None else given

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The axes `(batch, heads, q_len, kv_len)` of the scores."""
        batch, heads, q_len, _ = self.query.shape
        return batch, heads, q_len, self.key.shape[-2]

    def ahead(self) -> np.ndarray:
        """Tell how far each key lies ahead of each query."""
        _, _, q_len, kv_len = self.shape
        start = kv_len - q_len if self.start is None else self.start
        return np.arange(kv_len) - np.arange(q_len)[:, None] - start

    def placed(self) -> np.ndarray:
        """Tell which keys the positions allow: the causal corner and the window."""
        ahead, allowed = self.ahead(), np.ones(self.shape[-2:], dtype=bool)
        if self.causal:
            allowed = allowed & (ahead <= 0)
        if self.window is not None:
            left, right = self.window
            allowed = allowed & (True if left is None else ahead >= -left)
            allowed = allowed & (True if right is None else ahead <= right)
        return allowed

    def allowed(self) -> np.ndarray:
        """Tell which keys each query may see, by all that hides."""
        allowed = np.broadcast_to(self.placed(), self.shape)
        allowed = allowed if self.mask is None else allowed & self.mask
        return allowed if self.bias is None else allowed & (self.bias != -np.inf)

    def folded(self) -> "Problem":
        """Put the causal corner and the window into the mask."""
        if not self.causal and self.window is None:
            return self
        mask = self.placed() if self.mask is None else self.mask & self.placed()
        return replace(self, mask=mask, causal=False, window=None)

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Round to the dtype and come back."""
        return round_to(x, self.dtype)

    def exp(self, x: np.ndarray) -> np.ndarray:
        """Take powers of e as libraries do in float32: off by up to twice its epsilon."""
        return self.inexact(np.exp(x), 2)

    def inexact(self, x: np.ndarray, epsilons: float) -> np.ndarray:
        """Round what a library's function gives, off by up to so many times float32's epsilon.

        The error is drawn, and not that of NumPy's own, so that it is the same on every machine.
        """
        if self.dtype == "float64":
            return x
        most = epsilons * epsilon("float32")
        factor = np.random.default_rng(self.order).uniform(1 - most, 1 + most, x.shape)
        return self.rounded(x * factor)

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Multiply matrices as the plain formula does: one term after the other, in float32.

        Sums of more than a hundred terms are left to NumPy, which is many times faster.
        """
        if self.dtype == "float64":
            return np.asarray(a @ b)
        count = a.shape[-1]
        if count > 100:
            return self.rounded((a.astype(np.float32) @ b.astype(np.float32)).astype(np.float64))
        total = np.zeros((), np.float32)
        for index in np.random.default_rng(self.order).permutation(count):
            term = a[..., :, index, None] * b[..., index, None, :]
            total = total + term.astype(np.float32)
        return self.rounded(total.astype(np.float64))

    def total(self, x: np.ndarray) -> np.ndarray:
        """Sum the rows in the same way; the sums keep their axis."""
        return self.product(x, np.ones((x.shape[-1], 1)))


def round_to(x: np.ndarray, dtype: str) -> np.ndarray:
    """Return the nearest numbers that the dtype has, in float64."""
    with np.errstate(over="ignore"):
        if dtype != "bfloat16":
            return x.astype(dtype).astype(np.float64)
        bits = x.astype(np.float32).view(np.uint32)
        up = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        whole = np.where(np.isfinite(x), up, bits).astype(np.uint32)
        return whole.view(np.float32).astype(np.float64)


def epsilon(dtype: str) -> float:
    """Return the distance from 1 to the next number of the dtype."""
    return 2.0**-7 if dtype == "bfloat16" else float(np.finfo(dtype).eps)


def draw(case: Case, *, alignment: str | None, dead: str, layout: str) -> Problem:
    """Draw the arrays of a case for a convention with this causal corner and these dead rows."""
    rng = np.random.default_rng(case.seed)
    query = _grid(rng, case.batch, case.heads, case.q_len, case.d_k) * case.size
    key = _grid(rng, case.batch, case.kv_heads, case.kv_len, case.d_k) * case.size
    value = _grid(rng, case.batch, case.kv_heads, case.kv_len, case.d_v)
    cotangent = _grid(rng, case.batch, case.heads, case.q_len, case.d_v)
    if case.special == "far":
        query, key = np.abs(query) + case.size, -np.abs(key) - case.size
    if case.special == "long":
        key, value = 0 * np.abs(key), 0 * value + 1
    mask = _draw_mask(case, rng)
    sink = _grid(rng, case.heads) if case.sink else None
    start = None
    if case.causal:
        start = 0 if alignment == "top-left" else case.kv_len - case.q_len
    if case.special in ("key", "value"):
        poisoned = key if case.special == "key" else value
        poisoned[:, :, -1, 0] = np.nan
        poisoned[-1, :, -1, -1] = np.inf
    bias = _draw_bias(case, rng)
    return Problem(
        case,
        query,
        key,
        value,
        mask,
        bias,
        sink,
        case.causal,
        start,
        case.window,
        cotangent,
        dead,
        layout,
    )


def _grid(rng: Any, *shape: int) -> np.ndarray:
    """Draw normal numbers, to the quarter: short to print, and exact in every dtype."""
    drawn: np.ndarray = np.round(rng.normal(size=shape) * 4) / 4
    return drawn + 0.0


def _draw_mask(case: Case, rng: Any) -> np.ndarray | None:
    q_len, kv_len = case.q_len, case.kv_len
    if case.mask is None:
        return None
    if case.mask == "cached":
        return np.tri(q_len, kv_len, kv_len - q_len, dtype=bool)
    if case.mask == "padding":
        lengths = np.maximum(kv_len - 1 - np.arange(case.batch) * 2 % max(kv_len - 1, 1), 1)
        return (np.arange(kv_len) < lengths[:, None])[:, None, None]
    shapes = {
        "shared": (q_len, kv_len),
        "item": (case.batch, 1, q_len, kv_len),
        "head": (1, case.heads, q_len, kv_len),
        "full": (case.batch, case.heads, q_len, kv_len),
        "dead": (case.batch, 1, q_len, kv_len),
    }
    mask: np.ndarray = rng.random(shapes[case.mask]) < 0.5
    if case.special in ("key", "value"):
        mask[..., -1] = False
    # Each query sees a key, through a window too: the one at its own place, but for the last.
    seen = np.minimum(np.arange(q_len), max(kv_len - 2, 0))
    if case.special == "far":
        mask[:] = False
    mask[..., np.arange(q_len), seen] = True
    if case.mask == "dead":
        mask[0, :, q_len // 2] = False
        mask[-1, :, 0] = False
    return mask


def _draw_bias(case: Case, rng: Any) -> np.ndarray | None:
    if case.bias is None:
        return None
    batch = case.batch if case.bias == "full" else 1
    bias = _grid(rng, batch, case.heads, case.q_len, case.kv_len) * 2
    if case.bias == "infinite":
        hidden = rng.random(bias.shape) < 0.4
        hidden[..., np.arange(case.q_len), np.arange(case.q_len) % case.kv_len] = False
        bias = np.where(hidden, -np.inf, bias)
    return bias
