"""The mask bench's programs, run by the libraries themselves: they give what the bench says."""

import contextlib
import importlib.util
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
PATH = Path(__file__).parents[2] / "web/src/explore/mask_bench.py"
SPEC = importlib.util.spec_from_file_location("mask_bench", PATH)
assert SPEC is not None
assert SPEC.loader is not None
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)

CAUSAL = {"kind": "causal"}
REQUESTS: dict[str, dict[str, Any]] = {
    "everything": {"q_len": 3, "kv_len": 5, "parts": []},
    "causal": {"q_len": 5, "kv_len": 5, "parts": [CAUSAL]},
    "decoding, not said": {"q_len": 1, "kv_len": 5, "parts": [CAUSAL]},
    "decoding, the last": {"q_len": 1, "kv_len": 5, "q_start": 4, "parts": [CAUSAL]},
    "bottom-right": {"q_len": 3, "kv_len": 7, "q_start": 4, "parts": [CAUSAL]},
    "between": {"q_len": 3, "kv_len": 7, "q_start": 2, "parts": [CAUSAL]},
    "before the first": {"q_len": 3, "kv_len": 5, "q_start": -2, "parts": [CAUSAL]},
    "more queries than keys": {"q_len": 5, "kv_len": 3, "q_start": 0, "parts": [CAUSAL]},
    "window": {"q_len": 7, "kv_len": 7, "parts": [{"kind": "window", "left": 2, "right": 1}]},
    "causal window": {
        "q_len": 3,
        "kv_len": 7,
        "q_start": 4,
        "parts": [CAUSAL, {"kind": "window", "left": 2, "right": 0}],
    },
    "padding": {"q_len": 3, "kv_len": 5, "parts": [{"kind": "padding", "length": 2}]},
    "causal padding": {
        "q_len": 5,
        "kv_len": 5,
        "parts": [CAUSAL, {"kind": "padding", "length": 3}],
    },
    "left padding": {
        "q_len": 5,
        "kv_len": 5,
        "parts": [CAUSAL, {"kind": "left padding", "length": 3}],
    },
    "documents": {"q_len": 7, "kv_len": 7, "parts": [CAUSAL, {"kind": "documents", "each": 3}]},
    "or, not": {
        "q_len": 5,
        "kv_len": 7,
        "q_start": 1,
        "parts": [
            {"kind": "prefix", "prefix": 3, "negated": True},
            {"kind": "window", "left": 1, "right": 2, "join": "or"},
            {"kind": "padding", "length": 6, "negated": True},
        ],
    },
}
LIBRARIES = {library.name: library for library in bench.LIBRARIES if not library.documented}


def run(program: str) -> Any:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # Flex says at each call on a CPU that it is slow there.
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        exec(program, namespace)
    weights = namespace["weights"]
    weights = weights.detach().numpy() if hasattr(weights, "detach") else np.asarray(weights)
    return weights.astype(np.float64)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_library_shows_the_mask_that_its_program_is_for(name: str, request_: Any) -> None:
    answer = bench.answer(request_)
    found = next(one for one in answer["libraries"] if one["name"] == name)
    if answer["mask"] is None:
        assert found["program"] is None
        return
    mask = np.array(answer["mask"])
    weights = run(found["program"])
    blind = ~mask.any(axis=-1)
    np.testing.assert_array_equal((weights > 0)[~blind], mask[~blind])
    assert bench.unseen(weights[blind]) == found["unseen"]


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_library_asked_in_its_own_words_sees_what_the_bench_says(
    name: str, request_: Any
) -> None:
    found = next(one for one in bench.answer(request_)["libraries"] if one["name"] == name)
    if found["asked"] is None:
        return
    library = LIBRARIES[name]
    read = bench.read(request_)
    call = library.asked(bench.in_words(read), read)[0]
    assert found["asked"] == bench.written(library, call)
    program = bench.program(library, call, read)
    if found["refused"] is not None:
        with pytest.raises((RuntimeError, ValueError)):
            run(program)
        return
    np.testing.assert_array_equal(run(program) > 0, np.array(found["sees"]))
