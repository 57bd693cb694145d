"""PyTorch's conventions: `scaled_dot_product_attention`, `nn.MultiheadAttention`, flex."""

from collections.abc import Callable
from typing import Any

import array_api_compat
from jaxtyping import Float, Shaped

from attention_ref._checks import Array, array_namespace, given, require_dtype_of, working_dtype
from attention_ref._masks import causal_mask
from attention_ref._multi_head import expand_kv_heads, merge_heads, split_heads
from attention_ref._scaled_dot_product import (
    attention_scores,
    attention_stages,
    isolated_average,
)
from attention_ref._softmax import logsumexp, masked_softmax
from attention_ref.interop._answers import (
    mask_or_bias,
    nan_where_unseen,
    refuse,
    refuse_dropout,
)

__all__ = ["flex_attention", "multi_head_attention", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Float[Array, "*batch q_len d_k"],
    key: Float[Array, "*kv_batch kv_len d_k"],
    value: Float[Array, "*value_batch kv_len d_v"],
    attn_mask: Shaped[Array, "..."] | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Array, "*out_batch q_len d_v"]:
    r"""Answer as `torch.nn.functional.scaled_dot_product_attention`.

    A boolean mask is True where a query may attend, numbers are added. Causal is top-left, a
    query that may see nothing gets 0, and batch axes are stretched to each other.

    Args:
        query: `(*batch, heads, q_len, d_k)`
        key: `(*batch, kv_heads, kv_len, d_k)`
        value: `(*batch, kv_heads, kv_len, d_v)`
        attn_mask: Boolean or floating point; broadcasts to `(*batch, heads, q_len, kv_len)`.
        dropout_p: Must be 0.
        is_causal: Whether query $i$ sees keys 0 to $i$, whatever the lengths are.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        enable_gqa: Whether `kv_heads` may be fewer than `heads`.

    Returns:
        The output, in the dtype of the three. `(*batch, heads, q_len, d_v)`

    Raises:
        ValueError: If shapes do not fit together, or where PyTorch refuses a combination.
        TypeError: If dtypes differ, or the mask is neither boolean nor floating point.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query, value = np.zeros((1, 2, 1)), np.array([[[0.0], [4.0], [8.0]]])
        >>> scaled_dot_product_attention(query, value, value, is_causal=True)[0, :, 0]
        array([0., 2.])
    """
    xp = array_namespace(query=query, key=key, value=value, **given(attn_mask=attn_mask))
    require_dtype_of("query", query, value=value)
    refuse_dropout("dropout_p", dropout_p)
    rule = "attn_mask must be None beside is_causal=True"
    explicit = is_causal and attn_mask is not None
    refuse("PyTorch's scaled_dot_product_attention", rule, explicit, "both")
    mask, bias = mask_or_bias(xp, attn_mask)
    if is_causal:
        mask = causal_mask(query.shape[-2], key.shape[-2], q_start=0, like=query)
    if enable_gqa:
        key, value = (expand_kv_heads(x, query.shape[-3]) for x in (key, value))
    query, key, value = _with_equal_batches(xp, query, key, value)
    return attention_stages(query, key, value, mask=mask, bias=bias, scale=scale).output


def _with_equal_batches(xp: Any, *arrays: Array) -> list[Array]:
    """Stretch the batch axes to each other, as a product of matrices does."""
    batches = [xp.broadcast_to(xp.zeros(()), tuple(x.shape[:-2])) for x in arrays]
    batch = tuple(xp.broadcast_arrays(*batches)[0].shape)
    return [xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in arrays]


def multi_head_attention(
    query: Float[Array, "*batch q_len heads_d_k"],
    key: Float[Array, "*batch kv_len heads_d_k"],
    value: Float[Array, "*batch kv_len heads_d_v"],
    key_padding_mask: Shaped[Array, "*batch kv_len"] | None = None,
    need_weights: bool = True,
    attn_mask: Shaped[Array, "..."] | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    num_heads: int,
) -> tuple[Float[Array, "*batch q_len heads_d_v"], Float[Array, "..."] | None]:
    r"""Answer as `torch.nn.MultiheadAttention` with `batch_first=True`, between its projections.

    `query`, `key` and `value` are projected already, and the output is not yet. **True hides**
    in both masks, numbers are added. A query that may see nothing gets NaN with
    `need_weights=True`, and 0 without.

    Args:
        query: `(*batch, q_len, num_heads * d_k)`
        key: `(*batch, kv_len, num_heads * d_k)`
        value: `(*batch, kv_len, num_heads * d_v)`
        key_padding_mask: True for keys that are hidden from all, or added. `(*batch, kv_len)`
        need_weights: Whether to return the weights too.
        attn_mask: True where a query may **not** attend, or added; `(q_len, kv_len)` or
            `(batch * num_heads, q_len, kv_len)`.
        average_attn_weights: Whether the weights are the mean over the heads.
        is_causal: A hint that `attn_mask` is causal. PyTorch takes it at its word, and looks at
            no `attn_mask`, only where `need_weights=False` and `key_padding_mask=None`.
        num_heads: The number of heads, which the module knows and this function must be told.

    Returns:
        The merged heads `(*batch, q_len, num_heads * d_v)`, and the weights
        `(*batch, q_len, kv_len)`, or `(*batch, num_heads, q_len, kv_len)` if not averaged, or
        None.

    Raises:
        ValueError: If shapes do not fit together, or `is_causal=True` comes without `attn_mask`.
        TypeError: If dtypes differ, or a mask is neither boolean nor floating point.

    Complexity: O(q_len * kv_len * num_heads * (d_k + d_v)) time; O(q_len * kv_len * num_heads)
        memory.

    Examples:
        >>> import numpy as np
        >>> query, value = np.zeros((1, 1)), np.array([[0.0], [8.0]])
        >>> hidden = np.array([False, True])
        >>> output, weights = multi_head_attention(query, value, value, hidden, num_heads=1)
        >>> output, weights
        (array([[0.]]), array([[1., 0.]]))
    """
    xp = array_namespace(
        query=query,
        key=key,
        value=value,
        **given(key_padding_mask=key_padding_mask, attn_mask=attn_mask),
    )
    require_dtype_of("query", query, value=value)
    rule = "attn_mask must be given beside is_causal=True"
    refuse("PyTorch's MultiheadAttention", rule, is_causal and attn_mask is None, None)
    query, key, value = (split_heads(x, num_heads) for x in (query, key, value))
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = ~causal_mask(query.shape[-2], key.shape[-2], q_start=0, like=query)
    if key_padding_mask is not None:
        key_padding_mask = key_padding_mask[..., None, None, :]
    if attn_mask is not None and attn_mask.ndim == 3:
        attn_mask = xp.reshape(attn_mask, (*query.shape[:-1], key.shape[-2]))
    hidden = xp.zeros((1, 1), dtype=xp.bool, device=array_api_compat.device(query))
    bias = None
    for operand in (key_padding_mask, attn_mask):
        hides, added = mask_or_bias(xp, operand)
        hidden = hidden if hides is None else hidden | hides
        if added is not None:
            bias = added if bias is None else bias + added
    stages = attention_stages(query, key, value, mask=~hidden, bias=bias)
    if not need_weights:
        return merge_heads(stages.output), None
    stages = nan_where_unseen(stages)
    weights = stages.weights
    weights = xp.mean(weights, axis=-3) if average_attn_weights else weights
    return merge_heads(stages.output), xp.astype(weights, query.dtype)


