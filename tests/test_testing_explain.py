"""Which faults explain what failed: most first, what holds against them, and what is left."""

from dataclasses import replace

import pytest

from attention_ref.testing._explain import explain
from attention_ref.testing._faults import FAULTS
from attention_ref.testing._judge import Outcome
from attention_ref.testing._problems import Case

KNOWN = {fault.name: fault for fault in FAULTS}
MESSAGE = "equal calls have different answers: dropout, or another chance, is left on"


class Told:
    """A judge that was told what it says: of each fault, in which cases it shows and holds.

    A name with a plus is two faults in one function.
    """

    def __init__(self, shows=(), against=(), chance=(), forward=()):
        self.shows = dict(shows)
        self.against = dict(against)
        self.chance = chance
        self.forward = dict(forward)
        self.asked = []

    def predicts(self, fault, outcome):
        name = fault.name
        if name in KNOWN and fault is not KNOWN[name]:
            name += "+"
        if outcome.case.name in self.shows.get(name, ()):
            return True
        return False if outcome.case.name in self.against.get(name, ()) else None

    def is_random(self, function, outcome):
        return outcome.case.name in self.chance

    def ask(self, function, case):
        self.asked.append(case)
        return self.forward[case.name]


def outcomes(failed, held="", kind="values", needs=frozenset()):
    """Return outcomes named by single letters."""
    return (
        *(Outcome(Case(name, frozenset(needs)), kind, "") for name in failed),
        *(Outcome(Case(name, frozenset(needs)), "holds", "") for name in held),
    )


def told(judge, its):
    return [(e.diagnosis.name, "".join(e.diagnosis.cases)) for e in explain(None, judge, its)]


def test_where_all_holds_there_is_nothing_to_explain():
    assert explain(None, Told(), outcomes("", "ab")) == []


def test_the_fault_that_explains_most_comes_first_and_the_unknown_last():
    judge = Told({"no scale": "ab", "mask inverted": "cde", "bias ignored": "bc"})
    found = explain(None, judge, outcomes("abcdef", "g"))
    assert [(e.diagnosis.name, "".join(e.diagnosis.cases)) for e in found] == [
        ("mask inverted", "cde"),
        ("no scale", "ab"),
        ("unknown", "f"),
    ]
    assert [e.fault for e in found] == [KNOWN["mask inverted"], KNOWN["no scale"], None]
    assert [e.outcome.case.name for e in found] == ["c", "a", "f"]
    assert found[0].diagnosis.message == KNOWN["mask inverted"].message
    assert found[2].diagnosis.message == "no known fault answers so"


def test_of_equals_that_one_is_named_that_less_speaks_against():
    shows = {"no scale": "ab", "mask inverted": "ab", "bias ignored": "ab"}
    held = (
        Outcome(Case("x", frozenset({"sink"})), "holds", ""),
        Outcome(Case("y", frozenset({"sink"})), "holds", ""),
    )
    failed = outcomes("ab", needs={"mask"})
    judge = Told(shows, {"no scale": "xy", "mask inverted": "y", "bias ignored": "xy"})
    assert told(judge, (*failed, *held)) == [("mask inverted", "ab")]
    # And of what is equal in this too, the first of the list.
    judge = Told(shows, dict.fromkeys(shows, "x"))
    assert told(judge, (*failed, *held)) == [("no scale", "ab")]


def test_what_holds_with_the_same_features_weighs_as_much_as_what_fails():
    shows = {"no scale": "abcd", "mask inverted": "ab"}
    its = outcomes("abcd", "wxyz")
    assert told(Told(shows, {"no scale": "x"}), its)[0] == ("no scale", "abcd")
    assert told(Told(shows, {"no scale": "xyz"}), its)[0] == ("mask inverted", "ab")
    assert told(Told({"no scale": "abcd"}, {"no scale": "wxyz"}), its) == [("unknown", "abcd")]


@pytest.mark.parametrize(
    ("needs", "mode", "alike"),
    [
        ({"mask"}, "eval", True),
        ({"mask", "bias"}, "eval", True),  # all of the features that failed, and more
        (set(), "eval", False),
        ({"bias"}, "eval", False),
        ({"mask"}, "train", False),
    ],
)
def test_what_has_other_features_or_another_mode_decides_between_equals_alone(needs, mode, alike):
    (failed,) = outcomes("a", needs={"mask"})
    held = Outcome(Case("x", frozenset(needs), mode=mode), "holds", "")
    judge = Told({"no scale": "a"}, {"no scale": "x"})
    name = "unknown" if alike else "no scale"
    assert told(judge, (failed, held)) == [(name, "a")]


def test_what_was_not_tried_speaks_against_nothing():
    (failed,) = outcomes("a")
    other = Outcome(Case("x"), "not tried", "")
    assert told(Told({"no scale": "a"}, {"no scale": "x"}), (failed, other)) == [("no scale", "a")]


