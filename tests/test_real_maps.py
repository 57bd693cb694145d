"""The recorded maps are whole and consistent; tests/models computes them again."""

from importlib.resources import files

import numpy as np
import pytest

from attention_ref import real_map

NAMES = (
    *("bank", "busy", "tired", "cat", "pilot"),
    *("france", "repeat"),
    *("ester", "amide", "ether", "nitrile", "reduction", "oxidation"),
    *("addition", "imine", "grignard", "thioether"),
)
SIZES = {"MiniLM": (6, 12), "SmolLM2": (30, 9), "RXNMapper": (12, 8)}


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_of_one_text(name):
    found = real_map(name)
    length = len(found.tokens)
    heads = SIZES[found.model]
    assert found.weights.shape == (*heads, length, length)
    assert found.lengths.shape == (*heads, length)
    assert found.removed.shape == found.shifted.shape == heads
    assert found.partners.shape == (length,)
    pieces = [token.removeprefix("##") for token in found.tokens if token not in ("[CLS]", "[SEP]")]
    assert "".join(pieces).replace(" ", "") == _as_read(found)


def _as_read(found) -> str:
    text = found.text.replace(" ", "")
    return text.lower() if found.model == "MiniLM" else text


@pytest.mark.parametrize("name", NAMES)
def test_rows_sum_to_one_but_for_rounding(name):
    weights = real_map(name).weights
    assert (weights >= 0).all()
    assert np.abs(weights.sum(axis=-1) - 1).max() <= 0.005 * weights.shape[-1]
    np.testing.assert_array_equal(weights, weights.round(2))


@pytest.mark.parametrize("name", NAMES)
def test_the_decoder_sees_no_future_and_the_encoders_do(name):
    found = real_map(name)
    future = np.triu(found.weights, 1)
    assert (future.max() == 0) == (found.model == "SmolLM2")
    assert (len(found.next_tokens) == 5) == (found.model == "SmolLM2")


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_turns_by_more_than_a_half_turn(name):
    found = real_map(name)
    for turned in (found.removed, found.shifted):
        assert (turned > -1e-7).all()
        assert (turned <= 2).all()
        assert turned.max() > 1e-3


def test_partners_are_the_right_tokens():
    def pairs(name):
        found = real_map(name)
        return [
            (found.tokens[one], found.tokens[other])
            for one, other in enumerate(found.partners)
            if other >= 0
        ]

    assert pairs("busy") == [("it", "road")]
    assert pairs("tired") == [("it", "child")]
    assert pairs("bank") == [("bank", "river")]
    assert pairs("cat") == [("its", "cat")]
    words = real_map("repeat").tokens
    assert words[:10] == words[10:]
    assert pairs("repeat") == list(zip(words[10:], [*words[1:10], words[0]], strict=True))
    for name in NAMES[7:]:
        for atom, source in pairs(name):
            element = {"[O-]": "O", "[C-]": "C"}.get(source, source)
            assert atom == element, name


@pytest.mark.parametrize("name", NAMES)
def test_lengths_are_hundredths_and_predictions_are_likely_tokens(name):
    found = real_map(name)
    np.testing.assert_array_equal(found.lengths, found.lengths.round(2))
    assert (found.lengths % 1 != 0).any()
    assert all(isinstance(token, str) for token in found.next_tokens)
    chances = list(found.next_tokens.values())
    assert chances == sorted(chances, reverse=True)
    assert sum(chances) <= 1
    if name == "france":
        assert next(iter(found.next_tokens)).strip() == "Paris"


def test_the_arrays_are_the_callers_own():
    first = real_map("pilot")
    for array in (first.weights, first.lengths, first.partners, first.removed, first.shifted):
        array[...] = 7
    second = real_map("pilot")
    assert second.weights.max() <= 1
    assert not (second.partners == 7).any()


def test_an_unknown_name_is_answered_with_all():
    with pytest.raises(ValueError, match="name must be one of ") as caught:
        real_map("river")
    assert str(caught.value) == f"name must be one of {', '.join(NAMES)}, got 'river'"


def test_the_file_is_small_enough_for_a_browser():
    assert (files("attention_ref") / "real_maps.npz").stat().st_size <= 300_000
