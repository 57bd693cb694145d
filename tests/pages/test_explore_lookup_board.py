"""The numbers of the lookup board: against loops in plain Python, chance, and the page's block."""

import importlib.util
import math
import random
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref._viz_svg import ROLES
from pages.parse import parse_file

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explore/lookup-board.md"
WIDTHS = (2, 8, 32, 128, 512, 2048)
FIRST = {
    "query": [1.0, 0.6],
    "keys": [[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]],
    "values": [2, 9, 21, 14],
    "temperature": 1,
    "d_k": 2,
    "scaled": True,
}


@pytest.fixture(scope="module")
def board() -> ModuleType:
    path = ROOT / "web/src/explore/lookup_board.py"
    spec = importlib.util.spec_from_file_location("lookup_board", path)
    assert spec is not None
    assert spec.loader is not None
    board = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(board)
    return board


def drawn(seed: int) -> dict[str, Any]:
    """A board that a reader could have laid."""
    dice = random.Random(seed)
    count = dice.randint(1, 8)
    return {
        "query": [dice.randint(-20, 20) / 10 for _ in range(2)],
        "keys": [[dice.randint(-20, 20) / 10 for _ in range(2)] for _ in range(count)],
        "values": [dice.randint(0, 24) for _ in range(count)],
        "temperature": dice.choice([0.1, 0.5, 1, 3, 10]),
        "d_k": dice.choice(WIDTHS),
        "scaled": dice.random() < 0.5,
    }


@pytest.mark.parametrize("seed", range(60))
def test_the_numbers_are_those_of_the_formulas(seed: int, board: ModuleType):
    asked = drawn(seed)
    answer = board.answer(asked)
    (x, y), d_k = asked["query"], asked["d_k"]
    growth = math.sqrt(d_k / 2) / (math.sqrt(d_k) if asked["scaled"] else 1)
    scores = [growth * (x * a + y * b) for a, b in asked["keys"]]
    powers = [math.exp((score - max(scores)) / asked["temperature"]) for score in scores]
    weights = [power / math.fsum(powers) for power in powers]
    assert answer["scores"] == pytest.approx(scores, rel=1e-12, abs=1e-12)
    assert answer["weights"] == pytest.approx(weights, rel=1e-9, abs=1e-12)
    output = math.fsum(w * v for w, v in zip(weights, asked["values"], strict=True))
    assert answer["output"] == pytest.approx(output, rel=1e-9, abs=1e-12)
    entropy = -math.fsum(w * math.log(w) for w in weights if w > 0)
    assert answer["entropy"] == pytest.approx(entropy, rel=1e-9, abs=1e-12)
    assert answer["most_entropy"] == math.log(len(weights))
    assert 0 <= answer["entropy"] <= answer["most_entropy"] + 1e-12
    # w_i (1 - w_i) on the diagonal, -w_i w_j beside it.
    squares = [
        (w * (math.fsum(weights[:i] + weights[i + 1 :]) if i == j else -v)) ** 2
        for i, w in enumerate(weights)
        for j, v in enumerate(weights)
    ]
    assert answer["jacobian"] == pytest.approx(math.sqrt(math.fsum(squares)), abs=1e-12)


def test_the_jacobian_is_how_the_weights_follow_the_scores(board: ModuleType):
    # The query is the difference quotient's step: with d_k 2, unscaled, scores are dot products.
    keys = [[0.7, 0.1], [-0.4, 1.3], [1.1, -0.9]]
    asked = FIRST | {"keys": keys, "values": [1, 2, 3], "scaled": False, "query": [0.3, -0.5]}
    step, moved = 1e-6, []
    for axis in range(2):
        ends = []
        for sign in (1, -1):
            query = [0.3, -0.5]
            query[axis] += sign * step
            ends.append(np.array(board.answer(asked | {"query": query})["weights"]))
        moved.append((ends[0] - ends[1]) / (2 * step))
    weights = np.array(board.answer(asked)["weights"])
    jacobian = np.diag(weights) - np.outer(weights, weights)
    assert np.allclose(np.array(moved).T, jacobian @ np.array(keys), atol=1e-9)
    assert board.answer(asked)["jacobian"] == pytest.approx(np.linalg.norm(jacobian), rel=1e-12)


