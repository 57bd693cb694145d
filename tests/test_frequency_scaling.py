import math

import array_api_strict
import numpy as np
import pytest
import torch

from attention_ref import (
    linear_frequency_scaling,
    llama3_frequency_scaling,
    ntk_frequency_scaling,
    rotary_embedding,
    rotary_frequencies,
    yarn_attention_factor,
    yarn_frequency_scaling,
)


def linear(frequencies, factor=4.0):
    return linear_frequency_scaling(frequencies, factor=factor)


def ntk(frequencies, factor=4.0):
    return ntk_frequency_scaling(frequencies, factor=factor)


def llama3(frequencies, factor=8.0, low=1.0, high=4.0, original_length=8192):
    return llama3_frequency_scaling(
        frequencies,
        factor=factor,
        low_freq_factor=low,
        high_freq_factor=high,
        original_length=original_length,
    )


def yarn(frequencies, factor=4.0, original_length=2048, **options):
    return yarn_frequency_scaling(
        frequencies, factor=factor, original_length=original_length, **options
    )


SCALINGS = pytest.mark.parametrize("scaling", [linear, ntk, llama3, yarn])


def test_linear_scaling_squeezes_positions(library):
    x = library.array(np.random.default_rng(0).standard_normal((3, 7, 8)))
    positions = np.array([0, 4, 8, 12, 40, 400, 4000])
    frequencies = library.array(linear(rotary_frequencies(8)))
    found = rotary_embedding(
        x, layout="half", positions=library.array(positions), frequencies=frequencies
    )
    expected = rotary_embedding(x, layout="half", positions=library.array(positions // 4))
    np.testing.assert_allclose(library.numpy(found), library.numpy(expected), atol=1e-12)


@pytest.mark.parametrize("d_rotary", [4, 6, 64])
@pytest.mark.parametrize("factor", [0.5, 1.0, 7.0])
def test_ntk_scaling_is_a_larger_base(d_rotary, factor):
    frequencies = rotary_frequencies(d_rotary, base=500.0)
    found = ntk(frequencies, factor)
    base = 500.0 * factor ** (d_rotary / (d_rotary - 2))
    np.testing.assert_allclose(found, rotary_frequencies(d_rotary, base=base), rtol=1e-14)
    np.testing.assert_allclose(found[[0, -1]], frequencies[[0, -1]] / [1, factor], rtol=1e-14)


def by_wavelength(frequency, factor, low, high, original_length):
    """Llama 3's rule as its released code has it, by wavelength, for one frequency."""
    wavelength = 2 * math.pi / frequency
    if wavelength < original_length / high:
        return frequency
    if wavelength > original_length / low:
        return frequency / factor
    smooth = (original_length / wavelength - low) / (high - low)
    return (1 - smooth) * frequency / factor + smooth * frequency


@pytest.mark.parametrize("base", [100.0, 500000.0])
@pytest.mark.parametrize("numbers", [(8.0, 1.0, 4.0, 8192), (32.0, 0.5, 3.0, 100)])
def test_llama3_scaling_goes_by_wavelength(library, base, numbers):
    frequencies = rotary_frequencies(128, base=base)
    expected = [by_wavelength(frequency, *numbers) for frequency in frequencies.tolist()]
    found = library.numpy(llama3(library.array(frequencies), *numbers))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def by_index(d_rotary, base, factor, original_length, fast, slow, truncate):
    """YaRN's rule by the index of the pair, as its released code has it, with the base given."""

    def index(turns):
        return d_rotary * math.log(original_length / (turns * 2 * math.pi)) / (2 * math.log(base))

    start, stop = index(fast), index(slow)
    if truncate:
        start, stop = math.floor(start), math.ceil(stop)
    start, stop = max(start, 0), min(stop, d_rotary - 1)
    for j in range(d_rotary // 2):
        frequency = base ** (-2 * j / d_rotary)
        share = (j - start) / (stop - start) if start != stop else float(j > start)
        share = min(max(share, 0.0), 1.0)
        yield frequency * (1 - share) + frequency / factor * share


@pytest.mark.parametrize("d_rotary", [4, 64, 80])
@pytest.mark.parametrize("base", [100.0, 500000.0])
@pytest.mark.parametrize("original_length", [3, 40, 2048, 10**6])
@pytest.mark.parametrize("betas", [(32.0, 1.0), (5.0, 4.9)])
@pytest.mark.parametrize("truncate", [True, False])
def test_yarn_scaling_goes_by_index(library, d_rotary, base, original_length, betas, truncate):
    fast, slow = betas
    found = yarn(
        library.array(rotary_frequencies(d_rotary, base=base)),
        8.0,
        original_length,
        beta_fast=fast,
        beta_slow=slow,
        truncate=truncate,
    )
    expected = list(by_index(d_rotary, base, 8.0, original_length, fast, slow, truncate))
    np.testing.assert_allclose(library.numpy(found), expected, rtol=1e-13)


@pytest.mark.parametrize("scaling", [llama3, yarn])
def test_fast_frequencies_stay_and_slow_ones_are_divided(scaling):
    frequencies = rotary_frequencies(128)
    turns = 4096 * frequencies / (2 * np.pi)
    ratio = frequencies / scaling(frequencies, 8.0, original_length=4096)
    np.testing.assert_array_equal(ratio[turns >= 40], 1)
    np.testing.assert_allclose(ratio[turns <= 0.8], 8, rtol=1e-14)
    assert (np.diff(ratio) >= 0).all()
    assert len(set(ratio.round(9).tolist())) > 8


@SCALINGS
def test_a_factor_of_one_changes_nothing(scaling):
    frequencies = rotary_frequencies(64)
    np.testing.assert_allclose(scaling(frequencies, factor=1.0), frequencies, rtol=1e-15)


@SCALINGS
def test_the_library_device_and_dtype_stay(scaling):
    for dtype in ("float16", "float32", "float64"):
        frequencies = rotary_frequencies(16).astype(dtype)
        found = scaling(frequencies)
        assert found.dtype == dtype
        exact = scaling(frequencies.astype(np.float64))
        np.testing.assert_allclose(found, exact, rtol=4 * np.finfo(dtype).eps, atol=2**-24)
    device = array_api_strict.Device("device1")
    strict = array_api_strict.asarray(rotary_frequencies(16), device=device)
    assert scaling(strict).device == device


@SCALINGS
def test_gradients_reach_the_frequencies(scaling):
    frequencies = torch.tensor(rotary_frequencies(16), requires_grad=True)
    found = scaling(frequencies)
    (gradient,) = torch.autograd.grad(found.sum(), frequencies)
    assert torch.isfinite(gradient).all()
    if scaling is not llama3:  # whose share kept depends on the frequency too
        torch.testing.assert_close(gradient, (found / frequencies).detach())


@pytest.mark.parametrize(("factor", "expected"), [(0.5, 1.0), (1, 1.0), (4.0, 1.1386294361119891)])
def test_yarn_attention_factor(factor, expected):
    assert yarn_attention_factor(factor) == pytest.approx(expected, rel=1e-15)
    assert yarn_attention_factor(factor, mscale=2.0) == pytest.approx(2 * expected - 1, rel=1e-15)
    assert yarn_attention_factor(factor, mscale=0) == 1


def test_yarn_s_defaults_are_those_of_the_paper():
    frequencies = rotary_frequencies(64)
    given = yarn(frequencies, beta_fast=32.0, beta_slow=1.0, truncate=False)
    np.testing.assert_array_equal(yarn(frequencies, truncate=False), given)
    assert np.isfinite(yarn(frequencies, original_length=1)).all()


F = rotary_frequencies(8)
NUMBER = "must be a finite number above zero, got"


@pytest.mark.no_shape_checks
@SCALINGS
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"factor": 0}, ValueError, f"factor {NUMBER} 0"),
        ({"factor": math.inf}, ValueError, f"factor {NUMBER} inf"),
        ({"factor": "2"}, TypeError, f"factor {NUMBER} str"),
        (
            {"frequencies": [1.0]},
            TypeError,
            "frequencies must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            {"frequencies": np.array([2, 1])},
            TypeError,
            "frequencies must have a real floating dtype, got int64",
        ),
    ],
)
def test_bad_input_to_any_scaling_gets_one_clear_line(scaling, change, error, message):
    with pytest.raises(error) as raised:
        scaling(**{"frequencies": F, **change})
    assert str(raised.value) == message


