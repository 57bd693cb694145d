"""Run the blocks of a page: each in its own program, and say what came of it."""

from __future__ import annotations
import __future__

import importlib
import importlib.util
import io
import linecache
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, BinaryIO

from pages.model import Block, Page
from pages.state import STATEFUL, State, tidy

_FUTURE = 0
for _name in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _name).compiler_flag


@dataclass
class Outcome:
    """What one block did."""

    output: str = ""
    exception: BaseException | None = None
    pictures: dict[str, str] = field(default_factory=dict)
    complaints: list[tuple[int, str]] = field(
        default_factory=list
    )  # (page line, what is not to be)
    writers: list[tuple[int, int]] = field(default_factory=list)  # (offset in output, page line)


class BrokenChainError(Exception):
    """A block cannot run because one that it continues fails."""

    def __init__(self, block: Block, exception: BaseException) -> None:
        super().__init__(block, exception)
        self.block = block
        self.exception = exception


class _Stream(io.TextIOWrapper):
    """What a program writes, and which line of the page wrote it."""

    def __init__(self, filename: str) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8", newline="\n", write_through=True)
        self._filename = filename
        self.writers: list[tuple[int, int]] = []

    def write(self, text: str, /) -> int:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != self._filename:
            frame = frame.f_back
        if frame is not None:
            self.writers.append((self._bytes.tell(), frame.f_lineno))
        return super().write(text)

    def take(self) -> str:
        """Return what was written since the last call."""
        self.flush()
        written = self._bytes.getvalue().decode("utf-8", "replace")
        self._bytes.seek(0)
        self._bytes.truncate()
        return written

    def close(self) -> None:
        """Stay open: what a block closes, the next one may need."""


class _NoInput(io.TextIOBase):
    def readable(self) -> bool:
        return True

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        raise EOFError("a page has no input: assign the value in place of input()")

    read = readline  # type: ignore[assignment]


class _Program:
    """A program of a page while it runs, block by block."""

    def __init__(self, page: Page, directory: str) -> None:
        self.page = page
        self.ran: list[Block] = []
        self.module = ModuleType("__main__")
        self.state = State(directory)
        self.out = _Stream(page.name)
        self.err = _Stream(page.name)
        self.flags = 0


