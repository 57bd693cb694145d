"""What the code of a block says, unrun: what it imports and names, and how to join it to others."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pages.model import Block


def imported(code: str) -> Iterator[str]:
    """Yield the modules that `code` imports, also those inside a function."""
    try:
        tree = ast.parse(code)
    except SyntaxError:  # shown on purpose
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def copied(program: list[Block]) -> str:
    """Return `program` as one text to paste: its imports first, each once, then its blocks.

    An import moves up only if nothing else in the program gives a value to its name.
    """
    trees = [ast.parse(block.code) for block in program]
    given: dict[str, set[str]] = {}
    for tree in trees:
        for node in tree.body:
            for name, meaning in meanings(node):
                given.setdefault(name, set()).add(meaning)
    imports: dict[str, None] = {}
    bodies = []
    for block, tree in zip(program, trees, strict=True):
        lines: list[str | None] = list(block.code.split("\n"))
        for node in tree.body:
            if _alone(node, tree) and all(len(given[name]) == 1 for name, _ in meanings(node)):
                at = slice(node.lineno - 1, node.end_lineno)
                imports.setdefault("\n".join(line or "" for line in lines[at]))
                lines[at] = [None] * len(lines[at])
        bodies.append("\n".join(line for line in lines if line is not None).strip("\n"))
    first = "\n".join(sorted(imports, key=lambda text: not text.startswith("from __future__")))
    return "\n\n\n".join(part for part in (first, *bodies) if part) + "\n"


def _alone(node: ast.stmt, tree: ast.Module) -> bool:
    """Tell whether `node` is an import that shares its lines with nothing."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return False
    taken = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return not any(
        one is not node and (one.lineno in taken or one.end_lineno in taken) for one in tree.body
    )


def meanings(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield the names that `node` gives a value at the top level, and what they then mean."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (
                alias.asname or alias.name.partition(".")[0],
                alias.name if alias.asname else alias.name.partition(".")[0],
            )
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"
    elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name, f"line {node.lineno}"
    else:
        for one in ast.walk(node):
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store | ast.Del):
                yield one.id, f"line {node.lineno}"
