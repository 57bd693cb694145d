"""What a user installs, and what the project pins."""

import re
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(built)


def group(name: str) -> Iterator[Requirement]:
    for entry in PROJECT["dependency-groups"][name]:
        if isinstance(entry, dict):
            yield from group(entry["include-group"])
        else:
            yield Requirement(entry)


def test_the_wheel_holds_the_package_alone(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    sources = (ROOT / "src/attention_ref").rglob("*")
    wanted = [path for path in sources if path.is_file() and path.suffix != ".pyc"]
    assert sorted(names) == sorted(path.relative_to(ROOT / "src").as_posix() for path in wanted)
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_installing_brings_three_packages(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    lines = re.findall(r"^Requires-Dist: (.+)$", wheel.read(name).decode(), re.M)
    requirements = [Requirement(line) for line in lines]
    always = {one.name for one in requirements if one.marker is None}
    extras = {(one.name, str(one.marker)) for one in requirements if one.marker is not None}
    assert always == {"numpy", "array-api-compat", "jaxtyping"}
    assert extras == {("torch", 'extra == "torch"')}


def test_every_pin_is_exact() -> None:
    for pin in PINS:
        assert pin.url is None, pin
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
        assert "+" not in str(pin.specifier), "a local version is on one index alone"


def test_everything_asked_for_is_pinned_within_its_range() -> None:
    asked = [*group("dev"), *map(Requirement, PROJECT["project"]["dependencies"])]
    asked += map(Requirement, PROJECT["build-system"]["requires"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        asked += map(Requirement, extra)
    for requirement in asked:
        name = canonicalize_name(requirement.name)
        pins = [pin for pin in PINS if canonicalize_name(pin.name) == name]
        assert pins, f"constraints.txt does not pin {name}"
        for pin in pins:
            (version,) = [specifier.version for specifier in pin.specifier]
            assert requirement.specifier.contains(version), pin


def test_torch_and_mkdocs_stay_where_the_project_needs_them() -> None:
    versions = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in PINS}
    assert versions["torch"] == "2.13.0"
    assert Version(versions["mkdocs"]) < Version("2")


def workflow(name: str) -> Any:
    text = (ROOT / ".github/workflows" / name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=yaml.BaseLoader)


def test_ci_runs_the_oldest_and_the_newest_that_we_claim() -> None:
    legs = workflow("test.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    claimed = [
        line.rsplit(" ", 1)[1]
        for line in PROJECT["project"]["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    ]
    claimed.sort(key=Version)
    assert PROJECT["project"]["requires-python"] == f">={claimed[0]}"
    assert {leg["python"] for leg in legs} == {claimed[0], claimed[-1]}
    assert {leg["os"].split("-")[0] for leg in legs} == {"ubuntu", "macos", "windows"}
    (numpy,) = [
        Requirement(line) for line in PROJECT["project"]["dependencies"] if line.startswith("numpy")
    ]
    (oldest,) = [specifier.version for specifier in numpy.specifier]
    pinned = {leg["numpy"] for leg in legs if leg["python"] == claimed[0]} - {""}
    assert {version.rsplit(".", 1)[0] for version in pinned} == {oldest}


def test_no_file_names_a_package_index() -> None:
    hosts = re.compile(r"--(extra-)?index-url\s+\S|files\.pythonhosted|download\.pytorch")
    names = ("Makefile", "constraints.txt", "pyproject.toml", ".ci/run", ".ci/setup")
    for path in [*(ROOT / name for name in names), *(ROOT / ".github").rglob("*.yml")]:
        assert not hosts.search(path.read_text(encoding="utf-8")), path.name
