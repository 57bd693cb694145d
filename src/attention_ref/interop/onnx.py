"""ONNX's convention: the operator `Attention`, opset 25."""

from typing import Any, NamedTuple

from jaxtyping import Float, Integer, Shaped

from attention_ref._checks import Array, array_namespace, given, require_dtype_of
from attention_ref._kv_cache import KVCache
from attention_ref._masks import causal_mask, padding_mask, sliding_window_mask
from attention_ref._multi_head import merge_heads, split_heads
from attention_ref.interop._answers import attend, both, mask_or_bias, refuse

__all__ = ["AttentionOutputs", "attention"]

# What qk_matmul_output_mode counts through.
_MODES = ("scores", "capped", "biased", "weights")
_DOUBLE = 11  # in onnx.TensorProto.DataType


class AttentionOutputs(NamedTuple):
    """The operator's outputs, in its order.

    Attributes:
        Y: The output, in the shape of `Q` but for the size of the values.
        present_key: All keys so far. `(batch, kv_heads, kv_len, d_k)`
        present_value: All values so far. `(batch, kv_heads, kv_len, d_v)`
        qk_matmul_output: What `qk_matmul_output_mode` asks for. `(batch, heads, q_len, kv_len)`
    """

    Y: Array
    present_key: Array
    present_value: Array
    qk_matmul_output: Array


