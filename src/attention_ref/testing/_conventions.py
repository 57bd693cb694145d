"""Each convention's way to ask for one attention: its arguments, its layout, its answer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attention_ref._scaled_dot_product import scaled_dot_product_attention
from attention_ref.interop import ADAPTERS
from attention_ref.testing._problems import FEATURES, Problem

Terms = dict[str, Any]
# The arguments that tell positions in words.
_POSITIONS = frozenset(
    ("is_causal", "causal", "window_size", "local_window_size", "left_window_size",
     "right_window_size")
)  # fmt: skip


@dataclass(frozen=True)
class Convention:
    """What a library expects of a function with its signature.

    Attributes:
        inputs: The names of query, key and value.
        spell: The other arguments of a problem, by keyword; arrays are NumPy's.
        features: What the convention can say.
        beyond: What it can say and the library itself does not hold; asked for by name alone.
        corner: How `causal` is aligned: `top-left` or `bottom-right`.
        dead: What a query that may see nothing gets: `zero`, `mean` or `nan`.
        layout, answer_layout: `heads` or `length` first, or `merged` into the features.
        one_width: Whether values must be as wide as keys.
        library: The library of its arrays.
        adapter: Where the adapter can be imported from, for code to paste.
    """

    name: str
    spell: Callable[[Problem], Terms]
    features: frozenset[str]
    adapter: str
    beyond: frozenset[str] = frozenset()
    inputs: tuple[str, str, str] = ("query", "key", "value")
    corner: str = "bottom-right"
    dead: str = "zero"
    layout: str = "heads"
    answer_layout: str = ""
    one_width: bool = False
    library: str = "torch"

    @property
    def defaults(self) -> frozenset[str]:
        """The features that are tried unless the caller declares others."""
        return self.features - self.beyond

    def put(self, x: Any, heads_first: str = "") -> Any:
        """Lay `(batch, heads, length, d)` out as the convention has it."""
        layout = heads_first or self.layout
        if layout == "heads":
            return x
        moved = x.swapaxes(1, 2)
        return moved if layout == "length" else moved.reshape(*moved.shape[:2], -1)

    def take(self, x: Any, heads: int, heads_first: str = "") -> Any:
        """Undo `put`; what has another number of axes is left as it is."""
        layout = heads_first or self.layout
        if layout == "heads" or x.ndim != (3 if layout == "merged" else 4):
            return x
        if layout == "merged":
            x = x.reshape(*x.shape[:2], heads, -1)
        return x.swapaxes(1, 2)

    def take_answer(self, answer: Any, heads: int) -> Any:
        """Read an answer as `(batch, heads, q_len, d_v)`."""
        return self.take(first(answer), heads, self.answer_layout or self.layout)

    def put_answer(self, x: Any) -> Any:
        """Lay an output out as the convention's answer has it."""
        return self.put(x, self.answer_layout or self.layout)

    def understood(self, problem: Problem) -> Problem:
        """Return the problem as the function sees it: positions in the mask, if not in words."""
        words = self.spell(problem)
        said = _POSITIONS & words.keys() or isinstance(words.get("mask"), str)
        return problem if said else problem.folded()

    def reference(self, problem: Problem) -> np.ndarray:
        """Return the adapter's answer, in float64."""
        problem = replace(problem, case=replace(problem.case, dtype="float64"))
        function = ADAPTERS.get(self.name, scaled_dot_product_attention)
        arrays = [self.put(x) for x in (problem.query, problem.key, problem.value)]
        with np.errstate(all="ignore"):
            answer = function(**dict(zip(self.inputs, arrays, strict=True)), **self.spell(problem))
        taken: np.ndarray = self.take_answer(answer, problem.query.shape[1])
        return taken


def first(answer: Any) -> Any:
    """Return the output of a function that returns more beside it."""
    return answer[0] if isinstance(answer, (tuple, list)) else answer


def _given(**terms: Any) -> Terms:
    return {name: term for name, term in terms.items() if term is not None}


def _hidden(p: Problem) -> np.ndarray | None:
    """Give causal and window as a mask, where the convention has no word for them."""
    return p.folded().mask


