# ---
# jupyter:
#   description: >-
#     The scaling experiment at length: scores, entropy, gradients and
#     training with no divisor, sqrt(d_k) and d_k, plotted and asserted in one
#     executed notebook.
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The scaling experiment
#
# The page [Scaling](../learn/scaling.md) measures what the division by
# `sqrt(d_k)` does to variance, entropy and gradients. Here we plot it, try
# other distributions, other exponents and more keys, and train queries. Two
# results the formula alone does not suggest: without the division no learning
# rate makes most queries learn, while after a division by `d_k` a larger one
# does; and the division fails where training leads, at keys that match their
# query.
#
# Every finding stands below an `assert` that would stop the notebook if it
# were false, and so does every number in the text. The first cell only sets
# up the drawings.

# %%
import io
import re

import matplotlib
import numpy as np
from attention_ref import attention_scores, softmax
from IPython.display import SVG
from matplotlib.figure import Figure

INK, QUIET, PAPER = "#24292f", "#59636e", "#ffffff"
BLUE, ORANGE, GREEN = "#306ec1", "#a55725", "#1a7f5a"
DARK = {
    INK: "#e2e4e9",
    QUIET: "#a9b1bd",
    PAPER: "#1e2129",
    BLUE: "#75a6ec",
    ORANGE: "#f6b591",
    GREEN: "#7fd6b0",
}
matplotlib.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "scaling", "font.size": 9}
    | dict.fromkeys(["axes.spines.top", "axes.spines.right"], False)
    | dict.fromkeys(["figure.facecolor", "axes.facecolor"], PAPER)
    | dict.fromkeys(["axes.edgecolor", "xtick.color", "ytick.color"], QUIET)
    | dict.fromkeys(["text.color", "axes.labelcolor"], INK)
    | dict.fromkeys(["xtick.labelcolor", "ytick.labelcolor"], INK)
)


