import math

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    rotary_embedding,
    rotary_frequencies,
    rotate_pairs,
    sinusoidal_encoding,
)

seeds = st.integers(0, 2**32 - 1)
layouts = st.sampled_from(["interleaved", "half"])
LAYOUTS = pytest.mark.parametrize("layout", ["interleaved", "half"])


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def turned(x, layout, angles):
    """Rotate with complex numbers; the angles have all the axes of x."""
    pairs = angles.shape[-1]
    first, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
    axis = (-1, pairs, 2) if layout == "interleaved" else (-1, 2, pairs)
    split = first.reshape(*x.shape[:-1], *axis[1:])
    split = split if layout == "interleaved" else split.swapaxes(-1, -2)
    split = torch.complex(split[..., 0], split[..., 1]) * torch.polar(
        torch.ones_like(angles), angles
    )
    split = torch.view_as_real(split)
    split = split if layout == "interleaved" else split.swapaxes(-1, -2)
    return torch.cat([split.reshape(first.shape), rest], dim=-1)


@given(seed=seeds, layout=layouts, d_rotary=st.sampled_from([None, 2, 6]), first=st.integers(0, 99))
def test_rotary_turns_as_complex_numbers_do(library, seed, layout, d_rotary, first):
    x = draw(seed, 2, 3, 5, 10)
    found = rotary_embedding(library.array(x), layout=layout, positions=first, d_rotary=d_rotary)
    frequencies = 10000.0 ** (-np.arange(0, d_rotary or 10, 2) / (d_rotary or 10))
    angles = np.arange(first, first + 5)[:, None] * frequencies
    expected = turned(torch.asarray(x), layout, torch.asarray(angles))
    np.testing.assert_allclose(library.numpy(found), expected, rtol=1e-12, atol=1e-13)


@LAYOUTS
def test_gradients_are_those_of_complex_numbers(layout):
    frequencies = torch.tensor(rotary_frequencies(6), requires_grad=True)
    x = torch.tensor(draw(1, 2, 3, 5, 10), requires_grad=True)
    positions = torch.tensor([4, 0, 9, 2, 2])
    found = rotary_embedding(
        x, layout=layout, positions=positions, d_rotary=6, frequencies=frequencies
    )
    weight = torch.tensor(draw(2, 2, 3, 5, 10))
    gradients = torch.autograd.grad((found * weight).sum(), [x, frequencies])
    expected = turned(x, layout, positions[:, None] * frequencies)
    expected = torch.autograd.grad((expected * weight).sum(), [x, frequencies])
    torch.testing.assert_close(gradients, expected)


@given(seed=seeds, layout=layouts, shift=st.integers(-50, 50))
def test_dot_products_depend_on_the_difference_of_positions_alone(library, seed, layout, shift):
    query, key = draw(seed, 1, 8), draw(seed + 1, 7, 8)

    def scores(q_start, k_start):
        q, k = (
            library.numpy(rotary_embedding(library.array(x), layout=layout, positions=start))
            for x, start in ((query, q_start), (key, k_start))
        )
        return q @ k.T

    near, far = scores(3, 0), scores(3 + shift, shift)
    np.testing.assert_allclose(near, far, rtol=1e-11, atol=1e-12)
    assert np.abs(scores(4, 0) - near).max() > 1e-3