def _as_bias(p: Problem, mask: np.ndarray | None, number: float = -np.inf) -> np.ndarray | None:
    """Join mask and bias in one array that is added."""
    if mask is None:
        return p.bias
    return np.where(mask, 0.0 if p.bias is None else p.bias, number)


def _ours(p: Problem) -> Terms:
    case = p.case
    return _given(mask=_hidden(p), bias=p.bias, scale=case.scale, softcap=case.softcap, sink=p.sink)


def _torch(p: Problem) -> Terms:
    flag = p.causal and p.window is None and p.mask is None and p.bias is None
    mask = None if flag else _hidden(p)
    mask = mask if p.bias is None else _as_bias(p, mask)
    grouped = p.key.shape[1] < p.query.shape[1] or None
    return _given(attn_mask=mask, is_causal=flag or None, scale=p.case.scale, enable_gqa=grouped)


def _torch_mha(p: Problem) -> Terms:
    batch, heads, q_len, kv_len = p.shape
    mask, padding = _hidden(p), None
    if p.mask is not None and p.mask.ndim == 4 and p.mask.shape[1:3] == (1, 1) and p.bias is None:
        padding = ~p.mask[:, 0, 0]
        mask = p.placed() if p.causal or p.window is not None else None
    hidden = _as_bias(p, mask) if p.bias is not None else (None if mask is None else ~mask)
    if hidden is not None and hidden.ndim == 4:
        hidden = np.broadcast_to(hidden, p.shape).reshape(batch * heads, q_len, kv_len)
    return _given(key_padding_mask=padding, attn_mask=hidden) | {"num_heads": heads}


@dataclass(frozen=True)
class ScoreMod:
    """A score_mod for flex attention: cap, then add, -inf where hidden."""

    added: Any
    softcap: float | None
    tanh: Callable[[Any], Any] = np.tanh

    def __call__(self, score: Any, b: Any, h: Any, q: Any, k: Any) -> Any:
        if self.softcap is not None:
            score = self.softcap * self.tanh(score / self.softcap)
        return score if self.added is None else score + self.added[b, h, q, k]

    def write(self) -> str:
        """Return the definition of the function."""
        capped = f"{self.softcap} * torch.tanh(score / {self.softcap})"
        score = "score" if self.softcap is None else capped
        added = "" if self.added is None else " + added[b, h, q, k]"
        return f"def score_mod(score, b, h, q, k):\n    return {score}{added}"


def _flex(p: Problem) -> Terms:
    added = _as_bias(p, _hidden(p))
    added = None if added is None else np.broadcast_to(added, p.shape)
    bends = added is not None or p.case.softcap is not None
    grouped = p.key.shape[1] < p.query.shape[1] or None
    score_mod = ScoreMod(added, p.case.softcap) if bends else None
    return _given(score_mod=score_mod, scale=p.case.scale, enable_gqa=grouped)


def _four(x: np.ndarray | None) -> np.ndarray | None:
    return None if x is None else x.reshape((1,) * (4 - x.ndim) + x.shape)


def _jax(p: Problem) -> Terms:
    window = None if p.window is None else tuple(10**6 if s is None else s for s in p.window)
    return _given(
        bias=p.bias,
        mask=_four(p.mask),
        scale=p.case.scale,
        is_causal=p.causal or None,
        local_window_size=window,
    )


def _keras(p: Problem) -> Terms:
    flag = p.causal and p.window is None
    mask = p.mask if flag else _hidden(p)
    return _given(bias=p.bias, mask=_four(mask), scale=p.case.scale, is_causal=flag or None)


def _onnx(p: Problem) -> Terms:
    left, right = p.window or (None, None)
    mask = p.mask
    if mask is not None:  # its last two axes must be whole
        mask = np.broadcast_to(mask, (*mask.shape[:-2], *p.shape[-2:]))
    mask = mask if p.bias is None else _as_bias(p, mask)
    return _given(
        attn_mask=mask,
        is_causal=1 if p.causal else None,
        left_window_size=left,
        right_window_size=right,
        scale=p.case.scale,
        softcap=p.case.softcap,
    )


