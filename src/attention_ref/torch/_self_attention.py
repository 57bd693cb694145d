"""Self-attention with weights of its own, with as many key heads as query heads or fewer."""

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor, nn

from attention_ref._attention_layer import LayerOutput, attention_layer
from attention_ref._checks import as_integer
from attention_ref._kv_cache import KVCache
from attention_ref._masks import causal_mask
from attention_ref._multi_head import require_division
from attention_ref.torch._weights import (
    add_biases,
    check_module,
    check_positions,
    load_from_torch,
    matrix,
    packed,
)


class GroupedQueryAttention(nn.Module):
    r"""Attend with several query heads for each key and value head.

    The parameters are `w_q` `(d_model, d_model)`, `w_k` and `w_v` `(d_model, kv_heads * d_k)` and
    `w_o` `(d_model, d_model)`, which multiply from the right, and with `biases` the vectors `b_q`,
    `b_k`, `b_v` and `b_o`. A matrix begins uniform between $\pm\sqrt{6 / (\text{rows} +
    \text{columns})}$ (Glorot and Bengio 2010, equation 16), a bias at zero.

    Args:
        d_model: The number of features of a position.
        heads: The number of query heads, which divides `d_model`: $d_k$ is their quotient.
        kv_heads: The number of key and value heads, which divides `heads`.
        biases: Whether the projections have biases.
        rotary: Turns queries and keys, as in `attention_layer`; None turns nothing.

    Examples:
        >>> import torch
        >>> layer = GroupedQueryAttention(8, heads=4, kv_heads=2)
        >>> layer(torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 8])
        >>> {name: tuple(weight.shape) for name, weight in layer.state_dict().items()}
        {'w_q': (8, 8), 'w_k': (8, 4), 'w_v': (8, 4), 'w_o': (8, 8)}

    References:
        Ainslie et al. 2023, section 2.2.
    """

    def __init__(
        self,
        d_model: int,
        *,
        heads: int,
        kv_heads: int,
        biases: bool = False,
        rotary: Callable[..., Tensor] | None = None,
    ) -> None:
        super().__init__()
        d_model = as_integer("d_model", d_model, least=1)
        heads = as_integer("heads", heads, least=1)
        kv_heads = as_integer("kv_heads", kv_heads, least=1)
        require_division("heads", heads, "d_model", d_model)
        require_division("kv_heads", kv_heads, "heads", heads)
        self.heads, self.kv_heads, self.rotary = heads, kv_heads, rotary
        d_kv = kv_heads * (d_model // heads)
        self.w_q = matrix(d_model, d_model)
        self.w_k, self.w_v = matrix(d_model, d_kv), matrix(d_model, d_kv)
        self.w_o = matrix(d_model, d_model)
        if biases:
            add_biases(self)

    def forward(
        self,
        x: Float[Tensor, "*batch length d_model"],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "*batch length d_model"]:
        """Attend within `x`; `mask` is True where a query may attend, `bias` joins the scores."""
        output: Tensor = self._attend(x, mask=mask, bias=bias).output
        return output

    def decode(
        self, x: Float[Tensor, "*batch length d_model"], cache: KVCache | None = None
    ) -> tuple[Float[Tensor, "*batch length d_model"], KVCache]:
        """Attend causally within `x` and what is in the cache; None begins a sequence.

        Returns:
            The output, and the cache with the keys and values of `x`.
        """
        check_positions("x", x, self.w_q, "d_model")
        start = 0 if cache is None else cache.position
        length = x.shape[-2]
        mask = causal_mask(length, start + length, q_start=start, like=x)
        output, _, cache = self._attend(x, mask=mask, cache=cache)
        return output, cache

    def _attend(
        self,
        x: Tensor,
        *,
        mask: Tensor | None,
        bias: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> LayerOutput:
        return attention_layer(
            x,
            dict(self.named_parameters()),
            heads=self.heads,
            kv_heads=self.kv_heads,
            mask=mask,
            bias=bias,
            rotary=self.rotary,
            cache=cache,
        )


class MultiHeadAttention(GroupedQueryAttention):
    r"""Attend with several heads, each with queries, keys and values of its own.

    It has the parameters of `GroupedQueryAttention`, and `nn.MultiheadAttention` can be made into
    it and out of it. There a mask says True where a query may **not** attend: here pass
    `mask=~attn_mask`, or `mask=~key_padding_mask[:, None, None, :]`, or both joined by `&`. A query
    that may see nothing has output `b_o` here, and NaN or `b_o` there, by its mode and options.

    Args:
        d_model: The number of features of a position.
        heads: The number of heads, which divides `d_model`.
        biases: Whether the projections have biases.
        rotary: Turns queries and keys, as in `attention_layer`; None turns nothing.

    Examples:
        >>> import torch
        >>> theirs = nn.MultiheadAttention(8, 2, batch_first=True)
        >>> ours = MultiHeadAttention.from_torch(theirs)
        >>> x = torch.randn(3, 5, 8)
        >>> torch.allclose(ours(x), theirs(x, x, x)[0], atol=1e-6)
        True

    References:
        Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(
        self,
        d_model: int,
        *,
        heads: int,
        biases: bool = False,
        rotary: Callable[..., Tensor] | None = None,
    ) -> None:
        super().__init__(d_model, heads=heads, kv_heads=heads, biases=biases, rotary=rotary)

    @classmethod
    def from_torch(cls, module: nn.MultiheadAttention) -> "MultiHeadAttention":
        """Return the layer with a copy of the weights of `nn.MultiheadAttention`.

        Raises:
            ValueError: If it has what this layer has not: dropout, `add_bias_kv`,
                `add_zero_attn`, or keys and values of other sizes (see `CrossAttention`).
            TypeError: If it is another module.
        """
        check_module(module)
        d_model = module.embed_dim
        if (module.kdim, module.vdim) != (d_model, d_model):
            raise ValueError(
                f"module must have kdim and vdim of embed_dim={d_model}, "
                f"got {module.kdim} and {module.vdim}: only CrossAttention takes others"
            )
        layer = cls(d_model, heads=module.num_heads, biases=module.in_proj_bias is not None)
        return load_from_torch(layer, module)

    def to_torch(self) -> nn.MultiheadAttention:
        """Return `nn.MultiheadAttention`, with `batch_first=True`, and a copy of the weights.

        Raises:
            ValueError: If the layer has a rotary embedding, which that module has not.
        """
        if self.rotary is not None:
            raise ValueError("rotary must be None, as nn.MultiheadAttention turns nothing, got one")
        return packed(self)