@given(seed=seeds, layout=layouts, first=st.integers(-1000, 100000))
def test_rotation_keeps_the_length_of_every_vector(library, seed, layout, first):
    x = draw(seed, 3, 5, 8)
    found = rotary_embedding(library.array(x), layout=layout, positions=first)
    np.testing.assert_allclose(
        np.linalg.norm(library.numpy(found), axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-14
    )


@given(seed=seeds, layout=layouts)
def test_position_zero_changes_nothing_and_turns_add_up(library, seed, layout):
    x = library.array(draw(seed, 1, 8))
    np.testing.assert_array_equal(library.numpy(rotary_embedding(x, layout=layout)), x)
    once = rotary_embedding(x, layout=layout, positions=5)
    twice = rotary_embedding(once, layout=layout, positions=-3)
    expected = rotary_embedding(x, layout=layout, positions=2)
    np.testing.assert_allclose(library.numpy(twice), library.numpy(expected), atol=1e-13)


@given(seed=seeds)
def test_the_layouts_differ_by_an_order_of_features(library, seed):
    x = draw(seed, 3, 5, 10)
    order = [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]  # pairs side by side
    half = library.numpy(rotary_embedding(library.array(x), layout="half"))
    interleaved = rotary_embedding(library.array(x[..., order]), layout="interleaved")
    np.testing.assert_array_equal(library.numpy(interleaved), half[..., order])


def test_weights_of_one_layout_are_wrong_with_the_other():
    x, w_q, w_k = draw(0, 7, 8), draw(1, 8, 8), draw(2, 8, 8)

    def scores(layout, order=slice(None)):
        query, key = (rotary_embedding((x @ w)[:, order], layout=layout) for w in (w_q, w_k))
        return query @ key.T

    half, reordered = scores("half"), scores("interleaved", [0, 4, 1, 5, 2, 6, 3, 7])
    np.testing.assert_allclose(reordered, half, rtol=1e-12)
    assert np.abs(scores("interleaved") - half).max() > 0.1 * np.abs(half).max()
    # Neither the first row's own score nor the norms show it.
    np.testing.assert_allclose(np.diag(scores("interleaved")), np.diag(half), rtol=1e-12)


@LAYOUTS
def test_positions_of_each_row(library, layout):
    x, ids = draw(0, 2, 3, 5, 8), np.array([[0, 1, 2, 0, 1], [7, 3, 3, 0, 9]])
    given_ids = library.array(ids[:, None].astype(np.int32))
    found = library.numpy(rotary_embedding(library.array(x), layout=layout, positions=given_ids))
    for place in np.ndindex(2, 3, 5):
        position = int(ids[place[0], place[2]])
        one = rotary_embedding(x[place][None], layout=layout, positions=position)
        np.testing.assert_allclose(found[place], one[0], rtol=1e-13, atol=1e-14)
    same = rotary_embedding(library.array(x), layout=layout, positions=library.array(ids[1]))
    np.testing.assert_array_equal(library.numpy(same)[1], found[1])


@LAYOUTS
def test_each_head_may_have_positions_of_its_own(layout):
    x, ids = draw(0, 2, 3, 5, 8), np.arange(30).reshape(2, 3, 5) ** 2 % 31
    found = rotary_embedding(x, layout=layout, positions=ids)
    for place in np.ndindex(2, 3):
        head = rotary_embedding(x[place], layout=layout, positions=ids[place])
        np.testing.assert_array_equal(found[place], head)


@LAYOUTS
def test_one_row_at_a_time_equals_all_at_once(layout):
    x = draw(0, 3, 7, 8)
    rows = [
        rotary_embedding(x[:, i : i + 1], layout=layout, positions=np.int64(i)) for i in range(7)
    ]
    whole = rotary_embedding(x, layout=layout)
    np.testing.assert_array_equal(np.concat(rows, axis=1), whole)


@LAYOUTS
def test_features_beyond_d_rotary_pass_bit_for_bit(library, layout):
    x = draw(0, 3, 5, 11).astype(np.float32)
    found = rotary_embedding(library.array(x), layout=layout, d_rotary=4, positions=9)
    np.testing.assert_array_equal(library.numpy(found)[..., 4:], x[..., 4:])
    part = rotary_embedding(library.array(x[..., :4].copy()), layout=layout, positions=9)
    np.testing.assert_array_equal(library.numpy(found)[..., :4], library.numpy(part))


@LAYOUTS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_number_stays_in_its_row_and_pair(library, layout, bad):
    x = draw(0, 5, 8)
    tainted = x.copy()
    tainted[2, 1] = bad
    found, clean = (
        library.numpy(rotary_embedding(library.array(n), layout=layout)) for n in (tainted, x)
    )
    partner = 0 if layout == "interleaved" else 5
    same = np.ones(x.shape, dtype=bool)
    same[2, [1, partner]] = False
    np.testing.assert_array_equal(found[same], clean[same])
    assert not np.isfinite(found[2, 1])


@LAYOUTS
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_plain_formula_in_float32(library, layout, dtype):
    if (library.name, dtype) == ("array-api-strict", "float16"):
        return  # has no float16
    x = draw(7, 3, 1000, 64).astype(dtype)
    found = rotary_embedding(library.array(x), layout=layout)
    assert library.numpy(found).dtype == dtype
    exact = rotary_embedding(x.astype(np.float64), layout=layout)
    wide = torch.asarray(x.astype(np.float32))
    angles = torch.arange(1000)[:, None] / 10000 ** (torch.arange(0, 64, 2) / 64)
    plain = turned(wide, layout, angles).numpy().astype(dtype)
    limit = 2 * np.abs(plain.astype(np.float64) - exact).max()
    assert np.abs(library.numpy(found).astype(np.float64) - exact).max() <= limit


def test_float64_frequencies_keep_far_positions_exact():
    x = draw(0, 3, 8).astype(np.float32)
    exact = rotary_embedding(x.astype(np.float64), layout="half", positions=10**6)
    found = rotary_embedding(x, layout="half", positions=10**6, frequencies=rotary_frequencies(8))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, atol=4e-7)


