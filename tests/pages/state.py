"""What a program on a page may change for its whole process, and no other program may see."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class Setting:
    """One kind of process-wide state: how to read it, write it, and make it as in a new process.

    `module` is the library that holds it; while that is not imported, there is nothing to keep.
    `glance` is a cheaper `read`, good enough to put the process back between two tests.
    """

    name: str
    module: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]
    fresh: Callable[[Any], None] | None = None
    glance: Callable[[Any], Any] | None = None


# os.environ decodes at each look; what it decodes is compared instead, and written through it.
_ENVIRONMENT = vars(os.environ)["_data"]


def _write_environment(_: Any, value: dict[Any, Any]) -> None:
    now = _ENVIRONMENT
    if now == value:
        return
    key, text = os.environ.decodekey, os.environ.decodevalue
    for name in [name for name in now if name not in value]:
        del os.environ[key(name)]
    for name in [name for name in value if now.get(name) != value[name]]:
        os.environ[key(name)] = text(value[name])


def _without_pytest(value: dict[Any, Any]) -> dict[Any, Any]:
    decode = os.environ.decodekey
    return {name: text for name, text in value.items() if not decode(name).startswith("PYTEST_")}


def _write_list(target: list[Any], value: list[Any]) -> None:
    if target != value:
        target[:] = value


def _write_dict(target: dict[str, Any], value: dict[str, Any]) -> None:
    if target != value:
        target.clear()
        target.update(value)


def _write_logging(module: Any, value: tuple[Any, ...]) -> None:
    module.root.level, handlers, module.root.manager.disable = value
    _write_list(module.root.handlers, handlers)


def _fresh_logging(module: Any) -> None:  # pytest has handlers of its own, which swallow records
    _write_logging(module, (module.WARNING, [], 0))


def _write_printing(torch: Any, value: dict[str, Any]) -> None:
    vars(torch._tensor_str.PRINT_OPTS).update(value)


def _read_torch(torch: Any) -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
    )


def _write_torch(torch: Any, value: tuple[Any, ...]) -> None:
    # Only what differs is written: some of these setters import a good part of torch.
    now = _read_torch(torch)
    setters = (
        torch.set_default_dtype,
        torch.set_default_device,
        torch.set_grad_enabled,
        torch.use_deterministic_algorithms,
        torch.set_num_threads,
    )
    for setter, old, new in zip(setters, now, value, strict=True):
        if old != new:
            setter(new)


def _fresh_torch(torch: Any) -> None:
    # One thread: how many share a sum decides its last digits, and pages print digits.
    _write_torch(torch, (torch.float32, torch.device("cpu"), True, False, 1))


def _write_numpy_seed(random: Any, value: tuple[Any, Any]) -> None:
    # A state holds more than its generator, the second of a pair of normal numbers, and costs more.
    generator, state = value
    random.set_bit_generator(generator)
    if state is not None:
        random.set_state(state)


@functools.cache
def _generator_of_pages() -> Any:
    return sys.modules["numpy.random"].MT19937()


def _fresh_numpy_seed(random: Any) -> None:
    random.set_bit_generator(_generator_of_pages())
    random.seed(int.from_bytes(os.urandom(4)))  # random.seed() takes 50 times as long


def _fresh_printing(numpy: Any) -> None:
    numpy.set_printoptions(
        edgeitems=3,
        infstr="inf",
        linewidth=75,
        nanstr="nan",
        precision=8,
        suppress=False,
        threshold=1000,
        formatter=None,
        sign="-",
        floatmode="maxprec",
        legacy=False,
    )


# A seed is drawn anew for each program, so a page that prints unseeded random numbers fails.
SETTINGS = (
    Setting("environment", "os", lambda os: _ENVIRONMENT.copy(), _write_environment),
    Setting("path", "sys", lambda sys: sys.path[:], lambda sys, v: _write_list(sys.path, v)),
    Setting("arguments", "sys", lambda sys: sys.argv[:], lambda sys, v: _write_list(sys.argv, v)),
    Setting(
        "recursion limit",
        "sys",
        lambda sys: sys.getrecursionlimit(),
        lambda sys, v: sys.setrecursionlimit(v),
    ),
    Setting(
        "builtins",
        "builtins",
        lambda builtins: vars(builtins).copy(),
        lambda builtins, v: _write_dict(vars(builtins), v),
    ),
    Setting(
        "decimal context",
        "decimal",
        lambda decimal: decimal.getcontext().copy(),
        lambda decimal, v: decimal.setcontext(v.copy()),
    ),
    Setting(
        "locale",
        "locale",
        lambda locale: locale.setlocale(locale.LC_ALL),
        lambda locale, v: locale.setlocale(locale.LC_ALL, v),
    ),
    Setting(
        "logging",
        "logging",
        lambda logging: (
            logging.root.level,
            logging.root.handlers[:],
            logging.root.manager.disable,
        ),
        _write_logging,
        _fresh_logging,
    ),
    Setting(
        "random seed",
        "random",
        lambda random: random.getstate(),
        lambda random, v: random.setstate(v),
        lambda random: random.seed(),
    ),
    Setting(
        "numpy seed",
        "numpy.random",
        lambda random: (random.get_bit_generator(), random.get_state(legacy=False)),
        _write_numpy_seed,
        _fresh_numpy_seed,
        lambda random: (random.get_bit_generator(), None),
    ),
    Setting(
        "numpy printing",
        "numpy",
        lambda numpy: numpy.get_printoptions(),
        lambda numpy, v: numpy.set_printoptions(**v),
        _fresh_printing,
    ),
    Setting(
        "numpy floating-point errors",
        "numpy",
        lambda numpy: numpy.geterr(),
        lambda numpy, v: numpy.seterr(**v),
        lambda numpy: numpy.seterr(divide="warn", over="warn", under="ignore", invalid="warn"),
    ),
    Setting(
        "torch seed",
        "torch",
        lambda torch: torch.get_rng_state(),
        lambda torch, v: torch.set_rng_state(v),
        lambda torch: torch.default_generator.seed(),
    ),
    Setting(
        "torch printing",
        "torch",
        lambda torch: vars(torch._tensor_str.PRINT_OPTS).copy(),
        _write_printing,
        lambda torch: torch.set_printoptions(profile="default", sci_mode=None),
    ),
    Setting("torch settings", "torch", _read_torch, _write_torch, _fresh_torch),
    Setting(
        "matplotlib settings",
        "matplotlib",
        lambda matplotlib: dict(dict.items(matplotlib.rcParams)),
        lambda matplotlib, v: dict.update(matplotlib.rcParams, v),
    ),
)


# Libraries with state of their own. One that a page names is imported before its first block, so
# that what a new process would hold is known before a block changes it.
STATEFUL = ("numpy.random", "torch", "matplotlib")


class State:
    """The process as one program leaves it, put in place while its blocks run."""

    baseline: ClassVar[dict[str, Any]] = {}

    def __init__(self, directory: str) -> None:
        """Start as a new process would, in an empty directory."""
        self._values: dict[str, Any] | None = None
        self._filters: list[Any] = [("error", None, Warning, None, 0)]
        self._directory = directory

    @contextlib.contextmanager
    def in_place(self, keep: bool) -> Iterator[list[warnings.WarningMessage]]:
        """Run under this state, then put the process back; yield the list of what was warned.

        If `keep`, the next block finds what this one changed; if not, there is no next block.
        """
        outside, directory = _read(glance=True), os.getcwd()  # noqa: PTH109
        with warnings.catch_warnings(record=True) as shown:
            try:
                if self._values is None:
                    self._start(outside)
                else:
                    _write(self._values)
                os.chdir(self._directory)
                warnings.resetwarnings()
                warnings.filters.extend(self._filters)  # type: ignore[attr-defined]
                yield shown
            finally:
                if keep:
                    self._filters = list(warnings.filters)
                    self._values = _read()
                    with contextlib.suppress(FileNotFoundError):  # it may be deleted
                        self._directory = os.getcwd()  # noqa: PTH109
                os.chdir(directory)
                _write(outside)

    def _start(self, outside: dict[str, Any]) -> None:
        if not self.baseline:
            self.baseline.update(outside)
            self.baseline["environment"] = _without_pytest(outside["environment"])
        for setting in SETTINGS:
            module = sys.modules.get(setting.module)
            if module is None:
                continue
            if setting.fresh is not None:
                setting.fresh(module)
            else:
                value = self.baseline.setdefault(setting.name, outside[setting.name])
                setting.write(module, value)


def _read(glance: bool = False) -> dict[str, Any]:
    modules = sys.modules
    return {
        setting.name: ((glance and setting.glance) or setting.read)(modules[setting.module])
        for setting in SETTINGS
        if setting.module in modules
    }


def _write(values: dict[str, Any]) -> None:
    for setting in SETTINGS:
        module = sys.modules.get(setting.module)
        if setting.name in values:
            setting.write(module, values[setting.name])
        elif module is not None and setting.fresh is not None:  # imported since `values` was read
            setting.fresh(module)


def tidy(directory: str) -> None:
    """Throw away what a program left behind: files in its directory, and open plots."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
    for one in os.scandir(directory):
        if one.is_dir(follow_symlinks=False):
            shutil.rmtree(one.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # Windows keeps what is still open
                Path(one.path).unlink()
