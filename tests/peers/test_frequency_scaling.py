"""Each scaling beside the function of transformers that its models call."""

import numpy as np
import pytest
from transformers import GptOssConfig, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from attention_ref import (
    linear_frequency_scaling,
    llama3_frequency_scaling,
    ntk_frequency_scaling,
    rotary_frequencies,
    yarn_attention_factor,
    yarn_frequency_scaling,
)


def theirs(rope_type, d_k, base, longest=4096, length=None, **parameters):
    config = LlamaConfig(
        hidden_size=2 * d_k,
        num_attention_heads=2,
        head_dim=d_k,
        max_position_embeddings=longest,
        rope_parameters={"rope_type": rope_type, "rope_theta": base, **parameters},
    )
    frequencies, factor = ROPE_INIT_FUNCTIONS[rope_type](config, "cpu", seq_len=length)
    return frequencies.numpy(), factor


def assert_equal_to_float32(found, expected, roundings=6.0):
    # Their frequencies are computed in float32: a power, a quotient, and a mean of two.
    np.testing.assert_allclose(found, expected, rtol=roundings * np.finfo(np.float32).eps)


HEADS = pytest.mark.parametrize("d_k", [4, 16, 64, 80, 128])
BASES = pytest.mark.parametrize("base", [10000.0, 500000.0])


@HEADS
@BASES
@pytest.mark.parametrize("factor", [1.0, 4.0, 32.0])
class TestEveryScaling:
    def test_linear(self, d_k, base, factor):
        expected, _ = theirs("linear", d_k, base, factor=factor)
        found = linear_frequency_scaling(rotary_frequencies(d_k, base=base), factor=factor)
        assert_equal_to_float32(found, expected)

    def test_ntk(self, d_k, base, factor):
        longest, length = 1000, 2500
        expected, _ = theirs("dynamic", d_k, base, longest, length, factor=factor)
        stretch = factor * length / longest - (factor - 1)
        found = ntk_frequency_scaling(rotary_frequencies(d_k, base=base), factor=stretch)
        assert_equal_to_float32(found, expected)

    @pytest.mark.parametrize("original_length", [50, 8192])
    def test_llama3(self, d_k, base, factor, original_length):
        parameters = {"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        expected, _ = theirs(
            "llama3", d_k, base, original_max_position_embeddings=original_length, **parameters
        )
        frequencies = rotary_frequencies(d_k, base=base)
        found = llama3_frequency_scaling(frequencies, original_length=original_length, **parameters)
        # The share kept is a difference of numbers up to 4, whose rounding the factor magnifies.
        assert_equal_to_float32(found, expected, 20.0)

    @pytest.mark.parametrize("original_length", [50, 2048, 131072])
    @pytest.mark.parametrize("betas", [(32.0, 1.0), (8.0, 2.5)])
    @pytest.mark.parametrize("truncate", [True, False])
    def test_yarn(self, d_k, base, factor, original_length, betas, truncate):
        fast, slow = betas
        expected, attention_factor = theirs(
            "yarn",
            d_k,
            base,
            factor=factor,
            beta_fast=fast,
            beta_slow=slow,
            original_max_position_embeddings=original_length,
            truncate=truncate,
        )
        for dtype in (np.float32, np.float64):
            frequencies = rotary_frequencies(d_k, base=base).astype(dtype)
            found = yarn_frequency_scaling(
                frequencies,
                factor=factor,
                original_length=original_length,
                beta_fast=fast,
                beta_slow=slow,
                truncate=truncate,
            )
            # Between the pairs, the ramp's ends are rounded too, and the factor magnifies that.
            roundings = 6.0 if truncate else 6 + 3 * factor
            assert_equal_to_float32(found, expected, roundings)
        assert yarn_attention_factor(factor) == pytest.approx(attention_factor, rel=1e-15)


def test_yarn_of_gpt_oss_begins_and_ends_between_pairs():
    config = GptOssConfig()
    parameters = config.rope_parameters
    assert parameters["truncate"] is False
    expected, attention_factor = ROPE_INIT_FUNCTIONS["yarn"](config, "cpu")
    frequencies = rotary_frequencies(config.head_dim, base=parameters["rope_theta"])
    options = {
        "factor": parameters["factor"],
        "original_length": parameters["original_max_position_embeddings"],
        "beta_fast": parameters["beta_fast"],
        "beta_slow": parameters["beta_slow"],
    }
    found = yarn_frequency_scaling(frequencies, **options, truncate=False)
    assert_equal_to_float32(found, expected.numpy())
    assert abs(yarn_frequency_scaling(frequencies, **options) / found - 1).max() > 0.1
    assert yarn_attention_factor(options["factor"]) == pytest.approx(attention_factor, rel=1e-15)


def test_yarn_attention_factor_with_deepseeks_two_weights():
    parameters = {"factor": 40.0, "mscale": 0.707, "mscale_all_dim": 0.5}
    _, expected = theirs("yarn", 64, 10000.0, original_max_position_embeddings=4096, **parameters)
    both = (yarn_attention_factor(40.0, mscale=mscale) for mscale in (0.707, 0.5))
    assert next(both) / next(both) == pytest.approx(expected, rel=1e-15)
