"""The layers of `attention_ref.torch`, beside PyTorch's own and beside the functions."""

import importlib
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from attention_ref import (
    attention_layer,
    causal_mask,
    expand_kv_heads,
    latent_attention,
    merge_heads,
    padding_mask,
    post_norm_transformer_block,
    rms_norm,
    rotary_embedding,
    split_heads,
    transformer_block,
)
from attention_ref.torch import (
    CrossAttention,
    GroupedQueryAttention,
    LatentAttention,
    MultiHeadAttention,
    PostNormTransformerBlock,
    TinyTransformer,
    TransformerBlock,
)

BATCH, LENGTH, KV_LEN, D_MODEL, D_CONTEXT, HEADS, KV_HEADS, VOCABULARY = 2, 7, 5, 12, 11, 6, 3, 13
ROTARY = partial(rotary_embedding, layout="half")
LATENT = {"d_latent": 5, "d_query_latent": 7, "d_nope": 3, "d_rotary": 4, "d_v": 8}
SELF = {
    "multi-head": lambda: MultiHeadAttention(D_MODEL, heads=HEADS, biases=True),
    "rotary": lambda: MultiHeadAttention(D_MODEL, heads=HEADS, rotary=ROTARY),
    "grouped": lambda: GroupedQueryAttention(
        D_MODEL, heads=HEADS, kv_heads=KV_HEADS, biases=True, rotary=ROTARY
    ),
    "latent": lambda: LatentAttention(D_MODEL, heads=HEADS, **LATENT, layout="interleaved"),
    "block": lambda: TransformerBlock(
        D_MODEL, heads=HEADS, kv_heads=KV_HEADS, d_ff=17, biases=True, rotary=ROTARY
    ),
    "post-norm block": lambda: PostNormTransformerBlock(D_MODEL, heads=HEADS, rotary=ROTARY),
}
TIGHT = {"rtol": 1e-11, "atol": 1e-12}


def made(build, seed=0, dtype=torch.float64):
    """Return a layer none of whose weights is zero or one."""
    torch.manual_seed(seed)
    layer = build()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.to(dtype)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def arrays(layer):
    return {name: weight.numpy() for name, weight in layer.state_dict().items()}


@pytest.mark.parametrize("build", SELF.values(), ids=SELF)
def test_evaluation_computes_what_training_does(build):
    """A mask that only training applies would show the future where it counts."""
    layer, x = made(build), draw(BATCH, LENGTH, D_MODEL)
    mask = causal_mask(LENGTH, like=x)
    trained = layer.train()(x, mask=mask)
    assert torch.equal(layer.eval()(x, mask=mask), trained)
    assert not torch.equal(layer(x), trained)


# Beside nn.MultiheadAttention


