"""The attention of other libraries passes the kit, each in its own convention."""

import importlib
import types

import pytest
from torch.nn.attention.flex_attention import flex_attention

from attention_ref.testing import check_attention
from attention_ref.testing._conventions import CONVENTIONS


def test_jax_passes():
    jax = importlib.import_module("jax")
    report = check_attention(jax.nn.dot_product_attention, "jax")
    assert report.ok, report


def test_keras_passes(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = importlib.import_module("keras")
    features = CONVENTIONS["keras"].defaults - {"grouped"}
    report = check_attention(keras.ops.dot_product_attention, "keras", sorted(features))
    assert report.ok, report


def test_mlx_passes():
    mx = pytest.importorskip("mlx.core")
    report = check_attention(mx.fast.scaled_dot_product_attention, "mlx")
    assert report.ok, report


def through(session_of):
    """Return a function in ONNX's signature that runs the operator in such a session."""

    def attend(Q, K, V, attn_mask=None, **attributes):  # noqa: N803
        given = {"Q": Q, "K": K, "V": V}
        if attn_mask is not None:
            given["attn_mask"] = attn_mask
        return session_of(_model(given, attributes)).run(None, given)[0]

    return attend


def _model(given, attributes):
    onnx = importlib.import_module("onnx")
    value, kind = onnx.helper.make_tensor_value_info, onnx.helper.np_dtype_to_tensor_dtype
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Attention", list(given), ["Y"], **attributes)],
        "attention",
        [value(name, kind(x.dtype), x.shape) for name, x in given.items()],
        [value("Y", kind(given["Q"].dtype), None)],
    )
    # Windows came with opset 25.
    opset = 25 if {"left_window_size", "right_window_size"} & attributes.keys() else 24
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def test_the_reference_of_onnx_passes():
    reference = importlib.import_module("onnx.reference")
    report = check_attention(through(reference.ReferenceEvaluator), "onnx")
    assert report.ok, report


def test_onnx_runtime_passes():
    runtime = importlib.import_module("onnxruntime")

    def session(model):
        return runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    # Its softmax is in float32.
    features = CONVENTIONS["onnx"].defaults - {"float64"}
    report = check_attention(through(session), "onnx", sorted(features))
    assert report.ok, report


def test_the_eager_attention_of_transformers_passes():
    gemma2 = importlib.import_module("transformers.models.gemma2.modeling_gemma2")

    def eager(query, key, value, attention_mask, scaling, softcap=None):
        module = types.SimpleNamespace(
            num_key_value_groups=query.shape[1] // key.shape[1],
            training=False,
            head_dim=query.shape[-1],
        )
        return gemma2.eager_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, softcap=softcap
        )

    features = CONVENTIONS["transformers"].defaults - {"sink"}
    report = check_attention(eager, "transformers", sorted(features))
    assert report.ok, report


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_passes():
    report = check_attention(flex_attention, "flex")
    assert report.ok, report
