"""The exercises of docs/learn/self-attention.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref._softmax import softmax
from attention_ref.exercises._exercise import Exercise

# --------------------------------------------------------------- self_attention


def self_attention(x, w_q, w_k, w_v):
    """Return what each word of x reads from the words of x."""
    scores = (x @ w_q) @ np.swapaxes(x @ w_k, -1, -2) / np.sqrt(w_q.shape[1])
    return softmax(scores) @ (x @ w_v)


def _self_attention_by_loops(x, w_q, w_k, w_v):
    output = np.empty((*x.shape[:-1], w_v.shape[1]))
    for at in np.ndindex(*x.shape[:-2]):
        words = x[at].tolist()
        queries, keys, values = (_products(words, w.tolist()) for w in (w_q, w_k, w_v))
        for i, query in enumerate(queries):
            scores = [math.fsum(map(math.prod, zip(query, key, strict=True))) for key in keys]
            scores = [score / math.sqrt(len(query)) for score in scores]
            powers = [math.exp(score - max(scores)) for score in scores]
            for j, column in enumerate(zip(*values, strict=True)):
                total = math.fsum(map(math.prod, zip(powers, column, strict=True)))
                output[(*at, i, j)] = total / math.fsum(powers)
    return output


def _products(rows, matrix):
    columns = list(zip(*matrix, strict=True))
    return [
        [math.fsum(map(math.prod, zip(row, column, strict=True))) for column in columns]
        for row in rows
    ]


def _words_and_matrices(rng):
    # The query of word 0 finds word 1 with weight 3/4: its scores are 0 and log 3.
    x = np.array([[1.0, 0.0], [0.0, 1.0]])
    w_q = np.array([[1.0, 0, 0, 0], [0.0, 1, 0, 0]])
    w_k = np.array([[0.0, 0, 0, 0], [2 * np.log(3), 0, 0, 0]])
    yield x, w_q, w_k, np.array([[0.0], [8.0]])
    yield rng.normal(size=(5, 3)), *rng.normal(size=(2, 3, 7)), rng.normal(size=(3, 2))
    yield rng.normal(size=(2, 5, 3)), *rng.normal(size=(2, 3, 7)), rng.normal(size=(3, 2))
    yield rng.normal(size=(3, 3, 3)), *rng.normal(size=(3, 3, 3))
    yield 50 * rng.normal(size=(2, 3, 5, 3)), *rng.normal(size=(2, 3, 7)), rng.normal(size=(3, 2))


def _scores(query, key):
    return query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])


def _words_averaged(x, w_q, w_k, w_v):
    """The words themselves were averaged: the values are `x @ w_v`."""
    return softmax(_scores(x @ w_q, x @ w_k)) @ x


def _words_compared(x, w_q, w_k, w_v):
    """The words were compared as they are: the scores are of queries with keys."""
    return softmax(_scores(x, x)) @ (x @ w_v)


def _one_matrix(x, w_q, w_k, w_v):
    """W_Q made the keys too: then no two words can find each other."""
    return softmax(_scores(x @ w_q, x @ w_q)) @ (x @ w_v)


def _changed_places(x, w_q, w_k, w_v):
    """W_Q and W_K changed places: the rows of the scores belong to the queries."""
    return softmax(_scores(x @ w_k, x @ w_q)) @ (x @ w_v)


def _keys_averaged(x, w_q, w_k, w_v):
    """The keys were averaged: they say where to look, the values what is there."""
    return softmax(_scores(x @ w_q, x @ w_k)) @ (x @ w_k)


def _root_of_d_model(x, w_q, w_k, w_v):
    """The scores were divided by sqrt(d_model): they are sums of d_k products."""
    scores = (x @ w_q) @ np.swapaxes(x @ w_k, -1, -2) / np.sqrt(x.shape[-1])
    return softmax(scores) @ (x @ w_v)


def _no_scale(x, w_q, w_k, w_v):
    """The scores are not divided by sqrt(d_k), which here is `w_q.shape[1]`."""
    return softmax((x @ w_q) @ np.swapaxes(x @ w_k, -1, -2)) @ (x @ w_v)


def _over_the_queries(x, w_q, w_k, w_v):
    """The softmax ran over the queries: each query's weights must sum to 1, over the keys."""
    return softmax(_scores(x @ w_q, x @ w_k), axis=-2) @ (x @ w_v)


def _turned_inside_out(x, w_q, w_k, w_v):
    """`.T` turns all axes round, the batch too: swap the last two alone."""
    return softmax((x @ w_q) @ (x @ w_k).T / np.sqrt(w_q.shape[1])) @ (x @ w_v)


def _among_the_values(answer, x, w_q, w_k, w_v):
    """An output lies outside the values: the weights must be positive and sum to 1."""
    value = x @ w_v
    low, high = value.min(axis=-2, keepdims=True), value.max(axis=-2, keepdims=True)
    return np.all((low - 1e-9 <= answer) & (answer <= high + 1e-9))


