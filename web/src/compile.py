"""Keep what Python has compiled, so that the next one need not: it is half of what a start does."""

import sys
from importlib._bootstrap_external import _code_to_hash_pyc
from importlib.util import cache_from_source
from zipfile import ZipFile, ZipInfo

with ZipFile("/compiled.zip", "w") as _archive:
    for _module in list(sys.modules.values()):
        _spec = getattr(_module, "__spec__", None)
        _origin = getattr(_spec, "origin", None) or ""
        if not _origin.startswith("/lib/") or not _origin.endswith(".py"):
            continue
        _code = compile(_spec.loader.get_data(_origin), _origin, "exec", dont_inherit=True)
        # In a zip, Python looks beside the source; elsewhere, in a folder of its own.
        _path = f"{_origin}c" if ".zip/" in _origin else cache_from_source(_origin)
        # "Unchecked": Python takes it as it is, without a look at the source.
        _content = _code_to_hash_pyc(_code, bytes(8), False)
        _archive.writestr(ZipInfo(_path.removeprefix("/lib/")), _content)
