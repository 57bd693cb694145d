from functools import partial

import numpy as np
import pytest
import torch

from attention_ref import (
    causal_mask,
    layer_norm,
    rotary_embedding,
    tiny_transformer,
    transformer_block,
)

VOCABULARY, D_MODEL, D_FF, HEADS, LAYERS, BATCH, LENGTH = 13, 12, 17, 3, 2, 5, 7
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def draw(seed):
    rng = np.random.default_rng(seed)
    square = (D_MODEL, D_MODEL)
    block = {f"attention.{name}": square for name in ("w_q", "w_k", "w_v", "w_o")}
    block |= {"feed_forward.w_in": (D_MODEL, D_FF), "feed_forward.w_out": (D_FF, D_MODEL)}
    block |= {"attention_norm.gain": (D_MODEL,), "feed_forward_norm.gain": (D_MODEL,)}
    shapes = {f"blocks.{i}.{name}": shape for i in range(LAYERS) for name, shape in block.items()}
    shapes |= {"embedding": (VOCABULARY, D_MODEL), "unembedding": (D_MODEL, VOCABULARY)}
    shapes["final_norm.gain"] = (D_MODEL,)
    parameters = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    return rng.integers(VOCABULARY, size=(BATCH, LENGTH)), parameters


def there(library, parameters):
    return {name: library.array(array) for name, array in parameters.items()}


def test_it_is_its_blocks_in_order(library):
    ids, parameters = draw(0)
    x, weights = parameters["embedding"][ids], []
    for i in range(LAYERS):
        part = f"blocks.{i}."
        block = {n[len(part) :]: p for n, p in parameters.items() if n.startswith(part)}
        done = transformer_block(
            x,
            block,
            heads=HEADS,
            mask=causal_mask(LENGTH),
            rotary=partial(rotary_embedding, layout="half"),
        )
        x = done.output
        weights.append(done.weights)
    logits = layer_norm(x, parameters["final_norm.gain"]) @ parameters["unembedding"]
    done = tiny_transformer(library.array(ids), there(library, parameters), heads=HEADS)
    np.testing.assert_allclose(library.numpy(done.logits), logits, **CLOSE)
    for ours, theirs in zip(done.weights, weights, strict=True):
        np.testing.assert_allclose(library.numpy(ours), theirs, **CLOSE)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_tokens_may_be_integers_of_any_size(library, dtype):
    ids, parameters = draw(9)
    parameters = there(library, parameters)
    expected = tiny_transformer(library.array(ids), parameters, heads=HEADS).logits
    found = tiny_transformer(library.array(ids.astype(dtype)), parameters, heads=HEADS).logits
    np.testing.assert_array_equal(library.numpy(found), library.numpy(expected))


def test_a_token_changes_nothing_before_it(library):
    ids, parameters = draw(1)
    parameters = there(library, parameters)
    whole = library.numpy(tiny_transformer(library.array(ids), parameters, heads=HEADS).logits)
    for place in range(LENGTH):
        other = ids.copy()
        other[:, place] = (other[:, place] + 1) % VOCABULARY
        done = tiny_transformer(library.array(other), parameters, heads=HEADS).logits
        change = np.abs(library.numpy(done) - whole).max(axis=(0, 2))
        assert (change[:place] == 0).all()
        assert (change[place:] > 1e-6).all()


def test_order_matters_to_the_last_token():
    """A causal mask alone tells no order to the first layer's last token: the rotation does."""
    ids, parameters = draw(2)
    one = {name: p for name, p in parameters.items() if not name.startswith("blocks.1.")}
    swapped = ids.copy()
    swapped[:, :2] = ids[:, 1::-1]
    different = (ids[:, 0] != ids[:, 1]).nonzero()[0]
    logits = [tiny_transformer(x, one, heads=HEADS).logits[different, -1] for x in (ids, swapped)]
    assert np.abs(logits[0] - logits[1]).max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("steps", [[1] * LENGTH, [3, 0, 4], [LENGTH - 1, 1]])
def test_decoding_equals_the_whole(library, steps):
    ids, parameters = draw(3)
    ids, parameters = library.array(ids), there(library, parameters)
    whole = tiny_transformer(ids, parameters, heads=HEADS)
    start, caches = 0, ()
    for step in steps:
        done = tiny_transformer(
            ids[:, start : start + step], parameters, heads=HEADS, caches=caches
        )
        caches = done.caches
        part = library.numpy(whole.logits)[:, start : start + step]
        np.testing.assert_allclose(library.numpy(done.logits), part, **CLOSE)
        start += step
        assert [cache.position for cache in caches] == [start] * LAYERS
    for ours, theirs in zip(done.weights, whole.weights, strict=True):
        rows = library.numpy(theirs)[:, :, LENGTH - steps[-1] :]
        np.testing.assert_allclose(library.numpy(ours), rows, **CLOSE)


