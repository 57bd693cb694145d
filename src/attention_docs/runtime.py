"""Fetch what runs Python in the reader's browser: `python -m attention_docs.runtime TARGET`.

Each file below comes out of a published archive and is known by its digest. What was fetched once
stays in .cache/runtime. Beside these files, TARGET gets two archives: `packages-DIGEST.bin` holds
this commit's `attention_ref`, NumPy and what else they need; `memory-DIGEST.bin` the memory of a
Python that has imported them, which is ready in a fraction of the time. What that Python compiled
is kept too: in the first of these archives, and in that of the standard library, there in the place
of its source. Without a network, TARGET stays empty: the site then has no Run buttons.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "runtime"


class Source(NamedTuple):
    """An archive, the command that brings it into the current folder, and its name there."""

    command: tuple[str, ...]
    pattern: str


class File(NamedTuple):
    """One file: where it is in its archive, and its digest."""

    name: str
    source: Source
    member: str
    digest: str


PYODIDE = Source(("npm", "pack", "--silent", "pyodide@314.0.4"), "pyodide-*.tgz")
# PyPI's numpy has no wheel for a browser yet. This package carries NumPy's own, as Pyodide's lock
# names it; nothing else is taken from it.
CARRIER = Source(
    (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "open-webui==0.12.4"),
    "open_webui-*.whl",
)
NUMPY = "numpy-2.4.3-cp314-cp314-pyemscripten_2026_0_wasm32.whl"
FILES = (
    File(
        "pyodide.mjs",
        PYODIDE,
        "package/pyodide.mjs",
        "c75dd73bb0c70674135f9f4ab746c9b5316e9fe027cafacb2be445e658f04c92",
    ),
    File(
        "pyodide.asm.mjs",
        PYODIDE,
        "package/pyodide.asm.mjs",
        "fd7a3cefa122ff6463dcf2997961eb341250e4cc4ed60281448390f0a767cca2",
    ),
    File(
        "pyodide.asm.wasm",
        PYODIDE,
        "package/pyodide.asm.wasm",
        "6c8986a8ee583401069aa403e76ee79d4633a1478ab11cea76030bc299aded9f",
    ),
    File(
        "python_stdlib.zip",
        PYODIDE,
        "package/python_stdlib.zip",
        "b5ca2308e9fa72eda319889a1ddf086389e9f1234ced279cc71267fe9ba56e54",
    ),
    File(
        NUMPY,
        CARRIER,
        f"open_webui/frontend/pyodide/{NUMPY}",
        "0cad9c1b91f0082e4f959bc0e0bf5835a2efbba6ab3b1e9d1fe6e7e564cca98e",
    ),
)
# What `import attention_ref` needs besides NumPy: pure Python, as installed here.
PACKAGES = ("array-api-compat", "jaxtyping", "wadler_lindig")
# Of NumPy's wheel, what no running program reads.
UNUSED = ("numpy/_core/include/", "numpy/_core/lib/", "numpy/random/lib/")
# The page engine's own file, and the one that runs a program under it: see worker.ts.
RUNNER = ("tests/pages/state.py", "web/src/runner.py")
# What decides, beside the files of the runtime, what is in the memory of a started Python.
RECORDER = (
    "web/record.mjs",
    *(f"web/src/{name}" for name in ("compile.py", "record.py", "record.ts", "start.ts")),
)
# Where, below /lib, Python in a page has its modules.
STDLIB = "python314.zip/"
SITE_PACKAGES = "python3.14/site-packages/"


class RuntimeUnavailableError(Exception):
    """A file of the runtime cannot be had; the text is one line that says why."""


def main(target: Path) -> None:
    """Fill `target`, or leave it empty and say why."""
    shutil.rmtree(target, ignore_errors=True)
    try:
        files = [fetch(file) for file in FILES]
    except RuntimeUnavailableError as error:
        print(f"The site will have no Run buttons: {error}", file=sys.stderr)
        return
    making = target.with_name(f"{target.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for path in files:
        if path.name != NUMPY:
            shutil.copyfile(path, making / path.name)
    sources = dict(packages(CACHE / NUMPY))
    lay(making, sources)
    try:
        memory, compiled = recorded(making)
    except RuntimeUnavailableError as error:
        print(f"The site will have no Run buttons: {error}", file=sys.stderr)
        return
    shutil.copyfile(memory, making / memory.name)
    with zipfile.ZipFile(compiled) as opened:
        modules = {name: opened.read(name) for name in opened.namelist()}
    lay(making, {**sources, **below(SITE_PACKAGES, modules)})
    stdlib = making / "python_stdlib.zip"
    stdlib.write_bytes(with_compiled(stdlib, below(STDLIB, modules)))
    # Scripts load as modules, whose bytes no script can count as they come.
    counted = [path for path in sorted(making.iterdir()) if path.suffix != ".mjs"]
    sizes = {path.name: path.stat().st_size for path in counted}
    (making / "files.json").write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
    making.rename(target)  # whole or not at all


def fetch(file: File) -> Path:
    """Return the path of `file` in the cache, fetching and verifying it if it is not there."""
    kept = CACHE / file.name
    if kept.exists() and sha256(kept.read_bytes()).hexdigest() == file.digest:
        return kept
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        archive = _bring(file.source, Path(folder))
        for one in FILES:
            if one.source == file.source:
                content = _member(archive, one.member)
                found = sha256(content).hexdigest()
                if found != one.digest:
                    raise RuntimeUnavailableError(
                        f"{one.name} of {archive.name} must have the sha256 {one.digest}, "
                        f"got {found}"
                    )
                part = Path(folder, one.name)
                part.write_bytes(content)
                part.replace(CACHE / one.name)
    return kept


def _bring(source: Source, folder: Path) -> Path:
    name = " ".join(source.command[-1:])
    print(f"Fetching {name}, once, for Python in the browser.", file=sys.stderr)
    program = shutil.which(source.command[0])
    if program is None:
        raise RuntimeUnavailableError(f"{source.command[0]}, which fetches {name}, is not there")
    ran = subprocess.run(
        [program, *source.command[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    archives = list(folder.glob(source.pattern))
    if ran.returncode or len(archives) != 1:
        said = (ran.stderr.strip() or ran.stdout.strip() or "nothing").splitlines()[-1]
        raise RuntimeUnavailableError(f"{name} cannot be fetched: {said}")
    return archives[0]


def _member(archive: Path, name: str) -> bytes:
    if archive.suffix == ".tgz":
        with tarfile.open(archive) as tar:
            member = tar.extractfile(name)
            assert member is not None  # `name` is a file, or extractfile has raised
            return member.read()
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(name)


def lay(folder: Path, files: dict[str, bytes]) -> None:
    """Write the archive of packages into `folder`, in the place of an earlier one."""
    for earlier in folder.glob("packages-*.bin"):
        earlier.unlink()
    packed = archive(files.items())
    # Named by what it holds: a browser that has kept an older one never takes it for this.
    (folder / f"packages-{sha256(packed).hexdigest()[:16]}.bin").write_bytes(packed)


def below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files below `folder`, by their names there."""
    return {
        name.removeprefix(folder): content
        for name, content in files.items()
        if name.startswith(folder)
    }


