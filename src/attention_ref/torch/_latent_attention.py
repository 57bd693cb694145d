"""Multi-head latent attention, with weights of its own."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from attention_ref._checks import as_integer
from attention_ref._kv_cache import KVCache
from attention_ref._latent import latent_attention, latent_attention_absorbed
from attention_ref._masks import causal_mask
from attention_ref._multi_head import check_axes, merge_heads, split_heads
from attention_ref._positions import Layout, rotary_embedding
from attention_ref._qk_norm import rms_norm
from attention_ref.torch._weights import check_positions, matrix


class LatentAttention(nn.Module):
    r"""Attend with keys and values that all heads expand from one small vector a position.

    The parameters have the names of the paper's matrices. To queries: `w_dq`
    `(d_model, d_query_latent)`, then `w_uq` `(d_query_latent, heads * d_nope)` and, for the part
    that turns, `w_qr` `(d_query_latent, heads * d_rotary)`. To keys and values: `w_dkv`
    `(d_model, d_latent)`, then `w_uk` `(heads, d_latent, d_nope)` and `w_uv`
    `(heads, d_latent, d_v)`; `w_kr` `(d_model, d_rotary)` to the key that turns. To the output:
    `w_o` `(heads * d_v, d_model)`. Both latents are normalised by `rms_norm`, with `query_gain` and
    `latent_gain`. Matrices begin as in `GroupedQueryAttention`, gains at one.

    Args:
        d_model: The number of features of a position.
        heads: The number of heads.
        d_latent: The number of features of the latent, which is what a cache keeps.
        d_query_latent: The number of features that queries come from.
        d_nope: The number of features of a query or key that do not turn.
        d_rotary: The number that do, which is even; a cache keeps as many more.
        d_v: The number of features of a value; None is `d_nope`.
        layout: Which features make a pair, as in `rotary_embedding`.

    Examples:
        >>> sizes = {"d_latent": 4, "d_query_latent": 6, "d_nope": 3, "d_rotary": 2}
        >>> layer = LatentAttention(8, heads=5, **sizes, layout="interleaved")
        >>> output, cache = layer.decode(torch.zeros(2, 7, 8))
        >>> output.shape, cache.key.shape, cache.value.shape
        (torch.Size([2, 7, 8]), torch.Size([2, 1, 7, 2]), torch.Size([2, 1, 7, 4]))

    References:
        DeepSeek-AI 2024 (DeepSeek-V2), sections 2.1.2 and 2.1.3.
    """

    def __init__(
        self,
        d_model: int,
        *,
        heads: int,
        d_latent: int,
        d_query_latent: int,
        d_nope: int,
        d_rotary: int,
        d_v: int | None = None,
        layout: Layout,
    ) -> None:
        super().__init__()
        d_v = d_nope if d_v is None else d_v
        sizes = {"d_model": d_model, "heads": heads, "d_latent": d_latent, "d_nope": d_nope}
        sizes |= {"d_query_latent": d_query_latent, "d_rotary": d_rotary, "d_v": d_v}
        for name, size in sizes.items():
            as_integer(name, size, least=1)
        if d_rotary % 2:
            raise ValueError(f"d_rotary must be even, as features turn in pairs, got {d_rotary}")
        if layout not in ("interleaved", "half"):
            raise ValueError(f'layout must be "interleaved" or "half", got {layout!r}')
        self.heads, self.layout = heads, layout
        self.w_dq = matrix(d_model, d_query_latent)
        self.w_uq = matrix(d_query_latent, heads * d_nope)
        self.w_qr = matrix(d_query_latent, heads * d_rotary)
        self.w_dkv = matrix(d_model, d_latent)
        self.w_uk = nn.Parameter(split_heads(matrix(d_latent, heads * d_nope).data, heads).clone())
        self.w_uv = nn.Parameter(split_heads(matrix(d_latent, heads * d_v).data, heads).clone())
        self.w_kr = matrix(d_model, d_rotary)
        self.w_o = matrix(heads * d_v, d_model)
        self.query_gain = nn.Parameter(torch.ones(d_query_latent))
        self.latent_gain = nn.Parameter(torch.ones(d_latent))

    def forward(
        self,
        x: Float[Tensor, "*batch length d_model"],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "*batch length d_model"]:
        """Attend within `x`, by `latent_attention`; `mask` is True where a query may attend."""
        check_positions("x", x, self.w_dq, "d_model")
        check_axes(x, mask=mask, bias=bias)
        rotary_key, latent = self._kept(x, 0)
        expansions = self.w_uk, self.w_uv
        attended = latent_attention(
            *self._queries(x, 0), latent, rotary_key, *expansions, mask=mask, bias=bias
        )
        output: Tensor = merge_heads(attended) @ self.w_o
        return output

    def decode(
        self, x: Float[Tensor, "*batch length d_model"], cache: KVCache | None = None
    ) -> tuple[Float[Tensor, "*batch length d_model"], KVCache]:
        """Attend causally within `x` and the cache, by `latent_attention_absorbed`.

        Returns:
            The output, and the cache with the rotary keys and latents of `x`.
        """
        check_positions("x", x, self.w_dq, "d_model")
        start, length = 0 if cache is None else cache.position, x.shape[-2]
        rotary_key, latent = self._kept(x, start)
        cache = KVCache.empty(rotary_key, latent) if cache is None else cache
        cache = cache.append(rotary_key, latent)
        attended = latent_attention_absorbed(
            *self._queries(x, start),
            cache.value,
            cache.key,
            self.w_uk,
            self.w_uv,
            mask=causal_mask(length, start + length, q_start=start, like=x),
        )
        return merge_heads(attended) @ self.w_o, cache

    def _queries(self, x: Tensor, start: int) -> tuple[Tensor, Tensor]:
        latent = rms_norm(x @ self.w_dq, self.query_gain)
        query, turning = (split_heads(latent @ w, self.heads) for w in (self.w_uq, self.w_qr))
        return query, rotary_embedding(turning, layout=self.layout, positions=start)

    def _kept(self, x: Tensor, start: int) -> tuple[Tensor, Tensor]:
        turning = split_heads(x @ self.w_kr, 1)
        latent = split_heads(rms_norm(x @ self.w_dkv, self.latent_gain), 1)
        return rotary_embedding(turning, layout=self.layout, positions=start), latent
