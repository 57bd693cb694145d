"""The weights of a trained `tiny_transformer`, as they were while it learned."""

from importlib.resources import files

import numpy as np


def trained_tiny_transformer(step: int = 600) -> dict[str, np.ndarray]:
    r"""Return the weights of a `tiny_transformer` that copies and recalls letters.

    $$\text{w m k a q w m k a} \mapsto \text{q}, \qquad
    \text{w m k a z q k a w m z} \mapsto \text{q}$$

    Its tokens are the letters, from a, which is 0, to z, 25; it has two blocks of two heads. In
    400 steps it learned to copy, as on the left: different letters, 5 to 12, come twice. Then up
    to step 600 it also learned to recall, as on the right: pairs come twice, the second time in
    another order. Only what stands earlier in the text says what comes next.

    Args:
        step: After how many steps of training: 0, 100, 200, 250, 300, 350, 400 or 600.

    Returns:
        The parameters of `tiny_transformer`, 8280 numbers, rounded to float16 when they were kept,
        as NumPy arrays of float64. Call it with `heads=2`.

    Raises:
        ValueError: If no weights were kept at this step; the message gives those that were.

    Complexity: O(1) time and memory: it reads a file of 126 kB.

    Examples:
        >>> from attention_ref import tiny_transformer
        >>> ids = np.array([ord(letter) - ord("a") for letter in "wmkaqwmka"])
        >>> logits = tiny_transformer(ids, trained_tiny_transformer(), heads=2).logits
        >>> chr(ord("a") + logits[-1].argmax())
        'q'
    """
    name = "trained_tiny_transformer.npz"
    with (files("attention_ref") / name).open("rb") as file, np.load(file) as arrays:
        steps = arrays["steps"].tolist()
        if step not in steps:
            kept = ", ".join(map(str, steps))
            raise ValueError(f"step must be one of {kept}, got {step!r}")
        at = steps.index(step)
        names = [name for name in arrays.files if name != "steps"]
        return {name: arrays[name][at].astype(np.float64) for name in names}
