"""Hugging Face's convention: `eager_attention_forward` of transformers' models."""

from jaxtyping import Float, Shaped

from attention_ref._checks import Array, array_namespace, given, require_dtype_of
from attention_ref.interop._answers import as_float, attend, nan_where_unseen, refuse_dropout

__all__ = ["eager_attention_forward"]


def eager_attention_forward(
    query: Float[Array, "batch heads q_len d_k"],
    key: Float[Array, "batch kv_heads kv_len d_k"],
    value: Float[Array, "batch kv_heads kv_len d_v"],
    attention_mask: Shaped[Array, "..."] | None,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Float[Array, " heads"] | None = None,
) -> tuple[Float[Array, "batch q_len heads d_v"], Float[Array, "batch heads q_len kv_len"]]:
    r"""Answer as `eager_attention_forward` in transformers' models, without its module.

    The mask is **added**, a boolean one as 0 and 1. The models hide with the dtype's smallest
    number, so that a query that may see nothing gets the mean of all values; with -inf it gets
    NaN. Causal and windows are in the mask already. The output has its heads after the length.

    Args:
        query: `(batch, heads, q_len, d_k)`
        key: `(batch, kv_heads, kv_len, d_k)`
        value: `(batch, kv_heads, kv_len, d_v)`
        attention_mask: Added to the scores; broadcasts to `(batch, heads, q_len, kv_len)`.
        scaling: What the dot products are multiplied by; there is no default.
        dropout: Must be 0.
        softcap: The bound that the scores approach, as in Gemma 2.
        s_aux: One logit a head, in the denominator, as in GPT-OSS. `(heads,)`

    Returns:
        The output `(batch, q_len, heads, d_v)`, and the weights `(batch, heads, q_len, kv_len)`.

    Raises:
        ValueError: If shapes do not fit together, or `dropout` is not 0.
        TypeError: If dtypes differ.

    Complexity: O(q_len * kv_len * (d_k + d_v)) time; O(q_len * kv_len) memory.

    Examples:
        >>> import numpy as np
        >>> query, value = np.zeros((1, 1, 1, 1)), np.array([[[[0.0], [8.0]]]])
        >>> smallest = np.finfo(np.float64).min
        >>> for mask in ([0.0, smallest], [smallest, smallest]):
        ...     output, weights = eager_attention_forward(query, value, value, np.array(mask), 1.0)
        ...     print(output.ravel(), weights.ravel())
        [0.] [1. 0.]
        [4.] [0.5 0.5]
    """
    xp = array_namespace(
        query=query, key=key, value=value, **given(attention_mask=attention_mask, s_aux=s_aux)
    )
    require_dtype_of("query", query, value=value)
    refuse_dropout("dropout", dropout)
    bias = as_float(xp, attention_mask, query)
    stages = attend(query, key, value, bias=bias, scale=scaling, softcap=softcap, sink=s_aux)
    stages = stages if s_aux is not None else nan_where_unseen(stages)
    return xp.moveaxis(stages.output, -3, -2), xp.astype(stages.weights, query.dtype)
