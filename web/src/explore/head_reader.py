"""What the head reader shows: how all heads of a model score, and the maps of one layer."""

import numpy as np

from attention_ref import (
    RealMap,
    real_map,
    softmax,
    tiny_transformer,
    trained_tiny_transformer,
)

RECORDED = {
    "MiniLM": {
        "bank": "The bank by the river was flooded",
        "busy": "The child did not cross the road because it was too busy",
        "tired": "The child did not cross the road because it was too tired",
        "cat": (
            "The cat, which had been sleeping on the windowsill all morning, "
            "finally woke up and stretched its legs"
        ),
        "pilot": "The pilot flies the airplane",
    },
    "SmolLM2": {
        "france": "The capital of France is",
        "repeat": (
            " table green music river seven paper horse cloud metal garden"
            " table green music river seven paper horse cloud metal garden"
        ),
    },
    "RXNMapper": {
        "ester": "CC(=O)O.OCC>>CC(=O)OCC",
        "amide": "CC(=O)Cl.NCC>>CC(=O)NCC",
        "ether": "CC[O-].CI>>CCOC",
        "nitrile": "CCCBr.[C-]#N>>CCCC#N",
        "reduction": "CC(=O)CC.[BH4-]>>CC(O)CC",
        "oxidation": "CCCCO>>CCCC=O",
        "addition": "CC=C.Br>>CC(Br)C",
        "imine": "CC=O.NCC>>CC=NCC",
        "grignard": "CCC=O.C[Mg]Br>>CCC(O)C",
        "thioether": "CCS.ClCCC>>CCSCCC",
    },
}
TINY = "tiny transformer"
STEPS = [0, 100, 200, 250, 300, 350, 400, 600]
LETTERS = range(2, 53)
SHARES = ("first", "itself", "previous", "partner")


def answer(request):
    """Return what every head of the model scores, and the maps of one layer of it.

    `request` names `model`, `text`, `layer`, `head` and what is `shown`, "weights" or "handed
    over"; for the tiny transformer also the `step` of its training. Without `layer` and `head`,
    the one that gives the partner most is taken.
    """
    model = one_of("model", request.get("model", "MiniLM"), [*RECORDED, TINY])
    if model == TINY:
        text = letters(request.get("text", "wmkaqwmkaq"))
        step = one_of("step", request.get("step", 600), STEPS)
        found, chances = live(text, trained_tiny_transformer(step))
    else:
        text = one_of("text", request.get("text", next(iter(RECORDED[model]))), RECORDED[model])
        step, found, chances = None, real_map(text), None
    shown = one_of("shown", request.get("shown", "weights"), ["weights", "handed over"])
    scored = scores(found)
    layers, heads = found.removed.shape
    strongest = {name: place(by_head) for name, by_head in scored.items()}
    chosen = strongest.get("partner", [0, 0])
    layer = one_of("layer", request.get("layer", chosen[0]), range(layers))
    head = one_of("head", request.get("head", chosen[1]), range(heads))
    parts = found.weights[layer] if shown == "weights" else handed_over(found)[layer]
    return {
        "choices": {"recorded": RECORDED, "live": TINY, "steps": STEPS},
        "model": model,
        "text": text,
        "step": step,
        "shown": shown,
        "layer": layer,
        "head": head,
        "tokens": found.tokens,
        "partners": found.partners.tolist(),
        "scores": {name: by_head.round(4).tolist() for name, by_head in scored.items()},
        "strongest": strongest,
        "over half": {n: int((scored[n] > 0.5).sum()) for n in SHARES if n in scored},
        "maps": parts.round(2).tolist(),
        "lengths": found.lengths[layer, head].round(2).tolist(),
        "next": next_tokens(found.next_tokens, chances, layer, head),
    }


def scores(found):
    """Return each head's mean weight on four kinds of key, and what it costs to change it."""
    weights, asked = found.weights, np.flatnonzero(found.partners >= 0)
    scored = {
        "first": weights[..., 0].mean(axis=-1),
        "itself": weights.diagonal(0, axis1=-2, axis2=-1).mean(axis=-1),
        "previous": weights.diagonal(-1, axis1=-2, axis2=-1).mean(axis=-1),
        "removed": found.removed,
    }
    if asked.size:
        scored["partner"] = weights[:, :, asked, found.partners[asked]].mean(axis=-1)
    if found.shifted is not None:
        scored["shifted"] = found.shifted
    return scored


