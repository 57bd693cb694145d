import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attention_ref import (
    alibi_bias,
    alibi_slopes,
    attention_layer,
    causal_mask,
    feed_forward,
    layer_norm,
    padding_mask,
    post_norm_transformer_block,
    transformer_block,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, LENGTH, D_MODEL, D_FF, HEADS = 2, 7, 15, 11, 5
BLOCKS = {True: transformer_block, False: post_norm_transformer_block}


@given(seed=seeds, shifted=st.booleans(), epsilon=st.sampled_from([1e-5, 0.5]))
def test_layer_norm_is_pytorchs(library, seed, shifted, epsilon):
    rng = np.random.default_rng(seed)
    x = 3 * rng.standard_normal((2, 3, 5)) + 7
    gain, shift = rng.standard_normal((2, 5))
    expected = nn.functional.layer_norm(
        *map(torch.asarray, (x,)),
        (5,),
        torch.asarray(gain),
        torch.asarray(shift) if shifted else None,
        epsilon,
    )
    given = [library.array(shift)] if shifted else []
    ours = layer_norm(library.array(x), library.array(gain), *given, epsilon=epsilon)
    np.testing.assert_allclose(library.numpy(ours), expected.numpy(), rtol=1e-12, atol=1e-12)


def test_layer_norm_of_equal_features_is_the_shift(library):
    x = library.array(np.full((3, 5), 7.0))
    shift = np.arange(5.0)
    normed = layer_norm(x, library.array(np.ones(5)), library.array(shift))
    np.testing.assert_array_equal(library.numpy(normed), np.broadcast_to(shift, (3, 5)))


def test_layer_norm_of_large_float16_does_not_overflow():
    """The square of 300 is above what float16 holds."""
    x = np.array([[300.0, -300.0]], dtype=np.float16)
    normed = layer_norm(x, np.ones(2, dtype=np.float16))
    assert normed.dtype == np.float16
    np.testing.assert_array_equal(normed, [[1, -1]])


@given(seed=seeds, biased=st.booleans())
def test_feed_forward_is_a_sum_over_positive_features(library, seed, biased):
    rng = np.random.default_rng(seed)
    shapes = (2, 3, 5), (5, 7), (7, 11), (7,), (11,)
    x, w_in, w_out, b_in, b_out = (rng.standard_normal(shape) for shape in shapes)
    b_in, b_out = b_in * biased, b_out * biased
    arrays = (x, w_in, w_out, b_in, b_out) if biased else (x, w_in, w_out)
    output = library.numpy(feed_forward(*map(library.array, arrays)))
    for place in np.ndindex(2, 3):
        expected = b_out.copy()
        for j in range(7):
            hidden = math.fsum(x[place] * w_in[:, j]) + b_in[j]
            if hidden > 0:
                expected += hidden * w_out[j]
        np.testing.assert_allclose(output[place], expected, rtol=1e-11, atol=1e-12)


def test_feed_forward_hides_no_nan(library):
    x = library.array(np.array([[np.nan], [2.0]]))
    eye = library.array(np.eye(1))
    np.testing.assert_array_equal(library.numpy(feed_forward(x, eye, eye)), [[np.nan], [2.0]])


def torch_layer(norm_first, biases, seed):
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(
        D_MODEL,
        HEADS,
        D_FF,
        dropout=0.0,
        batch_first=True,
        norm_first=norm_first,
        bias=biases,
        dtype=torch.float64,
    )
    for parameter in layer.parameters():  # no gain of one, and no bias of zero
        nn.init.normal_(parameter, std=0.5)
    return layer


def named(layer):
    """Return its weights under our names, still attached to it."""
    attention = layer.self_attn
    pairs = zip("qkv", attention.in_proj_weight.chunk(3), strict=True)
    parameters = {f"attention.w_{name}": weight.T for name, weight in pairs}
    parameters |= {
        "attention.w_o": attention.out_proj.weight.T,
        "attention_norm.gain": layer.norm1.weight,
        "feed_forward_norm.gain": layer.norm2.weight,
        "feed_forward.w_in": layer.linear1.weight.T,
        "feed_forward.w_out": layer.linear2.weight.T,
    }
    if attention.in_proj_bias is not None:
        pairs = zip("qkv", attention.in_proj_bias.chunk(3), strict=True)
        parameters |= {f"attention.b_{name}": bias for name, bias in pairs}
        parameters |= {
            "attention.b_o": attention.out_proj.bias,
            "attention_norm.shift": layer.norm1.bias,
            "feed_forward_norm.shift": layer.norm2.bias,
            "feed_forward.b_in": layer.linear1.bias,
            "feed_forward.b_out": layer.linear2.bias,
        }
    return parameters


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_output_and_gradient_are_those_of_pytorchs_layer(norm_first, biases):
    layer = torch_layer(norm_first, biases, seed=3)
    x = torch.randn(BATCH, LENGTH, D_MODEL, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, LENGTH])
    mask = padding_mask(lengths, LENGTH)
    theirs = layer(
        x,
        src_mask=~causal_mask(LENGTH, like=x),
        src_key_padding_mask=~mask[:, 0],
    )
    ours = BLOCKS[norm_first](
        x, named(layer), heads=HEADS, mask=mask[:, None] & causal_mask(LENGTH, like=x)
    ).output
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)
    inputs = (x, *layer.parameters())
    for got, expected in zip(
        torch.autograd.grad((ours**2).sum(), inputs),
        torch.autograd.grad((theirs**2).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    wrong = BLOCKS[not norm_first](x, named(layer), heads=HEADS).output
    assert (wrong - theirs).abs().max() > 0.1


@pytest.mark.parametrize("block", BLOCKS.values())
def test_every_library_gives_the_same(library, block):
    layer = torch_layer(norm_first=True, biases=True, seed=5)
    parameters = {name: array.detach().numpy() for name, array in named(layer).items()}
    x = np.random.default_rng(5).standard_normal((BATCH, LENGTH, D_MODEL))
    bias = alibi_bias(alibi_slopes(HEADS), LENGTH)[None]
    expected = block(x, parameters, heads=HEADS, bias=bias)
    there = {name: library.array(array) for name, array in parameters.items()}
    done = block(library.array(x), there, heads=HEADS, bias=library.array(bias))
    for ours, theirs in zip(done[:2], expected[:2], strict=True):
        np.testing.assert_allclose(library.numpy(ours), theirs, rtol=1e-11, atol=1e-12)
    plain = block(x, parameters, heads=HEADS)
    assert np.abs(plain.output - expected.output).max() > 0.01  # the bias is not dropped


@pytest.mark.parametrize("norm_first", BLOCKS)
def test_a_masked_nan_reaches_neither_output_nor_gradient(norm_first):
    layer = torch_layer(norm_first, biases=True, seed=7)
    x = torch.randn(BATCH, LENGTH, D_MODEL, dtype=torch.float64)
    mask = causal_mask(LENGTH, like=x)
    clean = BLOCKS[norm_first](x, named(layer), heads=HEADS, mask=mask).output[:, :-1]
    x[:, -1] = torch.nan
    output = BLOCKS[norm_first](x, named(layer), heads=HEADS, mask=mask).output
    assert output[:, -1].isnan().all()
    torch.testing.assert_close(output[:, :-1], clean, rtol=0, atol=0)
    got = torch.autograd.grad(output[:, :-1].sum(), list(layer.parameters()))
    expected = torch.autograd.grad(clean.sum(), list(layer.parameters()))
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("block", BLOCKS.values())
def test_the_weights_are_those_of_what_the_attention_reads(block):
    layer = torch_layer(norm_first=True, biases=False, seed=6)
    parameters = {name: array.detach().numpy() for name, array in named(layer).items()}
    x = np.random.default_rng(6).standard_normal((BATCH, LENGTH, D_MODEL))
    read = layer_norm(x, parameters["attention_norm.gain"]) if block is transformer_block else x
    attention = {n.removeprefix("attention."): p for n, p in parameters.items() if ".w_" in n}
    attention = {name: attention[name] for name in ("w_q", "w_k", "w_v", "w_o")}
    expected = attention_layer(read, attention, heads=HEADS)
    done = block(x, parameters, heads=HEADS)
    np.testing.assert_array_equal(done.weights, expected.weights)
    np.testing.assert_array_equal(done.cache.key, expected.cache.key)
    # One key head, keys that depend on their position, and earlier ones in a cache.
    few = {name: attention[name][:, : D_MODEL // HEADS] for name in ("w_k", "w_v")}
    options = {"kv_heads": 1, "rotary": lambda array, positions: (positions + 2) * array}
    earlier = attention_layer(read[:, :3], attention | few, heads=HEADS, **options).cache
    options |= {"heads": HEADS, "cache": earlier, "mask": causal_mask(4, LENGTH, q_start=3)}
    expected = attention_layer(read[:, 3:], attention | few, **options)
    parameters |= {f"attention.{name}": array for name, array in few.items()}
    done = block(x[:, 3:], parameters, **options)
    np.testing.assert_array_equal(done.weights, expected.weights)
    np.testing.assert_array_equal(done.cache.key, expected.cache.key)


def test_layer_norm_of_one_feature_is_the_shift():
    x, one = np.array([[3.0], [-5.0]]), np.ones(1)
    np.testing.assert_array_equal(layer_norm(x, one, 7 * one), [[7.0], [7.0]])


def test_one_vector_alone_needs_no_batch():
    x = np.array([3.0, -5.0, 7.0])
    gain, w_in, w_out = np.arange(1.0, 4), np.eye(3)[:, :2], np.ones((2, 1))
    np.testing.assert_array_equal(layer_norm(x, gain), layer_norm(x[None], gain)[0])
    np.testing.assert_array_equal(feed_forward(x, w_in, w_out), [3.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_layer_norm_of_a_vector_that_is_not_finite_is_nan_and_no_other(library, bad):
    clean = np.random.default_rng(8).standard_normal((2, 3, 5))
    x = clean.copy()
    x[1, 2, 3] = bad
    found, expected = (
        library.numpy(layer_norm(library.array(y), library.array(np.ones(5)))) for y in (x, clean)
    )
    expected[1, 2] = np.nan
    np.testing.assert_array_equal(found, expected)


def test_what_is_cut_off_has_no_gradient_nor_what_is_zero():
    """PyTorch's relu passes none at zero either; where all inputs are zero that is every one."""
    x = torch.tensor([[-2.0], [0.0], [3.0]], requires_grad=True)
    feed_forward(x, torch.ones(1, 1), torch.ones(1, 1)).sum().backward()
    assert x.grad.flatten().tolist() == [0, 0, 1]


X = np.zeros((2, 3, 2))
PARAMETERS = {f"attention.{name}": np.eye(2) for name in ("w_q", "w_k", "w_v", "w_o")}
PARAMETERS |= {"attention_norm.gain": np.ones(2), "feed_forward_norm.gain": np.ones(2)}
PARAMETERS |= {"feed_forward.w_in": np.eye(2), "feed_forward.w_out": np.eye(2)}


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: layer_norm(X, np.ones(3)),
            ValueError,
            "gain must have shape (2,), the features of x, got (3,)",
        ),
        (
            lambda: layer_norm(X, np.ones(2), np.ones((1, 2))),
            ValueError,
            "shift must have shape (2,), the features of x, got (1, 2)",
        ),
        (
            lambda: layer_norm(X, np.ones(2, dtype=np.float32)),
            TypeError,
            "gain must have the dtype of x (float64), got float32",
        ),
        (
            lambda: layer_norm(X[..., :0], np.ones(0)),
            ValueError,
            "x must have shape (..., d) with d of at least 1, got (2, 3, 0)",
        ),
        (
            lambda: layer_norm(X, np.ones(2), epsilon=0),
            ValueError,
            "epsilon must be a finite number above zero, got 0",
        ),
        (
            lambda: layer_norm(X.astype(int), np.ones(2)),
            TypeError,
            "x must have a real floating dtype, got int64",
        ),
        (
            lambda: feed_forward(X, np.eye(3), np.eye(3)),
            ValueError,
            "w_in must have shape (d_model=2, d_ff), got (3, 3)",
        ),
        (
            lambda: feed_forward(X, np.eye(2), np.eye(3)),
            ValueError,
            "w_out must have shape (d_ff=2, d_out), got (3, 3)",
        ),
        (
            lambda: feed_forward(X, np.eye(2), np.eye(2), np.ones(3)),
            ValueError,
            "b_in must have shape (2,), the columns of w_in, got (3,)",
        ),
        (
            lambda: feed_forward(X, np.eye(2), np.eye(2), None, np.ones(3)),
            ValueError,
            "b_out must have shape (2,), the columns of w_out, got (3,)",
        ),
        (
            lambda: feed_forward(X, np.eye(2), np.eye(2, dtype=np.float32)),
            TypeError,
            "w_out must have the dtype of x (float64), got float32",
        ),
        (
            lambda: transformer_block(X, PARAMETERS | {"norm.gain": 1}, heads=1),
            ValueError,
            "parameters must have names that begin with attention., attention_norm., "
            "feed_forward., feed_forward_norm., got norm.gain",
        ),
        (
            lambda: transformer_block(X, PARAMETERS | {"feed_forward.w": 1}, heads=1),
            ValueError,
            "parameters must hold feed_forward.w_in, feed_forward.w_out and at most "
            "feed_forward.b_in, feed_forward.b_out, got feed_forward.w_in, feed_forward.w_out, "
            "feed_forward.w",
        ),
        (
            lambda: post_norm_transformer_block(X, {}, heads=1),
            ValueError,
            "parameters must hold attention.w_q, attention.w_k, attention.w_v, attention.w_o "
            "and at most attention.b_q, attention.b_k, attention.b_v, attention.b_o, got none",
        ),
        (
            lambda: layer_norm(X, torch.ones(2)),
            TypeError,
            "gain must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: layer_norm(X, np.ones(2), torch.ones(2)),
            TypeError,
            "shift must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: layer_norm(np.array(1.0), np.ones(1)),
            ValueError,
            "x must have shape (..., d) with d of at least 1, got ()",
        ),
        (
            lambda: feed_forward(X, torch.eye(2), np.eye(2)),
            TypeError,
            "w_in must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: feed_forward(X, np.eye(2), torch.eye(2)),
            TypeError,
            "w_out must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: feed_forward(X, np.eye(2), np.eye(2), torch.ones(2)),
            TypeError,
            "b_in must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: feed_forward(X, np.eye(2), np.eye(2), None, torch.ones(2)),
            TypeError,
            "b_out must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: feed_forward(X.astype(int), np.eye(2, dtype=int), np.eye(2, dtype=int)),
            TypeError,
            "x must have a real floating dtype, got int64",
        ),
        (
            lambda: feed_forward(np.array(1.0), np.eye(1), np.eye(1)),
            ValueError,
            "x must have shape (..., d_model), got ()",
        ),
        (
            lambda: feed_forward(X, np.ones(2), np.eye(2)),
            ValueError,
            "w_in must have shape (d_model=2, d_ff), got (2,)",
        ),
        (
            lambda: feed_forward(X, np.eye(2), np.ones(2)),
            ValueError,
            "w_out must have shape (d_ff=2, d_out), got (2,)",
        ),
        (
            lambda: feed_forward(X, np.eye(2, dtype=np.float32), np.eye(2)),
            TypeError,
            "w_in must have the dtype of x (float64), got float32",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
