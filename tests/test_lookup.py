import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import hard_lookup, soft_lookup

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, value_shape=st.sampled_from([(), (5,), (2, 3)]))
def test_hard_lookup_is_a_dict(library, seed, value_shape):
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 3, (13, 2))  # at most 9 different ones, so some come twice
    values = rng.standard_normal((13, *value_shape))
    dictionary = {tuple(key): value for key, value in zip(keys.tolist(), values, strict=True)}
    query = keys[rng.integers(0, 13, (7, 3))]
    found = library.numpy(hard_lookup(*map(library.array, (query, keys, values))))
    expected = np.array([[dictionary[tuple(key)] for key in row] for row in query.tolist()])
    np.testing.assert_array_equal(found, expected)
    one = library.numpy(hard_lookup(*map(library.array, (query[0, 0], keys, values))))
    np.testing.assert_array_equal(one, expected[0, 0])


def test_hard_lookup_wants_every_entry_to_be_equal_exactly(library):
    keys = library.array(np.array([[0.1 + 0.2, 1.0]]))
    values = library.array(np.array([7]))
    assert library.numpy(hard_lookup(keys[0, :], keys, values)) == 7
    for near in ([0.3, 1.0], [0.1 + 0.2, 2.0], [np.nan, 1.0]):
        with pytest.raises(KeyError):
            hard_lookup(library.array(np.array(near)), keys, values)


def test_hard_lookup_finds_text():
    keys, values = np.array([["cat"], ["dog"]]), np.array(["meow", "woof"])
    assert hard_lookup(np.array(["dog"]), keys, values) == "woof"


@pytest.mark.parametrize("keys", [[[1, 2], [3, 4]], np.zeros((0, 2), dtype=int)])
def test_a_missing_key_is_a_key_error_that_names_it(keys):
    query = np.array([[1, 2], [3, 9], [9, 9]])[-2:]
    with pytest.raises(KeyError) as raised:
        hard_lookup(query, np.asarray(keys), np.arange(len(keys)))
    assert raised.value.args == ("no key equals the query [3 9]",)


@given(seed=seeds, temperature=st.floats(0.3, 10), value_shape=st.sampled_from([(), (5,), (2, 3)]))
def test_soft_lookup_weighs_every_value_by_its_match(library, seed, temperature, value_shape):
    rng = np.random.default_rng(seed)
    query, keys = rng.standard_normal((2, 3, 5)), rng.standard_normal((7, 5))
    values = rng.standard_normal((7, *value_shape))
    found = soft_lookup(*map(library.array, (query, keys, values)), temperature=temperature)
    expected = np.zeros((2, 3, *value_shape))
    for place in np.ndindex(2, 3):
        powers = np.exp([query[place] @ key / temperature for key in keys])
        for power, value in zip(powers, values, strict=True):
            expected[place] += power / powers.sum() * value
    np.testing.assert_allclose(library.numpy(found), expected, rtol=1e-11, atol=1e-13)


def test_soft_lookup_becomes_hard_as_the_temperature_falls(library):
    keys = np.array([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])  # all of length 1
    query, values = keys[[1, 0]], np.array([10.0, 20.0, 30.0])
    arrays = [library.array(array) for array in (query, keys, values)]
    soft = soft_lookup(*arrays, temperature=1e-3)
    np.testing.assert_array_equal(library.numpy(soft), library.numpy(hard_lookup(*arrays)))


def test_soft_lookup_keeps_the_values_dtype(library):
    query, keys = (library.array(np.ones(shape, dtype=np.float32)) for shape in ((5,), (3, 5)))
    values = library.array(np.array([1.0, 2.0, 6.0 + 1e-12]))
    found = soft_lookup(query, keys, values)
    assert found.dtype == values.dtype
    np.testing.assert_allclose(library.numpy(found), 3 + 1e-12 / 3, rtol=1e-15)


def test_soft_lookup_of_float16_computes_in_float32():
    query, keys = (np.full(shape, 100, dtype=np.float16) for shape in ((5,), (3, 5)))
    found = soft_lookup(query, keys, np.array([1, 2, 6], dtype=np.float16), temperature=2)
    assert found == 3
    assert found.dtype == np.float16


def test_soft_lookup_of_nothing_is_zero(library):
    arrays = [library.array(np.zeros(shape)) for shape in ((3, 2), (0, 2), (0, 5))]
    assert library.numpy(soft_lookup(*arrays)).tolist() == np.zeros((3, 5)).tolist()


def test_soft_lookup_gradient():
    rng = np.random.default_rng(5)
    arrays = [torch.asarray(rng.standard_normal(s)) for s in ((3, 2), (5, 2), (5, 7))]
    assert torch.autograd.gradcheck(soft_lookup, [array.requires_grad_() for array in arrays])


Q, K, V = np.zeros((5, 2)), np.zeros((3, 2)), np.zeros((3, 7))


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: hard_lookup([0, 0], K, V),
            TypeError,
            "query must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: hard_lookup(Q, K, torch.zeros(3)),
            TypeError,
            "values must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: hard_lookup(Q, K.astype(int), V),
            TypeError,
            "keys must have the dtype of query (float64), got int64",
        ),
        (
            lambda: hard_lookup(np.array(1.0), K, V),
            ValueError,
            "query must have shape (*batch, d_k), got ()",
        ),
        (
            lambda: hard_lookup(Q, K[:, :1], V),
            ValueError,
            "keys must have shape (kv_len, d_k=2), got (3, 1)",
        ),
        (
            lambda: hard_lookup(Q, K[None], V),
            ValueError,
            "keys must have shape (kv_len, d_k=2), got (1, 3, 2)",
        ),
        (
            lambda: hard_lookup(Q, K, V[:2]),
            ValueError,
            "values must have shape (kv_len=3, ...), got (2, 7)",
        ),
        (
            lambda: hard_lookup(Q, K, np.array(1.0)),
            ValueError,
            "values must have shape (kv_len=3, ...), got ()",
        ),
        (
            lambda: soft_lookup(Q, K, V.astype(int)),
            TypeError,
            "values must have a real floating dtype, got int64",
        ),
        (
            lambda: soft_lookup(Q.astype(int), K.astype(int), V),
            TypeError,
            "query must have a real floating dtype, got int64",
        ),
        (
            lambda: soft_lookup(Q, K, V, temperature=0.0),
            ValueError,
            "temperature must be a finite number above zero, got 0.0",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
