"""The exercises of docs/learn/similarity.md."""

# Answers are written as on the page, without types and with the matrices' letters.
# ruff: noqa: N803
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref.exercises._exercise import Exercise

# ----------------------------------------------------------------------- cosine


def cosine(Q, K):
    """Return the cosine of each query and key, 0 where one has length 0."""
    q = np.sqrt((Q * Q).sum(axis=1, keepdims=True))
    k = np.sqrt((K * K).sum(axis=1))
    lengths = q * k
    return Q @ K.T / np.where(lengths == 0, 1, lengths)


def _cosine_by_loops(Q, K):
    def one(q, k):
        lengths = math.hypot(*q) * math.hypot(*k)
        return math.fsum(map(math.prod, zip(q, k, strict=True))) / lengths if lengths else 0.0

    return np.array([[one(q, k) for k in K.tolist()] for q in Q.tolist()])


def _vectors(rng):
    yield np.array([[3.0, 4.0]]), np.array([[0.0, 2.0]])
    yield np.array([[3.0, 4.0]]), np.array([[0.0, 0.0], [6.0, 8.0]])
    yield np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([[2.0, 0.0], [0.0, 5.0]])
    yield rng.normal(size=(5, 3)), 7 * rng.normal(size=(7, 3))
    yield np.zeros((2, 3)), rng.normal(size=(5, 3))


def _zero_by_zero(Q, K):
    """A vector of zeros has length 0, and 0 / 0 is nan: give it the cosine 0."""
    q, k = np.linalg.norm(Q, axis=1), np.linalg.norm(K, axis=1)
    return Q @ K.T / np.outer(q, k)


def _dot_product(Q, K):
    """These are dot products, which grow with the lengths: divide by both lengths."""
    return Q @ K.T


def _keys_alone(Q, K):
    """Only the keys' lengths are divided out: doubling a query doubles its row."""
    k = np.linalg.norm(K, axis=1)
    return Q @ K.T / np.where(k == 0, 1, k)


def _queries_alone(Q, K):
    """Only the queries' lengths are divided out: doubling a key doubles its column."""
    q = np.linalg.norm(Q, axis=1, keepdims=True)
    return Q @ K.T / np.where(q == 0, 1, q)


def _squared_lengths(Q, K):
    """The squared lengths are divided out: take the square root of the sum of squares."""
    squares = np.outer((Q * Q).sum(axis=1), (K * K).sum(axis=1))
    return Q @ K.T / np.where(squares == 0, 1, squares)


def _whole_matrices(Q, K):
    """One length is taken for all queries and one for all keys: each row has its own."""
    lengths = np.linalg.norm(Q) * np.linalg.norm(K)
    return Q @ K.T / (lengths or 1)


def _angle(Q, K):
    """This is the angle: the cosine of it is asked."""
    return np.arccos(np.clip(cosine(Q, K), -1, 1))


def _at_most_one(answer, Q, K):
    """A cosine lies outside -1 to 1, or is nan."""
    return np.all(np.abs(answer) <= 1 + 1e-9)


_COSINE = Exercise(
    solution=cosine,
    specification=_cosine_by_loops,
    inputs=_vectors,
    mistakes=(
        _zero_by_zero,
        _dot_product,
        _keys_alone,
        _queries_alone,
        _squared_lengths,
        _whole_matrices,
        _angle,
    ),
    rules=(_at_most_one,),
    hints=(
        "A dot product is two lengths times a cosine: divide both lengths out.",
        "The lengths of all pairs form a matrix (q_len, kv_len), as `Q @ K.T` does.",
        "Where that matrix is 0, divide by 1: `np.where(lengths == 0, 1, lengths)`.",
    ),
)

# ------------------------------------------------------------ squared_distances


def squared_distances(Q, K):
    """Return the squared distance of each query and key."""
    q, k = (Q * Q).sum(axis=1, keepdims=True), (K * K).sum(axis=1)
    return q - 2 * Q @ K.T + k


def _distances_by_loops(Q, K):
    return np.array([[math.dist(q, k) ** 2 for k in K.tolist()] for q in Q.tolist()])


def _points(rng):
    yield np.array([[1.0]]), np.array([[3.0]])
    yield np.array([[1.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 3.0]])
    yield np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[0.0, 0.0], [1.0, 3.0]])
    yield rng.normal(size=(5, 3)), rng.normal(size=(7, 3))


def _not_squared(Q, K):
    """These are the distances: leave the square root out."""
    return np.sqrt(np.maximum(squared_distances(Q, K), 0))


def _without_the_two(Q, K):
    """The dot product was subtracted once: (a - b)^2 is a^2 - 2ab + b^2."""
    return (Q * Q).sum(axis=1, keepdims=True) - Q @ K.T + (K * K).sum(axis=1)


def _plus(Q, K):
    """The dot product was added: these are the squared lengths of sums, not of differences."""
    return (Q * Q).sum(axis=1, keepdims=True) + 2 * Q @ K.T + (K * K).sum(axis=1)


