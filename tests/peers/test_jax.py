"""JAX's own attention, and this package on JAX's arrays."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attention_ref
from attention_ref import (
    KVCache,
    StaticKVCache,
    attention_stages,
    causal_mask,
    expand_kv_heads,
    padding_mask,
    scaled_dot_product_attention,
    sliding_window_mask,
)

jax.config.update("jax_enable_x64", True)

BATCH, HEADS, KV_HEADS, Q_LEN, KV_LEN, D = 2, 6, 3, 5, 7, 11
SHAPE = (BATCH, HEADS, Q_LEN, KV_LEN)
# Both sum in float64, in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-13}
EPS = np.finfo(np.float32).eps


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(2 * rng.standard_normal(shape)) for shape in shapes]


def draw_inputs(seed, q_len=Q_LEN):
    lead = BATCH, KV_HEADS, KV_LEN
    return draw(seed, (BATCH, HEADS, q_len, D), (*lead, D), (*lead, D))


def draw_mask(seed):
    """Draw a mask of half True, in which each query sees the last key at least."""
    mask = np.random.default_rng(seed).random(SHAPE) < 0.5
    mask[..., -1] = True
    return jnp.asarray(mask)


def theirs(query, key, value, bias=None, mask=None, **options):
    """Attend with JAX, whose heads stand after the length."""
    arrays = (jnp.moveaxis(x, 1, 2) for x in (query, key, value))
    output = jax.nn.dot_product_attention(*arrays, bias, mask, implementation="xla", **options)
    return jnp.moveaxis(output, 1, 2)


def ours(query, key, value, **options):
    heads = query.shape[1]
    key, value = expand_kv_heads(key, heads), expand_kv_heads(value, heads)
    return scaled_dot_product_attention(query, key, value, **options)


def assert_agree(mine, jaxs, inputs):
    """Compare in parts of JAX's error on float32; it computes scores in no other dtype."""
    exact = mine(*inputs)
    assert isinstance(exact, jax.Array)
    narrow = [x.astype(jnp.float32) for x in inputs]
    error = jnp.abs(jaxs(*narrow) - exact).max()
    assert 0 < error < 32 * EPS
    for found in (jaxs(*inputs), mine(*narrow)):
        assert jnp.abs(found - exact).max() <= 2 * error


class TestDotProductAttention:
    @pytest.mark.parametrize("scale", [None, 0.25])
    def test_mask_and_bias(self, scale):
        options = {"mask": draw_mask(1), "bias": draw(2, SHAPE)[0], "scale": scale}
        assert_agree(partial(ours, **options), partial(theirs, **options), draw_inputs(1))

    @pytest.mark.parametrize("q_len", [5, 7])
    def test_causal_is_top_left(self, q_len):
        inputs = draw_inputs(3, q_len)
        mask = causal_mask(q_len, KV_LEN, q_start=0, like=inputs[0])
        assert_agree(partial(ours, mask=mask), partial(theirs, is_causal=True), inputs)

    @pytest.mark.parametrize(("left", "right"), [(2, 0), (0, 3), (4, 1)])
    def test_window_counts_the_same_on_both_sides(self, left, right):
        inputs = draw_inputs(4)
        sides = {"left": left, "right": right}
        mask = sliding_window_mask(Q_LEN, KV_LEN, **sides, q_start=0, like=inputs[0])
        window = partial(theirs, local_window_size=(left, right))
        assert_agree(partial(ours, mask=mask), window, inputs)

    def test_lengths_hide_keys_and_clear_queries(self):
        queries, keys = (jnp.asarray(x, dtype=jnp.int32) for x in ([3, 5], [4, 7]))
        mask = padding_mask(keys, KV_LEN)[:, None]
        real = padding_mask(queries, Q_LEN)[:, 0, :, None][:, None]

        def cleared(*inputs):
            # At padding queries they give zero, where we compute what nobody should read.
            return jnp.where(real, ours(*inputs, mask=mask), 0)

        lengths = {"query_seq_lengths": queries, "key_value_seq_lengths": keys}
        assert_agree(cleared, partial(theirs, **lengths), draw_inputs(5))

    def test_a_query_that_sees_nothing_gets_the_mean_of_the_values_from_jax(self):
        query, key, value = draw_inputs(6)
        mask = draw_mask(6).at[:, :, 1].set(False)
        found, expected = (f(query, key, value, mask=mask) for f in (ours, theirs))
        # Their masked scores are a large finite number, so that equal ones weigh the same.
        mean = jnp.mean(expand_kv_heads(value, HEADS), axis=2)
        np.testing.assert_allclose(expected[:, :, 1], mean, rtol=0, atol=4 * EPS)
        np.testing.assert_array_equal(found[:, :, 1], 0.0)
        others = np.array([0, 2, 3, 4])
        np.testing.assert_allclose(
            found[:, :, others], expected[:, :, others], rtol=0, atol=32 * EPS
        )

    def test_logsumexp(self):
        query, key, value = draw_inputs(7)
        mask = draw_mask(7)
        arrays = (jnp.moveaxis(x, 1, 2) for x in (query, key, value))
        _, expected = jax.nn.dot_product_attention(
            *arrays, mask=mask, implementation="xla", return_residual=True
        )
        key, value = expand_kv_heads(key, HEADS), expand_kv_heads(value, HEADS)
        stages = attention_stages(query, key, value, mask=mask)
        found = jnp.moveaxis(stages.logsumexp, 1, 2)
        np.testing.assert_allclose(found, expected, rtol=0, atol=32 * EPS)

    def test_gradients(self):
        mask = draw_mask(8)
        (direction,) = draw(10, (BATCH, HEADS, Q_LEN, D))

        def gradients(attend):
            def along(query, key, value, bias):
                return (attend(query, key, value, mask=mask, bias=bias) * direction).sum()

            return jax.grad(along, argnums=(0, 1, 2, 3))(*draw_inputs(8), *draw(9, SHAPE))

        mine, jaxs = gradients(ours), gradients(theirs)
        for found, expected in zip(mine, jaxs, strict=True):
            error = jnp.abs(found - expected).max() / jnp.abs(found).max()
            assert error < 32 * EPS


