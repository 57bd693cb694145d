"""Each row of the table of conventions, as a small case whose answer can be worked out by hand."""

import inspect
import re

import numpy as np
import pytest
import torch

from attention_ref import (
    KVCache,
    StaticKVCache,
    attention_backward,
    attention_scores,
    attention_stages,
    attention_weights,
    causal_mask,
    expand_kv_heads,
    gated_attention,
    layer_norm,
    masked_softmax,
    multi_head_attention,
    padding_mask,
    scaled_dot_product_attention,
    sliding_window_mask,
    softmax,
    split_heads,
)

# One query, two keys: weights 1/4 and 3/4, so the output is 6.
QUERY = np.array([[1.0]])
KEY = np.log(np.array([[1.0], [3.0]]))
VALUE = np.array([[0.0], [8.0]])


def attend(**options):
    return float(scaled_dot_product_attention(QUERY, KEY, VALUE, **options)[0, 0])


def test_shape_is_batch_heads_length_features():
    inputs = [np.zeros((2, 3, *shape)) for shape in ((5, 11), (7, 11), (7, 13))]
    assert attention_scores(*inputs[:2]).shape == (2, 3, 5, 7)
    assert attention_weights(*inputs[:2]).shape == (2, 3, 5, 7)
    assert scaled_dot_product_attention(*inputs).shape == (2, 3, 5, 13)
    assert split_heads(np.zeros((2, 5, 33)), 3).shape == (2, 3, 5, 11)


