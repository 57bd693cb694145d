"""What each library answers to a question of convention: found by asking it, not by reading."""

import contextlib
import functools
import importlib.metadata
import inspect
import io
import logging
import math
import os
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from attention_ref._masks import causal_mask, sliding_window_mask
from attention_ref._multi_head import expand_kv_heads
from attention_ref._scaled_dot_product import scaled_dot_product_attention

Attend = Callable[..., Any]

RUN, DOCUMENTED, MISSING = "run", "documented, not run", "not installed"


class Answer(NamedTuple):
    """One row of the table of differences.

    Attributes:
        question: What was asked.
        library: The function that was asked, by the name that its users call it.
        answer: What it does, in a few words; empty where it is not installed.
        version: The installed version of the library, or of its documentation.
        how: `run`, `documented, not run` or `not installed`.
    """

    question: str
    library: str
    answer: str
    version: str
    how: str


def conventions() -> list[Answer]:
    """Ask every library that is installed every question of convention, and list the answers.

    Each question is a call so small that its answer can be worked out by hand: two keys of weights
    1/4 and 3/4, one of them hidden. Nothing is imported before this is called. A call that a
    library refuses is an answer, the error's name, and so is an import that fails.

    Returns:
        One row a question and library, question after question, `attention_ref` first.

    Complexity: Seconds, most of them for importing the libraries.

    Examples:
        >>> first = conventions()[0]
        >>> first.library, first.answer, first.how
        ('attention_ref', 'may attend', 'run')
    """
    return [_ask(question, library) for question in QUESTIONS for library in _LIBRARIES]


def _ask(question: str, library: "_Library") -> Answer:
    if library.documented is not None:
        answer = library.documented[question]
        return Answer(question, library.name, answer, library.documented["version"], DOCUMENTED)
    try:
        version = importlib.metadata.version(library.package)
    except importlib.metadata.PackageNotFoundError:
        return Answer(question, library.name, "", "", MISSING)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        answer = _answer(QUESTIONS[question], library.attend)
    return Answer(question, library.name, answer, version.partition("+")[0], RUN)


def _answer(probe: Callable[[Attend], str], attend: Attend) -> str:
    parameters = inspect.signature(attend).parameters

    def call(query: Any, key: Any, value: Any, **terms: Any) -> Any:
        if set(terms) - set(parameters):
            raise _TakesNoneError
        if "scale" in parameters:
            terms["scale"] = 1 / math.sqrt(query.shape[-1])
        return attend(query, key, value, **terms)

    logging.disable(logging.CRITICAL)
    try:
        return probe(call) if probe is not _scale or "scale" not in parameters else NO_DEFAULT
    except _TakesNoneError:
        return NONE
    except Exception as error:  # whatever type a library refuses with, it is the answer
        return type(error).__name__
    finally:
        logging.disable(logging.NOTSET)


class _TakesNoneError(Exception):
    """The library has no such argument."""


# The questions. Query, key and value are (1, 1, length, d): one query sees two keys, whose
# weights are 1/4 and 3/4 and whose values are 0 and 8, so that it gets 6.
NONE, NO_DEFAULT = "takes none", "none: it must be given"
QUERY = np.ones((1, 1, 1, 1), dtype=np.float32)
KEY = np.log(np.array([[[[1.0], [3.0]]]], dtype=np.float32))
VALUE = np.array([[[[0.0], [8.0]]]], dtype=np.float32)
_ADDED = 8 * 3 / (3 + math.e)  # e and 3 are the weights once 1 is added to the first score


def _named(output: Any, names: dict[Any, str]) -> str:
    number = float(np.asarray(output).ravel()[0])
    if math.isnan(number):
        return "NaN"
    for expected, name in names.items():
        if math.isclose(number, expected, abs_tol=1e-3):
            return name
    return f"another answer: {number:.4f}"


