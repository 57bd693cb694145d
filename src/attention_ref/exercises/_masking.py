"""The exercises of docs/learn/masking.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref._softmax import softmax
from attention_ref.exercises._exercise import Exercise

# --------------------------------------------------------------- masked_weights


def masked_weights(scores, mask):
    """Return the softmax over the keys that may be seen, 0 where none may."""
    seen = np.where(mask, scores, -np.inf)
    top = seen.max(axis=-1, keepdims=True)
    powers = np.exp(seen - np.where(np.isfinite(top), top, 0))
    total = powers.sum(axis=-1, keepdims=True)
    return powers / np.where(total == 0, 1, total)


def _weights_by_loops(scores, mask):
    weights = np.zeros_like(scores)
    for row, seen, out in zip(scores, mask, weights, strict=True):
        keys = np.flatnonzero(seen).tolist()
        for i in keys:
            # e^(other - score), capped where its reciprocal is 0 anyway.
            powers = [math.exp(min(row[j] - row[i], 700)) for j in keys]
            out[i] = 1 / math.fsum(powers)
    return weights


def _scores_and_masks(rng):
    yield np.array([[1.0, 1.0, 5.0]]), np.array([[True, True, False]])
    yield np.array([[1.0, 1.0, 5.0], [2.0, 2.0, 2.0]]), np.array([[True, True, False], [False] * 3])
    yield np.array([[1.0, 2000.0, 1.0]]), np.array([[True, False, True]])
    yield np.array([[2000.0, 2000.0, 1.0]]), np.array([[True, True, False]])
    yield np.array([[0.0, 0.0], [-2000.0, -2000.0]]), np.array([[True, False], [True, True]])
    yield rng.normal(size=(5, 5)), np.tri(5, dtype=bool)
    yield rng.normal(size=(5, 7)), rng.random((5, 7)) < 0.5


def _after_the_softmax(scores, mask):
    """The mask came after the softmax, when hidden keys had their share: rows do not sum to 1."""
    return softmax(scores) * mask


def _turned_round(scores, mask):
    """The mask is turned round: True means that a key may be seen."""
    return masked_weights(scores, ~mask)


def _added(scores, mask):
    """The mask was added as 0 and 1: hidden keys must lose all weight, so add 0 and -inf."""
    return softmax(scores + mask)


def _times_the_mask(scores, mask):
    """The scores were multiplied by the mask: a score of 0 still has the power 1."""
    return softmax(scores * mask)


def _not_a_number(scores, mask):
    """A query that may see nothing gets nan, from 0 / 0 or inf - inf: give it weights of 0."""
    return softmax(np.where(mask, scores, -np.inf))


def _large_and_finite(scores, mask):
    """A query that may see nothing sees every hidden key alike: -1e9 is not minus infinity."""
    return softmax(np.where(mask, scores, -1e9))


def _ignored(scores, mask):
    """The mask is not used: the hidden keys get weight."""
    return softmax(scores)


def _overflow(scores, mask):
    """The power of a large score overflows: subtract the largest score that may be seen."""
    powers = np.exp(np.where(mask, scores, -np.inf))
    total = powers.sum(axis=-1, keepdims=True)
    return powers / np.where(total == 0, 1, total)


def _largest_of_all(scores, mask):
    """The largest score of all was subtracted, a hidden one too: all powers may become 0."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True)) * mask
    total = powers.sum(axis=-1, keepdims=True)
    return powers / np.where(total == 0, 1, total)


def _hidden_is_zero(answer, scores, mask):
    """A hidden key has weight: it must have none."""
    return np.all(answer[~mask] == 0)


def _rows_sum_to_one(answer, scores, mask):
    """A row does not sum to 1, although some key may be seen."""
    return np.allclose(answer.sum(axis=-1), mask.any(axis=-1))


_MASKED_WEIGHTS = Exercise(
    solution=masked_weights,
    specification=_weights_by_loops,
    inputs=_scores_and_masks,
    mistakes=(
        _after_the_softmax,
        _turned_round,
        _added,
        _times_the_mask,
        _not_a_number,
        _large_and_finite,
        _ignored,
        _overflow,
        _largest_of_all,
    ),
    rules=(_hidden_is_zero, _rows_sum_to_one),
    hints=(
        "Put -inf where the mask is False: its power is 0.",
        "Subtract the largest score that may be seen, and 0 where there is none.",
        "Divide by the sum, and by 1 where the sum is 0.",
    ),
)

# ------------------------------------------------------------------------ leaks


def leaks(attend, length):
    """Return True if changing a word changes an output before it."""
    x = np.random.default_rng(0).normal(size=(length, 8))
    for j in range(1, length):
        other = x.copy()
        other[j] += 1.0
        if not np.array_equal(attend(x)[:j], attend(other)[:j]):
            return True
    return False


def _leaks_by_loops(attend, length):
    x = np.random.default_rng(1).normal(size=(length, 8))
    before = attend(x).tolist()
    reached = set()
    for j in range(length):
        after = attend(np.where(np.arange(length)[:, None] == j, 2 * x - 3, x)).tolist()
        reached |= {(i, j) for i in range(length) if before[i] != after[i]}
    return any(i < j for i, j in reached)


def _attending(name, seen):
    """Return attention in which query i sees key j where seen(i, j)."""

    def attend(x):
        at = range(len(x))
        mask = np.array([[seen(i, j) for j in at] for i in at])
        # Sums of one row each: no rounding depends on another word.
        scores = (x[:, None] * x).sum(axis=-1)
        weights = np.exp(np.where(mask, scores / 4, -np.inf))
        return (weights[:, :, None] * x).sum(axis=1) / (weights.sum(axis=1) + 1e-9)[:, None]

    attend.__name__ = name
    return attend


