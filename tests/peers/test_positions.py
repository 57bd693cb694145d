"""Rotary embedding beside ONNX's cases and the models of transformers."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import onnx.backend.test.case.node as onnx_cases
import pytest
import torch
from onnx.backend.test.case.node import rotaryembedding  # noqa: F401  # makes its cases
from onnx.reference import ReferenceEvaluator
from transformers.models.cohere.modeling_cohere import apply_rotary_pos_emb as cohere
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as gptj
from transformers.models.gptj.modeling_gptj import create_sinusoidal_positions
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as llama

from attention_ref import (
    merge_heads,
    rotary_embedding,
    rotary_frequencies,
    rotate_pairs,
    split_heads,
)

jax.config.update("jax_enable_x64", True)
JAX = SimpleNamespace(array=jnp.asarray, numpy=np.asarray)

EXPANDED = "_expanded"
CASES = {case.name: case for case in onnx_cases._NodeTestCases if "rotary" in case.name}
NAMES = [name for name in CASES if not name.endswith(EXPANDED)]


def rotary_as_in_onnx(library, case, x, cos, sin, position_ids=None):
    """Answer as ONNX's operator does: gather the angles, share them among the heads."""
    given = {attribute.name: attribute.i for attribute in case.model.graph.node[0].attribute}
    if position_ids is not None:
        cos, sin = cos[position_ids], sin[position_ids]
    assert 2 * cos.shape[-1] == given.get("rotary_embedding_dim", 2 * cos.shape[-1])
    x, cos, sin = (library.array(array) for array in (x, cos[:, None], sin[:, None]))
    layout = "interleaved" if given.get("interleaved") else "half"
    if "num_heads" in given:
        x = split_heads(x, given["num_heads"])
        return library.numpy(merge_heads(rotate_pairs(x, cos, sin, layout=layout)))
    return library.numpy(rotate_pairs(x, cos, sin, layout=layout))


def test_there_are_eight_cases_each_with_an_expanded_graph():
    assert len(NAMES) == 8
    assert set(CASES) == {*NAMES, *(name + EXPANDED for name in NAMES)}


@pytest.mark.parametrize("name", NAMES)
def test_onnx_as_shipped(library, name):
    inputs, (expected,) = CASES[name].data_sets[0]
    found = rotary_as_in_onnx(library, CASES[name], *inputs)
    assert found.dtype == expected.dtype
    # Two products and a sum in float32; the numbers lie below 2.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", NAMES)
def test_onnx_redrawn(library, name):
    generator = np.random.default_rng(5)
    inputs, _ = CASES[name].data_sets[0]
    inputs = [
        array if array.dtype == np.int64 else 2 * generator.standard_normal(array.shape)
        for array in inputs
    ]
    inputs = [array if array.dtype == np.int64 else array.astype(np.float32) for array in inputs]
    model = CASES[name + EXPANDED].model
    names = [value.name for value in model.graph.input]
    (expected,) = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))
    wide = [array if array.dtype == np.int64 else array.astype(np.float64) for array in inputs]
    exact = rotary_as_in_onnx(library, CASES[name], *wide)
    found = rotary_as_in_onnx(library, CASES[name], *inputs)
    limit = 2 * np.abs(expected - exact).max()
    assert 0 < limit < 1e-5
    assert np.abs(found - exact).max() <= limit
    assert np.abs(found - expected).max() <= limit


@pytest.mark.parametrize("name", NAMES)
def test_onnx_on_jax(name):
    test_onnx_as_shipped(JAX, name)
    test_onnx_redrawn(JAX, name)


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(3))


IDS = torch.tensor([[0, 1, 2, 3, 4], [7, 0, 0, 1, 90]])
ANGLES = IDS[:, :, None] * torch.asarray(rotary_frequencies(8))


@pytest.mark.parametrize("turn", [llama, cohere])
def test_llama_and_cohere(turn):
    repeat = torch.cat([ANGLES, ANGLES], -1)
    layout = "half"
    if turn is cohere:
        repeat, layout = ANGLES.repeat_interleave(2, -1), "interleaved"
    query, key = draw(2, 3, 5, 8), draw(2, 1, 5, 8)
    # Cohere's turns in float32 whatever it is given.
    tolerance = {"rtol": 0, "atol": 1e-14 if turn is llama else 1e-6}
    for x, expected in zip((query, key), turn(query, key, repeat.cos(), repeat.sin()), strict=True):
        found = rotary_embedding(x, layout=layout, positions=IDS[:, None])
        torch.testing.assert_close(found, expected.to(x.dtype), **tolerance)


def test_gptj_turns_the_first_features_interleaved():
    x = draw(2, 5, 3, 16)  # its heads stand after the length
    sin, cos = create_sinusoidal_positions(100, 8)[IDS].double().chunk(2, dim=-1)
    expected = torch.cat([gptj(x[..., :8], sin, cos), x[..., 8:]], dim=-1)
    found = rotary_embedding(
        x.swapaxes(1, 2), layout="interleaved", positions=IDS[:, None], d_rotary=8
    )
    # Its angles are float32, up to 90.
    torch.testing.assert_close(found.swapaxes(1, 2), expected, rtol=0, atol=2e-5)
