"""PyTorch and JAX are optional, which only a fresh interpreter can prove."""

import subprocess
import sys

import pytest

USE = """
import numpy as np
x = attention_ref.softmax(np.zeros(2))
attention_ref.multi_head_attention(*[np.eye(2)] * 5, heads=2, mask=attention_ref.causal_mask(2))
attention_ref.hard_lookup(x, np.full((1, 2), 0.5), np.ones(1))
"""


def run(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", ["", USE], ids=["import", "use"])
def test_no_other_library_is_loaded(code):
    done = run(
        f"import sys, attention_ref\n{code}\n"
        "print(sorted({'torch', 'jax', 'array_api_strict', 'beartype'} & set(sys.modules)))"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "jax", "array_api_strict", "beartype"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import attention_ref
"""


def test_the_layers_say_what_they_need():
    done = run(f"{WITHOUT}import attention_ref.torch")
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: attention_ref.torch needs PyTorch, which is not installed: "
        "pip install 'attention-ref[torch]'"
    )


def test_all_works_where_no_other_library_is_installed():
    done = run(f"{WITHOUT}{USE}\nprint('done')")
    assert (done.stdout, done.stderr) == ("done\n", "")
