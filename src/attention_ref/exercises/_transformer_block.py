"""The exercises of docs/learn/transformer-block.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref.exercises._exercise import Exercise

# ------------------------------------------------------------------- layer_norm


def layer_norm(x, gain, shift):
    """Return `x` normalised (epsilon 1e-5), times gain, plus shift."""
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = (centered * centered).mean(axis=-1, keepdims=True)
    return gain * centered / np.sqrt(variance + 1e-5) + shift


def _norm_by_loops(x, gain, shift):
    normalised = np.empty(x.shape)
    for at in np.ndindex(*x.shape[:-1]):
        row = x[at].tolist()
        mean = math.fsum(row) / len(row)
        variance = math.fsum((value - mean) ** 2 for value in row) / len(row)
        for j, value in enumerate(row):
            normalised[(*at, j)] = gain[j] * (value - mean) / math.sqrt(variance + 1e-5) + shift[j]
    return normalised


def _rows(rng):
    yield np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2)
    yield np.array([[1.0, 3.0], [30.0, 10.0]]), np.array([2.0, 1.0]), np.array([0.0, 5.0])
    yield np.array([[7.0, 7.0, 7.0]]), np.ones(3), np.zeros(3)
    yield np.array([[1e-3, 3e-3, -1e-3]]), np.ones(3), np.zeros(3)
    yield rng.normal(size=(5, 3)) + 100, rng.normal(size=3), rng.normal(size=3)
    yield rng.normal(size=(2, 3, 5)), rng.normal(size=5), rng.normal(size=5)


def _over_the_positions(x, gain, shift):
    """The mean runs over the positions, axis -2, where it sees the future: take axis -1."""
    centered = x - x.mean(axis=-2, keepdims=True)
    variance = (centered * centered).mean(axis=-2, keepdims=True)
    return gain * centered / np.sqrt(variance + 1e-5) + shift


def _over_everything(x, gain, shift):
    """One mean and one variance were taken for all positions: each position has its own."""
    centered = x - x.mean()
    return gain * centered / np.sqrt((centered * centered).mean() + 1e-5) + shift


def _no_epsilon(x, gain, shift):
    """Epsilon is missing: equal features are divided by zero."""
    return gain * (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True) + shift


def _epsilon_outside(x, gain, shift):
    """Epsilon was added to the standard deviation: add it to the variance, inside the root."""
    centered = x - x.mean(axis=-1, keepdims=True)
    return gain * centered / (x.std(axis=-1, keepdims=True) + 1e-5) + shift


def _of_a_sample(x, gain, shift):
    """The variance was divided by d - 1: it is that of the features themselves, so by d."""
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1, ddof=1, keepdims=True)
    return gain * centered / np.sqrt(variance + 1e-5) + shift


def _by_the_variance(x, gain, shift):
    """The features were divided by their variance: the root is missing."""
    centered = x - x.mean(axis=-1, keepdims=True)
    return gain * centered / (x.var(axis=-1, keepdims=True) + 1e-5) + shift


def _not_centered(x, gain, shift):
    """The mean was not subtracted: this is nearer to an RMS norm."""
    return gain * x / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5) + shift


def _gain_of_the_shift(x, gain, shift):
    """The gain multiplies the shift too: add the shift last."""
    return gain * (layer_norm(x, 1.0, 0.0) + shift)


def _gain_plus_one(x, gain, shift):
    """The gain was taken for what is added to 1, as in some models: multiply by it alone."""
    return layer_norm(x, 1.0 + gain, shift)


def _mean_of_the_shift(answer, x, gain, shift):
    """Without gain and shift, a row has not the mean 0."""
    plain = (answer - shift) / gain
    return np.allclose(plain.mean(axis=-1), 0.0)


_LAYER_NORM = Exercise(
    solution=layer_norm,
    specification=_norm_by_loops,
    inputs=_rows,
    mistakes=(
        _over_the_positions,
        _over_everything,
        _no_epsilon,
        _epsilon_outside,
        _of_a_sample,
        _by_the_variance,
        _not_centered,
        _gain_of_the_shift,
        _gain_plus_one,
    ),
    rules=(_mean_of_the_shift,),
    hints=(
        "Mean and variance run over the last axis; `keepdims=True` lets them divide each row.",
        "The variance is the mean of the squared differences from the mean.",
        "`gain * centered / np.sqrt(variance + 1e-5) + shift`.",
    ),
)

# --------------------------------------------------------------- pre_norm_block


def pre_norm_block(x, norm, attend, feed):
    """Return the output of a pre-norm block made of these three functions."""
    x = x + attend(norm(x))
    return x + feed(norm(x))


def _unit(x):
    return x / np.sqrt((x * x).sum(axis=-1, keepdims=True) + 1e-5)


def _mean_so_far(x):
    return np.cumsum(x, axis=-2) / np.arange(1, x.shape[-2] + 1)[:, None]


def _positive(x):
    return np.maximum(0.0, x[..., ::-1])


def _block_by_positions(x, norm, attend, feed):
    """Row by row, by the words: what each half adds to a position, from normalised numbers."""
    found = attend(norm(x.copy()))
    between = np.stack([row + more for row, more in zip(x, found, strict=True)])
    return np.stack([row + feed(norm(row[None]))[0] for row in between])


def _blocks(rng):
    yield np.array([[3.0, 4.0]]), _unit, _mean_so_far, _positive
    yield np.array([[3.0, 4.0], [0.0, -2.0]]), _unit, _mean_so_far, _positive
    yield rng.normal(size=(5, 3)), _unit, _mean_so_far, _positive
    yield rng.normal(size=(7, 3)) * 10, _unit, _mean_so_far, np.tanh


def _post_norm(x, norm, attend, feed):
    """The sums were normalised: this is the post-norm block."""
    x = norm(x + attend(x))
    return norm(x + feed(x))


def _from_the_normalised(x, norm, attend, feed):
    """The residual starts from the normalised numbers: add to x itself."""
    normal = norm(x)
    x = normal + attend(normal)
    normal = norm(x)
    return normal + feed(normal)


def _no_residual(x, norm, attend, feed):
    """Nothing is added: the residual connections are missing."""
    return feed(norm(attend(norm(x))))


def _side_by_side(x, norm, attend, feed):
    """The second half read the block's input: it reads what the first half has made."""
    return x + attend(norm(x)) + feed(norm(x))


