"""The exercises of docs/learn/positions.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import cmath

import numpy as np

from attention_ref.exercises._exercise import Exercise

# ------------------------------------------------------------------------- turn


def turn(x, positions, frequencies):
    """Turn pair j, features 2j and 2j + 1, by position * frequency j."""
    angles = positions[:, None] * frequencies
    a, b = x[:, ::2], x[:, 1::2]
    turned = np.empty_like(x)
    turned[:, ::2] = a * np.cos(angles) - b * np.sin(angles)
    turned[:, 1::2] = a * np.sin(angles) + b * np.cos(angles)
    return turned


def _turn_by_complex_numbers(x, positions, frequencies):
    turned = []
    for row, position in zip(x.tolist(), positions.tolist(), strict=True):
        features = []
        for j, frequency in enumerate(frequencies.tolist()):
            pair = complex(row[2 * j], row[2 * j + 1]) * cmath.exp(1j * position * frequency)
            features += [pair.real, pair.imag]
        turned.append(features)
    return np.array(turned)


def _rows_at_positions(rng):
    quarter, half = np.pi / 2, np.pi
    yield np.array([[1.0, 0.0]]), np.array([1]), np.array([quarter])
    yield np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([1]), np.array([quarter, half])
    yield np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1]), np.array([quarter])
    yield np.array([[1.0, 2.0, 3.0, 4.0]] * 2), np.array([5, 2]), np.array([1.0, 0.01])
    yield rng.normal(size=(5, 6)), np.array([0, 1, 2, 3, 4]), np.array([1.0, 0.1, 0.01])
    yield rng.normal(size=(3, 10)), np.array([7, 1000, 11]), 10.0 ** -np.arange(5)


def _backwards(x, positions, frequencies):
    """It turns the other way: the minus stands with the sine in the first feature of a pair."""
    return turn(x, -positions, frequencies)


def _halves(x, positions, frequencies):
    """It pairs feature j with j + d / 2, the half layout: here neighbours are a pair."""
    angles = positions[:, None] * frequencies
    a, b = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def _side_by_side(x, positions, frequencies):
    """The neighbours are turned, then laid out in halves: put each pair back where it was."""
    turned = turn(x, positions, frequencies)
    return np.concatenate([turned[:, ::2], turned[:, 1::2]], axis=-1)


def _counted(x, positions, frequencies):
    """The rows are counted from 0: take `positions`, as a decoded token has a place of its own."""
    return turn(x, np.arange(len(x)), frequencies)


def _one_frequency(x, positions, frequencies):
    """All pairs turn at the first frequency: pair j has frequency j."""
    return turn(x, positions, np.full_like(frequencies, frequencies[0]))


def _slowest_first(x, positions, frequencies):
    """The frequencies are in the wrong order: pair j has frequency j."""
    return turn(x, positions, frequencies[::-1])


def _overwritten(x, positions, frequencies):
    """The second feature of a pair is made from the turned first one: keep the old pair first."""
    angles = positions[:, None] * frequencies
    turned = x.copy()
    turned[:, ::2] = turned[:, ::2] * np.cos(angles) - turned[:, 1::2] * np.sin(angles)
    turned[:, 1::2] = turned[:, ::2] * np.sin(angles) + turned[:, 1::2] * np.cos(angles)
    return turned


def _added(x, positions, frequencies):
    """Sines and cosines are added, as a sinusoidal encoding is: here pairs are multiplied."""
    angles = positions[:, None] * frequencies
    return x + np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(x.shape)


def _lengths_stay(answer, x, positions, frequencies):
    """A row changed its length, and a rotation keeps it."""
    return np.allclose((answer**2).sum(axis=-1), (x**2).sum(axis=-1))


def _at_zero_nothing_turns(answer, x, positions, frequencies):
    """A row at position 0 changed, where every angle is 0."""
    return np.allclose(answer[positions == 0], x[positions == 0])


_TURN = Exercise(
    solution=turn,
    specification=_turn_by_complex_numbers,
    inputs=_rows_at_positions,
    mistakes=(
        _backwards,
        _halves,
        _side_by_side,
        _counted,
        _one_frequency,
        _slowest_first,
        _overwritten,
        _added,
    ),
    rules=(_at_zero_nothing_turns, _lengths_stay),
    hints=(
        "`positions[:, None] * frequencies` holds an angle for each row and pair.",
        "`x[:, ::2]` and `x[:, 1::2]` are the first and second features of all pairs.",
        "A pair (a, b) becomes (a cos - b sin, a sin + b cos).",
    ),
)

# ---------------------------------------------------------------------- to_half


def to_half(w, heads):
    """Reorder columns from interleaved to half pairs, in each head."""
    d_model, width = w.shape
    pairs = w.reshape(d_model, heads, width // heads // 2, 2)
    return pairs.mT.reshape(d_model, width)


def _column_by_column(w, heads):
    d_k = w.shape[1] // heads
    columns = []
    for head in range(heads):
        start = head * d_k
        columns += [start + j for j in range(d_k) if j % 2 == 0]
        columns += [start + j for j in range(d_k) if j % 2 == 1]
    return np.array([[row[column] for column in columns] for row in w.tolist()])


def _projections(rng):
    yield np.array([[0.0, 1.0, 2.0, 3.0]]), 1
    yield np.arange(6.0)[None], 1
    yield np.arange(12.0)[None], 2
    yield rng.normal(size=(5, 12)), 2
    yield rng.normal(size=(12, 12)), 1
    yield rng.normal(size=(7, 30)), 3


def _over_all_columns(w, heads):
    """The columns are reordered across the heads: each head keeps its own columns."""
    return to_half(w, 1)


def _to_interleaved(w, heads):
    """This is the way back, from half to interleaved."""
    d_model, width = w.shape
    pairs = w.reshape(d_model, heads, 2, width // heads // 2)
    return pairs.mT.reshape(d_model, width)


def _odd_first(w, heads):
    """The second features of the pairs come first: the first ones should, or all turn backwards."""
    d_model, width = w.shape
    pairs = w.reshape(d_model, heads, width // heads // 2, 2)[..., ::-1]
    return pairs.mT.reshape(d_model, width)


def _as_it_was(w, heads):
    """The columns stand as before: the axes of pairs are reshaped, and not swapped."""
    return w.copy()


def _rows(w, heads):
    """The rows are reordered: in `x @ w` the columns of w make the features."""
    return to_half(w.T, heads).T


def _pairs_reversed(w, heads):
    """The pairs run backwards: pair 0, the fastest, stays the first."""
    d_model, width = w.shape
    pairs = w.reshape(d_model, heads, width // heads // 2, 2)[:, :, ::-1]
    return pairs.mT.reshape(d_model, width)


def _first_column_stays(answer, w, heads):
    """Column 0 moved, and it is the first feature of pair 0 in both layouts."""
    return np.array_equal(answer[:, 0], w[:, 0])


_TO_HALF = Exercise(
    solution=to_half,
    specification=_column_by_column,
    inputs=_projections,
    mistakes=(
        _over_all_columns,
        _to_interleaved,
        _odd_first,
        _as_it_was,
        _rows,
        _pairs_reversed,
    ),
    rules=(_first_column_stays,),
    hints=(
        "One head with four features: columns 0, 1, 2, 3 become 0, 2, 1, 3.",
        "Give the pairs an axis: `w.reshape(d_model, heads, pairs, 2)`.",
        "Swap the last two axes, `.mT`, and reshape back.",
    ),
)

# ---------------------------------------------------------------- distance_bias


def distance_bias(slope, q_len, kv_len):
    """Return -slope * distance; the last query is at the last key."""
    queries = np.arange(q_len) + kv_len - q_len
    return -slope * np.abs(queries[:, None] - np.arange(kv_len))


def _pair_by_pair(slope, q_len, kv_len):
    bias = [[0.0] * kv_len for _ in range(q_len)]
    for i, j in np.ndindex(q_len, kv_len):
        left = kv_len - 1 - j  # from key j to the last key
        bias[i][j] = -slope * abs(left - (q_len - 1 - i))
    return np.array(bias)


def _slopes_and_lengths(rng):
    yield 1.0, 2, 2
    yield 0.5, 1, 3
    yield 0.5, 2, 5
    yield float(rng.uniform(0.1, 1.0)), 3, 7
    yield float(rng.uniform(0.1, 1.0)), 5, 5


def _top_left(slope, q_len, kv_len):
    """Query 0 is put at key 0: a query that decodes stands at the last key."""
    return -slope * np.abs(np.arange(q_len)[:, None] - np.arange(kv_len))


def _farther_is_better(slope, q_len, kv_len):
    """The sign is turned round: the farthest key gets the largest score."""
    return -distance_bias(slope, q_len, kv_len)


def _signed(slope, q_len, kv_len):
    """Keys after the query are raised: take the distance without its sign."""
    queries = np.arange(q_len) + kv_len - q_len
    return -slope * (queries[:, None] - np.arange(kv_len))


def _from_one(slope, q_len, kv_len):
    """A query's own key is at distance 1: it is at distance 0."""
    return distance_bias(slope, q_len, kv_len) - slope