def theirs(biases=True, seed=0, **options):
    torch.manual_seed(seed)
    module = nn.MultiheadAttention(D_MODEL, HEADS, bias=biases, **options).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_self_attention_is_that_of_pytorch(biases, batch_first, masked):
    module = theirs(biases, batch_first=batch_first)
    ours = MultiHeadAttention.from_torch(module)
    x = draw(BATCH, LENGTH, D_MODEL).requires_grad_()
    mask, options = None, {}
    if masked:
        seen = padding_mask(torch.tensor([4, LENGTH]), LENGTH)[:, None]
        mask = seen & causal_mask(LENGTH, like=x)
        options = {"attn_mask": ~causal_mask(LENGTH, like=x), "key_padding_mask": ~seen[:, 0, 0]}
    turned = x if batch_first else x.transpose(0, 1)
    expected, _ = module(turned, turned, turned, **options)
    expected = expected if batch_first else expected.transpose(0, 1)
    output = ours(x, mask=mask)
    torch.testing.assert_close(output, expected, **TIGHT)
    if masked:
        assert (ours(x, mask=~mask) - expected).abs().max() > 0.1
    # Their packed gradient is our four, side by side.
    module_gradients = torch.autograd.grad((expected**2).sum(), [x, *module.parameters()])
    gradients = torch.autograd.grad((output**2).sum(), [x, *ours.parameters()])
    named = dict(zip(["x", *dict(ours.named_parameters())], gradients, strict=True))
    packed = torch.cat([named[f"w_{n}"].T for n in "qkv"]), named["w_o"].T
    got = [named["x"], packed[0]]
    got += [torch.cat([named[f"b_{n}"] for n in "qkv"])] if biases else []
    got += [packed[1]]
    got += [named["b_o"]] if biases else []
    for ours_, theirs_ in zip(got, module_gradients, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("d_context", [D_CONTEXT, D_MODEL])
def test_cross_attention_is_that_of_pytorch(biases, d_context):
    module = theirs(biases, kdim=d_context, vdim=d_context, batch_first=True)
    ours = CrossAttention.from_torch(module)
    x = draw(BATCH, LENGTH, D_MODEL).requires_grad_()
    context = draw(BATCH, KV_LEN, d_context, seed=1).requires_grad_()
    mask = padding_mask(torch.tensor([3, KV_LEN]), KV_LEN)[:, None]
    expected, _ = module(x, context, context, key_padding_mask=~mask[:, 0, 0])
    output = ours(x, context, mask=mask)
    torch.testing.assert_close(output, expected, **TIGHT)
    for ours_, theirs_ in zip(
        torch.autograd.grad((output**2).sum(), [x, context]),
        torch.autograd.grad((expected**2).sum(), [x, context]),
        strict=True,
    ):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (MultiHeadAttention, {}),
        (CrossAttention, {}),
        (CrossAttention, {"kdim": D_CONTEXT, "vdim": D_CONTEXT}),
    ],
)
def test_there_and_back_gives_the_same_weights(layer, options, biases):
    module = theirs(biases, **options).eval()
    ours = layer.from_torch(module)
    back = ours.to_torch()
    assert (ours.training, back.training, back.batch_first) == (False, False, True)
    for name, weight in module.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], weight, rtol=0, atol=0)
    for (name, weight), other in zip(
        ours.state_dict().items(), layer.from_torch(back).parameters(), strict=True
    ):
        torch.testing.assert_close(other, weight, rtol=0, atol=0, msg=name)
    # Copies: training one does not change the other.
    before = module.out_proj.weight.clone()
    with torch.no_grad():
        for layer_ in (ours, back):
            for parameter in layer_.parameters():
                parameter.zero_()
    torch.testing.assert_close(module.out_proj.weight, before, rtol=0, atol=0)


def test_a_module_is_on_the_device_of_its_layer():
    module = MultiHeadAttention(D_MODEL, heads=HEADS).to("meta").to_torch()
    assert {one.device.type for one in module.parameters()} == {"meta"}


@pytest.mark.parametrize("build", SELF.values(), ids=SELF)
def test_one_sequence_needs_no_batch_to_decode(build):
    layer, x = made(build), draw(BATCH, LENGTH, D_MODEL)
    whole, alone = layer.decode(x)[0], layer.decode(x[0])[0]
    torch.testing.assert_close(alone, whole[0], **TIGHT)


def test_a_query_that_may_see_nothing():
    """PyTorch's module gives NaN if weights are asked for, and the bias of the output if not."""
    module = theirs(batch_first=True)
    ours = MultiHeadAttention.from_torch(module)
    x = draw(BATCH, LENGTH, D_MODEL)
    nothing = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
    output = ours(x, mask=nothing)
    torch.testing.assert_close(output, module.out_proj.bias.expand_as(output), rtol=0, atol=0)
    assert module(x, x, x, attn_mask=~nothing)[0].isnan().all()
    quick, _ = module(x, x, x, attn_mask=~nothing, need_weights=False)
    torch.testing.assert_close(quick, output, **TIGHT)


