"""Record what `attention_ref.real_map` returns: `PYTHONPATH=tests python -m models.record`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import run
from models.run import Change, Run

FILE = Path(__file__).parents[2] / "src" / "attention_ref" / "real_maps.npz"

# A word and the word that it takes its sense from, or -1.
SENTENCES = {
    "bank": ("The bank by the river was flooded", {"bank": "river"}),
    "busy": ("The child did not cross the road because it was too busy", {"it": "road"}),
    "tired": ("The child did not cross the road because it was too tired", {"it": "child"}),
    "cat": (
        "The cat, which had been sleeping on the windowsill all morning, finally woke up and "
        "stretched its legs",
        {"its": "cat"},
    ),
    "pilot": ("The pilot flies the airplane", {"flies": "pilot"}),
}

# Ten words that have nothing to do with each other, each one token.
WORDS = " table green music river seven paper horse cloud metal garden"

# Where each atom of the product comes from, by the number of the reactants' atom.
REACTIONS = {
    "ester": ("CC(=O)O.OCC>>CC(=O)OCC", (0, 1, 2, 4, 5, 6)),
    "amide": ("CC(=O)Cl.NCC>>CC(=O)NCC", (0, 1, 2, 4, 5, 6)),
    "ether": ("CC[O-].CI>>CCOC", (0, 1, 2, 3)),
    "nitrile": ("CCCBr.[C-]#N>>CCCC#N", (0, 1, 2, 4, 5)),
    "reduction": ("CC(=O)CC.[BH4-]>>CC(O)CC", (0, 1, 2, 3, 4)),
    "oxidation": ("CCCCO>>CCCC=O", (0, 1, 2, 3, 4)),
    "addition": ("CC=C.Br>>CC(Br)C", (0, 1, 3, 2)),
    "imine": ("CC=O.NCC>>CC=NCC", (0, 1, 3, 4, 5)),
    "grignard": ("CCC=O.C[Mg]Br>>CCC(O)C", (0, 1, 2, 3, 4)),
    "thioether": ("CCS.ClCCC>>CCSCCC", (0, 1, 2, 4, 5, 6)),
}


NAMES = (*SENTENCES, "france", "repeat", *REACTIONS)


def recording(name: str) -> dict[str, Any]:
    """Run a model on the text of that name, and return what is kept of it."""
    if name in SENTENCES:
        text, partners = SENTENCES[name]
        return _recorded("MiniLM", text, run.minilm_tokens(text), run.minilm, partners)
    if name in REACTIONS:
        text, sources = REACTIONS[name]
        tokens = run.rxnmapper_tokens(text)
        atoms = [i for i, token in enumerate(tokens) if is_atom(token)]
        product = [i for i in atoms if i > tokens.index(">>")]
        partners = {i: atoms[source] for i, source in zip(product, sources, strict=True)}
        return _recorded("RXNMapper", text, tokens, run.rxnmapper, partners)
    return _repeated() if name == "repeat" else _france()


def is_atom(token: str) -> bool:
    return token not in ("[CLS]", "[SEP]") and any(letter.isalpha() for letter in token)


def _france() -> dict[str, Any]:
    ids = run.smollm2_ids("The capital of France is")
    return _recorded_decoder("The capital of France is", ids, {" is": " France"})


def _repeated() -> dict[str, Any]:
    """Read ten words twice: after a word's first time comes what will come after its second."""
    ids = run.smollm2_ids(WORDS + WORDS)
    return _recorded_decoder(WORDS + WORDS, ids, {10 + i: i + 1 for i in range(10)})


def _recorded_decoder(text: str, ids: list[int], partners: dict[Any, Any]) -> dict[str, Any]:
    tokens = run.smollm2_tokens(ids)
    model = partial(run.smollm2, ids)
    kept = _recorded("SmolLM2", text, tokens, lambda _, *change: model(*change), partners)
    likely = run.logits(model())[-1].softmax(-1).topk(5)
    kept["next_tokens"] = run.smollm2_tokens(likely.indices.tolist())
    kept["next_probabilities"] = likely.values.numpy()
    return kept


def _recorded(
    model: str,
    text: str,
    tokens: list[str],
    forward: Callable[..., Run],
    partners: dict[Any, Any],
) -> dict[str, Any]:
    result = forward(text)
    weights = torch.stack(result.weights)
    answer = _answer(model, result)
    numbers = np.full(len(tokens), -1)
    for one, other in partners.items():
        place, partner = (x if isinstance(x, int) else tokens.index(x) for x in (one, other))
        numbers[place] = partner

    def moved(change: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Return for each head how far the answer turns if its weights alone are changed."""
        turned = [
            1 - _answer(model, forward(text, _one_head_at_a_time(layer, change))) @ answer
            for layer in range(len(weights))
        ]
        return torch.stack(turned).numpy()

    return {
        "model": model,
        "text": text,
        "tokens": tokens,
        "weights": weights.numpy(),
        "lengths": torch.stack(result.lengths).numpy(),
        "partners": numbers,
        "removed": moved(torch.zeros_like),
        "shifted": moved(_to_the_next_key(model)),
        "next_tokens": [],
        "next_probabilities": np.zeros(0),
    }


def _answer(model: str, result: Run) -> Tensor:
    """Return what a model says of a text, as a vector of length 1."""
    hidden = result.hidden
    said = hidden[..., -1, :] if model == "SmolLM2" else hidden.mean(dim=-2)
    return said / torch.linalg.vector_norm(said, dim=-1, keepdim=True)


def _one_head_at_a_time(layer: int, change: Callable[[Tensor], Tensor]) -> Change:
    """Return the change of a layer whose item h of a batch has head h changed."""

    def changed(number: int, weights: Tensor) -> Tensor:
        if number != layer:
            return weights
        chosen = torch.eye(weights.shape[0], dtype=torch.bool)[:, :, None, None]
        return torch.where(chosen, change(weights), weights)

    return changed


def _to_the_next_key(model: str) -> Callable[[Tensor], Tensor]:
    """Give each key the weight of the one before; the first key gets that of the last one seen."""

    def shifted(weights: Tensor) -> Tensor:
        length = weights.shape[-1]
        rows = []
        for query in range(length):
            seen = query + 1 if model == "SmolLM2" else length
            row = weights[..., query, :]
            rows.append(torch.cat([row[..., :seen].roll(1, -1), row[..., seen:]], -1))
        return torch.stack(rows, -2)

    return shifted


def stored(kept: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return a recording as the file holds it: weights and lengths in hundredths.

    Layers stand last among the weights: they resemble each other, and compress better side by side.
    """
    smaller = {
        "weights": np.moveaxis(np.rint(100 * kept["weights"]).astype(np.uint8), 0, -1),
        "lengths": np.rint(100 * kept["lengths"]).astype(np.uint16),
        "removed": kept["removed"].astype(np.float32),
        "shifted": kept["shifted"].astype(np.float32),
        "partners": kept["partners"].astype(np.int16),
        "tokens": np.array(kept["tokens"], dtype=np.str_),
        "next_tokens": np.array(kept["next_tokens"], dtype=np.str_),
        "next_probabilities": kept["next_probabilities"].astype(np.float32),
    }
    return {key: np.asarray(value, order="C") for key, value in (kept | smaller).items()}


if __name__ == "__main__":
    arrays = {
        f"{name}/{key}": value for name in NAMES for key, value in stored(recording(name)).items()
    }
    np.savez_compressed(FILE, **arrays)
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")
