"""Standard faults, planted one at a time in the syntax tree of a module."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BINARY: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult, ast.Div),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitAnd,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
_COMPARISON: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COMMUTATIVE = frozenset(
    {
        "_gap",
        "allclose",
        "array_equal",
        "dist",
        "isclose",
        "max",
        "maximum",
        "min",
        "minimum",
        "overlap",
        "result_type",
        "swapaxes",
    }
)
_KEPT = (ast.FunctionDef, ast.ClassDef, ast.Return, ast.Import, ast.ImportFrom, ast.Pass)


@dataclass(frozen=True)
class Mutant:
    """One fault: where it is, the statement before and after it, and the lines that run it."""

    module: str
    function: str  # empty at the top of the module
    before: str
    after: str
    lines: range  # empty if it runs when the module is imported
    plant: Callable[[], None]

    @property
    def key(self) -> tuple[str, str, str]:
        """What names this mutant as long as its statement stays as it is."""
        return (f"{self.module}.{self.function}".rstrip("."), self.before, self.after)


class Mutants:
    """The faults of one module. Plant one, then compile `tree`; a process can plant only one."""

    def __init__(self, module: str, path: Path) -> None:
        self.module = module
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))

    def __iter__(self) -> Iterator[Mutant]:
        left_out = material(self.tree)
        for mutant in self._body(self.tree, "", True):
            # Two arguments that are written alike change places and nothing else.
            changed = mutant.after != mutant.before
            if changed and mutant.function.partition(".")[0] not in left_out:
                yield mutant

    def source(self) -> str:
        """Return the module as it is now, without its comments."""
        return ast.unparse(self.tree)

    def definition(self, function: str) -> Any:
        """Return the node that defines a function or a class."""
        scope: ast.AST = self.tree
        for name in function.split("."):
            scope = next(one for one in ast.iter_child_nodes(scope) if _is_named(one, name))
        return scope

    def written(self, function: str, before: str | None, after: str) -> Mutant:
        """Return the fault that puts the statement `after` in the place of `before`.

        Where there is no `before`, it comes first in the function.
        """
        scope = self.definition(function)
        if before is None:
            places = [(scope.body, 1 if _is_docstring(scope.body[0]) else 0)]
        else:
            places = list(_places(scope, canonical(before)))
        if len(places) != 1:
            raise ValueError(f"{self.module}.{function} has {len(places)} times: {before}")
        ((statements, at),) = places
        statement = statements[at]
        (new,) = ast.parse(after).body
        for node in ast.walk(new):
            ast.copy_location(node, statement)
        put = [new] if before is not None else [new, statement]

        def plant() -> None:
            statements[at : at + 1] = put

        old = _header(statement) if before is not None else ""
        return Mutant(self.module, function, old, _header(new), _lines(statement), plant)

    def _body(self, parent: ast.AST, function: str, imported: bool) -> Iterator[Mutant]:
        for field in ("body", "orelse", "finalbody", "handlers"):
            statements = getattr(parent, field, [])
            for at, statement in enumerate(statements):
                inside = function
                if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                    inside = f"{function}.{statement.name}".lstrip(".")
                in_function = isinstance(statement, ast.FunctionDef)
                if isinstance(statement, ast.stmt) and not _runs_nothing(statement):
                    at_import = imported and not in_function
                    yield from self._statement(statements, at, inside, at_import)
                yield from self._body(statement, inside, imported and not in_function)

    def _statement(
        self, statements: list[ast.stmt], at: int, function: str, at_import: bool
    ) -> Iterator[Mutant]:
        statement = statements[at]
        lines = range(0) if at_import else _lines(statement)
        before = _header(statement)

        def mutant(plant: Callable[[], None], undo: Callable[[], None]) -> Mutant:
            plant()
            after = _header(statements[at])
            undo()
            return Mutant(self.module, function, before, after, lines, plant)

        for node, field, index in _expressions(statement):
            old = getattr(node, field) if index is None else getattr(node, field)[index]
            for new in _faults(old, node):
                plant, undo = (_setter(node, field, index, one) for one in (new, old))
                yield mutant(plant, undo)
        if isinstance(statement, ast.Return) and before not in ("return", "return None"):
            nothing = ast.Constant(None)
            yield mutant(
                _setter(statement, "value", None, nothing),
                _setter(statement, "value", None, statement.value),
            )
        if isinstance(statement, ast.AugAssign):
            for operator in _BINARY.get(type(statement.op), ()):
                yield mutant(
                    _setter(statement, "op", None, operator()),
                    _setter(statement, "op", None, statement.op),
                )
        if isinstance(statement, (ast.If, ast.While)):
            test = statement.test
            opposite = ast.UnaryOp(ast.Not(), test)
            if not isinstance(test, (ast.Compare, ast.UnaryOp)):
                yield mutant(
                    _setter(statement, "test", None, opposite),
                    _setter(statement, "test", None, test),
                )
        if not isinstance(statement, _KEPT) and function:
            position = ast.copy_location(ast.Pass(), statement)
            parent = _List(statements)
            yield mutant(
                _setter(parent, "items", at, position), _setter(parent, "items", at, statement)
            )


@dataclass
class _List:
    items: list[ast.stmt]


def _setter(node: object, field: str, index: int | None, value: object) -> Callable[[], None]:
    def write() -> None:
        if index is None:
            setattr(node, field, value)
        else:
            getattr(node, field)[index] = value

    return write


def _is_named(node: ast.AST, name: str) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name


def _places(scope: ast.AST, header: str) -> Iterator[tuple[list[ast.stmt], int]]:
    """Yield where a statement stands: the list that it is in, and its place there."""
    for node in ast.walk(scope):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, [])
            for at, one in enumerate(statements if isinstance(statements, list) else []):
                if _header(one) == header:
                    yield statements, at


def material(tree: ast.Module) -> set[str]:
    """Return the functions that nothing but the mistakes and the inputs of exercises uses.

    No fault is planted there: in a wrong answer it leaves a wrong answer, in the inputs others.
    Whether they serve is asked by what they must refuse, in tests/test_exercises.py.
    """
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Exercise":
            for part in node.keywords:
                if part.arg in ("mistakes", "inputs"):
                    left_out |= _names(part.value)
    users: dict[str, set[str]] = {}
    for statement in tree.body:
        user = statement.name if isinstance(statement, ast.FunctionDef) else ""
        for name in _names(statement) - {user}:
            users.setdefault(name, set()).add(user)
    defined = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
    while more := {name for name in defined - left_out if users.get(name, {""}) <= left_out}:
        left_out |= more
    return left_out


def _names(scope: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(scope) if isinstance(node, ast.Name)}


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _runs_nothing(statement: ast.stmt) -> bool:
    return _is_docstring(statement) or (
        isinstance(statement, ast.AnnAssign) and statement.value is None
    )


def _lines(statement: ast.stmt) -> range:
    """Return the lines that run `statement` itself; a function's defaults count as its body."""
    if isinstance(statement, ast.FunctionDef):
        return range(statement.body[0].lineno, (statement.end_lineno or 0) + 1)
    body = getattr(statement, "body", None)
    end = body[0].lineno if body else (statement.end_lineno or 0) + 1
    return range(statement.lineno, max(end, statement.lineno + 1))


