"""The pytest side: pages are files, blocks are items."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import pytest
from pytest_codeblocks.plugin import MarkdownFile, TestBlock

from pages.check import PageError, check, report
from pages.model import Block, Page, Problem
from pages.parse import parse_file
from pages.run import Runner
from pages.update import Update

_RUNNER = pytest.StashKey[Runner]()
_UPDATES = pytest.StashKey[dict[str, Update]]()
_CHANGES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("pages").addoption(
        "--update-pages",
        action="store_true",
        help="write the outputs and figures of the pages in place, then fail, for review",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.option.codeblocks = False  # pages are collected once, here
    config.addinivalue_line(
        "markers", "slow: takes a minute or more; `-m 'not slow'` leaves it out"
    )
    if config.option.update_pages and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--update-pages writes files: run it without -n")
    config.stash[_RUNNER] = Runner()
    config.stash[_UPDATES] = {}
    config.stash[_CHANGES] = []


def pytest_unconfigure(config: pytest.Config) -> None:
    if runner := config.stash.get(_RUNNER, None):
        runner.close()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".md":
        page: PageFile = PageFile.from_parent(parent, path=file_path)
        return page
    return None


class PageFile(MarkdownFile):  # type: ignore[misc]
    """A page. Its items are its blocks or, if it cannot be read, its problems."""

    def collect(self) -> Iterator[pytest.Item]:
        page = parse_file(self.path, self.config.rootpath)
        for problem in page.problems:
            yield ProblemItem.from_parent(self, name=f"line {problem.lineno}", problem=problem)
        if page.problems:
            return
        for block in page.blocks:
            name = f"line {block.lineno}"
            try:
                yield BlockItem.from_parent(self, name=name, page=page, block=block)
            except Exception as error:
                problem = Problem(block.lineno, f"a mark of this block cannot be read: {error!r}")
                yield ProblemItem.from_parent(self, name=name, problem=problem)


class ProblemItem(pytest.Item):
    """A line that is outside the dialect."""

    def __init__(self, *, problem: Problem, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.problem = problem

    def runtest(self) -> None:
        name = self.nodeid.split("::")[0]
        raise PageError(f"{name}:{self.problem.lineno}: {self.problem.message}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.problem.lineno - 1, self.nodeid


class BlockItem(TestBlock):  # type: ignore[misc]
    """A block: it runs, and prints and draws what its page shows."""

    def __init__(self, *, page: Page, block: Block, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.obj = block
        self.page = page
        for one in page.program(block):
            for mark in one.marks:
                if one is block or "xfail" not in mark:
                    self.add_marker(eval(mark, {"pytest": pytest, "sys": sys}))

    def runtest(self) -> None:
        for one in self.page.program(self.obj):
            if one.importorskip and importlib.util.find_spec(one.importorskip) is None:
                pytest.skip(f"needs {one.importorskip}, which is not installed")
        stash = self.config.stash
        differences = check(stash[_RUNNER], self.page, self.obj)
        if not differences:
            return
        if not self.config.option.update_pages:
            raise PageError("\n\n".join(report(self.page, one) for one in differences))
        update = stash[_UPDATES].setdefault(self.page.name, Update(self.page))
        changes = [update.add(one) for one in differences]
        stash[_CHANGES].extend(changes)
        raise PageError("\n".join(changes))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, PageError):
            return str(excinfo.value)
        return pytest.Item.repr_failure(self, excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.obj.lineno - 1, self.nodeid


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a block without the phases that set up and tear down fixtures: it has none.

    They cost more than the block does. The last block of a page has them, for what stands around.
    """
    if not (_is_bare(item) and _is_bare(nextitem) and nextitem.parent is item.parent):
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    ends = (pytest.exit.Exception, KeyboardInterrupt)
    call = pytest.CallInfo.from_call(item.runtest, when="call", reraise=ends)
    report = hook.pytest_runtest_makereport(item=item, call=call)
    hook.pytest_runtest_logreport(report=report)
    if report.failed:
        hook.pytest_exception_interact(node=item, call=call, report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _is_bare(item: pytest.Item | None) -> TypeGuard[BlockItem]:
    return isinstance(item, BlockItem) and not item.own_markers


def pytest_sessionfinish(session: pytest.Session) -> None:
    for update in session.config.stash.get(_UPDATES, {}).values():
        update.write()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    changes = config.stash.get(_CHANGES, [])
    if changes:
        terminalreporter.section("pages updated: review the changes, then run again")
        for change in changes:
            terminalreporter.line(change)
    unproved = [
        (kind, one)
        for kind in ("skipped", "xfailed")
        for one in terminalreporter.getreports(kind)
        if ".md::" in one.nodeid
    ]
    if unproved:
        terminalreporter.section("blocks that prove nothing")
        for kind, one in unproved:
            reason = one.longrepr[2] if isinstance(one.longrepr, tuple) else one.wasxfail
            terminalreporter.line(f"{one.nodeid} {kind}: {reason.removeprefix('Skipped: ')}")