REFUSED = [
    (MultiHeadAttention, {"add_bias_kv": True}, "module must have add_bias_kv=False, got True"),
    (CrossAttention, {"add_zero_attn": True}, "module must have add_zero_attn=False, got True"),
    (
        MultiHeadAttention,
        {"dropout": 0.1},
        "module must have dropout=0.0, got 0.1: set module.dropout = 0.0 for what it computes "
        "in eval mode",
    ),
    (
        MultiHeadAttention,
        {"kdim": 5, "vdim": 7},
        "module must have kdim and vdim of embed_dim=12, got 5 and 7: only CrossAttention takes "
        "others",
    ),
    (
        CrossAttention,
        {"kdim": 5, "vdim": 7},
        "module must have kdim equal to vdim, as one context gives keys and values, got 5 and 7",
    ),
]


@pytest.mark.parametrize(("layer", "options", "message"), REFUSED)
def test_what_has_no_counterpart_is_refused(layer, options, message):
    module = nn.MultiheadAttention(D_MODEL, HEADS, **options)
    with pytest.raises(ValueError, match="module must have") as raised:
        layer.from_torch(module)
    assert str(raised.value) == message


# Beside the functions


@pytest.mark.parametrize("name", SELF)
def test_the_weights_give_the_same_numbers_in_numpy(name):
    layer = made(SELF[name])
    x, mask = draw(BATCH, LENGTH, D_MODEL), causal_mask(LENGTH)
    parameters, there = arrays(layer), x.numpy()
    if name == "latent":
        expected = latent_by_hand(there, parameters, mask)
    elif "block" in name:
        function = transformer_block if name == "block" else post_norm_transformer_block
        heads = {"heads": HEADS, "kv_heads": layer.attention.kv_heads}
        expected = function(there, parameters, **heads, mask=mask, rotary=ROTARY).output
    else:
        heads = {"heads": HEADS, "kv_heads": layer.kv_heads, "rotary": layer.rotary}
        expected = attention_layer(there, parameters, **heads, mask=mask).output
    output = layer(x, mask=torch.asarray(mask)).detach().numpy()
    np.testing.assert_allclose(output, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", SELF)
def test_a_bias_of_minus_infinity_hides_as_a_mask_does(name):
    layer, x = made(SELF[name]), draw(BATCH, LENGTH, D_MODEL)
    mask = causal_mask(LENGTH, like=x)
    bias = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(~mask, -torch.inf)
    torch.testing.assert_close(layer(x, bias=bias), layer(x, mask=mask), **TIGHT)


def test_cross_attention_adds_a_bias():
    layer = made(lambda: CrossAttention(D_MODEL, heads=HEADS, d_context=D_CONTEXT))
    x, context = draw(BATCH, LENGTH, D_MODEL), draw(BATCH, KV_LEN, D_CONTEXT, seed=1)
    bias = draw(HEADS, LENGTH, KV_LEN, seed=2)[None]
    expected = attention_layer(
        x.numpy(), arrays(layer), heads=HEADS, context=context.numpy(), bias=bias.numpy()
    ).output
    output = layer(x, context, bias=bias).detach().numpy()
    np.testing.assert_allclose(output, expected, rtol=1e-10, atol=1e-11)


def latent_by_hand(x, p, mask):
    """Follow the paper's equations, with the two norms that its models add."""
    query_latent = rms_norm(x @ p["w_dq"], p["query_gain"])
    latent = rms_norm(x @ p["w_dkv"], p["latent_gain"])[:, None]
    turn = partial(rotary_embedding, layout="interleaved")
    return (
        merge_heads(
            latent_attention(
                split_heads(query_latent @ p["w_uq"], HEADS),
                turn(split_heads(query_latent @ p["w_qr"], HEADS)),
                latent,
                turn((x @ p["w_kr"])[:, None]),
                p["w_uk"],
                p["w_uv"],
                mask=mask,
            )
        )
        @ p["w_o"]
    )


def test_grouped_heads_are_shared_by_neighbours():
    """A multi-head layer whose key and value columns are repeated gives the same."""
    grouped = made(SELF["grouped"])
    full = MultiHeadAttention(D_MODEL, heads=HEADS, biases=True, rotary=ROTARY).double()
    weights = dict(grouped.state_dict())
    for name in ("w_k", "w_v", "b_k", "b_v"):
        columns = weights[name].reshape(-1, KV_HEADS, D_MODEL // HEADS)
        repeated = expand_kv_heads(columns.transpose(0, 1), HEADS).transpose(0, 1)
        weights[name] = repeated.reshape(*weights[name].shape[:-1], D_MODEL)
    full.load_state_dict(weights)
    x = draw(BATCH, LENGTH, D_MODEL)
    torch.testing.assert_close(grouped(x), full(x), **TIGHT)


@pytest.mark.parametrize("steps", [[1] * LENGTH, [4, 3], [LENGTH]])
@pytest.mark.parametrize("name", SELF)
def test_decoding_equals_the_whole(name, steps):
    layer = made(SELF[name])
    x = draw(BATCH, LENGTH, D_MODEL)
    whole = layer(x, mask=causal_mask(LENGTH, like=x))
    cache, outputs = None, []
    for part in x.split(steps, dim=1):
        output, cache = layer.decode(part, cache)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole, **TIGHT)
    assert cache.position == LENGTH


def test_cross_attention_remembers_its_context():
    layer = made(lambda: CrossAttention(D_MODEL, heads=HEADS, d_context=D_CONTEXT, biases=True))
    x, context = draw(BATCH, LENGTH, D_MODEL), draw(BATCH, KV_LEN, D_CONTEXT, seed=1)
    mask = padding_mask(torch.tensor([3, KV_LEN]), KV_LEN)[:, None]
    whole = layer(x, context, mask=mask)
    cache = layer.remember(context)
    outputs = [layer.decode(row, cache, mask=mask) for row in x.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole, **TIGHT)
    assert cache.key.shape == (BATCH, HEADS, KV_LEN, D_MODEL // HEADS)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", SELF)
def test_the_future_changes_nothing(name, mode):
    layer = getattr(made(SELF[name]), mode)()
    x = draw(BATCH, LENGTH, D_MODEL)
    mask = causal_mask(LENGTH, like=x)
    whole, decoded = layer(x, mask=mask), layer.decode(x)[0]
    for place in range(1, LENGTH):
        other = x.clone()
        other[:, place:] += 100
        for before, after in (
            (whole, layer(other, mask=mask)),
            (decoded, layer.decode(other)[0]),
        ):
            torch.testing.assert_close(after[:, :place], before[:, :place], rtol=0, atol=0)
            assert (after[:, place:] - before[:, place:]).abs().amax(dim=-1).min() > 1e-3


@pytest.mark.parametrize("name", SELF)
def test_gradients_by_finite_differences(name):
    layer = made(SELF[name])
    x = draw(1, 3, D_MODEL).requires_grad_()
    names, weights = zip(*layer.named_parameters(), strict=True)
    # A random direction through all weights at once, as each alone would take minutes.
    directions = [draw(*w.shape, seed=i) for i, w in enumerate(weights)]

    def run(x, step):
        moved = [w + step * d for w, d in zip(weights, directions, strict=True)]
        mask = causal_mask(3, like=x)
        return functional_call(layer, dict(zip(names, moved, strict=True)), x, {"mask": mask})

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, step), fast_mode=True)
    gradients = torch.autograd.grad(layer(x).square().sum(), weights)
    assert all(gradient.abs().max() > 0 for gradient in gradients if gradient.ndim > 1)


