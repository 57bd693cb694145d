"""Whether faults in the package are noticed, and whether they are planted where it is said."""

import importlib
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import jaxtyping
import pytest

import mutation.__main__ as whole
from mutation import pages_jury, tests_jury
from mutation.by_pages import MODULES
from mutation.lists import Listed, equivalent, named
from mutation.mutants import Mutants, canonical
from mutation.pages_jury import Exhibit
from mutation.plant import forked, hand_over, in_one_process, limit, plant, reached, swap
from mutation.tests_jury import FILES, Evidence, _can_be_imported, jury, own_files, source_of

ROOT = Path(__file__).parents[2]
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process for each fault")
# JAX, if another test of this process has imported it, warns of each fork, for those that go on
# to use it.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")


@pytest.mark.slow
@FORKS
def test_each_fault_is_noticed_by_the_pages_alone() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mutation.by_pages"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_listed_fault_is_planted() -> None:
    listed = set(equivalent())
    for name in whole.modules():
        its = {key for key in listed if whole._stands_in(key[0], name)}
        listed -= its
        assert not its or its <= {mutant.key for mutant in Mutants(name, source_of(name))}
    assert not listed, "no such module"


def test_faults_that_people_make_are_planted_in_code_that_runs(tmp_path: Path) -> None:
    """A name that is not defined there would be noticed, whatever the fault is."""
    names = []
    for index, (name, mutants, mutant) in enumerate(named()):
        names.append(name)
        before = mutants.source()
        mutant.plant()
        assert mutants.source() != before
        (tmp_path / f"fault_{index}.py").write_text(mutants.source(), encoding="utf-8")
    assert len(set(names)) == len(names) > 25
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821"]
    # Shapes in types are no names.
    ran = subprocess.run(
        [*command, "--ignore", "F722", str(tmp_path)], capture_output=True, text=True, check=False
    )
    undefined = [line for line in ran.stdout.split("\n") if "F821" in line]
    assert [line for line in undefined if not line.split("`")[1].islower()] == [], ran.stdout


SOURCE = '''
LIMIT = 3


def grow(x, axis=-1):
    """Say 1."""
    y: int
    if x > LIMIT and not axis:
        return f(x + 1, axis=axis)
    x -= 2
    return x * 2
'''


def test_the_standard_faults_are_planted(tmp_path: Path) -> None:
    path = tmp_path / "grow.py"
    path.write_text(SOURCE)
    planted = {(mutant.before, mutant.after) for mutant in Mutants("grow", path)}
    assert planted == {
        ("LIMIT = 3", "LIMIT = 4"),
        ("def grow(x, axis=-1):", "def grow(x, axis=0):"),
        ("def grow(x, axis=-1):", "def grow(x, axis=-2):"),
        ("if x > LIMIT and (not axis):", "if x >= LIMIT and (not axis):"),
        ("if x > LIMIT and (not axis):", "if x <= LIMIT and (not axis):"),
        ("if x > LIMIT and (not axis):", "if x > LIMIT or not axis:"),
        ("if x > LIMIT and (not axis):", "if x > LIMIT and axis:"),
        ("if x > LIMIT and (not axis):", "if not (x > LIMIT and (not axis)):"),
        ("if x > LIMIT and (not axis):", "pass"),
        ("return f(x + 1, axis=axis)", "return f(x - 1, axis=axis)"),
        ("return f(x + 1, axis=axis)", "return f(x + 2, axis=axis)"),
        ("return f(x + 1, axis=axis)", "return f(x + 1)"),
        ("return f(x + 1, axis=axis)", "return None"),
        ("x -= 2", "x += 2"),
        ("x -= 2", "x -= 3"),
        ("x -= 2", "pass"),
        ("return x * 2", "return x / 2"),
        ("return x * 2", "return x * 3"),
        ("return x * 2", "return None"),
    }


