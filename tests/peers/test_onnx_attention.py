"""ONNX's 93 cases of its operator Attention, as shipped and on inputs where softmax is not flat.

The judge is the graph of plain operators that ONNX ships beside each case. Run in float64 it gives
the exact answer, and run in the dtypes of the case the error that the formula has there.
"""

import functools

import ml_dtypes
import numpy as np
import onnx
import onnx.backend.test.case.node as onnx_cases
import pytest
import torch
from onnx.backend.test.case.node import attention  # noqa: F401  # makes its cases
from onnx.reference import ReferenceEvaluator

from attention_ref import (
    KVCache,
    attention_stages,
    causal_mask,
    expand_kv_heads,
    merge_heads,
    padding_mask,
    sliding_window_mask,
    split_heads,
)

EXPANDED = "_expanded"
CASES = {c.name: c for c in onnx_cases._NodeTestCases if c.name.startswith("test_attention")}
NAMES = [name for name in CASES if not name.endswith(EXPANDED)]
# What qk_matmul_output_mode counts through.
MODES = ("scores", "capped", "biased", "weights")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT = onnx.TensorProto.FLOAT
DOUBLE = onnx.TensorProto.DOUBLE
NARROW = (FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def is_float(array):
    return array.dtype == BFLOAT16 or np.issubdtype(array.dtype, np.floating)


def to_library(library, array):
    """Convert an array; to float32 where the library lacks its dtype, which changes no number."""
    if library.name == "torch" and array.dtype == BFLOAT16:
        return library.array(array.astype(np.float32)).to(torch.bfloat16)
    lacks = {"numpy": [BFLOAT16], "array-api-strict": [BFLOAT16, np.float16]}
    widened = array.dtype in lacks.get(library.name, ())
    return library.array(array.astype(np.float32) if widened else array)


def to_numpy(library, array, dtype):
    if library.name == "torch" and array.dtype == torch.bfloat16:
        array = array.float()
    return library.numpy(array).astype(dtype)


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def named(names, arrays):
    """Pair the names with the arrays; an empty name stands for an operand left out."""
    return dict(zip(filter(None, names), arrays, strict=True))


def as_mask_and_bias(operand, kv_len):
    """Fill an attn_mask up to the keys, which hides what it falls short of."""
    if operand is None:
        return None, None
    short = [(0, 0)] * (operand.ndim - 1) + [(0, kv_len - operand.shape[-1])]
    if operand.dtype == np.bool_:
        return np.pad(operand, short, constant_values=False), None
    return None, np.pad(operand, short, constant_values=-np.inf)


def attention_as_in_onnx(library, case, inputs):
    """Answer as the operator does, whatever it is given: the outputs by name."""
    (node,) = case.model.graph.node
    given = attributes(node)
    arrays = named(node.input, inputs)
    dtype = arrays["Q"].dtype
    if given.pop("softmax_precision", FLOAT) == DOUBLE:
        arrays = {k: v.astype(np.float64) if is_float(v) else v for k, v in arrays.items()}
    attn_mask = arrays.pop("attn_mask", None)
    arrays = {name: to_library(library, array) for name, array in arrays.items()}
    query, key, value = (arrays.pop(name) for name in "QKV")
    past = arrays.pop("past_key", None), arrays.pop("past_value", None)
    lengths = arrays.pop("nonpad_kv_seqlen", None)
    assert not arrays

    packed = query.ndim == 3
    if packed:
        query = split_heads(query, given.pop("q_num_heads"))
        kv_heads = given.pop("kv_num_heads")
        key, value = split_heads(key, kv_heads), split_heads(value, kv_heads)
    cache = KVCache.empty(key, value)
    if past[0] is not None:
        cache = cache.append(*past)
    cache = cache.append(key, value)

    heads, q_len, _ = query.shape[1:]
    kv_len = cache.key.shape[-2]
    attn_mask, bias = as_mask_and_bias(attn_mask, kv_len)
    mask = library.array(np.ones((1, 1), dtype=bool))
    if attn_mask is not None:
        mask = mask & library.array(attn_mask)
    start = {"q_start": cache.q_start, "like": query}
    if lengths is not None:
        mask = mask & padding_mask(lengths, kv_len)[:, None, :, :]
        start = {"q_start": lengths - q_len}
    windows = []
    if given.pop("is_causal", 0):
        windows.append(causal_mask(q_len, kv_len, **start))
    sides = [given.pop(f"{side}_window_size", -1) for side in ("left", "right")]
    left, right = (None if side == -1 else side for side in sides)
    windows.append(sliding_window_mask(q_len, kv_len, left=left, right=right, **start))
    for window in windows:
        mask = mask & (window if lengths is None else window[:, None, :, :])

    mode = MODES[given.pop("qk_matmul_output_mode", 0)]
    stages = attention_stages(
        query,
        expand_kv_heads(cache.key, heads),
        expand_kv_heads(cache.value, heads),
        mask=mask,
        bias=None if bias is None else to_library(library, bias),
        scale=given.pop("scale", None),
        softcap=given.pop("softcap", None),
    )
    assert not given
    outputs = {
        "Y": merge_heads(stages.output) if packed else stages.output,
        "present_key": cache.key,
        "present_value": cache.value,
        "qk_matmul_output": getattr(stages, mode),
    }
    return {name: to_numpy(library, array, dtype) for name, array in outputs.items()}


def widened(message):
    """Change every narrow float of a model into float64: types, constants, casts."""
    if isinstance(message, onnx.TensorProto) and message.data_type in NARROW:
        array = onnx.numpy_helper.to_array(message).astype(np.float64)
        message.CopyFrom(onnx.numpy_helper.from_array(array, message.name))
        return
    if isinstance(message, onnx.TypeProto.Tensor) and message.elem_type in NARROW:
        message.elem_type = DOUBLE
    if isinstance(message, onnx.NodeProto) and message.op_type == "Cast":
        (to,) = message.attribute
        to.i = DOUBLE if to.i in NARROW else to.i
    for field, content in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in content if field.is_repeated else [content]:
                widened(part)


def run_graph(model, inputs):
    names = [value.name for value in model.graph.input]
    with np.errstate(invalid="ignore"):  # its softmax of nothing is NaN before it is overwritten
        return ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))


