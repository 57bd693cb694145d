"""The exercises of docs/learn/multi-head.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import numpy as np

from attention_ref.exercises._exercise import Exercise

# ------------------------------------------------------------------- join_heads


def join_heads(x):
    """Put the heads side by side: (*batch, length, heads * d_k)."""
    *batch, heads, length, d_k = x.shape
    return np.swapaxes(x, -3, -2).reshape(*batch, length, heads * d_k)


def _join_by_loops(x):
    *batch, heads, length, d_k = x.shape
    joined = np.empty((*batch, length, heads * d_k))
    for *item, head, word, feature in np.ndindex(*x.shape):
        joined[(*item, word, head * d_k + feature)] = x[(*item, head, word, feature)]
    return joined


def _heads(rng):
    yield (np.array([[[1.0], [2.0]], [[3.0], [4.0]]]),)
    yield (np.arange(12.0).reshape(2, 3, 2),)
    for shape in ((3, 5, 2), (2, 3, 5, 7), (2, 2, 3, 5, 7)):
        yield (rng.normal(size=shape),)


def _reshaped_alone(x):
    """A reshape keeps the order of the numbers, and mixes words: swap heads and length first."""
    *batch, heads, length, d_k = x.shape
    return x.reshape(*batch, length, heads * d_k)


def _features_first(x):
    """The heads' features alternate: those of one head must stand together."""
    *batch, heads, length, d_k = x.shape
    return np.moveaxis(x, -3, -1).reshape(*batch, length, d_k * heads)


def _one_sentence_alone(x):
    """All axes are turned round, the batch too: swap heads and length alone."""
    *batch, heads, length, d_k = x.shape
    order = (*range(1, x.ndim - 1), 0, x.ndim - 1)
    return x.transpose(order).reshape(*batch, length, heads * d_k)


def _averaged(x):
    """The heads were averaged: they stand side by side, and the output matrix mixes them."""
    return x.mean(axis=-3)


def _one_below_the_other(x):
    """The heads stand one below the other, as more words: put them side by side."""
    *batch, heads, length, d_k = x.shape
    return x.reshape(*batch, heads * length, d_k)


def _heads_backwards(x):
    """The last head stands first."""
    return join_heads(np.flip(x, axis=-3))


def _words_stay_together(answer, x):
    """The numbers of a word are no longer in its row."""
    *batch, heads, length, d_k = x.shape
    words = np.swapaxes(x, -3, -2).reshape(*batch, length, heads * d_k)
    return np.array_equal(np.sort(answer), np.sort(words))


_JOIN_HEADS = Exercise(
    solution=join_heads,
    specification=_join_by_loops,
    inputs=_heads,
    mistakes=(
        _reshaped_alone,
        _features_first,
        _one_sentence_alone,
        _averaged,
        _one_below_the_other,
        _heads_backwards,
    ),
    rules=(_words_stay_together,),
    hints=(
        "A reshape can only join axes that stand side by side.",
        "Swap the axes of heads and words, then join heads and d_k.",
    ),
)

# ---------------------------------------------------------------- reorder_heads


def reorder_heads(w_q, w_k, w_v, w_o, order):
    """Return the four matrices with the three heads in another order."""
    columns = np.arange(w_q.shape[1]).reshape(3, -1)[order].ravel()
    return w_q[:, columns], w_k[:, columns], w_v[:, columns], w_o[columns]


def _reorder_by_loops(w_q, w_k, w_v, w_o, order):
    moved = tuple(np.empty_like(w) for w in (w_q, w_k, w_v, w_o))
    d_k = w_q.shape[1] // 3
    for new, old in enumerate(order):
        for i in range(d_k):
            for before, after in zip((w_q, w_k, w_v), moved[:3], strict=True):
                for row in range(len(before)):
                    after[row, new * d_k + i] = before[row, old * d_k + i]
            for column in range(w_o.shape[1]):
                moved[3][new * d_k + i, column] = w_o[old * d_k + i, column]
    return moved


def _matrices(rng):
    yield (*(np.arange(9.0).reshape(3, 3) + 10 * i for i in range(4)), [2, 0, 1])
    yield (*rng.normal(size=(4, 6, 6)), [2, 0, 1])
    yield (*rng.normal(size=(4, 12, 12)), [1, 2, 0])
    yield (*rng.normal(size=(4, 12, 12)), [0, 2, 1])


def _columns(w_q, order):
    return np.arange(w_q.shape[1]).reshape(3, -1)[order].ravel()


def _output_forgotten(w_q, w_k, w_v, w_o, order):
    """W_O stays as it was: its rows take up what each head returns, so they move along."""
    at = _columns(w_q, order)
    return w_q[:, at], w_k[:, at], w_v[:, at], w_o


def _columns_of_the_output(w_q, w_k, w_v, w_o, order):
    """The columns of W_O were moved: a head feeds its rows."""
    at = _columns(w_q, order)
    return w_q[:, at], w_k[:, at], w_v[:, at], w_o[:, at]


def _values_forgotten(w_q, w_k, w_v, w_o, order):
    """W_V stays as it was: weights would meet another head's values."""
    at = _columns(w_q, order)
    return w_q[:, at], w_k[:, at], w_v, w_o[at]