def handed_over(found):
    """Return each key's share in the lengths of what a query is handed: weight times length."""
    parts = found.weights * found.lengths[..., None, :]
    total = parts.sum(axis=-1, keepdims=True)
    return np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)


def place(by_head):
    """Return the layer and the head of the largest score."""
    return [int(at) for at in np.unravel_index(by_head.argmax(), by_head.shape)]


def live(text, parameters):
    """Run the tiny transformer on letters: what `real_map` would hold, and what comes next.

    The second of the two holds the probabilities of the next letter: with all heads, and by layer
    and head without one.
    """
    ids = np.array([ord(letter) - ord("a") for letter in text])
    run, last, chance = read_by(parameters, ids)
    chances = {None: chance}
    lengths, removed = np.zeros((2, 2, len(ids))), np.zeros((2, 2))
    for layer in range(2):
        for head in range(2):
            name, rows = f"blocks.{layer}.attention.w_o", slice(12 * head, 12 * head + 12)
            values, w_o = run.caches[layer].value[head], parameters[name]
            lengths[layer, head] = np.linalg.norm(values @ w_o[rows], axis=-1)
            without = w_o.copy()
            without[rows] = 0
            _, other, chances[layer, head] = read_by(parameters | {name: without}, ids)
            removed[layer, head] = 1 - cosine(last, other)
    found = RealMap(
        model=TINY,
        text=text,
        tokens=tuple(text),
        weights=np.stack(run.weights),
        lengths=lengths,
        partners=followers(ids),
        removed=removed,
        shifted=None,  # the weights of a run cannot be changed from outside
        next_tokens={letter(at): float(chance[at]) for at in chance.argsort()[::-1][:5]},
    )
    return found, chances


def read_by(parameters, ids):
    """Return the run of a tiny transformer, its last vector, and what letter comes next."""
    unembedding = parameters["unembedding"]
    plain = np.eye(*unembedding.shape)  # so that the "logits" are the vector, and zeros after it
    run = tiny_transformer(ids, parameters | {"unembedding": plain}, heads=2)
    last = run.logits[-1, : len(unembedding)]
    return run, last, softmax(last @ unembedding)


def cosine(a, b):
    """Return the cosine of the angle between two vectors."""
    return a @ b / np.sqrt((a @ a) * (b @ b))


def followers(ids):
    """Return for each letter the position after its last earlier copy, or -1."""
    partners = np.full(len(ids), -1)
    for at, one in enumerate(ids):
        earlier = np.flatnonzero(ids[:at] == one)
        if earlier.size:
            partners[at] = earlier[-1] + 1
    return partners


def next_tokens(likeliest, chances, layer, head):
    """Return rows of a next token, its probability and that without the head, if it was run."""
    if chances is None:
        return [[token, round(chance, 4), None] for token, chance in likeliest.items()]
    without = chances[layer, head]
    tokens = dict.fromkeys([*likeliest, letter(without.argmax())])
    at = {token: ord(token) - ord("a") for token in tokens}
    return [
        [token, round(float(chances[None][n]), 4), round(float(without[n]), 4)]
        for token, n in at.items()
    ]


def letter(number):
    """Return the letter of a token id."""
    return chr(ord("a") + int(number))


def letters(text):
    """Return `text`; raise unless the tiny transformer can read it."""
    if not isinstance(text, str) or len(text) not in LETTERS:
        rule = f"{LETTERS.start} to {LETTERS.stop - 1} letters"
        came = len(text) if isinstance(text, str) else text
        raise ValueError(f"text must have {rule}, got {came!r}")
    others = [one for one in text if not "a" <= one <= "z"]
    if others:
        raise ValueError(f"text must hold the letters a to z alone, got {others[0]!r}")
    return text


def one_of(name, value, allowed):
    """Return `value`; raise unless it is one of `allowed`."""
    names = [*allowed]
    if type(value) is not type(names[0]) or value not in names:
        rule = f"one of {', '.join(map(str, names))}"
        if isinstance(allowed, range):
            rule = f"{names[0]} to {names[-1]}"
        raise ValueError(f"{name} must be {rule}, got {value!r}")
    return value
