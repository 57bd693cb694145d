"""Which known faults explain what failed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from attention_ref.testing._faults import FAULTS, Fault
from attention_ref.testing._gradient_faults import GRADIENT_FAULTS, GradientFault
from attention_ref.testing._judge import Judge, Outcome
from attention_ref.testing._report import Diagnosis

AnyFault = Fault | GradientFault


class Explanation(NamedTuple):
    """A diagnosis, the fault that it names, if known, and the first case that shows it."""

    diagnosis: Diagnosis
    fault: AnyFault | None
    outcome: Outcome


def explain(
    function: Callable[..., Any], judge: Judge, outcomes: tuple[Outcome, ...]
) -> list[Explanation]:
    """Return what explains the failures: the fault that explains most first, then the unknown."""
    left = [_forward(function, judge, outcome) for outcome in outcomes if outcome.failed]
    chance = [outcome for outcome in left if judge.is_random(function, outcome)]
    if chance:
        message = "equal calls have different answers: dropout, or another chance, is left on"
        return [_explanation("random", message, chance, None)]
    found: list[Explanation] = []
    while best := _best(judge, left, outcomes, [e.fault for e in found if e.fault]):
        fault, explained = best
        message = fault.message + _only_in(explained, outcomes)
        found.append(_explanation(fault.name, message, explained, fault))
        left = [outcome for outcome in left if outcome not in explained]
    return found + _unknown(left)


def _best(
    judge: Judge, left: list[Outcome], outcomes: tuple[Outcome, ...], found: list[AnyFault]
) -> tuple[AnyFault, list[Outcome]] | None:
    """Return the fault that explains most of what is left, and what it explains.

    A fault counts alone, and beside one that is found already. Cases that hold where it would
    show speak against it. Those with the features of a case that it explains must be fewer than
    what it explains; the others decide between equals.
    """
    holds = [outcome for outcome in outcomes if outcome.kind == "holds"]
    best, most = None, (0, 0)
    for fault in (one for one in (*FAULTS, *GRADIENT_FAULTS) if one not in found):
        forms: list[AnyFault | None] = [fault]
        if isinstance(fault, Fault):
            forms += [fault.beside(other) for other in found if isinstance(other, Fault)]
        explained = [o for o in left if any(judge.predicts(form, o) for form in forms if form)]
        if not explained or len(explained) < most[0]:
            continue
        against = [o for o in holds if judge.predicts(fault, o) is False]
        merit = len(explained) - sum(_alike(o, explained) for o in against), -len(against)
        if merit > most:
            best, most = (fault, explained), merit
    return best


def _alike(outcome: Outcome, others: list[Outcome]) -> bool:
    """Tell whether a case has all features of one of the others, and its mode."""
    return any(
        other.case.needs <= outcome.case.needs and other.case.mode == outcome.case.mode
        for other in others
    )


def _forward(function: Callable[..., Any], judge: Judge, outcome: Outcome) -> Outcome:
    """Put the output in the place of a wrong gradient, where the output is already wrong."""
    if outcome.kind != "gradients":
        return outcome
    forward = judge.ask(function, replace(outcome.case, gradient=False))
    return forward if forward.failed else outcome


def _unknown(left: list[Outcome]) -> list[Explanation]:
    """Group what no known fault explains, by kind, and by what was raised."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in left:
        detail = outcome.detail if outcome.kind == "raises" else ""
        groups.setdefault((outcome.kind, detail), []).append(outcome)
    found = []
    for (kind, _), alike in groups.items():
        detail = alike[0].detail
        name, message = {
            "raises": ("raises", detail),
            "dtype": ("output dtype", f"{detail}; what comes out has the dtype of the value"),
            "shape": ("output shape", detail),
            "values": ("unknown", "no known fault answers so"),
            "gradients": ("unknown gradient", "no known fault has such a gradient"),
        }[kind]
        found.append(_explanation(name, message, alike, None))
    return found


def _explanation(
    name: str, message: str, outcomes: list[Outcome], fault: AnyFault | None
) -> Explanation:
    cases = tuple(outcome.case.name for outcome in outcomes)
    return Explanation(Diagnosis(name, message, cases), fault, outcomes[0])


def _only_in(failed: list[Outcome], outcomes: tuple[Outcome, ...]) -> str:
    """Name the mode, where the same cases hold in the other."""
    modes = {outcome.case.mode for outcome in failed}
    other = {"train": "eval", "eval": "train"}[next(iter(modes))]
    nameless = {replace(o.case, name="") for o in outcomes if o.kind == "holds"}
    mirrored = any(replace(o.case, name="", mode=other) in nameless for o in failed)
    return f" (only after .{modes.pop()}())" if len(modes) == 1 and mirrored else ""
