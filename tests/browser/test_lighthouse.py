"""Lighthouse gives every kind of page full marks for accessibility, best practices and search."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import LOCAL

LIGHTHOUSE = Path(__file__).with_name("node_modules") / "lighthouse/cli/index.js"
MARKED = ("accessibility", "best-practices", "seo")
KINDS = (
    "",
    "learn/softmax/",
    "explore/lookup-board/",
    "reference/flash/",
    "reference/misconceptions/",
    "notebooks/scaling/",
    "contribute/style/",
)


def audit(url: str, categories: tuple[str, ...], *more: str) -> dict[str, Any]:
    """Return Lighthouse's report."""
    node, chromium = shutil.which("node"), shutil.which("chromium")
    assert node
    assert chromium
    flags = f"--headless=new --no-sandbox --disable-gpu --disable-background-networking '{LOCAL}'"
    ran = subprocess.run(
        [
            *(node, LIGHTHOUSE, url, "--quiet", "--output=json", f"--chrome-flags={flags}"),
            f"--only-categories={','.join(categories)}",
            *more,
        ],
        env={**os.environ, "CHROME_PATH": chromium},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(ran.stdout))


@pytest.mark.parametrize("path", KINDS)
def test_full_marks(path: str, home: str) -> None:
    report = audit(f"{home}{path}", MARKED, "--throttling-method=provided")
    lost = [
        f"{one['id']}: {report['audits'][one['id']]['title']}"
        for category in MARKED
        for one in report["categories"][category]["auditRefs"]
        if one["weight"] and report["audits"][one["id"]]["score"] not in (None, 1)
    ]
    assert lost == []
    marks = {category: report["categories"][category]["score"] for category in MARKED}
    assert marks == dict.fromkeys(MARKED, 1)
