"""Each adapter beside the library whose convention it speaks, on cases drawn over its arguments."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import multi_head_attention_forward
from torch.nn.functional import scaled_dot_product_attention as torch_attention
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma_attention
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as oss_attention

from attention_ref import interop
from attention_ref.interop.__main__ import updated

jax.config.update("jax_enable_x64", True)

PAGE = Path(__file__).parents[2] / "docs/reference/conventions.md"
BATCH, D_K, D_V = 2, 11, 13
SEEDS = range(100)
FEW = range(16)  # where each new shape is compiled
# Both sum in float64, in another order.
EXACT = {"rtol": 1e-12, "atol": 1e-12}
# What takes its softmax in float32, whatever comes: a few roundings of values below 10.
SINGLE = {"rtol": 0, "atol": 64 * float(np.finfo(np.float32).eps)}


class Draw:
    """Draws the arguments of one case: sizes, heads, masks of every kind."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.q_len, self.kv_len = self.one_of((5, 7), (7, 3), (1, 5))
        self.heads, self.kv_heads = self.one_of((3, 3), (6, 3), (2, 1))
        self.scores = (BATCH, self.heads, self.q_len, self.kv_len)

    def one_of(self, *options):
        return options[self.rng.integers(len(options))]

    def normal(self, *shape):
        return 2 * self.rng.standard_normal(shape)

    def arrays(self, d_v=D_V):
        """Draw query, key and value, heads before the length."""
        return (
            self.normal(BATCH, self.heads, self.q_len, D_K),
            self.normal(BATCH, self.kv_heads, self.kv_len, D_K),
            self.normal(BATCH, self.kv_heads, self.kv_len, d_v),
        )

    def shape(self):
        """Draw one of the shapes that broadcast to the scores."""
        full = self.scores
        return self.one_of(full, (1, 1, *full[2:]), (BATCH, 1, 1, self.kv_len), (1, *full[1:]))

    def mask(self, *shape):
        """Draw a mask in which about half of the rows see nothing, or few keys do."""
        mask = self.rng.random(shape or self.shape()) < self.one_of(0.3, 0.7)
        if self.rng.random() < 0.5:
            mask[..., self.rng.integers(mask.shape[-2]), :] = False
        return mask

    def bias(self, *shape, hidden=-np.inf):
        """Draw a bias, sometimes with some entries hidden, sometimes with all of a row."""
        shape = shape or self.shape()
        bias = self.normal(*shape)
        return np.where(self.mask(*shape), bias, hidden) if self.rng.random() < 0.6 else bias

    def operand(self, *shape):
        return self.one_of(self.mask, self.bias)(*shape)

    def scale(self):
        return self.one_of(None, 0.25)


def assert_close(found, expected, **tolerance):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, **tolerance)


@pytest.mark.parametrize("seed", SEEDS)
def test_torch(seed):
    draw = Draw(seed)
    arrays = [torch.asarray(x) for x in draw.arrays()]
    options = {"scale": draw.scale(), "enable_gqa": draw.heads != draw.kv_heads}
    how = draw.one_of("causal", "operand", "open")
    if how == "causal":
        options["is_causal"] = True
    if how == "operand":
        options["attn_mask"] = torch.asarray(draw.operand())
    with sdpa_kernel(SDPBackend.MATH):
        expected = torch_attention(*arrays, **options)
    found = interop.torch.scaled_dot_product_attention(*arrays, **options)
    assert_close(found, expected, **EXACT)
    # The fast path too, which is what a call without a context takes.
    assert_close(found, torch_attention(*arrays, **options), **EXACT)


