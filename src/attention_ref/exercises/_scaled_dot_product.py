"""The exercises of docs/learn/scaled-dot-product.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref._softmax import softmax
from attention_ref.exercises._exercise import Exercise

# -------------------------------------------------------------------- attention


def attention(query, key, value):
    """Return attention without a mask, for any number of batch axes."""
    scores = query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True) @ value


def _attention_by_loops(query, key, value):
    output = np.empty((*query.shape[:-1], value.shape[-1]))
    for at in np.ndindex(*query.shape[:-1]):
        q, keys, values = query[at], key[at[:-1]], value[at[:-1]]
        scores = [math.fsum(a * b for a, b in zip(q, k, strict=True)) for k in keys]
        scores = [score / math.sqrt(len(q)) for score in scores]
        powers = [math.exp(score - max(scores)) for score in scores]
        for j in range(value.shape[-1]):
            total = math.fsum(power * v[j] for power, v in zip(powers, values, strict=True))
            output[(*at, j)] = total / math.fsum(powers)
    return output


def _sentences(rng):
    def draw(*batch):
        return tuple(rng.normal(size=(*batch, *end)) for end in ((5, 3), (7, 3), (7, 2)))

    # Two keys, with scores log 3 and 0 after the division by sqrt(4): weights 3/4 and 1/4.
    key = np.array([[2 * np.log(3), 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    yield np.eye(1, 4), key, np.array([[0.0], [8.0]])
    yield np.eye(2, 4), key, np.array([[0.0], [8.0]])
    yield draw()
    yield draw(2)
    yield draw(2, 3)
    yield tuple(rng.normal(size=(3, 3, 3)) for _ in range(3))
    yield 2000 * np.eye(2), np.eye(2), np.eye(2)
    yield np.array([[0.0, 0.0], [-5000.0, -5000.0]]), np.eye(2), np.eye(2)


def _no_scale(query, key, value):
    """The scores are not divided by sqrt(d_k): the weights are too sharp."""
    return softmax(query @ np.swapaxes(key, -1, -2)) @ value


def _divided_by_d_k(query, key, value):
    """The scores were divided by d_k: divide by its square root."""
    return softmax(query @ np.swapaxes(key, -1, -2) / query.shape[-1]) @ value


def _root_of_the_keys(query, key, value):
    """The scores were divided by sqrt(kv_len): d_k is the last axis of the query."""
    return softmax(query @ np.swapaxes(key, -1, -2) / np.sqrt(key.shape[-2])) @ value


def _root_of_d_v(query, key, value):
    """The scores were divided by sqrt(d_v): the scores sum over d_k terms."""
    return softmax(query @ np.swapaxes(key, -1, -2) / np.sqrt(value.shape[-1])) @ value


def _scaled_weights(query, key, value):
    """The weights were divided by sqrt(d_k), after the softmax: they no longer sum to 1."""
    weights = softmax(query @ np.swapaxes(key, -1, -2))
    return weights / np.sqrt(query.shape[-1]) @ value


def _over_the_queries(query, key, value):
    """The softmax ran over the queries: each query's weights must sum to 1, over the keys."""
    scores = query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    return softmax(scores, axis=-2) @ value


def _not_divided(query, key, value):
    """The powers are not divided by their sum: the weights of a query must sum to 1."""
    scores = query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    return np.exp(scores - scores.max(axis=-1, keepdims=True)) @ value


def _turned_inside_out(query, key, value):
    """`key.T` turns all axes round, the batch too: swap the last two alone."""
    return softmax(query @ key.T / np.sqrt(query.shape[-1])) @ value


def _overflow(query, key, value):
    """The power of a large score overflows: subtract the largest score of each query first."""
    powers = np.exp(query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1]))
    return powers / powers.sum(axis=-1, keepdims=True) @ value


def _among_the_values(answer, query, key, value):
    """An output lies outside the values: the weights must be positive and sum to 1."""
    low, high = value.min(axis=-2, keepdims=True), value.max(axis=-2, keepdims=True)
    return np.all((low - 1e-9 <= answer) & (answer <= high + 1e-9))


_ATTENTION = Exercise(
    solution=attention,
    specification=_attention_by_loops,
    inputs=_sentences,
    mistakes=(
        _no_scale,
        _divided_by_d_k,
        _root_of_the_keys,
        _root_of_d_v,
        _scaled_weights,
        _over_the_queries,
        _not_divided,
        _turned_inside_out,
        _overflow,
    ),
    rules=(_among_the_values,),
    hints=(
        "Scores, softmax, average: three lines.",
        "`np.swapaxes(key, -1, -2)` turns the keys and leaves the batch; d_k is `query.shape[-1]`.",
        "The maximum and the sum of each row need `axis=-1, keepdims=True`.",
    ),
)

# ------------------------------------------------------------------------- fold


def fold(w_q, w_k):
    """Return m, so that x @ m @ x.T are the unscaled scores of any x."""
    return w_q @ w_k.T


def _fold_by_loops(w_q, w_k):
    return np.array([[math.fsum(map(math.prod, zip(a, b, strict=True))) for b in w_k] for a in w_q])


def _projections(rng):
    yield np.array([[1.0], [2.0]]), np.array([[3.0], [5.0]])
    for shape in ((3, 3), (7, 3)):
        yield rng.normal(size=shape), rng.normal(size=shape)


def _turned(w_q, w_k):
    """The transpose came: its scores have keys for rows and queries for columns."""
    return w_k @ w_q.T


def _inner(w_q, w_k):
    """What came is (d_k, d_k): it must stand between two x, which have d_model columns."""
    return w_q.T @ w_k


def _not_turned(w_q, w_k):
    """The second matrix is not transposed: the keys (x W_K) are turned as a whole."""
    return w_q @ w_k


def _scaled(w_q, w_k):
    """The matrix is divided by sqrt(d_k): the unscaled scores were asked."""
    return w_q @ w_k.T / np.sqrt(w_q.shape[1])


def _entry_by_entry(w_q, w_k):
    """The entries were multiplied one by one: the scores sum over d_k."""
    return w_q * w_k


def _queries_twice(w_q, w_k):
    """W_Q came twice: what a word looks for would be what it offers."""
    return w_q @ w_q.T


_FOLD = Exercise(
    solution=fold,
    specification=_fold_by_loops,
    inputs=_projections,
    mistakes=(_turned, _inner, _not_turned, _scaled, _entry_by_entry, _queries_twice),
    rules=(),
    hints=(
        "Write the scores as (X W_Q)(X W_K) transposed.",
        "The transpose of a product is the product of the transposes, in the other order.",
    ),
)

EXERCISES = (_ATTENTION, _FOLD)
