"""What Lighthouse gives pages for performance: `PYTHONPATH=tests python -m browser.bench_pages`.

A page of every kind, on the telephone that Lighthouse simulates (slow 4G, a fourth of the speed of
this machine) and on its desktop; medians of the rounds. The marks depend on the machine and on what
else it does: beside them stand Lighthouse's own index of its speed, and a page of one sentence with
the theme as it comes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from browser.conftest import SITE, serve
from browser.test_lighthouse import KINDS, audit

ROUNDS = 3
PRESETS = {"mobile": (), "desktop": ("--preset=desktop",)}
METRICS = {
    "first paint": "firstContentfulPaint",
    "largest": "largestContentfulPaint",
    "blocked": "totalBlockingTime",
}


PEER = "(the theme alone)"


def build_peer(folder: Path) -> None:
    """Build a site of one sentence, by MkDocs with the theme, as `folder`/alone."""
    (folder / "docs").mkdir()
    (folder / "docs" / "index.md").write_text("# Alone\n\nOne sentence.\n", encoding="utf-8")
    settings = "site_name: Alone\nsite_dir: alone\ntheme: {name: material, font: false}\n"
    (folder / "mkdocs.yml").write_text(settings, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "--quiet"], cwd=folder, check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = Path(folder, "host")
        host.mkdir()
        (host / "attention").symlink_to(SITE, target_is_directory=True)
        build_peer(Path(folder))
        (host / "alone").symlink_to(Path(folder, "alone"), target_is_directory=True)
        server, address = serve(host)
        pages = {PEER: "alone/"} | {path or "(home)": f"attention/{path}" for path in KINDS}
        reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for _ in range(ROUNDS):
            for page, path in pages.items():
                for preset, flags in PRESETS.items():
                    report = audit(f"{address}{path}", ("performance",), *flags)
                    reports.setdefault((page, preset), []).append(report)
            print(".", end="", file=sys.stderr, flush=True)
        server.shutdown()
        server.server_close()
    heads = "".join(f"{head:>13}" for head in METRICS)
    print(
        f"\n{f'medians of {ROUNDS} rounds':38}{'mark':>6}{heads}{'shift':>8}{'index':>8}  all marks"
    )
    for (page, preset), some in reports.items():
        marks = [100 * one["categories"]["performance"]["score"] for one in some]
        metrics = [one["audits"]["metrics"]["details"]["items"][0] for one in some]
        times = "".join(
            f"{median(one[name] for one in metrics):10.0f} ms" for name in METRICS.values()
        )
        shift = median(one["cumulativeLayoutShift"] for one in metrics)
        index = median(one["environment"]["benchmarkIndex"] for one in some)
        each = " ".join(f"{mark:.0f}" for mark in marks)
        print(f"{page:30}{preset:8}{median(marks):6.0f}{times}{shift:8.3f}{index:8.0f}  {each}")


if __name__ == "__main__":
    main()
