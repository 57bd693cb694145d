"""The head reader's Python: what it answers is what the recordings and the models say."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref import (
    layer_norm,
    real_map,
    softmax,
    tiny_transformer,
    trained_tiny_transformer,
)

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("reader", ROOT / "web/src/explore/head_reader.py")
assert SPEC is not None
assert SPEC.loader is not None
reader = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reader)

TEXTS = [(model, name) for model, texts in reader.RECORDED.items() for name in texts]
TINY = "tiny transformer"


def answer(**request: Any) -> dict[str, Any]:
    """Ask as the page does: JSON both ways."""
    return dict(json.loads(json.dumps(reader.answer(request), allow_nan=False)))


def test_every_recording_can_be_chosen_under_its_model_and_by_its_text() -> None:
    with pytest.raises(ValueError, match="name must be one of ") as caught:
        real_map("")
    assert f"one of {', '.join(name for _, name in TEXTS)}, got" in str(caught.value)
    for model, name in TEXTS:
        found = real_map(name)
        assert (found.model, found.text) == (model, reader.RECORDED[model][name])


@pytest.mark.parametrize(("model", "name"), TEXTS)
def test_a_head_is_shown_as_it_was_recorded(model: str, name: str) -> None:
    found = real_map(name)
    layer, head = (size - 1 for size in found.removed.shape)
    came = answer(model=model, text=name, layer=layer, head=head)
    assert came["tokens"] == list(found.tokens)
    assert came["partners"] == found.partners.tolist()
    assert came["maps"] == found.weights[layer].tolist()
    assert came["lengths"] == found.lengths[layer, head].tolist()
    np.testing.assert_allclose(came["scores"]["removed"], found.removed, atol=5e-5)
    np.testing.assert_allclose(came["scores"]["shifted"], found.shifted, atol=5e-5)
    assert [row[0] for row in came["next"]] == list(found.next_tokens)
    chances = list(found.next_tokens.values())
    np.testing.assert_allclose([row[1] for row in came["next"]], chances, atol=5e-5)
    assert all(row[2] is None for row in came["next"])


@pytest.mark.parametrize(("model", "name"), TEXTS)
def test_scores_are_means_over_the_queries_that_have_such_a_key(model: str, name: str) -> None:
    found, came = real_map(name), answer(model=model, text=name)
    length = len(found.tokens)
    keys: dict[str, list[tuple[int, int]]] = {
        "first": [(i, 0) for i in range(length)],
        "itself": [(i, i) for i in range(length)],
        "previous": [(i, i - 1) for i in range(1, length)],
        "partner": [(i, int(j)) for i, j in enumerate(found.partners) if j >= 0],
    }
    for kind, pairs in keys.items():
        by_hand = sum(found.weights[:, :, query, key] for query, key in pairs) / len(pairs)
        scored = np.array(came["scores"][kind])
        np.testing.assert_allclose(scored, by_hand, atol=5.1e-5)
        assert came["over half"][kind] == (by_hand > 0.5).sum()
        layer, head = came["strongest"][kind]
        assert by_hand[layer, head] == pytest.approx(by_hand.max())


def test_the_counts_are_those_of_the_page_that_reads_heads() -> None:
    page = (ROOT / "docs/learn/reading-heads.md").read_text(encoding="utf-8")
    for model, name in (("MiniLM", "bank"), ("SmolLM2", "repeat"), ("RXNMapper", "ester")):
        came = answer(model=model, text=name)
        heads = np.size(came["scores"]["first"])
        line = next(one for one in page.splitlines() if one.startswith(f"{model:9} {name}"))
        assert line.endswith(f"{came['over half']['first']:3} of {heads} heads")


def test_it_opens_at_the_head_that_gives_the_partner_most() -> None:
    opened = answer()
    assert (opened["model"], opened["text"]) == ("MiniLM", "bank")
    assert [opened["layer"], opened["head"]] == opened["strongest"]["partner"] == [0, 4]
    assert answer(layer=3, head=1)["layer"] == 3


def test_what_is_handed_over_is_shared_out_by_weight_times_length() -> None:
    found = real_map("bank")
    came = answer(text="bank", layer=2, head=5, shown="handed over")
    for query, row in enumerate(came["maps"][5]):
        parts = [
            weight * length
            for weight, length in zip(found.weights[2, 5, query], found.lengths[2, 5], strict=True)
        ]
        np.testing.assert_allclose(row, np.array(parts) / sum(parts), atol=0.0051)
    weights = answer(text="bank", layer=2, head=5)["maps"][5]
    assert np.array(weights)[:, 0].mean() > 2 * np.array(came["maps"][5])[:, 0].mean()


def test_nothing_is_shared_out_where_nothing_is_handed_over() -> None:
    found = real_map("bank")
    silent = found._replace(lengths=np.zeros_like(found.lengths))
    assert (reader.handed_over(silent) == 0).all()


def tiny(text: str, parameters: dict[str, np.ndarray]) -> Any:
    ids = np.array([ord(letter) - ord("a") for letter in text])
    return tiny_transformer(ids, parameters, heads=2)


@pytest.mark.parametrize("step", [100, 600])
@pytest.mark.parametrize("text", ["ab", "wmkaqwmkaq", "tablegntable"])
def test_the_tiny_transformer_runs_on_what_is_typed(text: str, step: int) -> None:
    for layer in (0, 1):
        for head in (0, 1):
            came = answer(model=TINY, text=text, step=step, layer=layer, head=head)
            parameters = trained_tiny_transformer(step)
            run = tiny(text, parameters)
            assert came["maps"] == run.weights[layer].round(2).tolist()
            rows = slice(12 * head, 12 * head + 12)
            parameters[f"blocks.{layer}.attention.w_o"][rows] = 0
            chances = [softmax(one.logits[-1]) for one in (run, tiny(text, parameters))]
            for letter, chance, without in came["next"]:
                both = [one[ord(letter) - ord("a")] for one in chances]
                np.testing.assert_allclose([chance, without], both, atol=5.1e-5)
            shown = [row[0] for row in came["next"]]
            assert all(chr(ord("a") + one.argmax()) in shown for one in chances)


def test_lengths_are_those_of_the_values_brought_back_by_their_rows() -> None:
    parameters = trained_tiny_transformer()
    part = {name.removeprefix("blocks.0."): array for name, array in parameters.items()}
    text = "wmkaqwmk"
    x = parameters["embedding"][[ord(letter) - ord("a") for letter in text]]
    values = layer_norm(x, part["attention_norm.gain"]) @ part["attention.w_v"]
    for head in (0, 1):
        own = slice(12 * head, 12 * head + 12)
        handed = values[:, own] @ part["attention.w_o"][own]
        came = answer(model=TINY, text=text, layer=0, head=head)
        np.testing.assert_allclose(came["lengths"], np.sqrt((handed**2).sum(-1)), atol=0.0051)


def test_lengths_and_turns_of_the_tiny_transformer_are_those_of_its_sums() -> None:
    """A head's rows of W_O, twice as large, hand over twice as much; zero heads turn nothing."""
    parameters = trained_tiny_transformer()
    before, _ = reader.live("wmkaqwmk", parameters)
    doubled = {name: array.copy() for name, array in parameters.items()}
    doubled["blocks.1.attention.w_o"][12:] *= 2
    after, _ = reader.live("wmkaqwmk", doubled)
    np.testing.assert_allclose(after.lengths[1, 1], 2 * before.lengths[1, 1])
    np.testing.assert_allclose(after.lengths[0], before.lengths[0])
    assert before.lengths.min() > 0
    doubled["blocks.1.attention.w_o"][12:] = 0
    none, _ = reader.live("wmkaqwmk", doubled)
    assert none.removed[1, 1] == pytest.approx(0, abs=1e-12)
    assert none.removed[0, 0] > 1e-3
    assert before.removed[1, 1] > 1e-3


