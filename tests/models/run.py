"""Trained models, run through `attention_ref`: the tokens of a text, and what each head does."""

import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import NamedTuple

import gguf
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import gelu, silu

from attention_ref import (
    attention_stages,
    causal_mask,
    expand_kv_heads,
    layer_norm,
    merge_heads,
    rms_norm,
    rotary_embedding,
    rotary_frequencies,
    split_heads,
)
from models.weights import MINILM, RXNMAPPER, SMOLLM2

# Of a layer, and the weights that its heads computed: the weights that they use instead.
Change = Callable[[int, Tensor], Tensor]


class Run(NamedTuple):
    """What a model made of one text, or of one text under each of a batch of changes.

    Of each layer the `weights` `(*batch, heads, length, length)` as computed, before any change,
    and the `lengths` `(*batch, heads, length)` of what each position hands over, a value times its
    head's part of W_O; and `hidden` `(*batch, length, d_model)`, what the last layer returns.
    """

    weights: tuple[Tensor, ...]
    lengths: tuple[Tensor, ...]
    hidden: Tensor


def unchanged(_: int, weights: Tensor) -> Tensor:
    return weights


def _attend(
    x: Tensor,
    p: Mapping[str, Tensor],
    change: Callable[[Tensor], Tensor],
    *,
    heads: int,
    kv_heads: int,
    mask: Tensor | None = None,
    rotary: Callable[[Tensor], Tensor] = lambda x: x,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the attention's output, its weights, and the lengths of what is handed over."""
    query = rotary(split_heads(x @ p["w_q"] + p.get("b_q", 0), heads))
    key = rotary(split_heads(x @ p["w_k"] + p.get("b_k", 0), kv_heads))
    value = split_heads(x @ p["w_v"] + p.get("b_v", 0), kv_heads)
    key, value = expand_kv_heads(key, heads), expand_kv_heads(value, heads)
    weights = attention_stages(query, key, value, mask=mask).weights
    handed_over = value @ p["w_o"].unflatten(0, (heads, -1))
    output = merge_heads(change(weights) @ value) @ p["w_o"] + p.get("b_o", 0)
    return output, weights, torch.linalg.vector_norm(handed_over, dim=-1)


def _run(x: Tensor, layers: list, change: Change) -> Run:
    weights, lengths = [], []
    for number, layer in enumerate(layers):
        x, of_layer, handed_over = layer(x, partial(change, number))
        weights.append(of_layer)
        lengths.append(handed_over)
    return Run(tuple(weights), tuple(lengths), x)


def _as_double(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.double() for name, weight in named.items()}


# ----------------------------------------------------------------------- MiniLM


@cache
def _minilm() -> tuple[Tokenizer, dict[str, Tensor]]:
    path = MINILM.find()
    tokenizer = Tokenizer.from_file(str(path.with_name("tokenizer.json")))
    tokenizer.no_padding()
    return tokenizer, _as_double(load_file(path))


def minilm_tokens(text: str) -> list[str]:
    return _minilm()[0].encode(text).tokens


def minilm(text: str, change: Change = unchanged) -> Run:
    """Run the encoder: BERT's blocks, which normalise after each sum."""
    tokenizer, w = _minilm()
    ids = torch.tensor(tokenizer.encode(text).ids)
    norm = partial(layer_norm, epsilon=1e-12)

    def part(name: str) -> tuple[Tensor, Tensor]:
        return w[name + ".weight"], w[name + ".bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        weight, bias = part(name)
        return x @ weight.T + bias

    def block(number: int, x: Tensor, change: Callable) -> tuple[Tensor, Tensor, Tensor]:
        name = f"encoder.layer.{number}."
        p = {}
        for ours, theirs in _BERT.items():
            weight, p[f"b_{ours}"] = part(f"{name}attention.{theirs}")
            p[f"w_{ours}"] = weight.T
        attended, *seen = _attend(x, p, change, heads=12, kv_heads=12)
        x = norm(x + attended, *part(name + "attention.output.LayerNorm"))
        inner = gelu(linear(x, name + "intermediate.dense"))
        x = norm(x + linear(inner, name + "output.dense"), *part(name + "output.LayerNorm"))
        return x, *seen

    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, *part("embeddings.LayerNorm"))
    return _run(x, [partial(block, number) for number in range(6)], change)


_BERT = {"q": "self.query", "k": "self.key", "v": "self.value", "o": "output.dense"}


# -------------------------------------------------------------------- RXNMapper

_SMILES = re.compile(r"\[[^]]+]|Br|Cl|>>|%\d\d|[A-Za-z0-9()=#.+\-/\\~:*$@?>]")


@cache
def _rxnmapper() -> tuple[dict[str, int], dict[str, Tensor]]:
    path = RXNMAPPER.find()
    names = path.with_name("vocab.txt").read_text(encoding="utf-8").splitlines()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {name: number for number, name in enumerate(names)}, _as_double(weights)


def rxnmapper_tokens(reaction: str) -> list[str]:
    return ["[CLS]", *_SMILES.findall(reaction), "[SEP]"]


def rxnmapper(reaction: str, change: Change = unchanged) -> Run:
    """Run the encoder: ALBERT, whose twelve layers share one set of weights."""
    vocabulary, w = _rxnmapper()
    ids = torch.tensor([vocabulary[token] for token in rxnmapper_tokens(reaction)])
    norm = partial(layer_norm, epsilon=1e-12)

    def part(name: str) -> tuple[Tensor, Tensor]:
        return w[f"albert.{name}.weight"], w[f"albert.{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        weight, bias = part(name)
        return x @ weight.T + bias

    name = "encoder.albert_layer_groups.0.albert_layers.0."
    p = {}
    for ours, theirs in {"q": "query", "k": "key", "v": "value", "o": "dense"}.items():
        weight, p[f"b_{ours}"] = part(f"{name}attention.{theirs}")
        p[f"w_{ours}"] = weight.T

    def block(x: Tensor, change: Callable) -> tuple[Tensor, Tensor, Tensor]:
        attended, *seen = _attend(x, p, change, heads=8, kv_heads=8)
        x = norm(x + attended, *part(name + "attention.LayerNorm"))
        inner = gelu(linear(x, name + "ffn"))
        x = norm(x + linear(inner, name + "ffn_output"), *part(name + "full_layer_layer_norm"))
        return x, *seen

    x = w["albert.embeddings.word_embeddings.weight"][ids]
    x = x + w["albert.embeddings.position_embeddings.weight"][: len(ids)]
    x = x + w["albert.embeddings.token_type_embeddings.weight"][0]
    x = norm(x, *part("embeddings.LayerNorm"))
    return _run(linear(x, "encoder.embedding_hidden_mapping_in"), [block] * 12, change)


# ---------------------------------------------------------------------- SmolLM2


@cache
def _smollm2() -> tuple[Tokenizer, dict[str, Tensor]]:
    reader = gguf.GGUFReader(SMOLLM2.find())
    names = reader.get_field("tokenizer.ggml.tokens").contents()
    merges = reader.get_field("tokenizer.ggml.merges").contents()
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(pair.split(" ")) for pair in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    weights = {
        tensor.name: torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        for tensor in reader.tensors
    }
    return tokenizer, _as_double(weights)


def smollm2_ids(text: str) -> list[int]:
    return _smollm2()[0].encode(text).ids


def smollm2_tokens(ids: list[int]) -> list[str]:
    return [_smollm2()[0].decode([one]) for one in ids]


def smollm2(ids: list[int], change: Change = unchanged) -> Run:
    """Run the decoder: Llama's blocks, three query heads to one key and value head."""
    _, w = _smollm2()
    norm = partial(rms_norm, epsilon=1e-5)
    frequencies = rotary_frequencies(64, base=1e5, like=w["output_norm.weight"])
    # llama.cpp reorders the rows of W_Q and W_K, so that the pairs are neighbours.
    rotary = partial(rotary_embedding, layout="interleaved", frequencies=frequencies)
    mask = causal_mask(len(ids), like=w["output_norm.weight"])

    def block(number: int, x: Tensor, change: Callable) -> tuple[Tensor, Tensor, Tensor]:
        name = f"blk.{number}."
        theirs = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
        p = {f"w_{ours}": w[f"{name}{part}.weight"].T for ours, part in theirs.items()}
        seen = _attend(
            norm(x, w[name + "attn_norm.weight"]),
            p,
            change,
            heads=9,
            kv_heads=3,
            mask=mask,
            rotary=rotary,
        )
        x = x + seen[0]
        inner = norm(x, w[name + "ffn_norm.weight"])
        gate = silu(inner @ w[name + "ffn_gate.weight"].T)
        up = inner @ w[name + "ffn_up.weight"].T
        return x + (gate * up) @ w[name + "ffn_down.weight"].T, *seen[1:]

    x = w["token_embd.weight"][torch.tensor(ids)]
    run = _run(x, [partial(block, number) for number in range(30)], change)
    return run._replace(hidden=norm(run.hidden, w["output_norm.weight"]))


def logits(run: Run) -> Tensor:
    """Return SmolLM2's score of each token as the next, at each position: the embedding, again."""
    return run.hidden @ _smollm2()[1]["token_embd.weight"].T
