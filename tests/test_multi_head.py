import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    causal_mask,
    expand_kv_heads,
    grouped_query_attention,
    merge_heads,
    multi_head_attention,
    padding_mask,
    scaled_dot_product_attention,
    split_heads,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, KV_HEADS, Q_LEN, KV_LEN = 2, 6, 3, 5, 7
D_MODEL, D_CONTEXT, D_K, D_V, D_OUT = 11, 13, 2, 17, 19


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def draw_inputs(seed, kv_heads=KV_HEADS, d_context=D_MODEL):
    return draw(
        seed,
        (BATCH, Q_LEN, D_MODEL),
        (D_MODEL, HEADS * D_K),
        (d_context, kv_heads * D_K),
        (d_context, kv_heads * D_V),
        (HEADS * D_V, D_OUT),
    )


def test_split_heads_cuts_the_features(library):
    x = np.arange(2 * 3 * 5 * 14).reshape(2, 3, 5, 14)
    heads = library.numpy(split_heads(library.array(x), 7))
    assert heads.shape == (2, 3, 7, 5, 2)
    for h in range(7):
        np.testing.assert_array_equal(heads[:, :, h], x[..., 2 * h : 2 * h + 2])
    np.testing.assert_array_equal(library.numpy(merge_heads(split_heads(library.array(x), 7))), x)


def test_merge_heads_lays_them_side_by_side(library):
    x = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    merged = library.numpy(merge_heads(library.array(x)))
    assert merged.shape == (2, 5, 21)
    for h in range(3):
        np.testing.assert_array_equal(merged[..., 7 * h : 7 * h + 7], x[:, h])


