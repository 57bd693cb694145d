"""The backward pass in NumPy, and the wrong gradients that each known fault in it gives."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attention_ref.testing import _formula
from attention_ref.testing._problems import Problem

Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]


def backward(
    p: Problem,
    *,
    scaled: bool = True,
    centred: bool = True,
    cap_bends: bool = True,
    shared_heads: str = "sum",
) -> Gradients:
    """Return the gradients of query, key and value, with some of their terms left out."""
    query, key, value = _formula.inputs(p)
    s = _formula.scores(p, query, key, p.scale)
    allowed = p.allowed()
    z = _formula.hidden(p, _formula.biased(p, _formula.capped(p, s)), allowed)
    w = _formula.weights(p, z, allowed)
    if p.order % 2:  # as kernels do that keep the row's log-sum-exp, and compute the weights again
        top = _formula.largest(z)
        total = p.total(p.exp(z - top))
        total = total if p.sink is None else total + np.exp(p.sink[:, None, None] - top)
        w = p.exp(p.rounded(z - p.inexact(top + np.log(total), 1)))
    d_value = p.product(w.swapaxes(-1, -2), p.cotangent)
    d_w = p.product(p.cotangent, value.swapaxes(-1, -2))
    worth = p.total(w * d_w) if centred else 0
    d_s = p.rounded(w * (d_w - worth))
    if p.case.softcap is not None and cap_bends:
        d_s = p.rounded(d_s * (1 - (_formula.capped(p, s) / p.case.softcap) ** 2))
    scale = p.scale if scaled else 1.0
    d_query = p.rounded(p.product(d_s, key) * scale)
    d_key = p.rounded(p.product(d_s.swapaxes(-1, -2), query) * scale)
    batch, kv_heads, kv_len, _ = p.key.shape
    d_key, d_value = (x.reshape(batch, kv_heads, -1, kv_len, x.shape[-1]) for x in (d_key, d_value))
    if shared_heads == "first":
        return d_query, d_key[:, :, 0], d_value[:, :, 0]
    shares = d_key.shape[2] if shared_heads == "mean" else 1
    return d_query, d_key.sum(axis=2) / shares, d_value.sum(axis=2) / shares


@dataclass(frozen=True)
class GradientFault:
    """A known mistake in a backward pass: its name, what to tell its author, its gradients."""

    name: str
    message: str
    lost: tuple[str, ...] = ()
    changed: dict[str, Any] = field(default_factory=dict)

    def answer(self, p: Problem) -> Gradients:
        """Return the gradients that a function with this fault has."""
        d_query, d_key, d_value = backward(p, **self.changed)
        return (
            d_query * ("query" not in self.lost),
            d_key * ("key" not in self.lost),
            d_value * ("value" not in self.lost),
        )


GRADIENT_FAULTS = (
    GradientFault("gradient detached", "no gradient reaches query, key or value: something is "
                  "detached, or computed outside of the graph", ("query", "key", "value")),
    GradientFault("weights detached", "no gradient reaches query and key: the weights are detached",
                  ("query", "key")),
    GradientFault("query detached", "no gradient reaches the query", ("query",)),
    GradientFault("key detached", "no gradient reaches the key", ("key",)),
    GradientFault("value detached", "no gradient reaches the value", ("value",)),
    GradientFault("gradient without scale", "the gradients of query and key lack the scale",
                  changed={"scaled": False}),
    GradientFault("gradient without row sum", "the softmax's gradient lacks the term that sums "
                  "over the row", changed={"centred": False}),
    GradientFault("gradient without softcap", "the gradient passes by the soft cap",
                  changed={"cap_bends": False}),
    GradientFault("gradient of one head", "key heads get the gradient of one query head, and not "
                  "the sum over those that share them", changed={"shared_heads": "first"}),
    GradientFault("gradient averaged over heads", "key heads get the mean over the query heads "
                  "that share them, and not the sum", changed={"shared_heads": "mean"}),
)  # fmt: skip