# How to call each function: on arrays made by `array` from NumPy's.
def calls(array):
    query, key, value = (array(np.asarray(x)) for x in draw_inputs(11, KV_LEN))
    wide_key, wide_value = (expand_kv_heads(x, HEADS) for x in (key, value))
    qkv = (query, wide_key, wide_value)
    square = (BATCH, HEADS, KV_LEN, KV_LEN)
    bias, sink, slopes, table, x, weight, key_weight = (
        array(np.asarray(a))
        for a in draw(
            12, square, (HEADS,), (HEADS,), (8, HEADS), (BATCH, KV_LEN, 12), (12, 12), (12, 6)
        )
    )
    mask = array(np.random.default_rng(13).random(square) < 0.5)
    options = {"mask": mask, "bias": bias, "scale": 0.3, "softcap": 5.0, "sink": sink}
    tiles = {"q_tile": 3, "kv_tile": 2}
    tile = attention_ref.mask_tiles(causal_mask, like=query)
    lengths, ids = array(np.array([4, 6])), array(np.array([[0, 0, 1, 1, 2], [3, 3, 3, 3, 4]]))
    angles = array(np.array([0.3, 0.2]))
    frequencies = array(np.array([1.0, 0.5, 0.25, 0.125, 0.0625]))
    latent_w, lambdas, gates, wide_weight, narrow_weight = (
        array(np.asarray(a))
        for a in draw(14, (HEADS, D, D), (4, D), (*square[:3], 3), (12, 17), (17, 12))
    )
    latent = (query, query[..., :4], key[:, :1], key[:, :1, :, :4], latent_w, latent_w)
    gain, shift = weight[0], weight[1]
    layer = {f"w_{name}": weight for name in "qkvo"} | {f"b_{name}": gain for name in "qkvo"}
    block = {f"attention.{name}": parameter for name, parameter in layer.items()}
    block |= {"feed_forward.w_in": wide_weight, "feed_forward.w_out": narrow_weight}
    block |= {"attention_norm.gain": gain, "feed_forward_norm.gain": shift}
    model = {f"blocks.0.{name}": parameter for name, parameter in block.items()}
    model |= {"embedding": weight, "unembedding": weight, "final_norm.gain": gain}
    in_heads = {"heads": HEADS, "rotary": partial(attention_ref.rotary_embedding, layout="half")}
    q_blocks_by_kv_blocks = array(np.array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]]) > 0)
    blocks = {"q_block": 3, "kv_block": 2}
    ref = attention_ref
    return {
        "alibi_bias": lambda: ref.alibi_bias(slopes, 3, KV_LEN, q_start=lengths),
        "alibi_slopes": lambda: ref.alibi_slopes(6, like=x),
        "attention_backward": lambda: ref.attention_backward(query, *qkv, **options),
        "attention_layer": lambda: ref.attention_layer(x, layer, mask=mask, **in_heads),
        "attention_scores": lambda: ref.attention_scores(query, wide_key),
        "attention_stages": lambda: ref.attention_stages(*qkv, **options),
        "attention_weights": lambda: ref.attention_weights(query, wide_key, **options),
        "block_sparse_attention": lambda: ref.block_sparse_attention(
            *qkv, q_blocks_by_kv_blocks, **blocks, **options
        ),
        "causal_mask": lambda: ref.causal_mask(3, KV_LEN, q_start=lengths),
        "differential_attention": lambda: ref.differential_attention(
            query[..., :10], wide_key[..., :10], wide_value, factor=sink, **options
        ),
        "differential_lambda": lambda: ref.differential_lambda(*(0.1 * lambdas), initial=0.2),
        "document_mask": lambda: ref.document_mask(ids),
        "expand_block_mask": lambda: ref.expand_block_mask(
            q_blocks_by_kv_blocks, KV_LEN, KV_LEN, **blocks
        ),
        "expand_kv_heads": lambda: ref.expand_kv_heads(key, HEADS),
        "feed_forward": lambda: ref.feed_forward(x, wide_weight, narrow_weight),
        "flash_attention": lambda: ref.flash_attention(*qkv, **options, **tiles),
        "flash_attention_backward": lambda: ref.flash_attention_backward(
            qkv[0], *qkv, *ref.flash_attention(*qkv), mask=tile, **tiles
        )[:3],
        "gated_attention": lambda: ref.gated_attention(*qkv, query, **options),
        "grouped_query_attention": lambda: ref.grouped_query_attention(
            query, key, value, **options
        ),
        "hard_lookup": lambda: ref.hard_lookup(x[0, :2], x[0], x[1]),
        "latent_attention": lambda: ref.latent_attention(*latent, **options),
        "latent_attention_absorbed": lambda: ref.latent_attention_absorbed(*latent, **options),
        "layer_norm": lambda: ref.layer_norm(x, gain, shift),
        "linear_attention": lambda: ref.linear_attention(wide_key, *qkv[1:]),
        "linear_attention_chunked": lambda: ref.linear_attention_chunked(
            wide_key, *qkv[1:], chunk_size=2
        ),
        "linear_attention_recurrent": lambda: ref.linear_attention_recurrent(wide_key, *qkv[1:]),
        "linear_frequency_scaling": lambda: ref.linear_frequency_scaling(angles, factor=2.0),
        "llama3_frequency_scaling": lambda: ref.llama3_frequency_scaling(
            frequencies,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_length=64,
        ),
        "logsumexp": lambda: ref.logsumexp(bias, 1),
        "masked_softmax": lambda: ref.masked_softmax(bias, mask),
        "mask_tiles": lambda: ref.flash_attention(*qkv, mask=tile, **tiles),
        "merge_partial": lambda: ref.merge_partial([query, wide_key], [bias[..., 0], bias[..., 1]]),
        "merge_heads": lambda: ref.merge_heads(query),
        "multi_head_attention": lambda: ref.multi_head_attention(
            x, weight, key_weight, key_weight, weight, heads=HEADS, kv_heads=3, mask=mask
        ),
        "native_sparse_attention": lambda: ref.native_sparse_attention(
            query, key, value, gates, block_size=2, blocks=3, left=1
        ),
        "ntk_frequency_scaling": lambda: ref.ntk_frequency_scaling(angles, factor=4.0),
        "padding_mask": lambda: ref.padding_mask(lengths, KV_LEN),
        "post_norm_transformer_block": lambda: ref.post_norm_transformer_block(
            x, block, **in_heads
        ),
        "prefix_mask": lambda: ref.prefix_mask(KV_LEN, prefix=lengths),
        "qk_norm_attention": lambda: ref.qk_norm_attention(
            *qkv, query_gain=lambdas[0], key_gain=lambdas[1], **options
        ),
        "relative_position_bias": lambda: ref.relative_position_bias(
            table, 5, bidirectional=True, max_distance=16
        ),
        "relative_position_bucket": lambda: ref.relative_position_bucket(
            ids, bidirectional=False, num_buckets=8, max_distance=16
        ),
        "rms_norm": lambda: ref.rms_norm(x, gain),
        "rotary_embedding": lambda: ref.rotary_embedding(
            query, layout="half", positions=3, d_rotary=10, frequencies=frequencies
        ),
        "rotary_frequencies": lambda: ref.rotary_frequencies(10, like=x),
        "rotate_pairs": lambda: ref.rotate_pairs(
            x, bias[:, :1, 0, :6], bias[:, :1, 1, :6], layout="interleaved"
        ),
        "scaled_dot_product_attention": lambda: ref.scaled_dot_product_attention(*qkv, **options),
        "select_blocks": lambda: ref.select_blocks(
            query, key[..., :3, :], KV_LEN, block_size=2, blocks=3
        ),
        "sinusoidal_encoding": lambda: ref.sinusoidal_encoding(5, 6, like=x),
        "sliding_window_mask": lambda: ref.sliding_window_mask(
            3, KV_LEN, left=1, right=2, q_start=lengths
        ),
        "soft_lookup": lambda: ref.soft_lookup(x[0, :2], x[0], x[1]),
        "softmax": lambda: ref.softmax(bias, 1, temperature=0.5),
        "split_heads": lambda: ref.split_heads(x, 3),
        "streaming_mask": lambda: ref.streaming_mask(
            3, KV_LEN, left=1, sink_tokens=2, q_start=lengths
        ),
        "tiny_transformer": lambda: ref.tiny_transformer(ids, model, heads=HEADS),
        "top_k_attention": lambda: ref.top_k_attention(*qkv, k=3, **options),
        "top_k_mask": lambda: ref.top_k_mask(bias, 3),
        "transformer_block": lambda: ref.transformer_block(x, block, **in_heads),
        "yarn_frequency_scaling": lambda: ref.yarn_frequency_scaling(
            frequencies, factor=4.0, original_length=64, beta_fast=8.0
        ),
        "KVCache": lambda: KVCache.empty(key, value).append(key, value).append(key, value).last(9),
        "StaticKVCache": lambda: StaticKVCache.empty(key, value, 9).append(key, value, lengths),
    }