def test_expand_kv_heads_repeats_neighbours(library):
    x = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    expanded = library.numpy(expand_kv_heads(library.array(x), 6))
    assert expanded.shape == (2, 6, 5, 7)
    for h in range(6):
        np.testing.assert_array_equal(expanded[:, h], x[:, h // 2])


def draw_heads(seed, kv_heads):
    shapes = (HEADS, Q_LEN, D_K), (kv_heads, KV_LEN, D_K), (kv_heads, KV_LEN, D_V)
    return draw(seed, *((BATCH, *shape) for shape in shapes))


@given(seed=seeds, kv_heads=st.sampled_from([1, 2, 3, 6]))
def test_grouped_queries_read_the_head_of_their_group(library, seed, kv_heads):
    query, key, value = draw_heads(seed, kv_heads)
    bias, sink = draw(seed, (BATCH, HEADS, Q_LEN, KV_LEN), HEADS)
    mask = np.random.default_rng(seed).random(bias.shape) < 0.5
    found = grouped_query_attention(
        *map(library.array, (query, key, value)),
        mask=library.array(mask),
        bias=library.array(bias),
        sink=library.array(sink),
        scale=0.3,
        softcap=2.0,
    )
    assert found.shape == (BATCH, HEADS, Q_LEN, D_V)
    for b, h in np.ndindex(BATCH, HEADS):
        group = h // (HEADS // kv_heads)
        terms = {"mask": mask[b, h], "bias": bias[b, h], "sink": sink[h]}
        expected = scaled_dot_product_attention(
            query[b, h], key[b, group], value[b, group], **terms, scale=0.3, softcap=2.0
        )
        np.testing.assert_allclose(library.numpy(found)[b, h], expected, rtol=1e-11, atol=1e-13)


def test_as_many_key_heads_as_query_heads_is_plain_attention(library):
    inputs = list(map(library.array, draw_heads(2, HEADS)))
    np.testing.assert_array_equal(
        library.numpy(grouped_query_attention(*inputs)),
        library.numpy(scaled_dot_product_attention(*inputs)),
    )


@pytest.mark.parametrize("kv_heads", [1, 3])
def test_grouped_queries_agree_with_pytorch_forward_and_backward(kv_heads):
    inputs = [torch.asarray(x).requires_grad_() for x in draw_heads(3, kv_heads)]
    ours = grouped_query_attention(*inputs)
    theirs = torch.nn.functional.scaled_dot_product_attention(*inputs, enable_gqa=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    for got, expected in zip(
        torch.autograd.grad((ours**2).sum(), inputs),
        torch.autograd.grad((theirs**2).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


@given(seed=seeds, cross=st.booleans(), kv_heads=st.sampled_from([1, 2, 3, 6]))
def test_every_head_attends_on_its_own_columns(library, seed, cross, kv_heads):
    x, w_q, w_k, w_v, w_o = draw_inputs(seed, kv_heads, D_CONTEXT if cross else D_MODEL)
    (context,) = draw(seed, (BATCH, KV_LEN, D_CONTEXT)) if cross else (x,)
    bias, sink = draw(seed, (BATCH, HEADS, Q_LEN, context.shape[1]), HEADS)
    mask = np.random.default_rng(seed).random(bias.shape) < 0.5
    output = multi_head_attention(
        *map(library.array, (x, w_q, w_k, w_v, w_o)),
        heads=HEADS,
        kv_heads=kv_heads,
        context=library.array(context) if cross else None,
        mask=library.array(mask),
        bias=library.array(bias),
        sink=library.array(sink),
        scale=0.3,
        softcap=2.0,
    )
    expected = np.zeros((BATCH, Q_LEN, D_OUT))
    for b, h in np.ndindex(BATCH, HEADS):
        shared = h // (HEADS // kv_heads)
        keys, values = (slice(shared * d, shared * d + d) for d in (D_K, D_V))
        head = scaled_dot_product_attention(
            x[b] @ w_q[:, h * D_K : h * D_K + D_K],
            context[b] @ w_k[:, keys],
            context[b] @ w_v[:, values],
            mask=mask[b, h],
            bias=bias[b, h],
            sink=sink[h],
            scale=0.3,
            softcap=2.0,
        )
        expected[b] += head @ w_o[h * D_V : h * D_V + D_V]
    assert output.shape == (BATCH, Q_LEN, D_OUT)
    np.testing.assert_allclose(library.numpy(output), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("cross", [False, True])
def test_forward_and_gradient_agree_with_pytorch(cross):
    torch.manual_seed(3)
    module = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True, dtype=torch.float64)
    x, context = (torch.asarray(a).requires_grad_() for a in draw(4, (2, 5, 12), (2, 7, 12)))
    context = context if cross else x
    mask = causal_mask(5, context.shape[1], q_start=0, like=x)
    theirs, _ = module(x, context, context, attn_mask=~mask)
    w_q, w_k, w_v = module.in_proj_weight.T.chunk(3, dim=1)
    ours = multi_head_attention(
        x,
        w_q,
        w_k,
        w_v,
        module.out_proj.weight.T,
        heads=3,
        context=context if cross else None,
        mask=mask,
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    inputs = (x, context, module.in_proj_weight, module.out_proj.weight)
    for got, expected in zip(
        torch.autograd.grad((ours**2).sum(), inputs),
        torch.autograd.grad((theirs**2).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


def test_no_batch_axes_and_several(library):
    x, *weights = draw_inputs(5)
    (bias,) = draw(5, (BATCH, HEADS, Q_LEN, Q_LEN))
    weights = list(map(library.array, weights))
    heads = {"heads": HEADS, "kv_heads": KV_HEADS}
    whole = library.numpy(
        multi_head_attention(library.array(x), *weights, **heads, bias=library.array(bias))
    )
    for b in range(BATCH):
        one = multi_head_attention(
            library.array(x[b]), *weights, **heads, bias=library.array(bias[b])
        )
        np.testing.assert_allclose(library.numpy(one), whole[b], rtol=1e-11, atol=1e-12)
    more = multi_head_attention(
        library.array(x[:, None]), *weights, **heads, bias=library.array(bias[:, None])
    )
    np.testing.assert_allclose(library.numpy(more)[:, 0], whole, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (Q_LEN,), (1, Q_LEN), (BATCH, 1, 1, Q_LEN)])
def test_mask_is_shared_or_has_all_axes(library, shape):
    x, *weights = map(library.array, draw_inputs(6))
    mask = np.asarray(np.random.default_rng(1).random(shape) < 0.6)
    full = np.broadcast_to(mask, (BATCH, HEADS, Q_LEN, Q_LEN)).copy()
    outputs = [
        multi_head_attention(x, *weights, heads=HEADS, kv_heads=KV_HEADS, mask=library.array(m))
        for m in (mask, full)
    ]
    np.testing.assert_array_equal(*map(library.numpy, outputs))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula_in_float32(dtype):
    dtype = getattr(torch, dtype)
    x, *weights = (torch.asarray(a).to(dtype) for a in draw_inputs(7, kv_heads=HEADS))

    def formula(working):
        source, w_q, w_k, w_v, w_o = (a.to(working) for a in (x, *weights))
        q, k, v = ((source @ w).unflatten(-1, (HEADS, -1)).transpose(1, 2) for w in (w_q, w_k, w_v))
        heads = torch.softmax(q @ k.mT / D_K**0.5, -1) @ v
        return heads.transpose(1, 2).flatten(2) @ w_o

    exact = formula(torch.float64)
    plain_error = (formula(torch.float32).to(dtype).double() - exact).abs().max()
    output = multi_head_attention(x, *weights, heads=HEADS)
    assert output.dtype == dtype
    assert (output.double() - exact).abs().max() <= 2 * plain_error


def test_the_future_never_leaks_in_evaluation_or_training():
    x, *weights = (torch.asarray(a) for a in draw_inputs(8))
    mask = causal_mask(Q_LEN, like=x)

    def attend(x):
        return multi_head_attention(x, *weights, heads=HEADS, kv_heads=KV_HEADS, mask=mask)

    output = attend(x)
    for i in range(Q_LEN - 1):
        changed = x.clone()
        changed[:, i + 1 :] += 1
        again = attend(changed)
        assert torch.equal(again[:, : i + 1], output[:, : i + 1])
        assert (again[:, i + 1 :] != output[:, i + 1 :]).all()
    jacobian = torch.autograd.functional.jacobian(lambda x: attend(x)[0].sum(-1), x)[:, 0]
    assert torch.equal((jacobian != 0).any(-1), mask)


@given(bad=st.sampled_from([np.nan, np.inf]), seed=seeds)
def test_garbage_in_the_padding_changes_no_bit_and_no_gradient(bad, seed):
    x, *weights = draw_inputs(seed)
    mask = padding_mask(torch.tensor([3, 5]), Q_LEN)[:, None]
    found = []
    for filler in (0.0, bad):
        x[0, 3:, 4] = filler
        inputs = [torch.asarray(a.copy()).requires_grad_() for a in (x, *weights)]
        output = multi_head_attention(*inputs, heads=HEADS, kv_heads=KV_HEADS, mask=mask)
        real = torch.concat([output[0, :3], output[1]])
        found.append((real, *torch.autograd.grad((real**2).sum(), inputs)))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@given(seed=seeds)
def test_attention_is_equivariant_until_a_causal_mask(library, seed):
    x, *weights = draw_inputs(seed)
    order = np.array([3, 0, 4, 1, 2])

    def attend(x, mask=None):
        arrays = map(library.array, (x, *weights))
        mask = None if mask is None else library.array(mask)
        output = multi_head_attention(*arrays, heads=HEADS, kv_heads=KV_HEADS, mask=mask)
        return library.numpy(output)

    close = {"rtol": 1e-10, "atol": 1e-11}
    np.testing.assert_allclose(attend(x[:, order]), attend(x)[:, order], **close)
    mask = causal_mask(Q_LEN)
    assert not np.allclose(attend(x[:, order], mask), attend(x, mask)[:, order], **close)


@pytest.mark.no_shape_checks
def test_integers_of_numpy_do_as_numbers(library):
    x, *weights = map(library.array, draw_inputs(9))
    plain = multi_head_attention(x, *weights, heads=HEADS, kv_heads=KV_HEADS)
    heads = {"heads": np.uint8(HEADS), "kv_heads": np.uint8(KV_HEADS)}
    given_ = multi_head_attention(x, *weights, **heads)
    np.testing.assert_array_equal(library.numpy(given_), library.numpy(plain))


Q, KV = np.zeros((2, 6, 5, 3)), np.zeros((2, 2, 7, 3))
X, W_Q, W_K, W_V, W_O = (np.zeros(shape) for shape in ((2, 5, 8), (8, 12), (8, 12), (8, 6), (6, 7)))


def attend(x=X, w_q=W_Q, w_k=W_K, w_v=W_V, w_o=W_O, *, heads=3, **options):
    return multi_head_attention(x, w_q, w_k, w_v, w_o, heads=heads, **options)


def axes_rule(name, shape):
    return (
        f"{name} must have shape (q_len, kv_len) or (*batch, heads, q_len, kv_len), got {shape}: "
        f"write {name}[:, None] for one a batch item, {name}[None] for one a head"
    )


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: split_heads([[1, 2]], 2),
            TypeError,
            "x must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: split_heads(np.zeros(8), 2),
            ValueError,
            "x must have shape (..., length, d_model), got (8,)",
        ),
        (lambda: split_heads(X, 3), ValueError, "heads must divide d_model=8, got 3"),
        (lambda: split_heads(X, 0), ValueError, "heads must be at least 1, got 0"),
        (lambda: split_heads(X, 2.0), TypeError, "heads must be an integer, got float"),
        (
            lambda: merge_heads(X[0]),
            ValueError,
            "x must have shape (..., heads, length, d_head), got (5, 8)",
        ),
        (
            lambda: expand_kv_heads(X[0], 4),
            ValueError,
            "x must have shape (..., kv_heads, kv_len, d), got (5, 8)",
        ),
        (lambda: expand_kv_heads(X, 3), ValueError, "kv_heads must divide heads=3, got 2"),
        (lambda: expand_kv_heads(X[:0], 3), ValueError, "kv_heads must divide heads=3, got 0"),
        (lambda: expand_kv_heads(X, None), TypeError, "heads must be an integer, got NoneType"),
        (
            lambda: grouped_query_attention(Q[0, 0], KV[0, 0], KV[0, 0]),
            ValueError,
            "query must have shape (..., heads, q_len, d_k), got (5, 3)",
        ),
        (
            lambda: grouped_query_attention(Q, KV[0], KV[0]),
            ValueError,
            "key must have shape (2, kv_heads, kv_len, d_k=3), got (2, 7, 3)",
        ),
        (
            lambda: grouped_query_attention(Q, KV[:1], KV),
            ValueError,
            "key must have shape (2, kv_heads, kv_len, d_k=3), got (1, 2, 7, 3)",
        ),
        (
            lambda: grouped_query_attention(Q, KV[..., :2], KV),
            ValueError,
            "key must have shape (2, kv_heads, kv_len, d_k=3), got (2, 2, 7, 2)",
        ),
        (
            lambda: grouped_query_attention(Q[:, :5], KV, KV),
            ValueError,
            "kv_heads must divide heads=5, got 2",
        ),
        (
            lambda: grouped_query_attention(Q, KV, KV[:, :1]),
            ValueError,
            "value must have shape (2, kv_heads=2, kv_len=7, d_v), got (2, 1, 7, 3)",
        ),
        (
            lambda: grouped_query_attention(Q, KV, KV.astype(int)),
            TypeError,
            "value must have a real floating dtype, got int64",
        ),
        (
            lambda: attend(X.tolist()),
            TypeError,
            "x must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: attend(w_k=torch.asarray(W_K)),
            TypeError,
            "w_k must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: attend(X.astype(int)),
            TypeError,
            "x must have a real floating dtype, got int64",
        ),
        (
            lambda: attend(w_v=W_V.astype(np.float32)),
            TypeError,
            "w_v must have the dtype of x (float64), got float32",
        ),
        (
            lambda: attend(context=X.astype(np.float32)),
            TypeError,
            "context must have the dtype of x (float64), got float32",
        ),
        (lambda: attend(heads=0), ValueError, "heads must be at least 1, got 0"),
        (lambda: attend(heads="3"), TypeError, "heads must be an integer, got str"),
        (lambda: attend(kv_heads=0), ValueError, "kv_heads must be at least 1, got 0"),
        (lambda: attend(kv_heads=2), ValueError, "kv_heads must divide heads=3, got 2"),
        (lambda: attend(kv_heads=6), ValueError, "kv_heads must divide heads=3, got 6"),
        (
            lambda: attend(X[0, 0]),
            ValueError,
            "x must have shape (..., q_len, d_model), got (8,)",
        ),
        (
            lambda: attend(context=X[:1]),
            ValueError,
            "context must have shape (2, kv_len, d_context), got (1, 5, 8)",
        ),
        (
            lambda: attend(context=X[0]),
            ValueError,
            "context must have shape (2, kv_len, d_context), got (5, 8)",
        ),
        (
            lambda: attend(w_q=W_Q[:7]),
            ValueError,
            "w_q must have shape (d_model=8, heads=3 * d_k), got (7, 12)",
        ),
        (
            lambda: attend(w_q=W_Q[:, :8]),
            ValueError,
            "w_q must have shape (d_model=8, heads=3 * d_k), got (8, 8)",
        ),
        (
            lambda: attend(w_q=W_Q[None]),
            ValueError,
            "w_q must have shape (d_model=8, heads=3 * d_k), got (1, 8, 12)",
        ),
        (
            lambda: attend(kv_heads=1),
            ValueError,
            "w_k must have shape (d_context=8, kv_heads * d_k = 4), got (8, 12)",
        ),
        (
            lambda: attend(context=X[..., :7]),
            ValueError,
            "w_k must have shape (d_context=7, kv_heads * d_k = 12), got (8, 12)",
        ),
        (
            lambda: attend(w_v=W_V[:, :4]),
            ValueError,
            "w_v must have shape (d_context=8, kv_heads=3 * d_v), got (8, 4)",
        ),
        (
            lambda: attend(w_o=W_O[:5]),
            ValueError,
            "w_o must have shape (heads * d_v = 6, d_out), got (5, 7)",
        ),
        (
            lambda: attend(w_o=W_O[:, 0]),
            ValueError,
            "w_o must have shape (heads * d_v = 6, d_out), got (6,)",
        ),
        (
            lambda: attend(mask=np.ones((2, 5, 5), dtype=bool)),
            ValueError,
            axes_rule("mask", (2, 5, 5)),
        ),
        (
            lambda: attend(mask=np.ones((1, 5, 5), dtype=bool)),
            ValueError,
            axes_rule("mask", (1, 5, 5)),
        ),
        (lambda: attend(bias=np.ones((3, 5, 5))), ValueError, axes_rule("bias", (3, 5, 5))),
        (
            lambda: attend(mask=np.ones((2, 2, 5, 5), dtype=bool)),
            ValueError,
            "mask must have shape that broadcasts to (*batch, q_len, kv_len) = (2, 3, 5, 5), "
            "got (2, 2, 5, 5)",
        ),
        (
            lambda: attend(mask=[[True]]),
            TypeError,
            "mask must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: attend(sink=np.zeros(2)),
            ValueError,
            "sink must have shape that broadcasts to (*batch) = (2, 3), got (2,)",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
