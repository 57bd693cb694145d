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

from attention_ref import interop

EXPANDED = "_expanded"
CASES = {c.name: c for c in onnx_cases._NodeTestCases if c.name.startswith("test_attention")}
NAMES = [name for name in CASES if not name.endswith(EXPANDED)]
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


def attention_as_in_onnx(library, case, inputs):
    """Answer as the operator does, whatever it is given: the outputs by name."""
    (node,) = case.model.graph.node
    arrays = named(node.input, inputs)
    dtype = arrays["Q"].dtype
    arrays = {name: to_library(library, array) for name, array in arrays.items()}
    found = interop.onnx.attention(**arrays, **attributes(node))
    return {name: to_numpy(library, array, dtype) for name, array in found._asdict().items()}


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
