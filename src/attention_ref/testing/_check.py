"""Check a function: all the cases, then what explains the failures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attention_ref.testing._cases import CASES
from attention_ref.testing._conventions import CONVENTIONS, Convention
from attention_ref.testing._explain import explain
from attention_ref.testing._judge import Judge, Outcome, has_modes, judge_of
from attention_ref.testing._problems import FEATURES, Case
from attention_ref.testing._program import program
from attention_ref.testing._report import Report
from attention_ref.testing._shrink import smallest


@dataclass(frozen=True)
class AttentionCase:
    """One case of a run, for a test of its own; `str` is its name.

    Attributes:
        case: What is asked.
        judge: In which convention, with which arrays.
    """

    case: Case
    judge: Judge

    def __str__(self) -> str:
        return self.case.name

    def check(self, function: Callable[..., Any]) -> None:
        """Raise an AssertionError, with diagnosis and smallest case, unless the function is right.

        Args:
            function: What is called, in the convention's own arguments.

        Raises:
            AssertionError: If it answers wrongly, or raises.
        """
        outcome = self.judge.ask(function, self.case)
        if outcome.failed:
            raise AssertionError(str(_report(function, self.judge, (outcome,), {})))


def attention_cases(
    convention: str = "torch",
    features: Sequence[str] | None = None,
    dtype: Any = None,
    device: Any = None,
) -> list[AttentionCase]:
    """Return the cases of `check_attention` one by one, to parametrize a test with.

    Args:
        convention: As in `check_attention`, like all that follow.
        features: What the function can do.
        dtype: What to draw in.
        device: Where the arrays are.

    Returns:
        The cases that the features allow.

    Raises:
        ValueError: If there is no such convention, feature or dtype.

    Complexity: The cases are drawn when they are checked.

    Examples:
        >>> from attention_ref import scaled_dot_product_attention
        >>> cases = attention_cases("attention_ref", features=["sink"])
        >>> str(cases[-1])
        'self-attention, training'
        >>> cases[-1].check(scaled_dot_product_attention)  # says nothing where all is right
    """
    judge, cases, _ = _chosen(convention, features, dtype, device)
    return [AttentionCase(case, judge) for case in cases]


def check_attention(
    fn: Callable[..., Any],
    convention: str = "torch",
    features: Sequence[str] | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Report:
    """Ask a function for attention in many cases, and say what holds and what is wrong.

    The function is called as the convention's own library would be: its argument names, layout,
    kind of mask, causal corner. Its answers are compared with those of the adapter in
    `attention_ref.interop`, in float64. Allowed is twice the error that the same formula makes in
    the dtype of the case. Each failure is compared with the answers that known faults give, and
    the smallest case that still fails in this way is written down as a program.

    A function with `train()` and `eval()`, as a PyTorch module has, is tried in both modes.

    Args:
        fn: What is called.
        convention: Whose arguments it takes: `attention_ref`, `torch`, `torch_mha`, `flex`, `jax`,
            `keras`, `onnx`, `mlx`, `flash_attn` or `transformers`.
        features: What it can do, from `FEATURES`; None is all that the library itself holds.
            What is not among them is not tried; what is and raises is a failure.
        dtype: The dtype of all cases, by name or as the library has it; None is float32, and
            beside it some cases in float64, float16 and bfloat16. For the convention
            `attention_ref`, a dtype of PyTorch makes the arrays PyTorch's.
        device: Where the arrays are; None is the library's default.

    Returns:
        What was found; `print` it. `report.ok` says whether all holds.

    Raises:
        ValueError: If there is no such convention, feature or dtype.
        TypeError: If `fn` cannot be called.

    Complexity: Some ninety calls with at most seven thousand scores each.

    Examples:
        >>> from attention_ref import scaled_dot_product_attention
        >>> report = check_attention(scaled_dot_product_attention, "attention_ref")
        >>> report.ok, report.diagnoses
        (True, ())
        >>> import numpy as np
        >>> def unscaled(query, key, value):
        ...     return scaled_dot_product_attention(query, key, value, scale=1.0)
        >>> report = check_attention(unscaled, "attention_ref", features=[])
        >>> [diagnosis.name for diagnosis in report.diagnoses]
        ['no scale']
    """
    if not callable(fn):
        raise TypeError(f"fn must be callable, got {type(fn).__name__}")
    judge, cases, untried = _chosen(convention, features, dtype, device)
    if not has_modes(fn):
        cases = [case for case in cases if case.mode == "eval"]
    return _report(fn, judge, tuple(judge.ask(fn, case) for case in cases), untried)


def _chosen(
    convention: str, features: Sequence[str] | None, dtype: Any, device: Any
) -> tuple[Judge, list[Case], dict[str, str]]:
    if convention not in CONVENTIONS:
        names = ", ".join(CONVENTIONS)
        raise ValueError(f"convention must be one of {names}, got {convention}")
    own = CONVENTIONS[convention]
    if isinstance(features, str):
        raise TypeError(f"features must be a list of names, got the string {features!r}")
    for name in features or ():
        if name not in FEATURES:
            raise ValueError(f"features must be among {', '.join(FEATURES)}, got {name}")
        if name not in own.features:
            raise ValueError(f"features must be what {convention} can say, got {name}")
    judge, dtype = judge_of(own, dtype, device)
    if dtype is not None and dtype not in judge.library.dtypes:
        held = ", ".join(sorted(judge.library.dtypes))
        raise ValueError(f"dtype must be one of {held} for {judge.library.name}, got {dtype}")
    declared = own.defaults if features is None else frozenset(features)
    untried = _untried(own, declared, explicit=features is not None)
    if judge.library.name == "numpy" and "gradient" in declared:
        declared -= {"gradient"}
        remedy = "; give a dtype of PyTorch" if own.name == "attention_ref" else ""
        untried["gradient"] = f"NumPy has none{remedy}"
    cases = [case for case in CASES if case.needs <= declared]
    if dtype is not None:
        whole = dtype in ("float32", "float64")
        cases = [case for case in cases if case.dtype == "float32" and (whole or not case.gradient)]
        cases = [replace(case, dtype=dtype) for case in cases]
    lacking = {case.dtype for case in cases} - judge.library.dtypes
    untried |= dict.fromkeys(sorted(lacking), f"{judge.library.name} has none")
    return judge, [case for case in cases if case.dtype not in lacking], untried


def _untried(own: Convention, declared: frozenset[str], *, explicit: bool) -> dict[str, str]:
    untried = {}
    for name in FEATURES:
        if name in declared:
            continue
        if name not in own.features:
            untried[name] = f"cannot be said in the convention {own.name}"
        elif explicit:
            untried[name] = "not declared"
        else:
            untried[name] = "the library itself does not hold it; declare it to have it tried"
    return untried


def _report(
    function: Callable[..., Any],
    judge: Judge,
    outcomes: tuple[Outcome, ...],
    untried: dict[str, str],
) -> Report:
    name = getattr(function, "__qualname__", type(function).__name__)
    if not any(outcome.failed for outcome in outcomes):
        return Report(name, judge.convention.name, outcomes, untried)
    found = explain(function, judge, outcomes)
    shown = smallest(judge, function, found[0].outcome, found[0].fault)
    return Report(
        name,
        judge.convention.name,
        outcomes,
        untried,
        tuple(explanation.diagnosis for explanation in found),
        program(judge, function, shown.case),
    )
