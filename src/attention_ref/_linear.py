"""Linear attention: a state of fixed size, written and read at each position, in three forms."""

import math
from typing import Any, NamedTuple

import array_api_compat
from jaxtyping import Float

from attention_ref._checks import (
    Array,
    array_namespace,
    as_integer,
    as_number,
    check_query_and_key,
    check_value,
    given,
    listed,
    require_broadcast,
    require_dtype,
    require_shape,
    working_dtype,
)
from attention_ref._masks import causal_mask
from attention_ref._scaled_dot_product import isolated_average, isolated_matmul


class LinearAttention(NamedTuple):
    """What each form of linear attention returns.

    Attributes:
        output: One vector a query, in the dtype of the values. `(*batch, length, d_v)`
        state: What the next positions start from, in the dtype that it is computed in.
            `(*batch, d_k, d_v)`
    """

    output: Float[Array, "*batch length d_v"]
    state: Float[Array, "*batch d_k d_v"]


def linear_attention_recurrent(
    query: Float[Array, "*batch length d_k"],
    key: Float[Array, "*batch length d_k"],
    value: Float[Array, "*batch length d_v"],
    *,
    decay: Float[Array, "..."] | None = None,
    beta: Float[Array, "..."] | None = None,
    scale: float | None = None,
    state: Float[Array, "*batch d_k d_v"] | None = None,
) -> LinearAttention:
    r"""Write each value under its key into a matrix, and read it with the query.

    $$S_t = D_t S_{t-1} + k_t u_t^\top, \qquad o_t = \lambda\, S_t^\top q_t$$

    What is written, $u_t$, is the value $v_t$. Attention without the softmax is just that sum, and
    needs memory that does not grow with the length. Two arguments change the state's course:

    - `decay` is the logarithm of a gate, $D_t = \operatorname{diag}(e^{\text{decay}_t})$, which
      lets the state fade: one number a position, or one for each of the `d_k` rows.
    - `beta` makes it the delta rule: what the key holds already is read first, and only the
      difference is written, so that a key which is used twice is not added up but replaced:
      $u_t = \beta_t (v_t - (D_t S_{t-1})^\top k_t)$.

    Both together are the gated delta rule. It takes keys of length one, or smaller steps: the
    state grows without bound where $\beta_t \lVert k_t \rVert^2$ is above 2.

    Katharopoulos et al. pass query and key through a feature map, $\operatorname{elu}(x) + 1$,
    and divide by the sum of the weights: a last column of ones in `value` gives that sum.

    An inf counts as NaN, and a NaN spoils what follows it, never what came before.

    Args:
        query: What each position reads with. `(*batch, length, d_k)`
        key: What each position writes under, in the dtype of `query`. `(*batch, length, d_k)`
        value: What each position writes. `(*batch, length, d_v)`
        decay: The logarithm of the gate, at most 0; None keeps everything. Broadcasts to
            `(*batch, length, d_k)`; one number a head and position is `(*batch, length, 1)`.
        beta: The step of the delta rule, from 0 to 1; None adds, which is not a `beta` of 1.
            Broadcasts to `(*batch, length)`.
        scale: $\lambda$; None is $1 / \sqrt{d_k}$.
        state: What an earlier call returned; None is zeros. `(*batch, d_k, d_v)`

    Returns:
        The outputs, and the state after the last position.

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong.

    Complexity: O(length * d_k * d_v) time; O(d_k * d_v) memory beside the output.

    Examples:
        >>> import numpy as np
        >>> key = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> value = np.array([[2.0], [5.0], [3.0]])
        >>> linear_attention_recurrent(key, key, value, scale=1.0).output[:, 0]  # 3 joins the 2
        array([2., 5., 5.])
        >>> beta = np.ones(3)
        >>> linear_attention_recurrent(key, key, value, beta=beta, scale=1.0).output[:, 0]
        array([2., 5., 3.])
        >>> decay = np.log(np.full((3, 1), 0.5))
        >>> linear_attention_recurrent(key, key, value, decay=decay, scale=1.0).output[:, 0]
        array([2. , 5. , 3.5])

    References:
        Katharopoulos et al. 2020, section 3.4. Yang et al. 2023 (gated linear attention), section
        4. Schlag et al. 2021, section 4 (delta rule). Yang et al. 2024 (Gated DeltaNet), section
        3.1.
    """
    xp, (query, key, wide, decay, beta, scale, state) = _prepare(
        query, key, value, decay, beta, scale, state
    )
    outputs = [wide[..., :0, :]]
    for t in range(query.shape[-2]):
        now = slice(t, t + 1)
        state = xp.matrix_transpose(xp.exp(decay[..., now, :])) * state
        written = wide[..., now, :]
        if beta is not None:
            written = beta[..., now, :] * (written - key[..., now, :] @ state)
        state = state + xp.matrix_transpose(key[..., now, :]) @ written
        outputs.append(scale * (query[..., now, :] @ state))
    return LinearAttention(xp.astype(xp.concat(outputs, axis=-2), value.dtype), state)


