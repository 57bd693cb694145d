"""What the adapters share: how an operand comes in, and what an unseen query gets."""

from typing import Any

from attention_ref._checks import Array, array_namespace, working_dtype
from attention_ref._multi_head import expand_kv_heads
from attention_ref._scaled_dot_product import AttentionStages, attention_stages

# What JAX writes over hidden scores: 0.7 of float32's largest number. Beside it every score is
# lost to rounding, so that adding it is the same.
LARGE = -0.7 * 3.4028234663852886e38


def attend(query: Array, key: Array, value: Array, **terms: Any) -> AttentionStages:
    """Attend with grouped heads, which stand before the length; keep every intermediate."""
    heads = query.shape[-3]
    key, value = expand_kv_heads(key, heads), expand_kv_heads(value, heads)
    return attention_stages(query, key, value, **terms)


def attend_hiding_by_a_number(
    query: Array, key: Array, value: Array, *, mask: Array | None, bias: Array | None, **terms: Any
) -> AttentionStages:
    """Attend as where a hidden score becomes a large negative number, and not -inf.

    A query that may see nothing then sees every hidden key alike, and gets the mean of the
    values. One whose bias is -inf throughout gets NaN, the softmax of nothing but -inf.
    """
    if mask is not None:
        xp = array_namespace(query=query)
        bias = xp.zeros_like(query[..., :1, :1]) if bias is None else bias
        bias = xp.astype(bias, working_dtype(xp, query, bias))
        seen = mask & (bias != -xp.inf)
        bias = xp.where(mask, bias, LARGE)
        mask = seen | ~xp.any(seen, axis=-1, keepdims=True)
    stages = attend(query, key, value, mask=mask, bias=bias, **terms)
    return stages if terms.get("sink") is not None else nan_where_unseen(stages)


def nan_where_unseen(stages: AttentionStages) -> AttentionStages:
    """Give NaN to a query that may see nothing: the softmax of nothing but -inf."""
    xp = array_namespace(output=stages.output)
    unseen = xp.all(stages.biased == -xp.inf, axis=-1, keepdims=True)
    return stages._replace(
        weights=xp.where(unseen, xp.nan, stages.weights),
        output=xp.where(unseen, xp.nan, stages.output),
    )


def mask_or_bias(xp: Any, operand: Array | None) -> tuple[Array | None, Array | None]:
    """Sort an operand by its dtype, as libraries with one argument for both do."""
    if operand is None:
        return None, None
    return (operand, None) if xp.isdtype(operand.dtype, "bool") else (None, operand)


def both(mask: Array | None, other: Array | None) -> Array | None:
    """Let through what both masks let through; None lets through everything."""
    if mask is None or other is None:
        return other if mask is None else mask
    return mask & other


def as_float(xp: Any, operand: Array | None, like: Array) -> Array | None:
    """Return what is added to the scores as floats: True counts as 1, False as 0."""
    if operand is None or xp.isdtype(operand.dtype, "real floating"):
        return operand
    return xp.astype(operand, working_dtype(xp, like))


def refuse(function: str, rule: str, broken: bool, came: Any) -> None:
    """Raise a ValueError with the rule of another library's function if it is broken."""
    if broken:
        raise ValueError(f"{rule}, as in {function}, got {came}")


def refuse_dropout(name: str, probability: float) -> None:
    """Raise a ValueError for dropout, whose answer is drawn."""
    if probability != 0:
        raise ValueError(f"{name} must be 0, as no other answer is drawn, got {probability}")
