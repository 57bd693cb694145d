"""The exercises of docs/learn/scaling.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref._softmax import logsumexp, softmax
from attention_ref.exercises._exercise import Exercise

# ---------------------------------------------------------- entropy_from_scores


def entropy_from_scores(scores):
    """Return the entropy of the softmax of each row of `scores`, in nats."""
    return logsumexp(scores) - (softmax(scores) * scores).sum(axis=-1)


def _entropy_by_loops(scores):
    entropies = np.empty(scores.shape[:-1])
    for at in np.ndindex(*scores.shape[:-1]):
        row = scores[at].tolist()
        powers = [math.exp(score - max(row)) for score in row]
        weights = [power / math.fsum(powers) for power in powers]
        entropies[at] = -math.fsum(w * math.log(w) for w in weights if w > 0)
    return entropies


def _scores(rng):
    yield (np.array([0.0, 0.0]),)
    yield (np.array([0.0, np.log(3)]),)
    yield (np.array([0.0, 1000.0]),)
    yield (np.array([[0.0, 1000.0, 1000.0], [1.0, 1.0, 1.0]]),)
    yield (rng.normal(size=(5, 7)),)
    yield (rng.normal(size=(2, 3, 5)) * 10,)


def _zero_times_infinity(scores):
    """A weight of 0 has the logarithm -inf, and 0 times -inf is nan: take it from the scores."""
    weights = softmax(scores)
    return -(weights * np.log(weights)).sum(axis=-1)


def _negative(scores):
    """The sign is turned round: an entropy is never negative."""
    return (softmax(scores) * scores).sum(axis=-1) - logsumexp(scores)


def _plain_mean(scores):
    """The plain mean of the scores is subtracted: each key counts by its weight."""
    return logsumexp(scores) - scores.mean(axis=-1)


def _in_bits(scores):
    """These are bits, from the logarithm to base 2: the natural one was asked."""
    return entropy_from_scores(scores) / np.log(2)


def _of_all_rows(scores):
    """The rows were summed into one number: each query has an entropy of its own."""
    return np.sum(entropy_from_scores(scores))


def _one_logarithm_a_key(scores):
    """The terms are not summed over the keys: one number a row was asked."""
    return softmax(scores) * (logsumexp(scores)[..., None] - scores)


def _log_of_the_count(scores):
    """The entropy is log n for every row: that holds where all weights are the same."""
    return np.full(scores.shape[:-1], np.log(scores.shape[-1]))


def _between_zero_and_log_n(answer, scores):
    """An entropy lies outside 0 to log n, or is nan."""
    return np.all((answer >= -1e-9) & (answer <= np.log(scores.shape[-1]) + 1e-9))


_ENTROPY = Exercise(
    solution=entropy_from_scores,
    specification=_entropy_by_loops,
    inputs=_scores,
    mistakes=(
        _zero_times_infinity,
        _negative,
        _plain_mean,
        _in_bits,
        _of_all_rows,
        _one_logarithm_a_key,
        _log_of_the_count,
    ),
    rules=(_between_zero_and_log_n,),
    hints=(
        "The logarithm of a weight is its score minus the row's log-sum-exp.",
        "The weights sum to 1, so the log-sum-exp comes out of the sum.",
    ),
)

# ---------------------------------------------------------------- scaled_scores


def scaled_scores(query, key):
    """Return scores of variance 1, if the entries have variance 1."""
    return query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])


def _scores_by_loops(query, key):
    scores = np.empty((*query.shape[:-1], key.shape[-2]))
    for *batch, i, j in np.ndindex(*scores.shape):
        q, k = query[(*batch, i)].tolist(), key[(*batch, j)].tolist()
        scores[(*batch, i, j)] = math.fsum(map(math.prod, zip(q, k, strict=True))) / len(q) ** 0.5
    return scores


def _queries_and_keys(rng):
    yield np.array([[1.0, 1.0, 1.0, 1.0]]), np.array([[2.0, 2.0, 0.0, 0.0]])
    yield np.ones((2, 4)), np.array([[2.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    yield rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    yield rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 7, 3))


def _unscaled(query, key):
    """The scores are not scaled: their variance is d_k."""
    return query @ np.swapaxes(key, -1, -2)


def _divided_by_d_k(query, key):
    """The scores were divided by d_k, which leaves the variance 1 / d_k: use its root."""
    return query @ np.swapaxes(key, -1, -2) / query.shape[-1]


def _multiplied(query, key):
    """The scores were multiplied by sqrt(d_k), which makes the variance its square: divide."""
    return query @ np.swapaxes(key, -1, -2) * np.sqrt(query.shape[-1])


def _root_of_the_keys(query, key):
    """The root is that of kv_len: each score sums d_k products, however many keys there are."""
    return query @ np.swapaxes(key, -1, -2) / np.sqrt(key.shape[-2])


def _root_of_the_queries(query, key):
    """The root is that of q_len: each score sums d_k products, however many queries there are."""
    return query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-2])


def _whole_numbers(query, key):
    """`//` rounds every score down to a whole number: divide with `/`."""
    return query @ np.swapaxes(key, -1, -2) // np.sqrt(query.shape[-1])


def _half_of_it(query, key):
    """The query alone was divided by the fourth root of d_k: divide the key by it too."""
    return query / query.shape[-1] ** 0.25 @ np.swapaxes(key, -1, -2)


def _measured(query, key):
    """The scores were divided by their own spread: sqrt(d_k) is the same for every input."""
    scores = query @ np.swapaxes(key, -1, -2)
    return scores / (scores.std() or 1)


def _in_proportion(answer, query, key):
    """The scores are not dot products times one number."""
    scores = query @ np.swapaxes(key, -1, -2)
    return np.allclose(answer * np.max(scores), scores * np.max(answer))


_SCALED_SCORES = Exercise(
    solution=scaled_scores,
    specification=_scores_by_loops,
    inputs=_queries_and_keys,
    mistakes=(
        _unscaled,
        _divided_by_d_k,
        _multiplied,
        _root_of_the_keys,
        _root_of_the_queries,
        _whole_numbers,
        _half_of_it,
        _measured,
    ),
    rules=(_in_proportion,),
    hints=(
        "The variance of a dot product of d_k terms is d_k.",
        "Dividing by a number divides the variance by its square.",
    ),
)

EXERCISES = (_ENTROPY, _SCALED_SCORES)