@pytest.mark.parametrize(
    ("function", "positional"),
    [
        (scaled_dot_product_attention, ["query", "key", "value"]),
        (attention_stages, ["query", "key", "value"]),
        (attention_weights, ["query", "key"]),
    ],
)
def test_signature_is_query_key_value_and_the_rest_by_keyword(function, positional):
    parameters = inspect.signature(function).parameters.values()
    kinds = [(p.name, p.kind.name, p.default) for p in parameters]
    assert kinds == [
        *((name, "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty) for name in positional),
        *((name, "KEYWORD_ONLY", None) for name in ("mask", "bias", "scale", "softcap", "sink")),
    ]


def test_true_in_a_mask_means_may_attend():
    assert attend(mask=np.array([[True, False]])) == 0
    assert attend(mask=np.array([[False, True]])) == 8
    assert padding_mask(np.array([1]), 2).tolist() == [[[True, False]]]


@pytest.mark.no_shape_checks
def test_a_mask_of_numbers_is_a_type_error():
    for dtype in (int, float, np.uint8):
        with pytest.raises(TypeError, match="mask must be boolean"):
            attend(mask=np.array([[1, 0]], dtype=dtype))


@pytest.mark.no_shape_checks
def test_bias_is_added_and_minus_infinity_masks():
    assert attend(bias=np.log(np.array([[9.0, 1.0]]))) == pytest.approx(2)  # 9 to 3
    assert attend(bias=np.array([[0.0, -np.inf]])) == 0
    assert attend(bias=np.array([[-np.inf, -np.inf]])) == 0
    with pytest.raises(TypeError, match="pass it as mask"):
        attend(bias=np.array([[True, False]]))


def test_order_is_scale_soft_cap_bias_mask_softmax():
    stages = attention_stages(
        np.array([[2.0]]),
        np.array([[3.0], [5.0]]),
        VALUE,
        scale=100.0,
        softcap=4.0,
        bias=np.array([[7.0, 9.0]]),
        mask=np.array([[True, False]]),
    )
    assert stages.scores.tolist() == [[600, 1000]]
    assert stages.capped.tolist() == [[4, 4]]
    assert stages.biased.tolist() == [[11, -np.inf]]
    assert stages.weights.tolist() == [[1, 0]]


def test_the_default_scale_is_one_over_the_root_of_d_k():
    query, key = np.ones((1, 16)), np.ones((1, 16))
    assert attention_scores(query, key).tolist() == [[4]]


def test_a_query_that_may_see_nothing_gives_zero():
    inputs = [torch.asarray(x).requires_grad_() for x in (QUERY, KEY, VALUE)]
    stages = attention_stages(*inputs, mask=torch.tensor([[False, False]]))
    assert stages.output.tolist() == [[0]]
    assert stages.weights.tolist() == [[0, 0]]
    assert stages.logsumexp.tolist() == [-np.inf]
    assert all((g == 0).all() for g in torch.autograd.grad(stages.output.sum(), inputs))


def test_that_is_decided_on_the_mask_and_not_on_the_scores():
    stages = attention_stages(QUERY, np.full((2, 1), -1e300), VALUE)
    assert stages.weights.tolist() == [[0.5, 0.5]]
    stages = attention_stages(QUERY, np.array([[np.nan], [0.0]]), VALUE)
    assert np.isnan(stages.output).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_masked_key_or_value_never_changes_any_row(bad):
    mask = np.array([[False, True]])
    key, value = KEY.copy(), VALUE.copy()
    key[0] = value[0] = bad
    assert scaled_dot_product_attention(QUERY, key, value, mask=mask).tolist() == [[8]]


def test_causal_with_other_lengths_needs_q_start():
    with pytest.raises(ValueError, match=r"top-left.*bottom-right"):
        causal_mask(1, 3)
    assert causal_mask(1, 3, q_start=0).tolist() == [[True, False, False]]
    assert causal_mask(1, 3, q_start=2).tolist() == [[True, True, True]]


def test_window_counts_are_inclusive_and_none_is_open():
    def sees(**options):
        return sliding_window_mask(1, 7, q_start=3, **options).astype(int).tolist()[0]

    assert sees(left=0) == [0, 0, 0, 1, 0, 0, 0]
    assert sees(left=2) == [0, 1, 1, 1, 0, 0, 0]
    assert sees(left=1, right=2) == [0, 0, 1, 1, 1, 1, 0]
    assert sees(left=None) == [1, 1, 1, 1, 0, 0, 0]
    assert sees(left=0, right=None) == [0, 0, 0, 1, 1, 1, 1]


def test_query_head_h_reads_key_head_h_over_the_size_of_its_group():
    x = np.array([[[10]], [[20]]])
    assert expand_kv_heads(x, 6).ravel().tolist() == [10, 10, 10, 20, 20, 20]


def test_a_sink_is_one_logit_a_head_in_the_denominator_only():
    query, key, value = (np.stack([x, x]) for x in (QUERY, KEY, VALUE))  # two heads
    sink = np.log(np.array([4.0, 12.0]))
    stages = attention_stages(query, key, value, sink=sink)
    np.testing.assert_allclose(stages.weights, [[[1 / 8, 3 / 8]], [[1 / 16, 3 / 16]]])
    np.testing.assert_allclose(stages.output, [[[3]], [[1.5]]])
    np.testing.assert_allclose(stages.logsumexp, np.log([[8], [16]]))


def test_precision_is_float32_inside_and_the_values_dtype_outside():
    narrow = [x.astype(np.float16) for x in (QUERY, KEY, VALUE)]
    stages = attention_stages(*narrow)
    assert [stage.dtype.name for stage in stages] == ["float32"] * 5 + ["float16"]
    wide = attention_stages(*narrow[:2], VALUE)
    assert [stage.dtype.name for stage in wide] == ["float64"] * 6


@pytest.mark.no_shape_checks
def test_errors_name_the_argument_the_rule_and_what_came():
    line = "key must have shape (..., kv_len, d_k=8), got (2, 5, 6)"
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        attention_scores(np.zeros((2, 5, 8)), np.zeros((2, 5, 6)))
    line = "query must have a real floating dtype, got int64"
    with pytest.raises(TypeError, match=f"^{re.escape(line)}$"):
        attention_scores(QUERY.astype(np.int64), KEY)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("query", lambda: attention_scores(None, KEY)),
        ("key", lambda: attention_weights(QUERY, None)),
        ("value", lambda: scaled_dot_product_attention(QUERY, KEY, None)),
        ("gradient", lambda: attention_backward(None, QUERY, KEY, VALUE)),
        ("gate", lambda: gated_attention(QUERY, KEY, VALUE, None)),
        ("mask", lambda: masked_softmax(QUERY, None)),
        ("x", lambda: softmax(None)),
        ("gain", lambda: layer_norm(QUERY, None)),
        ("value", lambda: KVCache.empty(KEY[None], None)),
        ("value", lambda: StaticKVCache.empty(KEY[None], None, 3)),
        ("w_k", lambda: multi_head_attention(VALUE, *([VALUE[:1], None] * 2), heads=1)),
    ],
)
def test_none_in_the_place_of_an_array_is_refused_by_name(name, call):
    with pytest.raises(
        TypeError, match=rf"^{name} must be an array \(NumPy, PyTorch, ...\), got NoneType$"
    ):
        call()


def test_weights_multiply_from_the_right():
    x, swap = np.array([[2.0, 4.0, 6.0]]), np.eye(3)[[1, 2, 0]]
    flat, eye = np.zeros((3, 3)), np.eye(3)
    assert multi_head_attention(x, flat, flat, swap, eye, heads=1).tolist() == (x @ swap).tolist()
    assert multi_head_attention(x, flat, flat, eye, swap, heads=3).tolist() == (x @ swap).tolist()
