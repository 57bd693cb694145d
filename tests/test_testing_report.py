"""The report of the conformance kit, word for word."""

import textwrap

import pytest

from attention_ref.testing import Diagnosis, Report
from attention_ref.testing._judge import Outcome
from attention_ref.testing._problems import Case


def outcome(name, kind, detail):
    return Outcome(Case(name), kind, detail)


# "  FAILS  " and the name, filled up to 28, and two spaces more: 39 columns before the detail.
WIDE, TOO_WIDE = "w" * 40, "x" * 41
WRONG = Report(
    "attend",
    "torch",
    (
        outcome("plain", "holds", "0.50 of the allowed difference"),
        outcome("cross", "holds", "0.25 of the allowed difference"),
        outcome("masked", "values", "output off by 1"),
        outcome("a name of thirty-one characters", "raises", "ValueError: no"),
        outcome("wide", "shape", WIDE),
        outcome("too wide", "gradients", TOO_WIDE),
        outcome("overflows", "not tried", "beyond what float16 can hold"),
    ),
    {"mask": "not declared", "sink": "cannot be said", "bias": "not declared"},
    (
        Diagnosis(
            "mask added",
            "the mask is added to the scores as 0 and 1: nothing is hid, top-left",
            ("a", "b", "c", "d"),
        ),
        Diagnosis("unknown", "y" * 80, ("f", "g", "h")),
    ),
    "first\n\nsecond",
)
TEXT = f"""\
attend, called as torch: 4 fail, 2 hold, 1 not tried

  holds  plain
  holds  cross
  FAILS  masked                        output off by 1
  FAILS  a name of thirty-one characters  ValueError: no
  FAILS  wide                          {WIDE}
  FAILS  too wide                      {"x" * 37}...
  -      overflows                     beyond what float16 can hold

Not tried:
  mask, bias: not declared
  sink: cannot be said

Diagnosis:
  mask added: the mask is added to the scores as 0 and 1: nothing is hid,
    top-left
    in: a; b; c and 1 more
  unknown:
    {"y" * 80}
    in: f; g; h

The smallest case that fails, to paste:

    first

    second"""


def test_it_reads_so():
    assert str(WRONG) == TEXT


def test_what_is_all_right_is_short():
    report = Report("attend", "torch", (outcome("plain", "holds", "0.50 of it"),), {})
    assert str(report) == "attend, called as torch: 1 hold\n\n  holds  plain"


def test_a_machine_reads_the_same():
    assert WRONG.as_dict() == {
        "function": "attend",
        "convention": "torch",
        "ok": False,
        "cases": [
            {"name": one.case.name, "kind": one.kind, "detail": one.detail}
            for one in WRONG.outcomes
        ],
        "not_tried": WRONG.untried,
        "diagnoses": [
            {"name": one.name, "message": one.message, "cases": list(one.cases)}
            for one in WRONG.diagnoses
        ],
        "snippet": WRONG.snippet,
    }
    assert [case["kind"] for case in WRONG.as_dict()["cases"]][:3] == ["holds", "holds", "values"]


@pytest.mark.parametrize(
    ("kinds", "ok", "failures"),
    [
        (["holds"], True, 0),
        (["holds", "not tried"], True, 0),
        (["not tried"], False, 0),
        (["holds", "dtype"], False, 1),
        (["values", "raises"], False, 2),
        ([], False, 0),
    ],
)
def test_all_is_right_if_nothing_failed_and_something_was_tried(kinds, ok, failures):
    report = Report("attend", "torch", tuple(outcome(kind, kind, "") for kind in kinds), {})
    assert report.ok is ok
    assert len(report.failures) == failures


def test_the_program_is_indented_as_a_whole():
    assert textwrap.dedent(str(WRONG).partition("paste:\n\n")[2]) == WRONG.snippet