def _mlx(p: Problem) -> Terms:
    flag = p.causal and p.window is None and p.mask is None and p.bias is None
    mask: Any = "causal" if flag else _hidden(p)
    mask = mask if p.bias is None else _as_bias(p, mask)
    return _given(mask=mask, sinks=p.sink) | {"scale": p.scale}


def _flash_attn(p: Problem) -> Terms:
    window = None if p.window is None else tuple(-1 if s is None else s for s in p.window)
    return _given(
        softmax_scale=p.case.scale,
        causal=p.causal or None,
        window_size=window,
        softcap=p.case.softcap,
    )


def _transformers(p: Problem) -> Terms:
    # As transformers' own masks do: what is hidden has the dtype's smallest number.
    number = {"bfloat16": -3.3895313892515355e38}.get(p.case.dtype)
    number = float(np.finfo(p.case.dtype).min) if number is None else number
    mask = _four(_as_bias(p, _hidden(p), number))
    return {"attention_mask": mask, "scaling": p.scale} | _given(
        softcap=p.case.softcap, s_aux=p.sink
    )


_ALL = frozenset(FEATURES)
_ISOLATION = frozenset({"isolation"})
CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            "attention_ref",
            _ours,
            _ALL - {"grouped"},
            "attention_ref.scaled_dot_product_attention",
            library="numpy",
        ),
        Convention(
            "torch",
            _torch,
            _ALL - {"softcap", "sink"},
            "attention_ref.interop.torch.scaled_dot_product_attention",
            beyond=_ISOLATION,
            corner="top-left",
        ),
        Convention(
            "torch_mha",
            _torch_mha,
            _ALL - {"softcap", "sink", "scale", "grouped", "d_v"},
            "attention_ref.interop.torch.multi_head_attention",
            beyond=_ISOLATION,
            dead="nan",
            layout="merged",
            one_width=True,
        ),
        Convention(
            "flex",
            _flex,
            _ALL - {"sink", "isolation"},  # a score_mod hides by adding -inf: NaN stays
            "attention_ref.interop.torch.flex_attention",
            beyond=frozenset({"gradient"}),
        ),
        Convention(
            "jax",
            _jax,
            _ALL - {"softcap", "sink", "d_v"},
            "attention_ref.interop.jax.dot_product_attention",
            beyond=_ISOLATION | {"float64"},
            corner="top-left",
            dead="mean",
            layout="length",
            one_width=True,
            library="jax",
        ),
        Convention(
            "keras",
            _keras,
            _ALL - {"softcap", "sink", "d_v", "gradient"},
            "attention_ref.interop.keras.dot_product_attention",
            beyond=_ISOLATION | {"float64"},
            corner="top-left",
            dead="mean",
            layout="length",
            one_width=True,
            library="numpy",
        ),
        Convention(
            "onnx",
            _onnx,
            _ALL - {"sink", "gradient"},
            "attention_ref.interop.onnx.attention",
            beyond=_ISOLATION,
            inputs=("Q", "K", "V"),
            corner="top-left",
            library="numpy",
        ),
        Convention(
            "mlx",
            _mlx,
            _ALL - {"softcap", "float64", "gradient"},
            "attention_ref.interop.mlx.scaled_dot_product_attention",
            beyond=_ISOLATION,
            inputs=("q", "k", "v"),
            dead="mean",
            library="mlx",
        ),
        Convention(
            "flash_attn",
            _flash_attn,
            _ALL - {"mask", "bias", "sink", "d_v", "dead_rows", "isolation"},
            "attention_ref.interop.flash_attn.flash_attn_func",
            inputs=("q", "k", "v"),
            layout="length",
            one_width=True,
        ),
        Convention(
            "transformers",
            _transformers,
            _ALL - {"isolation"},  # what it hides has a finite number, to which NaN is added
            "attention_ref.interop.transformers.eager_attention_forward",
            beyond=frozenset({"float64"}),  # its softmax is in float32
            dead="mean",
            answer_layout="length",
        ),
    )
}
