"""The faults that change nothing, with the reason, and those that people make, by name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutation.mutants import Mutant, Mutants, canonical

Key = tuple[str, str, str]
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "attention_ref"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
NAMED = Path(__file__).with_name("named.toml")


@dataclass(frozen=True)
class Listed:
    """Why a fault goes unnoticed: by everything, or by the pages alone."""

    reason: str
    tests_notice: bool


def equivalent() -> dict[Key, Listed]:
    """Return the listed faults by their keys."""
    entries = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("mutant", [])
    found = {}
    for entry in entries:
        key = (entry["function"], canonical(entry["before"]), canonical(entry["after"]))
        if not entry["reason"].strip():
            raise ValueError(f"{EQUIVALENT.name}: say why {key} changes nothing")
        if key in found:
            raise ValueError(f"{EQUIVALENT.name}: {key} is listed twice")
        found[key] = Listed(entry["reason"], entry.get("tests_notice", False))
    return found


def named() -> Iterator[tuple[str, Mutants, Mutant]]:
    """Yield the faults that people make: what each is called, and its place in the package."""
    for entry in tomllib.loads(NAMED.read_text(encoding="utf-8"))["fault"]:
        module, _, function = entry["function"].partition(".")
        if module in ("interop", "testing", "torch", "exercises"):
            inner, _, function = function.partition(".")
            module = f"{module}.{inner}"
        mutants = Mutants(module, PACKAGE / f"{module.replace('.', '/')}.py")
        before = entry.get("before")
        yield entry["name"], mutants, mutants.written(function, before, entry["after"])