def test_the_width_alone_changes_nothing_once_scores_are_scaled(board: ModuleType):
    answers = [board.answer(FIRST | {"d_k": d_k}) for d_k in WIDTHS]
    for answer in answers[1:]:
        assert answer["weights"] == pytest.approx(answers[0]["weights"], rel=1e-12)
    norms = [board.answer(FIRST | {"d_k": d, "scaled": False})["jacobian"] for d in WIDTHS]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 1e-5
    assert answers[-1]["jacobian"] > 0.4


def test_scores_grow_as_those_of_random_signs(board: ModuleType):
    # The mean square of a score, where a coin decides the sign of each entry of query and key.
    rng = np.random.default_rng(0)
    for d_k in WIDTHS:
        copies, (x, y), (a, b) = d_k // 2, (1.0, 0.6), (0.5, -0.3)
        asked = FIRST | {"keys": [[a, b]], "values": [0], "d_k": d_k, "scaled": False}
        (score,) = board.answer(asked)["scores"]
        plus = rng.binomial(copies, 0.5, size=20_000)
        random_scores = (2 * plus - copies) * (x * a + y * b)
        assert score == pytest.approx(np.sqrt((random_scores**2).mean()), rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": [1, 3]}, "query must lie between -2 and 2, got [1, 3]"),
        ({"query": [1, None]}, "query must lie between -2 and 2, got [1, None]"),
        ({"query": [1]}, "query must have shape (2,), got (1,)"),
        ({"query": "up"}, "query must hold numbers, got 'up'"),
        ({"keys": []}, "keys must hold 1 to 8 points, got 0"),
        ({"keys": [[0, 0]] * 9}, "keys must hold 1 to 8 points, got 9"),
        ({"keys": [[0, 0], [1]]}, "keys must hold numbers, got [[0, 0], [1]]"),
        ({"values": [1, 2, 3]}, "values must have shape (4,), got (3,)"),
        ({"values": [1, 2, 3, 25]}, "values must lie between 0 and 24, got [1, 2, 3, 25]"),
        ({"temperature": 0}, "temperature must lie between 0.1 and 10, got 0"),
        ({"d_k": 64}, f"d_k must be one of {WIDTHS}, got 64"),
    ],
)
def test_what_no_board_holds_is_named(change: dict[str, Any], message: str, board: ModuleType):
    with pytest.raises((TypeError, ValueError)) as raised:
        board.answer(FIRST | change)
    assert str(raised.value) == message


def test_the_page_computes_what_the_board_shows(board: ModuleType):
    (block,) = [b for b in parse_file(PAGE, ROOT).blocks if "def board(" in b.code]
    namespace: dict[str, Any] = {}
    exec(block.code.split("\nquery, value =")[0], namespace)
    for seed in range(20):
        asked = drawn(seed)
        scores, weights, output = namespace["board"](
            np.array(asked["query"]),
            np.array(asked["keys"]),
            np.array(asked["values"]),
            asked["d_k"],
            asked["temperature"],
            asked["scaled"],
        )
        answer = board.answer(asked)
        assert scores.tolist() == answer["scores"]
        assert weights.tolist() == answer["weights"]
        assert output == answer["output"]


def test_the_live_board_starts_as_the_figure_stands(board: ModuleType):
    first = parse_file(PAGE, ROOT).blocks[0]
    shown = re.findall(r"^(\w) .* (\d\.\d{3})$", first.output.content, re.MULTILINE)
    answer = board.answer(FIRST)
    assert shown == [(k, f"{w:.3f}") for k, w in zip("ABCD", answer["weights"], strict=True)]
    assert f"output {answer['output']:.2f}" in first.output.content


def test_roles_have_the_colours_that_they_have_in_every_picture():
    rules = re.findall(r"--role-(\w+): (#\w+);", (ROOT / "web/src/style.css").read_text())
    half = len(rules) // 2
    for theme, named in enumerate((rules[:half], rules[half:])):
        assert named == [(role, ROLES[role].paint[theme]) for role, _ in named]
        assert {role for role, _ in named} >= {"query", "key", "value", "weights", "output"}
