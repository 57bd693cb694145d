"""A small decoder from token ids to logits, as a function of its weights."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from jaxtyping import Float, Integer

from attention_ref._attention_layer import named_parameters
from attention_ref._checks import (
    Array,
    array_namespace,
    require_dtype,
    require_dtype_of,
    require_shape,
    working_dtype,
)
from attention_ref._kv_cache import KVCache
from attention_ref._masks import causal_mask
from attention_ref._positions import rotary_embedding
from attention_ref._transformer_block import layer_norm, transformer_block

ROTARY = partial(rotary_embedding, layout="half")


class TinyTransformerOutput(NamedTuple):
    """What `tiny_transformer` returns.

    Attributes:
        logits: How likely each token is to come next, before the softmax.
            `(*batch, length, vocabulary)`
        weights: The attention weights of each layer. `(*batch, heads, length, kv_len)`
        caches: The keys and values of each layer, for the tokens that come next.
    """

    logits: Float[Array, "*batch length vocabulary"]
    weights: tuple[Float[Array, "*batch heads length kv_len"], ...]
    caches: tuple[KVCache, ...]


def tiny_transformer(
    ids: Integer[Array, "*batch length"],
    parameters: Mapping[str, Array],
    *,
    heads: int,
    caches: Sequence[KVCache] = (),
) -> TinyTransformerOutput:
    r"""Predict the token after each token, from it and those before it.

    $$\operatorname{norm}(\operatorname{block}_n(\dots \operatorname{block}_1(E_\text{ids})))\, U$$

    The blocks are pre-norm, causal and without biases, and know positions by `rotary_embedding`
    with `layout="half"`, so that no length is too long. The weights of a trained
    `attention_ref.torch.TinyTransformer` run here on any library.

    Args:
        ids: The tokens, each a row of the embedding. `(*batch, length)`
        parameters: `embedding` `(vocabulary, d_model)`, `unembedding` `(d_model, vocabulary)`,
            `final_norm.gain` `(d_model,)`, and the parameters of each `transformer_block` under
            `blocks.0.`, `blocks.1.` and so on.
        heads: The number of heads in each block.
        caches: What the call on the tokens before returned as `caches`; none at the start.

    Returns:
        The `logits` in the dtype of the embedding, the `weights` of each layer and its cache.

    Raises:
        ValueError: If a name is missing, an id is no row of the embedding, or shapes do not fit
            together.
        TypeError: If `ids` are not integers, or a dtype differs from the embedding's.

    Complexity: O(layers * length * (d_model * d_ff + kv_len * d_model)) time.

    Examples:
        >>> import numpy as np
        >>> parameters = {"embedding": np.array([[0.0, 2.0], [2.0, 0.0]]), "unembedding": np.eye(2)}
        >>> parameters["final_norm.gain"] = np.ones(2)
        >>> tiny_transformer(np.array([0, 1]), parameters, heads=1).logits.round(3)  # no block
        array([[-1.,  1.],
               [ 1., -1.]])

    References:
        Radford et al. 2019 (GPT-2), section 2.3, for the blocks. Su et al. 2021 (RoFormer), for
        the positions.
    """
    blocks, outer = _parts(parameters)
    embedding, unembedding = outer["embedding"], outer["unembedding"]
    xp = _check(ids, embedding, unembedding)
    if caches and len(caches) != len(blocks):
        raise ValueError(f"caches must be one a block, {len(blocks)} in all, got {len(caches)}")
    start, length = caches[0].position if caches else 0, ids.shape[-1]
    # PyTorch takes rows by no smaller integers, and tokens that are bytes come as uint8.
    index = xp.astype(xp.reshape(ids, (-1,)), xp.arange(0).dtype)
    rows = xp.take(embedding, index, axis=0)
    x = xp.reshape(rows, (*ids.shape, embedding.shape[1]))
    mask = causal_mask(length, start + length, q_start=start, like=x)
    layers = []
    for layer, block in enumerate(blocks):
        cache = caches[layer] if caches else None
        layers.append(
            transformer_block(x, block, heads=heads, mask=mask, rotary=ROTARY, cache=cache)
        )
        x = layers[-1].output
    dtype = working_dtype(xp, x)
    normalized = xp.astype(layer_norm(x, outer["final_norm.gain"]), dtype)
    logits = xp.astype(normalized @ xp.astype(unembedding, dtype), x.dtype)
    return TinyTransformerOutput(
        logits, tuple(layer.weights for layer in layers), tuple(layer.cache for layer in layers)
    )


def _parts(parameters: Mapping[str, Array]) -> tuple[list[dict[str, Array]], dict[str, Array]]:
    numbers = {name.split(".")[1] for name in parameters if name.startswith("blocks.")}
    if numbers != {str(layer) for layer in range(len(numbers))}:
        came = ", ".join(f"blocks.{number}" for number in sorted(numbers))
        raise ValueError(f"parameters must number their blocks from 0 on, got {came}")
    prefixes = [f"blocks.{layer}." for layer in range(len(numbers))]
    blocks = [
        {
            name.removeprefix(prefix): parameters[name]
            for name in parameters
            if name.startswith(prefix)
        }
        for prefix in prefixes
    ]
    outer = {name: array for name, array in parameters.items() if not name.startswith("blocks.")}
    return blocks, named_parameters(outer, "", ("embedding", "unembedding", "final_norm.gain"))


def _check(ids: Array, embedding: Array, unembedding: Array) -> Any:
    xp = array_namespace(ids=ids, embedding=embedding, unembedding=unembedding)
    require_dtype(xp, "integral", ids=ids)
    require_dtype(xp, "real floating", embedding=embedding)
    require_dtype_of("embedding", embedding, unembedding=unembedding)
    require_shape("ids", ids, ids.ndim >= 1, "(..., length)")
    require_shape("embedding", embedding, embedding.ndim == 2, "(vocabulary, d_model)")
    vocabulary, d_model = embedding.shape
    fits = tuple(unembedding.shape) == (d_model, vocabulary)
    rule = f"(d_model={d_model}, vocabulary={vocabulary})"
    require_shape("unembedding", unembedding, fits, rule)
    if xp.any((ids < 0) | (ids >= vocabulary)):
        raise ValueError(
            f"ids must lie between 0 and {vocabulary - 1}, the last row of embedding, "
            f"got {int(xp.min(ids))} to {int(xp.max(ids))}"
        )
    return xp