def plot(x_label, y_label):
    """Return a figure as wide as a phone, and its axes."""
    figure = Figure(figsize=(4.4, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x_label, ylabel=y_label)
    return figure, axes


def shown(figure):
    """Return the drawing, in colours that follow the theme of the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    light = dark = ""
    for number, (colour, on_dark) in enumerate(DARK.items()):
        svg = svg.replace(colour, f"var(--c{number})")
        light += f"--c{number}:{colour};"
        dark += f"--c{number}:{on_dark};"
    dark = f"@media (prefers-color-scheme:dark){{svg{{{dark}}}}}"
    style = f"<style>svg{{{light}}}{dark}</style>"
    return SVG(re.sub("<svg[^>]*>", rf"\g<0>{style}", svg, count=1))


# %% [markdown]
# ## Scores: as wide as the square root of d_k
#
# A score is the dot product of a query and a key, here of `d_k` standard
# normal numbers each. We draw 2000 queries, each with eight keys of its own.

# %%
WIDTHS = [4, 16, 64, 256, 1024]
rng = np.random.default_rng(0)
scores, keys = {}, {}
for d_k in WIDTHS:
    query = rng.standard_normal((2000, 1, d_k))
    keys[d_k] = rng.standard_normal((2000, 8, d_k))
    scores[d_k] = attention_scores(query, keys[d_k], scale=1.0)[:, 0]
    print(f"d_k {d_k:4d}  variance of the scores {scores[d_k].var():6.1f}")
    assert abs(scores[d_k].var() / d_k - 1) < 0.05

# %% alt="The larger d_k, the lower and wider the curve of the scores."
figure, axes = plot("score", "share of the scores")
edges = np.arange(-60.5, 61.5)
for d_k, colour in ((4, BLUE), (64, GREEN), (1024, ORANGE)):
    share = np.histogram(scores[d_k], edges)[0] / scores[d_k].size
    axes.plot(edges[:-1] + 0.5, share, color=colour)
    x = {4: 3, 64: 11, 1024: 33}[d_k]
    axes.annotate(f"d_k {d_k}", (x, share[60 + x] + 0.008), color=colour)
shown(figure)

# %% [markdown]
# The variance of a score is `d_k`, to within 5 % at each width. Divided by
# `sqrt(d_k)`, all five sets of scores have the same spread, and nearly the
# same distribution:

# %%
levels = np.array([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
print("quantile  ", *(f"{level:6.0%}" for level in levels))
for d_k in WIDTHS:
    quantiles = np.quantile(scores[d_k] / np.sqrt(d_k), levels)
    print(f"d_k {d_k:4d}  ", *(f"{q:6.2f}" for q in quantiles))
    widest = np.quantile(scores[1024] / np.sqrt(1024), levels)
    assert abs(quantiles - widest)[1:-1].max() < 0.15

# %% [markdown]
# Nothing here depends on the normal distribution. Variances of independent
# terms add, so any entries with mean 0 and variance 1 give the same: tosses
# of a coin, evenly spread numbers, or vectors that are nine tenths zeros.
# What does matter is that the entries *have* variance 1. Twice the entries,
# in query and key, are 16 times the variance, and a division by `sqrt(d_k)`
# cannot know that.


# %%
def sparse(shape):
    """Nine zeros in ten, the others larger, so that the variance is 1."""
    kept = rng.random(shape) < 0.1
    return rng.standard_normal(shape) * kept * np.sqrt(10)


draws = {
    "normal": rng.standard_normal,
    "coin": lambda shape: rng.choice([-1.0, 1.0], shape),
    "uniform": lambda shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
    "sparse": sparse,
    "normal, twice": lambda shape: 2 * rng.standard_normal(shape),
}
spread = {}
for name, draw in draws.items():
    query, key = draw((500, 1, 1024)), draw((500, 8, 1024))
    raw = attention_scores(query, key, scale=1.0)
    spread[name] = raw.var() / 1024
    print(f"{name:14} variance / d_k {spread[name]:5.1f}")
assert all(abs(spread[name] - 1) < 0.1 for name in list(draws)[:4])
assert abs(spread["normal, twice"] / 16 - 1) < 0.1

# %% [markdown]
# ## Weights: certain, undecided or indifferent
#
# The entropy of a query's weights is 0 when one key has all the weight and
# log 8 = 2.079 when all eight have the same. We compare three divisors: none,
# `sqrt(d_k)` and `d_k`.

# %%
DIVISORS = {
    "none": (lambda d_k: 1.0, ORANGE, "s--"),
    "sqrt(d_k)": (lambda d_k: d_k**0.5, BLUE, "o-"),
    "d_k": (float, GREEN, "^:"),
}


def entropy(weights):
    """Return how spread out each row of weights is."""
    logs = np.log(np.where(weights > 0, weights, 1.0))
    return -(weights * logs).sum(axis=-1)


def curves(axes, measured, ends, bands=None):
    """Draw a line a divisor, over the widths, with its name at its end."""
    for name, (_, colour, style) in DIVISORS.items():
        axes.plot(WIDTHS, measured[name], style, color=colour, markersize=4)
        axes.annotate(name, ends[name], color=colour)
        if bands:
            low, high = bands[name]
            shade = {"color": colour, "alpha": 0.15, "linewidth": 0}
            axes.fill_between(WIDTHS, low, high, **shade)
    axes.set_xscale("log", base=2)
    axes.set_xticks(WIDTHS, WIDTHS)


divided = {
    name: {d_k: scores[d_k] / divisor(d_k) for d_k in WIDTHS}
    for name, (divisor, _, _) in DIVISORS.items()
}
mean_entropy = {
    name: [entropy(softmax(x)).mean() for x in every.values()]
    for name, every in divided.items()
}
for name, means in mean_entropy.items():
    print(f"{name:9}", *(f"{mean:.3f}" for mean in means))
assert mean_entropy["none"][-1] < 0.1
assert all(1.70 < mean < 1.76 for mean in mean_entropy["sqrt(d_k)"])
assert f"{mean_entropy['d_k'][-1]:.3f}" == f"{np.log(8):.3f}" == "2.079"

# %% alt="Entropy over d_k: it falls, stays level, or rises to log 8."
figure, axes = plot("d_k", "mean entropy of the weights")
ends = {"none": (80, 0.4), "sqrt(d_k)": (80, 1.55), "d_k": (80, 1.88)}
curves(axes, mean_entropy, ends)
axes.axhline(np.log(8), color=QUIET, linewidth=0.8)
axes.set_ylim(0, 2.3)
axes.annotate("log 8: all weights equal", (4, 2.13), color=QUIET)
shown(figure)

# %% [markdown]
# Undivided, the mean entropy falls below 0.1 at `d_k` 1024. Divided by
# `sqrt(d_k)` it stays between 1.70 and 1.76 at every width. Divided by `d_k`
# it reaches 2.079 of 2.079: all keys weigh the same, to three digits.
#
# Between no divisor and `d_k` lie other powers. Is the square root special
# among them?

# %% alt="Entropy over the exponent: five curves cross at one half."
powers = np.linspace(0, 1, 21)
by_power = {
    d_k: [entropy(softmax(x / d_k**p)).mean() for p in powers]
    for d_k, x in scores.items()
}
spreads = np.ptp(list(by_power.values()), axis=0)
assert powers[spreads.argmin()] == 0.5
assert spreads[10] < 0.05
assert min(spreads[8], spreads[12]) > 0.1

figure, axes = plot("p, where we divide by d_k**p", "mean entropy")
for d_k, style in zip(WIDTHS, ("-", "--", "-.", ":", "-"), strict=True):
    colour = ORANGE if d_k == 1024 else BLUE
    axes.plot(powers, by_power[d_k], style, color=colour, linewidth=1.2)
axes.annotate("d_k 4", (0.02, 1.48), color=BLUE)
axes.annotate("d_k 1024", (0.24, 0.15), color=ORANGE)
axes.axvline(0.5, color=QUIET, linewidth=0.8)
shown(figure)

# %% [markdown]
# The five curves cross where p is one half. There the entropies of all widths
# lie within 0.05 of each other; at 0.4 and 0.6 they are already more than 0.1
# apart. The square root is the only power that makes attention start the same
# at every width.
#
# ## The Jacobian: 0.37, or 1.6e-6
#
# The Jacobian of the softmax says by how much each weight changes with each
# score. We take its norm, the square root of the sum of its squares: the
# median over the queries, and the range from the tenth to the ninetieth
# percentile.


# %%
def jacobian(weights):
    """Return d weight i / d score j, one matrix for each row of weights."""
    diagonal = weights[..., None] * np.eye(weights.shape[-1])
    return diagonal - weights[..., :, None] * weights[..., None, :]


def norm(matrices):
    """Return the square root of the sum of the squared entries."""
    return np.sqrt((matrices**2).sum(axis=(-2, -1)))


norms = {
    name: np.array([norm(jacobian(softmax(x))) for x in every.values()])
    for name, every in divided.items()
}
medians = {name: np.median(every, axis=1) for name, every in norms.items()}
for name, every in medians.items():
    print(f"{name:9}", *(f"{median:8.2g}" for median in every))
assert f"{medians['none'][1]:.2f}" == "0.28"
assert f"{medians['none'][4]:.1e}" == "1.6e-06"
assert all(f"{median:.2f}" == "0.37" for median in medians["sqrt(d_k)"][1:])
assert max(every.max() for every in norms.values()) <= 0.5


def middle(measured):
    """Return the tenth and the ninetieth percentile over the queries."""
    return {
        name: np.quantile(every, [0.1, 0.9], axis=1)
        for name, every in measured.items()
    }


# %% alt="Norm over d_k: undivided it plunges, divided it is level."
figure, axes = plot("d_k", "norm of the Jacobian")
axes.set(yscale="log", ylim=(1e-7, 2))
ends = {"none": (90, 6e-5), "sqrt(d_k)": (5, 0.55), "d_k": (5, 0.1)}
curves(axes, medians, ends, middle(norms))
shown(figure)

# %% [markdown]
# Undivided, the median falls from 0.28 at `d_k` 16 to 1.6e-6 at 1024. Divided
# by `sqrt(d_k)`, it is 0.37 from `d_k` 16 on. No norm exceeds 0.5 with any
# divisor: a softmax cannot make a gradient explode. It can make it vanish.
#
# How sure is the 1.6e-6? Undivided norms span many powers of ten, so the
# median of 2000 is uncertain. For a given query the scores are independent
# normal numbers, as wide as the query is long, and the square of that length
# follows the chi-squared distribution. So we can draw the scores without the
# vectors, and a million queries take a second.

# %%
rng = np.random.default_rng(1)
many = []
for _ in range(20):
    length = np.sqrt(rng.chisquare(1024, (50_000, 1)))
    many.append(
        norm(jacobian(softmax(length * rng.standard_normal((50_000, 8)))))
    )
million = np.median(np.concatenate(many))
print(f"a million queries: median {million:.1e}")
samples = np.array(
    [np.median(part) for part in np.concatenate(many).reshape(500, 2000)]
)
low, high = np.quantile(samples, [0.05, 0.95])
print(f"nine in ten medians of 2000 lie between {low:.0e} and {high:.0e}")
assert f"{million:.1e}" == "1.4e-06"
assert 5e-7 < low < medians["none"][4] < high < 4e-6

# %% [markdown]
# The median over a million queries is 1.4e-6. That of 2000 queries may be
# half as large or twice: the 1.6e-6 of our draw is one such value. That it is
# about a millionth is not in doubt.
#
# ## The query: starved, or flooded
#
# What trains a query is the gradient that arrives there: the Jacobian times
# the keys, divided once more by the divisor.

# %% alt="Gradients over d_k: undivided, they spread over decades."
arriving = {
    name: np.array(
        [
            norm(jacobian(softmax(x[:500])) @ keys[d_k][:500]) / divisor(d_k)
            for d_k, x in divided[name].items()
        ]
    )
    for name, (divisor, _, _) in DIVISORS.items()
}
at_query = {
    name: np.median(every, axis=1) for name, every in arriving.items()
}
bands = middle(arriving)
assert at_query["none"][4] < 0.001
assert bands["none"][1][4] > 4
assert np.ptp(bands["sqrt(d_k)"], axis=0)[4] < 0.05
assert np.allclose(at_query["d_k"] * np.sqrt(WIDTHS), 0.33, atol=0.02)

figure, axes = plot("d_k", "norm of the gradient at the query")
axes.set(yscale="log", ylim=(1e-5, 20))
ends = {"none": (80, 7e-3), "sqrt(d_k)": (300, 0.5), "d_k": (5, 0.04)}
curves(axes, at_query, ends, bands)
shown(figure)

# %% [markdown]
# At `d_k` 1024, undivided, the median query gets less than 0.001 and one in
# ten more than 4. "Scaling keeps gradients from exploding" is half right
# here, for that tenth, and hides the others. Divided by `sqrt(d_k)`, the
# middle 80 % lie within 0.05 of each other. Divided by `d_k`, the gradient is
# 0.33 / sqrt(`d_k`): small, and the same for all.
#
# ## More keys: the divisor does not change
#
# Eight keys are few. Does a longer text need another divisor? We hold `d_k`
# at 1024 and go from 2 to 4096 keys, again drawing scores directly, and plot
# how far the entropy stays below its largest value, the logarithm of the
# number of keys.

# %% alt="Over the number of keys, one curve is level and one rises."
COUNTS = 2 ** np.arange(1, 13)
missing = {"none": [], "sqrt(d_k)": []}
for count in COUNTS:
    length = np.sqrt(rng.chisquare(1024, (200, 1)))
    raw = length * rng.standard_normal((200, count))
    for name, every in missing.items():
        weights = softmax(raw / DIVISORS[name][0](1024))
        every.append(np.log(count) - entropy(weights).mean())
assert abs(missing["sqrt(d_k)"][-1] - 0.5) < 0.03
assert max(missing["sqrt(d_k)"]) < 0.55
assert missing["none"][-1] > 0.95 * np.log(4096)

figure, axes = plot("keys", "entropy missing from log(keys)")
axes.plot(COUNTS, np.log(COUNTS), color=QUIET, linewidth=0.8)
for name, every in missing.items():
    _, colour, style = DIVISORS[name]
    axes.plot(COUNTS, every, style, color=colour, markersize=4)
axes.set_xscale("log", base=2)
axes.annotate("all of it: one key has all the weight", (2, 7.2), color=QUIET)
axes.annotate("none", (300, 4.6), color=ORANGE)
axes.annotate("sqrt(d_k)", (300, 0.8), color=BLUE)
shown(figure)

# %% [markdown]
# Divided by `sqrt(d_k)`, the entropy is never more than 0.55 below its
# maximum, and settles 0.5 below it: normal scores of variance 1 lose half
# their variance, 1 / 2. Undivided, even 4096 keys leave more than 95 % of it
# missing. The variance of a score does not depend on how many others there
# are.
#
# ## Training: no learning rate repairs saturation
#
# A small gradient could be met with a large learning rate. So we train: 200
# queries with `d_k` 256, each with eight random keys and values, are to fetch
# the value of their key 0. The loss is half the squared distance of the
# output from that value, and we take 200 steps of gradient descent on the
# query alone, at eight learning rates for each divisor. A query has learned
# when key 0 has more than 0.9 of its weight.
#
# The gradient at the query is a weighted sum of the keys, so each step moves
# the query along the keys, and its scores by the dot products of the keys
# with each other. That is all that the loop has to carry.

# %%
RATES = 10.0 ** np.arange(-3, 5)


def learned(divisor, rate):
    """Return the share of queries that learn to fetch the value of key 0."""
    rng = np.random.default_rng(0)
    query = rng.standard_normal((200, 1, 256))
    key = rng.standard_normal((200, 8, 256))
    value = rng.standard_normal((200, 8, 8))
    raw = attention_scores(query, key, scale=1.0)
    overlap = attention_scores(key, key, scale=1.0)
    for _ in range(200):
        weights = softmax(raw / divisor)
        error = weights @ value - value[:, :1]
        at_weights = error @ value.swapaxes(1, 2)
        mean = (weights * at_weights).sum(axis=-1, keepdims=True)
        at_scores = weights * (at_weights - mean)  # times the Jacobian
        raw = raw - rate * (at_scores / divisor) @ overlap
    return (weights[:, 0, 0] > 0.9).mean()


share = {
    name: np.array([learned(divide(256), rate) for rate in RATES])
    for name, (divide, _, _) in DIVISORS.items()
}
for name, every in share.items():
    print(f"{name:9}", *(f"{part:5.0%}" for part in every))
assert share["none"].max() < 1 / 3
assert np.ptp(share["none"]) < 0.1
assert share["sqrt(d_k)"].max() > 0.95
assert share["d_k"].max() > 0.95
assert RATES[share["d_k"].argmax()] > 10 * RATES[share["sqrt(d_k)"].argmax()]

# %% alt="Over the learning rate, undivided stays below a third."
figure, axes = plot("learning rate", "share of queries that learned")
for name, every in share.items():
    _, colour, style = DIVISORS[name]
    axes.plot(RATES, every, style, color=colour, markersize=4)
axes.set(xscale="log", ylim=(-0.05, 1.05))
axes.annotate("none", (2e-3, 0.31), color=ORANGE)
axes.annotate("sqrt(d_k)", (0.009, 0.55), color=BLUE)
axes.annotate("d_k", (25, 0.5), color=GREEN)
shown(figure)

# %% [markdown]
# Undivided, fewer than a third of the queries learn, whatever the rate: from
# 0.001 to 10000 the share hardly moves. Divided by `sqrt(d_k)`, more than 95
# % learn at the right rate. And so they do when divided by `d_k`, at a rate
# more than ten times as large: a flat start is slow, not lost. That only
# `sqrt(d_k)` can be trained is false.
#
# ## Matching keys: where the square root fails
#
# All of this held for keys that are independent of the query. Training makes
# some keys point where the query does. Let key 0 have the cosine c with its
# query, of the same length: its score then is near `c * d_k`, which a
# division by `sqrt(d_k)` leaves at `c * sqrt(d_k)`.


# %% alt="Weights over d_k: they rise to 1, but level for length 1."
def unit(x):
    """Return the vectors with the length 1."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


figure, axes = plot("d_k", "mean weight of key 0")
for cosine, style in ((0.0, ":"), (0.2, "-."), (0.5, "--"), (1.0, "-")):
    matched, bounded = [], []
    for d_k in WIDTHS:
        query = rng.standard_normal((500, 1, d_k))
        key = rng.standard_normal((500, 8, d_k))
        key[:, :1] = cosine * query + np.sqrt(1 - cosine**2) * key[:, :1]
        matched.append(softmax(attention_scores(query, key))[:, 0, 0].mean())
        four = attention_scores(unit(query), unit(key), scale=4.0)
        bounded.append(softmax(four)[:, 0, 0].mean())
    axes.plot(WIDTHS, matched, style, color=BLUE)
    axes.annotate(f"cosine {cosine}", (1100, matched[-1] - 0.01), color=BLUE)
    print(f"cosine {cosine}  weight at d_k 1024: {matched[-1]:.3f}", end="")
    print(f", with lengths 1 {bounded[-1]:.3f}")
assert matched[-1] > 0.9999
assert 0.87 < bounded[-1] < 0.9

axes.plot(WIDTHS, bounded, "s--", color=ORANGE, markersize=4)
axes.annotate(
    "cosine 1.0, lengths 1, scores times 4", (8, 0.56), color=ORANGE
)
axes.set_xscale("log", base=2)
axes.set_xticks(WIDTHS, WIDTHS)
axes.set(xlim=(3.5, 6000), ylim=(0, 1.04))
shown(figure)

# %% [markdown]
# At `d_k` 1024 a key equal to its query takes more than 0.9999 of the weight,
# divided by `sqrt(d_k)` or not: saturated again. If query and key are first
# brought to length 1 and their dot product is multiplied by a number, here 4,
# the weight settles at 0.89 at any width. This is query-key normalisation
# (Henry et al. 2020, arXiv:2010.04245). And a division by `d_k` would hold
# the score of a match at 1 (Yang et al. 2022, arXiv:2203.03466), at the price
# of the flat start above.
#
# ## What to keep
#
# - Unscaled scores have variance `d_k`; among powers of `d_k`, only the
#   square root makes the entropy the same at every width.
# - The softmax's Jacobian has a norm of at most 0.5. Unscaled, its median
#   vanishes, to about 1e-6 at 1024.
# - Saturation cannot be repaired by the learning rate; a flat start can.
# - The division is right at the start, for independent queries and keys. It
#   does not bound the scores of a trained match.
#
# Next: [Masking](../learn/masking.md).
