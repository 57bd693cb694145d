import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as torch_attention

from attention_ref import (
    attention_backward,
    causal_mask,
    flash_attention,
    flash_attention_backward,
    scaled_dot_product_attention,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 3, 5, 7, 11, 13
SHAPE = (BATCH, HEADS, Q_LEN, KV_LEN)
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
NAMES = ("query", "key", "value", "bias", "sink")

every_choice = st.sets(st.sampled_from(["mask", "bias", "sink", "softcap", "scale"]))


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [np.asarray(2 * rng.standard_normal(shape)) for shape in shapes]


def draw_inputs(seed):
    """Draw the gradient of the output, and query, key and value."""
    lead = SHAPE[:2]
    lengths = (Q_LEN, D_V), (Q_LEN, D_K), (KV_LEN, D_K), (KV_LEN, D_V)
    return draw(seed, *((*lead, *shape) for shape in lengths))


def draw_options(seed, names, bias_shape=SHAPE, sink_shape=(HEADS,)):
    bias, sink = draw(seed + 1, bias_shape, sink_shape)
    mask = np.random.default_rng(seed).random(SHAPE) < 0.5
    mask[..., 1, :], mask[..., 3, :] = False, True
    bias[..., 2] = -np.inf
    options = {"mask": mask, "bias": bias, "sink": sink, "softcap": 3.0, "scale": 0.4}
    return {name: options[name] for name in names}


def spoil(query, key, value):
    query[0, 2, 4, 1] = key[0, 0, 2, 3] = np.nan
    key[1, 2, 5, 0] = value[1, 1, 3, 2] = np.inf
    value[1, 1, 4, 2], value[1, 2, 4, 2] = -np.inf, np.nan


def convert(function, options):
    return {name: function(x) if isinstance(x, np.ndarray) else x for name, x in options.items()}


def by_autograd(function, inputs, options):
    """Return the gradients that PyTorch finds, by the name of the argument."""
    gradient, *inputs = (torch.asarray(x) for x in inputs)
    options = convert(torch.asarray, options)
    leaves = dict(zip(NAMES, [*inputs, options.get("bias"), options.get("sink")], strict=True))
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items() if leaf is not None}
    found = torch.autograd.grad(function(*inputs, **options), list(leaves.values()), gradient)
    return dict(zip(leaves, (x.numpy() for x in found), strict=True))


@given(seed=seeds, names=every_choice, spoiled=st.booleans())
def test_each_gradient_is_that_of_autograd(library, seed, names, spoiled):
    inputs, options = draw_inputs(seed), draw_options(seed, names)
    if spoiled:
        spoil(*inputs[1:])
    ours = attention_backward(*map(library.array, inputs), **convert(library.array, options))
    expected = by_autograd(scaled_dot_product_attention, inputs, options)
    assert {name for name, x in ours._asdict().items() if x is not None} == set(expected)
    for name, exact in expected.items():
        np.testing.assert_allclose(library.numpy(getattr(ours, name)), exact, **CLOSE)


@pytest.mark.parametrize(
    ("bias_shape", "sink_shape"),
    [
        ((7,), ()),
        ((1, 7), (1,)),
        ((3, 1, 7), (2, 1)),
        ((2, 1, 5, 7), (2, 3)),
        ((1, 3, 5, 7), (1, 3)),
    ],
)
def test_what_was_stretched_gets_the_sum(library, bias_shape, sink_shape):
    inputs = draw_inputs(1)
    options = draw_options(1, ("mask", "bias", "sink"), bias_shape, sink_shape)
    ours = attention_backward(*map(library.array, inputs), **convert(library.array, options))
    expected = by_autograd(scaled_dot_product_attention, inputs, options)
    assert ours.bias.shape == bias_shape
    assert ours.sink.shape == sink_shape
    for name, exact in expected.items():
        np.testing.assert_allclose(library.numpy(getattr(ours, name)), exact, **CLOSE)


@given(seed=seeds)
def test_each_gradient_is_that_of_pytorchs_own_attention(seed):
    inputs = draw_inputs(seed)
    mask = causal_mask(Q_LEN, KV_LEN, q_start=KV_LEN - Q_LEN)
    (bias,) = draw(seed + 1, SHAPE)

    def theirs(query, key, value, *, bias, scale):
        with sdpa_kernel(SDPBackend.MATH):
            hidden = bias.masked_fill(~torch.asarray(mask), -torch.inf)
            return torch_attention(query, key, value, hidden, scale=scale)

    expected = by_autograd(theirs, inputs, {"bias": bias, "scale": 0.3})
    ours = attention_backward(*inputs, mask=mask, bias=bias, scale=0.3)
    for name, exact in expected.items():
        np.testing.assert_allclose(getattr(ours, name), exact, **CLOSE)