def test_a_fault_is_looked_for_beside_one_that_is_found():
    shows = {"mask inverted": "abc", "no scale": "d", "no scale+": "e"}
    assert told(Told(shows), outcomes("abcde")) == [("mask inverted", "abc"), ("no scale", "de")]
    # Not beside what is not found.
    assert told(Told({"no scale+": "e"}), outcomes("e")) == [("unknown", "e")]


def test_no_fault_is_named_twice():
    shows = {"mask inverted": "ab", "mask inverted+": "c", "no scale": "d"}
    found = told(Told(shows), outcomes("abcd"))
    assert found == [("mask inverted", "ab"), ("no scale", "d"), ("unknown", "c")]


def test_a_fault_of_the_gradient_is_found_alone():
    shows = {"key detached": "ab", "value detached": "c"}
    forward = {name: Outcome(Case(name), "holds", "") for name in "abc"}
    its = outcomes("abc", kind="gradients")
    found = told(Told(shows, forward=forward), its)
    assert found == [("key detached", "ab"), ("value detached", "c")]


def test_chance_is_told_before_all_else():
    judge = Told({"no scale": "abc"}, chance="bc")
    (found,) = explain(None, judge, outcomes("abc"))
    assert found.diagnosis.name == "random"
    assert found.diagnosis.message == MESSAGE
    assert found.diagnosis.cases == ("b", "c")
    assert found.fault is None


def test_a_gradient_is_wrong_as_the_output_is_where_that_is_wrong():
    case = Case("a", gradient=True)
    wrong = Outcome(replace(case, gradient=False), "values", "")
    its = (Outcome(case, "gradients", ""),)
    judge = Told({"no scale": "a"}, forward={"a": wrong})
    (found,) = explain(None, judge, its)
    assert judge.asked == [replace(case, gradient=False)]
    assert found.outcome is wrong
    judge = Told(forward={"a": replace(wrong, kind="holds")})
    (found,) = explain(None, judge, its)
    assert found.outcome is its[0]
    assert found.diagnosis.name == "unknown gradient"
    assert found.diagnosis.message == "no known fault has such a gradient"
    explain(None, judge, outcomes("b"))
    assert len(judge.asked) == 1  # outputs are not asked for again


def test_what_is_unknown_is_told_by_kind_and_what_was_raised_by_its_words():
    def outcome(name, kind, detail):
        return Outcome(Case(name), kind, detail)

    its = (
        outcome("a", "raises", "TypeError: no mask"),
        outcome("b", "values", "off by 1"),
        outcome("c", "raises", "TypeError: no bias"),
        outcome("d", "raises", "TypeError: no mask"),
        outcome("e", "shape", "of shape (1,)"),
        outcome("f", "values", "off by 2"),
        outcome("g", "dtype", "output in float64 for float32"),
        outcome("h", "shape", "of shape (2,)"),
    )
    found = explain(None, Told(), its)
    assert [(e.diagnosis.name, e.diagnosis.message, "".join(e.diagnosis.cases)) for e in found] == [
        ("raises", "TypeError: no mask", "ad"),
        ("unknown", "no known fault answers so", "bf"),
        ("raises", "TypeError: no bias", "c"),
        ("output shape", "of shape (1,)", "eh"),
        (
            "output dtype",
            "output in float64 for float32; what comes out has the dtype of the value",
            "g",
        ),
    ]
    assert all(e.fault is None for e in found)


def modes(*rows):
    """Return outcomes, each of a name, a mode, a kind, and its number of keys."""
    return tuple(Outcome(Case(n, mode=m, kv_len=k), kind, "") for n, m, kind, k in rows)


@pytest.mark.parametrize(
    ("its", "added"),
    [
        (modes(("a", "eval", "values", 7)), ""),
        (modes(("a", "eval", "values", 7), ("x", "train", "holds", 7)), " (only after .eval())"),
        (modes(("a", "train", "values", 7), ("x", "eval", "holds", 7)), " (only after .train())"),
        # Another case holds in the other mode, the same one fails there, or has the same mode.
        (modes(("a", "train", "values", 7), ("x", "eval", "holds", 5)), ""),
        (modes(("a", "train", "values", 7), ("a", "eval", "values", 7)), ""),
        (modes(("a", "train", "values", 7), ("x", "train", "holds", 7)), ""),
        (modes(("a", "train", "values", 7), ("x", "eval", "not tried", 7)), ""),
        # It fails in both, in some cases.
        (
            modes(
                ("a", "train", "values", 7), ("a", "eval", "values", 5), ("x", "eval", "holds", 7)
            ),
            "",
        ),
        (
            modes(
                ("a", "eval", "values", 5), ("a", "eval", "values", 7), ("x", "train", "holds", 7)
            ),
            " (only after .eval())",
        ),
    ],
)
def test_what_fails_in_one_mode_alone_is_said_to(its, added):
    (found,) = explain(None, Told({"no scale": "a"}), its)
    assert found.diagnosis.message == KNOWN["no scale"].message + added
