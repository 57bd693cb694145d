"""From a dictionary to attention: look up the equal key, or every key by how well it matches."""

from typing import Any

from jaxtyping import Float, Shaped

from attention_ref._checks import (
    Array,
    array_namespace,
    require_dtype,
    require_dtype_of,
    require_shape,
    working_dtype,
)
from attention_ref._softmax import softmax


def hard_lookup(
    query: Shaped[Array, "*batch d_k"],
    keys: Shaped[Array, "kv_len d_k"],
    values: Shaped[Array, "kv_len ..."],
) -> Shaped[Array, "..."]:
    r"""Return the value whose key equals the query: a dict over arrays.

    $$\text{out} = v_j \quad \text{where} \quad k_j = q$$

    A key equals the query if all its entries do, exactly. Of several equal keys the last counts,
    as it does in `dict(zip(keys, values))`.

    Args:
        query: One key to look for, or a batch of them. `(*batch, d_k)`
        keys: One key a row, in the dtype of `query`. `(kv_len, d_k)`
        values: One value of any shape a key. `(kv_len, ...)`

    Returns:
        The value of each query's key, bit for bit. `(*batch, ...)`

    Raises:
        KeyError: If no key equals a query; the message gives the first such query.
        ValueError: If the shapes do not fit together.
        TypeError: If an argument is not an array, or `keys` has not the dtype of `query`.

    Complexity: O(kv_len * d_k) time and memory for each query. A dict needs O(d_k) time.

    Examples:
        >>> import numpy as np
        >>> keys = np.array([[0, 1], [1, 0], [1, 1]])
        >>> values = np.array([10.0, 20.0, 30.0])
        >>> hard_lookup(np.array([[1, 0], [0, 1]]), keys, values)
        array([20., 10.])
        >>> hard_lookup(np.array([0, 0]), keys, values)
        Traceback (most recent call last):
        KeyError: 'no key equals the query [0 0]'
    """
    xp = _check(query, keys, values)
    *batch, d_k = query.shape
    matches = xp.all(query[..., None, :] == keys, axis=-1)
    missing = xp.reshape(~xp.any(matches, axis=-1), (-1,))
    if xp.any(missing):
        first = xp.reshape(query, (-1, d_k))[int(xp.argmax(xp.astype(missing, xp.int8))), :]
        raise KeyError(f"no key equals the query {first}")
    # argmax finds the first match, so the last is the first from the end.
    from_end = xp.argmax(xp.astype(xp.flip(matches, axis=-1), xp.int8), axis=-1)
    last = xp.reshape(keys.shape[0] - 1 - from_end, (-1,))
    return xp.reshape(xp.take(values, last, axis=0), (*batch, *values.shape[1:]))


def soft_lookup(
    query: Float[Array, "*batch d_k"],
    keys: Float[Array, "kv_len d_k"],
    values: Float[Array, "kv_len ..."],
    *,
    temperature: float = 1.0,
) -> Float[Array, "..."]:
    r"""Return the average of all values, weighted by how well each key matches the query.

    $$\text{out} = \sum_j \operatorname{softmax}_j\!\left(q \cdot k_j / T\right) v_j$$

    The match is the dot product, with no scale but $1 / T$. As $T$ approaches 0 the result is the
    value whose key has the largest dot product: the key that equals the query only if all keys
    have one length.

    Args:
        query: What to look for, or a batch of it. `(*batch, d_k)`
        keys: One key a row, in the dtype of `query`. `(kv_len, d_k)`
        values: One value of any shape a key. `(kv_len, ...)`
        temperature: $T$, above zero.

    Returns:
        One average for each query, in the dtype of `values`. `(*batch, ...)`

    Raises:
        ValueError: If the shapes do not fit together, or `temperature` is zero or less.
        TypeError: If an argument is not an array of real floating numbers, or `keys` has not the
            dtype of `query`.

    Complexity: O(kv_len * (d_k + d_v)) time and O(kv_len) memory for each query, where d_v is the
        size of one value.

    Examples:
        >>> import numpy as np
        >>> keys = np.array([[0.0, 1.0], [1.0, 0.0]])
        >>> values = np.array([10.0, 20.0])
        >>> query = np.array([np.log(3.0), 0.0])
        >>> float(soft_lookup(query, keys, values).round(3))  # weights 1/4 and 3/4
        17.5
        >>> float(soft_lookup(query, keys, values, temperature=0.5).round(3))  # 1/10 and 9/10
        19.0

    References:
        Bahdanau et al. 2015, section 3.1, equations 5 and 6.
    """
    xp = _check(query, keys, values)
    require_dtype(xp, "real floating", query=query, values=values)
    dtype = working_dtype(xp, query, values)
    scores = xp.astype(query, dtype) @ xp.matrix_transpose(xp.astype(keys, dtype))
    weights = softmax(scores, temperature=temperature)
    output = xp.tensordot(weights, xp.astype(values, dtype), axes=1)
    return xp.astype(output, values.dtype)


def _check(query: Array, keys: Array, values: Array) -> Any:
    xp = array_namespace(query=query, keys=keys, values=values)
    require_dtype_of("query", query, keys=keys)
    require_shape("query", query, query.ndim >= 1, "(*batch, d_k)")
    d_k = query.shape[-1]
    require_shape("keys", keys, keys.ndim == 2 and keys.shape[1] == d_k, f"(kv_len, d_k={d_k})")
    kv_len = keys.shape[0]
    fits = values.ndim >= 1 and values.shape[0] == kv_len
    require_shape("values", values, fits, f"(kv_len={kv_len}, ...)")
    return xp
