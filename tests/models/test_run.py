"""The models run through `attention_ref` as they do in `transformers`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gguf", reason="`make test-models` installs what the models need")
transformers = pytest.importorskip("transformers")

from models import run  # noqa: E402
from models.record import REACTIONS, SENTENCES, WORDS  # noqa: E402
from models.weights import MINILM, RXNMAPPER  # noqa: E402

# Both sides compute in float64; 1.8e-14 was measured.
ROUNDING = 3.5e-14


def gap(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


def encoder(folder: Path, kind: str, prefix: str, weights: dict[str, torch.Tensor]):
    """Return the encoder of `transformers` with these weights, in float64."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = getattr(transformers, kind + "Config").from_dict(settings)
    config._attn_implementation = "eager"
    model = getattr(transformers, kind + "Model")(config, add_pooling_layer=False).double().eval()
    own = {name.removeprefix(prefix): weight for name, weight in weights.items()}
    missing, _ = model.load_state_dict(own, strict=False)
    assert missing == []
    return model


@pytest.fixture(scope="module")
def bert():
    folder = MINILM.find().parent
    return encoder(folder, "Bert", "", run._minilm()[1])


@pytest.fixture(scope="module")
def albert():
    folder = RXNMAPPER.find().parent
    return encoder(folder, "Albert", "albert.", run._rxnmapper()[1])


@pytest.fixture(scope="module")
def llama():
    """Return Llama's decoder, whose pairs for the rotation are half a head apart."""
    weights = run._smollm2()[1]
    settings = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5},
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(settings)
    model = model.to_empty(device="cpu").double().eval()
    model.model.rotary_emb = type(model.model.rotary_emb)(settings)
    named = {"lm_head.weight": weights["token_embd.weight"]}
    for name, weight in weights.items():
        for ours, theirs in LLAMA.items():
            name = name.replace(ours, theirs)  # noqa: PLW2901
        if "q_proj" in name or "k_proj" in name:
            pairs = weight.unflatten(0, (-1, 32, 2))
            weight = pairs.transpose(1, 2).flatten(0, 2)  # noqa: PLW2901
        named["model." + name] = weight
    model.load_state_dict(named)
    return model


LLAMA = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "blk": "layers",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_output": "self_attn.o_proj",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "ffn_": "mlp.",
    "gate.": "gate_proj.",
    "up.": "up_proj.",
    "down.": "down_proj.",
}


@torch.no_grad()
@pytest.mark.parametrize("name", SENTENCES)
def test_minilm_is_that_of_transformers(bert, name):
    text = SENTENCES[name][0]
    tokenizer = transformers.BertTokenizerFast.from_pretrained(MINILM.find().parent)
    inputs = tokenizer(text, return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]) == run.minilm_tokens(text)
    theirs = bert(**inputs, output_attentions=True)
    ours = run.minilm(text)
    assert gap(ours.hidden, theirs.last_hidden_state[0]) < ROUNDING
    assert gap(torch.stack(ours.weights), torch.cat(theirs.attentions)) < ROUNDING


@torch.no_grad()
@pytest.mark.parametrize("name", REACTIONS)
def test_rxnmapper_is_that_of_transformers(albert, name):
    text = REACTIONS[name][0]
    vocabulary = run._rxnmapper()[0]
    tokens = run.rxnmapper_tokens(text)
    assert "".join(tokens[1:-1]) == text
    theirs = albert(torch.tensor([[vocabulary[one] for one in tokens]]), output_attentions=True)
    ours = run.rxnmapper(text)
    assert gap(ours.hidden, theirs.last_hidden_state[0]) < ROUNDING
    assert gap(torch.stack(ours.weights), torch.cat(theirs.attentions)) < ROUNDING


@torch.no_grad()
def test_smollm2_is_that_of_transformers(llama):
    text = "The capital of France is"
    ids = run.smollm2_ids(text)
    assert "".join(run.smollm2_tokens(ids)) == text
    theirs = llama(torch.tensor([ids]), output_attentions=True)
    ours = run.smollm2(ids)
    # `transformers` computes sine and cosine in float32: 1.04e-5 and 4.6e-7 were measured.
    assert gap(run.logits(ours), theirs.logits[0]) < 2e-5
    assert gap(torch.stack(ours.weights), torch.cat(theirs.attentions)) < 9e-7


@torch.no_grad()
def test_the_pairing_of_smollm2_matters(monkeypatch):
    ids = run.smollm2_ids(WORDS)
    right = run.smollm2(ids)
    halves = run.rotary_embedding
    monkeypatch.setattr(
        run,
        "rotary_embedding",
        lambda x, **keywords: halves(x, **(keywords | {"layout": "half"})),
    )
    wrong = run.smollm2(ids)
    assert gap(right.weights[0], wrong.weights[0]) > 0.01


def test_a_head_that_is_changed_is_changed_alone():
    def silence(layer: int, weights: torch.Tensor) -> torch.Tensor:
        weights = weights.clone()
        if layer == 2:
            weights[5] = 0
        return weights

    text = SENTENCES["pilot"][0]
    before, after = run.minilm(text), run.minilm(text, silence)
    for layer in range(3):
        assert gap(before.weights[layer], after.weights[layer]) == 0
    assert gap(before.weights[3], after.weights[3]) > 1e-4
    assert np.isfinite(after.hidden.numpy()).all()