NUMBERS = {
    "attention_backward_flops",
    "attention_bytes",
    "attention_flops",
    "differential_lambda_init",
    "flash_attention_backward_flops",
    "flash_attention_bytes",
    "kv_cache_bytes",
    "latent_cache_bytes",
    "projection_flops",
    "visible_pairs",
    "yarn_attention_factor",
}
PICTURES = {
    *("Dataflow", "dataflow"),
    *("Heatmap", "heatmap"),
    *("LinePlot", "line_plot"),
    *("StackedBars", "stacked_bars"),
    *("VectorPlot", "vector_plot"),
}
STORED = {"RealMap", "real_map", "trained_tiny_transformer"}
RESULTS = {
    "AttentionGradients",
    "AttentionStages",
    "FlashGradients",
    "LayerOutput",
    "LinearAttention",
    "PartialAttention",
    "TinyTransformerOutput",
}


def test_every_public_name_has_a_call_or_works_on_no_array_of_jax():
    named = {*calls(np.asarray), *NUMBERS, *PICTURES, *STORED, *RESULTS}
    assert named == set(attention_ref.__all__)


@pytest.mark.parametrize("name", calls(np.asarray))
def test_on_jax_as_on_numpy(name):
    found, expected = (jax.tree.leaves(calls(array)[name]()) for array in (jnp.asarray, np.asarray))
    for ours, numpys in zip(found, expected, strict=True):
        if isinstance(numpys, int):  # how far a cache has come
            assert ours == numpys
            continue
        assert isinstance(ours, jax.Array)
        assert ours.shape == numpys.shape
        # JAX counts in int32 where NumPy does in int64.
        assert ours.dtype == numpys.dtype or ours.dtype.kind == numpys.dtype.kind == "i"
        np.testing.assert_allclose(ours, numpys, **CLOSE)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_are_found_without_64_bits_too(bidirectional):
    distance = np.arange(-200, 201)
    options = {"bidirectional": bidirectional, "num_buckets": 32, "max_distance": 128}
    with jax.enable_x64(False):  # as JAX starts; what narrows unasked warns, which fails here
        found = attention_ref.relative_position_bucket(jnp.asarray(distance), **options)
    expected = attention_ref.relative_position_bucket(distance, **options)
    np.testing.assert_array_equal(found, expected)


