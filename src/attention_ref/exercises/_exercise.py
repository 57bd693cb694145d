"""What an exercise is made of, and how an answer to it is judged and explained."""

import ast
import contextlib
import copy
import inspect
import io
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Function = Callable[..., Any]
Inputs = Callable[[np.random.Generator], Iterator[tuple[Any, ...]]]

_SEEDS = (0, 1, 2)
_TOLERANCE = 1e-9  # of the largest number expected: far above float64's, far below a mistake's
_SHOWN = 12  # the most numbers of an array that are printed in full
_PRINTED = 10_000  # the most characters that an answer may print
_WIDTH = 78
_OTHER_NUMBERS = "It returns other numbers than the definition."


@dataclass(frozen=True)
class Exercise:
    """One function to write, with all that is needed to set it, to judge it and to explain it.

    Everything said to a reader stands in a docstring: the task in that of `solution`, what to say
    about a wrong answer in those of `mistakes` and `rules`.

    Args:
        solution: A right answer. Its name is the exercise's; its docstring is the task.
        specification: The definition, in loops over plain numbers: it alone decides what is right.
        inputs: Yields the arguments of each call, the smallest first, drawn from a generator.
        mistakes: Wrong answers that people give. Whoever gives the same numbers is told the
            docstring.
        rules: Properties of every right answer, called with the answer and the arguments. For an
            answer that is wrong in another way, the first that does not hold speaks.
        hints: By degrees, the last one almost the solution.
    """

    solution: Function
    specification: Function
    inputs: Inputs
    mistakes: tuple[Function, ...]
    rules: tuple[Function, ...]
    hints: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the function to write, which no other exercise has."""
        return self.solution.__name__

    @property
    def page(self) -> str:
        """The page of docs/learn that sets it: `scaled-dot-product`."""
        return self.solution.__module__.rpartition("._")[2].replace("_", "-")

    @property
    def task(self) -> str:
        """What to write, in one or two sentences."""
        return _words(self.solution)

    @property
    def solution_source(self) -> str:
        """A right answer, as text."""
        return inspect.getsource(self.solution)

    @property
    def stub(self) -> str:
        """What to start from, as text: the signature, the task, and nothing done."""
        source = self.solution_source
        (function,) = ast.parse(source).body
        assert isinstance(function, ast.FunctionDef)
        kept = source.splitlines()[: function.body[0].end_lineno]
        return "\n".join([*kept, "    ..."]) + "\n"

    def judge(
        self,
        function: Function,
        *,
        seeds: tuple[int, ...] = _SEEDS,
        asarray: Callable[[Any], Any] = np.asarray,
    ) -> "Verdict":
        """Compare a function with the specification on every input, and explain what differs."""
        names = tuple(inspect.signature(self.solution).parameters)
        cases = [case for seed in seeds for case in self.inputs(np.random.default_rng(seed))]
        expected = [_call(self.specification, names, case, np.asarray).answer for case in cases]
        outcomes = [_call(function, names, case, asarray) for case in cases]
        array = type(asarray(np.zeros(1)))
        faults = [
            outcome.fault or _difference(outcome.answer, right, array)
            for outcome, right in zip(outcomes, expected, strict=True)
        ]
        if not any(faults):
            return Verdict(self.name, True, "passes.", "")
        at = next(number for number, fault in enumerate(faults) if fault)
        diagnosis = _recognised(self, names, cases, outcomes)
        if not diagnosis and faults[at] == _OTHER_NUMBERS:
            at, diagnosis = _broken_rule(self, cases, outcomes, faults, at)
        diagnosis = diagnosis or faults[at]
        evidence = _evidence(names, cases[at], outcomes[at], expected[at])
        return Verdict(self.name, False, f"not yet. {diagnosis}", evidence)


@dataclass(frozen=True, repr=False)
class Verdict:
    """What `check` found: true if the answer is right, and its text says why not."""

    exercise: str
    passed: bool
    diagnosis: str
    evidence: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        head = f"{self.exercise}: {self.diagnosis}"
        wrapped = textwrap.fill(head, _WIDTH, break_long_words=False, break_on_hyphens=False)
        return "\n".join(filter(None, [wrapped, self.evidence]))


@dataclass(frozen=True)
class _Outcome:
    """What one call of a function came to; `fault` says what went wrong outside its numbers."""

    answer: Any = None
    fault: str = ""
    error: str = ""
    changed: tuple[tuple[str, Any], ...] = ()  # arguments that are not what they were


def _words(function: Function) -> str:
    return " ".join((inspect.getdoc(function) or "").split())


class _Paper(io.StringIO):
    """Takes what an answer prints, but not without end."""

    def write(self, text: str) -> int:
        if self.tell() + len(text) > _PRINTED:
            raise RuntimeError(f"more than {_PRINTED} characters printed")
        return super().write(text)


def _call(
    function: Function,
    names: tuple[str, ...],
    case: tuple[Any, ...],
    asarray: Callable[[Any], Any],
) -> _Outcome:
    """Call a function that may do anything on copies of the arguments."""
    arguments = [
        asarray(one.copy()) if isinstance(one, np.ndarray) else copy.deepcopy(one) for one in case
    ]
    paper = _Paper()
    try:
        with (
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
            contextlib.redirect_stdout(paper),
        ):
            warnings.simplefilter("ignore")
            answer = function(*arguments)
    except (Exception, SystemExit) as error:
        return _Outcome(fault=_told(function, error), error=type(error).__name__)
    changed = tuple(
        (name, after)
        for name, before, after in zip(names, case, arguments, strict=True)
        if isinstance(before, (np.ndarray, list)) and not np.array_equal(before, np.asarray(after))
    )
    if answer is None:
        fault = "It returns nothing (None): is a return missing?"
        if paper.getvalue():
            fault = "It prints its answer and returns nothing (None): return it."
        return _Outcome(None, fault, "", changed)
    fault = (
        f"It changes its argument {changed[0][0]}, which the caller still needs." if changed else ""
    )
    return _Outcome(answer, fault, "", changed)


def _told(function: Function, error: BaseException) -> str:
    """Name an error and the line of the function that it passed through, counted from its def."""
    where = ""
    code = getattr(function, "__code__", None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is code:
            where = f" in line {trace.tb_lineno - code.co_firstlineno + 1}"
        trace = trace.tb_next
    try:
        message = str(error)
    except Exception:
        message = ""
    return f"It raises {type(error).__name__}{where}: {message}".rstrip(": ")


def _difference(came: Any, expected: Any, array: type) -> str:
    """Return in what an answer differs from the expected one; empty if in nothing.

    Where an array is expected, `array` is the type that must have come.
    """
    if isinstance(expected, tuple):
        count = len(came) if isinstance(came, (tuple, list)) else 1
        if count != len(expected):
            return f"It must return {len(expected)} arrays, got {count}."
        parts = zip(came, expected, strict=True)
        return next(filter(None, (_difference(*part, array) for part in parts)), "")
    if isinstance(expected, np.ndarray) and expected.ndim and not isinstance(came, array):
        return f"It must return an array, got {type(came).__name__}."
    try:
        return _array_difference(np.asarray(came), np.asarray(expected))
    except Exception:  # whatever came may do anything when it is read
        return f"It must return numbers, got {type(came).__name__}."


def _array_difference(came: Any, expected: Any) -> str:
    kinds = {"b": "bool", "i": "integers", "u": "integers", "f": "floats"}
    due = kinds.get(expected.dtype.kind, "numbers")
    if came.shape != expected.shape:
        return f"It must return the shape {expected.shape}, got {came.shape}."
    if kinds.get(came.dtype.kind) != due:
        return f"It must return {due}, got {came.dtype}."
    if not _close(came, expected):
        return _OTHER_NUMBERS
    return ""


def _close(found: Any, right: Any) -> bool:
    """Compare two arrays of one shape up to rounding; NaN equals NaN."""
    allowed = 0.0
    if right.dtype.kind == "f":
        allowed = _TOLERANCE * np.abs(right[np.isfinite(right)]).max(initial=1.0)
    return bool(np.allclose(found, right, rtol=0.0, atol=allowed, equal_nan=True))


def _recognised(
    exercise: Exercise,
    names: tuple[str, ...],
    cases: list[tuple[Any, ...]],
    outcomes: list[_Outcome],
) -> str:
    """Return what to say of the mistake that comes to the same on every input; empty if none."""
    for mistake in exercise.mistakes:
        if all(
            _alike(outcome, _call(mistake, names, case, np.asarray))
            for case, outcome in zip(cases, outcomes, strict=True)
        ):
            return _words(mistake)
    return ""


def _alike(one: _Outcome, other: _Outcome) -> bool:
    if one.error != other.error or dict(one.changed).keys() != dict(other.changed).keys():
        return False
    if one.answer is None and other.answer is None:
        return True
    return not _difference(one.answer, other.answer, object)


def _broken_rule(
    exercise: Exercise,
    cases: list[tuple[Any, ...]],
    outcomes: list[_Outcome],
    faults: list[str],
    first: int,
) -> tuple[int, str]:
    """Return the first wrong answer that breaks a rule, and what the rule says."""
    for at, (case, outcome, fault) in enumerate(zip(cases, outcomes, faults, strict=True)):
        if fault == _OTHER_NUMBERS:
            answer = _plain(outcome.answer)
            for rule in exercise.rules:
                with np.errstate(all="ignore"):
                    if not rule(answer, *case):
                        return at, _words(rule)
    return first, ""


def _plain(answer: Any) -> Any:
    if isinstance(answer, (tuple, list)):
        return tuple(map(_plain, answer))
    try:
        return np.asarray(answer)
    except Exception:  # whatever came may do anything when it is read
        return answer


def _evidence(
    names: tuple[str, ...], case: tuple[Any, ...], outcome: _Outcome, expected: Any
) -> str:
    lines = [_line(f"  {name} =", value) for name, value in zip(names, case, strict=True)]
    lines += [_line(f"  {name} afterwards =", after) for name, after in outcome.changed]
    if outcome.answer is not None and not outcome.changed:
        lines.append(_line("  came    ", _plain(outcome.answer)))
        lines.append(_line("  expected", _plain(expected)))
    return "\n".join(lines)


def _line(label: str, value: Any) -> str:
    """Show a value behind its label; of a large array the shape and the first numbers."""
    if isinstance(value, tuple):
        return "\n".join(_line(label, part) for part in value)
    if callable(value):
        text = getattr(value, "__name__", "a function")
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        start = value if value.size <= _SHOWN else value.ravel()[:3]
        text = np.array2string(
            start, precision=4, suppress_small=True, floatmode="maxprec", max_line_width=_WIDTH
        )
        if value.size > _SHOWN:
            text = f"{text[:-1]} ...], of shape {value.shape}"
    else:
        try:
            text = repr(value)[:_WIDTH]
        except Exception:  # as above
            text = type(value).__name__
    return f"{label} " + textwrap.indent(text, " " * (len(label) + 1)).lstrip()