def _true(attend: Attend) -> str:
    output = attend(QUERY, KEY, VALUE, mask=np.array([[[[True, False]]]]))
    return _named(output, {0: "may attend", 8: "**hidden**", _ADDED: "**added as 1**"})


def _number(attend: Attend) -> str:
    output = attend(QUERY, KEY, VALUE, mask=np.array([[[[1, 0]]]], dtype=np.float32))
    return _named(output, {_ADDED: "added", 0: "cast to boolean: all but 0 may attend"})


def _boolean_bias(attend: Attend) -> str:
    output = attend(QUERY, KEY, VALUE, bias=np.array([[[[True, False]]]]))
    return _named(output, {_ADDED: "**added as 0 and 1**", 0: "a mask"})


_UNSEEN = {0: "0", 4: "**the mean of all values**", 6: "**all keys are seen**"}


def _unseen(attend: Attend) -> str:
    return _named(attend(QUERY, KEY, VALUE, allowed=np.zeros((1, 1, 1, 2), dtype=bool)), _UNSEEN)


def _unseen_by_infinity(attend: Attend) -> str:
    return _named(
        attend(QUERY, KEY, VALUE, mask=np.full((1, 1, 1, 2), -np.inf, dtype=np.float32)), _UNSEEN
    )


_ALLOWED = np.array([[[[True, False]]]])
_NOTHING = {0: "changes nothing"}


def _nan_key(attend: Attend) -> str:
    key = np.where(_ALLOWED.swapaxes(-1, -2), KEY, np.float32(np.nan))
    return _named(attend(QUERY, key, VALUE, allowed=_ALLOWED), _NOTHING)


def _nan_value(attend: Attend) -> str:
    value = np.where(_ALLOWED.swapaxes(-1, -2), VALUE, np.float32(np.nan))
    return _named(attend(QUERY, KEY, value, allowed=_ALLOWED), _NOTHING)


def _order(attend: Attend) -> str:
    capped = functools.partial(attend, QUERY, KEY, VALUE, softcap=2.0)
    # The scores are 0 and log 3, and 2 tanh(log 3 / 2) is 1.
    answer = _named(capped(), {8 * math.e / (1 + math.e): "capped"})
    if answer != "capped":
        return answer
    hidden = _named(capped(allowed=_ALLOWED), _NOTHING) in _NOTHING.values()
    return "before the mask" if hidden else "after the mask"


def _seen(attend: Attend, q_len: int, kv_len: int, **terms: Any) -> Any:
    """Return which key each query gave weight to: the values are the rows of an identity."""
    query, key = (np.zeros((1, 1, length, 8), dtype=np.float32) for length in (q_len, kv_len))
    value = np.eye(kv_len, 8, dtype=np.float32)[None, None]
    return np.asarray(attend(query, key, value, **terms))[0, 0] > 0


def _corner(attend: Attend) -> str:
    counts = str(_seen(attend, 2, 5, causal=True).sum(axis=-1).tolist())
    return {"[1, 2]": "top-left", "[4, 5]": "bottom-right"}.get(counts, f"{counts} keys")


def _window(attend: Attend) -> str:
    seen = np.flatnonzero(_seen(attend, 7, 7, window=2)[3]) - 3
    return " ".join(f"i{offset:+d}" if offset else "i" for offset in seen.tolist())


def _heads(attend: Attend) -> str:
    value = np.arange(2, dtype=np.float32).reshape(1, 2, 1, 1)
    output = attend(np.repeat(QUERY, 4, axis=1), value, value)  # a head has one key: any will do
    first, second, *_ = (float(x) for x in np.asarray(output).ravel())
    return "h // (heads // kv_heads)" if first == second else "h % kv_heads"


def _scale(attend: Attend) -> str:
    query = np.repeat(QUERY, 4, axis=-1)
    key = np.concatenate([np.zeros_like(query), query], axis=-2)
    weight = float(np.asarray(attend(query, key, key)).max())  # of the second key
    return _named(math.log(weight / (1 - weight)) / 4, {0.5: "1 / sqrt(d_k)", 1: "1"})