def redrawn(inputs):
    generator = np.random.default_rng(5)

    def draw(array):
        if not is_float(array):
            return array
        normal = (2 * generator.standard_normal(array.shape)).astype(array.dtype)
        return np.where(np.isneginf(array), array, normal)

    return [draw(array) for array in inputs]


@functools.cache
def judge(name, how):
    """Return the inputs, the outputs that are asked for, those in float64, and their names."""
    case, expanded = CASES[name], CASES[name + EXPANDED].model
    inputs, expected = case.data_sets[0]
    if how == "redrawn":
        inputs = redrawn(inputs)
        expected = run_graph(expanded, inputs)
    exact = onnx.ModelProto()
    exact.CopyFrom(expanded)
    widened(exact)
    wide = [array.astype(np.float64) if is_float(array) else array for array in inputs]
    outputs = [output for output in case.model.graph.node[0].output if output]
    return inputs, expected, run_graph(exact, wide), outputs


def relative_error(array, exact):
    """Return the largest error where the answer is finite, in parts of the largest number."""
    finite = ~np.isneginf(exact)
    np.testing.assert_array_equal(~np.isneginf(array), finite)
    array, exact = array[finite].astype(np.float64), exact[finite]
    return np.abs(array - exact).max() / (np.abs(exact).max() or 1.0)


@functools.cache
def errors_of_the_formula(how):
    """Return the largest error of ONNX's own answers in each dtype and output, over all cases."""
    largest = {}
    for name in NAMES:
        _, expected, exact, outputs = judge(name, how)
        for output, theirs, judged in zip(outputs, expected, exact, strict=True):
            kind = theirs.dtype, output
            error = relative_error(theirs, judged)
            largest[kind] = max(largest.get(kind, 0.0), error)
    return largest


def test_there_are_93_cases_each_with_an_expanded_graph():
    assert len(NAMES) == 93
    assert set(CASES) == {*NAMES, *(name + EXPANDED for name in NAMES)}


@pytest.mark.parametrize("how", ["as shipped", "redrawn"])
def test_onnx_is_as_exact_as_its_dtypes(how):
    for (dtype, output), error in errors_of_the_formula(how).items():
        if output.startswith("present"):
            assert error == 0
        else:
            assert 0 < error < 8 * ml_dtypes.finfo(dtype).eps


@pytest.mark.parametrize("how", ["as shipped", "redrawn"])
@pytest.mark.parametrize("name", NAMES)
def test_onnx(library, name, how):
    inputs, expected, exact, outputs = judge(name, how)
    found = attention_as_in_onnx(library, CASES[name], inputs)
    for output, theirs, judged in zip(outputs, expected, exact, strict=True):
        ours = found[output]
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert judged.dtype == np.float64
        limit = 2 * errors_of_the_formula(how)[ours.dtype, output]
        assert relative_error(ours, judged) <= limit
