"""Plant faults in the package, one at a time, and ask whether the pages alone notice.

Run as `python -m mutation.by_pages [module ...]`, with tests/ on the path. Prints each fault that
no page notices, nor any docstring that a page quotes, and fails. Faults that no page can notice are
listed in equivalent.toml, with the reason.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence

from mutation.lists import EQUIVALENT, PACKAGE, equivalent
from mutation.mutants import Mutant, Mutants
from mutation.pages_jury import judged, measured

# The modules that the pages explain in full.
MODULES = (
    "_checks",
    "_lookup",
    "_masks",
    "_multi_head",
    "_scaled_dot_product",
    "_softmax",
    "_viz",
)
# Imported before the forks, so that a fault costs neither their import nor their compilation. The
# last is what PyTorch imports when it first computes a gradient.
PRELOADED = (
    "array_api_compat.numpy",
    "array_api_compat.torch",
    "array_api_strict",
    "jaxtyping",
    "torch.fx.experimental.symbolic_shapes",
)
WORKERS = 2


def main(names: Sequence[str]) -> int:
    """Judge the modules `names`, or all that the pages explain in full."""
    if not hasattr(os, "fork"):
        print("The mutation check forks a process for each fault, which this platform cannot.")
        return 0
    for name in PRELOADED:
        importlib.import_module(name)
    # The processes forked below end too fast to tidy up, so this one does it for all.
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        tempfile.tempdir = folder
        return _judge_all(names or MODULES)


def _judge_all(names: Sequence[str]) -> int:
    start = time.perf_counter()
    shown, failed = measured()
    if failed:
        print("These fail without any fault, so they judge none:", *failed, sep="\n  ")
    listed = equivalent()
    cases: list[tuple[Mutants, Mutant]] = []
    planted = set()
    for name in names:
        mutants = Mutants(name, PACKAGE / f"{name.replace('.', '/')}.py")
        for mutant in mutants:
            planted.add(mutant.key)
            if mutant.key not in listed:
                cases.append((mutants, mutant))
    survivors = [mutant for mutant, witness in judged(cases, shown, WORKERS) if witness is None]
    for mutant in survivors:
        print(f"\n{mutant.key[0]}: no page notices")
        print(f"  - {mutant.before}\n  + {mutant.after}")
    stale = [key for key in listed if _module(key, names) and key not in planted]
    for function, before, after in stale:
        print(f"\n{EQUIVALENT.name}: no such fault any more: {function}\n  - {before}\n  + {after}")
    print(
        f"\n{len(cases)} faults in {len(names)} modules, {len(survivors)} unnoticed, "
        f"{len(planted & set(listed))} listed with a reason; {time.perf_counter() - start:.0f} s"
    )
    return 1 if survivors or stale or failed else 0


def _module(key: tuple[str, str, str], names: Sequence[str]) -> bool:
    return any(key[0] == name or key[0].startswith(f"{name}.") for name in names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
