"""The exercises of docs/learn/softmax.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref.exercises._exercise import Exercise

# ---------------------------------------------------------------------- softmax


def softmax(x, axis):
    """Return weights that sum to 1 along `axis`, for scores of any size."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _softmax_by_loops(x, axis):
    def weights(scores):
        # 1 / sum(e^(other - score)) is e^score / sum(e^other), without an overflow that counts.
        with np.errstate(over="ignore"):
            return [1 / np.sum([np.exp(other - score) for other in scores]) for score in scores]

    return np.apply_along_axis(weights, axis, x)


def _scores(rng):
    yield np.array([3.0, 6.0, 7.0]), -1
    yield np.array([[1.0, 2.0], [2.0, 5.0]]), -1
    yield np.array([[1.0, 2.0], [2.0, 5.0]]), 0
    yield np.array([1003.0, 1006.0, 1007.0]), -1
    yield np.array([[1.0, 2.0], [-998.0, -997.0]]), -1
    yield rng.normal(size=(2, 3, 5)), 1
    yield rng.normal(size=(3, 5)) * 300, -1


def _without_the_maximum(x, axis):
    """The power of a large score overflows to inf, and inf / inf is nan: subtract the maximum."""
    powers = np.exp(x)
    return powers / powers.sum(axis=axis, keepdims=True)


def _maximum_of_all(x, axis):
    """The maximum of the whole array was subtracted: where a row is far below it, every power is 0.

    Subtract the maximum of each row.
    """
    powers = np.exp(x - x.max())
    return powers / powers.sum(axis=axis, keepdims=True)


def _sum_of_all(x, axis):
    """All weights together sum to 1, and the single rows do not: sum along `axis` alone."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum()


def _always_the_last_axis(x, axis):
    """The rows sum to 1 whatever `axis` says: the columns should where it is 0."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _always_the_first_axis(x, axis):
    """The columns were normalised: they sum to 1, and where `axis` is -1 the rows should."""
    powers = np.exp(x - x.max(axis=0, keepdims=True))
    return powers / powers.sum(axis=0, keepdims=True)


def _not_divided(x, axis):
    """The powers are not divided by their sum: the largest is 1, whatever the others are."""
    return np.exp(x - x.max(axis=axis, keepdims=True))


def _divided_scores(x, axis):
    """The scores were divided by their sum, without e: negative scores get negative weights."""
    return x / x.sum(axis=axis, keepdims=True)


