"""Python for the browser: fetched once, verified by digest, and missed aloud."""

import io
import json
import sys
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from attention_docs import runtime
from attention_docs.runtime import File, Source

CONTENT = b"some bytes\n"
GOOD = sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runtime, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str, *command: str) -> File:
    """Offer one file, in an archive that a copy fetches."""
    archive = tmp_path / "offered-1.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("package/a.bin")
        member.size = len(CONTENT)
        tar.addfile(member, io.BytesIO(CONTENT))
    copy = f"import shutil; shutil.copy({str(archive)!r}, '.')"
    source = Source(command or (sys.executable, "-c", copy), "offered-*.tgz")
    file = File("a.bin", source, "package/a.bin", digest)
    monkeypatch.setattr(runtime, "FILES", (file,))
    return file


def test_a_file_is_fetched_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = offer(tmp_path, monkeypatch, GOOD)
    assert runtime.fetch(file).read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["a.bin"]
    (tmp_path / "offered-1.tgz").unlink()
    assert runtime.fetch(file).read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = offer(tmp_path, monkeypatch, GOOD)
    cache.mkdir()
    (cache / "a.bin").write_bytes(CONTENT[:-1])
    assert runtime.fetch(file).read_bytes() == CONTENT


def test_another_digest_is_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = offer(tmp_path, monkeypatch, "0" * 64)
    rule = f"a.bin of offered-1.tgz must have the sha256 {'0' * 64}, got {GOOD}"
    with pytest.raises(runtime.RuntimeUnavailableError, match=rule):
        runtime.fetch(file)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("no-such-program", "a-1"), "no-such-program, which fetches a-1, is not there"),
        (
            (sys.executable, "-c", "raise SystemExit('no network')"),
            "cannot be fetched: no network",
        ),
    ],
)
def test_without_a_network_the_site_has_no_runtime_and_says_so(
    command: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    offer(tmp_path, monkeypatch, GOOD, *command)
    target = tmp_path / "target"
    target.mkdir()
    (target / "from-an-earlier-build").touch()
    runtime.main(target)
    assert not target.exists()
    said = capsys.readouterr().err.strip().split("\n")[-1]
    assert said.startswith("The site will have no Run buttons: ")
    assert said.endswith(reason)


def test_the_archive_holds_what_a_page_imports(tmp_path: Path) -> None:
    wheel = tmp_path / "numpy.whl"
    names = ("numpy/__init__.py", "numpy/__init__.pyi", "numpy/_core/include/numpy/x.h")
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    first, second = runtime.packages(wheel), runtime.packages(wheel)
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        held = set(archive.namelist())
        source = Path("src/attention_ref/_softmax.py").read_bytes()
        assert archive.read("attention_ref/_softmax.py") == source
    assert {"numpy/__init__.py", "jaxtyping/__init__.py", "array_api_compat/__init__.py"} <= held
    assert held.isdisjoint(names[1:])


def test_the_built_site_runs_python(site: Path) -> None:
    """A site built without the network reads well, and is not what we publish."""
    files = site / "assets" / "runtime" / "files.json"
    assert files.exists(), "site/ has no Python for the browser: run `make site` with a network"
    for name, size in json.loads(files.read_text(encoding="utf-8")).items():
        assert (files.parent / name).stat().st_size == size
    assert (site / "assets" / "web" / "main.js").exists()
