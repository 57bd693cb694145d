"""The exercises of docs/learn/weighted-average.md."""

# Answers are written as on the page, without types and with the matrices' letters.
# ruff: noqa: N803, N806
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref.exercises._exercise import Exercise

# -------------------------------------------------------------------------- mix


def mix(counts, V):
    """Return the average of the rows of V, for each row of counts."""
    W = counts / counts.sum(axis=1, keepdims=True)
    return W @ V


def _mix_by_loops(counts, V):
    return np.array(
        [
            [
                math.fsum(map(math.prod, zip(row, entry, strict=True))) / math.fsum(row)
                for entry in V.T.tolist()
            ]
            for row in counts.tolist()
        ]
    )


def _rows(rng):
    yield np.array([[2.0, 3.0]]), np.array([[10.0], [20.0]])
    yield np.array([[2.0, 3.0], [1.0, 0.0]]), np.array([[10.0, 1.0], [20.0, 2.0]])
    yield np.array([[1.0, 3.0, 0.0], [1.0, 1.0, 2.0]]), np.array([[8.0], [0.0], [4.0]])
    for q_len in (5, 7):
        yield rng.uniform(0.1, 9, size=(q_len, 7)), rng.normal(size=(7, 3))


def _columns(counts, V):
    """The columns were divided by their sums: the weights of each output, a row, sum to 1."""
    return counts / counts.sum(axis=0) @ V


def _no_keepdims(counts, V):
    """Column j was divided by the sum of row j: keep the axis of the sums, keepdims=True."""
    return counts / counts.sum(axis=1) @ V


def _all_together(counts, V):
    """All counts were divided by one sum: each row is divided by its own."""
    return counts / counts.sum() @ V


def _sums(counts, V):
    """These are sums, not averages: divide each row of counts by its sum."""
    return counts @ V


def _by_number(counts, V):
    """The sums were divided by the number of values: divide by the sum of the counts."""
    return counts @ V / counts.shape[1]


def _plain(counts, V):
    """All values count alike: the counts are not used."""
    return np.repeat(V.mean(axis=0, keepdims=True), len(counts), axis=0)


def _largest(counts, V):
    """The value that counts most came alone: the others have their weights too."""
    return V[counts.argmax(axis=1)]


def _turned(counts, V):
    """What counts more was made to count less: divide the counts themselves by their sum."""
    W = counts.sum(axis=1, keepdims=True) - counts
    return W / W.sum(axis=1, keepdims=True) @ V


def _between(answer, counts, V):
    """An average lies outside the values."""
    return np.all((V.min(axis=0) - 1e-9 <= answer) & (answer <= V.max(axis=0) + 1e-9))


_MIX = Exercise(
    solution=mix,
    specification=_mix_by_loops,
    inputs=_rows,
    mistakes=(
        _columns,
        _no_keepdims,
        _all_together,
        _sums,
        _by_number,
        _plain,
        _largest,
        _turned,
    ),
    rules=(_between,),
    hints=(
        "First make weights of the counts: each row must sum to 1.",
        "`counts.sum(axis=1, keepdims=True)` has the sums as a column.",
    ),
)

# ------------------------------------------------------------------------- join


def join(average_a, count_a, average_b, count_b):
    """Return the average of two groups from those of each and their sizes."""
    total = count_a * average_a + count_b * average_b
    return total / (count_a + count_b)


def _join_by_listing(average_a, count_a, average_b, count_b):
    everyone = [average_a.tolist()] * count_a + [average_b.tolist()] * count_b
    return np.array([math.fsum(entry) / len(everyone) for entry in zip(*everyone, strict=True)])


def _groups(rng):
    yield np.array([10.0]), 2, np.array([20.0]), 3
    yield np.array([10.0, 0.0]), 1, np.array([20.0, 4.0]), 3
    yield np.array([10.0, 4.0]), 5, np.array([20.0, 8.0]), 0
    for count_a, count_b in ((7, 2), (3, 11)):
        yield rng.normal(size=3), count_a, rng.normal(size=3), count_b


def _alike(average_a, count_a, average_b, count_b):
    """Both groups count alike: a group of three must count more than one of two."""
    return (average_a + average_b) / 2


def _crossed(average_a, count_a, average_b, count_b):
    """Each average was multiplied by the size of the other group."""
    return join(average_a, count_b, average_b, count_a)


def _sum_of_all(average_a, count_a, average_b, count_b):
    """This is the sum of all: divide it by how many they are."""
    return count_a * average_a + count_b * average_b


def _averages_as_sums(average_a, count_a, average_b, count_b):
    """The averages were added as if they were sums: multiply each by its size first."""
    return (average_a + average_b) / (count_a + count_b)


def _larger_group(average_a, count_a, average_b, count_b):
    """The average of the larger group came alone: the smaller one counts too."""
    return average_a if count_a > count_b else average_b


def _halved(average_a, count_a, average_b, count_b):
    """The sum of all was divided by 2, the number of groups: divide by how many they are."""
    return (count_a * average_a + count_b * average_b) / 2


def _squared(average_a, count_a, average_b, count_b):
    """The sizes count twice over, as squares: multiply each average by its size once."""
    return join(average_a, count_a**2, average_b, count_b**2)


def _in_between(answer, average_a, count_a, average_b, count_b):
    """The average of all lies outside the averages of the groups."""
    low, high = np.minimum(average_a, average_b), np.maximum(average_a, average_b)
    return np.all((low - 1e-9 <= answer) & (answer <= high + 1e-9))


_JOIN = Exercise(
    solution=join,
    specification=_join_by_listing,
    inputs=_groups,
    mistakes=(
        _alike,
        _crossed,
        _sum_of_all,
        _averages_as_sums,
        _larger_group,
        _halved,
        _squared,
    ),
    rules=(_in_between,),
    hints=(
        "An average times the size of its group is the sum of the group.",
        "Add the two sums, and divide by the two sizes together.",
    ),
)

EXERCISES = (_MIX, _JOIN)
