"""The mask bench's Python: its masks, its code and its answers against independent ones."""

import ast
import importlib.util
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATH = ROOT / "web/src/explore/mask_bench.py"
SPEC = importlib.util.spec_from_file_location("mask_bench", PATH)
assert SPEC is not None
assert SPEC.loader is not None
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)

NUMBERS = {"left": 2, "right": 1, "prefix": 3, "length": 4, "each": 3}


def part(kind: str, join: str = "and", negated: bool = False, **numbers: int) -> dict[str, Any]:
    own = {name: NUMBERS[name] for name in bench.NUMBERS[kind]} | numbers
    return {"kind": kind, "join": join, "negated": negated, **own}


def ask(q_len: int, kv_len: int, q_start: int | None, *parts: dict[str, Any]) -> dict[str, Any]:
    request = {"q_len": q_len, "kv_len": kv_len, "q_start": q_start, "parts": list(parts)}
    return dict(json.loads(json.dumps(bench.answer(json.loads(json.dumps(request))))))


def library(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(next(one for one in answer["libraries"] if one["name"] == name))


def by_hand(request: list[dict[str, Any]], q_len: int, kv_len: int, q_start: int) -> list[Any]:
    """Decide each pair alone, as the definitions say it, in plain Python."""

    def allowed(part: dict[str, Any], i: int, j: int) -> bool:
        return {
            "causal": lambda: j <= i,
            "window": lambda: i - part["left"] <= j <= i + part["right"],
            "prefix": lambda: j < part["prefix"] or j <= i,
            "padding": lambda: j < part["length"],
            "left padding": lambda: j >= kv_len - part["length"],
            "documents": lambda: i // part["each"] == j // part["each"],
        }[part["kind"]]()

    def decided(i: int, j: int) -> bool:
        seen = True
        for place, one in enumerate(request):
            term = allowed(one, i, j) != one["negated"]
            seen = term if place == 0 else (seen and term if one["join"] == "and" else seen or term)
        return seen

    return [[decided(q_start + i, j) for j in range(kv_len)] for i in range(q_len)]


COMPOSED = [
    [],
    *([part(kind)] for kind in bench.NUMBERS),
    *([part(kind, negated=True)] for kind in bench.NUMBERS),
    *(
        [part(first, negated=join == "or"), part(second, join, negated=join == "and")]
        for (first, second), join in itertools.product(
            itertools.combinations(bench.NUMBERS, 2), ("and", "or")
        )
    ),
    [part("causal"), part("window", "or"), part("padding", negated=True), part("prefix", "or")],
]


@pytest.mark.parametrize(("q_len", "kv_len", "q_start"), [(5, 5, None), (3, 7, 4), (7, 5, -3)])
def test_the_mask_is_what_the_definitions_say(q_len: int, kv_len: int, q_start: int | None) -> None:
    for parts in COMPOSED:
        answer = ask(q_len, kv_len, q_start, *parts)
        expected = by_hand(parts, q_len, kv_len, q_start or 0)
        assert answer["mask"] == expected, answer["code"]
        assert [one["position"] for one in answer["queries"]] == [
            (q_start or 0) + i for i in range(q_len)
        ]
        sees = [[j for j in range(kv_len) if row[j]] for row in expected]
        assert [one["sees"] for one in answer["queries"]] == sees
        seen_by = [[i for i in range(q_len) if expected[i][j]] for j in range(kv_len)]
        assert [one["seen_by"] for one in answer["keys"]] == seen_by


@pytest.mark.parametrize("parts", [[], [part("padding")], [part("causal"), part("documents")]])
def test_the_code_prints_the_mask_alone(parts: list[dict[str, Any]]) -> None:
    answer = ask(3, 7, 4, *parts)
    ran = subprocess.run(
        [sys.executable, "-c", answer["code"]], capture_output=True, text=True, check=True
    )
    assert ran.stdout == answer["text"]
    rows = [line.split()[1:] for line in answer["text"].splitlines()[1:]]
    assert [[cell == "1" for cell in row] for row in rows] == answer["mask"]


def test_without_a_start_the_package_says_why_there_is_no_mask() -> None:
    answer = ask(1, 5, None, part("causal"))
    assert answer["mask"] is None
    assert answer["error"] == answer["summary"]
    assert answer["error"].startswith(
        "ValueError: q_start must be given where q_len=1 and kv_len=5"
    )
    verdicts = {one["name"]: one["verdict"] for one in answer["libraries"]}
    assert verdicts["PyTorch SDPA"] == "sees key 0 alone"
    assert verdicts["FlashAttention"] == "sees all 5 keys"
    assert ask(1, 5, None, part("documents"))["error"] == (
        "ValueError: q_start must be given where q_len=1 and kv_len=5 differ: a query is in the "
        "document of its position"
    )


# What each library's own words show, by its documentation: where its first query stands for these
# lengths, and what it has words for.
TOP_LEFT, BOTTOM_RIGHT = 0, 4
WORDS = {
    "PyTorch SDPA": ({"causal"}, TOP_LEFT),
    "JAX": ({"causal", "window", "padding"}, TOP_LEFT),
    "ONNX reference": ({"causal", "window", "padding"}, TOP_LEFT),
    "Keras ops on JAX": ({"causal"}, TOP_LEFT),
    "MLX": ({"causal"}, BOTTOM_RIGHT),
    "FlashAttention": ({"causal", "window"}, BOTTOM_RIGHT),
}


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("q_start", [TOP_LEFT, 2, BOTTOM_RIGHT])
@pytest.mark.parametrize("kinds", [["causal"], ["window"], ["padding"], ["causal", "window"]])
def test_a_librarys_own_words_show_what_it_documents(
    name: str, q_start: int, kinds: list[str]
) -> None:
    parts = [part(kind) for kind in kinds]
    answer = ask(3, 7, q_start, *parts)
    words, start = WORDS[name]
    found = library(answer, name)
    if set(kinds) - words:
        assert found["asked"] is None
        return
    shown = by_hand(parts, 3, 7, start)
    assert found["sees"] == shown
    assert found["differs"] == (shown != answer["mask"])
    assert found["verdict"].startswith("another mask" if found["differs"] else "the same mask")


def unused(program: str) -> set[str]:
    """Return what a program imports and does not use."""
    nodes = list(ast.walk(ast.parse(program)))
    imported = {
        (one.asname or one.name).partition(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for one in node.names
    }
    return imported - {node.id for node in nodes if isinstance(node, ast.Name)}


@pytest.mark.parametrize("parts", [[], [part("causal")], [part("window")], *COMPOSED[13::4]])
def test_what_cannot_be_named_is_handed_over(parts: list[dict[str, Any]]) -> None:
    answer = ask(5, 5, None, *parts)
    for found in answer["libraries"]:
        if found["documented"]:
            assert found["program"] is None or found["asked"] is not None
        else:
            assert found["program"] is not None
            assert unused(found["program"]) == set()


def test_a_query_that_may_see_nothing_gets_what_conventions_says() -> None:
    answer = ask(5, 5, None, part("causal"), part("left padding", length=3))
    assert answer["summary"] == "6 of 25 pairs may attend; queries 0 and 1 may see nothing."
    page = (ROOT / "docs/reference/conventions.md").read_text(encoding="utf-8")
    table = page.split("interop: a query whose keys are all hidden -->")[1].split("<!--")[0]
    asked = 0
    for said, libraries in re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", table, re.MULTILINE):
        for name in set(libraries.split(", ")) & {one["name"] for one in answer["libraries"]}:
            assert library(answer, name)["unseen"] == said.strip("*"), name
            asked += 1
    assert asked == 8
    assert all(one["unseen"] is None for one in ask(5, 5, None, part("causal"))["libraries"])


def test_what_is_recorded_and_not_run_is_as_conventions_says() -> None:
    page = (ROOT / "docs/reference/conventions.md").read_text(encoding="utf-8")
    assert "\n| i-1 i | Hugging Face eager |\n" in page
    window = part("window", left=1, right=0)
    note = library(ask(5, 5, None, window), "Hugging Face eager")["note"]
    assert "sliding_window=2 " in note
    assert library(ask(5, 5, None, part("window")), "Hugging Face eager")["note"] is None
    both_sides = library(ask(5, 5, None, window), "JAX")["note"]
    assert both_sides == "local_window_size=1, one number, is another window: 2, 3, 3, 3, 2 keys."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q_len": 0}, "q_len must be an integer from 1 to 10, got 0"),
        ({"q_len": 11}, "q_len must be an integer from 1 to 10, got 11"),
        ({"kv_len": "5"}, "kv_len must be an integer from 1 to 10, got '5'"),
        ({"kv_len": True}, "kv_len must be an integer from 1 to 10, got True"),
        ({"q_start": 2.5}, "q_start must be an integer from -10 to 10, got 2.5"),
        ({"parts": [{"kind": "x"}]}, "kind must be one of causal, window, prefix"),
        ({"parts": [part("causal", "xor")]}, "join must be 'and' or 'or', got 'xor'"),
        ({"parts": [part("documents", each=0)]}, "each must be an integer from 1 to 10, got 0"),
        ({"parts": [{"kind": "prefix"}]}, "prefix must be an integer from 0 to 10, got None"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        bench.answer({"q_len": 5, "kv_len": 5, "q_start": None, "parts": []} | change)
    assert "\n" not in str(refused.value)


def test_more_padding_than_keys_is_the_packages_error() -> None:
    answer = ask(3, 3, None, part("padding", length=4))
    assert answer["error"] == "ValueError: lengths must lie between 0 and kv_len=3, got 4"