def _one_norm(x, norm, attend, feed):
    """The second half read numbers that are not normalised: each half has a norm of its own."""
    x = x + attend(norm(x))
    return x + feed(x)


def _second_residual_from_the_input(x, norm, attend, feed):
    """The second half was added to the block's input: what attention found is lost."""
    return x + feed(norm(x + attend(norm(x))))


def _feeds_first(x, norm, attend, feed):
    """The halves stand in the other order: attention comes first."""
    x = x + feed(norm(x))
    return x + attend(norm(x))


def _norm_at_the_end(x, norm, attend, feed):
    """The output was normalised: the last norm stands behind the last block, once."""
    return norm(pre_norm_block(x, norm, attend, feed))


def _what_came_is_kept(answer, x, norm, attend, feed):
    """What is left after the second half is taken away is not x plus the first half."""
    between = x + attend(norm(x))
    return np.allclose(answer - between, feed(norm(between)))


_PRE_NORM_BLOCK = Exercise(
    solution=pre_norm_block,
    specification=_block_by_positions,
    inputs=_blocks,
    mistakes=(
        _post_norm,
        _from_the_normalised,
        _no_residual,
        _side_by_side,
        _one_norm,
        _second_residual_from_the_input,
        _feeds_first,
        _norm_at_the_end,
    ),
    rules=(_what_came_is_kept,),
    hints=(
        "Each half is: what came, plus a function of what came, normalised.",
        "The second half takes what the first one returns for its x.",
    ),
)

EXERCISES = (_LAYER_NORM, _PRE_NORM_BLOCK)