@LAYOUTS
@pytest.mark.parametrize("shape", [(0, 4), (0, 3, 4), (3, 0, 4), (1, 2)])
def test_nothing_is_allowed(library, layout, shape):
    x = library.array(np.ones(shape))
    assert tuple(rotary_embedding(x, layout=layout).shape) == shape


def test_frequencies_fall_from_one_towards_the_base():
    np.testing.assert_allclose(rotary_frequencies(8, base=16.0), [1, 0.5, 0.25, 0.125])
    np.testing.assert_allclose(
        rotary_frequencies(128)[[0, 1, 32, 63]], [1, 10**-0.0625, 0.01, 10**-3.9375]
    )


@given(seed=seeds, layout=layouts)
def test_rotate_pairs_takes_any_cosines_and_sines(library, seed, layout):
    x, angles = draw(seed, 2, 3, 5, 8), draw(seed + 1, 2, 1, 5, 3)
    found = rotate_pairs(
        *(library.array(n) for n in (x, np.cos(angles), np.sin(angles))), layout=layout
    )
    expected = turned(
        torch.asarray(x), layout, torch.asarray(np.broadcast_to(angles, (2, 3, 5, 3)).copy())
    )
    np.testing.assert_allclose(library.numpy(found), expected, rtol=1e-12, atol=1e-14)


# In Python's own sine and cosine: position, feature, value for d_model 512.
SINUSOIDS = [
    (0, 0, 0.0),
    (0, 511, 1.0),
    (1, 0, math.sin(1)),
    (1, 1, math.cos(1)),
    (50, 256, math.sin(50 / 100)),
    (50, 257, math.cos(50 / 100)),
    (99, 128, math.sin(99 / 10)),
    (99, 511, math.cos(99 / 10000 ** (510 / 512))),
]


@pytest.mark.parametrize(("position", "feature", "value"), SINUSOIDS)
def test_sinusoids_are_those_of_the_paper(position, feature, value):
    found = sinusoidal_encoding(100, 512)[position, feature]
    np.testing.assert_allclose(found, value, rtol=1e-9)


@given(length=st.integers(0, 40), pairs=st.integers(1, 9))
def test_sinusoids_are_points_on_circles(library, length, pairs):
    encoding = sinusoidal_encoding(length, 2 * pairs, like=library.array(np.zeros(1)))
    encoding = library.numpy(encoding)
    assert encoding.shape == (length, 2 * pairs)
    points = encoding[:, 0::2] * 1j + encoding[:, 1::2]
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(pairs) / pairs)
    np.testing.assert_allclose(points, np.exp(1j * angles), atol=1e-14)