def test_a_partner_is_what_followed_the_last_earlier_copy() -> None:
    came = answer(model=TINY, text="abcaabx")
    assert came["partners"] == [-1, -1, -1, 1, 4, 2, -1]
    assert "partner" not in answer(model=TINY, text="abc")["scores"]


def test_the_answer_is_short_enough_for_the_worker() -> None:
    sizes = [len(json.dumps(answer(model=model, text=name))) for model, name in TEXTS]
    sizes.append(len(json.dumps(answer(model=TINY, text="ab" * 26))))
    assert max(sizes) < 100_000  # it cuts what is printed after 200,000


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"model": "GPT"}, "model must be one of MiniLM, SmolLM2, RXNMapper, tiny transformer, "),
        ({"model": ["MiniLM"]}, "model must be one of "),
        ({"text": "ester"}, "text must be one of bank, busy, tired, cat, pilot, got 'ester'"),
        ({"layer": 6}, "layer must be 0 to 5, got 6"),
        ({"layer": -1}, "layer must be 0 to 5, got -1"),
        ({"layer": None}, "layer must be 0 to 5, got None"),
        ({"head": 1.0}, "head must be 0 to 11, got 1.0"),
        ({"shown": "values"}, "shown must be one of weights, handed over, got 'values'"),
        ({"model": TINY, "text": "wmk aq"}, "text must hold the letters a to z alone, got ' '"),
        ({"model": TINY, "text": "Ab"}, "text must hold the letters a to z alone, got 'A'"),
        ({"model": TINY, "text": "é" * 3}, "text must hold the letters a to z alone, got 'é'"),
        ({"model": TINY, "text": "a"}, "text must have 2 to 52 letters, got 1"),
        ({"model": TINY, "text": "a" * 53}, "text must have 2 to 52 letters, got 53"),
        ({"model": TINY, "text": None}, "text must have 2 to 52 letters, got None"),
        ({"model": TINY, "step": 500}, "step must be one of 0, 100, 200, 250, 300, 350, 400, "),
    ],
)
def test_a_bad_request_gets_one_line(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        reader.answer(request_)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
