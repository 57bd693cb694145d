"""Put a fault into this process, and see in which forked process it is noticed."""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import gc
import importlib.util
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NoReturn, TypeVar

import jaxtyping._import_hook

from mutation.mutants import Mutant, Mutants

T = TypeVar("T")
_UNNOTICED, _NOTICED, _RAISED = 0, 1, 3
# With what status a process ended: another call of `forked` may be the one that waits for it.
_ended: dict[int, int] = {}


class Witness:
    """The name of what is looking at the fault, kept where the death of the process leaves it."""

    def __init__(self) -> None:
        # Closed by `read`; a `with` would end before the process that writes.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115

    def note(self, name: str) -> None:
        """Name who looks at the fault from now on."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(name.encode())
        self._file.flush()

    def read(self) -> str:
        """Return who was looking when the process ended. There is nothing to note after that."""
        with self._file as file:
            file.seek(0)
            return file.read().decode()


def forked(
    cases: Iterable[T], unnoticed: Callable[[T, Witness], bool], workers: int
) -> Iterator[tuple[T, str | None]]:
    """Ask `unnoticed` about each case in a process forked for it; yield who noticed, or None.

    A process that dies, or that its alarm ends, has noticed; one that raises is a fault of ours.
    What it started and left, which may wait for ever, ends with it.
    """
    waiting = iter(cases)
    running: dict[int, tuple[T, Witness]] = {}
    try:
        while True:
            while len(running) < workers and (case := next(waiting, None)) is not None:
                witness = Witness()
                pid = os.fork()
                if pid == 0:
                    _answer(case, unnoticed, witness)
                running[pid] = case, witness
            if not running:
                return
            while running.keys().isdisjoint(_ended):
                pid, status = os.wait()
                _end_group(pid)
                _ended[pid] = status
            pid = next(iter(running.keys() & _ended))
            status = _ended.pop(pid)
            case, witness = running.pop(pid)
            name = witness.read()
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else _NOTICED
            if code == _RAISED:
                raise RuntimeError(f"a fault could not be judged: {name}")
            yield case, name if code == _NOTICED else None
    finally:
        for pid, (_, witness) in running.items():
            if _ended.pop(pid, None) is None:
                os.kill(pid, signal.SIGKILL)  # it may have no group yet
                os.waitpid(pid, 0)
                _end_group(pid)
            witness.read()


def _end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended already
        os.killpg(leader, signal.SIGKILL)


def in_one_process(
    serve: Callable[[Callable[[int, str | None], None]], bool],
) -> Iterator[tuple[int, str | None]]:
    """Yield what `serve` tells, called in a process of its own, which may fork more."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        status = 1
        try:
            with os.fdopen(writer, "w", encoding="utf-8") as stream:

                def tell(number: int, text: str | None) -> None:
                    stream.write(json.dumps([number, text]) + "\n")
                    stream.flush()

                status = 0 if serve(tell) else 1
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as stream:
        for line in stream:
            number, text = json.loads(line)
            yield number, text
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError("no fault can be planted, or nobody can be asked: run pytest first")


def _answer(case: T, unnoticed: Callable[[T, Witness], bool], witness: Witness) -> NoReturn:
    status = _NOTICED
    os.setpgid(0, 0)  # with all that it will start
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        status = _UNNOTICED if unnoticed(case, witness) else _NOTICED
    except Exception as error:
        witness.note(repr(error))
        status = _RAISED
    finally:
        os._exit(status)


def limit(seconds: float, waiting: float | None = None) -> None:
    """End this process unless it goes on to another limit within some five times `seconds`.

    These are seconds of computing, for the machine may be busy; of waiting, twenty times as many,
    or as many as `waiting` says.
    """
    signal.setitimer(signal.ITIMER_PROF, 5 + 5 * seconds)
    signal.setitimer(signal.ITIMER_REAL, 100 + 100 * seconds if waiting is None else waiting)


def plant(mutants: Mutants, mutant: Mutant) -> None:
    """Have the module imported with the fault. It must not have been imported yet."""
    mutant.plant()
    tree = ast.fix_missing_locations(mutants.tree)
    read, decode = SourceFileLoader.get_data, jaxtyping._import_hook.decode_source

    def get_data(loader: SourceFileLoader, path: str) -> Any:
        if path == str(mutants.path):
            return copy.deepcopy(tree)
        if path.endswith(".pyc") and importlib.util.source_from_cache(path) == str(mutants.path):
            raise FileNotFoundError(path)  # what was compiled before has no fault
        return read(loader, path)

    # A tree keeps the line of every statement. Where the next step is compile(), it passes for
    # source; the hook that adds the shape checks decodes first.
    SourceFileLoader.get_data = get_data  # type: ignore[method-assign, assignment]
    jaxtyping._import_hook.decode_source = lambda data: (
        data if isinstance(data, ast.AST) else decode(data)
    )
    sys.dont_write_bytecode = True


