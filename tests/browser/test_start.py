"""Python starts from the memory that the build has recorded, and is as if it had just started."""

import json
import tarfile
from base64 import b64encode

from playwright.sync_api import Page

from attention_docs.runtime import archive
from browser.conftest import SITE, Watched
from browser.reader import Visit, edit, run, wait_until

RUNTIME = SITE / "assets" / "runtime"
MEMORY = "/attention/assets/runtime/" + next(RUNTIME.glob("memory-*.bin")).name
# What a recorded memory could have wrong: files, functions that are called by their number, modules
# that nobody has imported yet, the time, the environment.
PROGRAM = """\
import ctypes, decimal, os, sys, time, unittest.mock
import js
import numpy as np
import numpy.linalg.lapack_lite, numpy.ma, numpy.testing
import attention_ref
from attention_ref import exercises, trained_tiny_transformer

print(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda number: number + 1)(41))
print(abs(time.time() - js.Date.now() / 1000) < 1, time.localtime().tm_year > 2025)
print(dict(os.environ), os.getcwd(), sys.path, sys.argv, sys.executable)
print(sorted(map(len, trained_tiny_transformer())))
print(np.linalg.svd(np.eye(3))[1], np.fft.ifft([1, 2, 3]), numpy.linalg.lapack_lite.__name__)
print(decimal.Decimal(1) / 7, unittest.mock.Mock(return_value=3)(), np.testing.__name__)
print(attention_ref.__file__, numpy.__file__, type(sys.stdin), len(exercises.__all__))
print(np.sort(np.random.default_rng(0).normal(size=5)), np.einsum("ij,jk", np.eye(2), np.eye(2)))
try:
    np.zeros(2).reshape(3)
except ValueError as error:
    print(error)
print(sys.flags.hash_randomization)
print(np.random.default_rng().integers(2**62), np.random.rand(), os.urandom(8))
"""


def test_recorded_python_is_as_python_that_has_just_started(visit: Visit, watched: Watched) -> None:
    page = visit("learn/softmax/")
    first = printed(page)
    # It is kept when the first output is there.
    wait_until(page, f"async () => !!(await caches.match('{MEMORY}'))")
    second, third = (printed(visit("learn/softmax/")) for _ in range(2))

    body = of_another_browser()
    page.evaluate(KEEP, [MEMORY, b64encode(body).decode()])
    last = printed(visit("learn/softmax/"))
    # The seed of hashes is part of memory, so it tells how Python has started.
    assert [one[-2] for one in (first, second, third, last)] == ["1", "0", "0", "1"]
    assert first[:-2] == second[:-2] == third[:-2] == last[:-2]
    assert first[0] == "42"
    # Random numbers are not recorded.
    assert len({first[-1], second[-1], third[-1], last[-1]}) == 4


KEEP = """async ([address, base64]) => {
  const body = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  const kept = await caches.open("attention-executed /attention/ memory");
  await kept.put(address, new Response(body));
}"""


def of_another_browser() -> bytes:
    """Return recorded memory that no browser here can go on from."""
    with tarfile.open(RUNTIME / MEMORY.rpartition("/")[2]) as kept:
        members = {one.name: kept.extractfile(one) for one in kept}
        contents = {name: file.read() for name, file in members.items() if file}
    places = json.loads(contents["places.json"])
    places["functions"] += 1
    contents["places.json"] = json.dumps(places).encode()
    return archive(contents.items())


def printed(page: Page) -> list[str]:
    edit(page, 1, PROGRAM)
    said = run(page, 1)
    live = page.locator("[data-live=different], [data-live=error]").text_content() or ""
    assert said.startswith("Live: differs"), live
    return live.rstrip("\n").split("\n")
