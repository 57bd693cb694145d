"""The mask bench: make a mask by running its code, and ask other libraries for the same mask.

The program shown for a library is the program that is run: its body, with the library's names bound
to `attention_ref.interop`, whose adapters answer as the library answers. Scores are zero and the
values are an identity, so that the output is the weights, which show who sees whom.
"""

import contextlib
import functools
import io
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import attention_ref
from attention_ref import causal_mask, interop

MOST = 10  # of queries, keys, and what the parts count: as many as a phone can show
LONGEST_LINE = 78
NUMBERS = {
    "causal": (),
    "window": ("left", "right"),
    "prefix": ("prefix",),
    "padding": ("length",),
    "left padding": ("length",),
    "documents": ("each",),
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the mask that `request` asks for, the code that makes it, and the libraries' answers.

    Args:
        request: `q_len`, `kv_len`, `q_start` (None is not given) and `parts`: a list of
            `{"kind": ..., "join": "and" or "or", "negated": ...}` with the numbers of its kind.

    Returns:
        What JSON holds. `mask` is None where the code raises, and `error` says what.
    """
    bench = read(request)
    mask, code, error, text = None, [], None, ""
    try:
        code = [*mask_code(bench), "print(heatmap(mask))"]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            mask = execute(code, vars(attention_ref))["mask"]
        text = printed.getvalue()
    except ValueError as refused:
        error = f"{type(refused).__name__}: {refused}"
    return {
        "code": "\n".join([*imports(code), "", *code]) if code else "",
        "error": error,
        "text": text,
        "mask": None if mask is None else mask.tolist(),
        "queries": [] if mask is None else queries(mask, bench.q_start or 0),
        "keys": [] if mask is None else [{"seen_by": np.flatnonzero(k).tolist()} for k in mask.T],
        "summary": error if mask is None else summary(mask),
        "libraries": [compared(library, bench, mask) for library in LIBRARIES],
    }


class Part(NamedTuple):
    """One mask of a composed one, and how it joins what stands before it."""

    kind: str
    join: str
    negated: bool
    numbers: dict[str, int]


class Bench(NamedTuple):
    """A request whose names and numbers were checked, so that it can be written as code."""

    q_len: int
    kv_len: int
    q_start: int | None
    parts: list[Part]


def read(request: dict[str, Any]) -> Bench:
    """Check a request, which may have come with a link."""
    q_len, kv_len = (integer(name, request.get(name), 1) for name in ("q_len", "kv_len"))
    q_start = request.get("q_start")
    if q_start is not None:
        q_start = integer("q_start", q_start, -MOST)
    parts = []
    for part in request.get("parts", []):
        kind, join = part.get("kind"), part.get("join", "and")
        if kind not in NUMBERS:
            raise ValueError(f"kind must be one of {', '.join(NUMBERS)}, got {kind!r}")
        if join not in {"and", "or"}:
            raise ValueError(f"join must be 'and' or 'or', got {join!r}")
        least = 1 if kind == "documents" else 0
        numbers = {name: integer(name, part.get(name), least) for name in NUMBERS[kind]}
        parts.append(Part(kind, join, bool(part.get("negated")), numbers))
    return Bench(q_len, kv_len, q_start, parts)


def integer(name: str, value: Any, least: int) -> int:
    """Return an integer from `least` to `MOST`, or say what came."""
    if type(value) is not int or not least <= value <= MOST:
        raise ValueError(f"{name} must be an integer from {least} to {MOST}, got {value!r}")
    return value


# The code of the mask


def mask_code(bench: Bench) -> list[str]:
    """Write the lines that make `mask`, one a part."""
    names, values = ["q_len", "kv_len"], [bench.q_len, bench.kv_len]
    start = ""
    if bench.q_start is not None:
        names, values, start = [*names, "q_start"], [*values, bench.q_start], ", q_start=q_start"
    lines = [f"{', '.join(names)} = {', '.join(map(str, values))}"]
    kinds = [part.kind for part in bench.parts]
    if "documents" in kinds:
        if not start and bench.q_len != bench.kv_len:
            raise ValueError(
                f"q_start must be given where q_len={bench.q_len} and kv_len={bench.kv_len} "
                "differ: a query is in the document of its position"
            )
        queries = f"{'q_start + ' if start else ''}np.arange(q_len)"
        lines.append(f"queries, keys = {queries}, np.arange(kv_len)  # their positions")
    joined = "mask = "
    for part in bench.parts:
        sign = {"and": "&", "or": "|"}[part.join]
        term = ("~" if part.negated else "") + part_code(part, start)
        lines.append(f"{joined if joined == 'mask = ' else f'mask = mask {sign} '}{term}")
        joined = ""
    if not kinds:
        lines.append("mask = np.ones((q_len, kv_len), dtype=bool)")
    elif all("padding" in kind for kind in kinds):
        lines.append("mask = mask & np.ones((q_len, 1), dtype=bool)  # the same for each query")
    return lines


def part_code(part: Part, start: str) -> str:
    """Write the call that makes one part."""
    numbers = "".join(f", {name}={number}" for name, number in part.numbers.items())
    calls = {
        "causal": f"causal_mask(q_len, kv_len{start})",
        "window": f"sliding_window_mask(q_len, kv_len{numbers}{start})",
        "prefix": f"prefix_mask(q_len, kv_len{numbers}{start})",
        "padding": "padding_mask(np.array({length}), kv_len)",
        "left padding": "padding_mask(np.array({length}), kv_len)[:, ::-1]",
        "documents": "document_mask(queries // {each}, keys // {each})",
    }
    return calls[part.kind].format(**part.numbers)


def imports(lines: list[str]) -> list[str]:
    """Write the imports that the code of a mask needs."""
    text = "\n".join(lines)
    used = [name for name in sorted(attention_ref.__all__) if f"{name}(" in text]
    first = ["import numpy as np"] if "np." in text else []
    return first + ([f"from attention_ref import {', '.join(used)}"] if used else [])


def execute(lines: list[str], names: dict[str, Any]) -> dict[str, Any]:
    """Run lines that only checked names and numbers went into, and return what they leave."""
    namespace = {"np": np, **names}
    exec("\n".join(lines), namespace)
    return namespace


# What is read off a mask


def queries(mask: Any, q_start: int) -> list[dict[str, Any]]:
    """Return where each query stands, and what it sees."""
    return [
        {"position": q_start + row, "sees": np.flatnonzero(seen).tolist()}
        for row, seen in enumerate(mask)
    ]


def summary(mask: Any) -> str:
    """Say how many pairs may attend, and which queries see nothing."""
    blind = [str(row) for row in np.flatnonzero(~mask.any(axis=-1))]
    said = f"{mask.sum()} of {mask.size} pairs may attend; "
    if not blind:
        return said + "each query sees a key."
    if len(blind) == len(mask):
        return said + "no query sees anything."
    return said + f"{'query' if len(blind) == 1 else 'queries'} {listed(blind)} may see nothing."


def listed(words: list[str]) -> str:
    """Join words as a sentence does."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def counted(mask: Any) -> str:
    """Say in a few words what the queries of a mask see."""
    if len(mask) == 1:
        keys = [str(key) for key in np.flatnonzero(mask[0])]
        if not keys or len(keys) == mask.size > 1:
            return f"all {mask.size} keys" if keys else "no key"
        return f"key {keys[0]} alone" if len(keys) == 1 else f"{len(keys)} of {mask.size} keys"
    counts = [str(count) for count in mask.sum(axis=-1)]
    if len(set(counts)) == 1:
        return f"{counts[0]} {'key' if counts[0] == '1' else 'keys'} each"
    return f"{', '.join(counts)} keys"


# The other libraries


class Call(NamedTuple):
    """How a library is asked: arguments after the first, and the lines that these need.

    Attributes:
        arguments: What follows the library's first arguments.
        before: The lines before the call.
        imports: What is imported beside the library's own imports.
        masked: Whether `mask` is handed over.
    """

    arguments: list[str]
    before: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    masked: bool = False


class Library(NamedTuple):
    """A library's attention: how its users call it, and what answers for it here.

    Attributes:
        name: The function, by its name on the page of conventions.
        imports: The lines that import it.
        arrays: The lines that make query, key and value.
        call: The call, with `{}` for its arguments.
        read: The line that reads the weights off what the call returned.
        first: Its first arguments.
        words: What it has an argument for, of causal, window and length.
        asked: The calls that ask for such words, the plainest first.
        explicit: The call that hands over a mask; None if it takes none.
        names: What the names of the program stand for here.
        documented: Whether its adapter follows the documentation, and not a run.
        note: What else to say of words that it is asked for, if anything.
    """

    name: str
    imports: tuple[str, ...]
    arrays: tuple[str, ...]
    call: str
    read: str
    first: str
    words: frozenset[str]
    asked: Callable[[dict[str, Any], Bench], list[Call]]
    explicit: Callable[[Bench], Call] | None
    names: dict[str, Any]
    documented: bool = False
    note: Callable[[dict[str, Any], Bench], str | None] | None = None


def compared(library: Library, bench: Bench, mask: Any) -> dict[str, Any]:
    """Ask a library for the mask, and compare what it shows with it."""
    words = in_words(bench)
    found: dict[str, Any] = {
        "name": library.name,
        "documented": library.documented,
        "asked": None,
        "refused": None,
        "sees": None,
        "counted": None,
        "differs": None,
        "program": None,
        "masked": False,
        "unseen": None,
        "note": library.note(words, bench) if library.note and words else None,
    }
    calls = [] if words is None or words.keys() - library.words else library.asked(words, bench)
    asked = bool(calls)
    if mask is not None and library.explicit is not None:
        calls = [*calls, library.explicit(bench)]

    @functools.cache  # the plainest call is looked at twice
    def shown(number: int) -> Any:
        return weights(library, calls[number], bench, mask)

    if asked:
        found["asked"] = written(library, calls[0])
        try:
            seen = shown(0) > 0
            found["sees"] = seen.tolist()
            found["counted"] = counted(seen)
            if mask is not None:
                found["differs"] = bool(differ(seen, mask).any())
        except ValueError as refused:
            found["refused"] = str(refused)
    if mask is not None:
        for number, call in enumerate(calls):
            with contextlib.suppress(ValueError):
                given = shown(number)
                if not differ(given > 0, mask).any():
                    found["program"] = program(library, call, bench)
                    found["masked"] = call.masked
                    found["unseen"] = unseen(given[~mask.any(axis=-1)])
                    break
    found["verdict"] = verdict(found, mask)
    return found


def differ(seen: Any, mask: Any) -> Any:
    """Return where a library shows another mask; what it gives an unseeing query is not counted."""
    return (seen != mask) & mask.any(axis=-1, keepdims=True)


def verdict(found: dict[str, Any], mask: Any) -> str:
    """Say in a few words what comes of the request."""
    if found["refused"] is not None:
        return "refuses the call"
    if found["asked"] is None and found["program"] and not found["masked"]:
        return "takes it as a function"
    if found["asked"] is None:
        return "needs the mask" if found["program"] or mask is None else "cannot"
    if mask is None:
        return f"sees {found['counted']}"
    return f"another mask: {found['counted']}" if found["differs"] else "the same mask"


def unseen(rows: Any) -> str | None:
    """Name what the queries get that may see nothing."""
    if len(rows) == 0:
        return None
    if np.isnan(rows).all():
        return "NaN"
    return "0" if (rows == 0).all() else "the mean of all values"


def in_words(bench: Bench) -> dict[str, Any] | None:
    """Return the request as libraries have arguments for it, or None if none could."""
    words: dict[str, Any] = {}
    for place, part in enumerate(bench.parts):
        word = {"causal": "causal", "window": "window", "padding": "length"}.get(part.kind)
        if word is None or word in words or part.negated or (place > 0 and part.join == "or"):
            return None
        words[word] = tuple(part.numbers.values())
    return words


def written(library: Library, call: Call) -> str:
    """Write a call in one line, or with an argument a line if it is long."""
    arguments = [library.first, *call.arguments]
    line = library.call.format(", ".join(arguments))
    if len(line) <= LONGEST_LINE:
        return line
    return library.call.format("\n    " + ",\n    ".join(arguments) + ",\n")


def body(library: Library, call: Call) -> list[str]:
    """Write a program from its arrays on."""
    return [*call.before, *library.arrays, written(library, call), library.read, "print(weights)"]


def program(library: Library, call: Call, bench: Bench) -> str:
    """Write a whole program, which prints the weights."""
    own = mask_code(bench) if call.masked else [f"q_len, kv_len = {bench.q_len}, {bench.kv_len}"]
    lines = body(library, call)
    heads = [*imports(own), *library.imports, *call.imports]
    if re.search(r"\bnp\.", "\n".join(lines)):
        heads.append("import numpy as np")
    plain = sorted({head for head in heads if head.startswith("import ")})
    others = sorted({head for head in heads if head.startswith("from ")})
    settings = [head for head in heads if not head.startswith(("import ", "from "))]
    return "\n".join([*plain, *settings, *others, "", *own, "", *lines])


def weights(library: Library, call: Call, bench: Bench, mask: Any) -> Any:
    """Run a program with the adapters in the library's place, and return the weights."""
    names = {"q_len": bench.q_len, "kv_len": bench.kv_len, "q_start": bench.q_start or 0}
    names |= library.names | {"mask": mask, "print": lambda _: None}  # they are seen as a map
    return execute(body(library, call), names)["weights"]


def _shaped(*shape: Any, **_: Any) -> Any:
    return np.zeros(shape[0] if isinstance(shape[0], tuple) else shape, dtype=np.float32)


def _identity(rows: int, columns: int | None = None, **_: Any) -> Any:
    return np.eye(rows, columns, dtype=np.float32)


def _torch_words(words: dict[str, Any], bench: Bench) -> list[Call]:
    if not words:
        return [Call([])]
    calls = [Call(["is_causal=True"])]
    if bench.q_len <= bench.kv_len:  # PyTorch warns of the rest
        line = "from torch.nn.attention.bias import causal_lower_right"
        calls.append(Call(["attn_mask=causal_lower_right(q_len, kv_len)"], imports=(line,)))
    return calls


def _module_words(words: dict[str, Any], bench: Bench) -> list[Call]:
    del bench
    arguments = ["is_causal=True"] if "causal" in words else []
    if "length" in words:
        arguments.append(f"key_padding_mask=torch.arange(kv_len)[None] >= {words['length'][0]}")
    return [Call(arguments)]


def _jax_words(words: dict[str, Any], bench: Bench) -> list[Call]:
    del bench
    arguments = ["is_causal=True"] if "causal" in words else []
    if "window" in words:
        arguments.append(f"local_window_size={words['window']}")
    if "length" in words:
        arguments.append(f'key_value_seq_lengths=jnp.array([{words["length"][0]}], "int32")')
    return [Call(arguments)]


def _jax_note(words: dict[str, Any], bench: Bench) -> str | None:
    left, right = words.get("window", (0, 0))
    if left == right:
        return None
    [jax] = [library for library in LIBRARIES if library.name == "JAX"]
    argument = f"local_window_size={left}"
    seen = weights(jax, Call([argument]), bench, None) > 0
    return f"{argument}, one number, is another window: {counted(seen)}."


def _hugging_face_note(words: dict[str, Any], bench: Bench) -> str | None:
    """Say what the page of conventions records: a window of W holds the query's own position."""
    del bench
    left, right = words.get("window", (0, 1))
    if (right > 0 and "causal" not in words) or "window" not in words:
        return None
    return (
        f"In a model's configuration, sliding_window={left + 1} is a causal window of this "
        "width: it counts the query's own position."
    )


def _onnx_words(words: dict[str, Any], bench: Bench) -> list[Call]:
    inputs = '["query", "key", "value"]'
    with_lengths = '["query", "key", "value", "", "", "", "lengths"]'
    arguments = ["is_causal=1"] if "causal" in words else []
    if "window" in words:
        left, right = words["window"]
        arguments += [f"left_window_size={left}", f"right_window_size={right}"]
    if "length" in words:
        line = f'feeds = {{"lengths": np.array([{words["length"][0]}], dtype=np.int64)}}'
        return [Call([with_lengths, '["weights"]', *arguments], (line,))]
    # As many real keys as there are keys hide none, and put the last query at the last key.
    line = f'feeds = {{"lengths": np.array([{bench.kv_len}], dtype=np.int64)}}'
    return [
        Call([inputs, '["weights"]', *arguments], ("feeds = {}",)),
        Call([with_lengths, '["weights"]', *arguments], (line,)),
    ]


def _causal_word(argument: str) -> Callable[[dict[str, Any], Bench], list[Call]]:
    return lambda words, _: [Call([argument] if words else [])]


def _flash_words(words: dict[str, Any], bench: Bench) -> list[Call]:
    del bench
    arguments = ["causal=True"] if "causal" in words else []
    if "window" in words:
        arguments.append(f"window_size={words['window']}")
    return [Call(arguments)]


def _flex(bench: Bench) -> Call:
    start = f" + {bench.q_start}" if bench.q_start else ""
    terms = {
        "causal": "kv_idx <= position",
        "window": "(position - {left} <= kv_idx) & (kv_idx <= position + {right})",
        "prefix": "(kv_idx < {prefix}) | (kv_idx <= position)",
        "padding": "kv_idx < {length}",
        "left padding": f"kv_idx >= {bench.kv_len} - {{length}}",
        "documents": "position // {each} == kv_idx // {each}",
    }
    lines = ["def allowed(b, h, q_idx, kv_idx):", f"    position = q_idx{start}"]
    for place, part in enumerate(bench.parts):
        term = terms[part.kind].format(**part.numbers)
        sign = "" if place == 0 else f"allows {'&' if part.join == 'and' else '|'} "
        term = f"~({term})" if part.negated else f"({term})" if sign else term
        lines.append(f"    allows = {sign}{term}")
    lines += [
        "    return allows",
        "",
        'sizes = {"Q_LEN": q_len, "KV_LEN": kv_len, "device": "cpu"}',
        "blocks = create_block_mask(allowed, None, None, **sizes)",
    ]
    line = "from torch.nn.attention.flex_attention import create_block_mask"
    return Call(["block_mask=blocks"], tuple(lines), (line,))


def _mask_of(line: str, *arguments: str, imports: tuple[str, ...] = ()) -> Callable[[Bench], Call]:
    call = Call(list(arguments), (line,) if line else (), imports, masked=True)
    return lambda _: call


_TORCH = SimpleNamespace(
    zeros=_shaped,
    eye=_identity,
    arange=np.arange,
    where=np.where,
    from_numpy=np.asarray,
    finfo=np.finfo,
    float32=np.float32,
    float16=np.float32,
    nn=SimpleNamespace(
        Module=SimpleNamespace,
        MultiheadAttention=lambda *_, **__: (
            lambda *arrays, **options: interop.torch.multi_head_attention(
                *arrays, num_heads=1, **options
            )
        ),
    ),
)
_JNP = SimpleNamespace(zeros=_shaped, eye=_identity, array=np.asarray)


class _Evaluator:
    """What runs a node of ONNX, over the adapter."""

    def __init__(self, node: tuple[list[str], dict[str, Any]]) -> None:
        self.inputs, self.attributes = node

    def run(self, _: None, feeds: dict[str, Any]) -> list[Any]:
        """Return the output."""
        inputs = [feeds.get(name) for name in self.inputs]
        return [interop.onnx.attention(*inputs, **self.attributes).Y]


_HEADS_FIRST = (
    "query = torch.zeros(1, 1, q_len, kv_len)",
    "key = torch.zeros(1, 1, kv_len, kv_len)",
    "value = torch.eye(kv_len)[None, None]  # so that the output is the weights",
)
_LENGTH_FIRST = (
    "query = {0}.zeros((1, q_len, 1, kv_len))",
    "key = {0}.zeros((1, kv_len, 1, kv_len))",
    "value = {0}.eye(kv_len)[None, :, None]  # so that the output is the weights",
)
LIBRARIES = [
    Library(
        "PyTorch SDPA",
        ("import torch", "from torch.nn.functional import scaled_dot_product_attention"),
        _HEADS_FIRST,
        "output = scaled_dot_product_attention({})",
        "weights = output[0, 0]",
        "query, key, value",
        frozenset({"causal"}),
        _torch_words,
        _mask_of("mask = torch.from_numpy(mask)", "attn_mask=mask"),
        {
            "torch": _TORCH,
            "scaled_dot_product_attention": interop.torch.scaled_dot_product_attention,
            "causal_lower_right": lambda q_len, kv_len: causal_mask(
                q_len, kv_len, q_start=kv_len - q_len
            ),
        },
    ),
    Library(
        "nn.MultiheadAttention",
        ("import torch",),
        (
            "query = torch.zeros(1, q_len, kv_len)",
            "key = torch.zeros(1, kv_len, kv_len)",
            "module = torch.nn.MultiheadAttention(kv_len, 1, batch_first=True)",
        ),
        "output, weights = module({})",
        "weights = weights[0]",
        "query, key, key",
        frozenset({"causal", "length"}),
        _module_words,
        _mask_of("hidden = torch.from_numpy(~mask)  # here True hides", "attn_mask=hidden"),
        {"torch": _TORCH},
    ),
    Library(
        "flex_attention",
        (
            "import torch",
            "from torch.nn.attention.flex_attention import flex_attention",
        ),
        _HEADS_FIRST,
        "output = flex_attention({})",
        "weights = output[0, 0]",
        "query, key, value",
        frozenset(),
        lambda *_: [Call([])],
        _flex,
        {
            "torch": _TORCH,
            "flex_attention": interop.torch.flex_attention,
            "create_block_mask": lambda allowed, *_, **__: allowed,
        },
    ),
    Library(
        "JAX",
        ("import jax.numpy as jnp", "from jax.nn import dot_product_attention"),
        tuple(line.format("jnp") for line in _LENGTH_FIRST),
        "output = dot_product_attention({})",
        "weights = output[0, :, 0]",
        "query, key, value",
        frozenset({"causal", "window", "length"}),
        _jax_words,
        _mask_of("", "mask=mask[None, None]"),
        {"jnp": _JNP, "dot_product_attention": interop.jax.dot_product_attention},
        note=_jax_note,
    ),
    Library(
        "Keras ops on JAX",
        (
            "import os",
            'os.environ["KERAS_BACKEND"] = "jax"',
            "from keras import ops",
        ),
        tuple(line.format("ops") for line in _LENGTH_FIRST),
        "output = ops.dot_product_attention({})",
        "weights = output[0, :, 0]",
        "query, key, value",
        frozenset({"causal"}),
        _causal_word("is_causal=True"),
        _mask_of("", "mask=mask[None, None]"),
        {
            "ops": SimpleNamespace(
                zeros=_shaped,
                eye=_identity,
                dot_product_attention=interop.keras.dot_product_attention,
            )
        },
    ),
    Library(
        "ONNX reference",
        (
            "import numpy as np",
            "from onnx.helper import make_node",
            "from onnx.reference import ReferenceEvaluator",
        ),
        (
            "query = np.zeros((1, 1, q_len, kv_len), dtype=np.float32)",
            "key = np.zeros((1, 1, kv_len, kv_len), dtype=np.float32)",
            "value = np.eye(kv_len, dtype=np.float32)[None, None]  # the output is the weights",
            'feeds |= {"query": query, "key": key, "value": value}',
        ),
        "node = make_node({})",
        "weights = ReferenceEvaluator(node).run(None, feeds)[0][0, 0]",
        '"Attention"',
        frozenset({"causal", "window", "length"}),
        _onnx_words,
        _mask_of('feeds = {"mask": mask}', '["query", "key", "value", "mask"]', '["weights"]'),
        {
            "make_node": lambda _, inputs, __, **attributes: (inputs, attributes),
            "ReferenceEvaluator": _Evaluator,
        },
    ),
    Library(
        "MLX",
        ("import mlx.core as mx",),
        (
            "query = mx.zeros((1, 1, q_len, kv_len))",
            "key = mx.zeros((1, 1, kv_len, kv_len))",
            "value = mx.eye(kv_len)[None, None]  # so that the output is the weights",
        ),
        "output = mx.fast.scaled_dot_product_attention({})",
        "weights = output[0, 0]",
        "query, key, value, scale=1.0",
        frozenset({"causal"}),
        _causal_word('mask="causal"'),
        _mask_of("mask = mx.array(mask)", "mask=mask"),
        {
            "mx": SimpleNamespace(
                zeros=_shaped,
                eye=_identity,
                array=np.asarray,
                fast=SimpleNamespace(
                    scaled_dot_product_attention=interop.mlx.scaled_dot_product_attention
                ),
            )
        },
    ),
    Library(
        "FlashAttention",
        ("import torch", "from flash_attn import flash_attn_func"),
        (
            'options = {"dtype": torch.float16, "device": "cuda"}',
            "query = torch.zeros(1, q_len, 1, 16, **options)",
            "key = torch.zeros(1, kv_len, 1, 16, **options)",
            "value = torch.eye(kv_len, 16, **options)[None, :, None]",
        ),
        "output = flash_attn_func({})",
        "weights = output[0, :, 0, :kv_len]",
        "query, key, value",
        frozenset({"causal", "window"}),
        _flash_words,
        None,
        {"torch": _TORCH, "flash_attn_func": interop.flash_attn.flash_attn_func},
        documented=True,
    ),
    Library(
        "Hugging Face eager",
        (
            "import torch",
            "from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward",
        ),
        (*_HEADS_FIRST, "module = torch.nn.Module()", "module.num_key_value_groups = 1"),
        "output, weights = eager_attention_forward({})",
        "weights = weights[0, 0]",
        "module, query, key, value",
        frozenset(),
        lambda *_: [Call(["None", "scaling=1.0"])],
        _mask_of(
            "added = torch.where(torch.from_numpy(mask), 0.0, torch.finfo(torch.float32).min)",
            "added",
            "scaling=1.0",
        ),
        {
            "torch": _TORCH,
            "eager_attention_forward": lambda _, *arguments, **options: (
                interop.transformers.eager_attention_forward(*arguments, **options)
            ),
        },
        note=_hugging_face_note,
    ),
]