def _header(statement: ast.stmt) -> str:
    """Return the source of `statement`, without its body if it has one."""
    source = ast.unparse(statement)
    if not hasattr(statement, "body"):
        return source
    return next(line for line in source.split("\n") if not line.startswith("@"))


def canonical(header: str) -> str:
    """Return a statement's header, as printed by any version of Python, as this one prints it."""
    try:
        tree = ast.parse(header)
    except SyntaxError:
        tree = ast.parse(f"{header}\n    pass")
    return _header(tree.body[0])


def _expressions(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Yield where the expressions of a statement stand, leaving out annotations and its body."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "body", "orelse", "finalbody", "handlers") and (
            isinstance(node, (ast.stmt, ast.arg))
        ):
            continue
        if field in ("decorator_list", "type_params", "ctx", "targets", "bases"):
            continue
        for index, one in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(one, ast.AST):
                if isinstance(one, ast.expr) or field == "keywords":
                    yield node, field, index if isinstance(value, list) else None
                yield from _expressions(one)


def _guards(node: ast.AST) -> bool:
    """Tell the `strict` of `zip`, which guards lengths that agree against a later mistake."""
    return isinstance(node, ast.keyword) and node.arg == "strict"


def _faults(node: ast.AST, parent: ast.AST) -> Iterator[ast.AST]:  # noqa: PLR0912
    """Yield what may stand wrongly in the place of `node`; one case a kind of expression."""
    match node:
        case ast.BinOp():
            for operator in _BINARY.get(type(node.op), ()):
                yield ast.BinOp(node.left, operator(), node.right)
        case ast.Compare(ops=[op], comparators=[_]):
            for comparison in _COMPARISON[type(op)]:
                yield ast.Compare(node.left, [comparison()], node.comparators)
        case ast.Compare():
            for at, op in enumerate(node.ops):
                for comparison in _COMPARISON[type(op)]:
                    ops = [*node.ops[:at], comparison(), *node.ops[at + 1 :]]
                    yield ast.Compare(node.left, ops, node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            yield node.operand
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
            yield ast.Constant(-value - 1)  # an axis counted from the end
            yield ast.Constant(-value + 1)
        case ast.UnaryOp(op=ast.USub()):
            yield node.operand
        case ast.IfExp():
            yield ast.IfExp(node.test, node.orelse, node.body)
        case ast.Constant(value=bool() as value):
            if not _guards(parent):
                yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            if not (isinstance(parent, ast.UnaryOp) and isinstance(value, int)):
                yield ast.Constant(value + 1)
        case ast.Call():
            swaps = ast.unparse(node.func).rpartition(".")[-1] not in _COMMUTATIVE
            if (
                swaps
                and len(node.args) == 2
                and not any(isinstance(one, ast.Starred) for one in node.args)
            ):
                yield ast.Call(node.func, node.args[::-1], node.keywords)
            for at, keyword in enumerate(node.keywords):
                rest = node.keywords[:at] + node.keywords[at + 1 :]
                if not _guards(keyword):
                    yield ast.Call(node.func, node.args, rest)
        case ast.Slice():
            for name in ("lower", "upper", "step"):
                if getattr(node, name) is not None:
                    wider = ast.Slice(node.lower, node.upper, node.step)
                    setattr(wider, name, None)
                    yield wider
