import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import logsumexp, masked_softmax, softmax

seeds = st.integers(0, 2**32 - 1)
SHAPE = (3, 5, 7)


def draw(seed, *shape):
    return 3 * np.random.default_rng(seed).standard_normal(shape)


def powers(x, axis):
    """Sum of powers of e, number by number, in Python's own arithmetic."""
    return np.apply_along_axis(lambda line: math.fsum(math.exp(n) for n in line), axis, x)


@given(seed=seeds, axis=st.integers(-3, 2), temperature=st.floats(0.3, 30))
def test_softmax_is_each_power_over_their_sum(library, seed, axis, temperature):
    x = draw(seed, *SHAPE)
    weights = library.numpy(softmax(library.array(x), axis, temperature=temperature))
    expected = np.exp(x / temperature) / np.expand_dims(powers(x / temperature, axis), axis)
    np.testing.assert_allclose(weights, expected, rtol=1e-13)
    np.testing.assert_allclose(weights.sum(axis), 1, rtol=1e-14)


@given(seed=seeds, shift=st.floats(-1e3, 1e3))
def test_adding_a_constant_changes_no_weight(library, seed, shift):
    x = draw(seed, *SHAPE)
    weights, shifted = (library.numpy(softmax(library.array(n))) for n in (x, x + shift))
    np.testing.assert_allclose(shifted, weights, rtol=1e-11)


@pytest.mark.parametrize("huge", [1e30, 1e38])
def test_huge_scores_stay_finite(library, huge):
    x = library.array(np.array([huge, huge, -huge], dtype=np.float32))
    assert library.numpy(softmax(x)).tolist() == [0.5, 0.5, 0.0]
    assert library.numpy(logsumexp(x)) == np.float32(huge)


def test_a_small_temperature_overflows_nothing(library):
    x = library.array(np.array([3e38, 2e38, 3e38], dtype=np.float32))
    weights = softmax(x, temperature=0.5)
    assert library.numpy(weights).tolist() == [0.5, 0.0, 0.5]


def test_temperature_sharpens_and_flattens(library):
    x = library.array(np.array([1.0, 2.0, 4.0]))
    assert library.numpy(softmax(x, temperature=1e-3)).tolist() == [0.0, 0.0, 1.0]
    flat = library.numpy(softmax(x, temperature=1e9))
    np.testing.assert_allclose(flat, 1 / 3, rtol=1e-8)


@pytest.mark.no_shape_checks
def test_integers_and_numpy_scalars_do_as_numbers(library):
    x = library.array(np.array([[1.0, 2.0]], dtype=np.float32))
    weights = softmax(x, np.int64(1), temperature=np.float64(2))
    assert weights.dtype == x.dtype
    np.testing.assert_array_equal(library.numpy(weights), library.numpy(softmax(x, temperature=2)))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula_in_float32(dtype):
    x = draw(7, 11, 13).astype(dtype)
    weights, logarithms = softmax(x), logsumexp(x)
    assert weights.dtype == logarithms.dtype == dtype

    def error(function, result):
        return np.abs(result.astype(dtype) - function(np.exp(x.astype(np.float64)))).max()

    plain = np.exp(x.astype(np.float32))
    for result, function in (
        (weights, lambda powers: powers / powers.sum(-1, keepdims=True)),
        (logarithms, lambda powers: np.log(powers.sum(-1))),
    ):
        assert error(function, result) <= 2 * error(function, function(plain))


def test_a_float16_sum_of_many_does_not_stall(library):
    if library.name == "array-api-strict":
        return  # has no float16
    x = library.array(np.zeros(5000, dtype=np.float16))
    assert library.numpy(logsumexp(x)) == np.float16(np.log(5000))