def theirs_multi_head(query, key, value, num_heads, **options):
    """Call PyTorch's function between projections that change nothing; it has the length first."""
    width = query.shape[-1]
    eye = torch.eye(width, dtype=query.dtype)
    output, weights = multi_head_attention_forward(
        *(x.transpose(0, 1) for x in (query, key, value)),
        width,
        num_heads,
        torch.cat([eye] * 3),
        *(None, None, None, False, 0.0),
        eye,
        None,
        training=False,
        **options,
    )
    return output.transpose(0, 1), weights


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("seed", SEEDS)
def test_torch_mha(seed):
    draw = Draw(seed)
    width = draw.heads * D_K
    lengths = draw.q_len, draw.kv_len, draw.kv_len
    arrays = [torch.asarray(draw.normal(BATCH, n, width)) for n in lengths]
    options = {"need_weights": draw.one_of(True, False)}
    options["average_attn_weights"] = draw.one_of(True, False)
    if draw.one_of(True, False):
        operand = draw.one_of(draw.mask, draw.bias)(BATCH, draw.kv_len)
        options["key_padding_mask"] = torch.asarray(operand)
    if draw.one_of(True, False):
        lead = draw.one_of((), (BATCH * draw.heads,))
        options["attn_mask"] = torch.asarray(draw.operand(*lead, draw.q_len, draw.kv_len))
        options["is_causal"] = draw.one_of(True, False)
    expected, weights = theirs_multi_head(*arrays, draw.heads, **options)
    found = interop.torch.multi_head_attention(*arrays, **options, num_heads=draw.heads)
    # Their projection spreads the NaN of one head over all.
    spread = found[0] @ torch.eye(width, dtype=expected.dtype)
    assert_close(spread, expected, **EXACT)
    assert (found[1] is None) == (weights is None)
    if weights is not None:
        assert_close(found[1], weights, **EXACT)


# Compiled, it is a kernel; as it stands, it is the definition, and says so.
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.filterwarnings("ignore:return_lse is deprecated")
@pytest.mark.parametrize("seed", range(12))
def test_flex(seed):
    draw = Draw(seed)
    arrays = [torch.asarray(x) for x in draw.arrays()]
    bias, mask = torch.asarray(draw.bias(*draw.scores)), torch.asarray(draw.mask(*draw.scores))
    slopes = torch.asarray(draw.normal(draw.heads))
    score_mod = draw.one_of(
        None,
        lambda score, b, h, q, k: torch.tanh(score / 3) * 3 + bias[b, h, q, k],
        lambda score, b, h, q, k: score - slopes[h] * (q - k).abs(),
        lambda score, b, h, q, k: torch.where(q >= k, score, -torch.inf),
    )
    mask_mod = draw.one_of(None, lambda b, h, q, k: mask[b, h, q, k], lambda b, h, q, k: q + 1 >= k)
    block_mask = mask_mod and create_block_mask(mask_mod, *draw.scores, device="cpu", BLOCK_SIZE=8)
    options = {"scale": draw.scale(), "enable_gqa": draw.heads != draw.kv_heads}
    expected = flex_attention(*arrays, score_mod, block_mask, return_lse=True, **options)
    for given in (mask_mod, block_mask):
        found = interop.torch.flex_attention(*arrays, score_mod, given, return_lse=True, **options)
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(ours, theirs, **EXACT)


def length_first(arrays):
    return [np.moveaxis(x, 1, 2) for x in arrays]


@pytest.mark.parametrize("seed", FEW)
def test_jax(seed):
    draw = Draw(seed)
    arrays = length_first(draw.arrays(d_v=D_K))
    # A mask or bias has as many heads as the queries, or one.
    options = {"scale": draw.scale(), "is_causal": draw.one_of(True, False)}
    if draw.one_of(True, False):
        options["mask"] = draw.mask()
    if draw.one_of(True, False):
        options["bias"] = draw.operand()
    if draw.one_of(True, False):
        options["local_window_size"] = draw.one_of(0, 2, (1, 3), (4, 0))
    for name, length in (
        ("query_seq_lengths", draw.q_len),
        ("key_value_seq_lengths", draw.kv_len),
    ):
        if draw.one_of(True, False, False):
            lengths = draw.rng.integers(0, length + 1, BATCH)
            options[name] = lengths.astype(np.int32)
    expected = jax.nn.dot_product_attention(*arrays, **options, return_residual=True)
    found = interop.jax.dot_product_attention(*arrays, **options, return_residual=True)
    assert_close(found[0], expected[0], **SINGLE)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6, atol=SINGLE["atol"])


