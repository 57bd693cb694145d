"""What the heads of three trained models did with a few texts, recorded."""

from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

_FIELDS = (
    "model",
    "text",
    "tokens",
    "weights",
    "lengths",
    "partners",
    "removed",
    "shifted",
    "next_tokens",
    "next_probabilities",
)


class RealMap(NamedTuple):
    """What every head of one trained model did with one text, as `real_map` returns it.

    Attributes:
        model: `"MiniLM"`, an encoder of 6 layers of 12 heads; `"SmolLM2"`, a causal decoder of 30
            layers of 9 heads; or `"RXNMapper"`, an encoder of chemical reactions of 12 layers of 8.
        text: What the model read.
        tokens: The pieces that it read the text as, one a position.
        weights: How much of each key (last axis) each query took, rounded to hundredths, so that a
            row sums to 1 but for rounding. `(layers, heads, length, length)`
        lengths: The length of what each position hands over, its value times the head's rows of
            $W_O$, rounded to hundredths. `(layers, heads, length)`
        partners: The position of the token that a token should look for, or -1: of "it" the noun
            that it stands for, of a product's atom the atom that it was, of a word that comes again
            the word that followed it. `(length,)`
        removed: How far the model's answer turns if the output of one head is left out: 1 minus the
            cosine. The answer is the mean vector of an encoder, the last one of a decoder.
            `(layers, heads)`
        shifted: The same, if each query's weights are moved on by one key instead, the last that it
            may see to the first. `(layers, heads)`
        next_tokens: The five likeliest next tokens and their probabilities; empty for an encoder.
    """

    model: str
    text: str
    tokens: tuple[str, ...]
    weights: Float[np.ndarray, "layers heads length length"]
    lengths: Float[np.ndarray, "layers heads length"]
    partners: Integer[np.ndarray, " length"]
    removed: Float[np.ndarray, "layers heads"]
    shifted: Float[np.ndarray, "layers heads"]
    next_tokens: dict[str, float]


def real_map(name: str) -> RealMap:
    r"""Return what the heads of a trained model did with a text, recorded under a short name.

    $$A_{lh} = \operatorname{softmax}\!\left(Q_{lh} K_{lh}^\top / \sqrt{d_k}\right)$$

    Sentences that MiniLM read: `bank`, `busy`, `tired`, `cat`, `pilot`. Texts that SmolLM2 read:
    `france`, and `repeat`, ten unrelated words twice. Reactions that RXNMapper read: `ester`,
    `amide`, `ether`, `nitrile`, `reduction`, `oxidation`, `addition`, `imine`, `grignard`,
    `thioether`. The models were run through this package; a test runs them again and compares.

    Args:
        name: Which recording.

    Returns:
        The recording, in NumPy's arrays, which are the caller's own.

    Raises:
        ValueError: If there is no recording of that name; the message lists all.

    Complexity: O(layers * heads * length * length) time and memory, at most 0.2 million numbers.

    Examples:
        >>> tired = real_map("tired")
        >>> it, child = tired.tokens.index("it"), tired.tokens.index("child")
        >>> tired.weights[3, 1, it, child].item()  # layer 3, head 1
        0.37

    References:
        Wang et al. 2020 (MiniLM); Allal et al. 2025 (SmolLM2); Schwaller et al. 2021 (RXNMapper).
    """
    with (files("attention_ref") / "real_maps.npz").open("rb") as file, np.load(file) as arrays:
        names = dict.fromkeys(entry.partition("/")[0] for entry in arrays.files)
        if name not in names:
            raise ValueError(f"name must be one of {', '.join(names)}, got {name!r}")
        return _decoded(**{field: arrays[f"{name}/{field}"] for field in _FIELDS})


def _decoded(
    *,
    model: np.ndarray,
    text: np.ndarray,
    tokens: np.ndarray,
    weights: np.ndarray,
    lengths: np.ndarray,
    partners: np.ndarray,
    removed: np.ndarray,
    shifted: np.ndarray,
    next_tokens: np.ndarray,
    next_probabilities: np.ndarray,
) -> RealMap:
    return RealMap(
        str(model),
        str(text),
        tuple(tokens.tolist()),
        np.moveaxis(weights, -1, 0) / 100,
        lengths / 100,
        partners.astype(np.int64),
        removed.astype(np.float64),
        shifted.astype(np.float64),
        dict(zip(next_tokens.tolist(), next_probabilities.tolist(), strict=True)),
    )
