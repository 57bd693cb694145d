"""Which cases a convention, its features and a dtype leave, and what is said of the rest."""

import re

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from attention_ref import scaled_dot_product_attention
from attention_ref.testing import FEATURES, attention_cases, check_attention
from attention_ref.testing._cases import CASES
from attention_ref.testing._check import _chosen
from attention_ref.testing._conventions import CONVENTIONS


@pytest.mark.parametrize("name", CONVENTIONS)
def test_by_default_all_cases_of_what_the_library_holds(name):
    its = CONVENTIONS[name]
    _, cases, untried = _chosen(name, None, None, None)
    held = its.defaults - ({"gradient"} if its.library == "numpy" else set())
    lacking = {"bfloat16"} if its.library == "numpy" else set()
    names = [case.name for case in CASES if case.needs <= held and case.dtype not in lacking]
    assert [case.name for case in cases] == names
    assert set(untried) == set(FEATURES) - held | lacking
    for one in set(FEATURES) - its.features:
        if one != "gradient" or its.library != "numpy":
            assert untried[one] == f"cannot be said in the convention {name}"
    for one in its.beyond - {"gradient"}:
        assert untried[one] == "the library itself does not hold it; declare it to have it tried"
    for one in lacking:
        assert untried[one] == "numpy has none"


def test_what_is_declared_is_tried_and_the_rest_said_not_to_be():
    _, cases, untried = _chosen("torch", ["isolation", "mask"], None, None)
    assert {name for case in cases for name in case.needs} == {"isolation", "mask"}
    assert untried["causal"] == "not declared"
    assert untried["sink"] == "cannot be said in the convention torch"
    assert list(untried) == [name for name in FEATURES if name not in ("isolation", "mask")]
    _, cases, untried = _chosen("torch", [], None, None)
    assert all(case.needs == set() for case in cases)
    assert list(untried) == list(FEATURES)


@pytest.mark.parametrize(
    ("convention", "said"),
    [
        ("attention_ref", "NumPy has none; give a dtype of PyTorch"),
        ("onnx", "cannot be said in the convention onnx"),
    ],
)
def test_numpy_has_no_gradient(convention, said):
    for features in (None, ["gradient", "mask"] if convention == "attention_ref" else ["mask"]):
        _, cases, untried = _chosen(convention, features, None, None)
        assert not any(case.gradient for case in cases)
        assert untried["gradient"] == said
    _, cases, untried = _chosen("attention_ref", ["gradient"], torch.float32, None)
    assert any(case.gradient for case in cases)
    assert "gradient" not in untried
    _, _, untried = _chosen("attention_ref", ["mask"], torch.float32, None)
    assert untried["gradient"] == "not declared"


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_a_dtype_is_that_of_all_cases_and_gradients_are_asked_in_whole_precision(dtype):
    features = ["mask", "gradient", "half", "float64"]
    _, cases, _ = _chosen("torch", features, dtype, None)
    assert {case.dtype for case in cases} == {dtype}
    narrow = dtype in ("float16", "bfloat16")
    assert any(case.gradient for case in cases) != narrow
    _, every, _ = _chosen("torch", features, None, None)
    assert [case.name for case in cases] == [
        case.name for case in every if case.dtype == "float32" and not (narrow and case.gradient)
    ]


def test_where_values_are_as_wide_as_keys_every_case_is_so():
    _, cases, _ = _chosen("flash_attn", None, None, None)
    assert all(case.d_v == case.d_k for case in cases)
    _, cases, _ = _chosen("torch", None, None, None)
    assert any(case.d_v != case.d_k for case in cases)


def test_cases_come_one_by_one_with_their_names():
    cases = attention_cases("torch", ["mask"], "float16", "cpu")
    assert [str(case) for case in cases[:2]] == ["self-attention", "cross-attention"]
    assert {case.case.dtype for case in cases} == {"float16"}
    assert {case.judge.device for case in cases} == {"cpu"}
    assert cases[0].judge.convention is CONVENTIONS["torch"]
    assert any(case.case.mode == "train" for case in cases)
    assert str(attention_cases()[0]) == "self-attention"


def test_a_case_says_nothing_where_the_answer_is_right_and_all_where_it_is_not():
    (case, *_) = attention_cases("attention_ref", [])
    assert case.check(scaled_dot_product_attention) is None

    def unscaled(query, key, value):
        return scaled_dot_product_attention(query, key, value, scale=1.0)

    with pytest.raises(AssertionError) as raised:
        case.check(unscaled)
    text = str(raised.value)
    assert "unscaled, called as attention_ref: 1 fail\n\n  FAILS  self-attention" in text
    assert "Not tried" not in text
    assert "no scale: the scores are not divided by sqrt(d_k)" in text
    assert "right = reference(query, key, value)" in text


def test_a_report_has_all_that_was_found():
    def unscaled(query, key, value):
        return scaled_dot_product_attention(query, key, value, scale=1.0)

    report = check_attention(unscaled, "attention_ref", [])
    assert report.function.endswith("<locals>.unscaled")
    assert report.convention == "attention_ref"
    assert [outcome.case.name for outcome in report.outcomes] == [
        "self-attention",
        "cross-attention",
        "one query",
        "one key",
        "one head, one item",
        "large scores",
    ]
    assert [diagnosis.name for diagnosis in report.diagnoses] == ["no scale"]
    assert "q_len" not in report.snippet
    assert report.snippet.count("[[[[") == 3  # one head of one item, as small as it shows
    assert set(report.untried) == set(FEATURES)
    right = check_attention(scaled_dot_product_attention, "attention_ref", [])
    assert (right.ok, right.diagnoses, right.snippet) == (True, (), "")
    assert right.function == "scaled_dot_product_attention"
    assert set(right.untried) == set(FEATURES)


def test_an_instance_is_called_by_its_class():
    class Attend:
        def __call__(self, query, key, value):
            return scaled_dot_product_attention(query, key, value)

    assert check_attention(Attend(), "attention_ref", []).function == "Attend"


def test_what_has_modes_is_asked_in_both():
    class Layer(torch.nn.Module):
        def forward(self, query, key, value):
            return sdpa(query, key, value)

    modes = [outcome.case.mode for outcome in check_attention(Layer(), features=[]).outcomes]
    assert modes == ["eval"] * 6 + ["train"]
    modes = {outcome.case.mode for outcome in check_attention(sdpa, features=[]).outcomes}
    assert modes == {"eval"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"convention": "numpy"},
            ValueError,
            f"convention must be one of {', '.join(CONVENTIONS)}, got numpy",
        ),
        (
            {"features": ["mask", "masks"]},
            ValueError,
            f"features must be among {', '.join(FEATURES)}, got masks",
        ),
        ({"features": ["sink"]}, ValueError, "features must be what torch can say, got sink"),
        (
            {"features": "mask"},
            TypeError,
            "features must be a list of names, got the string 'mask'",
        ),
        (
            {"dtype": "int8"},
            ValueError,
            "dtype must be one of bfloat16, float16, float32, float64 for torch, got int8",
        ),
        (
            {"convention": "onnx", "dtype": np.int64},
            ValueError,
            "dtype must be one of float16, float32, float64 for numpy, got int64",
        ),
    ],
)
def test_a_bad_argument_has_one_line(arguments, error, message):
    for ask in (attention_cases, lambda **given: check_attention(sdpa, **given)):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            ask(**arguments)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match=r"^fn must be callable, got int$"):
        check_attention(3)