def test_arguments_that_have_no_order_are_not_exchanged(tmp_path: Path) -> None:
    path = tmp_path / "near.py"
    path.write_text("def near(a, b):\n    return math.dist(a, b), NAMES.get(a, a), log(a, b)\n")
    planted = {mutant.after for mutant in Mutants("near", path)}
    assert planted == {"return (math.dist(a, b), NAMES.get(a, a), log(b, a))", "return None"}


EXERCISE = """
def answer(x):
    return _half(x) + 1


def _half(x):
    return x / 2


def _small(rng):
    yield _drawn(rng)


def _drawn(rng):
    return rng + 1


def _wrong(x):
    return _twice(x) + 1


def _twice(x):
    return 2 * answer(x)


def _rule(answer, x):
    return answer > 1


ONE = Exercise(solution=answer, inputs=_small, mistakes=(_wrong,), rules=(_rule,))
"""


def test_no_fault_is_planted_in_what_is_wrong_on_purpose_or_drawn(tmp_path: Path) -> None:
    path = tmp_path / "exercise.py"
    path.write_text(EXERCISE)
    planted = {mutant.function for mutant in Mutants("exercise", path)}
    assert planted == {"answer", "_half", "_rule", ""}
    path.write_text(EXERCISE.replace("Exercise(", "Other("))
    assert {"_small", "_drawn", "_wrong", "_twice"} <= {
        mutant.function for mutant in Mutants("exercise", path)
    }


def test_the_arguments_of_a_call_change_places_where_they_have_an_order(tmp_path: Path) -> None:
    path = tmp_path / "order.py"
    path.write_text(
        "LOW = np.minimum(a, b)\nSAME = np.allclose(a, b)\nTURNED = x.swapaxes(a, b)\n"
        "BOTH = np.less(a, a)\nLESS = np.less(a, b)\n"
    )
    assert [mutant.after for mutant in Mutants("order", path)] == ["LESS = np.less(b, a)"]


def test_no_fault_is_planted_in_a_guard(tmp_path: Path) -> None:
    path = tmp_path / "pairs.py"
    path.write_text("PAIRS = sort(zip(a, b, strict=True), stable=True)\n")
    assert {mutant.after for mutant in Mutants("pairs", path)} == {
        "PAIRS = sort(zip(b, a, strict=True), stable=True)",
        "PAIRS = sort(zip(a, b, strict=True), stable=False)",
        "PAIRS = sort(zip(a, b, strict=True))",
    }


def test_a_return_of_nothing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "nothing.py"
    path.write_text("def f(x):\n    if x:\n        return None\n    return x\n")
    returned = {mutant.before: mutant.after for mutant in Mutants("nothing", path)}
    assert returned == {"if x:": "pass", "return x": "return None"}


def test_planting_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "grow.py"
    path.write_text(SOURCE)
    mutants = Mutants("grow", path)
    first = [mutant.key for mutant in mutants]
    assert [mutant.key for mutant in mutants] == first
    assert len(set(first)) == len(first)


def test_a_statement_is_known_however_it_was_printed() -> None:
    assert canonical("if (x  >  1):") == "if x > 1:"
    assert canonical('y = f("a")') == "y = f('a')"
    assert canonical("def f(x = 1):") == "def f(x=1):"
    assert canonical("pass") == "pass"


def test_a_written_fault_comes_first_or_takes_a_place(tmp_path: Path) -> None:
    path = tmp_path / "grow.py"
    path.write_text(SOURCE)
    for before, after, expected in (
        (None, "x = -x", '"""Say 1."""\n    x = -x\n    y: int'),
        ("x -= 2", "x += 9", "x += 9\n    return x * 2"),
    ):
        mutants = Mutants("grow", path)
        mutants.written("grow", before, after).plant()
        assert expected in mutants.source()
    with pytest.raises(ValueError, match=r"grow\.grow has 0 times: x -= 3"):
        Mutants("grow", path).written("grow", "x -= 3", "pass")


