import numpy as np
import pytest
import torch
from torch import nn

from attention_ref import causal_mask, layer_norm, softmax, tiny_transformer
from attention_ref.torch import TinyTransformer

VOCABULARY, LENGTH = 13, 7


def built(seed=0, **sizes):
    torch.manual_seed(seed)
    return TinyTransformer(VOCABULARY, 12, heads=3, layers=2, **sizes).double()


def test_the_weights_run_in_numpy():
    model, ids = built(), torch.randint(VOCABULARY, (5, LENGTH))
    parameters = {name: weight.numpy() for name, weight in model.state_dict().items()}
    ours, theirs = model.decode(ids), tiny_transformer(ids.numpy(), parameters, heads=3)
    np.testing.assert_allclose(model(ids).detach(), theirs.logits, rtol=1e-11, atol=1e-12)
    for here, there in zip(ours.weights, theirs.weights, strict=True):
        assert there.shape == (5, 3, LENGTH, LENGTH)
        np.testing.assert_allclose(here.detach(), there, rtol=1e-11, atol=1e-12)


def test_the_blocks_one_after_the_other_are_the_model():
    model, ids = built(), torch.randint(VOCABULARY, (5, LENGTH))
    x = model.embedding[ids]
    for block in model.blocks:
        x = block(x, mask=causal_mask(LENGTH, like=x))
    logits = layer_norm(x, model.final_norm["gain"]) @ model.unembedding
    torch.testing.assert_close(logits, model(ids), rtol=1e-11, atol=1e-12)


def test_generating_with_a_cache_is_generating_without():
    model, ids = built(), torch.randint(VOCABULARY, (5, LENGTH))
    expected = ids
    for _ in range(11):
        following = model(expected)[:, -1].argmax(dim=-1, keepdim=True)
        expected = torch.cat([expected, following], dim=1)
    torch.testing.assert_close(model.generate(ids, 11), expected, rtol=0, atol=0)
    torch.testing.assert_close(model.generate(ids[3], 11), expected[3], rtol=0, atol=0)
    assert model.generate(ids, 0) is ids


def test_each_token_is_computed_once(monkeypatch):
    model, lengths = built(), []
    decode = TinyTransformer.decode

    def counted(self, ids, caches=()):
        lengths.append(ids.shape[-1])
        assert not torch.is_grad_enabled()
        return decode(self, ids, caches)

    monkeypatch.setattr(TinyTransformer, "decode", counted)
    model.generate(torch.zeros(2, LENGTH, dtype=torch.int64), 4)
    assert lengths == [LENGTH, 1, 1, 1]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_drawn_tokens_have_the_probability_of_the_softmax(temperature):
    model, draws = built(), 4000
    ids = torch.tensor([[1, 2, 3]]).expand(draws, 3)
    chances = softmax(model(ids[:1])[0, -1], temperature=temperature).detach()
    generator = torch.Generator().manual_seed(0)
    drawn = model.generate(ids, 1, temperature=temperature, generator=generator)[:, -1]
    found = torch.bincount(drawn, minlength=VOCABULARY) / draws
    # Four standard deviations of a frequency; the other temperature is far outside.
    assert ((found - chances).abs() <= 4 * (chances * (1 - chances) / draws).sqrt()).all()
    again = model.generate(
        ids, 1, temperature=temperature, generator=torch.Generator().manual_seed(0)
    )
    assert (again[:, -1] == drawn).all()


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_what_is_generated_has_the_axes_and_the_dtype_of_what_was_given(temperature):
    model = TinyTransformer(1, 12, heads=3, layers=0)  # a vocabulary of one word, and no block
    for shape in ((3,), (2, 3), (5, 2, 3)):
        ids = torch.zeros(shape, dtype=torch.int32)
        found = model.generate(ids, 4, temperature=temperature)
        torch.testing.assert_close(found, torch.zeros(*shape[:-1], 7, dtype=torch.int32))


def learned(attends):
    """Train on sequences that come twice, and return how much of the second time it gets right."""
    length, tokens = 5, 7
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(0)
    model = TinyTransformer(tokens, 16, heads=2, layers=2, d_ff=16)
    for block in model.blocks:
        if not attends:  # what attention finds is multiplied by zero, and stays so
            block.attention.w_o.data.zero_()
            block.attention.w_o.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=0.01)
    for _ in range(80):
        once = torch.randint(tokens, (16, length), generator=generator)
        twice = torch.cat([once, once], dim=1)
        logits = model(twice[:, :-1])[:, length - 1 :]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), once.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    once = torch.randint(tokens, (128, length), generator=generator)
    return (model.generate(once, length)[:, length:] == once).double().mean()


@pytest.mark.no_shape_checks  # for speed
def test_it_learns_to_copy_and_cannot_without_attention():
    assert learned(attends=True) > 0.95
    assert learned(attends=False) < 0.2  # chance is 1 in 7