def _query_left_out(Q, K):
    """The queries' squared lengths are left out: a softmax would not miss them, a distance does."""
    return (K * K).sum(axis=1) - 2 * Q @ K.T


def _key_left_out(Q, K):
    """The keys' squared lengths are left out: they differ from key to key."""
    return (Q * Q).sum(axis=1, keepdims=True) - 2 * Q @ K.T


def _of_the_lengths(Q, K):
    """The lengths were compared: two vectors of one length can be far apart."""
    q, k = np.linalg.norm(Q, axis=1, keepdims=True), np.linalg.norm(K, axis=1)
    return (q - k) ** 2


def _mean_of_squares(Q, K):
    """The squares were averaged over the entries: a distance sums them."""
    return squared_distances(Q, K) / Q.shape[1]


def _by_steps(Q, K):
    """The absolute differences were summed: square each of them first."""
    return np.abs(Q[:, None] - K).sum(axis=-1)


def _not_below_zero(answer, Q, K):
    """A squared distance is negative."""
    return np.all(answer >= -1e-9)


_DISTANCES = Exercise(
    solution=squared_distances,
    specification=_distances_by_loops,
    inputs=_points,
    mistakes=(
        _not_squared,
        _without_the_two,
        _plus,
        _query_left_out,
        _key_left_out,
        _of_the_lengths,
        _mean_of_squares,
        _by_steps,
    ),
    rules=(_not_below_zero,),
    hints=(
        "(q - k) @ (q - k) is q @ q - 2 q @ k + k @ k.",
        "`Q @ K.T` has all the q @ k; q @ q is a column, and k @ k is a row.",
    ),
)

# --------------------------------------------------------------------- rankings


def rankings(q, K):
    """Return the orders by dot product, cosine and distance, best first."""
    dots = K @ q
    cosines = dots / np.sqrt((K * K).sum(axis=1))
    distances = ((K - q) ** 2).sum(axis=1)
    return np.argsort([-dots, -cosines, distances])


def _rankings_by_loops(q, K):
    def dot(j):
        return math.fsum(map(math.prod, zip(q, K[j], strict=True)))

    by = (
        lambda j: -dot(j),
        lambda j: -dot(j) / math.hypot(*K[j]),
        lambda j: math.dist(q, K[j]),
    )
    return np.array([sorted(range(len(K)), key=one) for one in by])


def _one_query(rng):
    yield np.array([1.0, 0.0]), np.array([[3.0, 9.0], [2.0, 0.1], [0.9, 0.4]])
    yield rng.normal(size=3), rng.normal(size=(5, 3)) * rng.uniform(0.1, 10, size=(5, 1))
    yield rng.normal(size=3), rng.normal(size=(7, 3)) * rng.uniform(0.1, 10, size=(7, 1))


def _worst_first(q, K):
    """The worst key stands first in each order: `np.argsort` sorts upwards."""
    return rankings(q, K)[:, ::-1]


def _farthest_first(q, K):
    """By distance, the farthest key stands first: a small distance is good."""
    by_dot, by_cosine, by_distance = rankings(q, K)
    return np.stack([by_dot, by_cosine, by_distance[::-1]])


def _ranks(q, K):
    """These are the ranks of keys 0, 1, ...: an order lists the keys, best first."""
    return np.argsort(rankings(q, K), axis=1)


def _best_alone(q, K):
    """Only the best key of each came: return the order of all."""
    return rankings(q, K)[:, 0]


def _cosine_forgotten(q, K):
    """The second order is that of the dot products: divide them by the keys' lengths."""
    by_dot, _, by_distance = rankings(q, K)
    return np.stack([by_dot, by_dot, by_distance])


def _cosine_for_distance(q, K):
    """The third order is that of the cosines: a long key that points the same way is far."""
    by_dot, by_cosine, _ = rankings(q, K)
    return np.stack([by_dot, by_cosine, by_cosine])


def _sorted_scores(q, K):
    """These are the scores, sorted: return which key has each."""
    dots = K @ q
    distances = ((K - q) ** 2).sum(axis=1)
    return np.sort([-dots, -dots / np.linalg.norm(K, axis=1), distances], axis=1)


def _each_key_once(answer, q, K):
    """An order must list each key once."""
    return np.array_equal(np.sort(answer), [range(len(K))] * 3)


_RANKINGS = Exercise(
    solution=rankings,
    specification=_rankings_by_loops,
    inputs=_one_query,
    mistakes=(
        _worst_first,
        _farthest_first,
        _ranks,
        _best_alone,
        _cosine_forgotten,
        _cosine_for_distance,
        _sorted_scores,
    ),
    rules=(_each_key_once,),
    hints=(
        "`np.argsort` lists where the smallest stands, then the next: negate what should be large.",
        "The query's own length changes no order: divide by the keys' alone.",
    ),
)

EXERCISES = (_COSINE, _DISTANCES, _RANKINGS)
