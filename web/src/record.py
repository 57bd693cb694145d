"""Import what most pages import. Python is kept as this leaves it."""

import gc
import os
import sys

import array_api_compat.numpy
import numpy.random
import runner

import attention_ref

# `from numpy import *`, in array_api_compat, brings all of NumPy: throw away what a page seldom
# names. NumPy imports it again for the page that does.
_SELDOM = ("ctypeslib", "f2py", "testing")
for _name in list(sys.modules):
    if _name.split(".")[0] == "unittest" or _name.split(".")[:2] in [["numpy", s] for s in _SELDOM]:
        del sys.modules[_name]
for _module in (numpy, array_api_compat.numpy):
    for _name in _SELDOM:
        vars(_module).pop(_name, None)
sys.path.remove("")  # every start puts it there
del os.environ["PYTHONHASHSEED"], _module, _name, array_api_compat, attention_ref, numpy, runner
gc.collect()

# What Python holds for small objects, but does not use: write zeros over that too.
for _size in range(48, 513, 16):
    _filled = [bytes(_size - 33) for _ in range(2**20 // _size)]
    del _filled
del _SELDOM, _size, gc, os, sys
