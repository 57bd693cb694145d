"""The known mistakes in attention: each changes steps of the formula, or the problem it sees."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from attention_ref._checks import Array
from attention_ref.testing._formula import (
    Step,
    attend,
    biased,
    capped,
    finite,
    hidden,
    inputs,
    largest,
    sink_of,
    weights,
)
from attention_ref.testing._problems import Problem, round_to

Change = Callable[[Problem], Problem]


@dataclass(frozen=True)
class Fault:
    """A known mistake: its name, what to tell its author, and what it changes.

    Attributes:
        name: The fault in two or three words.
        message: What is wrong, and what would be right.
        steps: The steps of the formula that it does in its own way.
        change: The problem as it understands it.
        applies: Tells whether a problem has what the mistake is about.
    """

    name: str
    message: str
    steps: dict[str, Step] = field(default_factory=dict)
    change: Change = lambda p: p
    applies: Callable[[Problem], bool] = lambda p: True

    def answer(self, p: Problem) -> Array | None:
        """Return what a function with this fault answers, or None where it has no say."""
        if not self.applies(p):
            return None
        try:
            return attend(self.change(p), **self.steps)
        except (ValueError, IndexError):  # shapes that this mistake does not fit
            return None

    def beside(self, other: "Fault") -> "Fault | None":
        """Return both faults in one function; None where they change the same step."""
        if self.steps.keys() & other.steps.keys():
            return None
        return replace(
            self,
            steps=self.steps | other.steps,
            change=lambda p: self.change(other.change(p)),
            applies=lambda p: other.applies(p) and self.applies(other.change(p)),
        )


def _has(term: str) -> Callable[[Problem], bool]:
    """Tell whether the problem has this term, where the mistake would have no meaning without."""

    def has(p: Problem) -> bool:
        own = {
            "causal": p.causal,
            "softcap": p.case.softcap is not None,
            "hidden": not p.allowed().all(),
            "half": p.case.dtype in ("float16", "bfloat16"),
        }
        return own[term] if term in own else getattr(p, term) is not None

    return has


# What becomes of the problem.


def _mask(changed: Callable[[Array], Array]) -> Change:
    def change(p: Problem) -> Problem:
        assert p.mask is not None
        return replace(p, mask=changed(p.mask.reshape((1,) * (4 - p.mask.ndim) + p.mask.shape)))

    return change


def _bias(changed: Callable[[Array], Array]) -> Change:
    def change(p: Problem) -> Problem:
        assert p.bias is not None
        return replace(p, bias=changed(p.bias))

    return change


def _window(left: int, right: int) -> Change:
    def change(p: Problem) -> Problem:
        assert p.window is not None
        first, last = p.window
        first = None if first is None else first + left
        last = None if last is None else last + right
        return replace(p, window=(first, last))

    return change


def _other_corner(p: Problem) -> Problem:
    return replace(p, start=p.shape[3] - p.shape[2] if p.start == 0 else 0)


def _dead(answer: str) -> Change:
    return lambda p: replace(p, dead=answer)


# Steps done in another way.


def _causal(sees: Callable[[Array], Array]) -> Step:
    """Hide by how far a key lies ahead in another way; a window stays what it is."""
    return lambda p: replace(p, causal=False).allowed() & sees(p.ahead())


def _heads(changed: Callable[[Array, int], Array]) -> Step:
    """Give key and value heads to the query heads in another way."""
    return lambda p: (
        p.query,
        changed(p.key, p.query.shape[1]),
        changed(p.value, p.query.shape[1]),
    )


def _roles(*order: int) -> Step:
    return lambda p: tuple(inputs(p)[index] for index in order)


def _viewed(p: Problem) -> tuple[Array, ...]:
    # (batch, length, heads, d) read as (batch, heads, length, d), before heads are shared.
    query, key, value = (x.swapaxes(1, 2).reshape(x.shape) for x in (p.query, p.key, p.value))
    return inputs(replace(p, query=query, key=key, value=value))


def _viewed_back(p: Problem, o: Array) -> Array:
    batch, heads, length, width = o.shape
    return o.reshape(batch, length, heads, width).swapaxes(1, 2)


def _output_viewed(p: Problem, o: Array) -> Array:
    heads_first = p.layout == "heads"
    return o.swapaxes(1, 2).reshape(o.shape) if heads_first else _viewed_back(p, o)


def _unchanged(p: Problem, s: Array) -> Array:
    return s


def _cap_clipped(p: Problem, s: Array) -> Array:
    cap = p.case.softcap or np.inf
    return np.clip(s, -cap, cap)


def _cap_last(p: Problem, s: Array, allowed: Array) -> Array:
    return capped(p, hidden(p, s, allowed))


def _cap_weights(p: Problem, z: Array, allowed: Array) -> Array:
    return capped(p, weights(p, z, allowed))


def _bias_late(p: Problem, z: Array, allowed: Array) -> Array:
    return np.where(allowed, weights(p, z, allowed) + p.bias, 0)


def _softmax_over(axis: int) -> Step:
    def over(p: Problem, z: Array, allowed: Array) -> Array:
        powers = np.exp(z - largest(z, axis))
        total = powers.sum(axis=axis, keepdims=True)
        return powers / np.where(total == 0, 1, total)

    return over


def _unsafe(p: Problem, z: Array, allowed: Array) -> Array:
    powers = np.exp(z.astype(np.float64 if p.case.dtype == "float64" else np.float32))
    return np.asarray((powers / powers.sum(axis=-1, keepdims=True)).astype(np.float64))


def _masked_late(p: Problem, z: Array, allowed: Array) -> Array:
    return weights(p, z, np.ones_like(allowed)) * allowed


def _sink_above(p: Problem, z: Array, allowed: Array) -> Array:
    whole = np.concatenate([sink_of(p), z], axis=-1)
    powers = np.exp(whole - largest(whole))
    return (powers[..., 1:] + powers[..., :1]) / powers.sum(axis=-1, keepdims=True)


def _sink_slice(p: Problem, z: Array, allowed: Array) -> Array:
    whole = np.concatenate([sink_of(p), z], axis=-1)
    powers = np.exp(whole - largest(whole))
    return (powers / powers.sum(axis=-1, keepdims=True))[..., :-1]


def _sink_power(p: Problem, z: Array, allowed: Array) -> Array:
    powers = np.exp(z)
    return powers / (powers.sum(axis=-1, keepdims=True) + sink_of(p))


def _key_leaks(p: Problem, z: Array, allowed: Array) -> Array:
    _, key, _ = inputs(p)
    bad = ~np.isfinite(key).all(axis=-1)[..., None, :]
    return weights(p, np.where(bad, np.nan, z), allowed)


def _summed(p: Problem, terms: Array) -> Array:
    """Add up the last axis, rounded to the dtype of the case after each term."""
    total = np.zeros(())
    for term in np.moveaxis(terms, -1, 0):
        total = round_to(total + term, p.case.dtype)
    return total


def _sum_in_half(p: Problem, z: Array, allowed: Array) -> Array:
    powers = np.exp(z - largest(z))
    total = _summed(p, powers)[..., None]
    return powers / np.where(total == 0, 1, total)


def _average_in_half(p: Problem, w: Array, value: Array) -> Array:
    terms = (
        round_to(w, p.case.dtype)[..., None, :] * finite(value).swapaxes(-1, -2)[..., None, :, :]
    )
    return _summed(p, round_to(terms, p.case.dtype))


FAULTS = (
    # The scores.
    Fault("no scale", "the scores are not divided by sqrt(d_k), or the scale is left out",
          {"scale": lambda p: 1.0}),
    Fault("scale 1/d_k", "the scores are divided by d_k, and not by its square root",
          {"scale": lambda p: 1 / p.query.shape[-1]}),
    Fault("scaled twice", "the scale is applied twice: to the query and again to the scores",
          {"scale": lambda p: p.scale**2}),
    Fault("scale ignored", "the argument for the scale is ignored: it is 1/sqrt(d_k) all the "
          "same", {"scale": lambda p: float(1 / np.sqrt(p.query.shape[-1]))}),
    Fault("scale divides", "the scores are divided by the scale, and not multiplied",
          {"scale": lambda p: 1 / p.scale}),
    Fault("scale of d_v", "the scores are divided by the square root of d_v, and not of d_k",
          {"scale": lambda p: float(1 / np.sqrt(p.value.shape[-1]))}),
    Fault("scale of length", "the scores are divided by the square root of the length, not of "
          "d_k", {"scale": lambda p: float(1 / np.sqrt(p.shape[3]))}),
    Fault("query and key swapped", "query and key have changed places",
          {"inputs": _roles(1, 0, 2)}),
    Fault("key and value swapped", "key and value have changed places",
          {"inputs": _roles(0, 2, 1)}),
    Fault("keys averaged", "the keys are averaged, not the values",
          {"inputs": _roles(0, 1, 1)}),
    # The softmax.
    Fault("softmax over queries", "the softmax runs over the queries, and not over the keys",
          {"weights": _softmax_over(-2)}),
    Fault("softmax over heads", "the softmax runs over the heads, and not over the keys",
          {"weights": _softmax_over(1)}),
    Fault("softmax over batch", "the softmax runs over the batch, and not over the keys",
          {"weights": _softmax_over(0)}),
    Fault("no softmax", "there is no softmax: the scores weigh the values",
          {"weights": lambda p, z, allowed: np.where(allowed, z, 0)}),
    Fault("no maximum subtracted", "exp overflows: subtract each row's largest score first",
          {"weights": _unsafe}),
    Fault("sum in half precision", "the softmax's denominator is summed in half precision: sum "
          "in float32", {"weights": _sum_in_half}, applies=_has("half")),
    Fault("average in half precision", "the values are averaged in half precision: sum in "
          "float32", {"average": _average_in_half}, applies=_has("half")),
    # What is hidden.
    Fault("mask inverted", "the mask is inverted: here True means that a query may attend",
          change=_mask(lambda m: ~m), applies=_has("mask")),
    Fault("mask ignored", "the mask is ignored",
          change=lambda p: replace(p, mask=None)),
    Fault("mask transposed", "the mask is transposed: its rows are the queries",
          change=_mask(lambda m: m.swapaxes(-1, -2)), applies=_has("mask")),
    Fault("mask added", "the mask is added to the scores as 0 and 1, which hides nothing",
          {"hidden": lambda p, s, allowed: s + allowed}, applies=_has("hidden")),
    Fault("scores multiplied by mask", "the scores are multiplied by the mask: a score of 0 "
          "still has a weight", {"hidden": lambda p, s, allowed: s * allowed}),
    Fault("mask after softmax", "what is hidden is set to zero after the softmax, and the rest "
          "not made to sum to one", {"hidden": lambda p, s, allowed: s, "weights": _masked_late}),
    Fault("mask of another item", "each batch item gets the mask of another one",
          change=_mask(lambda m: np.roll(m, 1, axis=0)), applies=_has("mask")),
    Fault("mask of the first item", "every batch item gets the mask of the first",
          change=_mask(lambda m: m[:1]), applies=_has("mask")),
    Fault("mask of the first head", "every head gets the mask of the first",
          change=_mask(lambda m: m[:, :1]), applies=_has("mask")),
    Fault("mask of the first query", "every query gets the mask of the first",
          change=_mask(lambda m: m[:, :, :1]), applies=_has("mask")),
    Fault("-1e9 for -inf", "masked scores are set to -1e9 or the like, which is a score: use "
          "-inf",
          {"hidden": lambda p, s, allowed: round_to(np.where(allowed, s, -1e9), p.case.dtype)},
          applies=_has("hidden")),
    Fault("dead rows NaN", "a query that may see nothing gets NaN: 0/0 in its softmax",
          change=_dead("nan")),
    Fault("dead rows mean", "a query that may see nothing gets the mean of all values: what is "
          "masked has the dtype's smallest number, and not -inf", change=_dead("mean")),
    Fault("dead rows zero", "a query that may see nothing gets zero, where the convention has "
          "another answer", change=_dead("zero")),
    Fault("NaN of a masked value", "a masked value that is NaN or inf reaches the output: 0 * "
          "NaN is NaN", {"average": lambda p, w, value: w @ value}),
    Fault("NaN of a masked key", "a masked key that is NaN or inf reaches the output",
          {"weights": _key_leaks}),
    # Positions.
    Fault("causal ignored", "nothing hides the future",
          change=lambda p: replace(p, causal=False)),
    Fault("causal corner", "the causal mask is aligned to the wrong corner: top-left and "
          "bottom-right differ where q_len and kv_len do", change=_other_corner,
          applies=_has("causal")),
    Fault("causal sees the future", "the causal mask is shifted by one: a query sees the next "
          "key", {"allowed": _causal(lambda ahead: ahead <= 1)}, applies=_has("causal")),
    Fault("causal hides itself", "the causal mask is shifted by one: a query cannot see itself",
          {"allowed": _causal(lambda ahead: ahead < 0)}, applies=_has("causal")),
    Fault("causal inverted", "the causal mask is inverted: only the future is seen",
          {"allowed": _causal(lambda ahead: ahead > 0)}, applies=_has("causal")),
    Fault("window ignored", "the window is ignored",
          change=lambda p: replace(p, window=None)),
    Fault("window left one wider", "the window is one key wider on the left",
          change=_window(1, 0), applies=_has("window")),
    Fault("window left one narrower", "the window is one key narrower on the left",
          change=_window(-1, 0), applies=_has("window")),
    Fault("window right one wider", "the window is one key wider on the right",
          change=_window(0, 1), applies=_has("window")),
    Fault("window right one narrower", "the window is one key narrower on the right",
          change=_window(0, -1), applies=_has("window")),
    # Heads and layout.
    Fault("heads tiled", "key heads are tiled (0 1 0 1), and not repeated (0 0 1 1)",
          {"inputs": _heads(lambda x, heads: np.tile(x, (1, heads // x.shape[1], 1, 1)))}),
    Fault("first key head for all", "every query head reads the first key head",
          {"inputs": _heads(lambda x, heads: np.repeat(x[:, :1], heads, axis=1))}),
    Fault("view for transpose", "the inputs are viewed from (batch, length, heads, d) as "
          "(batch, heads, length, d): transpose", {"inputs": _viewed}),
    Fault("view there and back", "inputs and output are viewed between (batch, length, heads, "
          "d) and (batch, heads, length, d): transpose",
          {"inputs": _viewed, "output": _viewed_back}),
    Fault("output viewed", "the output is viewed in another order of heads and length: transpose",
          {"output": _output_viewed}),
    Fault("output transposed", "heads and length have changed places in the output",
          {"output": lambda p, o: o.swapaxes(1, 2)}),
    # Soft cap, bias, sink.
    Fault("softcap ignored", "the soft cap is ignored",
          {"capped": _unchanged}),
    Fault("softcap after mask", "the soft cap comes after the mask, and makes -inf a finite "
          "score", {"capped": _unchanged, "hidden": _cap_last}),
    Fault("softcap after bias", "the soft cap comes after the bias: first cap, then bias",
          {"capped": _unchanged, "biased": lambda p, s: capped(p, biased(p, s))}),
    Fault("softcap clips", "the scores are clipped at the soft cap: it is cap * tanh(score / "
          "cap)", {"capped": _cap_clipped}),
    Fault("softcap not multiplied back", "the soft cap is tanh(score / cap), without cap before "
          "it", {"capped": lambda p, s: np.tanh(s / p.case.softcap)}, applies=_has("softcap")),
    Fault("softcap after softmax", "the soft cap is applied to the weights, and not to the "
          "scores", {"capped": _unchanged, "weights": _cap_weights}),
    Fault("bias ignored", "the bias is ignored",
          {"biased": _unchanged}),
    Fault("bias after softmax", "the bias is added to the weights, and not to the scores",
          {"biased": _unchanged, "weights": _bias_late}, applies=_has("bias")),
    Fault("bias scaled", "the bias is scaled with the scores: it is added after the scale",
          {"biased": lambda p, s: s + p.bias * p.scale}, applies=_has("bias")),
    Fault("bias subtracted", "the bias is subtracted",
          change=_bias(lambda b: np.where(b == -np.inf, b, -b)), applies=_has("bias")),
    Fault("bias of the first head", "every head gets the bias of the first",
          change=_bias(lambda b: b[:, :1]), applies=_has("bias")),
    Fault("sink ignored", "the sink is ignored: the weights sum to one",
          change=lambda p: replace(p, sink=None)),
    Fault("sink in the numerator", "the sink is in the numerator too: it belongs to the "
          "denominator alone", {"weights": _sink_above}, applies=_has("sink")),
    Fault("sink not a logit", "the sink itself is added to the denominator, and not exp(sink)",
          {"weights": _sink_power}, applies=_has("sink")),
    Fault("sink column kept", "the sink's weight goes to the first value, and each weight to "
          "the next: the wrong column is cut off", {"weights": _sink_slice}, applies=_has("sink")),
)  # fmt: skip