_SELF_ATTENTION = Exercise(
    solution=self_attention,
    specification=_self_attention_by_loops,
    inputs=_words_and_matrices,
    mistakes=(
        _words_averaged,
        _words_compared,
        _one_matrix,
        _changed_places,
        _keys_averaged,
        _root_of_d_model,
        _no_scale,
        _over_the_queries,
        _turned_inside_out,
    ),
    rules=(_among_the_values,),
    hints=(
        "Three products make the queries, the keys and the values.",
        "`np.swapaxes(key, -1, -2)` turns the keys and leaves the batch.",
        "Divide the scores by the root of `w_q.shape[1]`, then take `softmax`.",
    ),
)

# -------------------------------------------------------------- kernel_smoother


def kernel_smoother(query, points, values, h):
    """Return the average of the values around each query, of bandwidth h."""
    squares = ((query[:, None] - points) ** 2).sum(axis=-1)
    nearest = squares.min(axis=1, keepdims=True)
    kernel = np.exp((nearest - squares) / (2 * h**2))
    return kernel @ values / kernel.sum(axis=1, keepdims=True)


def _smoother_by_loops(query, points, values, h):
    output = np.empty((len(query), values.shape[1]))
    for i, q in enumerate(query):
        squares = [math.dist(q, point) ** 2 for point in points]
        powers = [math.exp((min(squares) - square) / 2 / h / h) for square in squares]
        for j in range(values.shape[1]):
            total = math.fsum(power * v[j] for power, v in zip(powers, values, strict=True))
            output[i, j] = total / math.fsum(powers)
    return output


def _points(rng):
    # Kernels 1 and 1/3: weights 3/4 and 1/4.
    h = math.sqrt(2 / math.log(3))
    points, values = np.array([[0.0], [2.0]]), np.array([[0.0], [8.0]])
    yield np.array([[0.0]]), points, values, h
    yield np.array([[0.0], [1.0], [2.0]]), points, values, h
    yield rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.normal(size=(7, 2)), 0.7
    yield rng.normal(size=(7, 5)), rng.normal(size=(7, 5)), rng.normal(size=(7, 7)), 2.0
    yield np.array([[0.0], [500.0]]), points, values, 1.0


def _squares(query, points):
    return ((query[:, None] - points) ** 2).sum(axis=-1)


def _average(exponents, values):
    kernel = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    return kernel @ values / kernel.sum(axis=1, keepdims=True)


def _dot_product(query, points, values, h):
    """A dot product takes the place of the distance: long points win, not near ones."""
    return _average(query @ points.T / h**2, values)


def _distance(query, points, values, h):
    """The distance is not squared: the Gaussian falls with its square."""
    return _average(-np.sqrt(_squares(query, points)) / (2 * h**2), values)


def _bandwidth(query, points, values, h):
    """The bandwidth is not squared: the squared distance is divided by 2 h^2."""
    return _average(-_squares(query, points) / (2 * h), values)


def _no_half(query, points, values, h):
    """The 2 is missing: the squared distance is divided by 2 h^2."""
    return _average(-_squares(query, points) / h**2, values)


def _times_the_square(query, points, values, h):
    """The last product is outside the division: write `/ (2 * h**2)`, with its brackets."""
    return _average(-_squares(query, points) / 2 * h**2, values)


def _far_first(query, points, values, h):
    """The far points count most: the exponent must be negative."""
    return _average(_squares(query, points) / (2 * h**2), values)


def _not_divided(query, points, values, h):
    """The sum is not divided by the kernels' sum: it is no average."""
    return np.exp(-_squares(query, points) / (2 * h**2)) @ values


def _underflow(query, points, values, h):
    """Far from all points every kernel is 0, and 0 / 0 is nan: subtract the least square first."""
    kernel = np.exp(-_squares(query, points) / (2 * h**2))
    return kernel @ values / kernel.sum(axis=1, keepdims=True)


def _nearest_alone(query, points, values, h):
    """The nearest value alone came: the others count too, with smaller kernels."""
    return values[_squares(query, points).argmin(axis=1)]


def _between(answer, query, points, values, h):
    """An answer lies outside the values, which no average does."""
    low, high = values.min(axis=0), values.max(axis=0)
    return np.all((low - 1e-9 <= answer) & (answer <= high + 1e-9))


_KERNEL_SMOOTHER = Exercise(
    solution=kernel_smoother,
    specification=_smoother_by_loops,
    inputs=_points,
    mistakes=(
        _dot_product,
        _distance,
        _bandwidth,
        _no_half,
        _times_the_square,
        _far_first,
        _not_divided,
        _underflow,
        _nearest_alone,
    ),
    rules=(_between,),
    hints=(
        "`query[:, None] - points` has a row for each query and a column for each point.",
        "It is a softmax of the squared distances over -2 h^2.",
        "As in a softmax, a number taken off every exponent of a query changes no answer.",
    ),
)

EXERCISES = (_SELF_ATTENTION, _KERNEL_SMOOTHER)