def error(output, exact):
    return (output.double() - exact).abs().max() / exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", SELF)
def test_low_precision_stays_and_is_as_exact_as_pytorchs(name, dtype):
    x = draw(BATCH, LENGTH, D_MODEL, dtype=dtype)
    exact, low = (made(SELF[name]).to(dtype).to(kind) for kind in (torch.float64, dtype))
    mask = causal_mask(LENGTH, like=x)
    whole, expected = low(x, mask=mask), exact(x.double(), mask=mask)
    output, cache = low.decode(x)
    assert whole.dtype == output.dtype == cache.key.dtype == cache.value.dtype == dtype
    peer, wide = (theirs(batch_first=True).to(dtype).to(kind) for kind in (dtype, torch.float64))
    allowed = 2 * error(
        *(m(x, x, x, attn_mask=~mask)[0] for m, x in ((peer, x), (wide, x.double())))
    )
    assert 0 < error(whole, expected) <= allowed
    assert 0 < error(output, expected) <= allowed


@pytest.mark.parametrize("name", [*SELF, "tiny"])
def test_a_saved_state_is_loaded_whole(name, tmp_path):
    build = SELF.get(name, lambda: TinyTransformer(VOCABULARY, D_MODEL, heads=3, layers=2))
    layer, other = made(build, seed=1), made(build, seed=2)
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    x = torch.arange(LENGTH) if name == "tiny" else draw(BATCH, LENGTH, D_MODEL)
    torch.testing.assert_close(other(x), layer(x), rtol=0, atol=0)