def test_a_static_cache_counts_without_64_bits_too():
    key = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    lengths = np.array([1, 2], dtype=np.int32)
    with jax.enable_x64(False):
        empty = StaticKVCache.empty(jnp.asarray(key), jnp.asarray(key), 5)
        found = empty.append(jnp.asarray(key), jnp.asarray(key), jnp.asarray(lengths))
    expected = StaticKVCache.empty(key, key, 5).append(key, key, lengths)
    for ours, numpys in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, numpys)


@pytest.mark.no_shape_checks
def test_a_dtype_that_is_not_numpys_own_is_refused_in_one_line():
    narrow, wide = np.zeros((2, 3), dtype=jnp.bfloat16), np.zeros((2, 3))
    attend = attention_ref.scaled_dot_product_attention
    for name, call in (
        ("x", lambda: attention_ref.softmax(narrow)),
        ("query", lambda: attend(narrow, narrow, narrow)),
        ("value", lambda: attend(wide, wide, narrow)),
        ("bias", lambda: attend(wide, wide, wide, bias=narrow[:, :2])),
        ("weights", lambda: attention_ref.heatmap(narrow)),
    ):
        line = f"^{name} must have one of NumPy's own dtypes, got bfloat16$"
        with pytest.raises(TypeError, match=line):
            call()


def test_tiles_of_no_query_are_an_empty_whole():
    query, key = jnp.zeros((2, 0, 3)), jnp.zeros((2, 5, 3))
    part = attention_ref.flash_attention(query, key, key)
    assert (part.output.shape, part.logsumexp.shape) == ((2, 0, 3), (2, 0))
