"""The exercises of docs/learn/reading-heads.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import numpy as np

from attention_ref.exercises._exercise import Exercise

# ------------------------------------------------------------------- sink_share


def sink_share(weights):
    """Return the share of heads that give key 0 over half their weight."""
    first = weights[..., 0].mean(axis=-1)
    return (first > 0.5).mean()


def _sink_share_by_loops(weights):
    layers, heads, queries, _ = weights.shape
    sinks = 0
    for layer, head in np.ndindex(layers, heads):
        given = sum(weights[layer, head, query, 0] for query in range(queries))
        sinks += given > queries / 2
    return sinks / (layers * heads)


def _maps(rng):
    yield (np.array([[[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.2, 0.8]]]]),)
    yield (np.array([[[[0.7, 0.3], [0.7, 0.3]]], [[[0.2, 0.8], [0.4, 0.6]]]]),)
    # A causal map of two queries: that on the first is 1, whatever the head does.
    yield (np.array([[[[1.0, 0.0], [0.3, 0.7]], [[1.0, 0.0], [0.0, 1.0]]]]),)
    yield (np.array([[[[0.5, 0.5]], [[0.5, 0.5]], [[0.6, 0.4]]]]),)
    for shape in ((2, 3, 5, 5), (3, 5, 7, 7), (5, 7, 3, 11)):
        draws = rng.exponential(size=shape)
        draws[..., 0] *= rng.exponential(3.0 * shape[-1], size=shape[:-1])
        yield (draws / draws.sum(axis=-1, keepdims=True),)


def _any_query(weights):
    """A head counts if one query gives key 0 over half its weight: take the mean of all queries."""
    return (weights[..., 0].max(axis=-1) > 0.5).mean()


def _every_query(weights):
    """A head counts only if every query gives key 0 over half: take the mean of all queries."""
    return (weights[..., 0].min(axis=-1) > 0.5).mean()


def _last_query(weights):
    """Only the last query is asked: take the mean of all queries."""
    return (weights[..., -1, 0] > 0.5).mean()


def _query_zero(weights):
    """What query 0 gives was taken, not what key 0 gets: keys are the last axis."""
    return (weights[..., 0, :].mean(axis=-1) > 0.5).mean()


def _rows_counted(weights):
    """Queries were counted, not heads: take a head's mean before you compare it with a half."""
    return (weights[..., 0] > 0.5).mean()


def _number_of_heads(weights):
    """It is the number of heads: divide by how many there are."""
    return float((weights[..., 0].mean(axis=-1) > 0.5).sum())


def _heads_averaged(weights):
    """The heads were averaged first, which leaves one map a layer: ask each head."""
    return (weights.mean(axis=1)[..., 0].mean(axis=-1) > 0.5).mean()


def _mean_weight(weights):
    """It is the mean weight on key 0, not the share of heads where that is over a half."""
    return weights[..., 0].mean()


def _a_half_counts(weights):
    """A head of exactly one half was counted: over half is more."""
    return (weights[..., 0].mean(axis=-1) >= 0.5).mean()


def _share_of_heads(answer, weights):
    """The answer times the number of heads must be a whole number of heads."""
    count = answer * weights.shape[0] * weights.shape[1]
    return abs(count - np.rint(count)) < 1e-9 and 0 <= answer <= 1


_SINK_SHARE = Exercise(
    solution=sink_share,
    specification=_sink_share_by_loops,
    inputs=_maps,
    mistakes=(
        _any_query,
        _every_query,
        _last_query,
        _query_zero,
        _rows_counted,
        _number_of_heads,
        _heads_averaged,
        _mean_weight,
        _a_half_counts,
    ),
    rules=(_share_of_heads,),
    hints=(
        "Key 0 is the first column of each map: `weights[..., 0]`.",
        "Take the mean over the queries, one number a head, and compare it with a half.",
    ),
)

# ------------------------------------------------------------------ score_heads


def score_heads(weights, partners):
    """Return for each head how often a token reads its partner most."""
    asked = np.flatnonzero(partners >= 0)
    read = weights[:, :, asked].argmax(axis=-1)
    return (read == partners[asked]).mean(axis=-1)


def _score_by_loops(weights, partners):
    layers, heads, *_ = weights.shape
    pairs = [(one, other) for one, other in enumerate(partners.tolist()) if other >= 0]
    scores = np.zeros((layers, heads))
    for layer, head in np.ndindex(layers, heads):
        for token, partner in pairs:
            row = weights[layer, head, token].tolist()
            scores[layer, head] += (row.index(max(row)) == partner) / len(pairs)
    return scores