def swap(mutants: Mutants, mutant: Mutant) -> None:
    """Give the functions of an imported module the code with the fault.

    This takes a hundredth of the time of an import, but reaches only what `reached` says.
    """
    mutant.plant()
    tree = ast.fix_missing_locations(mutants.tree)
    faulty = {
        (code.co_qualname, code.co_firstlineno): code
        for code in _codes(compile(tree, str(mutants.path), "exec", dont_inherit=True))
    }
    for function in functions(str(mutants.path)):
        code = function.__code__
        new = faulty.get((code.co_qualname, code.co_firstlineno))
        if new is not None and new.co_freevars == code.co_freevars:
            function.__code__ = new
        if mutant.before.startswith("def ") and function.__qualname__ == mutant.function:
            _give_defaults(function, mutants.definition(mutant.function).args)


def hand_over(mutants: Mutants) -> None:
    """Let the processes that this one starts import the package with the fault that is planted.

    They find it in a folder with links to the files of the package, but for the one with the fault.
    """
    package = mutants.path.parents[mutants.module.count(".")]
    folder = Path(tempfile.mkdtemp())
    for path in package.rglob("*"):
        link = folder / path.relative_to(package.parent)
        if path.is_file():
            link.parent.mkdir(parents=True, exist_ok=True)
            if path == mutants.path:
                # Python knows by its age that what was compiled before is not this.
                link.write_text(mutants.source(), encoding="utf-8")
            else:
                link.symlink_to(path)
    sys.path.insert(0, str(folder))
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{known}" if known else str(folder)
    # One that was started before would go on without the fault.
    importlib.import_module("multiprocessing.forkserver")._forkserver.__init__()


def _give_defaults(function: FunctionType, arguments: ast.arguments) -> None:
    def value(default: ast.expr) -> Any:
        return eval(compile(ast.Expression(default), "", "eval"), function.__globals__)

    function.__defaults__ = tuple(map(value, arguments.defaults))
    by_keyword = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    function.__kwdefaults__ = {one.arg: value(x) for one, x in by_keyword if x is not None}


def reached(
    numbered: Iterable[tuple[int, tuple[Mutants, Mutant, list[Any]]]], early: set[tuple[str, int]]
) -> list[tuple[int, tuple[Mutants, Mutant, list[Any]]]]:
    """Return the faults that have a jury, and that `swap` reaches if those lines ran before it."""
    lines: dict[str, tuple[set[int], set[int]]] = {}
    found = []
    for number, (mutants, mutant, jury) in numbered:
        if mutants.module not in lines:
            lines[mutants.module] = _lines(str(mutants.path))
        inner, outer = lines[mutants.module]
        its = set(mutant.lines)
        late = its & outer and not its & inner
        # A method that calls super() refers to its class; one that does not is no match for it.
        late = late and ("super()" in mutant.before) == ("super()" in mutant.after)
        if jury and late and early.isdisjoint((mutants.module, line) for line in its):
            found.append((number, (mutants, mutant, jury)))
    gc.collect()
    gc.freeze()  # what is never looked at again is never copied to the processes forked from here
    return found


def _lines(path: str) -> tuple[set[int], set[int]]:
    """Return the lines of a file's functions: of those that stand inside of others, and the rest.

    Of the first only those count that are there already: a fault may ask for a variable of the
    outer one that they do not have.
    """
    inner: set[int] = set()
    outer: set[int] = set()
    for function in functions(path):
        code = function.__code__
        its = {line for one in (code, *_codes(code)) for *_, line in one.co_lines() if line}
        (inner if "<locals>" in code.co_qualname else outer).update(its)
    return inner, outer


def _codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)


@functools.cache
def functions(path: str) -> list[FunctionType]:
    """Return the functions that there are of a file."""
    return [
        one
        for one in gc.get_objects()
        # Not isinstance(): that looks at what lazy objects stand for, which may warn.
        if type(one) is FunctionType and one.__code__.co_filename == path
    ]


def module_name(path: Path, package: Path) -> str:
    """Return the name of a module below the package: `_softmax`, or `torch._ring`."""
    return ".".join(path.relative_to(package).with_suffix("").parts)