def test_one_block_decodes_with_its_one_cache():
    ids, parameters = draw(6)
    one = {name: p for name, p in parameters.items() if not name.startswith("blocks.1.")}
    whole = tiny_transformer(ids, one, heads=HEADS).logits
    first = tiny_transformer(ids[:, :3], one, heads=HEADS)
    rest = tiny_transformer(ids[:, 3:], one, heads=HEADS, caches=first.caches)
    np.testing.assert_allclose(rest.logits, whole[:, 3:], **CLOSE)


def test_one_sequence_needs_no_batch_axis():
    ids, parameters = draw(4)
    whole = tiny_transformer(ids, parameters, heads=HEADS).logits
    one = tiny_transformer(ids[2], parameters, heads=HEADS).logits
    np.testing.assert_allclose(one, whole[2], **CLOSE)


def test_float16_stays_and_counts_beyond_its_integers():
    """The logit is a sum of 2050 ones, and in float16 2048 + 1 is 2048."""
    parameters = {"embedding": np.ones((3, 4100)), "unembedding": np.ones((4100, 3))}
    parameters["embedding"][:, ::2] = -1
    parameters["unembedding"][::2] = 0
    parameters["final_norm.gain"] = np.ones(4100)
    parameters = {name: array.astype(np.float16) for name, array in parameters.items()}
    logits = tiny_transformer(np.array([1]), parameters, heads=1).logits
    assert logits.dtype == np.float16
    np.testing.assert_array_equal(logits, 2050)


IDS, PARAMETERS = draw(5)
WITHOUT = {name: array for name, array in PARAMETERS.items() if name != "embedding"}


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: tiny_transformer(IDS, WITHOUT, heads=HEADS),
            ValueError,
            "parameters must hold embedding, unembedding, final_norm.gain, "
            "got unembedding, final_norm.gain",
        ),
        (
            lambda: tiny_transformer(IDS, PARAMETERS | {"blocks.3.x": IDS}, heads=HEADS),
            ValueError,
            "parameters must number their blocks from 0 on, got blocks.0, blocks.1, blocks.3",
        ),
        (
            lambda: tiny_transformer(IDS - 1, PARAMETERS, heads=HEADS),
            ValueError,
            "ids must lie between 0 and 12, the last row of embedding, got -1 to 11",
        ),
        (
            lambda: tiny_transformer(IDS + 1, PARAMETERS, heads=HEADS),
            ValueError,
            "ids must lie between 0 and 12, the last row of embedding, got 1 to 13",
        ),
        (
            lambda: tiny_transformer(IDS.astype(float), PARAMETERS, heads=HEADS),
            TypeError,
            "ids must have an integral dtype, got float64",
        ),
        (
            lambda: tiny_transformer(
                IDS, PARAMETERS | {"unembedding": PARAMETERS["embedding"]}, heads=HEADS
            ),
            ValueError,
            "unembedding must have shape (d_model=12, vocabulary=13), got (13, 12)",
        ),
        (
            lambda: tiny_transformer(
                IDS,
                PARAMETERS,
                heads=HEADS,
                caches=tiny_transformer(IDS, PARAMETERS, heads=HEADS).caches[:1],
            ),
            ValueError,
            "caches must be one a block, 2 in all, got 1",
        ),
        (
            lambda: tiny_transformer(IDS, PARAMETERS, heads=5),
            ValueError,
            "w_q must have shape (d_model=12, heads=5 * d_k), got (12, 12)",
        ),
        (
            lambda: tiny_transformer(torch.asarray(IDS), PARAMETERS, heads=HEADS),
            TypeError,
            "embedding must be an array of the library of ids (torch), got numpy",
        ),
        (
            lambda: tiny_transformer(
                IDS, PARAMETERS | {"embedding": torch.zeros(13, 12)}, heads=HEADS
            ),
            TypeError,
            "embedding must be an array of the library of ids (numpy), got torch",
        ),
        (
            lambda: tiny_transformer(
                IDS, PARAMETERS | {"unembedding": torch.zeros(12, 13)}, heads=HEADS
            ),
            TypeError,
            "unembedding must be an array of the library of ids (numpy), got torch",
        ),
        (
            lambda: tiny_transformer(
                IDS, PARAMETERS | {"embedding": np.ones((13, 12), int)}, heads=HEADS
            ),
            TypeError,
            "embedding must have a real floating dtype, got int64",
        ),
        (
            lambda: tiny_transformer(
                IDS, PARAMETERS | {"unembedding": np.ones((12, 13), "f")}, heads=HEADS
            ),
            TypeError,
            "unembedding must have the dtype of embedding (float64), got float32",
        ),
        (
            lambda: tiny_transformer(np.array(3), PARAMETERS, heads=HEADS),
            ValueError,
            "ids must have shape (..., length), got ()",
        ),
        (
            lambda: tiny_transformer(IDS, PARAMETERS | {"embedding": np.ones(13)}, heads=HEADS),
            ValueError,
            "embedding must have shape (vocabulary, d_model), got (13,)",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