def _powers_of_two(x, axis):
    """The base is 2 in place of e: the ratio of two weights is 2 to the difference."""
    powers = 2 ** (x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _in_place(x, axis):
    """It changes the caller's scores in place: `x = x - ...` makes a new array, `x -= ...` none."""
    x -= x.max(axis=axis, keepdims=True)
    powers = np.exp(x)
    return powers / powers.sum(axis=axis, keepdims=True)


def _weights_are_positive(answer, x, axis):
    """A weight is negative or nan: e to any power is positive."""
    return np.all(answer >= 0)


def _weights_sum_to_one(answer, x, axis):
    """The weights do not sum to 1 along `axis`."""
    return np.allclose(answer.sum(axis=axis), 1)


_SOFTMAX = Exercise(
    solution=softmax,
    specification=_softmax_by_loops,
    inputs=_scores,
    mistakes=(
        _without_the_maximum,
        _maximum_of_all,
        _sum_of_all,
        _always_the_last_axis,
        _always_the_first_axis,
        _not_divided,
        _divided_scores,
        _powers_of_two,
        _in_place,
    ),
    rules=(_weights_are_positive, _weights_sum_to_one),
    hints=(
        "Subtracting one number from all scores of a row changes no weight.",
        "Subtract the row's maximum, exponentiate, divide by the row's sum.",
        "`keepdims=True` keeps the axis, so that each row meets its own maximum and sum.",
    ),
)

# ------------------------------------------------------------- softmax_backward


def softmax_backward(weights, grad):
    """Return the derivative for each score, from that for each weight."""
    mean = (weights * grad).sum(axis=-1, keepdims=True)
    return weights * (grad - mean)


def _by_jacobian(weights, grad):
    rows = []
    for w, g in zip(weights.tolist(), grad.tolist(), strict=True):
        keys = range(len(w))
        rows.append([sum(g[i] * w[i] * ((i == j) - w[j]) for i in keys) for j in keys])
    return np.array(rows)


def _weights_and_grad(rng):
    yield np.array([[0.25, 0.75]]), np.array([[1.0, 0.0]])
    yield np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([[1.0, 0.0], [4.0, 2.0]])
    powers = np.exp(rng.normal(size=(5, 7)))
    yield powers / powers.sum(axis=-1, keepdims=True), rng.normal(size=(5, 7))
    yield np.array([[0.0, 1.0, 0.0]]), rng.normal(size=(1, 3))


def _diagonal_alone(weights, grad):
    """Only the Jacobian's diagonal, w (1 - w), is used: a score also moves every other weight."""
    return weights * (1 - weights) * grad


def _without_the_mean(weights, grad):
    """The weighted mean of the row is not subtracted: raising all scores would raise the loss."""
    return weights * grad


def _without_the_weights(weights, grad):
    """The last factor w is missing: a key of weight 0 must get derivative 0."""
    return grad - (weights * grad).sum(axis=-1, keepdims=True)


def _plain_mean(weights, grad):
    """The plain mean of `grad` is subtracted: each key counts by its weight."""
    return weights * (grad - grad.mean(axis=-1, keepdims=True))


def _mean_over_queries(weights, grad):
    """The mean runs over the queries, axis 0: each query has a softmax of its own."""
    return weights * (grad - (weights * grad).sum(axis=0, keepdims=True))


def _mean_over_all(weights, grad):
    """One mean is taken over all queries: each query has a softmax of its own."""
    return weights * (grad - (weights * grad).sum())


def _descent(weights, grad):
    """The sign is turned round: this is the step that training takes, minus the derivative."""
    return weights * ((weights * grad).sum(axis=-1, keepdims=True) - grad)


def _rows_sum_to_zero(answer, weights, grad):
    """Each row must sum to 0, since raising all scores of a row together changes no weight."""
    return np.allclose(answer.sum(axis=-1), 0)


_BACKWARD = Exercise(
    solution=softmax_backward,
    specification=_by_jacobian,
    inputs=_weights_and_grad,
    mistakes=(
        _diagonal_alone,
        _without_the_mean,
        _without_the_weights,
        _plain_mean,
        _mean_over_queries,
        _mean_over_all,
        _descent,
    ),
    rules=(_rows_sum_to_zero,),
    hints=(
        "Write out one entry of a row of `grad` times the Jacobian.",
        "In sum over i of g_i w_i (delta_ij - w_j), delta leaves one term, and w_j factors out.",
        "What remains is w_j (g_j - m), where m is the sum of w_i g_i over the row.",
    ),
)

# ------------------------------------------------------------------------ merge


def merge(average_a, lse_a, average_b, lse_b):
    """Return the averages over all keys, from those of two halves of them."""
    top = np.maximum(lse_a, lse_b)
    a, b = np.exp(lse_a - top)[:, None], np.exp(lse_b - top)[:, None]
    return (a * average_a + b * average_b) / (a + b)


def _merge_by_loops(average_a, lse_a, average_b, lse_b):
    merged = np.empty_like(average_a)
    for i, j in np.ndindex(*average_a.shape):
        share = 1 / (1 + math.exp(lse_b[i] - lse_a[i]))
        merged[i, j] = share * average_a[i, j] + (1 - share) * average_b[i, j]
    return merged


def _halves(rng):
    yield np.array([[0.0]]), np.array([0.0]), np.array([[4.0]]), np.array([np.log(3)])
    yield np.array([[1.0]]), np.array([1000.0]), np.array([[3.0]]), np.array([1000.0])
    yield np.array([[1.0]]), np.array([-1000.0]), np.array([[3.0]]), np.array([-1001.0])
    yield np.zeros((2, 1)), np.zeros(2), np.ones((2, 1)), np.log([3.0, 1.0])
    a, b = rng.normal(size=(2, 5, 3))
    yield a, rng.normal(size=5), b, rng.normal(size=5)
    yield a, 100 * rng.normal(size=5), b, 100 * rng.normal(size=5)


def _evenly(average_a, lse_a, average_b, lse_b):
    """Both halves count the same: the one with the larger sum of powers must count more."""
    return (average_a + average_b) / 2


def _shares_of_logarithms(average_a, lse_a, average_b, lse_b):
    """The halves count by their log-sum-exps: they must by the sums, so exponentiate first."""
    a, b = lse_a[:, None], lse_b[:, None]
    return (a * average_a + b * average_b) / (a + b)


def _overflow(average_a, lse_a, average_b, lse_b):
    """The power of a large log-sum-exp overflows, and inf / inf is nan: subtract the larger."""
    a, b = np.exp(lse_a)[:, None], np.exp(lse_b)[:, None]
    return (a * average_a + b * average_b) / (a + b)


def _swapped(average_a, lse_a, average_b, lse_b):
    """The shares are swapped: the first half is counted by the sum of the second."""
    return merge(average_b, lse_a, average_a, lse_b)


def _only_added(average_a, lse_a, average_b, lse_b):
    """The averages are added: their two shares must sum to 1."""
    return average_a + average_b


def _one_share_for_all(average_a, lse_a, average_b, lse_b):
    """The shares are taken over all queries together: each query has two of its own."""
    shares = softmax(np.stack([lse_a, lse_b]), axis=None)
    return shares[0][:, None] * average_a + shares[1][:, None] * average_b


def _sum_left_out(average_a, lse_a, average_b, lse_b):
    """The larger half counts fully and the smaller on top of it: divide by the sum of both."""
    top = np.maximum(lse_a, lse_b)
    return np.exp(lse_a - top)[:, None] * average_a + np.exp(lse_b - top)[:, None] * average_b


def _between_the_halves(answer, average_a, lse_a, average_b, lse_b):
    """A result lies outside its two halves: their shares are positive and sum to 1."""
    low, high = np.minimum(average_a, average_b), np.maximum(average_a, average_b)
    return np.all((low - 1e-9 <= answer) & (answer <= high + 1e-9))


_MERGE = Exercise(
    solution=merge,
    specification=_merge_by_loops,
    inputs=_halves,
    mistakes=(
        _evenly,
        _shares_of_logarithms,
        _overflow,
        _swapped,
        _only_added,
        _one_share_for_all,
        _sum_left_out,
    ),
    rules=(_between_the_halves,),
    hints=(
        "A half's averages were divided by its sum of powers, e to its log-sum-exp.",
        "Each half counts by its sum over both sums, as in a softmax of two scores.",
        "Subtract the larger log-sum-exp before you exponentiate.",
    ),
)

EXERCISES = (_SOFTMAX, _BACKWARD, _MERGE)
