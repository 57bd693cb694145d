"""Attention to another sequence, with weights of its own."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from attention_ref._attention_layer import LayerOutput, attention_layer
from attention_ref._checks import as_integer
from attention_ref._kv_cache import KVCache
from attention_ref._multi_head import require_division
from attention_ref.torch._weights import (
    add_biases,
    check_module,
    check_positions,
    load_from_torch,
    matrix,
    packed,
)


class CrossAttention(nn.Module):
    r"""Ask with the positions of one sequence, and answer with those of another.

    The parameters are `w_q` and `w_o` `(d_model, d_model)`, `w_k` and `w_v` `(d_context, d_model)`,
    and with `biases` the vectors `b_q`, `b_k`, `b_v` and `b_o`. They begin as those of
    `GroupedQueryAttention`.

    Args:
        d_model: The number of features of a position that asks.
        heads: The number of heads, which divides `d_model`.
        d_context: The number of features of a position that answers; None is `d_model`.
        biases: Whether the projections have biases.

    Examples:
        >>> import torch
        >>> layer = CrossAttention(6, heads=2, d_context=4)
        >>> layer(torch.zeros(3, 5, 6), torch.zeros(3, 7, 4)).shape
        torch.Size([3, 5, 6])

    References:
        Vaswani et al. 2017, section 3.2.3 ("encoder-decoder attention").
    """

    def __init__(
        self, d_model: int, *, heads: int, d_context: int | None = None, biases: bool = False
    ) -> None:
        super().__init__()
        d_model = as_integer("d_model", d_model, least=1)
        heads = as_integer("heads", heads, least=1)
        require_division("heads", heads, "d_model", d_model)
        d_context = as_integer("d_context", d_model if d_context is None else d_context, least=1)
        self.heads = heads
        self.w_q = matrix(d_model, d_model)
        self.w_k, self.w_v = matrix(d_context, d_model), matrix(d_context, d_model)
        self.w_o = matrix(d_model, d_model)
        if biases:
            add_biases(self)

    def forward(
        self,
        x: Float[Tensor, "*batch q_len d_model"],
        context: Float[Tensor, "*batch kv_len d_context"],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "*batch q_len d_model"]:
        """Attend to `context`; `mask` is True where a query may attend, `bias` joins the scores."""
        output: Tensor = self._attend(x, context, mask=mask, bias=bias).output
        return output

    def remember(self, context: Float[Tensor, "*batch kv_len d_context"]) -> KVCache:
        """Return the keys and values of `context`, which are the same for every query."""
        check_positions("context", context, self.w_k, "d_context")
        nobody = context.new_zeros((*context.shape[:-2], 0, self.w_q.shape[0]))
        return self._attend(nobody, context).cache

    def decode(
        self,
        x: Float[Tensor, "*batch q_len d_model"],
        cache: KVCache,
        *,
        mask: Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "*batch q_len d_model"]:
        """Attend to what `remember` returned, without computing it again."""
        check_positions("x", x, self.w_q, "d_model")
        nothing = x.new_zeros((*x.shape[:-2], 0, self.w_k.shape[0]))
        output: Tensor = self._attend(x, nothing, mask=mask, cache=cache).output
        return output

    def _attend(
        self,
        x: Tensor,
        context: Tensor,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> LayerOutput:
        return attention_layer(
            x,
            dict(self.named_parameters()),
            heads=self.heads,
            context=context,
            mask=mask,
            bias=bias,
            cache=cache,
        )

    @classmethod
    def from_torch(cls, module: nn.MultiheadAttention) -> "CrossAttention":
        """Return the layer with a copy of the weights of `nn.MultiheadAttention`.

        Raises:
            ValueError: If it has what this layer has not: dropout, `add_bias_kv`,
                `add_zero_attn`, or keys from another sequence than values (`kdim` not `vdim`).
            TypeError: If it is another module.
        """
        check_module(module)
        if module.kdim != module.vdim:
            raise ValueError(
                "module must have kdim equal to vdim, as one context gives keys and values, "
                f"got {module.kdim} and {module.vdim}"
            )
        layer = cls(
            module.embed_dim,
            heads=module.num_heads,
            d_context=module.kdim,
            biases=module.in_proj_bias is not None,
        )
        return load_from_torch(layer, module)

    def to_torch(self) -> nn.MultiheadAttention:
        """Return `nn.MultiheadAttention`, with `batch_first=True`, and a copy of the weights."""
        return packed(self)
