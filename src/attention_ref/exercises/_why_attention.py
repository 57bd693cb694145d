"""The exercises of docs/learn/why-attention.md."""

# Answers are written as on the page, without types.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

import math

import numpy as np

from attention_ref.exercises._exercise import Exercise

# ----------------------------------------------------------------------- tf_idf


def tf_idf(counts):
    """Return the share of each word in its text, times log(N / n_t)."""
    share = counts / counts.sum(axis=1, keepdims=True)
    return share * np.log(len(counts) / (counts > 0).sum(axis=0))


def _tf_idf_by_loops(counts):
    rows = counts.tolist()
    holding = [sum(1 for row in rows if row[t] > 0) for t in range(len(rows[0]))]
    return np.array(
        [
            [
                count / sum(row) * math.log(len(rows) / n)
                for count, n in zip(row, holding, strict=True)
            ]
            for row in rows
        ]
    )


def _counts(rng):
    yield (np.array([[1, 1], [1, 0]]),)
    yield (np.array([[2, 1], [1, 0]]),)
    yield (np.array([[2, 0, 1], [1, 3, 0], [1, 0, 5]]),)
    for texts, words in ((5, 3), (3, 7)):
        drawn = rng.integers(4, size=(texts, words))
        drawn[:, 0] += 1  # every text has a word, and one word every text
        drawn[rng.integers(texts), drawn.sum(axis=0) == 0] = 2
        yield (drawn,)


def _how_often(counts):
    """The texts' counts of a word were added: n_t is how many texts hold it, however often."""
    share = counts / counts.sum(axis=1, keepdims=True)
    return share * np.log(len(counts) / counts.sum(axis=0))


def _not_shares(counts):
    """The counts were not divided by the words in the text: a long text weighs more."""
    return counts * np.log(len(counts) / (counts > 0).sum(axis=0))


def _down_the_columns(counts):
    """The counts were divided by the sum down the texts: a share is of one text's words."""
    return counts / counts.sum(axis=0) * np.log(len(counts) / (counts > 0).sum(axis=0))


def _of_all(counts):
    """The counts were divided by all words of all texts: a share is of one text's words."""
    return counts / counts.sum() * np.log(len(counts) / (counts > 0).sum(axis=0))


def _shares_alone(counts):
    """These are the shares alone: a word that is in every text must get 0."""
    return counts / counts.sum(axis=1, keepdims=True)


def _no_logarithm(counts):
    """The logarithm is missing: a word that is in every text keeps its share."""
    share = counts / counts.sum(axis=1, keepdims=True)
    return share * len(counts) / (counts > 0).sum(axis=0)


def _upside_down(counts):
    """The fraction stands upside down, and the weights are negative: it is N / n_t."""
    return -tf_idf(counts)


def _words_for_texts(counts):
    """N was taken for the number of words: it is the number of texts, the rows."""
    share = counts / counts.sum(axis=1, keepdims=True)
    return share * np.log(counts.shape[1] / (counts > 0).sum(axis=0))


def _plus_one(counts):
    """One was added, as many libraries do against a division by zero: here nothing is added."""
    share = counts / counts.sum(axis=1, keepdims=True)
    return share * (np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0))) + 1)


def _divided_again(counts):
    """The weights were divided by their sum: that step is not asked here."""
    weights = tf_idf(counts)
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def _in_every_text(answer, counts):
    """A word that is in every text has a weight other than 0."""
    return np.all(np.abs(answer[:, (counts > 0).all(axis=0)]) < 1e-12)


_TF_IDF = Exercise(
    solution=tf_idf,
    specification=_tf_idf_by_loops,
    inputs=_counts,
    mistakes=(
        _how_often,
        _not_shares,
        _down_the_columns,
        _of_all,
        _shares_alone,
        _no_logarithm,
        _upside_down,
        _words_for_texts,
        _plus_one,
        _divided_again,
    ),
    rules=(_in_every_text,),
    hints=(
        "Two factors: a share of each row, and one logarithm for each column.",
        "`counts.sum(axis=1, keepdims=True)` has the words of each text, as a column.",
        "`(counts > 0).sum(axis=0)` says how many texts hold each word.",
    ),
)

# ----------------------------------------------------------------------- states


def states(codes, fade):
    """Return the state after each step: fade times the last, plus a code."""
    kept = np.zeros_like(codes)
    state = np.zeros(codes.shape[1])
    for t, code in enumerate(codes):
        state = fade * state + code
        kept[t] = state
    return kept


def _states_by_sums(codes, fade):
    steps, width = codes.shape
    return np.array(
        [
            [
                math.fsum(fade ** (t - u) * float(codes[u, i]) for u in range(t + 1))
                for i in range(width)
            ]
            for t in range(steps)
        ]
    )


def _steps(rng):
    yield np.array([[8.0], [2.0]]), 0.5
    yield np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), 0.5
    yield np.array([[4.0, 0.0]]), 0.25
    for fade in (1.0, 0.9, 0.0):
        yield rng.normal(size=(7, 3)), fade


def _before_the_step(codes, fade):
    """Each row is the state before its step: keep it after the code is added."""
    return np.concatenate([np.zeros_like(codes[:1]), states(codes, fade)[:-1]])


def _both_fade(codes, fade):
    """The new code was multiplied by fade too: only the last state fades."""
    return fade * states(codes, fade)


def _weighted_mean(codes, fade):
    """The code was multiplied by 1 - fade, as in a running mean: it is added whole."""
    return (1 - fade) * states(codes, fade)


def _no_fading(codes, fade):
    """Nothing fades: multiply the last state by fade before the code is added."""
    return np.cumsum(codes, axis=0)


def _last_alone(codes, fade):
    """Only the last state came: return one row for each step."""
    return states(codes, fade)[-1]


def _last_code(codes, fade):
    """The code before was faded, not the state: what is older has vanished at once."""
    return codes + fade * np.concatenate([np.zeros_like(codes[:1]), codes[:-1]])


def _means(codes, fade):
    """These are the means so far: a state is a sum that is never divided."""
    return states(codes, fade) / np.arange(1, len(codes) + 1)[:, None]


def _backwards(codes, fade):
    """The codes were read from the last to the first: start with row 0."""
    return states(codes[::-1], fade)[::-1]


def _along_the_code(codes, fade):
    """The state runs along the numbers of a code: a step is a row."""
    return states(codes.T, fade).T


def _first_is_the_code(answer, codes, fade):
    """The first state must be the first code: the state before it is zero."""
    return np.allclose(answer[0], codes[0])


def _in_steps(answer, codes, fade):
    """A state is not fade times the one before it, plus its code."""
    return np.allclose(answer[1:], fade * answer[:-1] + codes[1:])


_STATES = Exercise(
    solution=states,
    specification=_states_by_sums,
    inputs=_steps,
    mistakes=(
        _before_the_step,
        _both_fade,
        _weighted_mean,
        _no_fading,
        _last_alone,
        _last_code,
        _means,
        _backwards,
        _along_the_code,
    ),
    rules=(_first_is_the_code, _in_steps),
    hints=(
        "Start with zeros, and go through the rows of `codes` in order.",
        "`state = fade * state + code`, then keep a copy of it as this step's row.",
    ),
)

EXERCISES = (_TF_IDF, _STATES)
