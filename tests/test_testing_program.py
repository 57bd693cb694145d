"""The program that shows a failure: read as it is, and run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from attention_ref.testing._conventions import CONVENTIONS
from attention_ref.testing._judge import judge_of, truth
from attention_ref.testing._problems import Case
from attention_ref.testing._program import program

TINY = Case("tiny", batch=1, heads=1, kv_heads=1, q_len=1, kv_len=2, d_k=1, d_v=1)


def attend(query, key, value, **terms):
    return sdpa(query, key, value, **terms)


def written(convention, case=TINY, function=attend, device=None):
    judge, _ = judge_of(CONVENTIONS[convention], None, device)
    return program(judge, function, case)


def test_it_reads_so():
    assert written("torch", replace(TINY, scale=0.5, mask="shared")) == (
        "import torch\n"
        "from attention_ref.interop.torch import (\n"
        "    scaled_dot_product_attention as reference,\n"
        ")\n"
        "from test_testing_program import attend\n"
        "query = torch.tensor([[[[0.25]]]], dtype=torch.float32)\n"
        "key = torch.tensor([[[[-0.25], [0.75]]]], dtype=torch.float32)\n"
        "value = torch.tensor([[[[0.0], [-0.5]]]], dtype=torch.float32)\n"
        "attn_mask = torch.tensor([[True, False]], dtype=torch.bool)\n"
        "answer = attend(query, key, value, attn_mask=attn_mask, scale=0.5)\n"
        "right = reference(query, key, value, attn_mask=attn_mask, scale=0.5)\n"
        'print("answer", answer)\n'
        'print("right", right)'
    )


def test_gradients_read_so():
    text = written("torch", replace(TINY, gradient=True, scale=0.5))
    assert text.partition("value = ")[2].partition("\n")[2] == (
        "inputs = [query, key, value]\n"
        "weights = torch.tensor([[[[0.25]]]], dtype=torch.float32)\n"
        "for x in inputs:\n"
        "    x.requires_grad_()\n"
        "for attend in (attend, reference):\n"
        "    out = attend(*inputs, scale=0.5)\n"
        "    out = out[0] if isinstance(out, tuple) else out\n"
        "    print(torch.autograd.grad(out, inputs, weights, allow_unused=True))"
    )


def test_gradients_of_jax_read_so():
    text = written("jax", replace(TINY, gradient=True, scale=0.5))
    assert text.startswith("import jax.numpy as jnp\nfrom attention_ref.interop.jax import (\n")
    assert text.partition("value = ")[2].partition("\n")[2] == (
        "inputs = [query, key, value]\n"
        "weights = jnp.array([[[[0.25]]]], dtype=jnp.float32)\n"
        "import jax\n"
        "for attend in (attend, reference):\n"
        "    _, pull = jax.vjp(lambda *inputs: attend(*inputs, scale=0.5), *inputs)\n"
        "    print(pull(weights))"
    )


def test_a_score_mod_is_written_as_a_function():
    text = written("flex", replace(TINY, bias="full", softcap=2.0))
    assert "added = torch.tensor([[[[" in text
    assert (
        "def score_mod(score, b, h, q, k):\n"
        "    return 2.0 * torch.tanh(score / 2.0) + added[b, h, q, k]\n"
        "answer = attend(query, key, value, score_mod=score_mod)\n"
    ) in text
    text = written("flex", replace(TINY, softcap=2.0))
    assert "added" not in text
    assert "    return 2.0 * torch.tanh(score / 2.0)\n" in text
    text = written("flex", replace(TINY, bias="full"))
    assert "    return score + added[b, h, q, k]\n" in text


def test_the_device_is_written():
    text = written("torch", replace(TINY, mask="shared"), device="meta")
    assert text.count("device='meta'") == 4


def test_no_line_is_wider_than_75_columns():
    text = written("torch", replace(TINY, kv_len=60, d_k=5, d_v=5, mask="full", gradient=True))
    assert max(map(len, text.splitlines())) == 75
    assert "]],\n    dtype=torch.float32)\nfor x in inputs:" in text
    text = written("torch", replace(TINY, mask="full", scale=1 / 3))
    assert "answer = attend(query, key, value, attn_mask=attn_mask,\n    scale=0.33333333" in text
    assert "right = reference(query, key, value, attn_mask=attn_mask,\n    scale=0.333333" in text


def test_a_long_name_stays_whole(monkeypatch):
    name = "attend_" * 15
    monkeypatch.setattr(attend, "__qualname__", name)
    text = written("torch")
    assert f"\nanswer = {name}(query,\n    key, value)\n" in text
    compile(text, "", "exec")


@pytest.mark.parametrize(
    ("convention", "terms"),
    [
        ("torch", {"mask": "full", "scale": 0.5, "kv_len": 5}),
        ("torch", {"bias": "infinite", "q_len": 2}),
        ("torch", {"mask": "full", "special": "key"}),
        ("torch_mha", {"mask": "padding", "kv_len": 3}),
        ("flex", {"bias": "full", "softcap": 2.0}),
        ("flash_attn", {"causal": True, "q_len": 2}),
        ("attention_ref", {"sink": True, "special": "value", "mask": "full"}),
    ],
)
def test_it_runs_and_prints_what_is_right(convention, terms):
    case = replace(TINY, **terms)
    judge, _ = judge_of(CONVENTIONS[convention], None, None)
    text = program(judge, attend, case).replace("from test_testing_program import attend\n", "")
    told = {}
    exec(text, {"attend": lambda *_, **__: 0, "print": told.__setitem__})
    right = judge.convention.take_answer(told["right"], case.heads)
    _, (exact,), _ = truth(judge.convention, case)
    np.testing.assert_allclose(right, exact, rtol=1e-6)
    assert told["answer"] == 0
    awkward = "special" in terms or terms.get("bias") == "infinite"
    assert text.startswith("from math import inf, nan\n") == awkward


def test_a_program_of_gradients_prints_those_of_both():
    told = []
    exec(written("torch", replace(TINY, gradient=True, q_len=2)), {"print": told.append})
    mine, right = told
    assert len(mine) == 3
    for one, other in zip(mine, right, strict=True):
        torch.testing.assert_close(one, other)


class Layer(torch.nn.Module):
    def forward(self, query, key, value, **terms):
        return sdpa(query, key, value, **terms)


def test_a_module_is_put_into_its_mode():
    text = written("torch", replace(TINY, mode="train"), Layer())
    head = "# attention is the function that was checked\n"
    assert head in text
    assert "\nattention.train()\nanswer = attention(query, key, value)\n" in text
    assert ".train()" not in written("torch", replace(TINY, mode="train"))


def test_what_cannot_be_imported_is_said_to_be_the_one_that_was_checked():
    def inner(query, key, value):
        return value

    for function in (inner, lambda query, key, value: value, Layer()):
        assert "# attention is the function that was checked\n" in written("torch", TINY, function)


def test_what_stands_in_the_main_module_is_not_imported(monkeypatch):
    monkeypatch.setattr(attend, "__module__", "__main__")
    text = written("torch")
    assert "from test_testing_program" not in text
    assert "# " not in text
    assert "answer = attend(query, key, value)\n" in text
