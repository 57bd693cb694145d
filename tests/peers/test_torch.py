"""PyTorch's two attentions with conventions of their own: the module, and flex_attention."""

import math

import pytest
import torch
from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention

from attention_ref import (
    alibi_bias,
    alibi_slopes,
    attention_stages,
    attention_weights,
    causal_mask,
    document_mask,
    expand_kv_heads,
    merge_heads,
    multi_head_attention,
    padding_mask,
    scaled_dot_product_attention,
    sliding_window_mask,
    split_heads,
)

BATCH, HEADS, KV_HEADS, Q_LEN, KV_LEN, D_K, D_V = 2, 6, 3, 5, 7, 11, 13
# Both sum in float64, in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def draw(seed, *shape):
    generator = torch.manual_seed(seed)
    return 2 * torch.randn(shape, dtype=torch.float64, generator=generator)


class TestMultiheadAttention:
    """A module of 6 heads, cross-attention to features of other sizes, projections with biases."""

    d_model, kdim, vdim = 30, 17, 19

    def module(self, **options):
        torch.manual_seed(0)
        module = torch.nn.MultiheadAttention(
            self.d_model, HEADS, batch_first=True, dtype=torch.float64, **options
        )
        for weight in module.parameters():
            torch.nn.init.normal_(weight, std=0.5)
        return module.eval()

    def heads(self, module, query, key, value):
        """Project as the module does, and split."""
        if module.in_proj_weight is not None:
            weights = module.in_proj_weight.chunk(3)
        else:
            weights = module.q_proj_weight, module.k_proj_weight, module.v_proj_weight
        biases = module.in_proj_bias.chunk(3)
        inputs = zip((query, key, value), weights, biases, strict=True)
        return [split_heads(x @ weight.T + bias, HEADS) for x, weight, bias in inputs]

    def output(self, module, attended):
        return merge_heads(attended) @ module.out_proj.weight.T + module.out_proj.bias

    @pytest.mark.parametrize("need_weights", [False, True])
    def test_true_in_its_masks_hides(self, need_weights):
        module = self.module(kdim=self.kdim, vdim=self.vdim)
        inputs = [
            draw(1, BATCH, Q_LEN, self.d_model),
            draw(2, BATCH, KV_LEN, self.kdim),
            draw(3, BATCH, KV_LEN, self.vdim),
        ]
        lengths = torch.tensor([4, 7])
        mask = causal_mask(Q_LEN, KV_LEN, q_start=2, like=lengths)
        padding = padding_mask(lengths, KV_LEN)
        expected, weights = module(
            *inputs, attn_mask=~mask, key_padding_mask=~padding[:, 0], need_weights=need_weights
        )
        query, key, value = self.heads(module, *inputs)
        mask = (mask & padding)[:, None]
        attended = scaled_dot_product_attention(query, key, value, mask=mask)
        torch.testing.assert_close(self.output(module, attended), expected, **CLOSE)
        if need_weights:
            ours = attention_weights(query, key, mask=mask).mean(1)
            torch.testing.assert_close(ours, weights, **CLOSE)

    @pytest.mark.parametrize("need_weights", [False, True])
    def test_a_query_that_sees_nothing_gets_nan_with_weights_and_zero_without(self, need_weights):
        module = self.module()
        x = draw(4, BATCH, Q_LEN, self.d_model)
        mask = causal_mask(Q_LEN, like=x)
        mask[2] = False
        expected, _ = module(x, x, x, attn_mask=~mask, need_weights=need_weights)
        attended = scaled_dot_product_attention(*self.heads(module, x, x, x), mask=mask)
        found = self.output(module, attended)
        sees = mask.any(-1)
        torch.testing.assert_close(found[:, sees], expected[:, sees], **CLOSE)
        assert (attended[:, :, ~sees] == 0).all()
        # Of zeros only the projection's bias is left.
        nothing = torch.full_like(found[:, ~sees], math.nan) if need_weights else found[:, ~sees]
        torch.testing.assert_close(expected[:, ~sees], nothing, equal_nan=True, **CLOSE)

    def test_its_zero_key_is_a_sink_of_zero(self):
        module = self.module(add_zero_attn=True)
        x = draw(5, BATCH, Q_LEN, self.d_model)
        expected, _ = module(x, x, x)
        sink = torch.zeros(HEADS, dtype=x.dtype)
        attended = scaled_dot_product_attention(*self.heads(module, x, x, x), sink=sink)
        torch.testing.assert_close(self.output(module, attended), expected, **CLOSE)

    def test_forward_and_gradients_of_all_weights(self):
        module = self.module(bias=False)
        x, direction = draw(6, BATCH, Q_LEN, self.d_model), draw(7, BATCH, Q_LEN, self.d_model)
        x.requires_grad_()
        mask, added = causal_mask(Q_LEN, like=x), draw(8, Q_LEN, Q_LEN)
        expected, _ = module(x, x, x, attn_mask=added.masked_fill(~mask, -math.inf))
        weights = (w.T for w in (*module.in_proj_weight.chunk(3), module.out_proj.weight))
        found = multi_head_attention(x, *weights, heads=HEADS, mask=mask, bias=added)
        torch.testing.assert_close(found, expected, **CLOSE)
        inputs = [x, *module.parameters()]
        ours, theirs = (
            torch.autograd.grad((output * direction).sum(), inputs) for output in (found, expected)
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def draw_inputs(seed, q_len=Q_LEN):
    return (
        draw(seed, BATCH, HEADS, q_len, D_K),
        draw(seed + 1, BATCH, KV_HEADS, KV_LEN, D_K),
        draw(seed + 2, BATCH, KV_HEADS, KV_LEN, D_V),
    )


# Compiled, it is a kernel; as it stands, it is the definition, and says so.
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
class TestFlexAttention:
    """Forward in eager mode, whose softmax is float64 for float64."""

    def compare(self, inputs, visible=None, score_mod=None, **options):
        """Compare the output and the log-sum-exp; theirs tells both with a function a score."""
        query, key, value = inputs
        q_len, kv_len = query.shape[-2], key.shape[-2]
        block_mask = visible and create_block_mask(
            visible, BATCH, HEADS, q_len, kv_len, device="cpu"
        )
        output, aux = flex_attention(
            *inputs, score_mod, block_mask, enable_gqa=True, return_aux=AuxRequest(lse=True)
        )
        key, value = expand_kv_heads(key, HEADS), expand_kv_heads(value, HEADS)
        stages = attention_stages(query, key, value, **options)
        torch.testing.assert_close(stages.output, output, **CLOSE)
        torch.testing.assert_close(stages.logsumexp, aux.lse, **CLOSE)
        return stages

    def test_grouped_heads(self):
        self.compare(draw_inputs(1))

    def test_soft_cap_then_bias(self):
        bias = draw(4, BATCH, HEADS, Q_LEN, KV_LEN)

        def score_mod(score, b, h, q, k):
            return 3.0 * torch.tanh(score / 3.0) + bias[b, h, q, k]

        self.compare(draw_inputs(5), score_mod=score_mod, softcap=3.0, bias=bias)

    def test_alibi_in_a_window(self):
        slopes = alibi_slopes(HEADS, like=draw(0, 1))
        mask = sliding_window_mask(Q_LEN, KV_LEN, left=2, q_start=2, like=slopes)

        def score_mod(score, b, h, q, k):
            return score - slopes[h] * (q + 2 - k)

        def visible(b, h, q, k):
            return (k <= q + 2) & (k >= q)

        bias = alibi_bias(slopes, Q_LEN, KV_LEN, q_start=2)
        self.compare(draw_inputs(9), visible, score_mod, mask=mask, bias=bias)

    def test_documents_and_causal(self):
        ids = torch.tensor([[0, 0, 0, 1, 1, 2, 2], [4, 4, 3, 3, 3, 3, 3]])

        def visible(b, h, q, k):
            return (ids[b, q] == ids[b, k]) & (k <= q)

        mask = document_mask(ids) & causal_mask(KV_LEN, like=ids)
        self.compare(draw_inputs(13, KV_LEN), visible, mask=mask[:, None])

    def test_a_query_that_sees_nothing_gives_zero_and_minus_infinity_in_both(self):
        def visible(b, h, q, k):
            return (q != 3) & (k <= q)

        mask = causal_mask(Q_LEN, KV_LEN, q_start=0, like=draw(0, 1))
        mask[3] = False
        stages = self.compare(draw_inputs(17), visible, mask=mask)
        assert not stages.output[:, :, 3].any()
        assert (stages.logsumexp[:, :, 3] == -math.inf).all()


class TestScaledDotProductAttention:
    """The backend that PyTorch calls math, in float64, and gradients by finite differences."""

    sizes = (BATCH, HEADS, Q_LEN, D_K), (BATCH, HEADS, KV_LEN, D_K), (BATCH, HEADS, KV_LEN, D_V)

    def masks(self):
        """Return masks, among them one that leaves two queries nothing to see."""
        padding = padding_mask(torch.tensor([4, KV_LEN]), KV_LEN)[:, None]
        causal = causal_mask(Q_LEN, KV_LEN, q_start=-2, like=torch.empty(0))
        return {"all": None, "padding": padding, "dead rows": causal, "both": padding & causal}

    @pytest.mark.parametrize("scale", [None, 0.3])
    @pytest.mark.parametrize("name", ["all", "padding", "dead rows", "both"])
    def test_output_and_gradients(self, name, scale):
        mask = self.masks()[name]
        inputs = [draw(seed, *size).requires_grad_() for seed, size in enumerate(self.sizes)]
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            expected = torch.nn.functional.scaled_dot_product_attention(
                *inputs, attn_mask=mask, scale=scale
            )
        found = scaled_dot_product_attention(*inputs, mask=mask, scale=scale)
        torch.testing.assert_close(found, expected, **CLOSE)
        gradient = draw(7, *expected.shape)
        for ours, theirs in zip(
            torch.autograd.grad(found, inputs, gradient),
            torch.autograd.grad(expected, inputs, gradient),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, **CLOSE)

    @pytest.mark.parametrize("q_start", [-1, 2])  # with a query that sees nothing, and without
    def test_gradcheck(self, q_start):
        mask = causal_mask(3, 5, q_start=q_start, like=torch.empty(0))
        shapes = (2, 3, 2), (2, 5, 2), (2, 5, 1), (3, 5), (2,)
        inputs = [draw(seed, *shape).requires_grad_() for seed, shape in enumerate(shapes)]

        def attend(query, key, value, bias, sink):
            return scaled_dot_product_attention(
                query, key, value, mask=mask, bias=bias, sink=sink, softcap=3.0, scale=0.4
            )

        assert torch.autograd.gradcheck(attend, inputs)