@pytest.fixture
def grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that can be imported; what is forked from here imports it with faults."""
    path = tmp_path / "grow_with_faults.py"
    path.write_text("def grow(x: int) -> int:\n    return x + 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    return path


@FORKS
@pytest.mark.parametrize("how", ["imported", "imported with shape checks", "swapped"])
def test_a_planted_fault_runs(grow: Path, how: str) -> None:
    def unnoticed(fault, witness) -> bool:
        mutants = Mutants("grow_with_faults", grow)
        mutant = next((one for one in mutants if one.after == fault), None)
        if how == "swapped":
            module = importlib.import_module("grow_with_faults")
        if mutant is not None:
            (swap if how == "swapped" else plant)(mutants, mutant)
        if how == "imported with shape checks":
            jaxtyping.install_import_hook("grow_with_faults", "beartype.beartype")
        module = importlib.import_module("grow_with_faults")
        witness.note("grow(5)")
        try:
            return module.grow(5) == 7
        except jaxtyping.TypeCheckError:
            return False

    faults = ["none", "return x - 2", "return x + 3", "return None"]
    importlib.invalidate_caches()
    assert dict(forked(faults, unnoticed, 2)) == {
        "none": None,
        **dict.fromkeys(faults[1:], "grow(5)"),
    }


@FORKS
def test_what_has_run_already_is_not_swapped(grow: Path) -> None:
    """A fault that comes too late would change nothing, and pass for one that nobody notices."""
    grow.write_text(
        "def first(x):\n    return x + 1\n\n"
        "ONE = first(0)\n\n"
        "def outer(x, y=2):\n    def inner(z):\n        return z + x\n\n    return inner\n\n"
        "INNER = outer(2)\n\n"
        "def last(\n    x,\n):\n    return (\n        x + 3\n    )\n"
    )
    mutants = Mutants("grow_with_faults", grow)
    cases = [(number, (mutants, one, ["somebody"])) for number, one in enumerate(mutants)]
    nobody = [(number, (mutants, one, [])) for number, (_, one, _) in cases]
    ran = {(mutants.module, line) for line in (1, 2, 4, 6, 7, 10, 12)}

    def serve(tell) -> bool:
        importlib.import_module("grow_with_faults")
        assert reached(nobody, ran) == []
        for number, (_, mutant, _) in reached(cases, ran):
            tell(number, mutant.function)
        return True

    importlib.invalidate_caches()
    assert {function for _, function in in_one_process(serve)} == {"last"}
    in_last = [number for number, (_, one, _) in cases if one.function == "last"]
    assert [number for number, _ in in_one_process(serve)] == in_last


@FORKS
def test_a_swapped_default_is_the_one_that_counts(grow: Path) -> None:
    grow.write_text(
        "STEP = 2\n\nclass Grown:\n"
        "    def __init__(self, x, y=STEP, *, z=5, w, sign=-1):\n        self.x = x + y * z\n"
    )

    def unnoticed(after, witness) -> bool:
        mutants = Mutants("grow_with_faults", grow)
        cases = [(0, (mutants, one, ["somebody"])) for one in mutants if one.after == after]
        module = importlib.import_module("grow_with_faults")
        ((_, (_, mutant, _)),) = reached(cases, set())
        swap(mutants, mutant)
        x = module.Grown(1, w=0).x
        witness.note(f"{x}")
        return False

    importlib.invalidate_caches()
    headers = [
        "def __init__(self, x, y=STEP, *, z=6, w, sign=-1):",
        "def __init__(self, x, y=STEP, *, z=5, w, sign=0):",
    ]
    assert [found for _, found in forked(headers, unnoticed, 1)] == ["13", "11"]


@FORKS
def test_a_method_that_no_longer_asks_its_class_is_not_swapped(grow: Path) -> None:
    grow.write_text(
        "class Twice(int):\n    def __new__(cls, x):\n"
        "        y = super().__new__(cls, x)\n        y = y * 2\n        return y\n"
    )
    mutants = Mutants("grow_with_faults", grow)
    cases = [(number, (mutants, one, ["somebody"])) for number, one in enumerate(mutants)]

    def serve(tell) -> bool:
        importlib.import_module("grow_with_faults")
        for number, (_, mutant, _) in reached(cases, set()):
            tell(number, mutant.after)
        return True

    importlib.invalidate_caches()
    assert [after for _, after in in_one_process(serve)] == [
        "y = super().__new__(x, cls)",
        "y = y / 2",
        "y = y * 3",
        "pass",
        "return None",
    ]


@FORKS
def test_what_cannot_be_imported_needs_no_tests() -> None:
    module = "exercises._scaling"

    def unnoticed(planted, witness) -> bool:
        for name in [one for one in sys.modules if one.startswith("attention_ref")]:
            del sys.modules[name]
        mutants = Mutants(module, source_of(module))
        if planted:
            plant(mutants, next(one for one in mutants if not one.lines))
        return _can_be_imported(module)

    # An exercise without a solution, and one as it is.
    assert [by for _, by in forked([True, False], unnoticed, 1)] == ["", None]


@FORKS
def test_one_process_tells_what_it_found_or_fails() -> None:
    def serve(tell) -> bool:
        tell(3, "a page")
        tell(5, None)
        return True

    assert list(in_one_process(serve)) == [(3, "a page"), (5, None)]
    with pytest.raises(RuntimeError, match="run pytest first"):
        list(in_one_process(lambda tell: False))


@FORKS
def test_whoever_looks_when_the_process_ends_has_noticed() -> None:
    def unnoticed(case, witness) -> bool:
        witness.note("first")
        witness.note(case)
        if case == "killed":
            os.kill(os.getpid(), signal.SIGALRM)
        if case == "exits":
            raise SystemExit(0)
        if case == "cannot be planted":
            raise ValueError(case)
        return case == "passes"

    cases = ["killed", "exits", "passes", "fails"]
    noticed = dict(forked(cases, unnoticed, 2))
    assert noticed == {"killed": "killed", "exits": "exits", "passes": None, "fails": "fails"}
    with pytest.raises(RuntimeError, match=r"could not be judged: .*cannot be planted"):
        list(forked(["cannot be planted"], unnoticed, 2))


HALVES = {
    "__init__": "",
    "deep.__init__": "",
    "deep._half": (
        "TWICE = 2 * [3]  # and no less\n\ndef half(x):\n    return x / 2\n\n"
        "def leave():\n    raise SystemExit(int(half(6)))\n"
    ),
    "deep._other": "from halves.deep._half import leave\n",
}


@pytest.fixture
def halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mutants:
    """The faults of a module of a package that can be imported, here and by what is started."""
    for name, text in HALVES.items():
        path = tmp_path / "halves" / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Mutants("deep._half", tmp_path / "halves/deep/_half.py")


def exit_code(how: str) -> int | None:
    """Return that of a process which calls `leave` of the package of HALVES."""
    if how == "command":
        command = [sys.executable, "-c", "from halves.deep._other import leave; leave()"]
        return subprocess.run(command, check=False).returncode
    multiprocessing.set_forkserver_preload(["halves.deep._half"])
    leave = importlib.import_module("halves.deep._other").leave
    process = multiprocessing.get_context(how).Process(target=leave)
    process.start()
    process.join()
    return process.exitcode


@FORKS
@pytest.mark.parametrize("how", ["command", "forkserver", "spawn"])
def test_a_fault_is_handed_over_to_the_processes_that_a_test_starts(
    how: str, halves: Mutants, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is compiled now is there when the faults are.
    assert exit_code("command") == 3

    def unnoticed(case, witness) -> bool:
        module, after = case
        monkeypatch.setattr(tests_jury, "STARTED", {module: "test_halves"})
        hand_over(halves)
        assert exit_code(how) == 3
        next(one for one in halves if one.after == after).plant()
        tests_jury._ready(halves, [])
        code = exit_code(how)
        witness.note(f"exit code {code}")
        return code == 3

    cases = [("deep._half", "return x * 2"), ("deep._half", "return x / 3"), ("_", "return x / 3")]
    assert [by for _, by in forked(cases, unnoticed, 1)] == ["exit code 12", "exit code 2", None]


@FORKS
def test_pages_notice_what_cannot_be_imported(
    halves: Mutants, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_jury, "PACKAGE", halves.path.parents[1])
    monkeypatch.setattr(pages_jury, "imported", set)

    def passes() -> bool:
        return bool(importlib.import_module("halves.deep._half").TWICE)

    shown = [Exhibit("a page", passes, lines={("deep._half", 1)})]
    faults = [(halves, one) for one in halves if one.before == "TWICE = 2 * [3]"]
    found = {one.after: by for one, by in pages_jury.judged(faults, shown, 1)}
    assert found == {
        "TWICE = 2 / [3]": "importing halves",
        "TWICE = 3 * [3]": None,
        "TWICE = 2 * [4]": None,
    }


@FORKS
def test_what_a_test_leaves_running_ends_with_it() -> None:
    def unnoticed(case, witness) -> bool:
        started = subprocess.Popen(["sleep", "60"], pass_fds=[writer])
        witness.note(case)
        limit(0, waiting=0.2)
        if case == "waits":
            started.wait()
        return case == "passes"

    reader, writer = os.pipe()
    cases = ["waits", "passes", "fails"]
    assert dict(forked(cases, unnoticed, 3)) == {"waits": "waits", "passes": None, "fails": "fails"}
    stopped = forked(["waits", "passes"], unnoticed, 2)
    assert next(stopped) == ("passes", None)
    stopped.close()
    os.close(writer)
    ended, _, _ = select.select([reader], [], [], 10)
    assert ended, "somebody still holds the other end"
    os.close(reader)


@FORKS
def test_one_is_asked_while_others_are() -> None:
    def passes(seconds, witness) -> bool:
        time.sleep(seconds)
        return True

    others = forked([0, 0], passes, 2)
    assert next(others) == (0, None)
    assert list(forked([0.1], passes, 1)) == [(0.1, None)]
    assert list(others) == [(0, None)]


def test_the_jury_runs_the_line_and_is_quick(tmp_path: Path) -> None:
    path = tmp_path / "grow.py"
    path.write_text(SOURCE)
    mutants = {mutant.after: mutant for mutant in Mutants("grow", path)}
    tests = [
        Evidence("slow", 15, {("grow", 10)}),
        Evidence("never reached", 16, {("grow", 10)}),
        Evidence("quick", 1, {("grow", 10), ("grow", 11)}),
        Evidence("elsewhere", 1, {("other", 10)}),
    ]
    assert [one.name for one in jury(mutants["x += 2"], tests)] == ["quick", "slow"]
    assert [one.name for one in jury(mutants["return x / 2"], tests)] == ["quick"]
    # A line that runs when the module is imported: whoever uses the module.
    assert [one.name for one in jury(mutants["LIMIT = 4"], tests)] == ["quick", "slow"]
    # The module's own test may read the constant, and run nothing there.
    path = tmp_path / "_softmax.py"
    path.write_text(SOURCE)
    faults = {mutant.after: mutant for mutant in Mutants("_softmax", path)}
    tests.append(Evidence("tests/test_softmax.py::test_of_a_constant", 1, {("other", 10)}))
    assert jury(faults["LIMIT = 4"], tests) == tests[-1:]
    # Its own tests may run the line in a process that they start.
    faults = {mutant.after: mutant for mutant in Mutants("torch._ring", path)}
    tests.append(Evidence("tests/test_torch_ring.py::test_of_processes", 1, {("other", 10)}))
    assert jury(faults["x += 2"], tests) == tests[-1:]


def test_a_module_has_its_own_tests() -> None:
    owners = {name: [path.stem for path in own_files(name)] for name in whole.modules()}
    assert owners["_softmax"] == ["test_softmax"]
    assert owners["torch._ring"] == owners["torch._all_to_all"] == ["test_torch_ring"]
    assert owners["__main__"] == ["test_main"]
    assert owners["testing._faults"] == ["test_testing_faults"]
    assert owners["testing._judge"] == ["test_testing_judge"]
    assert owners["testing.__init__"] == [
        path.stem for path in FILES if path.stem.startswith("test_testing")
    ]
    assert owners["interop.torch"] == ["test_interop", "test_interop_main"]
    its = ["test_exercises", "test_exercises_judge", "test_exercises_rules"]
    assert owners["exercises._softmax"] == its
    assert owners["_checks"] == []
    assert set(MODULES) <= set(owners)


@pytest.mark.parametrize(
    ("tests_notice", "by", "said"),
    [
        (False, "survivors", None),
        (True, "tests", None),
        (False, "tests", "it goes unnoticed, and here it does not: w"),
        (False, "pages", "it goes unnoticed, and here it does not: w"),
        (True, "pages", "it goes unnoticed, and here it does not: w"),
        (True, "survivors", "the tests notice, and nobody does"),
    ],
)
def test_an_entry_says_what_is_so(tests_notice: bool, by: str, said: str | None) -> None:
    complaint = whole._complaint(Listed("why", tests_notice), by, "w")
    assert complaint == (said and f"equivalent.toml says that {said}")


def test_a_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(whole, "ROOT", tmp_path)
    monkeypatch.setattr(whole, "source_of", lambda name: tmp_path / f"{name}.py")
    (tmp_path / "grow.py").write_text(SOURCE)
    (tmp_path / "test_grow.py").write_text("one")
    asked, before = [], set()

    def ask(run, faults, former):
        before.update(former.values())
        for _, mutant in faults:
            asked.append(mutant.after)
            yield mutant, None if mutant.after == "x += 2" else "test_grow.py::test"

    monkeypatch.setattr(whole.Run, "_ask", ask)

    def again() -> list[str]:
        asked.clear()
        run = whole.Run(1)
        mutants = Mutants("grow", tmp_path / "grow.py")
        run._judged("grow", [(mutants, mutant) for mutant in mutants])
        return asked.copy()

    every = again()
    assert len(every) == 19
    assert again() == []
    assert not before
    (tmp_path / "test_grow.py").write_text("two")
    assert again() == [one for one in every if one != "x += 2"]
    monkeypatch.setattr(whole, "FILES", [tmp_path / "test_grow.py"])
    assert again() == ["x += 2"]
    (tmp_path / "grow.py").write_text(SOURCE + "\n")
    assert again() == every
    assert before == {"test_grow.py::test"}


def test_who_noticed_a_fault_before_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    path = FILES[0]
    name = f"tests/{path.name}::test"
    mutants = Mutants("_softmax", source_of("_softmax"))
    first, second, *_ = mutants
    former = {whole._identity(first): name, whole._identity(second): "docs/page.md:3"}
    rounds = []

    def ask(cases, jurors, workers, choose):
        """Have each fault noticed by whoever is asked about it."""
        rounds.append([(mutant, one.name) for _, mutant in cases for one in choose(mutant, jurors)])
        return iter(rounds[-1])

    monkeypatch.setattr(whole, "judged_by_tests", ask)
    monkeypatch.setattr(whole, "judged_by_pages", ask)
    tests, page = [Evidence(name, 0.1, set())], Exhibit("docs/page.md:3", passes=bool)
    monkeypatch.setattr(whole.Run, "_evidence", lambda run, files: tests if path in files else [])
    monkeypatch.setattr(whole.Run, "_exhibits", lambda run: [page])
    answers = whole.Run(1)._ask([(mutants, first), (mutants, second)], former)
    assert list(answers) == [(first, name), (second, page.name)]
    assert rounds == [[(first, name)], [(second, page.name)]]
