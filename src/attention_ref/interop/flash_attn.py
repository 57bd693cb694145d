"""FlashAttention's convention: `flash_attn.flash_attn_func`, which needs a GPU."""

from jaxtyping import Float

from attention_ref._biases import alibi_bias
from attention_ref._checks import Array, array_namespace, given, require_dtype_of
from attention_ref._masks import causal_mask, sliding_window_mask
from attention_ref.interop._answers import attend, both, refuse_dropout

__all__ = ["flash_attn_func"]


def flash_attn_func(
    q: Float[Array, "batch q_len heads d"],
    k: Float[Array, "batch kv_len kv_heads d"],
    v: Float[Array, "batch kv_len kv_heads d"],
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Float[Array, "..."] | None = None,
    deterministic: bool = False,
) -> Float[Array, "batch q_len heads d"]:
    r"""Answer as `flash_attn.flash_attn_func` is documented to, from 2.6 on.

    The length stands before the heads, there is no mask, and causal, windows and ALiBi are
    bottom-right: the last query stands at the last key. A query that may see nothing gets 0. That
    its own tests compare it with the same is held here by a test, its kernels not being run.
    FlashAttention takes float16 and bfloat16 alone; this function takes every float. One thing its
    code does otherwise than it says: beside more queries than keys, it takes a right side of
    `kv_len` or more for -1.

    Args:
        q: `(batch, q_len, heads, d)`
        k: `(batch, kv_len, kv_heads, d)`
        v: `(batch, kv_len, kv_heads, d)`
        dropout_p: Must be 0.
        softmax_scale: What the dot products are multiplied by; None is $1 / \sqrt{d}$.
        causal: Whether a query sees no key after its own position.
        window_size: How many keys a query sees on its left and right beside its own position;
            -1 is all.
        softcap: The bound that the scores approach; 0 is none.
        alibi_slopes: What the distance is multiplied by and taken from the scores. `(heads,)` or
            `(batch, heads)`
        deterministic: Has a say in the backward pass alone.

    Returns:
        The output. `(batch, q_len, heads, d)`

    Raises:
        ValueError: If shapes do not fit together, or `dropout_p` is not 0.
        TypeError: If dtypes differ.

    Complexity: O(q_len * kv_len * d) time; O(q_len * kv_len) memory, where FlashAttention needs
        O(q_len).

    Examples:
        >>> import numpy as np
        >>> q, v = np.zeros((1, 2, 1, 1)), np.array([[[[0.0]], [[4.0]], [[8.0]]]])
        >>> flash_attn_func(q, v, v, causal=True)[0, :, 0, 0]
        array([2., 4.])
        >>> flash_attn_func(q, v, v, window_size=(1, 0))[0, :, 0, 0]
        array([2., 6.])

    References:
        Dao 2024 (FlashAttention-2). Dao-AILab/flash-attention: `attention_ref` and
        `construct_local_mask` in hopper/test_util.py at c082294, csrc/flash_attn/src/mask.h at
        04da83f, csrc/flash_attn/flash_api.cpp at 00979f5.
    """
    xp = array_namespace(q=q, k=k, v=v, **given(alibi_slopes=alibi_slopes))
    require_dtype_of("q", q, k=k, v=v)
    refuse_dropout("dropout_p", dropout_p)
    query, key, value = (xp.moveaxis(x, -3, -2) for x in (q, k, v))
    q_len, kv_len = query.shape[-2], key.shape[-2]
    start = {"q_start": kv_len - q_len, "like": query}
    left, right = (None if side < 0 else side for side in window_size)
    mask = sliding_window_mask(q_len, kv_len, left=left, right=right, **start)
    if causal:
        mask = both(mask, causal_mask(q_len, kv_len, **start))
    bias = None
    if alibi_slopes is not None:
        slopes = xp.reshape(alibi_slopes, (-1,))
        bias = alibi_bias(slopes, q_len, kv_len, q_start=kv_len - q_len)
        bias = xp.reshape(bias, (*alibi_slopes.shape, q_len, kv_len))
    terms = {"mask": mask, "bias": bias, "scale": softmax_scale, "softcap": softcap or None}
    return xp.moveaxis(attend(query, key, value, **terms).output, -3, -2)
