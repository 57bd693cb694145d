"""A notebook opens in Colab where the published workflow puts it, and installs what it needs."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from attention_docs import colab
from pages.rendered import built_file

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ELSEWHERE = "https://colab.research.google.com/github/attention-executed/attention-executed/blob/"


def publishing() -> dict[str, Any]:
    workflow = (ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(workflow)["jobs"])


def test_every_notebook_of_the_site_is_linked_in_colab(site: Path) -> None:
    linked = set()
    for source in (*DOCS.rglob("*.md"), *DOCS.glob("notebooks/*.py")):
        built = built_file(site, source.relative_to(DOCS))
        page = BeautifulSoup(built.read_text(encoding="utf-8"), "html.parser")
        for link in page.select('a[href*="colab.research.google.com"]'):
            assert (link["rel"], link["target"]) == (["noopener"], "_blank")
            assert "another site" in str(link.parent)
            linked.add(str(link["href"]))
    files = {path.relative_to(site).as_posix() for path in site.rglob("*.ipynb")}
    assert linked == {f"{ELSEWHERE}notebooks/{file}" for file in files}


@pytest.mark.skipif(os.name == "nt", reason="the workflow runs on Linux")
def test_the_workflow_puts_the_notebooks_where_the_links_lead(tmp_path: Path) -> None:
    (upload,) = (
        step["with"]
        for step in publishing()["build"]["steps"]
        if "upload-artifact@" in step.get("uses", "")
    )
    # An artifact holds what is below the first wildcard of its path.
    assert upload == {"name": "notebooks", "path": "site/**/*.ipynb"}
    checkout, download, step = publishing()["notebooks"]["steps"]
    assert "actions/checkout@" in checkout["uses"]
    assert download["with"] == {"name": "notebooks", "path": "notebooks"}

    git = shutil.which("git")
    assert git is not None
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RUNNER_TEMP": str(tmp_path)}
    environment |= {"GITHUB_SHA": "0123abc", "GIT_CONFIG_NOSYSTEM": "1", **step["env"]}

    def run(*command: str, cwd: Path) -> str:
        return subprocess.run(
            command, cwd=cwd, env=environment, check=True, capture_output=True, text=True
        ).stdout

    remote, here = tmp_path / "remote.git", tmp_path / "checkout"
    run(git, "init", "--quiet", "--bare", "--initial-branch=main", str(remote), cwd=tmp_path)
    run(git, "clone", "--quiet", str(remote), str(here), cwd=tmp_path)
    (here / ".gitignore").write_text("docs/assets/run/\n*.ipynb\n")
    run(git, "add", ".", cwd=here)
    run(git, "commit", "--quiet", "-m", "One", cwd=here)
    run(git, "push", "--quiet", "origin", "HEAD:main", cwd=here)
    for published in ("first", "second"):
        (tmp_path / "notebooks.index").unlink(missing_ok=True)  # each run has a machine of its own
        shutil.rmtree(here / "notebooks", ignore_errors=True)
        place = here / "notebooks/assets/run/learn"
        place.mkdir(parents=True)
        (place / f"{published}.ipynb").write_text(published)
        run("bash", "-e", "-o", "pipefail", "-c", step["run"], cwd=here)
        assert run(git, "ls-tree", "-r", "--name-only", colab.BRANCH, cwd=remote).split() == [
            f"assets/run/learn/{published}.ipynb"
        ]
        assert run(git, "log", "--format=%s", colab.BRANCH, cwd=remote) == (
            "The notebooks of 0123abc\n"
        )
    assert run(git, "ls-tree", "--name-only", "main", cwd=remote).split() == [".gitignore"]


FAKE_PIP = """
from IPython.core.magic import register_line_magic

@register_line_magic
def pip(line):
    print("pip", line)
"""


@pytest.fixture
def printed() -> Callable[..., str]:
    """Run cells in a kernel, and return what the last one prints."""

    def printed(*codes: str) -> str:
        made = new_notebook(cells=[new_code_cell(code) for code in codes])
        ran = NotebookClient(made, kernel_name="python3").execute()
        return "".join(output.get("text", "") for output in ran.cells[-1].outputs)

    return printed


# The kernel's client closes its sockets only when it is collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_first_cell_installs_where_the_package_is_missing(
    printed: Callable[..., str],
) -> None:
    cell = colab.first_cell(["attention_ref", "torch"])
    assert printed(FAKE_PIP, cell) == ""
    missing = "import importlib.util\n\nimportlib.util.find_spec = lambda name: None"
    ours = rf'"attention-ref @ git\+{re.escape(colab.repository())}@([0-9a-f]{{40}}|main)"'
    assert re.fullmatch(f"pip install --quiet {ours} torch\n", printed(FAKE_PIP, missing, cell))


def test_a_copy_without_its_history_installs_what_is_on_main(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    monkeypatch.setattr(colab, "_ROOT", tmp_path)
    colab._commit.cache_clear()
    try:
        assert colab.pip_install(["attention_ref"]).endswith('/attention-executed@main"')
    finally:
        colab._commit.cache_clear()


def test_the_notebooks_start_with_that_cell(site: Path) -> None:
    for path in site.rglob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        first = next(cell for cell in cells if cell.cell_type == "code")
        assert first.source.startswith("import importlib.util\n"), path.name
        assert f"attention-ref @ git+{colab.repository()}@" in first.source, path.name