def _attentions(rng):
    for length in (2, 5):
        yield _attending("causal", lambda i, j: j <= i), length
        yield _attending("everything_seen", lambda i, j: True), length
        yield _attending("past_hidden", lambda i, j: j > i), length
        yield _attending("own_word_hidden", lambda i, j: j < i), length
        yield _attending("one_word_ahead", lambda i, j: j <= i + 1), length
        yield _attending("own_word_alone", lambda i, j: j == i), length
    yield _attending("last_word_seen", lambda i, j: j in (i, 4)), 5
    yield _attending("third_word_seen", lambda i, j: j in (i, 2)), 5


def _changes(attend, length, moved, compared):
    x = np.random.default_rng(0).normal(size=(length, 8))
    found = []
    for j in moved:
        other = x.copy()
        other[j] += 1.0
        found.append(not np.array_equal(attend(x)[compared(j)], attend(other)[compared(j)]))
    return any(found)


def _own_word_too(attend, length):
    """It compares the changed word too, whose own query changes: compare the words before it."""
    return _changes(attend, length, range(1, length), lambda j: slice(None, j + 1))


def _the_past(attend, length):
    """It compares the words after the changed one: those may see it, the ones before may not."""
    return _changes(attend, length, range(length), lambda j: slice(j + 1, None))


def _last_word_alone(attend, length):
    """Only the last word is changed: a word in the middle can leak too."""
    return _changes(attend, length, [length - 1], lambda j: slice(None, j))


def _second_word_alone(attend, length):
    """Only the second word is changed: a later word can leak too."""
    return _changes(attend, length, [1], lambda j: slice(None, j))


def _no_copy(attend, length):
    """`other = x` is no copy: both change, and nothing ever seems to leak."""
    x = np.random.default_rng(0).normal(size=(length, 8))
    for j in range(1, length):
        other = x
        other[j] += 1.0
        if not np.array_equal(attend(x)[:j], attend(other)[:j]):
            return True
    return False


def _safe(attend, length):
    """It returns True where nothing leaks: the answer is turned round."""
    return not leaks(attend, length)


_LEAKS = Exercise(
    solution=leaks,
    specification=_leaks_by_loops,
    inputs=_attentions,
    mistakes=(
        _own_word_too,
        _the_past,
        _last_word_alone,
        _second_word_alone,
        _no_copy,
        _safe,
    ),
    rules=(),
    hints=(
        "Draw x, change a copy of it at word j, and attend to both.",
        "The outputs of words 0 to j - 1, `[:j]`, must be the same.",
        "Do so for every j from 1 on.",
    ),
)

# ------------------------------------------------------------ left_padding_mask


def left_padding_mask(lengths, kv_len):
    """Return True for the last lengths[b] keys of sentence b."""
    first = kv_len - lengths
    return np.arange(kv_len) >= first[:, None, None]


def _mask_by_loops(lengths, kv_len):
    return np.array([[[j + n >= kv_len for j in range(kv_len)]] for n in lengths.tolist()])


def _lengths(rng):
    yield np.array([1]), 3
    yield np.array([2, 3, 0]), 3
    yield rng.integers(0, 12, size=7), 11


def _padding_on_the_right(lengths, kv_len):
    """The first keys are True: with padding on the left, the words are the last."""
    return np.arange(kv_len) < lengths[:, None, None]


def _padding_seen(lengths, kv_len):
    """The padding is True: True means that a key may be seen."""
    return ~left_padding_mask(lengths, kv_len)


def _one_too_few(lengths, kv_len):
    """The first word is hidden: it stands at `kv_len - length`, which belongs to it."""
    return np.arange(kv_len) > (kv_len - lengths)[:, None, None]


def _one_too_many(lengths, kv_len):
    """One key of padding is seen: the first word stands at `kv_len - length`."""
    return np.arange(kv_len) >= (kv_len - lengths - 1)[:, None, None]


def _no_axis_for_queries(lengths, kv_len):
    """The axis of the queries is missing: (batch, kv_len) would be read as (q_len, kv_len)."""
    return np.arange(kv_len) >= (kv_len - lengths)[:, None]


def _numbers(lengths, kv_len):
    """These are the numbers 0 and 1: a mask holds True and False."""
    return left_padding_mask(lengths, kv_len).astype(float)


def _zero_or_infinity(lengths, kv_len):
    """This is a bias of 0 and -inf to add to the scores: return True and False."""
    return np.where(left_padding_mask(lengths, kv_len), 0.0, -np.inf)


def _length_of_the_first(lengths, kv_len):
    """All sentences have the length of the first: each has its own."""
    return left_padding_mask(np.full_like(lengths, lengths[0]), kv_len)


def _counts(answer, lengths, kv_len):
    """A sentence does not see as many keys as it has words."""
    return np.array_equal(answer.sum(axis=(1, 2)), lengths)


_LEFT_PADDING = Exercise(
    solution=left_padding_mask,
    specification=_mask_by_loops,
    inputs=_lengths,
    mistakes=(
        _padding_on_the_right,
        _padding_seen,
        _one_too_few,
        _one_too_many,
        _no_axis_for_queries,
        _numbers,
        _zero_or_infinity,
        _length_of_the_first,
    ),
    rules=(_counts,),
    hints=(
        "At which key does a sentence of this length begin?",
        "`np.arange(kv_len)` numbers the keys; `first[:, None, None]` gives each sentence a row.",
    ),
)

EXERCISES = (_MASKED_WEIGHTS, _LEAKS, _LEFT_PADDING)
