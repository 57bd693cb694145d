"""One case asked of one function: called as the convention calls, compared with the truth."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from attention_ref._checks import Array
from attention_ref.testing._conventions import Convention, ScoreMod, first
from attention_ref.testing._faults import Fault
from attention_ref.testing._formula import attend
from attention_ref.testing._gradient_faults import GradientFault, backward
from attention_ref.testing._libraries import LIBRARIES, Library, dtype_of, to_numpy
from attention_ref.testing._problems import Case, Problem, draw, epsilon, round_to

# The formula's own error is measured on so many draws, its sums taken in so many orders.
_DRAWS, _ORDERS = 16, 6

Arrays = tuple[Array, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of one case.

    Attributes:
        case: What was asked.
        kind: `holds`, `values`, `gradients`, `dtype`, `shape`, `raises` or `not tried`.
        detail: In words, with numbers.
        answer: What the function answered, for a comparison with known faults.
    """

    case: Case
    kind: str
    detail: str
    answer: Any = None

    @property
    def failed(self) -> bool:
        """Tell whether the function is wrong here."""
        return self.kind not in ("holds", "not tried")


@dataclass(frozen=True)
class Judge:
    """Who asks: in a convention, with a library's arrays, on a device."""

    convention: Convention
    library: Library
    device: Any = None

    def ask(self, function: Callable[..., Any], case: Case) -> Outcome:
        """Call the function with the case, and compare its answer."""
        problem, right, bounds = truth(self.convention, case)
        inputs = (problem.query, problem.key, problem.value)
        if any(not np.array_equal(round_to(x, case.dtype), x, equal_nan=True) for x in inputs):
            return Outcome(case, "not tried", f"beyond what {case.dtype} can hold")
        if not np.isfinite(bounds).all():
            return Outcome(case, "not tried", f"the formula itself overflows in {case.dtype}")
        try:
            with _mode(function, case.mode):
                answers, dtypes = self._answers(function, problem)
        except Exception as error:  # whatever the function raises is its answer
            words = " ".join(str(error).split())
            return Outcome(case, "raises", f"{type(error).__name__}: {words}")
        return _compared(case, answers, dtypes, right, bounds)

    def terms(self, problem: Problem) -> dict[str, Any]:
        """Return the arguments of the convention in NumPy: query, key and value, then the rest."""
        arrays = (problem.query, problem.key, problem.value)
        laid_out = (self.convention.put(x) for x in arrays)
        inputs = dict(zip(self.convention.inputs, laid_out, strict=True))
        return inputs | self.convention.spell(problem)

    def _made(self, term: Any, dtype: str) -> Any:
        """Put a term into the library's arrays."""
        if isinstance(term, np.ndarray):
            kind = "bool" if term.dtype == bool else dtype
            return self.library.array(term, kind, self.device)
        if isinstance(term, ScoreMod):
            import torch  # noqa: PLC0415  # only who checks for torch needs it

            return replace(term, added=self._made(term.added, dtype), tanh=torch.tanh)
        return term

    def _answers(self, function: Callable[..., Any], problem: Problem) -> tuple[Arrays, list[str]]:
        """Return the output, or the three gradients, in float64 with heads first; and dtypes."""
        c, dtype = self.convention, problem.case.dtype
        given = {name: self._made(term, dtype) for name, term in self.terms(problem).items()}
        inputs = [given.pop(name) for name in c.inputs]
        heads, kv_heads = problem.query.shape[1], problem.key.shape[1]
        if not problem.case.gradient:
            answer = first(function(*inputs, **given))
            return (c.take_answer(to_numpy(answer), heads),), [dtype_of(answer)]

        def call(*arrays: Any) -> Any:
            return first(function(*arrays, **given))

        def cotangent(out: Any) -> Any:
            return self._made(c.put_answer(problem.cotangent), dtype_of(out))

        gradients = self.library.gradients(call, inputs, cotangent)
        whole = [
            np.zeros(x.shape) if g is None else to_numpy(g)
            for g, x in zip(gradients, inputs, strict=True)
        ]
        dtypes = [dtype if g is None else dtype_of(g) for g in gradients]
        counts = (heads, kv_heads, kv_heads)
        return tuple(c.take(g, n) for g, n in zip(whole, counts, strict=True)), dtypes

    def is_random(self, function: Callable[..., Any], outcome: Outcome) -> bool:
        """Tell whether the function, asked again, has another answer, beyond what is allowed."""
        again = self.ask(function, outcome.case).answer
        if outcome.answer is None or again is None:
            return False
        return not _close(outcome.answer, again, truth(self.convention, outcome.case)[2])

    def predicts(self, fault: Fault | GradientFault, outcome: Outcome) -> bool | None:
        """Tell whether the fault gives this answer; None where it would not show."""
        if outcome.answer is None or isinstance(fault, GradientFault) != outcome.case.gradient:
            return None
        problem, right, bounds = truth(self.convention, outcome.case)
        answer = fault.answer(problem)
        if answer is None:
            return None
        wrong = answer if isinstance(answer, tuple) else (answer,)
        bounds = 8 * bounds
        if _close(wrong, right, bounds):
            return None
        # Large wrong numbers are rounded as such.
        sizes = [np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in wrong]
        bounds = np.maximum(bounds, 16 * epsilon(outcome.case.dtype) * np.asarray(sizes))
        return _close(outcome.answer, wrong, bounds)


