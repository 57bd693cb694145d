from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest

from attention_ref import tiny_transformer, trained_tiny_transformer

STEPS = (0, 100, 200, 250, 300, 350, 400, 600)
ROWS = 150


def different(rng, length):
    return np.argsort(rng.random((ROWS, 26)))[:, :length]


def copying(length):
    once = different(np.random.default_rng(11), length)
    return np.concatenate([once, once], axis=1)


def recall(pairs):
    """Pairs, and the first letter of one of them again; what follows it."""
    rng = np.random.default_rng(13)
    once = different(rng, 2 * pairs).reshape(ROWS, pairs, 2)
    asked = once[np.arange(ROWS), rng.integers(pairs, size=ROWS)]
    return np.concatenate([once.reshape(ROWS, -1), asked[:, :1]], axis=1), asked[:, 1]


def right(step, ids, answers):
    last = tiny_transformer(ids, trained_tiny_transformer(step), heads=2).logits[:, -1]
    return (last.argmax(axis=-1) == answers).mean()


def test_it_copies_from_step_400_on_and_has_not_begun_at_step_200():
    ids = copying(7)[:, :-1]
    answers = copying(7)[:, -1]
    assert right(0, ids, answers) < 0.1
    assert right(200, ids, answers) < 0.2
    assert right(400, ids, answers) > 0.97
    assert right(600, ids, answers) > 0.99


@pytest.mark.parametrize("pairs", [3, 5])
def test_it_recalls_pairs_that_stand_anywhere(pairs):
    ids, answers = recall(pairs)
    assert right(200, ids, answers) < 0.3
    assert right(600, ids, answers) > 0.98


def test_what_it_predicts_stands_only_in_the_text():
    """Another name for every letter changes the answer's name, and nothing else."""
    ids, answers = recall(4)
    other = np.random.default_rng(17).permutation(26)
    assert right(600, other[ids], other[answers]) > 0.97
    assert right(600, other[ids], answers) < 0.15


def marks_and_looks(step):
    """Return the weight on the letter before, and on the one after the earlier copy."""
    queries = np.arange(8, 15)
    weights = tiny_transformer(copying(8), trained_tiny_transformer(step), heads=2).weights
    marks = weights[0][:, 0, queries, queries - 1].mean()
    looks = weights[1][:, 1, queries, queries - 7].mean()
    return marks, looks


def test_one_head_marks_what_came_before_and_one_looks_for_it():
    assert max(marks_and_looks(200)) < 0.2
    assert min(marks_and_looks(600)) > 0.85


def test_every_step_has_weights_of_its_own():
    kept = [trained_tiny_transformer(step) for step in STEPS]
    for one, other in pairwise(kept):
        assert one.keys() == other.keys()
        for name, array in one.items():
            assert array.dtype == np.float64
            assert array.shape == other[name].shape
            assert (array != other[name]).any(), name
    assert sum(array.size for array in kept[0].values()) == 8280
    default = trained_tiny_transformer()
    assert all((default[name] == array).all() for name, array in kept[-1].items())


def test_the_arrays_are_the_callers_own():
    trained_tiny_transformer()["embedding"][:] = 0.0
    assert (trained_tiny_transformer()["embedding"] != 0.0).all()


def test_the_file_is_small_enough_to_be_read_in_a_browser():
    assert len((files("attention_ref") / "trained_tiny_transformer.npz").read_bytes()) < 200_000


def test_bad_steps_get_one_clear_line():
    with pytest.raises(ValueError, match="step must be one of") as raised:
        trained_tiny_transformer(450)
    kept = "0, 100, 200, 250, 300, 350, 400, 600"
    assert str(raised.value) == f"step must be one of {kept}, got 450"
