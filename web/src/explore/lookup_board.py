"""The numbers of the lookup board: one query among a few keys, in vectors of `d_k` entries."""

import math

import numpy as np

from attention_ref import attention_scores, softmax

REACH = 2.0  # of the plane, to each side
MOST_KEYS = 8
LARGEST_VALUE = 24.0
WIDTHS = (2, 8, 32, 128, 512, 2048)
TEMPERATURES = (0.1, 10.0)


def answer(request):
    """Return scores, weights, the output, and how far the softmax is saturated."""
    query = _numbers("query", request["query"], (2,), -REACH, REACH)
    kv_len = len(request["keys"])
    if not 1 <= kv_len <= MOST_KEYS:
        raise ValueError(f"keys must hold 1 to {MOST_KEYS} points, got {kv_len}")
    keys = _numbers("keys", request["keys"], (kv_len, 2), -REACH, REACH)
    value = _numbers("values", request["values"], (kv_len,), 0.0, LARGEST_VALUE)
    temperature = float(_numbers("temperature", request["temperature"], (), *TEMPERATURES))
    if request["d_k"] not in WIDTHS:
        raise ValueError(f"d_k must be one of {WIDTHS}, got {request['d_k']!r}")
    copies = int(request["d_k"]) // 2
    # Among so many tosses of a coin, heads and tails typically differ by the square root.
    plus = (copies + math.isqrt(copies)) // 2
    signs = np.where(np.arange(copies) < plus, 1.0, -1.0)
    scale = None if request["scaled"] else 1.0
    scores = attention_scores(np.tile(query, copies)[None], np.kron(signs, keys), scale=scale)[0]
    weights = softmax(scores, temperature=temperature)
    jacobian = np.diag(weights) - np.outer(weights, weights)
    logarithms = np.log(np.where(weights > 0, weights, 1.0))
    return {
        "scores": scores.tolist(),
        "weights": weights.tolist(),
        "output": float(weights @ value),
        "entropy": float(0.0 - weights @ logarithms),
        "most_entropy": math.log(kv_len),
        "jacobian": float(np.linalg.norm(jacobian)),
    }


def _numbers(name, given, shape, low, high):
    try:
        numbers = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must hold numbers, got {given!r}") from None
    if numbers.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {numbers.shape}")
    if not ((numbers >= low) & (numbers <= high)).all():
        raise ValueError(f"{name} must lie between {low:g} and {high:g}, got {given!r}")
    return numbers
