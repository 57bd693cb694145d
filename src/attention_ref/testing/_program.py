"""A failing case written down as a program, to paste."""

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from attention_ref.testing._conventions import ScoreMod
from attention_ref.testing._judge import Judge, has_modes, truth
from attention_ref.testing._problems import Case


def program(judge: Judge, function: Callable[..., Any], case: Case) -> str:
    """Return a program that prints the function's answer to the case, and the right one."""
    c, library = judge.convention, judge.library
    problem, _, _ = truth(c, case)
    origin, name = _origin(function)
    module, _, adapter = c.adapter.rpartition(".")

    def written(x: Any) -> str:
        return library.write(x, "bool" if x.dtype == bool else case.dtype, judge.device)

    arrays, rest = [], []
    for term, given in judge.terms(problem).items():
        word = term
        if isinstance(given, ScoreMod):
            arrays += [] if given.added is None else [f"added = {written(given.added)}"]
            arrays.append(given.write())
        elif isinstance(given, np.ndarray):
            arrays.append(f"{term} = {written(given)}")
        else:
            word = repr(given)
        if term not in c.inputs:
            rest.append(f"{term}={word}")
    body = [_wrapped(line) for line in arrays]
    literals = "from math import inf, nan" if "inf" in str(body) or "nan" in str(body) else ""
    mode = f"{name}.{case.mode}()" if has_modes(function) else ""
    head = [
        literals,
        library.import_line,
        f"from {module} import (\n    {adapter} as reference,\n)",
    ]
    if case.gradient:
        weights = f"weights = {written(c.put_answer(problem.cotangent))}"
        inputs = f"inputs = [{', '.join(c.inputs)}]"
        tail = [inputs, _wrapped(weights), *_gradients(library.name, name, ["*inputs", *rest])]
    else:
        call = ", ".join([*c.inputs, *rest])
        tail = [
            _wrapped(f"answer = {name}({call})"),
            _wrapped(f"right = reference({call})"),
            'print("answer", answer)',
            'print("right", right)',
        ]
    return "\n".join(line for line in [*head, origin, *body, mode, *tail] if line)


def _gradients(library: str, name: str, arguments: list[str]) -> list[str]:
    call = f"attend({', '.join(arguments)})"
    if library == "jax":
        return [
            "import jax",
            f"for attend in ({name}, reference):",
            f"    _, pull = jax.vjp(lambda *inputs: {call}, *inputs)",
            "    print(pull(weights))",
        ]
    return [
        "for x in inputs:",
        "    x.requires_grad_()",
        f"for attend in ({name}, reference):",
        f"    out = {call}",
        "    out = out[0] if isinstance(out, tuple) else out",
        "    print(torch.autograd.grad(out, inputs, weights, allow_unused=True))",
    ]


def _wrapped(line: str) -> str:
    if line.startswith("def "):
        return line
    # Within the brackets that follow it, and neither before nor in the name of the function.
    whole = line.replace(" = ", "\xa0=\xa0")
    text = textwrap.fill(whole, 75, subsequent_indent="    ", break_long_words=False)
    return text.replace("\xa0", " ")


def _origin(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the line that imports a function, and its name."""
    module = getattr(function, "__module__", "")
    name = getattr(function, "__qualname__", "")
    if not name.isidentifier():  # an instance, or what stands inside another function
        return "# attention is the function that was checked", "attention"
    return ("" if module == "__main__" else f"from {module} import {name}"), name
