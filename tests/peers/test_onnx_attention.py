"""ONNX's cases of Attention and FlexAttention, as shipped and where softmax is not flat.

The judge is the graph of plain operators that ONNX ships beside each case. Run in float64 it gives
the exact answer, and run in the dtypes of the case the error that the formula has there.
"""

import functools
from types import SimpleNamespace
from typing import NamedTuple

import array_api_compat
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnx.backend.test.case.node as onnx_cases
import pytest
import torch
from onnx.backend.test.case.node import attention, flexattention  # noqa: F401  # make the cases
from onnx.reference import ReferenceEvaluator

from attention_ref import interop

jax.config.update("jax_enable_x64", True)

CASES = {
    case.name: case
    for case in onnx_cases._NodeTestCases
    if case.name.startswith(("test_attention", "test_flexattention"))
}
EXPANDED = {name.partition("_expanded")[0]: name for name in CASES if "_expanded" in name}
NAMES = [name for name in CASES if "_expanded" not in name]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# The error of a few numbers on one draw is chance: it varies by more than two.
DRAWS = 8
JAX = SimpleNamespace(name="jax", array=jnp.asarray, numpy=np.asarray)
FLOATS = {getattr(onnx.TensorProto, name) for name in ("BFLOAT16", "FLOAT16", "FLOAT", "DOUBLE")}


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
    if node.op_type == "FlexAttention":
        found = {"Y": flex_attention(*arrays.values(), **attributes(node))}
    else:
        found = interop.onnx.attention(**arrays, **attributes(node))._asdict()
    return {name: to_numpy(library, array, dtype) for name, array in found.items()}


def score_mod_of(xp, graph):
    """Write the graph that changes the scores as a function of scores and indices."""
    constants = {x.name: onnx.numpy_helper.to_array(x) for x in graph.initializer}
    return {
        "score_mod_bias": lambda score, b, h, q, k: score + float(constants["bias"]),
        "score_mod_causal_mask": lambda score, b, h, q, k: xp.where(q >= k, score, -xp.inf),
        "score_mod_relative_positional": lambda score, b, h, q, k: (
            score + xp.astype(q - k, score.dtype)
        ),
        "score_mod_soft_cap": lambda score, b, h, q, k: (
            xp.tanh(score / float(constants["cap"])) * float(constants["cap"])
        ),
    }[graph.name]


def flex_attention(query, key, value, score_mod=None, prob_mod=None, scale=None):
    """Answer by PyTorch's convention, whose score_mod is a function of all scores here too."""
    xp = array_api_compat.array_namespace(query)
    if prob_mod is not None:
        # It has no such function; the one of ONNX's case halves all weights, or all values.
        assert prob_mod.name == "prob_mod_scale"
        value = value * float(onnx.numpy_helper.to_array(prob_mod.initializer[0]))
    score_mod = score_mod and score_mod_of(xp, score_mod)
    return interop.torch.flex_attention(query, key, value, score_mod, None, scale, enable_gqa=True)


