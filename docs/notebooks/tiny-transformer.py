# ---
# jupyter:
#   description: >-
#     A decoder of 8280 weights is trained in 600 steps, first to copy and
#     then to recall; the loss, every head and the step at which an induction
#     head appears are plotted and asserted in one executed notebook.
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
# # Training a tiny transformer
#
# The page [A tiny transformer](../learn/tiny-transformer.md) looks at a model
# that has been trained. Here it is trained, and watched while it learns.
#
# Every finding stands below an `assert` that would stop the notebook if it
# were false, and so does every number in the text.
#
# ## Two tasks that need attention
#
# The vocabulary is the 26 letters. In **copying**, some different letters
# come twice, and the second time each is to be predicted from those before
# it. In **recall**, pairs of letters come twice, the second time in another
# order, and the second letter of each pair is to be predicted. Every letter
# follows every other equally often, so that nothing can be learned by heart:
# what comes next stands earlier in the text, and nowhere else.

# %% tags=["training"]
import numpy as np
import torch
from attention_ref import (
    line_plot,
    tiny_transformer,
    trained_tiny_transformer,
)
from attention_ref.torch import TinyTransformer
from torch.nn.functional import cross_entropy


def different(rng, rows, length):
    """Return rows of letters, none of which comes twice in a row."""
    return np.argsort(rng.random((rows, 26)))[:, :length]


def copying(rng, rows, length):
    """Return rows of different letters, each row twice over."""
    once = different(rng, rows, length)
    return np.concatenate([once, once], axis=1)


def recall(rng, rows, pairs):
    """Return rows of pairs, then of the same pairs in another order."""
    once = different(rng, rows, 2 * pairs).reshape(rows, pairs, 2)
    order = np.argsort(rng.random((rows, pairs)))
    again = np.take_along_axis(once, order[..., None], axis=1)
    return np.concatenate([once, again], axis=1).reshape(rows, -1)


# %%
def read(ids):
    """Return the letters of a row of ids."""
    return "".join(chr(ord("a") + i) for i in ids)


rng = np.random.default_rng(7)
print("copying", read(copying(rng, 1, 8)[0]))
print("recall ", read(recall(rng, 1, 4)[0]))

# %% [markdown]
# ## The model and its loss
#
# `TinyTransformer` is two pre-norm blocks, of two heads with 12 features
# each,
# between an embedding and an unembedding. The loss is the negative logarithm
# of the probability that the model gives to the letter that comes, counted
# only where that letter can be known: in the second half, and of each pair
# the second.
#
# 400 steps learn copying alone; 200 more alternate between the two tasks.
# Lengths are drawn anew at each step, or the model would learn to look a
# fixed number of places back.
#
# In float64 the last digits, which differ from processor to processor, stay
# too small to be seen after 600 steps. Rounded to float16, the weights are
# the same everywhere but for a few last digits.

# %% tags=["training"]
KEPT = (0, 100, 200, 250, 300, 350, 400, 600)  # the steps that ship
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


