"""The array libraries of the conformance kit: what goes in, what comes out, how it is written."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attention_ref.testing._libraries import LIBRARIES, dtype_of, to_numpy

HERE = ("numpy", "torch")


@pytest.mark.parametrize("name", HERE)
def test_an_array_goes_there_and_back(name):
    library = LIBRARIES[name]
    for dtype in sorted(library.dtypes | {"bool"}):
        x = library.array(np.array([[0.0, 1.0], [1.0, 0.0]]), dtype)
        assert dtype_of(x) == dtype
        assert isinstance(x, np.ndarray if name == "numpy" else torch.Tensor)
        back = to_numpy(x)
        assert back.dtype == np.float64
        np.testing.assert_array_equal(back, [[0, 1], [1, 0]])


def test_arrays_are_made_where_they_are_asked_for():
    x = LIBRARIES["torch"].array(np.ones(2), "float16", "meta")
    assert (x.device.type, x.dtype) == ("meta", torch.float16)
    x = LIBRARIES["numpy"].array(np.ones(2), "float32", "cpu")
    assert (type(x), x.dtype) == (np.ndarray, np.float32)
    with pytest.raises(ValueError, match="Unsupported device"):
        LIBRARIES["numpy"].array(np.ones(2), "float32", "cuda")


def test_a_gradient_is_dropped_on_the_way_back():
    x = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(to_numpy(x), [1, 1])


def test_what_numpy_cannot_read_of_mlx_is_read_as_float32(monkeypatch):
    def astype(dtype):
        asked.append(dtype)
        return np.ones(2, np.float32)

    asked = []
    monkeypatch.setitem(sys.modules, "mlx.core", SimpleNamespace(float32="its float32"))
    narrow = SimpleNamespace(dtype="mlx.core.bfloat16", astype=astype)
    np.testing.assert_array_equal(to_numpy(narrow), [1, 1])
    assert asked == ["its float32"]
    assert dtype_of(narrow) == "bfloat16"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("numpy", "np.array([[0.5, -1.0]], dtype=np.float32)"),
        ("torch", "torch.tensor([[0.5, -1.0]], dtype=torch.float32)"),
        ("jax", "jnp.array([[0.5, -1.0]], dtype=jnp.float32)"),
        ("mlx", "mx.array([[0.5, -1.0]], dtype=mx.float32)"),
    ],
)
def test_an_array_is_written_with_its_numbers_and_its_dtype(name, written):
    assert LIBRARIES[name].write(np.array([[0.5, -1.0]]), "float32") == written


def test_booleans_are_written_as_the_library_calls_them():
    written = {name: one.write(np.array([True]), "bool") for name, one in LIBRARIES.items()}
    assert written == {
        "numpy": "np.array([True], dtype=np.bool_)",
        "torch": "torch.tensor([True], dtype=torch.bool)",
        "mlx": "mx.array([True], dtype=mx.bool_)",
        "jax": "jnp.array([True], dtype=jnp.bool)",
    }


def test_the_device_is_written_too():
    x, library = np.array([1.0]), LIBRARIES["torch"]
    assert library.write(x, "float16", torch.device("cuda:1")) == (
        "torch.tensor([1.0], dtype=torch.float16, device='cuda:1')"
    )
    assert library.write(np.ones(13), "float16", "meta") == (
        "torch.full((13,), 1.0, dtype=torch.float16, device='meta')"
    )


@pytest.mark.parametrize("name", HERE)
def test_what_is_long_and_all_equal_is_written_short(name):
    library = LIBRARIES[name]
    xp = {library.alias: np if name == "numpy" else torch, "inf": np.inf}
    half = np.arange(13) < 12
    for x in (np.ones(12), np.ones((2, 7)), np.full((13, 1), -np.inf), 1.0 * half, half):
        dtype = "bool" if x.dtype == bool else "float32"
        text = library.write(x, dtype)
        assert (".full(" in text) == (x.size > 12 and len(np.unique(x)) == 1)
        np.testing.assert_array_equal(eval(text, xp), x)
        assert dtype_of(eval(text, xp)) == dtype


def test_it_is_imported_by_its_usual_name():
    assert [library.import_line for library in LIBRARIES.values()] == [
        "import numpy as np",
        "import torch",
        "import mlx.core as mx",
        "import jax.numpy as jnp",
    ]


def test_what_no_library_has_is_not_asked_of_it():
    lacking = {"numpy": {"bfloat16"}, "torch": set(), "mlx": {"float64"}, "jax": set()}
    every = {"float16", "float32", "float64", "bfloat16"}
    assert {name: every - one.dtypes for name, one in LIBRARIES.items()} == lacking


def test_gradients_are_those_of_copies():
    def call(x, y, unused):
        return 3 * x + 0 * y.detach()

    inputs = [torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    made = []

    def cotangent(out):
        made.append(out)
        return torch.tensor([1.0, 2.0], dtype=torch.float64)

    gradients = LIBRARIES["torch"].gradients(call, inputs, cotangent)
    np.testing.assert_array_equal(gradients[0], [3, 6])
    assert gradients[1:] == [None, None]
    np.testing.assert_array_equal(made[0].detach(), [3, 3])
    assert all(x.grad is None for x in inputs)


def test_where_nothing_has_a_gradient_all_are_none():
    gradients = LIBRARIES["torch"].gradients(
        lambda x, y: (x + y).detach(), [torch.ones(2), torch.ones(2)], None
    )
    assert gradients == [None, None]


def test_jax_is_asked_for_its_vector_jacobian_product(monkeypatch):
    """JAX itself is in tests/peers; this holds the calls that it expects."""

    def vjp(call, *inputs):
        return call(*inputs), lambda weights: tuple(weights * x for x in inputs)

    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(vjp=vjp))
    gradients = LIBRARIES["jax"].gradients(lambda x, y: x * y, [2.0, 5.0], lambda out: out + 1)
    assert gradients == [22.0, 55.0]