@given(seed=seeds, axis=st.integers(-3, 2))
def test_masked_softmax_is_softmax_of_what_is_left(library, seed, axis):
    x, mask = draw(seed, *SHAPE), np.random.default_rng(seed).random(SHAPE) < 0.5
    weights = library.numpy(masked_softmax(library.array(x), library.array(mask), axis))
    moved = (np.moveaxis(array, axis, -1).reshape(-1, SHAPE[axis]) for array in (x, mask, weights))
    for numbers, visible, got in zip(*moved, strict=True):
        assert (got[~visible] == 0).all()
        if visible.any():
            np.testing.assert_allclose(got[visible], softmax(numbers[visible]), rtol=1e-14)


@given(seed=seeds, bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e300]))
def test_what_is_masked_changes_no_bit(library, seed, bad):
    x, mask = draw(seed, *SHAPE), np.random.default_rng(seed).random(SHAPE) < 0.5
    weights = masked_softmax(library.array(x), library.array(mask))
    tainted = masked_softmax(library.array(np.where(mask, x, bad)), library.array(mask))
    np.testing.assert_array_equal(library.numpy(tainted), library.numpy(weights))


def test_a_visible_nan_taints_its_own_row_alone(library):
    x = np.array([[np.nan, 1.0, 2.0], [1.0, 1.0, 2.0]])
    mask = np.array([[True, True, False], [True, True, False]])
    weights = library.numpy(masked_softmax(library.array(x), library.array(mask)))
    np.testing.assert_array_equal(weights, [[np.nan, np.nan, 0], [0.5, 0.5, 0]])


def test_a_mask_is_minus_infinity_and_not_a_large_number(library):
    x = library.array(np.array([-1e30, -1e30, 0.0, -2e9]))
    mask = library.array(np.array([True, True, False, False]))
    assert library.numpy(masked_softmax(x, mask)).tolist() == [0.5, 0.5, 0, 0]


def test_mask_broadcasts_to_the_scores(library):
    x = draw(1, *SHAPE)
    mask = np.array([True, False, True, True, False, True, True])
    weights = masked_softmax(library.array(x), library.array(mask))
    full = masked_softmax(library.array(x), library.array(np.broadcast_to(mask, SHAPE).copy()))
    np.testing.assert_array_equal(library.numpy(weights), library.numpy(full))


def test_nothing_visible_weighs_zero_with_zero_gradient():
    x = torch.tensor([[1.0, 2.0], [3.0, -np.inf], [np.nan, np.inf]], requires_grad=True)
    mask = torch.tensor([[True, True], [False, False], [False, False]])
    weights = masked_softmax(x, mask)
    assert weights[1:].tolist() == [[0, 0], [0, 0]]
    (gradient,) = torch.autograd.grad(weights[:, 0].sum(), x)
    assert gradient[1:].tolist() == [[0, 0], [0, 0]]
    assert gradient[0, 0] > 0


def test_nothing_but_minus_infinity_sums_to_zero(library):
    x = library.array(np.array([[-np.inf, -np.inf], [-np.inf, 5.0], [np.inf, 5.0]]))
    assert library.numpy(logsumexp(x)).tolist() == [-np.inf, 5.0, np.inf]


def test_an_empty_axis(library):
    x = library.array(np.zeros((3, 0)))
    assert softmax(x).shape == (3, 0)
    assert masked_softmax(x, library.array(np.zeros((3, 0), dtype=bool))).shape == (3, 0)
    assert library.numpy(logsumexp(x)).tolist() == [-np.inf] * 3


def test_logsumexp_of_nothing_or_of_nan_has_no_part_in_the_gradient():
    x = torch.tensor(
        [[-math.inf, -math.inf], [0.0, math.log(3.0)], [math.nan, 1.0]], requires_grad=True
    )
    result = logsumexp(x)
    assert result[2].isnan()
    (gradient,) = torch.autograd.grad(result[:2].sum(), x)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0.0], [0.25, 0.75], [0.0, 0.0]]))


@given(seed=seeds, axis=st.integers(-3, 2))
def test_logsumexp_is_the_logarithm_of_the_denominator(library, seed, axis):
    x = draw(seed, *SHAPE)
    result = library.numpy(logsumexp(library.array(x), axis))
    np.testing.assert_allclose(result, np.log(powers(x, axis)), rtol=1e-13, atol=1e-13)