def retyped(message, dtype):
    """Change every float of a model into another: types, constants, casts."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    if isinstance(message, onnx.TensorProto) and message.data_type in FLOATS:
        array = onnx.numpy_helper.to_array(message).astype(dtype)
        message.CopyFrom(onnx.numpy_helper.from_array(array, message.name))
        return
    if isinstance(message, onnx.TypeProto.Tensor) and message.elem_type in FLOATS:
        message.elem_type = kind
    if isinstance(message, onnx.NodeProto) and message.op_type == "Cast":
        (to,) = message.attribute
        to.i = kind if to.i in FLOATS else to.i
    for field, content in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in content if field.is_repeated else [content]:
                retyped(part, dtype)


def run_graph(model, inputs):
    names = [value.name for value in model.graph.input]
    with np.errstate(invalid="ignore"):  # its softmax of nothing is NaN before it is overwritten
        return ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))


def run_in(dtype, model, inputs):
    """Run a model with all its floats in another dtype."""
    model_there = onnx.ModelProto()
    model_there.CopyFrom(model)
    retyped(model_there, dtype)
    return run_graph(model_there, [x.astype(dtype) if is_float(x) else x for x in inputs])


def draw(inputs, how, seed):
    """Draw the floats again: even in [0, 1), as ONNX has them, or where softmax is not flat."""
    rng = np.random.default_rng(seed)

    def again(array):
        if not is_float(array):
            return array
        even = how == "as shipped"
        drawn = rng.random(array.shape) if even else 2 * rng.standard_normal(array.shape)
        return np.where(np.isneginf(array), array, drawn.astype(array.dtype))

    return [again(array) for array in inputs]


def relative_error(array, exact):
    """Return the largest error where the answer is finite, in parts of the largest number."""
    finite = ~np.isneginf(exact)
    np.testing.assert_array_equal(~np.isneginf(array), finite)
    array, exact = array[finite].astype(np.float64), exact[finite]
    return np.abs(array - exact).max() / (np.abs(exact).max() or 1.0)


class Judged(NamedTuple):
    """What a case's answers are judged by: one of each for every output that it asks for."""

    inputs: list
    names: list
    expected: list
    exact: list
    errors: list


@functools.cache
def judge(name, how):
    """Return the exact answers, and the largest errors that the formula has on a few draws."""
    case, expanded = CASES[name], CASES[EXPANDED[name]].model
    shipped, answers = case.data_sets[0]
    dtype = shipped[0].dtype
    draws = [draw(shipped, how, seed) for seed in range(DRAWS)]
    if how == "as shipped":
        draws[0] = shipped
    expected = [run_graph(expanded, inputs) for inputs in draws]
    if how == "as shipped":
        expected[0] = answers
    exact = [run_in(np.float64, expanded, inputs) for inputs in draws]
    measured, unit = expected, 1.0
    if dtype == np.float64:
        # Nothing wider judges it. The formula's roundings are as many in float32.
        measured = [run_in(np.float32, expanded, inputs) for inputs in draws]
        unit = np.finfo(np.float64).eps / np.finfo(np.float32).eps
    errors = [
        max(unit * relative_error(*pair) for pair in zip(theirs, judged, strict=True))
        for theirs, judged in zip(
            zip(*measured, strict=True), zip(*exact, strict=True), strict=True
        )
    ]
    names = [output for output in case.model.graph.node[0].output if output]
    return Judged(draws[0], names, expected[0], exact[0], errors)


def judge_case(library, name, how):
    judged = judge(name, how)
    found = attention_as_in_onnx(library, CASES[name], judged.inputs)
    for output, expected, exact, error in zip(*judged[1:], strict=True):
        ours = found[output]
        assert (ours.dtype, ours.shape) == (expected.dtype, expected.shape)
        assert exact.dtype == np.float64
        assert relative_error(ours, exact) <= 2 * error


def test_there_are_93_and_11_cases_each_with_an_expanded_graph():
    flex = [name for name in NAMES if name.startswith("test_flexattention")]
    assert (len(NAMES) - len(flex), len(flex)) == (93, 11)
    assert set(EXPANDED) == set(NAMES)
    assert len(CASES) == 2 * len(NAMES)


every_case = pytest.mark.parametrize("name", NAMES)
both_ways = pytest.mark.parametrize("how", ["as shipped", "redrawn"])


@both_ways
@every_case
def test_onnx_is_as_exact_as_its_dtypes(name, how):
    judged = judge(name, how)
    for output, expected, error in zip(judged.names, judged.expected, judged.errors, strict=True):
        # What is copied is exact, and so is the value of the one key that a query sees.
        if output.startswith("present") or name == "test_attention_causal_boolmask_nan_robustness":
            assert error == 0
        else:
            assert 0 < error < 8 * ml_dtypes.finfo(expected.dtype).eps


@both_ways
@every_case
def test_onnx(library, name, how):
    judge_case(library, name, how)


@both_ways
@every_case
def test_onnx_on_jax(name, how):
    judge_case(JAX, name, how)