def judge_of(convention: Convention, dtype: Any, device: Any) -> tuple[Judge, str | None]:
    """Choose the library, the convention's or that of the dtype; and return the dtype's name."""
    name = None if dtype is None else str(getattr(dtype, "name", dtype))
    library = LIBRARIES[convention.library]
    if name is not None and "." in name:
        owner, _, name = name.strip("<>'").removeprefix("class '").rpartition(".")
        if convention.library == "numpy" and owner.startswith("torch"):
            library = LIBRARIES["torch"]
    return Judge(convention, library, device), name


@lru_cache(maxsize=512)
def truth(convention: Convention, case: Case) -> tuple[Problem, Arrays, Array]:
    """Draw a case; return it with the right answer in float64, and what it may be off by.

    Allowed is twice the error of the same formula in the dtype: the largest over several draws
    of the case and orders of its sums, and at least one rounding of the largest number. In
    float64 the error is that in float32, as much smaller as the dtype is finer; and once more
    is allowed, for the right answer is no more exact.
    """
    problem = drawn(convention, case)
    right = backward(problem) if case.gradient else (convention.reference(problem),)
    dtype, times = case.dtype, 2.0
    if dtype == "float64":
        dtype, times = "float32", 3 * epsilon("float64") / epsilon("float32")
    errors = _errors(problem, right, dtype, _ORDERS // 2)
    # A draw is an item of one long batch. What overflows there is no measure of this case.
    many = drawn(convention, replace(case, batch=case.batch * _DRAWS))
    more = _errors(many, _plain(many), dtype, _ORDERS)
    errors = np.maximum(errors, np.where(np.isfinite(more), more, 0))
    largest = [np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in right]
    errors = np.maximum(errors, epsilon(dtype) * np.asarray(largest))
    return problem, right, times * errors


def drawn(convention: Convention, case: Case) -> Problem:
    """Draw the problem of a case, as a function called in the convention sees it."""
    c = convention
    return c.understood(draw(case, alignment=c.corner, dead=c.dead, layout=c.layout))


def _plain(problem: Problem) -> Arrays:
    return backward(problem) if problem.case.gradient else (attend(problem),)


def _errors(problem: Problem, right: Arrays, dtype: str, orders: int) -> Array:
    """Return the formula's largest error in the dtype, for the output or each gradient."""
    largest = np.zeros(len(right))
    for order in range(orders):
        answers = _plain(replace(problem, dtype=dtype, order=order))
        known = [np.isfinite(exact) for exact in right]
        errors = [
            np.abs(x - exact)[here].max(initial=0.0)
            for x, exact, here in zip(answers, right, known, strict=True)
        ]
        largest = np.maximum(largest, errors)
    return largest


def _compared(
    case: Case, answers: Arrays, dtypes: list[str], right: Arrays, bounds: Array
) -> Outcome:
    names = [f"gradient of {x}" for x in ("query", "key", "value")] if case.gradient else ["output"]
    shares, words = [], []
    for name, answer, exact, bound in zip(names, answers, right, bounds, strict=True):
        if answer.shape != exact.shape:
            came = f"{name} of shape {answer.shape}, and not {exact.shape}"
            return Outcome(case, "shape", f"{came}, as (batch, heads, q_len, d)", answers)
        gap = _gap(answer, exact)
        shares.append(gap / bound if bound else (0.0 if gap == 0 else np.inf))
        words.append(f"{name} off by {gap:.2g}, {bound:.2g} allowed")
    worst = int(np.argmax(shares))
    if shares[worst] > 1:
        return Outcome(case, "gradients" if case.gradient else "values", words[worst], answers)
    for name, came in zip(names, dtypes, strict=True):
        if came != case.dtype:
            return Outcome(case, "dtype", f"{name} in {came} for {case.dtype}", answers)
    return Outcome(case, "holds", f"{shares[worst]:.2f} of the allowed difference", answers)


def _gap(answer: Array, right: Array) -> float:
    """Return the largest difference; inf where one of the two is not finite."""
    same = (answer == right) | (np.isnan(answer) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        gap = np.where(same, 0.0, np.abs(answer - right))
    return float(np.where(np.isnan(gap), np.inf, gap).max(initial=0.0))


def _close(answers: Arrays, others: Arrays, bounds: Array) -> bool:
    return all(
        x.shape == y.shape and _gap(x, y) <= bound
        for x, y, bound in zip(answers, others, bounds, strict=True)
    )


@contextmanager
def _mode(function: Any, mode: str) -> Iterator[None]:
    """Put a module into the mode of a case, and back."""
    if not has_modes(function):
        yield
        return
    before = getattr(function, "training", True)
    getattr(function, mode)()
    try:
        yield
    finally:
        (function.train if before else function.eval)()


def has_modes(function: Any) -> bool:
    """Tell whether a function knows training from evaluation."""
    return callable(getattr(function, "train", None)) and callable(getattr(function, "eval", None))