def linear_attention(
    query: Float[Array, "*batch length d_k"],
    key: Float[Array, "*batch length d_k"],
    value: Float[Array, "*batch length d_v"],
    *,
    decay: Float[Array, "..."] | None = None,
    beta: Float[Array, "..."] | None = None,
    scale: float | None = None,
    state: Float[Array, "*batch d_k d_v"] | None = None,
) -> LinearAttention:
    r"""Compute `linear_attention_recurrent` for all positions at once, as causal attention.

    With $\gamma_{ij} = \sum_{t=j+1}^{i} \text{decay}_t$, what is left at $i$ of what $j$ wrote,

    $$o_i = \lambda \sum_{j \le i} A_{ij} u_j, \qquad
    A_{ij} = \sum_d q_{id}\, e^{\gamma_{ijd}}\, k_{jd}$$

    This is attention with a causal mask, whose weights are not normalized. In the delta rule the
    written $u$ solve a triangular system, from the first position to the last; $B$ is $A$ with
    the key in place of the query:

    $$u_i = \beta_i \Big(v_i - \sum_{j < i} B_{ij} u_j\Big)$$

    An earlier state, read with $q_i$ and $k_i$ after all its decay, is added to either sum.

    Args:
        query: As in `linear_attention_recurrent`, like all that follow. `(*batch, length, d_k)`
        key: What each position writes under. `(*batch, length, d_k)`
        value: What each position writes. `(*batch, length, d_v)`
        decay: The logarithm of the gate, or None.
        beta: The step of the delta rule, or None.
        scale: $\lambda$; None is $1 / \sqrt{d_k}$.
        state: What an earlier call returned; None is zeros. `(*batch, d_k, d_v)`

    Returns:
        The outputs, and the state after the last position.

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong.

    Complexity: O(length^2 * (d_k + d_v)) time; O(length^2) memory, and d_k times as much where
        each row of the state has its own decay.

    Examples:
        >>> import numpy as np
        >>> key = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> value = np.array([[2.0], [5.0], [3.0]])
        >>> linear_attention(key, key, value, scale=1.0).output[:, 0]
        array([2., 5., 5.])

    References:
        Katharopoulos et al. 2020, section 3.2, equation 4. Yang et al. 2023 (gated linear
        attention), section 4. Yang et al. 2024 (DeltaNet), section 3.2.
    """
    check_query_and_key(query, key)
    return linear_attention_chunked(
        query,
        key,
        value,
        decay=decay,
        beta=beta,
        scale=scale,
        state=state,
        chunk_size=max(query.shape[-2], 1),
    )


def linear_attention_chunked(
    query: Float[Array, "*batch length d_k"],
    key: Float[Array, "*batch length d_k"],
    value: Float[Array, "*batch length d_v"],
    *,
    decay: Float[Array, "..."] | None = None,
    beta: Float[Array, "..."] | None = None,
    scale: float | None = None,
    state: Float[Array, "*batch d_k d_v"] | None = None,
    chunk_size: int = 64,
) -> LinearAttention:
    r"""Compute `linear_attention` chunk by chunk, handing the state on: linear in the length.

    $$S' = D_{1..n} S + \sum_j e^{\gamma_{nj}} \odot k_j u_j^\top$$

    Chunks of one position are the recurrent form, and one chunk of all positions the parallel
    form; between them lie sizes that need few steps and little memory at once.

    Args:
        query: As in `linear_attention_recurrent`, like all that follow. `(*batch, length, d_k)`
        key: What each position writes under. `(*batch, length, d_k)`
        value: What each position writes. `(*batch, length, d_v)`
        decay: The logarithm of the gate, or None.
        beta: The step of the delta rule, or None.
        scale: $\lambda$; None is $1 / \sqrt{d_k}$.
        state: What an earlier call returned; None is zeros. `(*batch, d_k, d_v)`
        chunk_size: How many positions are computed at once.

    Returns:
        The outputs, and the state after the last position.

    Raises:
        ValueError: If shapes do not fit together, or a number is out of range.
        TypeError: If a dtype is wrong.

    Complexity: O(length * (chunk_size * (d_k + d_v) + d_k * d_v)) time; O(chunk_size^2 + d_k * d_v)
        memory beside the output, and d_k times the first where each row has its own decay.

    Examples:
        >>> import numpy as np
        >>> key = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> value = np.array([[2.0], [5.0], [3.0]])
        >>> result = linear_attention_chunked(key, key, value, scale=1.0, chunk_size=2)
        >>> result.output[:, 0], result.state[:, 0]
        (array([2., 5., 5.]), array([5., 5.]))

    References:
        Hua et al. 2022 (FLASH), section 3.2. Yang et al. 2023 (gated linear attention), section
        4. Yang et al. 2024 (DeltaNet), section 3.2.
    """
    chunk_size = as_integer("chunk_size", chunk_size, least=1)
    xp, (query, key, wide, decay, beta, scale, state) = _prepare(
        query, key, value, decay, beta, scale, state
    )
    outputs = [wide[..., :0, :]]
    for start in range(0, query.shape[-2], chunk_size):
        now = slice(start, min(start + chunk_size, query.shape[-2]))
        q, k, v, g = (x[..., now, :] for x in (query, key, wide, decay))
        causal = causal_mask(q.shape[-2], like=q)
        left = _left_between(xp, g, causal)
        left_of_state = xp.exp(xp.cumulative_sum(g, axis=-2))
        written = v
        if beta is not None:
            held = isolated_matmul(xp, k * left_of_state, state)
            weights = _weights(xp, k, k, left, causal)
            written = _solve(xp, beta[..., now, :], v - held, weights)
        weights = _weights(xp, q, k, left, causal)
        output = isolated_average(xp, weights, written, causal)
        outputs.append(scale * (output + isolated_matmul(xp, q * left_of_state, state)))
        faded = k * left[..., -1, :, :]
        state = xp.matrix_transpose(left_of_state[..., -1:, :]) * state
        state = state + xp.matrix_transpose(faded) @ written
    return LinearAttention(xp.astype(xp.concat(outputs, axis=-2), value.dtype), state)