def _half(attend: Attend) -> str:
    x = np.repeat(QUERY, 8, axis=-1).astype(np.float16)
    return str(attend(x, x, x).dtype).rpartition(".")[-1]


def _overflow(attend: Attend) -> str:
    query = QUERY.astype(np.float16) * 512
    key = np.concatenate([query, query / 2], axis=-2)
    # The first score is twice the second: its key, which is its value, has all the weight.
    return _named(attend(query, key, key), {512: "right", 384: "**both infinite, and even**"})


def _double(attend: Attend) -> str:
    x = np.sin(np.arange(24.0)).reshape(1, 1, 3, 8)
    output = attend(x, x, x)
    dtype = str(output.dtype).rpartition(".")[-1]
    expected = scaled_dot_product_attention(x, x, x)
    exact = np.allclose(np.asarray(output), expected, rtol=0)
    inside = "float64" if exact else "float32"
    return f"{dtype}, {inside} inside" if inside != dtype else dtype


def _sink(attend: Attend) -> str:
    output = attend(QUERY, KEY, VALUE, sink=KEY[0, 0, :1, 0])  # log 1, as the first score
    return _named(output, {8 * 3 / 5: "one more term of the denominator"})


QUESTIONS: dict[str, Callable[[Attend], str]] = {
    "True in a boolean mask": _true,
    "numbers as a mask": _number,
    "a boolean bias": _boolean_bias,
    "where the soft cap acts": _order,
    "a query whose keys are all hidden": _unseen,
    "a query whose mask is -inf throughout": _unseen_by_infinity,
    "NaN in a hidden key": _nan_key,
    "NaN in a hidden value": _nan_value,
    "causal, 2 queries and 5 keys": _corner,
    "keys that query i sees in a window of 2": _window,
    "key head of query head h": _heads,
    "the default scale": _scale,
    "a sink": _sink,
    "the output's dtype for float16": _half,
    "float16 scores beyond 65504": _overflow,
    "the output's dtype for float64": _double,
}


# The libraries. Each function takes NumPy's arrays with the heads before the length; its keywords
# are what the library has an argument for. `mask` is handed over as it is, `allowed` in the form
# that the library hides with.
def _attention_ref(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    allowed: Any = None,
    bias: Any = None,
    causal: bool = False,
    window: int | None = None,
    softcap: float | None = None,
    sink: Any = None,
) -> Any:
    lengths = query.shape[-2], key.shape[-2]
    mask = allowed if mask is None else mask
    mask = causal_mask(*lengths) if causal else mask
    mask = mask if window is None else sliding_window_mask(*lengths, left=window)
    key, value = (expand_kv_heads(x, query.shape[-3]) for x in (key, value))
    return scaled_dot_product_attention(
        query, key, value, mask=mask, bias=bias, softcap=softcap, sink=sink
    )


def _torch(
    query: Any, key: Any, value: Any, *, mask: Any = None, allowed: Any = None, causal: bool = False
) -> Any:
    torch: Any = import_module("torch")

    mask = allowed if mask is None else mask
    output = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.asarray, (query, key, value)),
        attn_mask=None if mask is None else torch.asarray(mask),
        is_causal=causal,
        enable_gqa=True,
    )
    return output.numpy()


def _flex(
    query: Any, key: Any, value: Any, *, allowed: Any = None, softcap: float | None = None
) -> Any:
    torch: Any = import_module("torch")
    flex: Any = import_module("torch.nn.attention.flex_attention")

    block_mask = score_mod = None
    if allowed is not None:
        seen = torch.asarray(allowed)
        block_mask = flex.create_block_mask(
            lambda b, h, q, k: seen[b, h, q, k], *seen.shape, device="cpu"
        )
    if softcap is not None:

        def score_mod(score: Any, *_: Any) -> Any:
            return softcap * torch.tanh(score / softcap)

    output = flex.flex_attention(
        *map(torch.asarray, (query, key, value)),
        score_mod,
        block_mask,
        enable_gqa=True,
    )
    return output.numpy()


