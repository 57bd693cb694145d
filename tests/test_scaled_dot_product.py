import math
import re
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as torch_attention

from attention_ref import (
    attention_scores,
    attention_stages,
    attention_weights,
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 5, 7, 11, 13
SHAPE = (BATCH, HEADS, Q_LEN, KV_LEN)


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [2 * rng.standard_normal(shape) for shape in shapes]


def draw_inputs(seed):
    return draw(
        seed, (*SHAPE[:2], Q_LEN, D_K), (*SHAPE[:2], KV_LEN, D_K), (*SHAPE[:2], KV_LEN, D_V)
    )


def draw_mask(seed, *shape):
    """Draw a mask of half True, with some row that sees nothing and some that sees all."""
    mask = np.random.default_rng(seed).random(shape or SHAPE) < 0.5
    mask[..., 1, :], mask[..., 3, :] = False, True
    return mask


def row_by_row(query, key, value, *, scale, softcap, bias, mask, sink):
    """Attend in Python's own arithmetic, one query at a time."""
    weights = np.zeros((len(query), len(key)))
    for i, j in np.argwhere(mask & (bias > -np.inf)):
        score = sum(a * b for a, b in zip(query[i], key[j], strict=True)) * scale
        weights[i, j] = math.exp(softcap * math.tanh(score / softcap) + bias[i, j])
    total = [math.fsum(row) + math.exp(sink) for row in weights]
    weights = np.array([row / (n or 1) for row, n in zip(weights, total, strict=True)])
    logarithm = np.array([math.log(n) if n else -np.inf for n in total])
    return weights, logarithm, weights @ value


@given(
    seed=seeds,
    scale=st.floats(-1, 1),
    softcap=st.sampled_from([0.5, 3.0, 50.0]),
    sinks=st.booleans(),
)
def test_attention_agrees_with_python_row_by_row(library, seed, scale, softcap, sinks):
    query, key, value = draw_inputs(seed)
    bias, sink = draw(seed, SHAPE, HEADS)
    mask = draw_mask(seed)
    bias[draw_mask(seed + 1)] = -np.inf
    options = {"mask": mask, "bias": bias, **({"sink": sink} if sinks else {})}
    stages = attention_stages(
        *map(library.array, (query, key, value)),
        **{name: library.array(array) for name, array in options.items()},
        scale=scale,
        softcap=softcap,
    )
    for b, h in np.ndindex(BATCH, HEADS):
        weights, logarithm, output = row_by_row(
            query[b, h],
            key[b, h],
            value[b, h],
            scale=scale,
            softcap=softcap,
            bias=bias[b, h],
            mask=mask[b, h],
            sink=sink[h] if sinks else -np.inf,
        )
        close = {"rtol": 1e-11, "atol": 1e-13}
        np.testing.assert_allclose(library.numpy(stages.weights)[b, h], weights, **close)
        np.testing.assert_allclose(library.numpy(stages.logsumexp)[b, h], logarithm, **close)
        np.testing.assert_allclose(library.numpy(stages.output)[b, h], output, **close)


@given(seed=seeds)
def test_the_stages_follow_from_each_other(library, seed):
    query, key, value, bias = map(library.array, [*draw_inputs(seed), *draw(seed, SHAPE)])
    mask = library.array(draw_mask(seed))
    options = {"mask": mask, "bias": bias, "softcap": 2.0}
    stages = attention_stages(query, key, value, **options)
    scores, capped, biased, weights, logsumexp, output = map(library.numpy, stages)
    query, key, value, bias, mask = map(library.numpy, (query, key, value, bias, mask))
    close = {"rtol": 1e-11, "atol": 1e-12}
    np.testing.assert_allclose(scores, query @ key.swapaxes(-1, -2) / math.sqrt(D_K), **close)
    np.testing.assert_allclose(capped, 2 * np.tanh(scores / 2), **close)
    np.testing.assert_array_equal(biased, np.where(mask, capped + bias, -np.inf))
    lse = np.where(np.isfinite(logsumexp), logsumexp, 0)
    np.testing.assert_allclose(weights, np.exp(biased - lse[..., None]), **close)
    np.testing.assert_allclose(output, weights @ value, **close)


@given(seed=seeds)
def test_each_function_is_its_stage(library, seed):
    query, key, value, bias = map(library.array, [*draw_inputs(seed), *draw(seed, SHAPE)])
    (sink,) = map(library.array, draw(seed, HEADS))
    mask = library.array(draw_mask(seed))
    options = {"mask": mask, "bias": bias, "scale": 0.3, "softcap": 2.0, "sink": sink}
    stages = attention_stages(query, key, value, **options)
    for result, stage in (
        (attention_scores(query, key, scale=0.3), stages.scores),
        (attention_weights(query, key, **options), stages.weights),
        (scaled_dot_product_attention(query, key, value, **options), stages.output),
    ):
        np.testing.assert_array_equal(library.numpy(result), library.numpy(stage))


@given(seed=seeds)
def test_forward_and_gradient_agree_with_pytorch(seed):
    query, key, value, bias = (
        torch.asarray(x).requires_grad_() for x in [*draw_inputs(seed), *draw(seed, SHAPE)]
    )
    mask = torch.asarray(draw_mask(seed))
    with sdpa_kernel(SDPBackend.MATH):
        theirs = torch_attention(query, key, value, bias.masked_fill(~mask, -math.inf))
    ours = scaled_dot_product_attention(query, key, value, mask=mask, bias=bias)
    alive = mask.any(-1)  # where nothing is visible they give NaN
    torch.testing.assert_close(ours[alive], theirs[alive], rtol=1e-11, atol=1e-12)
    (direction,) = draw(seed + 1, ours[alive].shape)
    inputs = (query, key, value, bias)
    for got, expected in zip(
        torch.autograd.grad((ours[alive] * torch.asarray(direction)).sum(), inputs),
        torch.autograd.grad((theirs[alive] * torch.asarray(direction)).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, expected.nan_to_num(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_agree_with_finite_differences(masked):
    shapes = (2, 3, 5), (2, 3, 5), (2, 3, 2), (2, 3, 3), (2,)
    query, key, value, bias, sink = (torch.asarray(x).requires_grad_() for x in draw(11, *shapes))
    mask = torch.asarray([[True, False, True], [False] * 3, [True] * 3]) if masked else None

    def attend(query, key, value, bias, sink):
        stages = attention_stages(
            query, key, value, mask=mask, bias=bias, softcap=3.0, sink=sink if masked else None
        )
        return stages.output, stages.weights, stages.logsumexp

    inputs = (query, key, value, bias, sink)
    assert torch.autograd.gradcheck(attend, inputs)
    assert torch.autograd.gradgradcheck(attend, inputs, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula_in_float32(dtype):
    dtype = getattr(torch, dtype)
    query, key, value = (torch.asarray(x).to(dtype) for x in draw_inputs(2))

    def formula(working):
        q, k, v = (x.to(working) for x in (query, key, value))
        return torch.softmax(q @ k.mT / math.sqrt(D_K), -1) @ v

    exact = formula(torch.float64)
    plain_error = (formula(torch.float32).to(dtype).double() - exact).abs().max()
    output = scaled_dot_product_attention(query, key, value)
    assert output.dtype == dtype
    assert (output.double() - exact).abs().max() <= 2 * plain_error
    stages = attention_stages(query, key, value)
    assert {stage.dtype for stage in stages[:-1]} == {torch.float32}
    assert attention_weights(query, key).dtype == attention_scores(query, key).dtype == dtype


def test_float64_stays_float64(library):
    inputs = [library.array(x) for x in draw_inputs(3)]
    assert all(stage.dtype == inputs[0].dtype for stage in attention_stages(*inputs))


def test_the_widest_dtype_computes_and_the_value_gives_the_outputs(library):
    query, key, value, bias = [*draw_inputs(4), *draw(4, SHAPE)]
    query, key = query.astype(np.float32), key.astype(np.float32)
    narrow = [library.array(x) for x in (query, key)]
    stages = attention_stages(*narrow, library.array(value))
    exact = attention_stages(*(library.array(x.astype(float)) for x in (query, key, value)))
    for got, expected in zip(stages, exact, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(library.numpy(got), library.numpy(expected))
    value = library.array(value.astype(np.float32))
    options = {"bias": library.array(bias), "scale": np.float64(0.5), "softcap": np.float64(2)}
    assert attention_stages(*narrow, value, **options).weights.dtype == options["bias"].dtype
    assert scaled_dot_product_attention(*narrow, value, **options).dtype == value.dtype
    weights = attention_weights(*narrow, **options)
    assert weights.dtype == value.dtype
    wide = attention_stages(*narrow, value, **options).weights
    np.testing.assert_array_equal(library.numpy(weights), library.numpy(wide).astype(np.float32))
    del options["bias"]
    assert attention_stages(*narrow, value, **options).weights.dtype == value.dtype


def test_float16_scores_beyond_its_range_do_not_overflow():
    query = np.full((2, 3), 200, dtype=np.float16)
    key = np.array([[200, 200, 200], [-200, -200, -200]], dtype=np.float16)
    value = np.array([[1], [5]], dtype=np.float16)
    assert scaled_dot_product_attention(query, key, value).tolist() == [[1], [1]]


def test_huge_scores_stay_finite(library):
    query = library.array(np.array([[1e15], [-1e15]], dtype=np.float32))
    key = library.array(np.array([[1e15], [0.0], [-1e15]], dtype=np.float32))
    weights = attention_weights(query, key)
    assert library.numpy(weights).tolist() == [[1, 0, 0], [0, 0, 1]]


# What a mask hides has no influence.


def variations(library, seed):
    bias, sink = draw(seed, SHAPE, HEADS)
    yield {}
    yield {"bias": library.array(bias), "softcap": 2.0, "sink": library.array(sink)}


@given(
    seed=seeds,
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    where=st.integers(0, KV_LEN - 1),
    through_bias=st.booleans(),
)
def test_a_bad_key_or_value_changes_no_bit_of_the_rows_that_it_is_masked_from(
    library, seed, bad, where, through_bias
):
    query, key, value = draw_inputs(seed)
    mask = draw_mask(seed)
    bad_key, bad_value = key.copy(), value.copy()
    bad_key[..., where, 2] = bad_value[..., where, 4] = bad
    blind = ~mask[..., where]
    hide = {"mask": library.array(mask)}
    if through_bias:
        hide = {"bias": library.array(np.where(mask, 0.0, -np.inf))}
    for variation in variations(library, seed):
        options = variation | hide
        clean, *tainted = (
            [
                library.numpy(stage)[blind]
                for stage in attention_stages(*map(library.array, (query, k, v)), **options)[2:]
            ]
            for k, v in ((key, value), (bad_key, value), (key, bad_value), (bad_key, bad_value))
        )
        for stages in tainted:
            for expected, got in zip(clean, stages, strict=True):
                np.testing.assert_array_equal(got, expected)


@given(seed=seeds, bad=st.sampled_from([np.nan, np.inf, -np.inf]), causal=st.booleans())
def test_a_bad_key_or_value_changes_no_bit_of_the_gradients_of_those_rows(seed, bad, causal):
    query, key, value = draw_inputs(seed)
    mask = draw_mask(seed)
    if causal:
        mask[...] = causal_mask(Q_LEN, KV_LEN, q_start=KV_LEN - Q_LEN)
    blind = ~mask[..., -1]
    bad_key, bad_value = key.copy(), value.copy()
    bad_key[..., -1, 2] = bad_value[..., -1, 4] = bad
    (bias,) = draw(seed, SHAPE)
    found = []
    for k, v in ((key, value), (bad_key, value), (key, bad_value), (bad_key, bad_value)):
        inputs = [torch.asarray(x).requires_grad_() for x in (query, k, v, bias)]
        stages = attention_stages(
            *inputs[:3], mask=torch.asarray(mask), bias=inputs[3], softcap=4.0
        )
        outputs = [stages.weights, stages.logsumexp[..., None], stages.output]
        outputs = torch.concat(outputs, dim=-1)[torch.asarray(blind)]
        loss = (torch.where(torch.isfinite(outputs), outputs, 0.0) ** 2).sum()
        found.append(torch.autograd.grad(loss, inputs))
    clean, *tainted = found
    assert all(torch.isfinite(gradient).all() for gradient in clean)
    assert clean[1][..., -1, :].count_nonzero() == clean[2][..., -1, :].count_nonzero() == 0
    for gradients in tainted:
        for expected, got in zip(clean, gradients, strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_who_may_see_a_bad_key_gets_nan(library):
    query, key, value = draw_inputs(5)
    mask = draw_mask(5)
    for bad in (np.nan, np.inf, -np.inf):
        key[0, 0, 2, 3] = bad
        inputs = [library.array(x) for x in (query, key, value)]
        stages = attention_stages(*inputs, mask=library.array(mask))
        assert np.isnan(library.numpy(stages.scores)[0, 0, :, 2]).all()
        nan_rows = np.zeros(SHAPE[:-1], dtype=bool)
        nan_rows[0, 0] = mask[0, 0, :, 2]
        np.testing.assert_array_equal(np.isnan(library.numpy(stages.logsumexp)), nan_rows)
        assert (np.isnan(library.numpy(stages.output)) == nan_rows[..., None]).all()


def test_who_may_see_an_infinite_value_gets_what_adding_it_gives(library):
    query, key, _ = draw_inputs(6)
    query, key = query[0, 0, :4], key[0, 0, :3]
    inf, nan = np.inf, np.nan
    value = np.array([[inf, inf, -inf, nan, 1], [2, -inf, -inf, inf, 1], [1, 1, 1, 1, 1]])
    mask = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]], dtype=bool)
    arrays = [library.array(x) for x in (query, key, value)]
    output = library.numpy(scaled_dot_product_attention(*arrays, mask=library.array(mask)))
    assert np.isfinite(output[2, 0])
    output[2, 0] = 0
    np.testing.assert_allclose(
        output,
        [[inf, nan, -inf, nan, 1], [inf, inf, -inf, nan, 1], [0, -inf, -inf, inf, 1], [1] * 5],
        rtol=1e-14,
    )
    unmasked = library.numpy(scaled_dot_product_attention(*arrays))
    np.testing.assert_array_equal(unmasked[0], output[0])
    key[0] = nan
    arrays[1] = library.array(key)
    output = library.numpy(scaled_dot_product_attention(*arrays, mask=library.array(mask)))
    assert np.isnan(output[:2]).all()
    np.testing.assert_array_equal(output[3], [1] * 5)


def test_a_bad_query_spoils_its_own_row_alone():
    query, key, value = (torch.asarray(x) for x in draw_inputs(7))
    clean = scaled_dot_product_attention(query, key, value)
    query[:, :, 2, 0] = math.nan
    inputs = [x.requires_grad_() for x in (query, key, value)]
    output = scaled_dot_product_attention(*inputs)
    assert output[:, :, 2].isnan().all()
    others = [0, 1, 3, 4]
    assert torch.equal(output[:, :, others], clean[:, :, others])
    gradients = torch.autograd.grad(output[:, :, others].sum(), inputs)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


# A query that may see nothing.


@pytest.mark.parametrize("through", ["mask", "bias", "both"])
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_query_that_sees_nothing_gives_zero_with_zero_gradient(through, bad):
    arrays = draw_inputs(8)
    for array in arrays:
        array[0, 0, 1, 0] += bad
    inputs = [torch.asarray(x).requires_grad_() for x in arrays]
    mask = np.ones((Q_LEN, KV_LEN), dtype=bool)
    bias = np.zeros((Q_LEN, KV_LEN))
    if through != "bias":
        mask[1, : 4 if through == "both" else None] = False
    if through != "mask":
        bias[1, 2 if through == "both" else 0 :] = -np.inf
    bias = torch.asarray(bias).requires_grad_()
    stages = attention_stages(*inputs, mask=torch.asarray(mask), bias=bias, softcap=5.0)
    assert (stages.output[..., 1, :] == 0).all()
    assert (stages.weights[..., 1, :] == 0).all()
    assert (stages.logsumexp[..., 1] == -math.inf).all()
    seen = stages.output[..., 1, :].sum() + stages.weights[..., 1, :].sum()
    for gradient in torch.autograd.grad(seen, [*inputs, bias], retain_graph=True):
        assert (gradient == 0).all()
    whole = torch.autograd.grad(stages.output[1].sum(), [*inputs, bias])
    assert all(torch.isfinite(gradient).all() for gradient in whole)
    assert (whole[0][1, :, 1] == 0).all()
    assert (whole[0][1, :, 2] != 0).all()


def test_minus_infinite_scores_are_not_a_mask():
    query = torch.tensor([[-1e30]])
    key = torch.tensor([[1e30], [1e30]])
    stages = attention_stages(query, key, key)
    assert (stages.scores == -math.inf).all()
    assert stages.output.isnan().all()


@pytest.mark.parametrize("masked", [False, True])
def test_no_keys_at_all(library, masked):
    query, key, value = (library.array(x) for x in draw(9, (2, 5, 3), (2, 0, 3), (2, 0, 7)))
    mask = library.array(np.zeros((5, 0), dtype=bool)) if masked else None
    stages = attention_stages(query, key, value, mask=mask)
    np.testing.assert_array_equal(library.numpy(stages.output), np.zeros((2, 5, 7)))
    assert stages.weights.shape == (2, 5, 0)
    assert (library.numpy(stages.logsumexp) == -np.inf).all()
    sink = library.array(np.array([1.0, 2.0]))
    stages = attention_stages(query, key, value, mask=mask, sink=sink)
    np.testing.assert_array_equal(library.numpy(stages.logsumexp), [[1.0] * 5, [2.0] * 5])
    np.testing.assert_array_equal(library.numpy(stages.output), np.zeros((2, 5, 7)))


def test_no_queries_and_no_batch(library):
    query, key, value = (library.array(x) for x in draw(9, (0, 3), (5, 3), (5, 7)))
    assert scaled_dot_product_attention(query, key, value).shape == (0, 7)
    query, key, value = (library.array(x) for x in draw(9, (0, 2, 3), (0, 5, 3), (0, 5, 7)))
    assert scaled_dot_product_attention(query, key, value).shape == (0, 2, 7)


# Properties.


@given(seed=seeds)
def test_the_future_never_leaks(library, seed):
    query, key, value = draw_inputs(seed)
    mask = library.array(causal_mask(Q_LEN, KV_LEN, q_start=1))
    attend = [library.array(x) for x in (query, key, value)]
    output = library.numpy(scaled_dot_product_attention(*attend, mask=mask))
    for i in range(Q_LEN):
        other_key, other_value = draw(seed + 1, key.shape, value.shape)
        other_key[..., : i + 2, :], other_value[..., : i + 2, :] = (
            key[..., : i + 2, :],
            value[..., : i + 2, :],
        )
        changed = [library.array(x) for x in (query, other_key, other_value)]
        again = library.numpy(scaled_dot_product_attention(*changed, mask=mask))
        np.testing.assert_array_equal(again[..., : i + 1, :], output[..., : i + 1, :])
        assert i == Q_LEN - 1 or (again[..., i + 1 :, :] != output[..., i + 1 :, :]).any()


def test_no_gradient_comes_from_the_future():
    inputs = [torch.asarray(x) for x in draw(12, (5, 3), (7, 3), (7, 2))]
    mask = causal_mask(5, 7, q_start=1, like=inputs[0])
    jacobian = torch.autograd.functional.jacobian(
        lambda k, v: scaled_dot_product_attention(inputs[0], k, v, mask=mask).sum(-1),
        tuple(inputs[1:]),
    )
    for part in jacobian:  # (q_len, kv_len, d)
        seen = (part != 0).any(-1)
        assert not seen[~mask].any()
        assert seen[1:][mask[1:]].all()  # query 0 sees two keys, all others more


@given(seed=seeds)
def test_rows_sum_to_one_or_to_zero(library, seed):
    query, key, _ = draw_inputs(seed)
    mask = draw_mask(seed)
    weights = attention_weights(library.array(query), library.array(key), mask=library.array(mask))
    weights = library.numpy(weights)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), mask.any(-1), rtol=1e-13)


@given(seed=seeds)
def test_the_order_of_keys_does_not_matter(library, seed):
    query, key, value = draw_inputs(seed)
    mask, order = draw_mask(seed), np.random.default_rng(seed).permutation(KV_LEN)
    outputs = [
        library.numpy(
            scaled_dot_product_attention(*map(library.array, inputs), mask=library.array(m))
        )
        for inputs, m in (
            ((query, key, value), mask),
            ((query, key[:, :, order], value[:, :, order]), mask[..., order]),
        )
    ]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-11, atol=1e-13)


@given(seed=seeds)
def test_padding_changes_nothing(library, seed):
    query, key, value = draw_inputs(seed)
    junk = draw(seed + 1, (*SHAPE[:2], 4, D_K), (*SHAPE[:2], 4, D_V))
    padded = [np.concat([x, y], axis=-2) for x, y in zip((key, value), junk, strict=True)]
    mask = padding_mask(library.array(np.array([KV_LEN] * BATCH)), KV_LEN + 4)[:, None, ...]
    short = scaled_dot_product_attention(*map(library.array, (query, key, value)))
    long = scaled_dot_product_attention(*map(library.array, (query, *padded)), mask=mask)
    np.testing.assert_allclose(library.numpy(long), library.numpy(short), rtol=1e-12, atol=1e-14)


@given(seed=seeds)
def test_every_batch_item_and_head_is_its_own_attention(library, seed):
    query, key, value = draw_inputs(seed)
    mask, (sink, bias) = draw_mask(seed), draw(seed, HEADS, SHAPE)
    whole = scaled_dot_product_attention(
        *map(library.array, (query, key, value)),
        mask=library.array(mask),
        bias=library.array(bias),
        sink=library.array(sink),
    )
    for b, h in np.ndindex(BATCH, HEADS):
        one = scaled_dot_product_attention(
            *(library.array(x[b, h]) for x in (query, key, value)),
            mask=library.array(mask[b, h]),
            bias=library.array(bias[b, h]),
            sink=library.array(np.asarray(sink[h])),
        )
        np.testing.assert_allclose(
            library.numpy(whole)[b, h], library.numpy(one), rtol=1e-12, atol=1e-14
        )


@pytest.mark.parametrize(
    "shape", [(KV_LEN,), (1, KV_LEN), (Q_LEN, 1), (HEADS, 1, 1), (BATCH, 1, Q_LEN, KV_LEN), ()]
)
def test_mask_and_bias_broadcast(library, shape):
    inputs = [library.array(x) for x in draw_inputs(13)]
    (bias,) = draw(13, shape)
    mask = np.random.default_rng(1).random(shape) < 0.5
    for name, array in (("mask", np.asarray(mask)), ("bias", np.asarray(bias))):
        full = np.broadcast_to(array, SHAPE).copy()
        given_, spread = (
            scaled_dot_product_attention(*inputs, **{name: library.array(x)}) for x in (array, full)
        )
        np.testing.assert_array_equal(library.numpy(given_), library.numpy(spread))


def test_a_mask_that_lets_all_through_is_no_mask(library):
    inputs = draw_inputs(14)
    inputs[1][0, 0, 2, 1], inputs[2][0, 1, 3, 2], inputs[2][1, 1, 3, 2] = np.nan, np.inf, np.nan
    inputs = [library.array(x) for x in inputs]
    plain = attention_stages(*inputs)
    for option in (
        {"mask": library.array(np.array(True))},
        {"bias": library.array(np.array(0.0))},
    ):
        for got, expected in zip(attention_stages(*inputs, **option), plain, strict=True):
            np.testing.assert_array_equal(library.numpy(got), library.numpy(expected))


def test_a_sink_of_minus_infinity_is_no_sink(library):
    inputs = [library.array(x) for x in draw_inputs(14)]
    mask = library.array(draw_mask(14))
    sink = library.array(np.array(-np.inf))
    plain, beside = (
        attention_stages(*inputs, mask=mask),
        attention_stages(*inputs, mask=mask, sink=sink),
    )
    for got, expected in zip(beside, plain, strict=True):
        np.testing.assert_allclose(library.numpy(got), library.numpy(expected), rtol=1e-13)


def test_a_sink_takes_weight_and_gives_no_value(library):
    query, key, value = draw_inputs(15)
    (sink,) = draw(15, HEADS)
    extended = [np.concat([x, np.zeros_like(x[..., :1, :])], axis=-2) for x in (key, value)]
    bias = np.concat([np.zeros(SHAPE), np.zeros(SHAPE[:-1])[..., None]], -1)
    bias[..., -1] = sink[:, None]
    same = attention_stages(*map(library.array, (query, *extended)), bias=library.array(bias))
    stages = attention_stages(*map(library.array, (query, key, value)), sink=library.array(sink))
    for got, expected in (
        (stages.output, library.numpy(same.output)),
        (stages.weights, library.numpy(same.weights)[..., :-1]),
        (stages.logsumexp, library.numpy(same.logsumexp)),
    ):
        np.testing.assert_allclose(library.numpy(got), expected, rtol=1e-12, atol=1e-14)
    dead = attention_stages(
        *map(library.array, (query, key, value)),
        mask=library.array(np.array(False)),
        sink=library.array(sink),
    )
    assert (library.numpy(dead.weights) == 0).all()
    assert (library.numpy(dead.output) == 0).all()
    assert (library.numpy(dead.logsumexp) == sink[:, None]).all()


Q, K, V = np.zeros((2, 3, 5, 8)), np.zeros((2, 3, 7, 8)), np.zeros((2, 3, 7, 4))
attend = scaled_dot_product_attention
MASK_RULE = "mask must have shape that broadcasts to (*batch, q_len, kv_len) = (2, 3, 5, 7), got "
NOT_BOOLEAN = (
    "mask must be boolean, True where a query may attend, got {}: numbers would be added to the "
    "scores, where 0 and 1 hide nothing (0 and -inf do: pass them as bias)"
)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: attend(Q.tolist(), K, V),
            TypeError,
            "query must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: attend(Q, K, V.tolist()),
            TypeError,
            "value must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: attend(Q, torch.asarray(K), V),
            TypeError,
            "key must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: attend(Q.astype(int), K.astype(int), V),
            TypeError,
            "query must have a real floating dtype, got int64",
        ),
        (
            lambda: attend(Q, K, V.astype(complex)),
            TypeError,
            "value must have a real floating dtype, got complex128",
        ),
        (
            lambda: attend(torch.asarray(Q), torch.asarray(K).half(), torch.asarray(V)),
            TypeError,
            "key must have the dtype of query (float64), got float16",
        ),
        (
            lambda: attend(Q[0, 0, 0], K, V),
            ValueError,
            "query must have shape (..., q_len, d_k) with d_k of at least 1, got (8,)",
        ),
        (
            lambda: attend(Q[..., :0], K[..., :0], V),
            ValueError,
            "query must have shape (..., q_len, d_k) with d_k of at least 1, got (2, 3, 5, 0)",
        ),
        (
            lambda: attend(Q, K[0, :, :, :6], V),
            ValueError,
            "key must have shape (..., kv_len, d_k=8), got (3, 7, 6)",
        ),
        (
            lambda: attend(Q, K[:, :1], V),
            ValueError,
            "key must have shape (2, 3, kv_len, d_k=8), got (2, 1, 7, 8)",
        ),
        (
            lambda: attend(Q, K[0], V),
            ValueError,
            "key must have shape (2, 3, kv_len, d_k=8), got (3, 7, 8)",
        ),
        (
            lambda: attend(Q, K, V[:, :, :6]),
            ValueError,
            "value must have shape (2, 3, kv_len=7, d_v), got (2, 3, 6, 4)",
        ),
        (
            lambda: attend(Q, K, V[0]),
            ValueError,
            "value must have shape (2, 3, kv_len=7, d_v), got (3, 7, 4)",
        ),
        (
            lambda: attend(Q[0, 0], K[0, 0], V[0, 0, 0]),
            ValueError,
            "value must have shape (kv_len=7, d_v), got (4,)",
        ),
        (
            lambda: attend(Q, K, V, mask=np.ones((5, 7))),
            TypeError,
            NOT_BOOLEAN.format("float64"),
        ),
        (
            lambda: attention_weights(Q, K, mask=np.ones((5, 7), dtype=int)),
            TypeError,
            NOT_BOOLEAN.format("int64"),
        ),
        (
            lambda: attend(Q, K, V, mask=np.ones((7, 5), dtype=bool)),
            ValueError,
            MASK_RULE + "(7, 5)",
        ),
        (
            lambda: attend(Q, K, V, mask=np.ones((2, 5, 7), dtype=bool)),
            ValueError,
            MASK_RULE + "(2, 5, 7)",
        ),
        (
            lambda: attend(Q, K, V, mask=np.ones((1, 1, 1, 5, 7), dtype=bool)),
            ValueError,
            MASK_RULE + "(1, 1, 1, 5, 7)",
        ),
        (
            lambda: attend(Q[:1], K[:1], V[:1], mask=np.ones((2, 3, 5, 7), dtype=bool)),
            ValueError,
            MASK_RULE.replace("(2, 3", "(1, 3") + "(2, 3, 5, 7)",
        ),
        (
            lambda: attend(Q, K, V, mask=[[True]]),
            TypeError,
            "mask must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: attend(Q, K, V, bias=np.ones((5, 7), dtype=bool)),
            TypeError,
            "bias must have a real floating dtype, got bool: pass it as mask",
        ),
        (
            lambda: attend(Q, K, V, bias=np.ones((5, 7), dtype=int)),
            TypeError,
            "bias must have a real floating dtype, got int64",
        ),
        (
            lambda: attend(Q, K, V, bias=np.ones((5, 6))),
            ValueError,
            MASK_RULE.replace("mask", "bias") + "(5, 6)",
        ),
        (
            lambda: attend(Q, K, V, sink=np.ones(2)),
            ValueError,
            "sink must have shape that broadcasts to (*batch) = (2, 3), got (2,)",
        ),
        (
            lambda: attend(Q, K, V, sink=np.ones(3, dtype=int)),
            TypeError,
            "sink must have a real floating dtype, got int64",
        ),
        (
            lambda: attend(Q, K, V, sink=0.0),
            TypeError,
            "sink must be an array (NumPy, PyTorch, ...), got float",
        ),
        (
            lambda: attend(Q, K, V, scale=math.nan),
            ValueError,
            "scale must be a finite number, got nan",
        ),
        (
            lambda: attention_scores(Q, K, scale="1"),
            TypeError,
            "scale must be a finite number, got str",
        ),
        (
            lambda: attend(Q, K, V, softcap=0),
            ValueError,
            "softcap must be a finite number above zero, got 0",
        ),
        (
            lambda: attention_weights(Q, K, softcap=-2.0),
            ValueError,
            "softcap must be a finite number above zero, got -2.0",
        ),
        (
            lambda: attention_scores(Q, K[..., :6]),
            ValueError,
            "key must have shape (..., kv_len, d_k=8), got (2, 3, 7, 6)",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


@pytest.mark.no_shape_checks
def test_all_but_the_arrays_go_by_keyword():
    with pytest.raises(TypeError, match=re.escape("takes 3 positional arguments but 4 were given")):
        attend(Q, K, V, np.ones((5, 7), dtype=bool))


def draw_more_than_one_part(seed):
    """Draw inputs that are cut along the batch, then the heads, then the queries."""
    lead = (2, 3)
    return draw(seed, (*lead, 307, D_K), (*lead, 251, D_K), (*lead, 251, D_V))


def test_parts_of_the_batch_and_of_the_queries_make_the_whole(library):
    inputs = draw_more_than_one_part(20)
    by_query, by_head, by_item, sink, sinks = draw(
        21, (307, 251), (3, 1, 251), (2, 1, 307, 1), 3, (2, 1)
    )
    for options in (
        {"mask": by_query > 0, "bias": by_head, "sink": sink, "softcap": 2.0},
        {"mask": by_head < 1, "bias": by_item, "sink": sinks, "scale": 0.3},
        {"mask": by_item > 0, "bias": by_query[0], "sink": sink[0]},
        {"mask": by_head[0, 0] < 1},
    ):
        expected = attention_stages(*inputs, **options).output
        terms = {n: library.array(x) if np.ndim(x) else x for n, x in options.items()}
        if "sink" in options:
            terms["sink"] = library.array(np.asarray(options["sink"]))
        output = scaled_dot_product_attention(*map(library.array, inputs), **terms)
        np.testing.assert_allclose(library.numpy(output), expected, rtol=1e-11, atol=1e-12)


def test_parts_hand_on_the_gradient_of_the_whole():
    (bias,) = draw(21, (3, 1, 251))
    leaves = [torch.asarray(x).requires_grad_() for x in (*draw_more_than_one_part(22), bias)]
    *inputs, bias = leaves
    (gradient,) = (torch.asarray(x) for x in draw(23, (2, 3, 307, D_V)))
    output = scaled_dot_product_attention(*inputs, bias=bias)
    found = torch.autograd.grad(output, leaves, gradient)
    whole = attention_stages(*inputs, bias=bias).output
    for got, expected in zip(found, torch.autograd.grad(whole, leaves, gradient), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_masked_changes_no_bit_of_any_part(library, bad):
    query, key, value = draw_more_than_one_part(24)
    mask = np.ones((307, 251), dtype=bool)
    mask[:, 100] = mask[5] = False
    mask[5, 7] = True
    tainted = key.copy(), value.copy()
    for x in tainted:
        x[..., 100, 3] = bad
    clean, found = (
        library.numpy(
            scaled_dot_product_attention(
                *map(library.array, (query, *pair)), mask=library.array(mask)
            )
        )
        for pair in ((key, value), tainted)
    )
    np.testing.assert_array_equal(found, clean)


def test_few_of_many_scores_are_in_memory():
    query, key, value = draw(25, (2, 1000, 8), (2, 1000, 8), (2, 1000, 8))
    tracemalloc.start()
    scaled_dot_product_attention(query, key, value)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * 1000 * 1000 * 8 / 2  # the plain formula holds all scores more than once