def test_a_shift_of_sinusoids_is_a_rotation():
    encoding = sinusoidal_encoding(30, 8)
    swapped = encoding.reshape(30, 4, 2)[..., ::-1].reshape(30, 8)  # cosine first
    shifted = rotary_embedding(swapped[:20], layout="interleaved", positions=np.full(20, 10))
    np.testing.assert_allclose(shifted, swapped[10:], atol=1e-14)


def test_like_decides_library_device_and_dtype():
    half = np.zeros(1, dtype=np.float16)
    assert sinusoidal_encoding(3, 4).dtype == rotary_frequencies(4).dtype == np.float64
    assert sinusoidal_encoding(3, 4, like=half).dtype == np.float16
    assert rotary_frequencies(4, like=half).dtype == np.float32
    exact = sinusoidal_encoding(5000, 4).astype(np.float16)
    np.testing.assert_allclose(sinusoidal_encoding(5000, 4, like=half), exact, atol=2**-10)
    meta = torch.zeros(1, 3, 4, device="meta", dtype=torch.bfloat16)
    strict = array_api_strict.ones((2, 4), device=array_api_strict.Device("device1"))
    for like in (meta, strict):
        assert sinusoidal_encoding(3, 4, like=like).device == like.device
        assert sinusoidal_encoding(3, 4, like=like).dtype == like.dtype
        assert rotary_frequencies(4, like=like).device == like.device
        found = rotary_embedding(like, layout="half")
        assert (found.device, found.dtype) == (like.device, like.dtype)


X = np.zeros((2, 3, 5, 8))
FULL = np.zeros((5, 4))


