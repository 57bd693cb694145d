"""The libraries that every test runs on, and the shape checks that run along."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import array_api_strict
import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import Phase, settings

# From here on every function checks the shapes in its signature, returns included.
_MODULES = (
    "attention_layer",
    "biases",
    "checks",
    "cost",
    "differential",
    "flash",
    "frequency_scaling",
    "gated",
    "gradients",
    "kv_cache",
    "latent",
    "like",
    "linear",
    "lookup",
    "masks",
    "multi_head",
    "native_sparse",
    "positions",
    "qk_norm",
    "real_maps",
    "scaled_dot_product",
    "softmax",
    "sparse",
    "tiles",
    "tiny_transformer",
    "trained_tiny_transformer",
    "transformer_block",
)
jaxtyping.install_import_hook(
    [
        *(f"attention_ref._{name}" for name in _MODULES),
        "attention_ref.interop",
        "attention_ref.torch",
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)
jaxtyping.config.update("jaxtyping_disable", True)

torch.set_num_threads(1)  # the matrices are tiny

# What is drawn is mostly a seed, which has no smaller case to shrink to.
settings.register_profile(
    "tests",
    deadline=None,
    max_examples=10,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "no_shape_checks: passes what the types rule out, to see what the package itself does",
    )


@pytest.fixture(autouse=True)
def shape_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    jaxtyping.config.update("jaxtyping_disable", "no_shape_checks" in request.keywords)
    yield
    jaxtyping.config.update("jaxtyping_disable", True)


@dataclass(frozen=True)
class Library:
    """One array library: how NumPy's arrays get in, and results out."""

    name: str
    array: Callable[[Any], Any]
    numpy: Callable[[Any], np.ndarray]


LIBRARIES = (
    Library("numpy", np.asarray, np.asarray),
    Library("torch", torch.asarray, lambda x: x.detach().numpy()),
    Library("array-api-strict", array_api_strict.asarray, np.asarray),
)


@pytest.fixture(scope="session", params=LIBRARIES, ids=lambda library: library.name)
def library(request: pytest.FixtureRequest) -> Library:
    return request.param
