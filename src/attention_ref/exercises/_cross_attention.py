"""The exercises of docs/learn/cross-attention.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref._softmax import softmax
from attention_ref.exercises._exercise import Exercise

# -------------------------------------------------------------- cross_attention


def cross_attention(y, x, w_q, w_k, w_v, lengths):
    """Return what the words of y read in the first lengths[b] of x[b]."""
    scores = (y @ w_q) @ np.swapaxes(x @ w_k, -1, -2) / np.sqrt(w_q.shape[1])
    mask = np.arange(x.shape[1]) < lengths[:, None, None]
    return softmax(np.where(mask, scores, -np.inf)) @ (x @ w_v)


def _cross_by_loops(y, x, w_q, w_k, w_v, lengths):
    output = np.empty((*y.shape[:2], w_v.shape[1]))
    for b, i in np.ndindex(*y.shape[:2]):
        words = x[b, : lengths[b]]  # the padding is never looked at
        query = [math.fsum(y[b, i] * column) for column in w_q.T]
        keys = [[math.fsum(word * column) for column in w_k.T] for word in words]
        scores = [math.fsum(map(math.prod, zip(query, key, strict=True))) for key in keys]
        scores = [score / math.sqrt(len(query)) for score in scores]
        powers = [math.exp(score) for score in scores]
        for j, column in enumerate(w_v.T):
            values = [math.fsum(word * column) for word in words]
            total = math.fsum(map(math.prod, zip(powers, values, strict=True)))
            output[b, i, j] = total / math.fsum(powers)
    return output


def _pairs(rng):
    def draw(batch, q_len, kv_len, d_y, d_x, d_k, d_v):
        shapes = ((batch, q_len, d_y), (batch, kv_len, d_x), (d_y, d_k), (d_x, d_k), (d_x, d_v))
        return tuple(rng.normal(size=shape) for shape in shapes)

    # Scores log 3 and 0, and a third word that is padding: weights 3/4 and 1/4.
    y, x = np.array([[[1.0]]]), np.array([[[np.log(3)], [0.0], [9.0]]])
    yield y, x, np.ones((1, 1)), np.ones((1, 1)), np.array([[4.0]]), np.array([2])
    yield *draw(2, 3, 5, 2, 7, 11, 3), np.array([5, 3])
    yield *draw(3, 5, 5, 7, 7, 2, 7), np.array([4, 1, 5])
    yield *draw(5, 5, 5, 5, 5, 5, 5), np.array([1, 2, 3, 4, 5])


def _parts(y, x, w_q, w_k, lengths):
    scores = (y @ w_q) @ np.swapaxes(x @ w_k, -1, -2) / np.sqrt(w_q.shape[1])
    return scores, np.arange(x.shape[1]) < lengths[:, None, None]


def _padding_read(y, x, w_q, w_k, w_v, lengths):
    """The padding is read: no weight may fall on x[b] from word lengths[b] on."""
    scores, _ = _parts(y, x, w_q, w_k, lengths)
    return softmax(scores) @ (x @ w_v)


def _queries_hidden(y, x, w_q, w_k, w_v, lengths):
    """The lengths hid words of y: they are the lengths of x, whose words are the keys."""
    scores, _ = _parts(y, x, w_q, w_k, lengths)
    rows = np.arange(y.shape[1])[:, None] < lengths[:, None, None]
    return np.where(rows, softmax(scores), 0) @ (x @ w_v)


def _turned_round(y, x, w_q, w_k, w_v, lengths):
    """The mask is turned round: the words are hidden, and the padding is read."""
    scores, mask = _parts(y, x, w_q, w_k, lengths)
    return softmax(np.where(mask, -np.inf, scores)) @ (x @ w_v)


def _after_the_softmax(y, x, w_q, w_k, w_v, lengths):
    """The mask came after the softmax, when the padding had its share: rows do not sum to 1."""
    scores, mask = _parts(y, x, w_q, w_k, lengths)
    return softmax(scores) * mask @ (x @ w_v)


def _padding_of_zeros(y, x, w_q, w_k, w_v, lengths):
    """The padding was set to zero and not hidden: a score of 0 still has the power 1."""
    x = np.where(np.arange(x.shape[1])[:, None] < lengths[:, None, None], x, 0)
    scores, _ = _parts(y, x, w_q, w_k, lengths)
    return softmax(scores) @ (x @ w_v)


def _causal_too(y, x, w_q, w_k, w_v, lengths):
    """A causal mask was added: the whole of x is known, and every word of y may read all of it."""
    scores, mask = _parts(y, x, w_q, w_k, lengths)
    past = np.tri(y.shape[1], x.shape[1], dtype=bool)
    return softmax(np.where(mask & past, scores, -np.inf)) @ (x @ w_v)


def _first_length(y, x, w_q, w_k, w_v, lengths):
    """All of x has the length of the first: each sentence has its own."""
    return cross_attention(y, x, w_q, w_k, w_v, np.full_like(lengths, lengths[0]))


def _source_asks(y, x, w_q, w_k, w_v, lengths):
    """The queries come from x and the keys from y: y asks, x answers."""
    scores, mask = _parts(x, y, w_q, w_k, lengths)
    return softmax(np.where(mask, scores, -np.inf)) @ (y @ w_v)


def _values_of_the_target(y, x, w_q, w_k, w_v, lengths):
    """The values come from y: keys and values are of the same words, those of x."""
    scores, mask = _parts(y, x, w_q, w_k, lengths)
    return softmax(np.where(mask, scores, -np.inf)) @ (y @ w_v)


def _among_the_words(answer, y, x, w_q, w_k, w_v, lengths):
    """An output lies outside the values of the words that are no padding."""
    held = []
    for one, words, n in zip(answer, x, lengths, strict=True):
        values = words[:n] @ w_v
        low, high = values.min(axis=0), values.max(axis=0)
        held.append(np.all((low - 1e-9 <= one) & (one <= high + 1e-9)))
    return all(held)


_CROSS_ATTENTION = Exercise(
    solution=cross_attention,
    specification=_cross_by_loops,
    inputs=_pairs,
    mistakes=(
        _padding_read,
        _queries_hidden,
        _turned_round,
        _after_the_softmax,
        _padding_of_zeros,
        _causal_too,
        _first_length,
        _source_asks,
        _values_of_the_target,
    ),
    rules=(_among_the_words,),
    hints=(
        "Queries from y; keys and values from x.",
        "`np.arange(x.shape[1])` numbers the keys; `lengths[:, None, None]` has a row a sentence.",
        "`np.where(mask, scores, -np.inf)` hides the padding before the softmax.",
    ),
)

# ------------------------------------------------------------------ three_masks


def three_masks(source_lengths, target_lengths, source_len, target_len):
    """Return the masks of the encoder, the decoder, and between the two."""
    source = np.arange(source_len) < source_lengths[:, None, None]
    target = np.arange(target_len) < target_lengths[:, None, None]
    encoder = np.repeat(source, source_len, axis=1)
    decoder = target & np.tri(target_len, dtype=bool)
    return encoder, decoder, np.repeat(source, target_len, axis=1)


def _masks_by_loops(source_lengths, target_lengths, source_len, target_len):
    lengths = list(zip(source_lengths.tolist(), target_lengths.tolist(), strict=True))
    sources, targets = range(source_len), range(target_len)
    encoder = [[[j < n for j in sources] for _ in sources] for n, _ in lengths]
    decoder = [[[j < m and j <= i for j in targets] for i in targets] for _, m in lengths]
    cross = [[[j < n for j in sources] for _ in targets] for n, _ in lengths]
    return np.array(encoder), np.array(decoder), np.array(cross)


def _two_lengths(rng):
    yield np.array([2]), np.array([2]), 3, 2
    yield np.array([2]), np.array([1]), 3, 3
    yield np.array([1, 5, 3]), np.array([7, 2, 5]), 5, 7
    yield rng.integers(1, 8, size=5), rng.integers(1, 8, size=5), 7, 7


def _changed(encoder=None, decoder=None, cross=None):
    """Return what changes the parts of the right answer by functions of the arguments."""
    changes = (encoder, decoder, cross)

    def apply(*arguments):
        right = three_masks(*arguments)
        return tuple(
            part if change is None else change(part, *arguments)
            for part, change in zip(right, changes, strict=True)
        )

    return apply


def _causal_encoder(*arguments):
    """The encoder is causal: its sentence is known as a whole, so each word may read all."""
    return _changed(encoder=lambda part, n, m, source, target: part & np.tri(source, dtype=bool))(
        *arguments
    )


def _decoder_sees_all(*arguments):
    """The decoder reads the future: the words after a query are those it must find."""
    return _changed(
        decoder=lambda part, n, m, source, target: np.repeat(
            np.arange(target) < m[:, None, None], target, axis=1
        )
    )(*arguments)


def _decoder_reads_padding(*arguments):
    """The decoder's own padding is not hidden: the causal mask needs `&` with it."""
    return _changed(
        decoder=lambda part, n, m, source, target: np.repeat(
            np.tri(target, dtype=bool)[None], len(m), axis=0
        )
    )(*arguments)