@given(seed=seeds)
def test_they_agree_with_finite_differences(seed):
    gradient, *inputs = draw_inputs(seed)
    options = draw_options(seed, ("mask", "bias", "sink", "softcap", "scale"))
    arguments = dict(zip(NAMES, [*inputs, options["bias"], options["sink"]], strict=True))
    found = attention_backward(gradient, *inputs, **options)._asdict()
    step = 1e-5
    for (name, x), direction in zip(
        arguments.items(), draw(seed + 2, *(x.shape for x in arguments.values())), strict=True
    ):

        def loss(step, name=name, x=x, direction=direction):
            moved = options | arguments | {name: x + step * direction}
            return np.sum(gradient * scaled_dot_product_attention(**moved))

        slope = (loss(step) - loss(-step)) / (2 * step)
        size = np.sum(np.abs(found[name] * direction))
        np.testing.assert_allclose(
            np.sum(found[name] * direction), slope, rtol=0, atol=1e-8 * size + 1e-9
        )


@given(seed=seeds, names=every_choice, tile=st.integers(1, 8), spoiled=st.booleans())
def test_they_equal_those_of_the_tiles(library, seed, names, tile, spoiled):
    inputs, options = draw_inputs(seed), draw_options(seed, names)
    if spoiled:
        spoil(*inputs[1:])
    gradient, *inputs = map(library.array, inputs)
    options = convert(library.array, options)
    whole = attention_backward(gradient, *inputs, **options)
    tiles = {"q_tile": tile, "kv_tile": tile}
    part = flash_attention(*inputs, **options, **tiles)
    tiled = flash_attention_backward(gradient, *inputs, *part, **options, **tiles)
    for name, expected in tiled._asdict().items():
        found = getattr(whole, name)
        if expected is None:
            assert found is None
        else:
            np.testing.assert_allclose(library.numpy(found), library.numpy(expected), **CLOSE)


def test_the_second_derivative_is_right_too():
    shapes = (3, 2), (3, 5), (4, 5), (4, 2), (3, 4), ()
    inputs = [torch.asarray(x).requires_grad_() for x in draw(3, *shapes)]
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1], mask[2, 2] = False, False

    def backward(gradient, query, key, value, bias, sink):
        options = {"mask": mask, "bias": bias, "softcap": 3.0, "sink": sink}
        return tuple(attention_backward(gradient, query, key, value, **options))

    assert torch.autograd.gradcheck(backward, inputs)