ONE, TWO = (f"frequencies must have shape (d_rotary / 2,), at least ({n},), got " for n in (1, 2))


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear(F[:0]), ValueError, ONE + "(0,)"),
        (lambda: llama3(F[None]), ValueError, ONE + "(1, 4)"),
        (lambda: ntk(F[:1]), ValueError, TWO + "(1,)"),
        (lambda: yarn(F[:1]), ValueError, TWO + "(1,)"),
        (lambda: llama3(F, low=0), ValueError, f"low_freq_factor {NUMBER} 0"),
        (lambda: llama3(F, high=None), TypeError, f"high_freq_factor {NUMBER} NoneType"),
        (
            lambda: llama3(F, low=4, high=4),
            ValueError,
            "high_freq_factor must be above low_freq_factor=4.0, got 4.0",
        ),
        (
            lambda: llama3(F, original_length=0),
            ValueError,
            "original_length must be at least 1, got 0",
        ),
        (
            lambda: yarn(F, original_length=2048.0),
            TypeError,
            "original_length must be an integer, got float",
        ),
        (lambda: yarn(F, truncate=None), TypeError, "truncate must be a bool, got NoneType"),
        (lambda: yarn(F, beta_slow=0), ValueError, f"beta_slow {NUMBER} 0"),
        (
            lambda: yarn(F, beta_fast=1, beta_slow=1),
            ValueError,
            "beta_fast must be above beta_slow=1.0, got 1.0",
        ),
        (
            lambda: yarn(np.array([0.5, 1.0])),
            ValueError,
            "frequencies must fall and stay above zero, got 0.5 to 1.0",
        ),
        (
            lambda: yarn(np.array([0.5, 0.0])),
            ValueError,
            "frequencies must fall and stay above zero, got 0.5 to 0.0",
        ),
        (lambda: yarn_attention_factor(0), ValueError, f"factor {NUMBER} 0"),
        (
            lambda: yarn_attention_factor(2, mscale=math.nan),
            ValueError,
            "mscale must be a finite number, got nan",
        ),
        (
            lambda: yarn(F, original_length=0),
            ValueError,
            "original_length must be at least 1, got 0",
        ),
        (
            lambda: yarn(F, beta_fast=0),
            ValueError,
            "beta_fast must be a finite number above zero, got 0",
        ),
        (
            lambda: yarn(np.array([0.5, 0.5])),
            ValueError,
            "frequencies must fall and stay above zero, got 0.5 to 0.5",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
