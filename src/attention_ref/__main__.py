"""`python -m attention_ref check my_module:my_attention`: the conformance kit, from a shell."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from attention_ref.testing import FEATURES, check_attention


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a function; return 0 if all holds, 1 if it is wrong, 2 if it could not be tried."""
    given = _parser().parse_args(arguments)
    features = None if given.features is None else [f for f in given.features.split(",") if f]
    try:
        function = _imported(given.function)
        report = check_attention(function, given.convention, features, given.dtype, given.device)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        print(f"attention_ref: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(report.as_dict(), indent=2) if given.json else report)
    return 0 if report.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m attention_ref",
        description="Attention, executed: a reference, and a check of your own attention.",
    )
    commands = parser.add_subparsers(required=True, metavar="check")
    check = commands.add_parser(
        "check",
        help="check a function against the reference",
        description="Check an attention function against the reference. The exit code is 0 if all "
        "holds, 1 if something is wrong, 2 if the function could not be tried.",
    )
    check.add_argument("function", metavar="MODULE:FUNCTION", help="such as my_module:my_attention")
    check.add_argument("--convention", default="torch", help="whose arguments it takes")
    check.add_argument(
        "--features",
        help=f"what it can do, with commas between: {', '.join(FEATURES)}; without this, all that "
        "the library of the convention holds",
    )
    check.add_argument("--dtype", help="the dtype of all cases, such as bfloat16")
    check.add_argument("--device", help="where the arrays are, such as cuda")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _imported(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    if not module or not name:
        raise ValueError(f"the function must be given as MODULE:FUNCTION, got {path}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if isinstance(found, type):  # a class of PyTorch modules, say
        raise TypeError(f"{path} must be a function, got a class: give an instance of it")
    function: Callable[..., Any] = found
    return function


if __name__ == "__main__":
    sys.exit(main())