def _left_between(xp: Any, decay: Array, causal: Array) -> Array:
    """Return the share that is left at i of what j wrote, with d_k or 1 as last axis.

    Summing the decay from j + 1 to i, and not taking differences of sums from the start, loses no
    digits to a long past, and lets a decay of -inf forget everything.
    """
    after = ~xp.matrix_transpose(causal)
    steps = xp.where(after[..., None], decay[..., :, None, :], 0.0)
    return xp.exp(xp.cumulative_sum(steps, axis=-3))


def _weights(xp: Any, query: Array, key: Array, left: Array, causal: Array) -> Array:
    if left.shape[-1] == 1:
        weights = query @ xp.matrix_transpose(key) * left[..., 0]
    else:
        weights = xp.sum(query[..., :, None, :] * key[..., None, :, :] * left, axis=-1)
    return xp.where(causal, weights, 0.0)


def _solve(xp: Any, beta: Array, target: Array, weights: Array) -> Array:
    """Solve the triangular system of the delta rule, each position from those before it."""
    written = target[..., :0, :]
    for i in range(target.shape[-2]):
        now = slice(i, i + 1)
        held = weights[..., now, :i] @ written
        new = beta[..., now, :] * (target[..., now, :] - held)
        written = xp.concat([written, new], axis=-2)
    return written


def _prepare(
    query: Array,
    key: Array,
    value: Array,
    decay: Array | None,
    beta: Array | None,
    scale: float | None,
    state: Array | None,
) -> tuple[Any, tuple[Any, ...]]:
    xp = check_query_and_key(query, key)
    check_value(xp, key, value)
    terms = given(decay=decay, beta=beta, state=state)
    array_namespace(query=query, **terms)
    require_dtype(xp, "real floating", **terms)
    *batch, length, d_k = query.shape
    fits = key.shape[-2] == length
    require_shape("key", key, fits, f"({listed(batch)}length={length}, d_k={d_k})")
    dtype = working_dtype(xp, query, value, decay, beta, state)
    device = array_api_compat.device(query)
    if decay is None:
        decay = xp.zeros((1, 1), device=device)
    shape = (*batch, length, d_k)
    require_broadcast("decay", decay, shape, f"(*batch, length, d_k) = {shape}")
    last = decay.shape[-1] if decay.ndim else 1
    decay = xp.broadcast_to(xp.astype(decay, dtype), (*shape[:-1], last))
    if beta is not None:
        require_broadcast("beta", beta, shape[:-1], f"(*batch, length) = {shape[:-1]}")
        beta = xp.broadcast_to(xp.astype(beta, dtype), shape[:-1])[..., None]
    whole = (*batch, d_k, value.shape[-1])
    if state is None:
        state = xp.zeros(whole, device=device)
    fits = tuple(state.shape) == whole
    require_shape("state", state, fits, f"(*batch, d_k, d_v) = {whole}")
    scale = 1 / math.sqrt(d_k) if scale is None else as_number("scale", scale)
    query, key, value, state = (xp.astype(x, dtype) for x in (query, key, value, state))
    # inf - inf and 0 * inf are NaN sooner or later: each form would find it somewhere else.
    query, key, value = (xp.where(xp.isfinite(x), x, xp.nan) for x in (query, key, value))
    return xp, (query, key, value, decay, beta, scale, state)