@given(seed=seeds, names=every_choice, bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_masked_key_or_value_changes_no_bit(library, seed, names, bad):
    inputs, options = draw_inputs(seed), draw_options(seed, names | {"mask"})
    options["mask"][..., 4] = False
    results = []
    for _ in range(2):
        arrays = convert(library.array, options)
        results.append(attention_backward(*map(library.array, inputs), **arrays))
        inputs[2][..., 4, 2] = inputs[3][..., 4, 5] = bad
    for clean, found in zip(*results, strict=True):
        if clean is not None:
            assert np.isfinite(library.numpy(clean)).all()
            np.testing.assert_array_equal(library.numpy(found), library.numpy(clean))
    for x in results[1][1:3]:
        assert not library.numpy(x)[..., 4, :].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_gradient_reaches_what_its_query_sees_alone(library, bad):
    inputs = draw_inputs(5)
    options = draw_options(5, ("mask", "bias", "sink", "softcap"))
    options["sink"][0] = -np.inf
    clean = attention_backward(*map(library.array, inputs), **convert(library.array, options))
    inputs[0][0, 0, 1, 2] = inputs[0][0, 0, 4, 2] = bad  # query 1 sees nothing
    found = attention_backward(*map(library.array, inputs), **convert(library.array, options))
    sees = (options["mask"] & (options["bias"] != -np.inf))[0, 0, 4]
    assert sees.any()
    assert not sees.all()
    touched = {name: np.zeros(x.shape, dtype=bool) for name, x in clean._asdict().items()}
    touched["query"][0, 0, 4] = touched["key"][0, 0, sees] = True
    touched["value"][0, 0, sees, 2] = touched["bias"][0, 0, 4, sees] = True
    for name, where in touched.items():
        before, after = (library.numpy(getattr(x, name)) for x in (clean, found))
        np.testing.assert_array_equal(np.isfinite(after), ~where, err_msg=name)
        np.testing.assert_allclose(after[~where], before[~where], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("through", ["mask", "bias", "no keys"])
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_query_that_sees_nothing_passes_nothing_back(library, through, bad):
    inputs = draw_inputs(6)
    for x in inputs:
        x[..., 0] += bad
    options = {"sink": np.zeros(HEADS), "softcap": 2.0, "bias": np.zeros(KV_LEN)}
    if through == "mask":
        options["mask"] = np.zeros((1, 1), dtype=bool)
    elif through == "bias":
        options["bias"] -= np.inf
    else:
        inputs[2:] = (x[..., :0, :] for x in inputs[2:])
        options["bias"] = options["bias"][:0]
    for chosen in (options, {name: x for name, x in options.items() if name != "sink"}):
        found = attention_backward(*map(library.array, inputs), **convert(library.array, chosen))
        for x, like in zip(found[:4], [*inputs[1:], chosen["bias"]], strict=True):
            assert x.shape == like.shape
            assert not library.numpy(x).any()
        assert found.sink is None or not library.numpy(found.sink).any()


def test_a_large_sink_beside_a_query_of_nan_does_not_overflow(library):
    inputs = draw_inputs(12)
    inputs[1][0, 0, 4, 0] = np.nan
    arrays = [library.array(x.astype("float32")) for x in inputs]
    found = attention_backward(*arrays, sink=library.array(np.full(HEADS, 95.0, dtype="float32")))
    assert all(np.isfinite(library.numpy(x)).all() for x in (*found[:3], found.sink))


def test_a_shared_shift_of_the_scores_of_a_row_has_no_gradient(library):
    inputs = draw_inputs(7)
    bias, sink = draw(8, SHAPE, HEADS)
    arrays = {"bias": library.array(bias)}
    found = attention_backward(*map(library.array, inputs), **arrays)
    np.testing.assert_allclose(library.numpy(found.bias).sum(-1), 0, atol=1e-13)
    arrays["sink"] = library.array(sink)
    found = attention_backward(*map(library.array, inputs), **arrays)
    total = library.numpy(found.bias).sum((0, 2, 3)) + library.numpy(found.sink)
    np.testing.assert_allclose(total, 0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula_in_float32(dtype):
    dtype = getattr(torch, dtype)
    narrow = [torch.asarray(x).to(dtype) for x in draw_inputs(9)]

    def formula(working):
        gradient, q, k, v = (x.to(working) for x in narrow)
        weights = torch.softmax(q @ k.mT / D_K**0.5, -1)
        d_weights = gradient @ v.mT
        d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True))
        return d_scores @ k / D_K**0.5, d_scores.mT @ q / D_K**0.5, weights.mT @ gradient

    exact, plain = formula(torch.float64), formula(torch.float32)
    for found, best, rough in zip(attention_backward(*narrow), exact, plain, strict=False):
        assert found.dtype == dtype
        allowed = 2 * (rough.to(dtype).double() - best).abs().max()
        assert (found.double() - best).abs().max() <= allowed


def test_each_gradient_has_the_dtype_of_its_argument(library):
    inputs, options = draw_inputs(10), draw_options(10, ("bias", "sink", "softcap", "scale"))
    kinds = "float64", "float32", "float32", "float32"
    narrow = [library.array(x.astype(kind)) for x, kind in zip(inputs, kinds, strict=True)]
    bias = library.array(options["bias"].astype("float32"))
    options["sink"] = library.array(options["sink"])  # float64: so much is computed in that
    numbers = {"softcap": np.float64(3), "scale": np.float64(0.4)}
    found = attention_backward(*narrow, **options | numbers | {"bias": bias})
    assert [str(x.dtype).rpartition(".")[2] for x in found] == ["float32"] * 4 + ["float64"]
    exact = attention_backward(
        *(library.array(library.numpy(x).astype(float)) for x in narrow),
        **options | {"bias": library.array(library.numpy(bias).astype(float))},
    )
    for rounded, best in zip(map(library.numpy, found), map(library.numpy, exact), strict=True):
        np.testing.assert_array_equal(rounded, best.astype(rounded.dtype))


def test_a_step_along_the_gradient_raises_the_loss():
    gradient, *inputs = draw_inputs(11)
    found = attention_backward(gradient, *inputs)
    before = np.sum(gradient * scaled_dot_product_attention(*inputs))
    moved = [x + 1e-3 * d for x, d in zip(inputs, found, strict=False)]
    assert np.sum(gradient * scaled_dot_product_attention(*moved)) > before


X, Y = np.zeros((5, 3)), np.zeros((7, 3))


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: attention_backward(Y, X, Y, Y),
            ValueError,
            "gradient must have shape (5, 3), got (7, 3)",
        ),
        (
            lambda: attention_backward(X[0], X, Y, Y),
            ValueError,
            "gradient must have shape (5, 3), got (3,)",
        ),
        (
            lambda: attention_backward(X.astype(int), X, Y, Y),
            TypeError,
            "gradient must have a real floating dtype, got int64",
        ),
        (
            lambda: attention_backward([1.0], X, Y, Y),
            TypeError,
            "gradient must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: attention_backward(torch.zeros(5, 3), X, Y, Y),
            TypeError,
            "gradient must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: attention_backward(X, X, X[:, :2], Y),
            ValueError,
            "key must have shape (..., kv_len, d_k=3), got (5, 2)",
        ),
        (
            lambda: attention_backward(X, X, Y, Y, bias=np.ones((5, 7), dtype=bool)),
            TypeError,
            "bias must have a real floating dtype, got bool: pass it as mask",
        ),
        (
            lambda: attention_backward(X, X, Y, Y, softcap=-1.0),
            ValueError,
            "softcap must be a finite number above zero, got -1.0",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
