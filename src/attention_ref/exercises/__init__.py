"""The exercises of the pages under docs/learn, and the check of an answer to one."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as _np

from attention_ref.exercises._exercise import Exercise, Verdict

__all__ = ["EXERCISES", "Exercise", "Verdict", "check"]


def _collect() -> Mapping[str, Exercise]:
    """Return every exercise under its name: each module but one holds those of a page."""
    found: dict[str, Exercise] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name != "_exercise":
            page = importlib.import_module(f"{__name__}.{module.name}")
            found.update((exercise.name, exercise) for exercise in page.EXERCISES)
    return MappingProxyType(found)


EXERCISES = _collect()


def check(
    name: str,
    function: Callable[..., Any],
    *,
    asarray: Callable[[Any], Any] = _np.asarray,
) -> Verdict:
    """Say whether a function solves an exercise, and if not, what is wrong with it.

    The function is called with copies of small inputs and of random ones, and compared with a
    slow specification. A mistake that many people make is named; else the first property that
    does not hold is, with the smallest input that shows it, what came and what was expected.
    A function that does not end is not stopped: interrupt it.

    Args:
        name: The exercise, which is called like the function to write.
        function: The answer: the function itself, not a call of it.
        asarray: Makes the arrays that the function takes, such as `torch.asarray`.

    Returns:
        What was found: true if the answer is right. Printed, it is the explanation.

    Raises:
        ValueError: If there is no exercise of that name.
        TypeError: If `function` cannot be called.

    Complexity: A few dozen calls of the function.

    Examples:
        >>> from attention_ref import softmax
        >>> check("softmax", softmax)
        softmax: passes.
    """
    if name not in EXERCISES:
        near = difflib.get_close_matches(str(name), EXERCISES) or sorted(EXERCISES)
        raise ValueError(f"name must be an exercise, such as {near[0]!r}, got {name!r}")
    if not callable(function):
        came = type(function).__name__
        raise TypeError(f"function must be the function itself, without a call, got {came}")
    return EXERCISES[name].judge(function, asarray=asarray)