def _targets_padding_across(*arguments):
    """Between the two the target's lengths hid keys: the keys are the source's."""
    return _changed(
        cross=lambda part, n, m, source, target: np.repeat(
            np.arange(source) < m[:, None, None], target, axis=1
        )
    )(*arguments)


def _causal_across(*arguments):
    """The mask between the two is causal: the whole source is known to every query."""
    return _changed(
        cross=lambda part, n, m, source, target: part & np.tri(target, source, dtype=bool)
    )(*arguments)


def _queries_at_padding_hidden(*arguments):
    """The target's padding hides rows between the two: a mask hides keys, not queries."""
    return _changed(
        cross=lambda part, n, m, source, target: (
            part & (np.arange(target)[:, None] < m[:, None, None])
        )
    )(*arguments)


def _turned_axes(*arguments):
    """The last mask is (batch, source_len, target_len): the queries are the target's."""
    return _changed(cross=lambda part, *_: np.swapaxes(part, 1, 2))(*arguments)


def _true_hides(*arguments):
    """The masks are turned round: True means that a key may be read."""
    return tuple(~part for part in three_masks(*arguments))


_THREE_MASKS = Exercise(
    solution=three_masks,
    specification=_masks_by_loops,
    inputs=_two_lengths,
    mistakes=(
        _causal_encoder,
        _decoder_sees_all,
        _decoder_reads_padding,
        _targets_padding_across,
        _causal_across,
        _queries_at_padding_hidden,
        _turned_axes,
        _true_hides,
    ),
    rules=(),
    hints=(
        "Whose words are the keys? Their padding is hidden.",
        "Only in the decoder's own attention are there words that are not yet known.",
        "`np.repeat(mask, q_len, axis=1)` gives each query its row.",
    ),
)

EXERCISES = (_CROSS_ATTENTION, _THREE_MASKS)
