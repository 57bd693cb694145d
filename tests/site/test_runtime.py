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
    with zipfile.ZipFile(wheel, "w") as opened:
        for name in names:
            opened.writestr(name, "")
    content = runtime.archive(runtime.packages(wheel))
    assert content == runtime.archive(runtime.packages(wheel))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        held = set(archive.getnames())
        member = archive.extractfile("attention_ref/_softmax.py")
        assert member is not None
        assert member.read() == Path("src/attention_ref/_softmax.py").read_bytes()
    assert {"numpy/__init__.py", "jaxtyping/__init__.py", "array_api_compat/__init__.py"} <= held
    assert {"state.py", "runner.py"} <= held
    assert held.isdisjoint(names[1:])


RECORDED = """for name in ("memory", "places.json", "compiled.zip"):
    with open(f"{sys.argv[3]}/{name}", "w") as file:
        file.write(name)"""


def offer_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> Path:
    """Put a Python that runs `program` in the place of node; return the runtime it is to start."""
    node = tmp_path / "bin" / "node"
    node.parent.mkdir()
    node.write_text(f"#!{sys.executable}\nimport sys\n{program}\n", encoding="utf-8")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(node.parent))
    files = tmp_path / "files"
    files.mkdir()
    (files / "packages.bin").write_bytes(b"packages")
    return files


@pytest.mark.skipif(sys.platform == "win32", reason="the node of this test is a script")
def test_memory_is_recorded_once_for_the_same_files(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = offer_node(tmp_path, monkeypatch, RECORDED)
    first = runtime.recorded(files)
    with tarfile.open(first[0]) as archive:
        assert archive.getnames() == ["memory", "places.json"]
    assert first[1].read_text(encoding="utf-8") == "compiled.zip"
    (tmp_path / "bin" / "node").write_text("not run again", encoding="utf-8")
    assert runtime.recorded(files) == first
    (tmp_path / "bin" / "node").write_text(
        f"#!{sys.executable}\nimport sys\n{RECORDED}\n", encoding="utf-8"
    )
    (files / "packages.bin").write_bytes(b"other packages")
    second = runtime.recorded(files)
    assert set(second).isdisjoint(first)
    assert set(cache.iterdir()) == set(second)  # the older ones are gone


@pytest.mark.skipif(sys.platform == "win32", reason="the node of this test is a script")
def test_a_failure_of_node_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = offer_node(tmp_path, monkeypatch, "raise SystemExit('lines\\nTypeError: why\\n  at')")
    rule = "^Python cannot be started by node: TypeError: why$"
    with pytest.raises(runtime.RuntimeUnavailableError, match=rule):
        runtime.recorded(files)


def test_a_compiled_module_takes_the_place_of_its_source(tmp_path: Path) -> None:
    stdlib = tmp_path / "stdlib.zip"
    with zipfile.ZipFile(stdlib, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("a.py", "b.py", "b/", "b/a.py"):
            made.writestr(zipfile.ZipInfo(name), name)
    packed = runtime.with_compiled(stdlib, {"a.pyc": b"compiled", "b/a.pyc": b"other"})
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        held = {name: opened.read(name) for name in opened.namelist()}
    assert held == {"a.pyc": b"compiled", "b.py": b"b.py", "b/": b"b/", "b/a.pyc": b"other"}
    assert packed == runtime.with_compiled(stdlib, {"a.pyc": b"compiled", "b/a.pyc": b"other"})


def test_python_in_a_page_finds_its_modules_compiled(site: Path) -> None:
    (stdlib,) = site.glob("assets/runtime/python_stdlib.zip")
    with zipfile.ZipFile(stdlib) as opened:
        names = set(opened.namelist())
    assert {"re/__init__.pyc", "typing.pyc"} <= names
    assert names.isdisjoint({"re/__init__.py", "typing.py"})
    (packages,) = site.glob("assets/runtime/packages-*.bin")
    with tarfile.open(packages) as archive:
        held = set(archive.getnames())
    for package in ("numpy", "attention_ref", "array_api_compat"):
        here = f"{package}/__pycache__/__init__.cpython-314.pyc"
        assert {f"{package}/__init__.py", here} <= held


def test_the_built_site_runs_python(site: Path) -> None:
    """A site built without the network reads well, and is not what we publish."""
    files = site / "assets" / "runtime" / "files.json"
    assert files.exists(), "site/ has no Python for the browser: run `make site` with a network"
    for name, size in json.loads(files.read_text(encoding="utf-8")).items():
        assert (files.parent / name).stat().st_size == size
    assert (site / "assets" / "web" / "main.js").exists()
