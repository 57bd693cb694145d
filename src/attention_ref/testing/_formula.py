"""Attention step by step in NumPy, each step rounded to a dtype, any step to be changed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from attention_ref._checks import Array
from attention_ref.testing._problems import Problem

Step = Callable[..., Any]


def inputs(p: Problem) -> tuple[Array, Array, Array]:
    """Give each query head its key and value head, neighbours sharing one."""
    groups = p.query.shape[1] // p.key.shape[1]
    return p.query, np.repeat(p.key, groups, axis=1), np.repeat(p.value, groups, axis=1)


def scores(p: Problem, query: Array, key: Array, scale: float) -> Array:
    """Multiply queries and keys, and scale: before, after or on both sides."""
    if p.order % 3 == 1:
        return p.product(p.rounded(query * scale), key.swapaxes(-1, -2))
    if p.order % 3 == 2:
        half = np.sqrt(scale)
        return p.product(p.rounded(query * half), p.rounded(key * half).swapaxes(-1, -2))
    return p.rounded(p.product(query, key.swapaxes(-1, -2)) * scale)


def capped(p: Problem, s: Array) -> Array:
    """Bend the scores below the soft cap."""
    cap = p.case.softcap
    return s if cap is None else p.rounded(cap * np.tanh(p.rounded(s / cap)))


def biased(p: Problem, s: Array) -> Array:
    """Add the bias."""
    return s if p.bias is None else p.rounded(s + p.bias)


def hidden(p: Problem, s: Array, allowed: Array) -> Array:
    """Set what may not be seen to -inf."""
    return np.where(allowed, s, -np.inf)


def sink_of(p: Problem) -> Array:
    """Shape the sink as one more key; without a sink it weighs nothing."""
    sink = np.full(p.shape[1], -np.inf) if p.sink is None else p.sink
    return np.broadcast_to(sink[:, None, None], (*p.shape[:3], 1))


def largest(z: Array, axis: int = -1) -> Array:
    """Return what the softmax subtracts: the largest score, 0 where there is none."""
    top = z.max(axis=axis, keepdims=True)
    return np.where(top == -np.inf, 0, top)


def weights(p: Problem, z: Array, allowed: Array) -> Array:
    """Take the softmax over the keys, a sink in its denominator."""
    whole = z if p.sink is None else np.concatenate([z, sink_of(p)], axis=-1)
    powers = p.exp(p.rounded(whole - largest(whole)))
    total = p.total(powers)
    shares = p.rounded(powers / np.where(total == 0, 1, total))[..., : z.shape[-1]]
    if p.dead == "zero":
        return shares
    dead = ~allowed.any(axis=-1, keepdims=True)
    return np.where(dead, np.nan if p.dead == "nan" else 1 / z.shape[-1], shares)


def finite(value: Array) -> Array:
    """Drop NaN and inf, which stand only where every case masks them."""
    return np.where(np.isfinite(value), value, 0)


def average(p: Problem, w: Array, value: Array) -> Array:
    """Weigh the values."""
    return p.product(w, finite(value))


def output(p: Problem, o: Array) -> Array:
    """Hand the output over."""
    return o


_STEPS: dict[str, Step] = {
    "inputs": inputs,
    "scale": lambda p: p.scale,
    "scores": scores,
    "capped": capped,
    "biased": biased,
    "allowed": lambda p: p.allowed(),
    "hidden": hidden,
    "weights": weights,
    "average": average,
    "output": output,
}


def attend(p: Problem, **changed: Step) -> Array:
    """Compute the attention, with some of its steps changed."""
    step = _STEPS | changed
    with np.errstate(all="ignore"):
        query, key, value = step["inputs"](p)
        s = step["scores"](p, query, key, step["scale"](p))
        s = step["biased"](p, step["capped"](p, s))
        allowed = step["allowed"](p)
        w = step["weights"](p, step["hidden"](p, s, allowed), allowed)
        answer: Array = step["output"](p, step["average"](p, w, value))
    return answer
