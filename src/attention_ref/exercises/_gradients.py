"""The exercises of docs/learn/gradients.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref.exercises._exercise import Exercise

# --------------------------------------------------------- shared_value_gradient


def shared_value_gradient(weights, d_output):
    """Return the gradient, (kv_len, d_v), of values that heads share."""
    return (weights.mT @ d_output).sum(axis=0)


def _reader_by_reader(weights, d_output):
    heads, q_len, kv_len = weights.shape
    d_v = d_output.shape[-1]
    gradient = [[0.0] * d_v for _ in range(kv_len)]
    for h, i, j, c in np.ndindex(heads, q_len, kv_len, d_v):
        gradient[j][c] += float(weights[h, i, j]) * float(d_output[h, i, c])
    return np.array(gradient)


def _softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _heads_of_weights(rng):
    yield np.array([[[0.25, 0.75], [1.0, 0.0]]]), np.array([[[4.0], [2.0]]])
    yield np.array([[[0.5, 0.5]], [[1.0, 0.0]]]), np.array([[[2.0]], [[3.0]]])
    yield _softmax(rng.normal(size=(2, 3, 5))), rng.normal(size=(2, 3, 7))
    yield _softmax(rng.normal(size=(3, 5, 5))), rng.normal(size=(3, 5, 2))


def _not_transposed(weights, d_output):
    """The weights are not transposed: the value of key j gathers column j of the weights."""
    return (weights @ d_output).sum(axis=0)


def _one_gradient_a_head(weights, d_output):
    """One gradient came for each head: what all heads read, gathers from all of them."""
    return weights.mT @ d_output


def _mean_of_heads(weights, d_output):
    """The heads are averaged: each moves the loss for itself, so their gradients add."""
    return (weights.mT @ d_output).mean(axis=0)


def _first_head(weights, d_output):
    """Only head 0 is counted: the other heads read the values too."""
    return weights[0].T @ d_output[0]


def _summed_before(weights, d_output):
    """The heads are summed before the product: then the weights of one meet another's output."""
    return weights.sum(axis=0).T @ d_output.sum(axis=0)


def _columns_normalised(weights, d_output):
    """The columns are divided by their sums: a value that many read has a larger gradient."""
    columns = weights.sum(axis=-2, keepdims=True)
    return ((weights / np.where(columns == 0, 1, columns)).mT @ d_output).sum(axis=0)


def _total_is_kept(answer, weights, d_output):
    """Summed over the keys it must equal the summed output gradient: weights of a row sum to 1."""
    return np.allclose(answer.sum(axis=0), d_output.sum(axis=(0, 1)))


_SHARED_VALUE = Exercise(
    solution=shared_value_gradient,
    specification=_reader_by_reader,
    inputs=_heads_of_weights,
    mistakes=(
        _not_transposed,
        _one_gradient_a_head,
        _mean_of_heads,
        _first_head,
        _summed_before,
        _columns_normalised,
    ),
    rules=(_total_is_kept,),
    hints=(
        "For one head it is the transposed weights times the gradient of the output.",
        "`weights.mT` transposes each head; then sum over the heads.",
    ),
)

# --------------------------------------------------------------------- row_means


def row_means(output, d_output):
    """Return the sum over keys of A_ij dA_ij, for each query."""
    return (output * d_output).sum(axis=-1)


def _feature_by_feature(output, d_output):
    pairs = zip(output.tolist(), d_output.tolist(), strict=True)
    return np.array([math.fsum(o * d for o, d in zip(*rows, strict=True)) for rows in pairs])


def _outputs_and_gradients(rng):
    yield np.array([[2.0]]), np.array([[3.0]])
    yield np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 1.0], [0.0, 2.0]])
    yield rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    yield rng.normal(size=(7, 7)), rng.normal(size=(7, 7))


def _over_queries(output, d_output):
    """The sum runs over the queries: each has a mean of its own, so sum over the features."""
    return (output * d_output).sum(axis=0)


def _one_for_all(output, d_output):
    """All queries got one mean: each has a softmax, and so a mean, of its own."""
    return np.full(len(output), (output * d_output).sum())


def _divided_by_d_v(output, d_output):
    """It is divided by d_v: the weights of a row sum to 1, so its mean is a plain sum here."""
    return (output * d_output).mean(axis=-1)


def _between_queries(output, d_output):
    """Each query's output meets every query's gradient: only its own counts."""
    return output @ d_output.T


def _with_an_axis(output, d_output):
    """An axis of length 1 is left: return one number a query, (q_len,)."""
    return (output * d_output).sum(axis=-1, keepdims=True)


def _gradient_alone(output, d_output):
    """The output is missing: it holds the weights, which the mean needs."""
    return d_output.sum(axis=-1)


def _output_squared(output, d_output):
    """The gradient is missing: this is the output's squared length."""
    return (output**2).sum(axis=-1)


def _total_of_all(answer, output, d_output):
    """The queries together must have the sum of all products of an output and its gradient."""
    return np.isclose(answer.sum(), (output * d_output).sum())