def _multi_head(query: Any, key: Any, value: Any, need_weights: bool, mask: Any) -> Any:
    torch: Any = import_module("torch")

    if query.shape[1] != key.shape[1]:
        raise _TakesNoneError
    eye = torch.eye(query.shape[-1], dtype=torch.asarray(query).dtype)
    arrays = (torch.asarray(x)[:, 0].swapaxes(0, 1) for x in (query, key, value))
    output, _ = torch.nn.functional.multi_head_attention_forward(
        *arrays,
        *(query.shape[-1], query.shape[1], torch.cat([eye] * 3), None, None, None, False, 0.0),
        *(eye, None),
        need_weights=need_weights,
        attn_mask=None if mask is None else torch.asarray(mask)[0, 0],
    )
    return output.swapaxes(0, 1)[:, None].numpy()


def _with_weights(
    query: Any, key: Any, value: Any, *, mask: Any = None, allowed: Any = None
) -> Any:
    mask = mask if allowed is None else ~allowed
    return _multi_head(query, key, value, True, mask)


def _without_weights(
    query: Any, key: Any, value: Any, *, mask: Any = None, allowed: Any = None
) -> Any:
    mask = mask if allowed is None else ~allowed
    return _multi_head(query, key, value, False, mask)


def _jax(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    allowed: Any = None,
    bias: Any = None,
    causal: bool = False,
    window: int | None = None,
) -> Any:
    jax: Any = import_module("jax")

    with jax.enable_x64(True):
        output = jax.nn.dot_product_attention(
            *(x.swapaxes(1, 2) for x in (query, key, value)),
            bias,
            allowed if mask is None else mask,
            is_causal=causal,
            local_window_size=window,
        )
    return np.asarray(output).swapaxes(1, 2)


def _keras(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    allowed: Any = None,
    bias: Any = None,
    causal: bool = False,
) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras: Any = import_module("keras")

    output = keras.ops.dot_product_attention(
        *(x.swapaxes(1, 2) for x in (query, key, value)),
        bias=bias,
        mask=allowed if mask is None else mask,
        is_causal=causal,
    )
    return np.asarray(output).swapaxes(1, 2)


def _mlx(
    query: Any,
    key: Any,
    value: Any,
    *,
    scale: float,
    mask: Any = None,
    allowed: Any = None,
    causal: bool = False,
    sink: Any = None,
) -> Any:
    mx: Any = import_module("mlx.core")

    mask = allowed if mask is None else mask
    mask = mask if mask is None else mx.array(mask)
    return np.asarray(
        mx.fast.scaled_dot_product_attention(
            *(mx.array(x) for x in (query, key, value)),
            scale=scale,
            mask="causal" if causal else mask,
            sinks=None if sink is None else mx.array(sink),
        )
    )


def _onnx(run: Callable[[Any, dict[str, Any]], Any]) -> Attend:
    """Ask for the operator, which the evaluator and the runtime take in the same form."""

    def attend(
        query: Any,
        key: Any,
        value: Any,
        *,
        mask: Any = None,
        allowed: Any = None,
        causal: bool = False,
        window: int | None = None,
        softcap: float = 0.0,
    ) -> Any:
        helper: Any = import_module("onnx.helper")

        mask = allowed if mask is None else mask
        inputs = {"Q": query, "K": key, "V": value, "attn_mask": mask}
        inputs = {name: x for name, x in inputs.items() if x is not None}
        attributes: dict[str, Any] = {"is_causal": int(causal), "softcap": softcap}
        if window is not None:
            attributes |= {"left_window_size": window, "right_window_size": 0}
        kinds = {name: helper.np_dtype_to_tensor_dtype(x.dtype) for name, x in inputs.items()}
        graph = helper.make_graph(
            [helper.make_node("Attention", list(inputs), ["Y"], **attributes)],
            "attention",
            [helper.make_tensor_value_info(n, kinds[n], x.shape) for n, x in inputs.items()],
            [helper.make_tensor_value_info("Y", kinds["Q"], None)],
        )
        opset = helper.make_opsetid("", 24 if window is None else 25)
        return run(helper.make_model_gen_version(graph, opset_imports=[opset]), inputs)

    return attend