def _rows_of_all(w_q, w_k, w_v, w_o, order):
    """The rows of W_Q, W_K and W_V were moved, which are the input's features: move columns."""
    at = _columns(w_q, order)
    return w_q[at], w_k[at], w_v[at], w_o[at]


def _single_columns(w_q, w_k, w_v, w_o, order):
    """Three single columns were kept: a head is d_k columns that move together."""
    return w_q[:, order], w_k[:, order], w_v[:, order], w_o[order]


def _alternating(w_q, w_k, w_v, w_o, order):
    """A head was taken for every third column: its columns stand side by side."""
    at = np.arange(w_q.shape[1]).reshape(-1, 3)[:, order].ravel()
    return w_q[:, at], w_k[:, at], w_v[:, at], w_o[at]


def _the_other_way(w_q, w_k, w_v, w_o, order):
    """The order was read the other way: head `order[i]` goes to place i."""
    return reorder_heads(w_q, w_k, w_v, w_o, np.argsort(order))


def _output_the_other_way(w_q, w_k, w_v, w_o, order):
    """The rows of W_O were moved back: they follow the heads, in the same order."""
    at, back = _columns(w_q, order), _columns(w_q, np.argsort(order))
    return w_q[:, at], w_k[:, at], w_v[:, at], w_o[back]


def _output_unchanged(answer, w_q, w_k, w_v, w_o, order):
    """The output of attention changes: each head must keep its own four parts."""
    head = w_q.shape[1] // 3

    def through(w_v, w_o):
        parts = [w_v[:, i : i + head] @ w_o[i : i + head] for i in range(0, 3 * head, head)]
        return np.array(parts)

    return np.allclose(through(answer[2], answer[3]), through(w_v, w_o)[order])


_REORDER_HEADS = Exercise(
    solution=reorder_heads,
    specification=_reorder_by_loops,
    inputs=_matrices,
    mistakes=(
        _output_forgotten,
        _columns_of_the_output,
        _values_forgotten,
        _rows_of_all,
        _single_columns,
        _alternating,
        _the_other_way,
        _output_the_other_way,
    ),
    rules=(_output_unchanged,),
    hints=(
        "A head is d_k columns of W_Q, W_K and W_V that stand side by side.",
        "What a head returns meets d_k rows of W_O.",
        "`np.arange(3 * d_k).reshape(3, -1)` numbers the columns, a row a head.",
    ),
)

# ----------------------------------------------------------------- repeat_heads


def repeat_heads(key, heads):
    """Return the key head that each of `heads` query heads reads."""
    return np.repeat(key, heads // key.shape[-3], axis=-3)


def _repeat_by_loops(key, heads):
    *batch, kv_heads, kv_len, d_k = key.shape
    repeated = np.empty((*batch, heads, kv_len, d_k))
    for *item, head in np.ndindex(*batch, heads):
        repeated[(*item, head)] = key[(*item, head * kv_heads // heads)]
    return repeated


def _key_heads(rng):
    yield np.array([[[1.0]], [[2.0]]]), 4
    yield rng.normal(size=(3, 5, 2)), 3
    yield rng.normal(size=(3, 5, 2)), 6
    yield rng.normal(size=(2, 3, 5, 7)), 6
    yield rng.normal(size=(2, 2, 1, 3, 5)), 7


def _tiled(key, heads):
    """The heads come in turns, 0 1 0 1: neighbours share a key head, 0 0 1 1."""
    return np.concatenate([key] * (heads // key.shape[-3]), axis=-3)


def _first_alone(key, heads):
    """All query heads read key head 0: each group has its own."""
    return np.repeat(key[..., :1, :, :], heads, axis=-3)


def _heads_times_each(key, heads):
    """Each key head is repeated `heads` times: a group has heads // kv_heads query heads."""
    return np.repeat(key, heads, axis=-3)


def _first_axis(key, heads):
    """The first axis was repeated, which is the batch where there is one: heads are axis -3."""
    return np.repeat(key, heads // key.shape[-3], axis=0)


def _longer_keys(key, heads):
    """The keys were repeated, not the heads: heads are axis -3."""
    return np.repeat(key, heads // key.shape[-3], axis=-2)


def _not_repeated(key, heads):
    """There are still `kv_heads` heads: each query head needs one to read."""
    return key.copy()


def _groups_backwards(key, heads):
    """The last key head comes first."""
    return np.flip(repeat_heads(key, heads), axis=-3)


def _each_read_equally(answer, key, heads):
    """The key heads are not all read by the same number of query heads."""
    group = heads // key.shape[-3]
    equal = (answer[..., :, None, :, :] == key[..., None, :, :, :]).all(axis=(-2, -1))
    return np.all(equal.sum(axis=-2) == group)


_REPEAT_HEADS = Exercise(
    solution=repeat_heads,
    specification=_repeat_by_loops,
    inputs=_key_heads,
    mistakes=(
        _tiled,
        _first_alone,
        _heads_times_each,
        _first_axis,
        _longer_keys,
        _not_repeated,
        _groups_backwards,
    ),
    rules=(_each_read_equally,),
    hints=(
        "How many query heads read one key head?",
        "Query head h reads key head h // (heads // kv_heads).",
        "`np.repeat` puts copies side by side, `np.tile` in turns.",
    ),
)

EXERCISES = (_JOIN_HEADS, _REORDER_HEADS, _REPEAT_HEADS)
