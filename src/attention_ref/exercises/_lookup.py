"""The exercises of docs/learn/lookup.md."""

# Answers are written as on the page, without types and with the matrices' letters.
# ruff: noqa: N803, N806
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref._softmax import softmax
from attention_ref.exercises._exercise import Exercise

# ---------------------------------------------------------------------- nearest


def nearest(query, K, V):
    """Return the value of the key with the highest score."""
    return V[np.argmax(K @ query)]


def _nearest_by_loops(query, K, V):
    scores = [math.fsum(q * k for q, k in zip(query, key, strict=True)) for key in K]
    return V[scores.index(max(scores))]


def _one_query(rng):
    yield np.array([1.0, 0.0]), np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([10.0, 20.0])
    yield np.array([1.0]), np.array([[1.0], [9.0], [2.0]]), np.array([10.0, 20.0, 30.0])
    yield np.array([1.0]), np.array([[-9.0], [1.0]]), np.array([10.0, 20.0])
    for shape in ((7, 5), (7, 3)):
        yield rng.normal(size=3), rng.normal(size=(7, 3)), rng.normal(size=shape)


def _its_key(query, K, V):
    """It returns the key that matches best: a lookup returns the value that stands with it."""
    return K[np.argmax(K @ query)]


def _its_place(query, K, V):
    """It returns where the best key stands: look up the value there."""
    return np.argmax(K @ query)


def _its_score(query, K, V):
    """It returns the highest score: look up the value of the key that has it."""
    return np.max(K @ query)


def _lowest_score(query, K, V):
    """The key with the lowest score was taken, the one that matches least."""
    return V[np.argmin(K @ query)]


def _smallest_distance(query, K, V):
    """The key at the smallest distance was taken: the score is the dot product."""
    return V[np.argmin(((K - query) ** 2).sum(axis=1))]


def _average(query, K, V):
    """All values are averaged, as in a soft lookup: return the one value."""
    return np.tensordot(softmax(K @ query), V, axes=1)


def _largest_size(query, K, V):
    """The score farthest from 0 was taken: a score of -9 is a worse match than 1."""
    return V[np.argmax(np.abs(K @ query))]


def _is_a_value(answer, query, K, V):
    """What came is none of the values."""
    return any(np.array_equal(answer, value) for value in V)


_NEAREST = Exercise(
    solution=nearest,
    specification=_nearest_by_loops,
    inputs=_one_query,
    mistakes=(
        _its_key,
        _its_place,
        _its_score,
        _lowest_score,
        _smallest_distance,
        _average,
        _largest_size,
    ),
    rules=(_is_a_value,),
    hints=(
        "`K @ query` holds one score for each key.",
        "`np.argmax` says where the highest stands, and `V` has the value there.",
    ),
)

# ------------------------------------------------------------------ look_up_all


def look_up_all(Q, K, V, T):
    """Return the soft lookup of each row of Q, at temperature T."""
    scores = Q @ K.T / T
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True) @ V


def _look_up_by_loops(Q, K, V, T):
    rows = []
    for q in Q.tolist():
        scores = [math.fsum(a * b for a, b in zip(q, k, strict=True)) / T for k in K.tolist()]
        powers = [math.exp(score - max(scores)) for score in scores]
        shares = [power / math.fsum(powers) for power in powers]
        rows.append([math.fsum(map(math.prod, zip(shares, v, strict=True))) for v in V.T.tolist()])
    return np.array(rows)


def _queries(rng):
    Q, K = np.array([[1.0, 0.0]]), np.array([[np.log(3), 0.0], [0.0, 1.0]])
    V = np.array([[8.0], [0.0]])
    yield Q, K, V, 1.0
    yield Q, K, V, 0.5
    yield np.eye(2), K, V, 1.0
    for T in (1.0, 0.25, 3.0):
        yield rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.normal(size=(7, 2)), T
    yield np.array([[1000.0], [-1000.0]]), np.array([[1.0], [2.0]]), V, 1.0


def _over_the_queries(Q, K, V, T):
    """The weights of each key sum to 1: those of each query must, along the last axis."""
    return softmax(Q @ K.T / T, 0) @ V


def _over_all(Q, K, V, T):
    """All weights together sum to 1: those of each query must."""
    scores = Q @ K.T / T
    return softmax(scores.ravel()).reshape(scores.shape) @ V


def _no_temperature(Q, K, V, T):
    """The temperature is not used: divide the scores by it."""
    return softmax(Q @ K.T) @ V


def _multiplied(Q, K, V, T):
    """The scores were multiplied by T: divided by it, a low one sharpens."""
    return softmax(Q @ K.T * T) @ V


def _too_late(Q, K, V, T):
    """The weights were divided by T after the softmax, where they no longer sum to 1."""
    return softmax(Q @ K.T) / T @ V


def _no_softmax(Q, K, V, T):
    """The scores were taken for weights: turn them into positive ones that sum to 1."""
    return Q @ K.T / T @ V


def _overflow(Q, K, V, T):
    """The power of a large score overflows: subtract the largest score of each query first."""
    powers = np.exp(Q @ K.T / T)
    return powers / powers.sum(axis=1, keepdims=True) @ V


def _sharpest(Q, K, V, T):
    """The best key's value alone came, as at a temperature of 0: average all values."""
    return V[np.argmax(Q @ K.T, axis=1)]


def _among_the_values(answer, Q, K, V, T):
    """A result lies outside the values: the weights must be positive and sum to 1."""
    return np.all((V.min(axis=0) - 1e-9 <= answer) & (answer <= V.max(axis=0) + 1e-9))


_LOOK_UP_ALL = Exercise(
    solution=look_up_all,
    specification=_look_up_by_loops,
    inputs=_queries,
    mistakes=(
        _over_the_queries,
        _over_all,
        _no_temperature,
        _multiplied,
        _too_late,
        _no_softmax,
        _overflow,
        _sharpest,
    ),
    rules=(_among_the_values,),
    hints=(
        "`Q @ K.T` has a row of scores for each query.",
        "The softmax runs along the rows: `axis=1`, with `keepdims=True` for the sums.",
        "Weights times values: `weights @ V`.",
    ),
)

EXERCISES = (_NEAREST, _LOOK_UP_ALL)
