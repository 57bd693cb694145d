"""What a run found, to read in a terminal of 80 columns or by a machine."""

import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import Any

from attention_ref.testing._judge import Outcome

WIDTH = 79


@dataclass(frozen=True)
class Diagnosis:
    """A known fault that explains what failed.

    Attributes:
        name: The fault in two or three words.
        message: What is wrong, and what would be right.
        cases: The names of the cases that it explains.
    """

    name: str
    message: str
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What holds, what does not, what was not tried, and why. `print` it.

    Attributes:
        function: The name of the function.
        convention: The convention that it was called in.
        outcomes: One for each case; `name`, `kind`, `detail`.
        untried: The features that were not tried, each with the reason.
        diagnoses: The known faults that explain the failures, the one that explains most first.
        snippet: The smallest failing case, as a program; empty if all holds.
    """

    function: str
    convention: str
    outcomes: tuple[Outcome, ...]
    untried: dict[str, str]
    diagnoses: tuple[Diagnosis, ...] = ()
    snippet: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and something was tried."""
        return not self.failures and any(o.kind == "holds" for o in self.outcomes)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes that are wrong."""
        return tuple(outcome for outcome in self.outcomes if outcome.failed)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        return {
            "function": self.function,
            "convention": self.convention,
            "ok": self.ok,
            "cases": [
                {"name": o.case.name, "kind": o.kind, "detail": o.detail} for o in self.outcomes
            ],
            "not_tried": self.untried,
            "diagnoses": [
                {"name": d.name, "message": d.message, "cases": list(d.cases)}
                for d in self.diagnoses
            ],
            "snippet": self.snippet,
        }

    def __str__(self) -> str:
        count = Counter(
            "fail" if o.failed else "hold" if o.kind == "holds" else "not tried"
            for o in self.outcomes
        )
        counted = ", ".join(f"{number} {kind}" for kind, number in sorted(count.items()))
        lines = [f"{self.function}, called as {self.convention}: {counted}", ""]
        for outcome in self.outcomes:
            sign = {"holds": "holds", "not tried": "-"}.get(outcome.kind, "FAILS")
            detail = "" if outcome.kind == "holds" else outcome.detail
            line = f"  {sign:5}  {outcome.case.name:28}  {detail}".rstrip()
            lines.append(line if len(line) <= WIDTH else line[: WIDTH - 3] + "...")
        if self.untried:
            lines += ["", "Not tried:"]
            for reason in dict.fromkeys(self.untried.values()):
                same = ", ".join(name for name, why in self.untried.items() if why == reason)
                lines.append(_filled(f"{same}: {reason}", "  "))
        if self.diagnoses:
            lines += ["", "Diagnosis:"]
        for diagnosis in self.diagnoses:
            lines.append(_filled(f"{diagnosis.name}: {diagnosis.message}", "  "))
            cases = diagnosis.cases
            more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""
            lines.append(_filled("in: " + "; ".join(cases[:3]) + more, "    "))
        if self.snippet:
            lines += ["", "The smallest case that fails, to paste:", ""]
            lines += [textwrap.indent(self.snippet, "    ")]
        return "\n".join(lines)


def _filled(text: str, indent: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