def test_jax_on_its_own_arrays_and_without_a_batch():
    draw = Draw(1)
    arrays = [jnp.asarray(x[0]) for x in length_first(draw.arrays(d_v=D_K))]
    mask = jnp.asarray(draw.mask(*draw.scores[1:]))
    expected = jax.nn.dot_product_attention(*arrays, mask=mask, is_causal=True)
    found = interop.jax.dot_product_attention(*arrays, mask=mask, is_causal=True)
    assert isinstance(found, jax.Array)
    assert_close(found, expected, **SINGLE)


@pytest.mark.parametrize("seed", FEW)
def test_keras(seed, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = importlib.import_module("keras")
    assert keras.backend.backend() == "jax"
    draw = Draw(seed)
    arrays = length_first(draw.arrays(d_v=D_K))
    options = {"scale": draw.scale(), "is_causal": draw.one_of(True, False)}
    if draw.one_of(True, False):
        mask = draw.mask()
        mask = draw.one_of(mask, mask.astype(float), np.where(mask, 0.0, -np.inf))
        options["mask"] = mask
    if draw.one_of(True, False):
        options["bias"] = draw.operand()
    expected = keras.ops.dot_product_attention(*arrays, **options)
    found = interop.keras.dot_product_attention(*arrays, **options)
    assert_close(found, expected, **SINGLE)


@pytest.mark.parametrize("seed", SEEDS)
def test_mlx(seed):
    mx = pytest.importorskip("mlx.core")
    draw = Draw(seed)
    arrays = [x.astype(np.float32) for x in draw.arrays(d_v=D_K)]
    options = {}
    if draw.one_of(True, True, False):
        operand = draw.operand(*draw.scores)
        options["mask"] = operand if operand.dtype == bool else operand.astype(np.float32)
    elif draw.one_of(True, False):
        options["mask"] = "causal"
    if draw.one_of(True, False):
        options["sinks"] = draw.normal(draw.heads).astype(np.float32)
    theirs = {k: mx.array(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected = mx.fast.scaled_dot_product_attention(*map(mx.array, arrays), scale=0.3, **theirs)
    found = interop.mlx.scaled_dot_product_attention(*arrays, scale=0.3, **options)
    assert_close(found, np.array(expected), **SINGLE)


class OnnxCase:
    """One drawn node, with what it is given."""

    def __init__(self, seed):
        draw = Draw(seed)
        query, key, value = draw.arrays()
        self.attributes = {
            "is_causal": draw.one_of(0, 1),
            "softcap": draw.one_of(0.0, 3.0),
            "qk_matmul_output_mode": draw.one_of(0, 1, 2, 3),
            "left_window_size": draw.one_of(-1, -1, 2),
            "right_window_size": draw.one_of(-1, -1, 1),
        }
        if draw.one_of(True, False):
            self.attributes["scale"] = 0.25
        if self.attributes["qk_matmul_output_mode"] == 0:
            # ONNX's evaluator returns the capped scores there, its graphs of plain operators
            # return the scores themselves.
            self.attributes["softcap"] = 0.0
        self.inputs = {"Q": query, "K": key, "V": value}
        kv_len = draw.kv_len
        how = draw.one_of("plain", "past", "static", "packed")
        if how == "past":
            past = draw.one_of(1, 5)
            kv_len += past
            self.inputs["past_key"] = draw.normal(BATCH, draw.kv_heads, past, D_K)
            self.inputs["past_value"] = draw.normal(BATCH, draw.kv_heads, past, D_V)
        if how == "static":
            self.inputs["nonpad_kv_seqlen"] = draw.rng.integers(0, kv_len + 1, BATCH)
        if how == "packed":
            self.attributes |= {"q_num_heads": draw.heads, "kv_num_heads": draw.kv_heads}
            for name in "QKV":
                x = np.moveaxis(self.inputs[name], 1, 2)
                self.inputs[name] = x.reshape(*x.shape[:2], -1)
        if draw.one_of(True, False):
            width = draw.one_of(kv_len, kv_len, max(kv_len - 2, 1))
            shape = (*draw.shape()[: draw.one_of(1, 2)], draw.q_len, width)
            shape = draw.one_of(shape, (draw.q_len, width)) if len(shape) == 4 else shape[1:]
            self.inputs["attn_mask"] = draw.operand(*shape)

    def model(self, inputs, opset):
        """Wrap the node into a model of its own."""
        order = ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"]
        names = [name if name in inputs else "" for name in order]
        while not names[-1]:
            names.pop()
        cached = "past_key" in inputs
        outputs = ["Y", "present_key" if cached else "", "present_value" if cached else "", "QK"]
        node = helper.make_node("Attention", names, outputs, **self.attributes)
        kinds = {name: helper.np_dtype_to_tensor_dtype(x.dtype) for name, x in inputs.items()}
        graph = helper.make_graph(
            [node],
            "one node",
            [helper.make_tensor_value_info(n, kinds[n], x.shape) for n, x in inputs.items()],
            [helper.make_tensor_value_info(n, kinds["Q"], None) for n in outputs if n],
        )
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def ours(self, inputs):
        found = interop.onnx.attention(**inputs, **self.attributes)
        cached = [found.present_key, found.present_value] if "past_key" in inputs else []
        return [found.Y, *cached, found.qk_matmul_output]


@pytest.mark.parametrize("seed", SEEDS)
def test_onnx(seed):
    case = OnnxCase(seed)
    model = case.model(case.inputs, 25)
    with np.errstate(invalid="ignore"):
        expected = ReferenceEvaluator(model).run(None, case.inputs)
    for ours, theirs in zip(case.ours(case.inputs), expected, strict=True):
        assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
def test_transformers(seed):
    draw = Draw(seed)
    arrays = [torch.asarray(x.astype(np.float32)) for x in draw.arrays()]
    scaling = draw.one_of(0.25, D_K**-0.5)
    attention_mask = None
    if draw.one_of(True, True, False):
        smallest = float(torch.finfo(torch.float32).min)
        attention_mask = draw.one_of(
            draw.mask(), draw.bias(), draw.bias(hidden=smallest), draw.bias(hidden=smallest)
        )
        attention_mask = torch.asarray(attention_mask)
        if attention_mask.is_floating_point():
            attention_mask = attention_mask.float()
    module = torch.nn.Module().eval()
    module.num_key_value_groups = draw.heads // draw.kv_heads
    if draw.one_of(True, False):
        module.sinks = torch.asarray(draw.normal(draw.heads)).float()
        expected = oss_attention(module, *arrays, attention_mask, scaling)
        options = {"s_aux": module.sinks}
    else:
        options = {"softcap": draw.one_of(None, 3.0)}
        expected = gemma_attention(module, *arrays, attention_mask, scaling=scaling, **options)
    found = interop.transformers.eager_attention_forward(
        *arrays, attention_mask, scaling, **options
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, **SINGLE)


@pytest.mark.no_shape_checks
@pytest.mark.skipif(sys.platform != "linux", reason="MLX is installed on Linux alone")
def test_the_page_shows_what_the_libraries_answer():
    answers = interop.conventions()
    assert [answer.library for answer in answers if answer.how == "not installed"] == []
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page, answers) == page, f"python -m attention_ref.interop --update {PAGE}"


@pytest.mark.parametrize("seed", SEEDS)
def test_onnx_runtime(seed):
    runtime = importlib.import_module("onnxruntime")
    case = OnnxCase(seed)
    inputs = {k: x.astype(np.float32) if x.dtype == float else x for k, x in case.inputs.items()}
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model = case.model(inputs, 25).SerializeToString()
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    expected = session.run(None, inputs)
    for ours, theirs in zip(case.ours(inputs), expected, strict=True):
        assert_close(ours, theirs, **SINGLE)