def test_gradients_agree_with_finite_differences():
    x = torch.asarray(draw(3, 3, 5)).requires_grad_()
    mask = torch.asarray(np.random.default_rng(2).random((3, 5)) < 0.5)
    mask[1] = False
    assert torch.autograd.gradcheck(lambda x: softmax(x, 0, temperature=0.7), x)
    assert torch.autograd.gradcheck(lambda x: masked_softmax(x, mask), x)
    assert torch.autograd.gradcheck(logsumexp, x)


X = np.zeros((2, 3))
MASK = np.ones((2, 3), dtype=bool)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: softmax([3, 6, 7]),
            TypeError,
            "x must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: softmax(np.array([3, 6, 7])),
            TypeError,
            "x must have a real floating dtype, got int64",
        ),
        (
            lambda: softmax(torch.tensor([True])),
            TypeError,
            "x must have a real floating dtype, got bool",
        ),
        (
            lambda: softmax(X, 2),
            ValueError,
            "axis must be one of x, which has shape (2, 3), got 2",
        ),
        (
            lambda: softmax(X, -3),
            ValueError,
            "axis must be one of x, which has shape (2, 3), got -3",
        ),
        (
            lambda: softmax(np.array(1.0)),
            ValueError,
            "axis must be one of x, which has shape (), got -1",
        ),
        (lambda: softmax(X, None), TypeError, "axis must be an integer, got NoneType"),
        (lambda: softmax(X, True), TypeError, "axis must be an integer, got bool"),
        (lambda: softmax(X, 1.0), TypeError, "axis must be an integer, got float"),
        (
            lambda: softmax(X, temperature=0),
            ValueError,
            "temperature must be a finite number above zero, got 0",
        ),
        (
            lambda: softmax(X, temperature=-1.5),
            ValueError,
            "temperature must be a finite number above zero, got -1.5",
        ),
        (
            lambda: softmax(X, temperature=math.nan),
            ValueError,
            "temperature must be a finite number above zero, got nan",
        ),
        (
            lambda: softmax(X, temperature=math.inf),
            ValueError,
            "temperature must be a finite number above zero, got inf",
        ),
        (
            lambda: softmax(X, temperature="hot"),
            TypeError,
            "temperature must be a finite number above zero, got str",
        ),
        (
            lambda: softmax(X, temperature=True),
            TypeError,
            "temperature must be a finite number above zero, got bool",
        ),
        (
            lambda: masked_softmax(X, MASK.astype(float)),
            TypeError,
            "mask must be boolean, True where a query may attend, got float64: "
            "numbers would be added to the scores, where 0 and 1 hide nothing "
            "(0 and -inf do: pass them as bias)",
        ),
        (
            lambda: masked_softmax(X, torch.ones(2, 3, dtype=torch.bool)),
            TypeError,
            "mask must be an array of the library of scores (numpy), got torch",
        ),
        (
            lambda: masked_softmax(X, [True, False, True]),
            TypeError,
            "mask must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: masked_softmax(X, MASK[:, :2]),
            ValueError,
            "mask must have shape that broadcasts to that of scores, (2, 3), got (2, 2)",
        ),
        (
            lambda: masked_softmax(X, MASK[None]),
            ValueError,
            "mask must have shape that broadcasts to that of scores, (2, 3), got (1, 2, 3)",
        ),
        (
            lambda: masked_softmax(X, MASK, 2),
            ValueError,
            "axis must be one of scores, which has shape (2, 3), got 2",
        ),
        (
            lambda: masked_softmax(MASK, MASK),
            TypeError,
            "scores must have a real floating dtype, got bool",
        ),
        (
            lambda: logsumexp(X, 2),
            ValueError,
            "axis must be one of x, which has shape (2, 3), got 2",
        ),
        (
            lambda: logsumexp(np.array([1])),
            TypeError,
            "x must have a real floating dtype, got int64",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