def _squared(slope, q_len, kv_len):
    """The distance is squared: the bias falls in a straight line."""
    return -slope * (distance_bias(slope, q_len, kv_len) / slope) ** 2


def _keys_in_rows(slope, q_len, kv_len):
    """Keys are in the rows and queries in the columns: it is the other way round."""
    return distance_bias(slope, q_len, kv_len).T


def _without_the_slope(slope, q_len, kv_len):
    """The slope is missing, or is applied where it is 1 alone."""
    return distance_bias(1.0, q_len, kv_len)


def _last_query_loses_nothing(answer, slope, q_len, kv_len):
    """The last query stands at the last key, where the bias is 0."""
    return answer[-1, -1] == 0


_DISTANCE_BIAS = Exercise(
    solution=distance_bias,
    specification=_pair_by_pair,
    inputs=_slopes_and_lengths,
    mistakes=(
        _top_left,
        _farther_is_better,
        _signed,
        _from_one,
        _squared,
        _keys_in_rows,
        _without_the_slope,
    ),
    rules=(_last_query_loses_nothing,),
    hints=(
        "Where does query 0 stand, if the last query stands at key kv_len - 1?",
        "Query i stands at i + kv_len - q_len; `[:, None]` gives each query a row.",
    ),
)

EXERCISES = (_TURN, _TO_HALF, _DISTANCE_BIAS)
