"""Make a failing case small, for as long as it fails in the same way."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from attention_ref.testing._faults import Fault
from attention_ref.testing._gradient_faults import GradientFault
from attention_ref.testing._judge import Judge, Outcome
from attention_ref.testing._problems import Case

# A slow function, or one with a new answer each time, is let go with what is found by then.
CALLS, SECONDS = 200, 10.0


def smallest(
    judge: Judge,
    function: Callable[..., Any],
    outcome: Outcome,
    fault: Fault | GradientFault | None,
) -> Outcome:
    """Return the smallest case found that fails in the same way, by the same fault if known."""
    end, calls = time.monotonic() + SECONDS, 0
    candidates = smaller(outcome.case, judge.convention.one_width)
    while (case := next(candidates, None)) and calls < CALLS and time.monotonic() < end:
        tried, calls = judge.ask(function, case), calls + 1
        alike = tried.kind == outcome.kind and (
            tried.kind != "raises" or tried.detail == outcome.detail
        )
        if alike and (fault is None or judge.predicts(fault, tried)):
            outcome = tried
            candidates = smaller(case, judge.convention.one_width)
    return outcome


def smaller(case: Case, one_width: bool) -> Iterator[Case]:
    """Yield cases with less in them, the smallest first; lengths and widths that are equal stay so.

    Each has one term fewer or one size smaller, so that no case comes twice on the way down.
    """
    if case.special is None:
        plain: dict[str, Any] = {"bias": None, "softcap": None, "scale": None, "sink": False}
        plain |= {"mask": None, "window": None, "size": 1.0}
        for term, without in plain.items():
            if getattr(case, term) != without:
                yield replace(case, **{term: without})
    for batch in range(1, case.batch):
        yield replace(case, batch=batch)
    groups = case.heads // case.kv_heads
    for kv_heads in range(1, case.kv_heads + 1):
        for group in range(min(groups, 2), groups + 1):
            if kv_heads < case.kv_heads or group < groups:
                yield replace(case, heads=kv_heads * group, kv_heads=kv_heads)
    yield from _shorter(case)
    if case.d_k == case.d_v:
        yield from (replace(case, d_k=width, d_v=width) for width in range(1, case.d_k))
    elif not one_width:
        yield from (replace(case, d_v=width) for width in range(1, case.d_v))
        yield from (replace(case, d_k=width) for width in range(1, case.d_k))


def _shorter(case: Case) -> Iterator[Case]:
    if case.q_len == case.kv_len:
        for length in range(1, case.q_len):
            yield replace(case, q_len=length, kv_len=length)
        return
    yield from (replace(case, q_len=length) for length in range(1, case.q_len))
    lengths: Iterator[int] = iter(range(2, case.kv_len))
    if case.special == "long":
        lengths = (2**power + 1 for power in range(1, case.kv_len.bit_length()))
    for length in lengths:
        if length != case.q_len and length < case.kv_len:
            yield replace(case, kv_len=length)
