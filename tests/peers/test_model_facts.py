"""What pages say about the sizes and masks of models, read from the models themselves."""

import re
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model
from transformers.models.bert.modeling_bert import BertSelfOutput
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from attention_ref import real_map

DOCS = Path(__file__).parents[2] / "docs"
SMALL = re.compile(
    r'"heads": (\d+), "d_k": (\d+), "d_v": (\d+)\}  # d_model (\d+), as in GPT-2 small'
)
SIZE = re.compile(r"d_model +(\d+) = (\d+) x (\d+), (\d+) million parameters")
LAYERS = re.compile(r"\((\d+), (\d+)\)")


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["learn/transformer-block.md", "reference/misconceptions.md"])
def test_gpt2_small_has_the_heads_and_widths_of_the_page(page: str) -> None:
    config = GPT2Config()
    d_head = config.n_embd // config.n_head
    found = [tuple(map(int, numbers)) for numbers in SMALL.findall(read(page))]
    assert found == [(config.n_head, d_head, d_head, config.n_embd)]
    inner = GPT2Model(GPT2Config(n_layer=1)).h[0].mlp.c_fc.weight.shape
    assert f"* {inner[1]}" in read(page), inner


def test_gpt2_has_the_parameters_of_the_page() -> None:
    section = read("reference/misconceptions.md").split("\n## GPT-2 has", 1)[1].split("\n## ", 1)[0]
    layers = {int(d): int(count) for count, d in LAYERS.findall(section)}
    sizes = [tuple(map(int, numbers)) for numbers in SIZE.findall(section)]
    assert [d for d, *_ in sizes] == [768, 1024, 1280, 1600]
    for d, heads, d_head, millions in sizes:
        config = GPT2Config(n_embd=d, n_head=heads, n_layer=layers[d])
        with torch.device("meta"):
            model = GPT2Model(config)
        assert d_head == model.h[0].attn.head_dim
        assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions


def test_gpt2_normalises_before_a_layer_and_bert_after_it() -> None:
    torch.manual_seed(0)
    x = 100 * torch.randn(1, 3, 8)
    config = GPT2Config(n_embd=8, n_head=2, n_layer=1, attn_implementation="eager")
    bert = BertConfig(hidden_size=8, num_attention_heads=2)
    with torch.no_grad():
        kept = GPT2Block(config).eval()(x)
        normed = BertSelfOutput(bert).eval()(torch.randn(1, 3, 8), x)
    kept = kept[0] if isinstance(kept, tuple) else kept
    assert torch.allclose(kept, x, atol=10)
    assert torch.allclose(normed.std(-1, correction=0), torch.ones(1, 3), atol=1e-3)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_bert_sees_later_words_and_gpt2_does_not(name: str) -> None:
    torch.manual_seed(0)
    if name == "bert":
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = BertModel(BertConfig(vocab_size=13, intermediate_size=11, **sizes)).eval()
    else:
        model = GPT2Model(GPT2Config(vocab_size=13, n_embd=8, n_layer=1, n_head=2)).eval()
    with torch.no_grad():
        first, other = (model(torch.tensor([[2, 3, last]]))[0] for last in (5, 7))
    assert torch.equal(first[:, :2], other[:, :2]) == (name == "gpt2")


@pytest.mark.parametrize(
    ("text", "kind"),
    [("bank", "an encoder of {} layers of {}"), ("france", "a causal decoder of {} layers of {}")],
)
def test_the_maps_have_the_layers_and_heads_that_their_page_names(text: str, kind: str) -> None:
    found = real_map(text)
    page = " ".join(read("learn/reading-heads.md").split())
    assert f"**{found.model}** is {kind.format(*found.weights.shape[:2])} heads" in page


def test_the_reaction_model_has_the_layers_and_heads_that_its_page_names() -> None:
    layers, heads = real_map("ester").weights.shape[:2]
    page = " ".join(read("learn/reading-heads.md").split())
    assert f"**RXNMapper**, an encoder of {layers} layers of {heads}," in page