def _in_evaluator(model: Any, inputs: dict[str, Any]) -> Any:
    reference: Any = import_module("onnx.reference")

    return reference.ReferenceEvaluator(model).run(None, inputs)[0]


def _in_runtime(model: Any, inputs: dict[str, Any]) -> Any:
    onnxruntime: Any = import_module("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


def _transformers(
    query: Any,
    key: Any,
    value: Any,
    *,
    scale: float,
    mask: Any = None,
    allowed: Any = None,
    window: int | None = None,
    softcap: float | None = None,
    sink: Any = None,
) -> Any:
    torch: Any = import_module("torch")
    masking: Any = import_module("transformers.masking_utils")
    gemma: Any = import_module("transformers.models.gemma2.modeling_gemma2")
    gpt_oss: Any = import_module("transformers.models.gpt_oss.modeling_gpt_oss")

    if window is not None:
        positions = torch.arange(query.shape[-2])
        inside = masking.sliding_window_causal_mask_function(window)
        allowed = inside(None, None, positions[:, None], positions[None, :]).numpy()
    if allowed is not None:
        smallest = np.finfo(query.dtype).min
        mask = np.where(allowed, np.zeros((), query.dtype), smallest)
    module = torch.nn.Module().eval()
    module.num_key_value_groups = query.shape[1] // key.shape[1]
    arrays = [None if x is None else torch.asarray(x) for x in (query, key, value, mask)]
    if sink is not None:
        module.sinks = torch.asarray(sink)
        output, _ = gpt_oss.eager_attention_forward(module, *arrays, scale)
    else:
        output, _ = gemma.eager_attention_forward(module, *arrays, scaling=scale, softcap=softcap)
    return output.swapaxes(1, 2).numpy()


class _Library(NamedTuple):
    name: str
    package: str
    attend: Attend
    documented: dict[str, str] | None = None


_FLASH_ATTENTION = {
    "version": "2.6 and later",
    "True in a boolean mask": NONE,
    "numbers as a mask": NONE,
    "a boolean bias": NONE,
    "where the soft cap acts": "before the mask",
    "a query whose keys are all hidden": "0",
    "a query whose mask is -inf throughout": NONE,
    "NaN in a hidden key": "not said",
    "NaN in a hidden value": "not said",
    "causal, 2 queries and 5 keys": "bottom-right",
    "keys that query i sees in a window of 2": "i-2 i-1 i",
    "key head of query head h": "h // (heads // kv_heads)",
    "the default scale": "1 / sqrt(d_k)",
    "a sink": NONE,
    "the output's dtype for float16": "float16",
    "float16 scores beyond 65504": "not said",
    "the output's dtype for float64": "takes float16 and bfloat16 only",
}


_LIBRARIES = (
    _Library("attention_ref", "attention-ref", _attention_ref),
    _Library("PyTorch SDPA", "torch", _torch),
    _Library("flex_attention", "torch", _flex),
    _Library("nn.MultiheadAttention", "torch", _with_weights),
    _Library("nn.MultiheadAttention without weights", "torch", _without_weights),
    _Library("JAX", "jax", _jax),
    _Library("Keras ops on JAX", "keras", _keras),
    _Library("ONNX reference", "onnx", _onnx(_in_evaluator)),
    _Library("ONNX Runtime", "onnxruntime", _onnx(_in_runtime)),
    _Library("MLX", "mlx", _mlx),
    _Library("Hugging Face eager", "transformers", _transformers),
    _Library("FlashAttention", "flash-attn", _attention_ref, _FLASH_ATTENTION),
)
