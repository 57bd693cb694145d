from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    KVCache,
    attention_layer,
    causal_mask,
    expand_kv_heads,
    multi_head_attention,
    rotary_embedding,
    scaled_dot_product_attention,
    split_heads,
)

seeds = st.integers(0, 2**32 - 1)
BATCH, HEADS, KV_HEADS, Q_LEN, KV_LEN, D_MODEL, D_CONTEXT, D_K, D_V, D_OUT = (
    *(2, 6, 3, 5, 7),
    *(11, 13, 4, 17, 19),
)
NAMES = ("w_q", "w_k", "w_v", "w_o")
CLOSE = {"rtol": 1e-11, "atol": 1e-12}


def draw(seed, d_context=D_MODEL):
    rng = np.random.default_rng(seed)
    columns = HEADS * D_K, KV_HEADS * D_K, KV_HEADS * D_V, D_OUT
    rows = D_MODEL, d_context, d_context, HEADS * D_V
    parameters = {
        name: rng.standard_normal(shape)
        for name, shape in zip(NAMES, zip(rows, columns, strict=True), strict=True)
    }
    biases = {
        name.replace("w", "b"): rng.standard_normal(count)
        for name, count in zip(NAMES, columns, strict=True)
    }
    return rng, parameters, biases


def there(library, parameters):
    return {name: library.array(array) for name, array in parameters.items()}


@given(seed=seeds, cross=st.booleans())
def test_without_extras_it_is_multi_head_attention(library, seed, cross):
    rng, parameters, _ = draw(seed, D_CONTEXT if cross else D_MODEL)
    x = rng.standard_normal((BATCH, Q_LEN, D_MODEL))
    context = rng.standard_normal((BATCH, KV_LEN, D_CONTEXT)) if cross else None
    mask = rng.random((BATCH, 1, Q_LEN, KV_LEN if cross else Q_LEN)) < 0.6
    bias = rng.standard_normal((BATCH, HEADS, Q_LEN, 1))
    heads = {"heads": HEADS, "kv_heads": KV_HEADS}
    expected = multi_head_attention(
        x, *parameters.values(), **heads, context=context, mask=mask, bias=bias
    )
    done = attention_layer(
        library.array(x),
        there(library, parameters),
        **heads,
        context=None if context is None else library.array(context),
        mask=library.array(mask),
        bias=library.array(bias),
    )
    np.testing.assert_allclose(library.numpy(done.output), expected, **CLOSE)


def test_a_bias_moves_weight_from_key_to_key(library):
    """One that is the same for all keys of a row would move none."""
    rng, parameters, _ = draw(5)
    x = rng.standard_normal((BATCH, Q_LEN, D_MODEL))
    bias = rng.standard_normal((BATCH, HEADS, 1, Q_LEN))
    heads = {"heads": HEADS, "kv_heads": KV_HEADS}
    expected = multi_head_attention(x, *parameters.values(), **heads, bias=bias)
    done = attention_layer(
        library.array(x), there(library, parameters), **heads, bias=library.array(bias)
    )
    np.testing.assert_allclose(library.numpy(done.output), expected, **CLOSE)


def by_hand(x, parameters, biases, mask, turn=lambda array: array):
    """Attend with a bias as one more feature, which is always one."""
    one = np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1)
    w_q, w_k, w_v = (np.concatenate([parameters[f"w_{n}"], biases[f"b_{n}"][None]]) for n in "qkv")
    output = np.zeros((*x.shape[:-1], D_OUT)) + biases["b_o"]
    query, key, value = (
        split_heads(one @ w, count) for w, count in ((w_q, HEADS), (w_k, KV_HEADS), (w_v, KV_HEADS))
    )
    query, key = turn(query), turn(key)
    for h in range(HEADS):
        g = h // (HEADS // KV_HEADS)
        head = scaled_dot_product_attention(query[:, h], key[:, g], value[:, g], mask=mask)
        output += head @ parameters["w_o"][h * D_V : (h + 1) * D_V]
    return output


