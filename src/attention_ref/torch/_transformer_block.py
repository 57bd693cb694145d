"""The block around attention, with weights of its own."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from attention_ref._attention_layer import LayerOutput
from attention_ref._checks import as_integer
from attention_ref._kv_cache import KVCache
from attention_ref._masks import causal_mask
from attention_ref._transformer_block import post_norm_transformer_block, transformer_block
from attention_ref.torch._self_attention import GroupedQueryAttention
from attention_ref.torch._weights import check_positions, matrix


class TransformerBlock(nn.Module):
    r"""Normalise, attend, add; normalise, feed forward, add: the function `transformer_block`.

    The parameters are those of `GroupedQueryAttention` under `attention.`; `w_in` `(d_model, d_ff)`
    and `w_out` `(d_ff, d_model)` under `feed_forward.`; and `gain` `(d_model,)` under
    `attention_norm.` and `feed_forward_norm.`. With `biases` also `b_in`, `b_out` and both `shift`.
    Matrices begin as in `GroupedQueryAttention`, gains at one, biases and shifts at zero.

    Args:
        d_model: The number of features of a position.
        heads: The number of query heads, which divides `d_model`.
        kv_heads: The number of key and value heads, which divides `heads`; None is `heads`.
        d_ff: The number of features between the feed-forward layers; None is `4 * d_model`.
        biases: Whether projections, feed-forward layers and norms have biases.
        rotary: Turns queries and keys, as in `attention_layer`; None turns nothing.

    Examples:
        >>> TransformerBlock(6, heads=2)(torch.zeros(3, 5, 6)).shape
        torch.Size([3, 5, 6])

    References:
        Radford et al. 2019 (GPT-2), section 2.3.
    """

    function = staticmethod(transformer_block)

    def __init__(
        self,
        d_model: int,
        *,
        heads: int,
        kv_heads: int | None = None,
        d_ff: int | None = None,
        biases: bool = False,
        rotary: Callable[..., Tensor] | None = None,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        d_ff = as_integer("d_ff", 4 * d_model if d_ff is None else d_ff, least=1)
        self.attention = GroupedQueryAttention(
            d_model, heads=heads, kv_heads=kv_heads, biases=biases, rotary=rotary
        )
        feed_forward = {"w_in": matrix(d_model, d_ff), "w_out": matrix(d_ff, d_model)}
        attention_norm = {"gain": nn.Parameter(torch.ones(d_model))}
        feed_forward_norm = {"gain": nn.Parameter(torch.ones(d_model))}
        if biases:
            feed_forward["b_in"] = nn.Parameter(torch.zeros(d_ff))
            feed_forward["b_out"] = nn.Parameter(torch.zeros(d_model))
            for norm in (attention_norm, feed_forward_norm):
                norm["shift"] = nn.Parameter(torch.zeros(d_model))
        self.attention_norm = nn.ParameterDict(attention_norm)
        self.feed_forward = nn.ParameterDict(feed_forward)
        self.feed_forward_norm = nn.ParameterDict(feed_forward_norm)

    def forward(
        self,
        x: Float[Tensor, "*batch length d_model"],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "*batch length d_model"]:
        """Run the block; `mask` is True where a query may attend, `bias` joins the scores."""
        output: Tensor = self._run(x, mask=mask, bias=bias).output
        return output

    def decode(
        self, x: Float[Tensor, "*batch length d_model"], cache: KVCache | None = None
    ) -> tuple[Float[Tensor, "*batch length d_model"], KVCache]:
        """Run the block causally on what follows the cache; None begins a sequence.

        Returns:
            The output, and the cache with the keys and values of `x`.
        """
        check_positions("x", x, self.attention.w_q, "d_model")
        start = 0 if cache is None else cache.position
        length = x.shape[-2]
        mask = causal_mask(length, start + length, q_start=start, like=x)
        output, _, cache = self._run(x, mask=mask, cache=cache)
        return output, cache

    def _run(
        self,
        x: Tensor,
        *,
        mask: Tensor | None,
        bias: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> LayerOutput:
        return self.function(
            x,
            dict(self.named_parameters()),
            heads=self.attention.heads,
            kv_heads=self.attention.kv_heads,
            mask=mask,
            bias=bias,
            rotary=self.attention.rotary,
            cache=cache,
        )


class PostNormTransformerBlock(TransformerBlock):
    r"""Normalise after each sum: the function `post_norm_transformer_block`.

    It has the parameters of `TransformerBlock`, which mean something else here.

    Args:
        d_model: The number of features of a position.
        heads: The number of query heads, which divides `d_model`.
        kv_heads: The number of key and value heads, which divides `heads`; None is `heads`.
        d_ff: The number of features between the feed-forward layers; None is `4 * d_model`.
        biases: Whether projections, feed-forward layers and norms have biases.
        rotary: Turns queries and keys, as in `attention_layer`; None turns nothing.

    Examples:
        >>> x = PostNormTransformerBlock(6, heads=2)(torch.randn(3, 5, 6))
        >>> torch.allclose(x.mean(-1), torch.zeros(3, 5), atol=1e-6)
        True

    References:
        Vaswani et al. 2017, section 3.1.
    """

    function = staticmethod(post_norm_transformer_block)
