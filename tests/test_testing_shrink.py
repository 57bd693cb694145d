"""How a failing case is made small, one step at a time."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from attention_ref import scaled_dot_product_attention
from attention_ref.testing import attention_cases
from attention_ref.testing._cases import CASES
from attention_ref.testing._conventions import CONVENTIONS
from attention_ref.testing._faults import FAULTS
from attention_ref.testing._judge import Outcome
from attention_ref.testing._problems import Case
from attention_ref.testing._shrink import smaller, smallest

ONE = Case("one", batch=1, heads=1, kv_heads=1, q_len=1, kv_len=1, d_k=1, d_v=1)


def steps(case, one_width=False):
    """Return what each smaller case changes, in order."""
    whole = asdict(case)
    return [
        {name: term for name, term in asdict(less).items() if term != whole[name]}
        for less in smaller(case, one_width)
    ]


def test_nothing_is_smaller_than_one_of_each():
    assert steps(ONE) == []


def test_each_term_goes_before_any_size():
    terms = {
        "bias": "full",
        "softcap": 2.0,
        "scale": 0.5,
        "sink": True,
        "mask": "full",
        "window": (1, 1),
        "size": 4.0,
    }
    without = {**dict.fromkeys(terms), "sink": False, "size": 1.0}
    assert steps(replace(ONE, **terms, batch=2)) == [
        *({term: nothing} for term, nothing in without.items()),
        {"batch": 1},
    ]


@pytest.mark.parametrize("special", ["far", "long", "key"])
def test_where_the_numbers_are_special_all_terms_stay(special):
    assert steps(replace(ONE, special=special, mask="full", size=4.0)) == []


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"batch": 4}, [{"batch": 1}, {"batch": 2}, {"batch": 3}]),
        (
            {"heads": 3, "kv_heads": 3},
            [{"heads": 1, "kv_heads": 1}, {"heads": 2, "kv_heads": 2}],
        ),
        # Heads that are shared stay so: two of one are the least.
        ({"heads": 4, "kv_heads": 1}, [{"heads": 2}, {"heads": 3}]),
        ({"heads": 4, "kv_heads": 2}, [{"heads": 2, "kv_heads": 1}]),
        (
            {"heads": 6, "kv_heads": 2},
            [{"heads": 2, "kv_heads": 1}, {"heads": 3, "kv_heads": 1}, {"heads": 4}],
        ),
        ({"q_len": 3, "kv_len": 3}, [{"q_len": 1, "kv_len": 1}, {"q_len": 2, "kv_len": 2}]),
        # Lengths that differ stay different, and the keys stay more than one.
        ({"q_len": 1, "kv_len": 4}, [{"kv_len": 2}, {"kv_len": 3}]),
        ({"q_len": 2, "kv_len": 4}, [{"q_len": 1}, {"kv_len": 3}]),
        ({"q_len": 3, "kv_len": 5}, [{"q_len": 1}, {"q_len": 2}, {"kv_len": 2}, {"kv_len": 4}]),
        ({"q_len": 3, "kv_len": 1}, [{"q_len": 1}, {"q_len": 2}]),
        ({"q_len": 3, "kv_len": 2}, [{"q_len": 1}, {"q_len": 2}]),
        # A long sum shows only where it is long: halved, and not shortened by one.
        ({"q_len": 1, "kv_len": 20, "special": "long"}, [{"kv_len": n} for n in (3, 5, 9, 17)]),
        ({"q_len": 1, "kv_len": 17, "special": "long"}, [{"kv_len": n} for n in (3, 5, 9)]),
        ({"d_k": 3, "d_v": 3}, [{"d_k": 1, "d_v": 1}, {"d_k": 2, "d_v": 2}]),
        ({"d_k": 3, "d_v": 2}, [{"d_v": 1}, {"d_k": 1}, {"d_k": 2}]),
    ],
)
def test_the_smallest_of_a_size_comes_first(sizes, expected):
    assert steps(replace(ONE, **sizes)) == expected


def test_where_a_convention_has_one_width_only_equal_widths_shrink():
    assert steps(replace(ONE, d_k=2, d_v=2), one_width=True) == [{"d_k": 1, "d_v": 1}]
    assert steps(replace(ONE, d_k=3, d_v=2), one_width=True) == []


def test_sizes_come_in_one_order():
    case = replace(ONE, batch=2, heads=2, kv_heads=2, q_len=1, kv_len=3, d_k=2, d_v=2)
    names = [tuple(step) for step in steps(case)]
    assert names == [("batch",), ("heads", "kv_heads"), ("kv_len",), ("d_k", "d_v")]


def test_every_step_makes_a_case_smaller():
    def size(case):
        terms = (case.mask, case.bias, case.window, case.scale, case.softcap, case.sink or None)
        lengths = case.batch, case.heads, case.kv_heads, case.q_len, case.kv_len
        given = sum(term is not None for term in terms) + (case.size != 1)
        return given + sum(lengths) + case.d_k + case.d_v

    for case in CASES:
        for one_width in (False, True):
            assert all(size(less) < size(case) for less in smaller(case, one_width)), case


def asked(function, name, features=()):
    """Return the judge of our own convention, and what comes of one of its cases."""
    cases = {str(case): case for case in attention_cases("attention_ref", list(features))}
    judge = cases[name].judge
    return judge, judge.ask(function, cases[name].case)


@pytest.mark.parametrize(("limit", "number", "most"), [("CALLS", 3, 3), ("SECONDS", 0.0, 0)])
def test_it_ends_at_its_limits(monkeypatch, limit, number, most):
    calls = []

    def wrong(query, key, value):
        calls.append(query.shape)
        return 0 * value

    judge, outcome = asked(wrong, "self-attention")
    calls.clear()
    best = smallest(judge, wrong, outcome, None)
    assert (best.case.heads, best.case.kv_len, best.case.d_v) == (1, 1, 1)
    assert 0 < len(calls) < 100
    calls.clear()
    monkeypatch.setattr(f"attention_ref.testing._shrink.{limit}", number)
    smallest(judge, wrong, outcome, None)
    assert len(calls) == most


@pytest.mark.parametrize(("seconds", "calls"), [(0.001, 200), (1.0, 10)])
def test_the_limits_are_those_of_its_page(monkeypatch, seconds, calls):
    """`docs/reference/testing.md`: at most 200 calls, and at most ten seconds."""
    now, asked = [50.0], []

    def ask(function, case):
        asked.append(case)
        now[0] += seconds
        return Outcome(case, "holds", "all of it")

    judge = SimpleNamespace(ask=ask, convention=CONVENTIONS["attention_ref"])
    monkeypatch.setattr("attention_ref.testing._shrink.time.monotonic", lambda: now[0])
    outcome = Outcome(Case("much", q_len=100, kv_len=101, d_k=60, d_v=60), "values", "")
    assert smallest(judge, None, outcome, None) is outcome
    assert len(asked) == calls


def test_what_fails_in_another_way_is_not_smaller():
    def wrong(query, key, value):
        if query.shape[0] == 1:
            return np.zeros((1, 1), value.dtype)  # another shape, and not other values
        return 0 * value

    judge, outcome = asked(wrong, "self-attention")
    best = smallest(judge, wrong, outcome, None)
    assert best.kind == "values"
    assert best.case.batch == 2
    assert best.case.heads == best.case.q_len == best.case.d_k == 1


def test_what_fails_in_another_way_in_the_same_words_is_not_smaller():
    kinds = iter(["shape", "raises", "values"])

    def ask(function, case):
        return Outcome(case, next(kinds, "holds"), "the words")

    judge = SimpleNamespace(ask=ask, convention=CONVENTIONS["attention_ref"])
    best = smallest(judge, None, Outcome(replace(ONE, batch=9), "values", "the words"), None)
    assert best.case.batch == 3


@pytest.mark.parametrize("message", ["always the same", "only for the whole batch"])
def test_what_raises_otherwise_is_not_smaller(message):
    def wrong(query, key, value):
        raise ValueError(message if query.shape[0] == 2 else "always the same")

    judge, outcome = asked(wrong, "self-attention")
    best = smallest(judge, wrong, outcome, None)
    assert best.detail == outcome.detail
    assert best.case.batch == (1 if message == "always the same" else 2)


def test_the_smallest_shows_the_fault_that_was_named():
    """A mask that is ignored cannot show where one query sees its one key."""

    def unmasked(query, key, value, mask=None):
        return scaled_dot_product_attention(query, key, value)

    (ignored,) = (fault for fault in FAULTS if fault.name == "mask ignored")
    (added,) = (fault for fault in FAULTS if fault.name == "mask added")
    judge, outcome = asked(unmasked, "mask shared by all", ["mask"])
    best = smallest(judge, unmasked, outcome, ignored)
    assert best.kind == "values"
    assert best.case.mask == "shared"
    assert judge.predicts(ignored, best)
    sizes = best.case.batch, best.case.heads, best.case.q_len, best.case.kv_len, best.case.d_k
    assert sizes == (1, 1, 2, 2, 1)
    # What another fault would have to explain stays as it is.
    assert smallest(judge, unmasked, outcome, added) == outcome