class Runner:
    """Runs blocks in any order, and goes on where it stands when a block continues the last one."""

    def __init__(self) -> None:
        self._live: _Program | None = None
        self._page: Page | None = None
        # As macOS's temporary directory is a link, and a program asks where it is.
        self._directory = str(Path(tempfile.mkdtemp(prefix="page-")).resolve())
        # Open as long as the runner: what is written past sys.stdout and sys.stderr lands here.
        self._past = tempfile.TemporaryFile()  # noqa: SIM115
        self._interrupted = False
        self._sigint = signal.getsignal(signal.SIGINT)
        self._watch_interrupts()

    def run(self, page: Page, block: Block) -> Outcome:
        """Run `block`, after those blocks of its program that did not run yet."""
        before = page.program(block)[:-1]
        program = self._program(page, before)
        for earlier in before[len(program.ran) :]:
            outcome = self._execute(program, earlier, keep=True)
            if outcome.exception is not None:
                self._end()
                raise BrokenChainError(earlier, outcome.exception)
            program.ran.append(earlier)
        goes_on = block.continued and not block.excluded
        outcome = self._execute(program, block, keep=goes_on, draw=True)
        if outcome.exception is not None or not goes_on:
            self._end()  # what a block did half-way is part of no other program
        else:
            program.ran.append(block)
        return outcome

    def close(self) -> None:
        """End the program that is running; nothing can be run after this."""
        self._end()
        self._past.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._sigint)

    def _end(self) -> None:
        if self._live is not None:
            tidy(self._directory)
            self._live = None

    def _program(self, page: Page, before: list[Block]) -> _Program:
        live = self._live
        if live and before and live.page is page and live.ran == before[: len(live.ran)]:
            return live
        self._end()
        self._prepare(page)
        self._live = _Program(page, self._directory)
        return self._live

    def _prepare(self, page: Page) -> None:
        if page is self._page and page.name in linecache.cache:
            return
        self._page = page
        lines = [f"{line}\n" for line in page.lines]
        for block in page.blocks:
            code = block.code.splitlines(keepends=True)
            lines[block.lineno : block.lineno + len(code)] = code
        # Tracebacks show the page, with the code as it was compiled: without its indentation.
        linecache.cache[page.name] = (len(lines), None, lines, page.name)
        for name in STATEFUL:
            library = name.partition(".")[0]
            named = any(re.search(rf"\b{library}\b", block.code) for block in page.blocks)
            if named and name not in sys.modules and importlib.util.find_spec(library):
                importlib.import_module(name)

    def _execute(
        self, program: _Program, block: Block, *, keep: bool, draw: bool = False
    ) -> Outcome:
        outcome = Outcome()
        namespace = vars(program.module)
        program.out.writers.clear()
        threads = threading.active_count()
        with (
            program.state.in_place(keep) as warned,
            self._streams(program, block, outcome),
        ):
            try:
                exec(self._compile(program, block), namespace)
            except BaseException as exception:
                if self._interrupted:
                    raise
                outcome.exception = exception
            if draw:
                self._draw(block, namespace, outcome)
        if "signal" in block.code:
            self._watch_interrupts()
        outcome.output = program.out.take()
        outcome.writers = program.out.writers.copy()
        complaints = []
        if written := program.err.take().strip():
            complaints.append(f"writes to standard error: {written}")
        if threading.active_count() > threads:
            complaints.append("leaves a thread running: join it")
        for one in warned:
            complaints.append(f"warns, {one.category.__name__}: {one.message}")
        outcome.complaints += [(block.lineno, complaint) for complaint in complaints]
        return outcome

    def _draw(self, block: Block, namespace: dict[str, Any], outcome: Outcome) -> None:
        """Draw the figures that the page declares below the block."""
        for figure in block.figures:
            picture: Any = namespace.get(figure.name)
            drawn = None
            if figure.name not in namespace:
                complaint = f"above defines no {figure.name!r}"
            elif not hasattr(picture, "_repr_svg_"):
                kind = type(picture).__name__
                complaint = f"above makes {figure.name!r} a {kind}, which has no _repr_svg_()"
            else:
                try:
                    drawn = picture._repr_svg_()
                    complaint = f"above makes {figure.name!r}, whose _repr_svg_() gives no SVG"
                except Exception as exception:
                    complaint = (
                        f"above makes {figure.name!r}, whose _repr_svg_() fails: {exception!r}"
                    )
            if isinstance(drawn, str) and "<svg" in drawn:
                outcome.pictures[figure.name] = drawn.rstrip("\n") + "\n"
            elif outcome.exception is None or block.error is not None:
                outcome.complaints.append((figure.lineno, complaint))

    def _compile(self, program: _Program, block: Block) -> CodeType:
        name, flags = program.page.name, program.flags
        try:
            code: CodeType = compile(block.code, name, "exec", flags, dont_inherit=True)
        except SyntaxError:  # once more, for the page's own line
            compile("\n" * block.lineno + block.code, name, "exec", flags, dont_inherit=True)
            raise
        program.flags |= code.co_flags & _FUTURE
        return _moved(code, block.lineno)

    @contextmanager
    def _streams(self, program: _Program, block: Block, outcome: Outcome) -> Iterator[None]:
        """Direct to the program what it writes, and what it leaves to be said after its end."""

        def complain(what: str) -> None:
            outcome.complaints.append((block.lineno, what))

        saved = sys.stdout, sys.stderr, sys.stdin, sys.modules["__main__"]
        hooks = sys.unraisablehook, threading.excepthook
        for stream in saved[:2]:
            stream.flush()
        sys.stdout, sys.stderr, sys.stdin = program.out, program.err, _NoInput()
        sys.modules["__main__"] = program.module
        sys.unraisablehook = lambda one: complain(f"leaves an error unseen: {one.exc_value!r}")
        threading.excepthook = lambda one: complain(f"fails in a thread: {one.exc_value!r}")
        copies = os.dup(1), os.dup(2)
        past = self._past.fileno()
        os.dup2(past, 1)
        os.dup2(past, 2)
        try:
            yield
        finally:
            sys.stdout, sys.stderr, sys.stdin, sys.modules["__main__"] = saved
            sys.unraisablehook, threading.excepthook = hooks
            for fd, copy in zip((1, 2), copies, strict=True):
                os.dup2(copy, fd)
                os.close(copy)
            if written := _drain(self._past):
                complain(f"writes past sys.stdout, unseen by any test: {written}")

    def _watch_interrupts(self) -> None:
        """Tell the reader's Ctrl-C, which ends the run, from a block's own KeyboardInterrupt."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt


def _moved(code: CodeType, lines: int) -> CodeType:
    """Return `code` as if it stood `lines` further down in its file."""
    constants = tuple(
        _moved(one, lines) if isinstance(one, CodeType) else one for one in code.co_consts
    )
    return code.replace(co_firstlineno=code.co_firstlineno + lines, co_consts=constants)


def _drain(file: BinaryIO | Any) -> str:
    if not os.fstat(file.fileno()).st_size:
        return ""
    file.seek(0)
    written = file.read().decode("utf-8", "replace").strip()
    file.seek(0)
    file.truncate()
    return str(written)


def last_lines(exception: BaseException) -> str:
    """Return how the traceback of `exception` ends: its type and message."""
    lines = traceback.format_exception_only(exception)
    if isinstance(exception, SyntaxError):
        lines = lines[-1:]
    return "".join(lines)


def is_named(exception: BaseException, name: str) -> bool:
    """Tell whether `exception` is of exactly the type that a page calls `name`."""
    kind = type(exception)
    return name in (kind.__name__, kind.__qualname__, f"{kind.__module__}.{kind.__qualname__}")


def format_traceback(page: Page, exception: BaseException) -> tuple[int | None, str]:
    """Return the line of the page where `exception` arose, and a traceback that starts there."""
    trace = exception.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != page.name:
        trace = trace.tb_next
    line: int | None = None
    at = trace
    while at is not None:
        if at.tb_frame.f_code.co_filename == page.name:
            line = at.tb_lineno
        at = at.tb_next
    if line is None and isinstance(exception, SyntaxError):
        line = exception.lineno
    formatted = traceback.format_exception(type(exception), exception, trace)
    return line, "".join(formatted).replace(f'"{Path.cwd()}{os.sep}', '"')
