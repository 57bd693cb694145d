"""Run a program of a page in the browser, as the page engine runs it in the tests."""

import __future__

import contextlib
import io
import json
import linecache
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType

from state import State, tidy  # tests/pages/state.py

FUTURE = 0
for _name in __future__.all_feature_names:
    FUTURE |= getattr(__future__, _name).compiler_flag
LONGEST_OUTPUT = 200_000
DIRECTORY = "/page"  # as empty as the folder that a test runs in


class _Output(io.TextIOBase):
    """What a program writes: the first part of it, if it does not end."""

    def __init__(self):
        self.parts = []
        self.length = 0

    def writable(self):
        return True

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.length <= LONGEST_OUTPUT:
            self.parts.append(text[: LONGEST_OUTPUT - self.length])
            if self.length + len(text) > LONGEST_OUTPUT:
                self.parts.append(f"\n... cut after {LONGEST_OUTPUT} characters\n")
        self.length += len(text)
        return len(text)

    def so_far(self):
        return "".join(self.parts)

    def take(self):
        text = self.so_far()
        self.parts.clear()
        self.length = 0
        return text


class _NoInput(io.TextIOBase):
    def readable(self):
        return True

    def readline(self, size=-1, /):
        raise EOFError("a page has no input: assign the value in place of input()")

    read = readline


class _Program:
    """A program while it runs, block by block."""

    def __init__(self):
        Path(DIRECTORY).mkdir(exist_ok=True)
        tidy(DIRECTORY)
        self.module = ModuleType("__main__")
        self.state = State(DIRECTORY)
        self.flags = 0
        self.ran = []


_live = None
_compiled = {}  # what other blocks continue, and how: an explorer asks for the same each time


def _started(before):
    """Return the program that ran as far as `before`, or less far, or else a new one."""
    if _live is not None and before and _live.ran == before[: len(_live.ran)]:
        return _live
    return _Program()


def run(text):
    """Run the program that `text` describes, and describe what came of it; both are JSON."""
    asked = json.loads(text)
    started = time.perf_counter()
    outcome = _run(asked)
    outcome["milliseconds"] = 1000 * (time.perf_counter() - started)
    return json.dumps(outcome)


def _run(asked):
    global _live  # noqa: PLW0603
    blocks = asked["blocks"]
    program, output = _started(blocks[:-1]), _Output()
    _live = None  # until it is known how this one ends
    outcome = {"output": "", "error": "", "failed": None, "figures": {}, "passed": None}
    saved = sys.stdout, sys.stderr, sys.stdin, sys.modules["__main__"]
    sys.stdout, sys.stderr, sys.stdin = output, output, _NoInput()
    sys.modules["__main__"] = program.module
    namespace = vars(program.module)
    names = {block["name"] for block in blocks}
    exercise = asked.get("exercise")
    try:
        for number in range(len(program.ran), len(blocks)):
            last = number == len(blocks) - 1
            name, code = blocks[number]["name"], blocks[number]["code"]
            above = namespace.get(exercise)
            linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
            with program.state.in_place(keep=True) as warned:
                try:
                    text = name, code, program.flags
                    compiled = _compiled.get(text) or compile(
                        code, name, "exec", program.flags, dont_inherit=True
                    )
                    if not last and not warned:
                        _compiled[text] = compiled
                    program.flags |= compiled.co_flags & FUTURE
                    exec(compiled, namespace)
                except BaseException as exception:
                    outcome["error"] = trimmed(exception, names)
                    outcome["failed"] = number
                    if last and is_named(exception, asked["error"]):
                        outcome["error"] = ""
                        outcome["output"] = ending(exception)
                if last and not outcome["error"]:
                    outcome["figures"] = draw(asked["figures"], namespace, names, outcome)
                    if exercise:
                        answer = namespace.get(exercise)
                        # What a block above defines under this name is no answer of the reader's.
                        judge(exercise, None if answer is above else answer, names, output, outcome)
            for one in warned:
                output.write(f"{one.category.__name__}: {one.message}\n")
            written = output.take()
            if outcome["failed"] is not None:
                break
            program.ran.append(blocks[number])
        else:
            _live = program  # a block that continues this one goes on from here
        if outcome["output"] and written and not written.endswith("\n"):
            written += "\n"
        outcome["output"] = written + outcome["output"]
    finally:
        sys.stdout, sys.stderr, sys.stdin, sys.modules["__main__"] = saved
    return outcome


def is_named(exception, name):
    """Tell whether `exception` is of exactly the type that a page calls `name`."""
    kind = type(exception)
    return name in (kind.__name__, kind.__qualname__, f"{kind.__module__}.{kind.__qualname__}")


def ending(exception):
    """Return how the traceback of `exception` ends: its type and message."""
    lines = traceback.format_exception_only(exception)
    return "".join(lines[-1:] if isinstance(exception, SyntaxError) else lines)


def trimmed(exception, names):
    """Return the traceback of `exception` with the reader's lines alone."""
    trace = traceback.TracebackException.from_exception(exception)
    seen = [trace]
    while seen:
        one = seen.pop()
        one.stack[:] = [frame for frame in one.stack if frame.filename in names]
        seen += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
        seen += one.exceptions or ()
    return "".join(trace.format())


def judge(exercise, answer, names, output, outcome):
    """Note whether the function `answer` solves `exercise`, and say what the block has not said.

    The package judges the function itself: what a block prints decides nothing.
    """
    from attention_ref.exercises import check  # noqa: PLC0415

    if answer is None:
        outcome["error"] = f"The block defines no {exercise!r}, which Check looks for.\n"
        return
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it has been heard once
            verdict = check(exercise, answer)
    except BaseException as exception:
        outcome["error"] = trimmed(exception, names)
        return
    outcome["passed"] = bool(verdict)
    said, told = output.so_far(), f"{verdict!r}\n"
    if told not in said:
        output.write(told if said[-1:] in ("", "\n") else f"\n{told}")


def draw(figures, namespace, names, outcome):
    """Return the SVG of each of `figures`; note an error if one cannot be drawn."""
    drawn = {}
    for name in figures:
        try:
            drawn[name] = namespace[name]._repr_svg_()
        except KeyError:
            outcome["error"] = f"The block defines no {name!r}, which the figure shows.\n"
        except Exception as exception:
            outcome["error"] = trimmed(exception, names)
    return drawn
