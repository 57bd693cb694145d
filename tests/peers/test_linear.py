"""Linear attention beside ONNX's cases and flash-linear-attention's naive files."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import onnx.backend.test.case.node as onnx_cases
import pytest
import torch
from onnx.backend.test.case.node import linear_attention as cases  # noqa: F401  # makes them
from onnx.reference import ReferenceEvaluator

from attention_ref import (
    expand_kv_heads,
    linear_attention,
    linear_attention_chunked,
    linear_attention_recurrent,
    merge_heads,
    split_heads,
)

jax.config.update("jax_enable_x64", True)

FORMS = {
    "recurrent": linear_attention_recurrent,
    "parallel": linear_attention,
    "chunked": lambda *inputs, **options: linear_attention_chunked(
        *inputs, **options, chunk_size=3
    ),
}
NUMPY = SimpleNamespace(array=np.asarray, numpy=np.asarray)
JAX = SimpleNamespace(array=jnp.asarray, numpy=np.asarray)
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)

EXPANDED = "_expanded"
CASES = {case.name: case for case in onnx_cases._NodeTestCases if "linear_attention" in case.name}
NAMES = [name for name in CASES if not name.endswith(EXPANDED)]


def linear_as_in_onnx(library, form, case, inputs):
    """Answer as ONNX's operator does: heads side by side, the state as heads read it."""
    node = case.model.graph.node[0]
    given = {a.name: a.f if a.name == "scale" else a.i for a in node.attribute}
    heads, kv_heads = given["q_num_heads"], given["kv_num_heads"]
    present = iter(inputs)
    names = ("query", "key", "value", "past_state", "decay", "beta")
    arrays = {n: library.array(next(present)) for n, x in zip(names, node.input, strict=False) if x}
    query = split_heads(arrays["query"], heads)
    key, value = (split_heads(arrays[n], kv_heads) for n in ("key", "value"))
    options = {"scale": given.get("scale") or None}
    if "decay" in arrays:
        options["decay"] = expand_kv_heads(split_heads(arrays["decay"], kv_heads), heads)
    if "beta" in arrays:
        beta = split_heads(arrays["beta"], arrays["beta"].shape[-1])
        options["beta"] = expand_kv_heads(beta, heads)[..., 0]
    if "past_state" in arrays:
        options["state"] = expand_kv_heads(arrays["past_state"], heads)
    output, state = form(
        query, expand_kv_heads(key, heads), expand_kv_heads(value, heads), **options
    )
    state = library.numpy(state)[:, :: heads // kv_heads]
    return library.numpy(merge_heads(output)), state


def test_there_are_fourteen_cases_each_with_an_expanded_graph():
    assert len(NAMES) == 14
    assert set(CASES) == {*NAMES, *(name + EXPANDED for name in NAMES)}


def assert_close(ours, theirs, rounded):
    """Compare our numbers in float64 with theirs in less.

    Theirs may be off by twice what the recurrence loses in their dtype, or by their own rounding.
    """
    for best, found, same in zip(ours, theirs, rounded, strict=True):
        rounding = np.finfo(found.dtype).eps * np.abs(found).max()
        limit = 2 * max(np.abs(same - best).max(), rounding)
        assert np.abs(found - best).max() <= limit
        assert limit < 0.02 * np.abs(found).max()


def judge_case(library, form, name, inputs, expected):
    wide = [x.astype(np.float64) for x in inputs]
    rounded = linear_as_in_onnx(NUMPY, linear_attention_recurrent, CASES[name], inputs)
    assert rounded[0].dtype == expected[0].dtype
    assert_close(linear_as_in_onnx(library, form, CASES[name], wide), expected, rounded)


@every_form
@pytest.mark.parametrize("name", NAMES)
def test_onnx_as_shipped(library, form, name):
    judge_case(library, form, name, *CASES[name].data_sets[0])


@every_form
@pytest.mark.parametrize("name", NAMES)
def test_onnx_redrawn(library, form, name):
    rng = np.random.default_rng(5)
    case = CASES[name]
    inputs, _ = case.data_sets[0]
    drawn = []
    for place, old in zip((x for x in case.model.graph.node[0].input if x), inputs, strict=True):
        new = 2 * rng.standard_normal(old.shape)
        if place == "decay":
            new = -np.abs(new)
        elif place == "beta":
            new = 1 / (1 + np.exp(-new))
        elif place == "key":
            heads = next(
                a.i for a in case.model.graph.node[0].attribute if a.name == "kv_num_heads"
            )
            new = new.reshape(*old.shape[:2], heads, -1)
            new = (new / np.linalg.norm(new, axis=-1, keepdims=True)).reshape(old.shape)
        drawn.append(new.astype(old.dtype))
    model = CASES[name + EXPANDED].model
    expected = ReferenceEvaluator(model).run(
        None, dict(zip([x.name for x in model.graph.input], drawn, strict=True))
    )
    judge_case(library, form, name, drawn, expected)


@every_form
@pytest.mark.parametrize("name", NAMES)
def test_onnx_on_jax(form, name):
    test_onnx_as_shipped(JAX, form, name)
    test_onnx_redrawn(JAX, form, name)


def naive(operator, function):
    """Load one of flash-linear-attention's naive files, and not the package, which needs a GPU."""
    root = Path(importlib.util.find_spec("fla").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location(operator, root / "ops" / operator / "naive.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)


def draw():
    generator = torch.manual_seed(7)
    batch, heads, length, d_k, d_v = 2, 3, 64, 5, 7
    query, key, value = (
        torch.randn(batch, heads, length, d, generator=generator) for d in (d_k, d_k, d_v)
    )
    key = torch.nn.functional.normalize(key, dim=-1)
    beta = torch.rand(batch, heads, length, generator=generator)
    row = -torch.rand(batch, heads, length, d_k, generator=generator)
    state = torch.randn(batch, heads, d_k, d_v, generator=generator)
    return query, key, value, beta, row, state


def swap(*arrays):
    return [x.transpose(1, 2).contiguous() for x in arrays]


@every_form
@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated delta", "gated delta by row"])
def test_flash_linear_attention(form, rule):
    query, key, value, beta, row, state = draw()
    head = row[..., :1]
    start = {"initial_state": state, "output_final_state": True}
    options = {"state": state}
    if rule == "linear":
        run = naive("linear_attn", "naive_recurrent_linear_attn")
        output, last = run(*swap(query, key, value), **start)
    elif rule == "gated":
        options |= {"decay": row}
        run = naive("gla", "naive_recurrent_gla")
        output, last = run(*swap(query, key, value, row), **start)
    elif rule == "delta":
        options |= {"beta": beta}
        output, last = naive("delta_rule", "delta_rule_recurrence")(
            query, key, value, beta, **start
        )
        (output,) = swap(output)
    elif rule == "gated delta":
        options |= {"beta": beta, "decay": head}
        run = naive("gated_delta_rule", "naive_recurrent_gated_delta_rule")
        output, last = run(*swap(query, key, value, beta, head[..., 0]), **start)
    else:
        options |= {"beta": beta, "decay": row}
        run = naive("kda", "naive_recurrent_kda")
        output, last = run(*swap(query, key, value, row, beta), **start)
    theirs = [x.numpy() for x in (*swap(output), last)]
    rounded = [x.numpy() for x in linear_attention_recurrent(query, key, value, **options)]
    wide = {n: x.double() for n, x in options.items()}
    ours = [x.numpy() for x in form(*(x.double() for x in (query, key, value)), **wide)]
    assert_close(ours, theirs, rounded)