@pytest.mark.no_shape_checks
def test_the_layout_must_be_given():
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'layout'"):
        rotary_embedding(X)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: rotary_embedding(X, layout="neox"),
            ValueError,
            'layout must be "interleaved" or "half", got \'neox\'',
        ),
        (
            lambda: rotate_pairs(X, FULL, FULL, layout=True),
            ValueError,
            'layout must be "interleaved" or "half", got True',
        ),
        (
            lambda: rotary_embedding([1.0], layout="half"),
            TypeError,
            "x must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: rotary_embedding(X.astype(int), layout="half"),
            TypeError,
            "x must have a real floating dtype, got int64",
        ),
        (
            lambda: rotary_embedding(X[0, 0, 0], layout="half"),
            ValueError,
            "x must have shape (..., length, d), got (8,)",
        ),
        (
            lambda: rotary_embedding(X[..., :7], layout="half"),
            ValueError,
            "d_rotary must be even, as features turn in pairs, got 7",
        ),
        (
            lambda: rotary_embedding(X, layout="half", d_rotary=10),
            ValueError,
            "d_rotary must be at most d=8, got 10",
        ),
        (
            lambda: rotary_embedding(X, layout="half", d_rotary=0),
            ValueError,
            "d_rotary must be at least 2, got 0",
        ),
        (
            lambda: rotary_embedding(X, layout="half", d_rotary=0.5),
            TypeError,
            "d_rotary must be an integer, got float",
        ),
        (
            lambda: rotary_embedding(X, layout="half", frequencies=rotary_frequencies(4)),
            ValueError,
            "frequencies must have shape (d_rotary / 2 = 4,), got (2,)",
        ),
        (
            lambda: rotary_embedding(X, layout="half", frequencies=np.ones(4, dtype=int)),
            TypeError,
            "frequencies must have a real floating dtype, got int64",
        ),
        (
            lambda: rotary_embedding(torch.asarray(X), layout="half", frequencies=FULL[0]),
            TypeError,
            "frequencies must be an array of the library of x (torch), got numpy",
        ),
        (
            lambda: rotary_embedding(X, layout="half", positions=1.0),
            TypeError,
            "positions must be an integer or an array of integers, got float",
        ),
        (
            lambda: rotary_embedding(X, layout="half", positions=[0, 1, 2, 3, 4]),
            TypeError,
            "positions must be an integer or an array of integers, got list",
        ),
        (
            lambda: rotary_embedding(X, layout="half", positions=np.arange(5.0)),
            TypeError,
            "positions must have an integral dtype, got float64",
        ),
        (
            lambda: rotary_embedding(X, layout="half", positions=torch.arange(5)),
            TypeError,
            "positions must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: rotary_embedding(X, layout="half", positions=np.zeros((3, 5), dtype=int)),
            ValueError,
            "positions must have shape (5,) or (2, 3, 5), any of which may be 1, got (3, 5)",
        ),
        (
            lambda: rotary_embedding(X, layout="half", positions=np.arange(4)),
            ValueError,
            "positions must have shape (5,) or (2, 3, 5), any of which may be 1, got (4,)",
        ),
        (
            lambda: rotate_pairs(X, FULL[:, :0], FULL, layout="half"),
            ValueError,
            "cos must have shape (5, pairs) or (2, 3, 5, pairs) with pairs from 1 to 4, got (5, 0)",
        ),
        (
            lambda: rotate_pairs(X, np.zeros((5, 5)), FULL, layout="half"),
            ValueError,
            "cos must have shape (5, pairs) or (2, 3, 5, pairs) with pairs from 1 to 4, got (5, 5)",
        ),
        (
            lambda: rotate_pairs(X, X[0], FULL, layout="half"),
            ValueError,
            "cos must have shape (5, pairs) or (2, 3, 5, pairs) with pairs from 1 to 4, "
            "got (3, 5, 8)",
        ),
        (
            lambda: rotate_pairs(X, X[0, ..., :4], FULL, layout="half"),
            ValueError,
            "cos must have shape (5, pairs) or (2, 3, 5, pairs) with pairs from 1 to 4, "
            "got (3, 5, 4)",
        ),
        (
            lambda: rotate_pairs(X, FULL, FULL[:1], layout="half"),
            ValueError,
            "sin must have shape of cos, (5, 4), got (1, 4)",
        ),
        (
            lambda: rotate_pairs(X, FULL, FULL > 0, layout="half"),
            TypeError,
            "sin must have a real floating dtype, got bool",
        ),
        (
            lambda: rotate_pairs(X[0, 0, 0], FULL, FULL, layout="half"),
            ValueError,
            "x must have shape (..., length, d), got (8,)",
        ),
        (
            lambda: rotary_frequencies(7),
            ValueError,
            "d_rotary must be even, as features turn in pairs, got 7",
        ),
        (
            lambda: rotary_frequencies(8, base=0),
            ValueError,
            "base must be a finite number above zero, got 0",
        ),
        (
            lambda: rotary_frequencies(8, like=np.array([1])),
            TypeError,
            "like must have a real floating dtype, got int64",
        ),
        (
            lambda: sinusoidal_encoding(3, 5),
            ValueError,
            "d_model must be even, as features turn in pairs, got 5",
        ),
        (lambda: sinusoidal_encoding(-1, 4), ValueError, "length must be at least 0, got -1"),
        (lambda: sinusoidal_encoding(3.0, 4), TypeError, "length must be an integer, got float"),
        (
            lambda: sinusoidal_encoding(3, 4, like=3),
            TypeError,
            "like must be an array (NumPy, PyTorch, ...), got int",
        ),
        (
            lambda: rotate_pairs(X, torch.asarray(FULL), FULL, layout="half"),
            TypeError,
            "cos must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: rotate_pairs(X, FULL, torch.asarray(FULL), layout="half"),
            TypeError,
            "sin must be an array of the library of x (numpy), got torch",
        ),
        (
            lambda: rotate_pairs(X, FULL > 0, FULL, layout="half"),
            TypeError,
            "cos must have a real floating dtype, got bool",
        ),
        (
            lambda: rotate_pairs(X.astype(int), FULL, FULL, layout="half"),
            TypeError,
            "x must have a real floating dtype, got int64",
        ),
        (
            lambda: rotate_pairs(X, np.array(1.0), np.array(0.0), layout="half"),
            ValueError,
            "cos must have shape (5, pairs) or (2, 3, 5, pairs) with pairs from 1 to 4, got ()",
        ),
        (
            lambda: sinusoidal_encoding(3, 0),
            ValueError,
            "d_model must be at least 2, got 0",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
