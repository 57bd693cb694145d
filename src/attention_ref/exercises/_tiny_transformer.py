"""The exercises of docs/learn/tiny-transformer.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref._softmax import logsumexp, softmax
from attention_ref.exercises._exercise import Exercise

# -------------------------------------------------------------- induction_score


def induction_score(weights, period):
    """Return each head's mean weight on what followed the earlier copy."""
    queries = np.arange(period, len(weights[0]))
    return weights[:, queries, queries - period + 1].mean(axis=-1)


def _score_by_loops(weights, period):
    length = weights.shape[-1]
    scores = []
    for head in weights.tolist():
        found = [head[i][i - period + 1] for i in range(length) if i >= period]
        scores.append(math.fsum(found) / len(found))
    return np.array(scores)


def _causal(rng, heads, length):
    scores = rng.normal(size=(heads, length, length))
    return softmax(np.where(np.tri(length, dtype=bool), scores, -np.inf))


def _heads(rng):
    yield np.tri(4)[None] / np.arange(1, 5)[:, None], 2
    yield _causal(rng, 2, 6), 3
    yield _causal(rng, 2, 7), 5
    yield _causal(rng, 3, 11), 4


def _on_the_copy(weights, period):
    """This is the weight on the earlier copy itself: what is looked for stands one after it."""
    queries = np.arange(period, weights.shape[-1])
    return weights[:, queries, queries - period].mean(axis=-1)


def _before_the_copy(weights, period):
    """This is the weight on the position before the earlier copy: take the one after it."""
    queries = np.arange(period + 1, weights.shape[-1])
    return weights[:, queries, queries - period - 1].mean(axis=-1)


def _on_the_one_before(weights, period):
    """This is the weight on the letter before: look a period back, then one on."""
    queries = np.arange(period, weights.shape[-1])
    return weights[:, queries, queries - 1].mean(axis=-1)


def _keys_and_queries_swapped(weights, period):
    """Rows are queries and columns keys: here they are the other way round."""
    queries = np.arange(period, weights.shape[-1])
    return weights[:, queries - period + 1, queries].mean(axis=-1)


def _of_all_queries(weights, period):
    """The first time has no earlier copy, and was counted in the mean: only the later ones are."""
    queries = np.arange(period, weights.shape[-1])
    return weights[:, queries, queries - period + 1].sum(axis=-1) / weights.shape[-1]


def _summed(weights, period):
    """The weights were summed: take the mean over the queries."""
    queries = np.arange(period, weights.shape[-1])
    return weights[:, queries, queries - period + 1].sum(axis=-1)


def _one_for_all_heads(weights, period):
    """The mean was taken over the heads too: each has a score of its own."""
    return np.mean(induction_score(weights, period))


def _the_largest(weights, period):
    """This is the largest weight of a query: a head may look strongly at something else."""
    return weights[:, period:].max(axis=-1).mean(axis=-1)


def _a_share(answer, weights, period):
    """A mean of weights lies between 0 and 1."""
    return np.all((answer > 0) & (answer <= 1))


_INDUCTION_SCORE = Exercise(
    solution=induction_score,
    specification=_score_by_loops,
    inputs=_heads,
    mistakes=(
        _on_the_copy,
        _before_the_copy,
        _on_the_one_before,
        _keys_and_queries_swapped,
        _of_all_queries,
        _summed,
        _one_for_all_heads,
        _the_largest,
    ),
    rules=(_a_share,),
    hints=(
        "The queries are those from `period` on; the earlier copy of query i is at i - period.",
        "Index with two arrays: `weights[:, queries, keys]`.",
    ),
)

# ------------------------------------------------------------- next_letter_loss


def next_letter_loss(logits, ids):
    """Return the mean of -log p over the letters after the first."""
    before = logits[:-1]
    chosen = before[np.arange(len(before)), ids[1:]]
    return (logsumexp(before) - chosen).mean(keepdims=True)


def _loss_by_loops(logits, ids):
    terms = []
    for i, row in enumerate(logits.tolist()[:-1]):
        powers = [math.exp(logit) for logit in row]
        terms.append(-math.log(powers[ids[i + 1]] / math.fsum(powers)))
    return np.array([math.fsum(terms) / len(terms)])


def _predictions(rng):
    yield np.log(np.array([[1.0, 3.0], [1.0, 1.0]])), np.array([0, 1])
    yield np.log(np.array([[1.0, 3.0], [1.0, 1.0], [5.0, 1.0]])), np.array([0, 1, 0])
    yield rng.normal(size=(7, 5)), rng.integers(5, size=7)
    yield rng.normal(size=(11, 3)) * 5, rng.integers(3, size=11)
    yield rng.normal(size=(5, 7)) + 10, rng.integers(7, size=5)


def _not_shifted(logits, ids):
    """Each letter was compared with the logits at its own place, which have read it."""
    chosen = np.take_along_axis(logits, ids[:, None], axis=-1)[:, 0]
    return (logsumexp(logits) - chosen).mean(keepdims=True)


def _shifted_the_other_way(logits, ids):
    """The logits were shifted the other way: those at i predict the letter at i + 1."""
    chosen = np.take_along_axis(logits[1:], ids[:-1, None], axis=-1)[:, 0]
    return (logsumexp(logits[1:]) - chosen).mean(keepdims=True)


def _total(logits, ids):
    """The terms were summed: take their mean, or a longer text has a larger loss."""
    return next_letter_loss(logits, ids) * (len(ids) - 1)


def _by_all_letters(logits, ids):
    """The sum was divided by the number of letters: the first is not predicted."""
    return next_letter_loss(logits, ids) * (len(ids) - 1) / len(ids)


def _not_normalised(logits, ids):
    """A logit is no log-probability yet: subtract the row's log-sum-exp."""
    return -np.take_along_axis(logits[:-1], ids[1:, None], axis=-1).mean(axis=0)


def _positive_logarithm(logits, ids):
    """The sign is turned round: a loss falls as the probability rises."""
    return -next_letter_loss(logits, ids)


def _probability(logits, ids):
    """This is one minus the probability: the logarithm is missing."""
    chosen = np.take_along_axis(softmax(logits[:-1]), ids[1:, None], axis=-1)[:, 0]
    return 1 - chosen.mean(keepdims=True)


def _log_of_the_mean(logits, ids):
    """The probabilities were averaged before the logarithm: take the logarithm of each."""
    chosen = np.take_along_axis(softmax(logits[:-1]), ids[1:, None], axis=-1)[:, 0]
    return -np.log(chosen.mean(keepdims=True))


def _error_rate(logits, ids):
    """This is the share of wrong letters, which no gradient can follow: use the probabilities."""
    return (logits[:-1].argmax(axis=-1) != ids[1:]).mean(keepdims=True)


def _above_zero(answer, logits, ids):
    """A negative log-probability is never below 0."""
    return np.all(answer >= 0)


_NEXT_LETTER_LOSS = Exercise(
    solution=next_letter_loss,
    specification=_loss_by_loops,
    inputs=_predictions,
    mistakes=(
        _not_shifted,
        _shifted_the_other_way,
        _total,
        _by_all_letters,
        _not_normalised,
        _positive_logarithm,
        _probability,
        _log_of_the_mean,
        _error_rate,
    ),
    rules=(_above_zero,),
    hints=(
        "The logits at place i are about the letter at place i + 1: the last ones about none.",
        "The log-probability of a letter is its logit minus the row's log-sum-exp.",
    ),
)

EXERCISES = (_INDUCTION_SCORE, _NEXT_LETTER_LOSS)
