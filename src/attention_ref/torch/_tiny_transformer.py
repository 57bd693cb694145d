"""A small decoder, with weights of its own."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from attention_ref._checks import array_namespace, as_integer
from attention_ref._kv_cache import KVCache
from attention_ref._softmax import softmax
from attention_ref._tiny_transformer import ROTARY, TinyTransformerOutput, tiny_transformer
from attention_ref.torch._transformer_block import TransformerBlock
from attention_ref.torch._weights import matrix


class TinyTransformer(nn.Module):
    r"""Predict the next token with a few pre-norm blocks: the function `tiny_transformer`.

    The parameters are `embedding` `(vocabulary, d_model)`, those of each `TransformerBlock` under
    `blocks.0.`, `blocks.1.` and so on, `final_norm.gain` `(d_model,)` and `unembedding`
    `(d_model, vocabulary)`. The embedding begins standard normal, as that of `nn.Embedding`, the
    rest as in `TransformerBlock`.

    Args:
        vocabulary: The number of tokens.
        d_model: The number of features of a position.
        heads: The number of heads in each block, which divides `d_model`.
        layers: The number of blocks; with two, one can look for what the other has marked.
        d_ff: The number of features between the feed-forward layers; None is `4 * d_model`.

    Examples:
        >>> model = TinyTransformer(11, 8, heads=2, layers=2)
        >>> ids = torch.tensor([[3, 1, 4, 1, 5]])
        >>> model(ids).shape
        torch.Size([1, 5, 11])
        >>> model.generate(ids, 3).shape
        torch.Size([1, 8])

    References:
        Radford et al. 2019 (GPT-2), section 2.3, for the blocks. Su et al. 2021 (RoFormer), for
        the positions.
    """

    def __init__(
        self, vocabulary: int, d_model: int, *, heads: int, layers: int, d_ff: int | None = None
    ) -> None:
        super().__init__()
        vocabulary = as_integer("vocabulary", vocabulary, least=1)
        layers = as_integer("layers", layers, least=0)
        self.heads = heads
        self.embedding = nn.Parameter(torch.randn(vocabulary, d_model))
        self.blocks = nn.ModuleList(
            TransformerBlock(d_model, heads=heads, d_ff=d_ff, rotary=ROTARY) for _ in range(layers)
        )
        self.final_norm = nn.ParameterDict({"gain": nn.Parameter(torch.ones(d_model))})
        self.unembedding = matrix(d_model, vocabulary)

    def forward(
        self, ids: Integer[Tensor, "*batch length"]
    ) -> Float[Tensor, "*batch length vocabulary"]:
        """Return the logits of the token after each."""
        logits: Tensor = self.decode(ids).logits
        return logits

    def decode(
        self, ids: Integer[Tensor, "*batch length"], caches: Sequence[KVCache] = ()
    ) -> TinyTransformerOutput:
        """Return logits, attention weights and caches for the tokens that follow the caches."""
        parameters = dict(self.named_parameters())
        return tiny_transformer(ids, parameters, heads=self.heads, caches=caches)

    @torch.no_grad()
    def generate(
        self,
        ids: Integer[Tensor, "*batch length"],
        n: int,
        *,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Integer[Tensor, "*batch length_n"]:
        """Return the tokens and `n` more, each computed once and kept in the cache.

        Args:
            ids: The tokens to go on from, one or more. `(*batch, length)`
            n: How many tokens to add.
            temperature: None takes the most likely token; a number draws one from the softmax at
                this temperature.
            generator: Where the draws come from; None is PyTorch's own.

        Returns:
            All tokens. `(*batch, length + n)`

        Raises:
            ValueError: If there is no token to go on from, `n` is negative, or `temperature` is
                not above zero.
            TypeError: If a number is none.
        """
        n = as_integer("n", n, least=0)
        array_namespace(ids=ids)
        if ids.ndim == 0 or ids.shape[-1] == 0:
            raise ValueError(f"ids must have at least one token, got shape {tuple(ids.shape)}")
        new = ids
        caches: tuple[KVCache, ...] = ()
        for _ in range(n):
            logits, _, caches = self.decode(new, caches)
            last = logits[..., -1, :]
            if temperature is None:
                new = last.argmax(dim=-1, keepdim=True)
            else:
                rows = softmax(last, temperature=temperature).reshape(-1, last.shape[-1])
                drawn = torch.multinomial(rows, 1, generator=generator)
                new = drawn.reshape(*last.shape[:-1], 1)
            ids = torch.cat([ids, new.to(ids.dtype)], dim=-1)
        return ids
