"""The last steps of a build: the list of what readers keep, and the archive."""

import json
import os
import re
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from attention_docs import archive, offline

PAGE = '<!doctype html>\n<html><head><meta charset="utf-8"></head><body></body></html>\n'


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A site as MkDocs leaves it."""
    site = tmp_path / "site"
    names = ["index.html", "404.html", "learn/a/index.html", "assets/web/main.js", "learn/a.md"]
    names += ["assets/runtime/packages.zip", "assets/main.js.map", "assets/a b.svg", "site.zip"]
    for name in names:
        file = site / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PAGE if name.endswith(".html") else name, encoding="utf-8")
    (site / offline.BUNDLE).write_text("worker()", encoding="utf-8")
    return site


def test_the_worker_lists_what_a_reader_may_open_with_python_last(small: Path) -> None:
    offline.main(small)
    first, rest = (small / "service-worker.js").read_text(encoding="utf-8").split("\n", 1)
    assert rest == "worker()"
    listed = json.loads(first.removeprefix("const FILES=").removesuffix(";"))
    pages = ["404.html", "index.html", "learn/a/index.html"]
    others = ["assets/a%20b.svg", "assets/web/main.js", "assets/runtime/packages.zip"]
    assert list(listed) == pages + others
    for name, (digest, size) in listed.items():
        content = (small / name.replace("%20", " ")).read_bytes()
        assert (digest, size) == (sha256(content).hexdigest(), len(content))


def test_every_page_names_the_worker_once(small: Path) -> None:
    offline.main(small)
    for page in small.rglob("*.html"):
        assert page.read_text(encoding="utf-8").count(offline.NAMED) == 1
    assert not (small / offline.BUNDLE).exists()


def test_another_file_makes_another_worker(small: Path) -> None:
    before = offline.files(small)
    (small / "assets/web/main.js").write_text("other", encoding="utf-8")
    after = offline.files(small)
    assert {name for name in before if before[name] != after[name]} == {"assets/web/main.js"}


def test_a_site_without_the_bundle_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        offline.main(tmp_path)
    assert str(stopped.value) == (
        f"offline: {tmp_path / offline.BUNDLE} must be there, as `make web` and a build leave it"
    )


def test_nothing_that_a_built_page_loads_or_links_is_left_out(site: Path) -> None:
    listed = offline.files(site)
    for page in site.rglob("index.html"):
        html = page.read_text(encoding="utf-8")
        html = re.sub(r"<meta[^>]*>", "", html)
        for link in re.findall(r'(?:href|src)="(?!https?:|data:|#|mailto:)([^"#?]+)', html):
            name = os.path.relpath(page.parent / link, site).replace(os.sep, "/")
            if (site / name).is_dir():
                name = f"{name}/index.html".removeprefix("./")
            assert name in listed, f"{page.relative_to(site)} names {link}"


def test_equal_sites_make_equal_archives(small: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1" / "site.zip", tmp_path / "2" / "site.zip"
    archive.main(small, first)
    os.utime(small / "index.html", (1, 1))
    archive.main(small, second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as packed:
        assert packed.read("site/index.html").decode() == PAGE
        files = [path for path in small.rglob("*") if path.is_file()]
        assert len(packed.namelist()) == len(files)


def test_an_archive_in_the_site_does_not_hold_itself(small: Path) -> None:
    target = small / "site.zip"
    archive.main(small, target)
    size = target.stat().st_size
    archive.main(small, target)
    assert target.stat().st_size == size
