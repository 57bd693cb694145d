"""The conformance kit: what it asks, what it says, and that right functions pass."""

import json
import re
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from attention_ref import flash_attention, scaled_dot_product_attention
from attention_ref.testing import FEATURES, attention_cases, check_attention
from attention_ref.testing._cases import CASES


def tiles(*arrays, **terms):
    return flash_attention(*arrays, **terms, q_tile=2, kv_tile=3).output


def module(query, key, value, *, num_heads, **terms):
    """Call nn.MultiheadAttention, its projections set to pass everything on."""
    width = query.shape[-1]
    attention = torch.nn.MultiheadAttention(
        width, num_heads, bias=False, batch_first=True, dtype=query.dtype
    )
    with torch.no_grad():
        eye = torch.eye(width, dtype=query.dtype)
        attention.in_proj_weight.copy_(torch.cat([eye] * 3))
        attention.out_proj.weight.copy_(eye)
    return attention(query, key, value, **terms)


def unmasked(query, key, value, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = attn_mask.to(query.dtype)
    return sdpa(query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa)


@pytest.mark.parametrize("dtype", [None, "float32", "float64", "bfloat16", "float16"])
def test_pytorch_passes(dtype):
    report = check_attention(sdpa, dtype=dtype)
    assert report.ok, report
    assert report.diagnoses == ()


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (scaled_dot_product_attention, None),
        (scaled_dot_product_attention, torch.float64),
        (tiles, torch.float32),
    ],
)
def test_our_own_pass_with_all_their_features(function, dtype):
    report = check_attention(function, "attention_ref", dtype=dtype)
    assert report.ok, report
    held = {name for outcome in report.outcomes for name in outcome.case.needs}
    lacking = {"grouped", "gradient"} if dtype is None else {"grouped", "half", "float64"}
    assert held == set(FEATURES) - lacking


def test_nn_multihead_attention_passes():
    report = check_attention(module, "torch_mha")
    assert report.ok, report


# The kit draws the same numbers each time. That none of this hangs on them was seen with 48 seeds.
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_right_functions_pass_whatever_is_drawn(monkeypatch, seed):
    cases = tuple(replace(case, seed=seed) for case in CASES)
    monkeypatch.setattr("attention_ref.testing._check.CASES", cases)
    for function, convention, dtype in (
        (sdpa, "torch", None),
        (module, "torch_mha", None),
        (scaled_dot_product_attention, "attention_ref", None),
        (scaled_dot_product_attention, "attention_ref", torch.float64),
    ):
        report = check_attention(function, convention, dtype=dtype)
        assert report.ok, report


def test_the_smallest_case_runs_alone_and_shows_the_fault():
    report = check_attention(unmasked, features=["mask"])
    assert [diagnosis.name for diagnosis in report.diagnoses] == ["mask added"]
    assert len(report.snippet.splitlines()) < 20
    program = report.snippet.replace("from test_testing import unmasked", "")
    told = {}
    exec(program, {"unmasked": unmasked, "print": lambda name, x: told.update({name: x})})
    assert (told["answer"] - told["right"]).abs().max() > 0.01


@pytest.mark.parametrize("fault", ["gradient", "bias"])
def test_the_smallest_case_of_other_kinds_runs_too(fault, capsys):
    def wrong(query, key, value, mask=None, bias=None):
        query = query.detach() if fault == "gradient" else query
        return scaled_dot_product_attention(query, key, value, bias=None, mask=mask)

    report = check_attention(wrong, "attention_ref", [fault], dtype=torch.float32)
    exec(re.sub("# .*\n", "", report.snippet), {"attention": wrong})
    assert capsys.readouterr().out


def test_the_report_fits_a_terminal_and_says_all():
    report = check_attention(unmasked)
    text = str(report)
    assert max(map(len, text.splitlines())) < 80
    assert "FAILS  mask shared by all" in text
    assert "mask added: the mask is added to the scores as 0 and 1" in text
    assert "softcap, sink: cannot be said in the convention torch" in text
    for outcome in report.outcomes:
        assert outcome.case.name in text
    assert json.loads(json.dumps(report.as_dict()))["ok"] is False


def test_what_is_declared_is_tried_and_what_is_not_is_listed():
    def plain(query, key, value):
        return sdpa(query, key, value)

    report = check_attention(plain, features=[])
    assert report.ok
    assert report.untried["mask"] == "not declared"
    report = check_attention(plain, features=["mask"])
    assert not report.ok
    assert report.diagnoses[0].name == "raises"
    assert "attn_mask" in report.diagnoses[0].message


def test_a_dtype_that_the_library_lacks_is_listed():
    report = check_attention(scaled_dot_product_attention, "attention_ref", ["half"])
    assert report.untried["bfloat16"] == "numpy has none"
    assert {outcome.case.dtype for outcome in report.outcomes} == {"float32", "float16"}


def test_bad_arguments_have_one_line():
    for arguments, error, message in (
        ({"convention": "numpy"}, ValueError, "convention must be one of attention_ref, torch"),
        ({"features": ["masks"]}, ValueError, "features must be among mask, bias"),
        ({"features": ["sink"]}, ValueError, "features must be what torch can say, got sink"),
        ({"features": "mask"}, TypeError, "features must be a list of names"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of bfloat16, float16"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            check_attention(sdpa, **arguments)
    with pytest.raises(TypeError, match="fn must be callable, got int"):
        check_attention(3)


@pytest.mark.parametrize("case", attention_cases("torch", ["mask", "causal"]), ids=str)
def test_a_case_is_a_test(case):
    case.check(sdpa)


def test_a_case_that_fails_says_what_the_report_says():
    cases = {str(case): case for case in attention_cases("torch", ["mask"])}
    with pytest.raises(AssertionError, match="mask added: the mask is added"):
        cases["padding"].check(unmasked)
    cases["self-attention"].check(unmasked)