@given(seed=seeds, cut=st.integers(0, Q_LEN), turned=st.booleans())
def test_biases_rotation_and_decoding(library, seed, cut, turned):
    rng, parameters, biases = draw(seed)
    x = rng.standard_normal((BATCH, Q_LEN, D_MODEL))
    rotary = partial(rotary_embedding, layout="half") if turned else None
    mask = causal_mask(Q_LEN)
    expected = by_hand(x, parameters, biases, mask, rotary or (lambda array: array))
    heads = {"heads": HEADS, "kv_heads": KV_HEADS, "rotary": rotary}
    parameters = there(library, parameters | biases)
    whole = attention_layer(library.array(x), parameters, **heads, mask=library.array(mask))
    np.testing.assert_allclose(library.numpy(whole.output), expected, **CLOSE)
    first = attention_layer(
        library.array(x[:, :cut]), parameters, **heads, mask=library.array(mask[:cut, :cut])
    )
    second = attention_layer(
        library.array(x[:, cut:]),
        parameters,
        **heads,
        mask=library.array(mask[cut:]),
        cache=first.cache,
    )
    parts = [library.numpy(part.output) for part in (first, second)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, **CLOSE)
    np.testing.assert_allclose(
        library.numpy(second.weights), library.numpy(whole.weights)[:, :, cut:], **CLOSE
    )
    for kept, full in zip(second.cache[:2], whole.cache[:2], strict=True):
        np.testing.assert_allclose(library.numpy(kept), library.numpy(full), **CLOSE)