def _maps_and_partners(rng):
    yield np.array([[[[0.2, 0.8], [0.6, 0.4]]]]), np.array([1, -1])
    yield np.array([[[[0.2, 0.8], [0.6, 0.4]], [[0.9, 0.1], [0.7, 0.3]]]]), np.array([1, 0])
    for layers, heads, length in ((2, 3, 5), (3, 2, 7), (3, 5, 11)):
        partners = rng.permutation(length)
        partners[rng.permutation(length)[: length // 3]] = -1
        weights = rng.dirichlet(np.ones(length), size=(layers, heads, length))
        weights[rng.random((layers, heads)) < 0.5, :, 0] += 1.0
        likely = rng.random((layers, heads, length)) < 0.5
        likely &= partners >= 0
        *place, token = np.nonzero(likely)
        weights[(*place, token, partners[token])] += 2.0
        yield weights / weights.sum(axis=-1, keepdims=True), partners


def _all_tokens(weights, partners):
    """Tokens without a partner count as missed: ask only those whose partner is 0 or more."""
    return (weights.argmax(axis=-1) == partners).mean(axis=-1)


def _number_found(weights, partners):
    """It is the number of tokens that find their partner: divide by how many are asked."""
    return score_heads(weights, partners) * (partners >= 0).sum()


def _without_position_zero(weights, partners):
    """Partners at position 0 are left out: -1 alone means none."""
    asked = np.flatnonzero(partners > 0)
    if not len(asked):
        return np.zeros(weights.shape[:2])
    read = weights[:, :, asked].argmax(axis=-1)
    return (read == partners[asked]).mean(axis=-1)


def _the_wrong_way(weights, partners):
    """It asks which query reads a key most: along the last axis, which key a query reads most."""
    asked = np.flatnonzero(partners >= 0)
    read = weights[..., asked].argmax(axis=-2)
    return (read == partners[asked]).mean(axis=-1)


def _mean_weight_on_partner(weights, partners):
    """It is the mean weight on the partner: ask whether the partner has the largest."""
    asked = np.flatnonzero(partners >= 0)
    return weights[:, :, asked, partners[asked]].mean(axis=-1)


def _one_for_all_heads(weights, partners):
    """Every head of a layer has the same score: it was taken after the heads were averaged."""
    mean = weights.mean(axis=1, keepdims=True)
    return np.repeat(score_heads(mean, partners), weights.shape[1], axis=1)


def _more_than_half(weights, partners):
    """The partner must have more than half the weight to count: the largest is enough."""
    asked = np.flatnonzero(partners >= 0)
    return (weights[:, :, asked, partners[asked]] > 0.5).mean(axis=-1)


def _whole_numbers_found(answer, weights, partners):
    """A score is a number of tokens out of those that have a partner."""
    found = answer * (partners >= 0).sum()
    return np.allclose(found, np.rint(found)) and np.all((answer >= 0) & (answer <= 1))


_SCORE_HEADS = Exercise(
    solution=score_heads,
    specification=_score_by_loops,
    inputs=_maps_and_partners,
    mistakes=(
        _all_tokens,
        _number_found,
        _without_position_zero,
        _the_wrong_way,
        _mean_weight_on_partner,
        _one_for_all_heads,
        _more_than_half,
    ),
    rules=(_whole_numbers_found,),
    hints=(
        "`np.flatnonzero(partners >= 0)` are the tokens that are asked.",
        "The key that a query reads most is the `argmax` along the last axis.",
    ),
)

# ------------------------------------------------------------------ handed_over


def handed_over(weights, value, w_o):
    """Return the length of what each key adds to each query's output."""
    return weights * np.linalg.norm(value @ w_o, axis=-1)


def _handed_over_by_loops(weights, value, w_o):
    lengths = np.empty_like(weights)
    for query, key in np.ndindex(*weights.shape):
        part = [
            sum(weights[query, key] * value[key, d] * w_o[d, column] for d in range(len(w_o)))
            for column in range(w_o.shape[1])
        ]
        lengths[query, key] = sum(number**2 for number in part) ** 0.5
    return lengths


def _one_head(rng):
    yield np.array([[0.5, 0.5]]), np.array([[3.0], [0.0]]), np.array([[0.0, 2.0]])
    yield np.array([[0.9, 0.1]]), np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[1.0, 0], [0, 2]])
    for queries, keys, d_v, d_model in ((3, 3, 2, 5), (3, 5, 2, 7), (5, 7, 3, 11)):
        weights = rng.dirichlet(np.ones(keys), size=queries)
        yield weights, rng.normal(size=(keys, d_v)), rng.normal(size=(d_v, d_model))


def _values_alone(weights, value, w_o):
    """The output matrix is left out: what is added to the output is the value times W_O."""
    return weights * np.linalg.norm(value, axis=-1)


def _weights_alone(weights, value, w_o):
    """The values are left out: a key of large weight and short value adds little."""
    return weights.copy()


def _unweighted(weights, value, w_o):
    """The weights are left out: a query takes a key's value times its weight."""
    return np.ones_like(weights) * np.linalg.norm(value @ w_o, axis=-1)


def _squared(weights, value, w_o):
    """The square root is missing: a length is the root of the sum of squares."""
    return weights * ((value @ w_o) ** 2).sum(axis=-1)


def _shares(weights, value, w_o):
    """The rows were divided by their sums: these are shares, and the lengths were asked for."""
    lengths = weights * np.linalg.norm(value @ w_o, axis=-1)
    return lengths / lengths.sum(axis=-1, keepdims=True)


def _sum_of_sizes(weights, value, w_o):
    """The sizes of the features were added: a length is the root of the sum of squares."""
    return weights * np.abs(value @ w_o).sum(axis=-1)


def _product_of_lengths(weights, value, w_o):
    """The length of the value was multiplied by that of W_O: multiply first, then measure."""
    return weights * np.linalg.norm(value, axis=-1) * np.linalg.norm(w_o)


def _no_longer_than_the_value(answer, weights, value, w_o):
    """A part is longer than the key's whole value times W_O: a weight is at most 1."""
    whole = np.linalg.norm(value @ w_o, axis=-1)
    return np.all((answer >= 0) & (answer <= whole * (1 + 1e-9)))


_HANDED_OVER = Exercise(
    solution=handed_over,
    specification=_handed_over_by_loops,
    inputs=_one_head,
    mistakes=(
        _values_alone,
        _weights_alone,
        _unweighted,
        _squared,
        _shares,
        _sum_of_sizes,
        _product_of_lengths,
    ),
    rules=(_no_longer_than_the_value,),
    hints=(
        "Key j adds its weight times its value times W_O to the output.",
        "A weight is positive, so it can be taken out of the length.",
    ),
)

EXERCISES = (_SINK_SHARE, _SCORE_HEADS, _HANDED_OVER)