def test_how_weights_begin():
    torch.manual_seed(0)
    block = TransformerBlock(40, heads=5, kv_heads=1, d_ff=160, biases=True)
    for name, weight in block.state_dict().items():
        if name.endswith("gain"):
            assert (weight == 1).all()
        elif weight.ndim == 1:
            assert (weight == 0).all()
        else:
            bound = (6 / sum(weight.shape)) ** 0.5
            assert 0.95 * bound < weight.abs().max() <= bound
            assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_sizes_that_are_not_given():
    block = TransformerBlock(D_MODEL, heads=2)
    assert block.feed_forward["w_in"].shape == (D_MODEL, 4 * D_MODEL)
    assert block.attention.w_k.shape == (D_MODEL, D_MODEL)
    sizes = LATENT | {"d_v": None}
    latent = LatentAttention(D_MODEL, heads=2, **sizes, layout="half")
    assert latent.w_uv.shape == latent.w_uk.shape
    assert CrossAttention(D_MODEL, heads=2).w_v.shape == (D_MODEL, D_MODEL)


@pytest.mark.parametrize(
    "layer",
    [
        MultiHeadAttention(D_MODEL, heads=HEADS),
        GroupedQueryAttention(D_MODEL, heads=HEADS, kv_heads=KV_HEADS),
        CrossAttention(D_MODEL, heads=HEADS),
        TransformerBlock(D_MODEL, heads=HEADS),
        PostNormTransformerBlock(D_MODEL, heads=HEADS),
    ],
)
def test_biases_are_had_for_the_asking_alone(layer):
    assert not [name for name in layer.state_dict() if name.rpartition(".")[2].startswith("b_")]


def test_a_block_with_biases_has_them_everywhere():
    block = SELF["block"]()
    assert {name: tuple(weight.shape) for name, weight in block.state_dict().items()} == {
        **{f"attention.{name}": (12, 12) for name in ("w_q", "w_o")},
        **{f"attention.{name}": (12, 6) for name in ("w_k", "w_v")},
        **{f"attention.{name}": (12,) for name in ("b_q", "b_o")},
        **{f"attention.{name}": (6,) for name in ("b_k", "b_v")},
        **{f"attention_norm.{name}": (12,) for name in ("gain", "shift")},
        **{f"feed_forward_norm.{name}": (12,) for name in ("gain", "shift")},
        "feed_forward.w_in": (12, 17),
        "feed_forward.b_in": (17,),
        "feed_forward.w_out": (17, 12),
        "feed_forward.b_out": (12,),
    }