_ROW_MEANS = Exercise(
    solution=row_means,
    specification=_feature_by_feature,
    inputs=_outputs_and_gradients,
    mistakes=(
        _over_queries,
        _one_for_all,
        _divided_by_d_v,
        _between_queries,
        _with_an_axis,
        _gradient_alone,
        _output_squared,
    ),
    rules=(_total_of_all,),
    hints=(
        "Write dA_ij as the product of row i of dO and row j of V.",
        "In sum over j and c of A_ij dO_ic V_jc, sum over j first: what is sum_j A_ij V_jc?",
        "It is O_ic.",
    ),
)

# ---------------------------------------------------------------- query_gradient


def query_gradient(weights, key, value, d_output):
    """Return the gradient of the query; scores are over sqrt(d_k)."""
    d_weights = d_output @ value.T
    mean = (weights * d_weights).sum(axis=-1, keepdims=True)
    d_scores = weights * (d_weights - mean)
    return d_scores @ key / np.sqrt(key.shape[-1])


def _by_complex_steps(weights, key, value, d_output):
    # The derivative of f is the imaginary part of f(x + ih) / h: nothing is subtracted.
    gradient = np.empty((len(weights), key.shape[-1]))
    for place in np.ndindex(*gradient.shape):
        step = np.zeros(gradient.shape, complex)
        step[place] = 1e-30j
        powers = weights * np.exp(step @ key.T / math.sqrt(key.shape[-1]))
        output = powers @ value / powers.sum(axis=-1, keepdims=True)
        gradient[place] = (d_output * output).sum().imag / 1e-30
    return gradient


def _weights_and_the_rest(rng):
    even = np.array([[0.5, 0.5]])
    yield even, np.array([[1.0], [-1.0]]), np.array([[4.0], [2.0]]), np.array([[1.0]])
    yield even, np.eye(2), np.array([[1.0], [5.0]]), np.array([[2.0]])
    keys, values = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    yield _softmax(rng.normal(size=(5, 7))), keys, values, rng.normal(size=(5, 2))
    yield _softmax(rng.normal(size=(5, 5))), *rng.normal(size=(3, 5, 5))
    yield np.eye(5), *rng.normal(size=(3, 5, 5))


def _mean_kept(weights, key, value, d_output):
    """The weighted mean of each row of dA is not subtracted: a row of dS must sum to 0."""
    return (weights * (d_output @ value.T)) @ key / np.sqrt(key.shape[-1])


def _plain_mean(weights, key, value, d_output):
    """The plain mean of each row of dA is subtracted: each key counts by its weight."""
    d_weights = d_output @ value.T
    d_scores = weights * (d_weights - d_weights.mean(axis=-1, keepdims=True))
    return d_scores @ key / np.sqrt(key.shape[-1])


def _without_the_scale(weights, key, value, d_output):
    """The scale is missing: the scores were divided by the square root of d_k."""
    return query_gradient(weights, key, value, d_output) * np.sqrt(key.shape[-1])


def _scaled_by_d_v(weights, key, value, d_output):
    """It is divided by the square root of d_v: the scale of the scores belongs to d_k."""
    unscaled = _without_the_scale(weights, key, value, d_output)
    return unscaled / np.sqrt(value.shape[-1])


def _without_the_softmax(weights, key, value, d_output):
    """The softmax is left out: dA is handed to the key as if it were dS."""
    return d_output @ value.T @ key / np.sqrt(key.shape[-1])


def _weights_left_out(weights, key, value, d_output):
    """The factor A is missing in dS: a key of weight 0 must pass nothing."""
    d_weights = d_output @ value.T
    mean = (weights * d_weights).sum(axis=-1, keepdims=True)
    return (d_weights - mean) @ key / np.sqrt(key.shape[-1])


def _descends(weights, key, value, d_output):
    """The sign is turned round: this is the step that training takes, minus the gradient."""
    return -query_gradient(weights, key, value, d_output)


def _sure_queries_get_nothing(answer, weights, key, value, d_output):
    """Where one key has all the weight, nothing may pass to the query."""
    certain = weights.max(axis=-1) == 1
    return np.allclose(answer[certain], 0)


_QUERY_GRADIENT = Exercise(
    solution=query_gradient,
    specification=_by_complex_steps,
    inputs=_weights_and_the_rest,
    mistakes=(
        _mean_kept,
        _plain_mean,
        _without_the_scale,
        _scaled_by_d_v,
        _without_the_softmax,
        _weights_left_out,
        _descends,
    ),
    rules=(_sure_queries_get_nothing,),
    hints=(
        "Go back one stage at a time: dA, then dS, then dQ.",
        "dA is `d_output @ value.T`; dS is A (dA - mean), row by row.",
        "dQ is dS times the keys, times the scale.",
    ),
)

EXERCISES = (_SHARED_VALUE, _ROW_MEANS, _QUERY_GRADIENT)