def flex_attention(
    query: Float[Array, "batch heads q_len d_k"],
    key: Float[Array, "batch kv_heads kv_len d_k"],
    value: Float[Array, "batch kv_heads kv_len d_v"],
    score_mod: Callable[..., Array] | None = None,
    block_mask: Any = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
) -> Any:
    r"""Answer as `torch.nn.attention.flex_attention.flex_attention`.

    The two functions are called once, with all scores and with the indices as arrays that
    broadcast, where PyTorch calls them for one score and maps over all: an index into an array
    and arithmetic work alike, an `if` works in neither. What neither lets through, and what
    `score_mod` makes -inf, is hidden; a query that may see nothing gets 0.

    Args:
        query: `(batch, heads, q_len, d_k)`
        key: `(batch, kv_heads, kv_len, d_k)`
        value: `(batch, kv_heads, kv_len, d_v)`
        score_mod: Called as `score_mod(score, b, h, q_idx, kv_idx)` with the scaled scores;
            returns what takes their place.
        block_mask: A function that is called as `mask_mod(b, h, q_idx, kv_idx)` and returns True
            where a query may attend, or an object that has one as `mask_mod`, as PyTorch's
            `BlockMask` does.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        enable_gqa: Whether `kv_heads` may be fewer than `heads`.
        return_lse: Whether to return the log-sum-exp too.

    Returns:
        The output `(batch, heads, q_len, d_v)`; with `return_lse=True` also the log-sum-exp
        `(batch, heads, q_len)`, -inf where a query may see nothing.

    Raises:
        ValueError: If shapes do not fit together, or heads differ without `enable_gqa=True`.
        TypeError: If dtypes differ.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query, value = np.zeros((1, 1, 3, 1)), np.array([[[[0.0], [4.0], [8.0]]]])
        >>> def causal(b, h, q_idx, kv_idx):
        ...     return q_idx >= kv_idx
        >>> flex_attention(query, value, value, block_mask=causal)[0, 0, :, 0]
        array([0., 2., 4.])
    """
    xp = array_namespace(query=query, key=key, value=value)
    require_dtype_of("query", query, key=key, value=value)
    heads, kv_heads = query.shape[-3], key.shape[-3]
    rule = f"key must have heads={heads} unless enable_gqa=True"
    refuse("PyTorch's flex_attention", rule, not enable_gqa and kv_heads != heads, kv_heads)
    dtype = working_dtype(xp, query)
    query, key, wide = (xp.astype(x, dtype) for x in (query, key, value))
    key, wide = expand_kv_heads(key, heads), expand_kv_heads(wide, heads)
    scores = attention_scores(query, key, scale=scale)
    indices = _index_grids(xp, scores)
    if score_mod is not None:
        scores = xp.astype(xp.broadcast_to(score_mod(scores, *indices), scores.shape), dtype)
    allowed = scores != -xp.inf
    if block_mask is not None:
        allowed = allowed & getattr(block_mask, "mask_mod", block_mask)(*indices)
    scores = xp.where(allowed, scores, -xp.inf)
    weights = masked_softmax(scores, allowed)
    output = xp.astype(isolated_average(xp, weights, wide, allowed), value.dtype)
    return (output, logsumexp(scores)) if return_lse else output


def _index_grids(xp: Any, scores: Array) -> list[Array]:
    """Return the batch item, head, query and key of every score, to broadcast."""
    device = array_api_compat.device(scores)
    grids = []
    for axis, length in enumerate(scores.shape):
        shape = [1] * scores.ndim
        shape[axis] = length
        grids.append(xp.reshape(xp.arange(length, device=device), tuple(shape)))
    return grids