def test_the_blocks_of_a_model_have_the_width_that_is_given():
    model = TinyTransformer(VOCABULARY, D_MODEL, heads=3, layers=2, d_ff=17)
    widths = [block.feed_forward["w_in"].shape for block in model.blocks]
    assert widths == [(D_MODEL, 17), (D_MODEL, 17)]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("torch", "attention_ref.torch needs PyTorch, which is not installed: "),
        ("jaxtyping", "import of jaxtyping halted; None in sys.modules"),
    ],
)
def test_the_layers_say_what_is_missing(monkeypatch, missing, message):
    for name in [one for one in sys.modules if one.startswith("attention_ref.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=message) as raised:
        importlib.import_module("attention_ref.torch")
    assert raised.value.name == missing


# What a person gets wrong


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: MultiHeadAttention(D_MODEL, heads=5),
            ValueError,
            "heads must divide d_model=12, got 5",
        ),
        (
            lambda: GroupedQueryAttention(D_MODEL, heads=6, kv_heads=4),
            ValueError,
            "kv_heads must divide heads=6, got 4",
        ),
        (
            lambda: CrossAttention(D_MODEL, heads=2.0),
            TypeError,
            "heads must be an integer, got float",
        ),
        (
            lambda: CrossAttention(D_MODEL, heads=2, d_context=0),
            ValueError,
            "d_context must be at least 1, got 0",
        ),
        (
            lambda: LatentAttention(D_MODEL, heads=2, **LATENT | {"d_rotary": 3}, layout="half"),
            ValueError,
            "d_rotary must be even, as features turn in pairs, got 3",
        ),
        (
            lambda: LatentAttention(D_MODEL, heads=2, **LATENT, layout="halves"),
            ValueError,
            'layout must be "interleaved" or "half", got \'halves\'',
        ),
        (
            lambda: SELF["latent"]()(torch.zeros(6, 5, 12), mask=torch.ones(6, 5, 5).bool()),
            ValueError,
            "mask must have shape (q_len, kv_len) or (*batch, heads, q_len, kv_len), got "
            "(6, 5, 5): write mask[:, None] for one a batch item, mask[None] for one a head",
        ),
        (
            lambda: SELF["latent"]()(torch.zeros(6, 5, 12), bias=torch.zeros(6, 5, 5)),
            ValueError,
            "bias must have shape (q_len, kv_len) or (*batch, heads, q_len, kv_len), got "
            "(6, 5, 5): write bias[:, None] for one a batch item, bias[None] for one a head",
        ),
        (
            lambda: MultiHeadAttention(D_MODEL, heads=2)(torch.zeros(2, 5, 11)),
            ValueError,
            "w_q must have shape (d_model=11, heads=2 * d_k), got (12, 12)",
        ),
        (
            lambda: MultiHeadAttention(D_MODEL, heads=2)(draw(2, 5, D_MODEL)),
            TypeError,
            "w_q must have the dtype of x (float64), got float32",
        ),
        (
            lambda: MultiHeadAttention.from_torch(nn.Linear(2, 3)),
            TypeError,
            "module must be an nn.MultiheadAttention, got Linear",
        ),
        (
            lambda: SELF["rotary"]().to_torch(),
            ValueError,
            "rotary must be None, as nn.MultiheadAttention turns nothing, got one",
        ),
        (
            lambda: TinyTransformer(VOCABULARY, D_MODEL, heads=2, layers=-1),
            ValueError,
            "layers must be at least 0, got -1",
        ),
        (
            lambda: TinyTransformer(13, 12, heads=2, layers=1).generate(torch.zeros(2, 0).int(), 1),
            ValueError,
            "ids must have at least one token, got shape (2, 0)",
        ),
        (
            lambda: TinyTransformer(13, 12, heads=2, layers=1).generate(torch.tensor([3]), -1),
            ValueError,
            "n must be at least 0, got -1",
        ),
        (
            lambda: CrossAttention(0, heads=1),
            ValueError,
            "d_model must be at least 1, got 0",
        ),
        (
            lambda: CrossAttention(12.0, heads=2),
            TypeError,
            "d_model must be an integer, got float",
        ),
        (
            lambda: CrossAttention(D_MODEL, heads=0),
            ValueError,
            "heads must be at least 1, got 0",
        ),
        (
            lambda: CrossAttention(D_MODEL, heads=5),
            ValueError,
            "heads must divide d_model=12, got 5",
        ),
        (
            lambda: CrossAttention(D_MODEL, heads=2, d_context=5.0),
            TypeError,
            "d_context must be an integer, got float",
        ),
        (
            lambda: GroupedQueryAttention(0, heads=1, kv_heads=1),
            ValueError,
            "d_model must be at least 1, got 0",
        ),
        (
            lambda: GroupedQueryAttention(12.0, heads=2, kv_heads=1),
            TypeError,
            "d_model must be an integer, got float",
        ),
        (
            lambda: GroupedQueryAttention(D_MODEL, heads=0, kv_heads=1),
            ValueError,
            "heads must be at least 1, got 0",
        ),
        (
            lambda: GroupedQueryAttention(D_MODEL, heads=2, kv_heads=0),
            ValueError,
            "kv_heads must be at least 1, got 0",
        ),
        (
            lambda: GroupedQueryAttention(D_MODEL, heads=2, kv_heads=1.0),
            TypeError,
            "kv_heads must be an integer, got float",
        ),
        (
            lambda: TransformerBlock(D_MODEL, heads=2, d_ff=0),
            ValueError,
            "d_ff must be at least 1, got 0",
        ),
        (
            lambda: TransformerBlock(D_MODEL, heads=2, d_ff=1.5),
            TypeError,
            "d_ff must be an integer, got float",
        ),
        (
            lambda: LatentAttention(D_MODEL, heads=2, **LATENT | {"d_latent": 0}, layout="half"),
            ValueError,
            "d_latent must be at least 1, got 0",
        ),
        (
            lambda: LatentAttention(D_MODEL, heads=2, **LATENT | {"d_v": 1.5}, layout="half"),
            TypeError,
            "d_v must be an integer, got float",
        ),
        (
            lambda: TinyTransformer(0, D_MODEL, heads=2, layers=1),
            ValueError,
            "vocabulary must be at least 1, got 0",
        ),
        (
            lambda: TinyTransformer(13.0, D_MODEL, heads=2, layers=1),
            TypeError,
            "vocabulary must be an integer, got float",
        ),
        (
            lambda: TinyTransformer(13, D_MODEL, heads=2, layers=1.0),
            TypeError,
            "layers must be an integer, got float",
        ),
        (
            lambda: TinyTransformer(13, 12, heads=2, layers=1).generate(torch.tensor([3]), 1.0),
            TypeError,
            "n must be an integer, got float",
        ),
        (
            lambda: SELF["latent"]()(torch.zeros(2, 5, 11)),
            ValueError,
            "x must have shape (..., length, d_model=12), got (2, 5, 11)",
        ),
        (
            lambda: SELF["latent"]().decode(torch.zeros(12)),
            ValueError,
            "x must have shape (..., length, d_model=12), got (12,)",
        ),
        (
            lambda: MultiHeadAttention(D_MODEL, heads=2).decode(None),
            TypeError,
            "x must be an array (NumPy, PyTorch, ...), got NoneType",
        ),
        (
            lambda: TransformerBlock(D_MODEL, heads=2).decode(torch.zeros(12)),
            ValueError,
            "x must have shape (..., length, d_model=12), got (12,)",
        ),
        (
            lambda: CrossAttention(D_MODEL, heads=2, d_context=5).remember(torch.zeros(2, 7, 12)),
            ValueError,
            "context must have shape (..., length, d_context=5), got (2, 7, 12)",
        ),
        (
            lambda: CrossAttention(D_MODEL, heads=2).decode([1.0], None),
            TypeError,
            "x must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: TinyTransformer(13, 12, heads=2, layers=1).generate(torch.tensor(3), 1),
            ValueError,
            "ids must have at least one token, got shape ()",
        ),
        (
            lambda: TinyTransformer(13, 12, heads=2, layers=1).generate([3], 1),
            TypeError,
            "ids must be an array (NumPy, PyTorch, ...), got list",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
