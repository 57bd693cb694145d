"""The commands of the Makefile: what they say when something is missing, and what they lay down."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from attention_docs.new_page import main as new_page
from pages.parse import parse_file
from pages.test_template import faults as page_template_faults

ROOT = Path(__file__).parents[2]
SH = shutil.which("sh")
pytestmark = pytest.mark.skipif(
    SH is None, reason="the commands need a POSIX shell, on Windows that of Git"
)


def project(tmp_path: Path) -> Path:
    """What `make page` reads and writes."""
    for folder in ("docs/learn", "tests/pages", "tests/mutation", "src/attention_ref"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    tests = ("tests/conftest.py", "tests/test_exercises.py")
    for file in ("mkdocs.yml", "pyproject.toml", "conftest.py", "docs/ruff.toml", *tests):
        shutil.copyfile(ROOT / file, tmp_path / file)
    return tmp_path


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.M)
    assert phony is not None
    listed = re.findall(r"^([a-z-]+):.*## \S", makefile, re.M)
    assert set(listed) == set(phony[1].split()) - {"peers", "setup"}


AN_OLD_PYTHON = f"""#!/bin/sh
exec '{sys.executable}' -c 'import sys; sys.version_info = (3, 11, 4); exec(sys.argv[2])' "$@"
"""


@pytest.mark.parametrize("name", ["python-that-is-not-there", "./an-old-python"])
def test_a_missing_python_is_one_clear_line(name: str, tmp_path: Path) -> None:
    for file in ("pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / file, tmp_path / file)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    old = tmp_path / "an-old-python"
    old.write_text(AN_OLD_PYTHON, encoding="utf-8")
    old.chmod(0o755)
    ran = subprocess.run(
        [str(SH), ".ci/setup", name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr == (
        f"make: needs Python 3.11.5 to 3.14, and found none under the name {name}\n"
    )
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="others have packages of their own")
def test_what_is_installed_takes_the_oldest_python_that_the_set_up_takes() -> None:
    setup = (ROOT / ".ci/setup").read_text(encoding="utf-8")
    found = re.search(r"not \((\d+), (\d+), (\d+)\) <= sys.version_info", setup)
    assert found is not None
    oldest = ".".join(found.groups())
    refuse = {
        one.name: required
        for one in distributions()
        if (required := one.metadata["Requires-Python"])
        and not SpecifierSet(required).contains(oldest)
    }
    assert refuse == {}


def test_a_new_page_passes(tmp_path: Path) -> None:
    root = project(tmp_path)
    said = new_page(root, "learn/new-page", "A new page")
    assert said == (
        "docs/learn/new-page.md is laid down, and stands in the nav of mkdocs.yml; "
        "its exercises are in src/attention_ref/exercises/_new_page.py"
    )
    page = root / "docs/learn/new-page.md"

    before = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\n")
    after = (root / "mkdocs.yml").read_text(encoding="utf-8").split("\n")
    (added,) = [line for line in after if line not in before]
    assert added == "      - learn/new-page.md"
    assert [line for line in after if line != added] == before
    learn = [line.strip() for line in after if re.match(r" +- learn/", line)]
    assert learn[-1] == "- learn/new-page.md"

    assert (root / "docs/assets/figures/new-page-first.svg").exists()
    assert page_template_faults(parse_file(page, root)) == []
    module = root / "src/attention_ref/exercises/_new_page.py"
    for command in (
        ["ruff", "format", "--check", str(page), str(module)],
        ["ruff", "check", str(page), str(module)],
        ["pytest", str(page)],
        ["pytest", "tests/test_exercises.py", "-k", "new_page"],
    ):
        ran = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("name", "title", "reason"),
    [
        ("learn/softmax", "Softmax", "docs/learn/softmax.md exists already"),
        ("softmax", "Softmax", 'NAME must be like learn/foo or learn/foo-bar, got "softmax"'),
        ("learn/Foo", "Foo", 'NAME must be like learn/foo or learn/foo-bar, got "learn/Foo"'),
        ("learn/../x", "Foo", 'NAME must be like learn/foo or learn/foo-bar, got "learn/../x"'),
        ("learn/foo.md", "Foo", 'NAME must be like learn/foo or learn/foo-bar, got "learn/foo.md"'),
        ("learn/foo", "", 'TITLE must be plain words, got ""'),
        ("learn/foo", "A: b", 'TITLE must be plain words, got "A: b"'),
        ("nowhere/foo", "Foo", "the nav of mkdocs.yml has no page of nowhere/ yet"),
    ],
)
def test_a_bad_name_is_one_clear_line(tmp_path: Path, name: str, title: str, reason: str) -> None:
    root = project(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        new_page(root, name, title)
    assert str(stopped.value) == f"make page: {reason}"