def attention(
    Q: Float[Array, "..."],  # noqa: N803  # the operator's own names
    K: Float[Array, "..."],  # noqa: N803
    V: Float[Array, "..."],  # noqa: N803
    attn_mask: Shaped[Array, "..."] | None = None,
    past_key: Float[Array, "batch kv_heads past d_k"] | None = None,
    past_value: Float[Array, "batch kv_heads past d_v"] | None = None,
    nonpad_kv_seqlen: Integer[Array, " batch"] | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> AttentionOutputs:
    r"""Answer as the ONNX operator `Attention` of opset 25, whose subsets are opsets 23 and 24.

    A boolean mask is True where a query may attend, numbers are added; one that is shorter than
    the keys hides the rest. Query 0 stands after the cache: at `past_key`'s length, at
    `nonpad_kv_seqlen - q_len`, or without either at 0. A query that may see nothing gets 0.

    Args:
        Q: `(batch, heads, q_len, d_k)`, or `(batch, q_len, heads * d_k)`
        K: `(batch, kv_heads, kv_len, d_k)`, or `(batch, kv_len, kv_heads * d_k)`
        V: `(batch, kv_heads, kv_len, d_v)`, or `(batch, kv_len, kv_heads * d_v)`
        attn_mask: Boolean or floating point; broadcasts to `(batch, heads, q_len, kv_len)`.
        past_key: Keys that come before `K`. `(batch, kv_heads, past, d_k)`
        past_value: Values that come before `V`. `(batch, kv_heads, past, d_v)`
        nonpad_kv_seqlen: How many keys of a static cache are real. `(batch,)`
        is_causal: Whether a query sees no key after its own position.
        kv_num_heads: The number of key heads, for inputs of three axes.
        left_window_size: How many keys a query sees on its left; -1 is all.
        q_num_heads: The number of query heads, for inputs of three axes.
        qk_matmul_output_mode: What to return beside: 0 the scores, 1 after the soft cap, 2 after
            the mask too, 3 the weights.
        right_window_size: How many keys a query sees on its right; -1 is all.
        scale: What the dot products are multiplied by; None is $1 / \sqrt{d_k}$.
        softcap: The bound that the scores approach; 0 is none.
        softmax_precision: A data type's number in ONNX. 11, float64, computes in that; any other
            is float32 here, or wider with the inputs.

    Returns:
        The operator's four outputs.

    Raises:
        ValueError: If shapes do not fit together, or where the operator forbids a combination.
        TypeError: If `Q` and `K` differ in dtype, a cache from what joins it, or the mask is
            neither boolean nor floating point.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> Q, V = np.zeros((1, 1, 1, 1)), np.array([[[[8.0]]]])
        >>> past = np.array([[[[0.0], [1.0]]]])
        >>> outputs = attention(Q, V, V, past_key=past, past_value=past, is_causal=1)
        >>> outputs.Y, outputs.present_value[0, 0, :, 0]
        (array([[[[3.]]]]), array([0., 1., 8.]))

    References:
        ONNX, operator specification of `Attention`.
    """
    xp = array_namespace(
        Q=Q, K=K, V=V, **given(attn_mask=attn_mask, past_key=past_key, past_value=past_value)
    )
    require_dtype_of("Q", Q, K=K)
    _check(Q, past_key, past_value, nonpad_kv_seqlen, q_num_heads, kv_num_heads)
    mask, bias = mask_or_bias(xp, attn_mask)
    query, key, value = Q, K, V
    if Q.ndim == 3 and q_num_heads is not None and kv_num_heads is not None:
        query = split_heads(Q, q_num_heads)
        key, value = split_heads(K, kv_num_heads), split_heads(V, kv_num_heads)
    cache = KVCache.empty(key, value)
    if past_key is not None and past_value is not None:
        cache = cache.append(past_key, past_value)
    cache = cache.append(key, value)
    q_len, kv_len = query.shape[-2], cache.key.shape[-2]

    mask, bias = _fill_up(xp, mask, kv_len, False), _fill_up(xp, bias, kv_len, -xp.inf)
    start: dict[str, Any] = {"q_start": cache.q_start, "like": query}
    if nonpad_kv_seqlen is not None:
        mask = both(mask, padding_mask(nonpad_kv_seqlen, kv_len)[:, None, :, :])
        start = {"q_start": nonpad_kv_seqlen[:, None] - q_len}
    if is_causal:
        mask = both(mask, causal_mask(q_len, kv_len, **start))
    left, right = (None if side < 0 else side for side in (left_window_size, right_window_size))
    mask = both(mask, sliding_window_mask(q_len, kv_len, left=left, right=right, **start))

    dtype = xp.float64 if softmax_precision == _DOUBLE else query.dtype
    wide = (xp.astype(x, dtype) for x in (query, cache.key, cache.value))
    stages = attend(*wide, mask=mask, bias=bias, scale=scale, softcap=softcap or None)
    output = xp.astype(stages.output, V.dtype)
    asked = getattr(stages, _MODES[qk_matmul_output_mode])
    return AttentionOutputs(
        merge_heads(output) if Q.ndim == 3 else output,
        cache.key,
        cache.value,
        xp.astype(asked, Q.dtype),
    )


def _check(
    query: Array,
    past_key: Array | None,
    past_value: Array | None,
    lengths: Array | None,
    *heads: int | None,
) -> None:
    """Raise a ValueError for what the operator's specification forbids."""
    operator = "ONNX's Attention"
    packed = query.ndim == 3
    rule = "q_num_heads and kv_num_heads must be given for inputs of three axes"
    refuse(operator, rule, packed and None in heads, heads)
    rule = "q_num_heads and kv_num_heads must be None for inputs of four axes"
    refuse(operator, rule, not packed and heads != (None, None), heads)
    alone = (past_key is None) != (past_value is None)
    refuse(operator, "past_key and past_value must be given together", alone, "one")
    twice = past_key is not None and lengths is not None
    refuse(operator, "nonpad_kv_seqlen must be None beside past_key", twice, "both")


def _fill_up(xp: Any, operand: Array | None, kv_len: int, hidden: bool | float) -> Array | None:
    """Fill a mask or bias up to the keys, which hides what it falls short of."""
    if operand is None or operand.shape[-1] >= kv_len:
        return operand
    shape = (*operand.shape[:-1], kv_len - operand.shape[-1])
    rest = xp.broadcast_to(xp.full_like(operand[..., :1], hidden), shape)
    return xp.concat([operand, rest], axis=-1)