def train(layers):
    """Return the losses of 600 steps, and the weights at every tenth."""
    torch.manual_seed(1)
    rng = np.random.default_rng(0)
    model = TinyTransformer(26, 24, heads=2, layers=layers, d_ff=24)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    losses, snapshots = [], {}
    for step in range(601):
        if step % 10 == 0:
            snapshots[step] = {
                name: weight.numpy().copy()
                for name, weight in model.state_dict().items()
            }
        length = int(rng.integers(5, 13))
        if step < 400 or step % 2:
            ids, every = torch.from_numpy(copying(rng, 32, length)), 1
        else:
            ids, every = torch.from_numpy(recall(rng, 32, length // 2)), 2
        half = ids.shape[1] // 2
        logits = model(ids[:, :-1])[:, half::every]
        answers = ids[:, half + 1 :: every]
        loss = cross_entropy(logits.flatten(0, 1), answers.flatten())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses, snapshots


losses, snapshots = train(layers=2)
weights = {
    name: np.stack([snapshots[step][name] for step in KEPT])
    for name in snapshots[0]
}

# %% alt="The loss falls slowly to 2.5 by step 200, then fast to below 0.2."
means = np.array(losses[:600]).reshape(60, 10).mean(axis=1)
assert means[:10].min() > 3
assert 2.3 < means[19] < 2.6
assert means[35:].max() < 0.2
line_plot(
    np.arange(5, 600, 10),
    {"loss": means},
    x_label="step",
    y_label="loss, mean of ten steps",
)

# %% [markdown]
# An even guess over 26 letters has the loss 3.26. For 100 steps the loss
# stays above 3, and by step 200 it has come down to 2.5; then it falls fast,
# and from step 350 on it is below 0.2, also where recall joins in.
#
# ## What the heads do meanwhile
#
# For every tenth step we run the functional form of the model,
# `tiny_transformer`, in NumPy, on texts of two times eight letters that were
# not trained on. Of each of the four heads we measure the mean weight on the
# letter before, and on the position after the earlier copy of the letter: the
# **induction score**.

# %%
ids = copying(np.random.default_rng(1), 100, 8)
i = np.arange(8, 15)
steps = sorted(snapshots)
back, induction = np.empty((2, 61, 2, 2))
copied, recalled = np.empty((2, 61))
pairs = recall(np.random.default_rng(1), 100, 4)
for at, step in enumerate(steps):
    run = tiny_transformer(ids, snapshots[step], heads=2)
    copied[at] = (run.logits.argmax(-1)[:, i] == ids[:, i + 1]).mean()
    for block, each in enumerate(run.weights):
        back[at, block] = each[:, :, i, i - 1].mean(axis=(0, 2))
        induction[at, block] = each[:, :, i, i - 7].mean(axis=(0, 2))
    run = tiny_transformer(pairs, snapshots[step], heads=2)
    recalled[at] = (run.logits.argmax(-1)[:, 8:-1:2] == pairs[:, 9::2]).mean()
for step in (200, 300, 400, 600):
    at = steps.index(step)
    print(
        f"step {step}: copied {copied[at]:.2f}, recalled {recalled[at]:.2f}"
    )
assert max(copied[20], recalled[20]) < 0.2
assert min(copied[40], recalled[40]) > 0.9
assert recalled[60] > recalled[40]

# %% alt="Two curves rise together from step 240 to 350: copied, recalled."
line_plot(
    steps,
    {"copied": copied, "recalled": recalled},
    x_label="step",
    y_label="share of letters that were right",
)

# %% [markdown]
# Recall is trained from step 400 on, and by then nine answers in ten are
# right: copying has taught it.

# %% alt="Induction scores by step: block 1 rises, block 0 does not."
names = [f"block {block}, head {head}" for block in (0, 1) for head in (0, 1)]
line_plot(
    steps,
    dict(zip(names, induction.reshape(61, 4).T, strict=True)),
    x_label="step",
    y_label="induction score",
)

# %% alt="Weight on the letter before, by step: block 0, head 0 rises."
line_plot(
    steps,
    dict(zip(names, back.reshape(61, 4).T, strict=True)),
    x_label="step",
    y_label="weight on the letter before",
)

# %%
print("at step 600: on the letter before, and induction score")
for name, one, other in zip(
    names, back[-1].ravel(), induction[-1].ravel(), strict=True
):
    print(f"{name}: {one:.2f} {other:.2f}")
assert back[-1].argmax() == 0
assert back[-1, 0, 0] > 0.85
assert induction[-1].argmax() == 3
assert induction[-1, 1, 1] > 0.9
assert induction[-1, 1, 0] > 0.7
assert induction[-1, 0].max() < 0.2
first_back = steps[int((back[:, 0, 0] > 0.5).argmax())]
first_induction = steps[int((induction[:, 1, 1] > 0.5).argmax())]
print(f"above 0.5 from step {first_back} and from step {first_induction}")
assert abs(first_back - first_induction) <= 50

# %% [markdown]
# Head 0 of block 0 looks back, and both heads of block 1 look for what came
# after. Looking back and looking up pass 0.5 within 50 steps of each other.
# In block 0 no induction score is above 0.2 at the end, for there no key
# knows yet what came before it.
#
# ## One block does not learn it
#
# So a model of one block, trained in the same way on the same texts, should
# fail.

# %%
one_block_losses, one_block = train(layers=1)
logits = tiny_transformer(ids, one_block[600], heads=2).logits
right = (logits.argmax(-1)[:, i] == ids[:, i + 1]).mean()
print(f"one block: copied {right:.2f}, two blocks: copied {copied[-1]:.2f}")
assert right < 0.5
assert copied[-1] > 0.98

# %% [markdown]
# ## The weights that ship
#
# `trained_tiny_transformer(step)` returns the weights of eight of these
# steps, so that they run where there is no PyTorch. They must be those that
# were trained above.

# %%
differences = [
    np.abs(snapshots[step][name] - shipped).max()
    for step in KEPT
    for name, shipped in trained_tiny_transformer(step).items()
]
assert max(differences) < 0.002
largest = max(np.abs(each).max() for each in weights.values())
print(f"{sum(each[0].size for each in weights.values())} weights")
print(f"the largest is {largest:.1f}; none differs by 0.002")

# %% [markdown]
# Next: [Reading heads](../learn/reading-heads.md).
