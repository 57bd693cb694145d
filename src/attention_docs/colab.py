"""Notebooks in Google Colab: where it opens them, and the cell that installs what they need there.

Colab opens notebooks that lie in a repository on GitHub. Ours are made with the site, so the
workflow that publishes it puts them on a branch of their own, under their paths on the site.
"""

from __future__ import annotations

import functools
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path(__file__).parents[2]
BRANCH = "notebooks"


def repository() -> str:
    """Return the address of the source, on GitHub."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Source"])


def link(path: str) -> str:
    """Return a link, in HTML, that opens in Colab what lies at `path` on the site."""
    place = repository().removeprefix("https://github.com/")
    address = f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/{path}"
    return (
        f'<a data-offer="Colab ↗" rel="noopener" target="_blank" href="{address}">'
        "open the notebook in Google Colab</a> (another site, in a new tab)"
    )


def pip_install(modules: Iterable[str]) -> str:
    """Return the arguments with which pip installs `modules`.

    No package index has `attention_ref`, so it comes from its repository, as of this commit.
    """
    ours = f'"attention-ref @ git+{repository()}@{_commit()}"'
    names = (ours if name == "attention_ref" else name.replace("_", "-") for name in modules)
    return f"pip install {' '.join(names)}"


def first_cell(modules: Iterable[str]) -> str:
    """Return the code of a cell that installs `modules` where `attention_ref` is missing."""
    return (
        "import importlib.util\n\n"
        'if importlib.util.find_spec("attention_ref") is None:  # as in Colab\n'
        f"    %{pip_install(modules).replace('install', 'install --quiet', 1)}"
    )


@functools.cache
def _commit() -> str:
    command = ["git", "-C", str(_ROOT), "rev-parse", "HEAD"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # a copy without its history
        return "main"
    return ran.stdout.strip()