def test_the_weights_are_those_that_average_the_values(library):
    rng, parameters, biases = draw(1)
    x = rng.standard_normal((BATCH, Q_LEN, D_MODEL))
    done = attention_layer(
        library.array(x), there(library, parameters | biases), heads=HEADS, kv_heads=KV_HEADS
    )
    weights, value = library.numpy(done.weights), library.numpy(done.cache.value)
    heads = weights @ expand_kv_heads(value, HEADS)
    output = np.moveaxis(heads, 1, 2).reshape(BATCH, Q_LEN, -1) @ parameters["w_o"] + biases["b_o"]
    np.testing.assert_allclose(library.numpy(done.output), output, **CLOSE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_decoding_in_low_precision_is_as_exact_as_the_whole(dtype):
    rng, parameters, biases = draw(2)
    parameters = {name: (a / 4).astype(dtype) for name, a in (parameters | biases).items()}
    x = rng.standard_normal((BATCH, Q_LEN, D_MODEL)).astype(dtype)
    heads = {"heads": HEADS, "kv_heads": KV_HEADS}
    mask = causal_mask(Q_LEN)
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    exact = attention_layer(x.astype(np.float64), exact, **heads, mask=mask).output
    whole = attention_layer(x, parameters, **heads, mask=mask)
    assert whole.output.dtype == whole.cache.key.dtype == dtype
    assert whole.weights.dtype == np.float32
    cache, steps = None, []
    for i in range(Q_LEN):
        step = attention_layer(x[:, i : i + 1], parameters, **heads, cache=cache)
        cache = step.cache
        steps.append(step.output)
    error = np.abs(np.concatenate(steps, axis=1) - exact).max()
    assert 0 < error <= 2 * np.abs(whole.output - exact).max()
    np.testing.assert_allclose(cache.key, whole.cache.key, rtol=2 * np.finfo(dtype).eps)


def test_a_masked_nan_reaches_neither_output_nor_gradient():
    rng, parameters, biases = draw(3)
    parameters = {n: torch.asarray(a).requires_grad_() for n, a in (parameters | biases).items()}
    x = torch.asarray(rng.standard_normal((BATCH, Q_LEN, D_MODEL)))
    mask = causal_mask(Q_LEN, like=x)
    heads = {"heads": HEADS, "kv_heads": KV_HEADS}
    clean = attention_layer(x, parameters, **heads, mask=mask).output[:, :-1]
    x[:, -1] = torch.nan
    output = attention_layer(x, parameters, **heads, mask=mask).output
    assert output[:, -1].isnan().all()
    torch.testing.assert_close(output[:, :-1], clean, rtol=0, atol=0)
    gradients = torch.autograd.grad(output[:, :-1].sum(), list(parameters.values()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_gradients_by_finite_differences():
    rng, parameters, biases = draw(4)
    names = [*parameters, *biases]
    # The first columns alone keep the check small: one head of each kind, and all biases.
    small = {"w_q": (3, 4), "w_k": (3, 2), "w_v": (3, 2), "w_o": (4, 5)}
    small |= {"b_q": (4,), "b_k": (2,), "b_v": (2,), "b_o": (5,)}
    arrays = [torch.asarray(rng.standard_normal(small[name])).requires_grad_() for name in names]
    x = torch.asarray(rng.standard_normal((2, 3, 3))).requires_grad_()

    def run(x, *arrays):
        return attention_layer(
            x,
            dict(zip(names, arrays, strict=True)),
            heads=2,
            kv_heads=1,
            mask=causal_mask(3, like=x),
            rotary=partial(rotary_embedding, layout="interleaved"),
        ).output

    assert torch.autograd.gradcheck(run, (x, *arrays))


X = np.zeros((2, 5, 11))
PARAMETERS = {name: np.zeros((11, 11)) for name in NAMES}
RULE = "parameters must hold w_q, w_k, w_v, w_o and at most b_q, b_k, b_v, b_o"


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("parameters", "options", "error", "message"),
    [
        ({}, {}, ValueError, f"{RULE}, got none"),
        (
            PARAMETERS | {"bias": X},
            {},
            ValueError,
            f"{RULE}, got w_q, w_k, w_v, w_o, bias",
        ),
        (
            PARAMETERS | {"w_k": np.zeros((11, 5))},
            {},
            ValueError,
            "w_k must have shape (d_context=11, kv_heads * d_k = 11), got (11, 5)",
        ),
        (
            PARAMETERS | {"b_k": np.zeros(5)},
            {},
            ValueError,
            "b_k must have shape (11,), one number a column of w_k, got (5,)",
        ),
        (
            PARAMETERS | {"b_o": np.zeros(11, dtype=np.float32)},
            {},
            TypeError,
            "b_o must have the dtype of x (float64), got float32",
        ),
        (
            PARAMETERS | {"b_o": torch.zeros(11)},
            {},
            TypeError,
            "b_o must be an array of the library of x (numpy), got torch",
        ),
        (
            PARAMETERS,
            {"mask": np.ones((2, 5, 5), dtype=bool)},
            ValueError,
            "mask must have shape (q_len, kv_len) or (*batch, heads, q_len, kv_len), got "
            "(2, 5, 5): write mask[:, None] for one a batch item, mask[None] for one a head",
        ),
        (
            PARAMETERS,
            {"cache": KVCache.empty(np.zeros((2, 3, 1, 11)), np.zeros((2, 3, 1, 11)))},
            ValueError,
            "key must have shape (2, 3, length, 11), got (2, 1, 5, 11)",
        ),
        (PARAMETERS, {"heads": 0}, ValueError, "heads must be at least 1, got 0"),
        (PARAMETERS, {"heads": 1.0}, TypeError, "heads must be an integer, got float"),
        (PARAMETERS, {"kv_heads": 0}, ValueError, "kv_heads must be at least 1, got 0"),
        (
            PARAMETERS,
            {"bias": np.ones((2, 5, 5))},
            ValueError,
            "bias must have shape (q_len, kv_len) or (*batch, heads, q_len, kv_len), got "
            "(2, 5, 5): write bias[:, None] for one a batch item, bias[None] for one a head",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(parameters, options, error, message):
    with pytest.raises(error) as raised:
        attention_layer(X, parameters, **{"heads": 1} | options)
    assert str(raised.value) == message
