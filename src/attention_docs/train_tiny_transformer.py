"""Write the trained weights that ship: run the training cells of their notebook.

    python -m attention_docs.train_tiny_transformer

The notebook itself stops the build if it trains other weights than those that ship.
"""

from pathlib import Path
from typing import Any

import jupytext
import numpy as np

_ROOT = Path(__file__).parents[2]
_NOTEBOOK = _ROOT / "docs" / "notebooks" / "tiny-transformer.py"
_WEIGHTS = _ROOT / "src" / "attention_ref" / "trained_tiny_transformer.npz"


def main() -> None:
    """Train, and write what the notebook calls `KEPT` and `weights`."""
    made: dict[str, Any] = {}
    for cell in jupytext.read(_NOTEBOOK).cells:
        if "training" in cell.metadata.get("tags", []):
            exec(cell.source, made)
    rounded = {name: every.astype(np.float16) for name, every in made["weights"].items()}
    np.savez_compressed(_WEIGHTS, steps=np.array(made["KEPT"]), **rounded)
    print(f"wrote {_WEIGHTS.relative_to(_ROOT)}, {_WEIGHTS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
