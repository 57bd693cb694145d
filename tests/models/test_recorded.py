"""What the package has recorded of trained models is what their weights give."""

import numpy as np
import pytest

pytest.importorskip("gguf", reason="`make test-models` installs what the models need")

from attention_ref import real_map
from models.record import NAMES, recording, stored

# Half a hundredth, and what float64 may add to a number that lies between two.
HALF = 0.005 + 1e-9


@pytest.fixture(scope="module", params=NAMES)
def computed(request):
    return request.param, recording(request.param)


def test_what_is_recorded_is_what_the_weights_give(computed):
    name, kept = computed
    found = real_map(name)
    assert (found.model, found.text) == (kept["model"], kept["text"])
    assert list(found.tokens) == kept["tokens"]
    assert list(found.next_tokens) == kept["next_tokens"]
    np.testing.assert_array_equal(found.partners, kept["partners"])
    np.testing.assert_allclose(found.weights, kept["weights"], rtol=0, atol=HALF)
    np.testing.assert_allclose(found.lengths, kept["lengths"], rtol=0, atol=HALF)
    # Stored in float32.
    np.testing.assert_allclose(found.removed, kept["removed"], rtol=2**-24, atol=1e-12)
    np.testing.assert_allclose(found.shifted, kept["shifted"], rtol=2**-24, atol=1e-12)
    np.testing.assert_allclose(
        list(found.next_tokens.values()), kept["next_probabilities"], rtol=2**-24
    )


def test_a_changed_weight_would_be_noticed(computed):
    _, kept = computed
    kept = kept | {"weights": kept["weights"] + 0.011}
    recorded = np.moveaxis(stored(kept)["weights"], -1, 0) / 100
    assert np.abs(recorded - (kept["weights"] - 0.011)).max() > HALF
