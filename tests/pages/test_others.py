"""docs/contribute/how-pages-are-tested.md says what other tools do, as they do it here and now."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pages.others import ENDS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contribute" / "how-pages-are-tested.md"
START, END = "<!-- written by --update-pages -->\n\n", "\n<!-- as far as this -->\n"


@pytest.mark.slow
def test_the_page_says_what_other_tools_do(request: pytest.FixtureRequest) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pages.others"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests"), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    shown, _, after = rest.partition(END)
    made = run.stdout
    # Whether an error ends the run of pytest-examples depends on the version of Python.
    if shown.replace(ENDS, "") != made.replace(ENDS, ""):
        if request.config.option.update_pages:
            PAGE.write_bytes(f"{before}{START}{made}{END}{after}".encode())
            pytest.fail(f"{PAGE.name} was updated; review the change", pytrace=False)
        assert shown == made, "pytest tests/pages/test_others.py --update-pages"