def with_compiled(stdlib: Path, modules: dict[str, bytes]) -> bytes:
    """Return the archive of the standard library with compiled `modules` in place of their sources.

    No program of a page reads these sources, and with both, the archive would be a half larger.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(stdlib) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            name = f"{member.filename}c"
            content = modules.get(name)
            if content is None:
                new.writestr(member, old.read(member))
            else:
                compiled = zipfile.ZipInfo(name, member.date_time)
                new.writestr(compiled, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def recorded(runtime: Path) -> tuple[Path, Path]:
    """Return where the memory and the compiled modules of a Python from `runtime` are kept.

    Python is started for that, unless the cache has them of the same files.
    """
    made_of = [*sorted(runtime.iterdir()), *(ROOT / name for name in RECORDER)]
    digests = "".join(sha256(path.read_bytes()).hexdigest() for path in made_of)
    digest = sha256(digests.encode()).hexdigest()[:16]
    memory, compiled = CACHE / f"memory-{digest}.bin", CACHE / f"compiled-{digest}.zip"
    if memory.exists() and compiled.exists():
        return memory, compiled
    beside = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
    node = shutil.which("node", path=beside)
    if node is None:
        raise RuntimeUnavailableError("node, which starts Python once, is not there")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        ran = subprocess.run(
            [node, str(ROOT / "web/record.mjs"), str(runtime), folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            said = [line for line in ran.stderr.splitlines() if "Error: " in line]
            raise RuntimeUnavailableError(
                f"Python cannot be started by node: {said[-1] if said else ran.stderr[-500:]}"
            )
        for older in (*CACHE.glob("memory-*.bin"), *CACHE.glob("compiled-*.zip")):
            older.unlink()
        Path(folder, "compiled.zip").replace(compiled)
        made = [(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir())]
        part = Path(folder, "memory.bin")
        part.write_bytes(archive(made))
        part.replace(memory)
    return memory, compiled


def archive(contents: Iterable[tuple[str, bytes]]) -> bytes:
    """Return one compressed file of `contents`; equal contents make equal archives."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(contents):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(whole.getvalue(), 6, mtime=0)  # 9 takes five times as long


def packages(numpy: Path) -> Iterator[tuple[str, bytes]]:
    """Give all that Python imports in a page: NumPy, this package, what it needs, our runner."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        (own,) = Path(folder).glob("*.whl")
        for wheel in (own, numpy):
            with zipfile.ZipFile(wheel) as opened:
                for name in opened.namelist():
                    if not name.startswith(UNUSED) and not name.endswith((".pyi", "/")):
                        yield name, opened.read(name)
    for package in PACKAGES:
        for file in importlib.metadata.files(package) or ():
            if "__pycache__" not in file.parts and ".." not in file.parts:
                yield file.as_posix(), file.read_binary()
    for path in RUNNER:
        yield Path(path).name, (ROOT / path).read_bytes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
