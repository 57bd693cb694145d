"""What a reader can import: listed, documented, tried, and reached by one path alone."""

import doctest
import importlib
import inspect
import pkgutil
import re
import types

import pytest

import attention_ref

SIGNATURES = """
hard_lookup(query, keys, values)
soft_lookup(query, keys, values, *, temperature=1.0)
softmax(x, axis=-1, *, temperature=1.0)
masked_softmax(scores, mask, axis=-1)
logsumexp(x, axis=-1)
attention_scores(query, key, *, scale=None)
attention_weights(query, key, *, mask=None, bias=None, scale=None, softcap=None, sink=None)
scaled_dot_product_attention(query, key, value, *, mask=None, bias=None, scale=None, softcap=None, sink=None)
attention_stages(query, key, value, *, mask=None, bias=None, scale=None, softcap=None, sink=None)
attention_backward(gradient, query, key, value, *, mask=None, bias=None, scale=None, softcap=None, sink=None)
causal_mask(q_len, kv_len=None, *, q_start=None, like=None)
sliding_window_mask(q_len, kv_len=None, *, left, right=0, q_start=None, like=None)
padding_mask(lengths, kv_len)
prefix_mask(q_len, kv_len=None, *, prefix, q_start=None, like=None)
document_mask(query_ids, key_ids=None)
split_heads(x, heads)
merge_heads(x)
expand_kv_heads(x, heads)
multi_head_attention(x, w_q, w_k, w_v, w_o, *, heads, kv_heads=None, context=None, mask=None, bias=None, scale=None, softcap=None, sink=None)
alibi_bias(slopes, q_len, kv_len=None, *, q_start=None)
alibi_slopes(heads, *, like=None)
linear_attention(query, key, value, *, decay=None, beta=None, scale=None, state=None)
linear_attention_chunked(query, key, value, *, decay=None, beta=None, scale=None, state=None, chunk_size=64)
linear_attention_recurrent(query, key, value, *, decay=None, beta=None, scale=None, state=None)
linear_frequency_scaling(frequencies, *, factor)
llama3_frequency_scaling(frequencies, *, factor, low_freq_factor, high_freq_factor, original_length)
ntk_frequency_scaling(frequencies, *, factor)
relative_position_bias(table, q_len, kv_len=None, *, bidirectional, max_distance, q_start=None)
relative_position_bucket(relative_position, *, bidirectional, num_buckets, max_distance)
rotary_embedding(x, *, layout, positions=0, d_rotary=None, frequencies=None)
rotary_frequencies(d_rotary, *, base=10000.0, like=None)
rotate_pairs(x, cos, sin, *, layout)
sinusoidal_encoding(length, d_model, *, like=None)
yarn_attention_factor(factor, *, mscale=1.0)
yarn_frequency_scaling(frequencies, *, factor, original_length, beta_fast=32.0, beta_slow=1.0)
attention_backward_flops(pairs, *, heads, d_k, d_v)
attention_bytes(q_len, kv_len, *, heads, kv_heads, d_k, d_v, itemsize)
attention_flops(pairs, *, heads, d_k, d_v)
flash_attention_backward_flops(pairs, *, heads, d_k, d_v)
flash_attention_bytes(q_len, kv_len, *, heads, kv_heads, d_k, d_v, itemsize, q_tile)
kv_cache_bytes(length, *, layers, kv_heads, d_k, d_v, itemsize)
latent_cache_bytes(length, *, layers, d_latent, d_rotary, itemsize)
projection_flops(q_len, kv_len, *, d_model, heads, kv_heads, d_k, d_v)
visible_pairs(q_len, kv_len=None, *, left=None, right=0, q_start=None)
heatmap(weights, *, rows=None, columns=None, title=None)
"""  # noqa: E501
FUNCTIONS = [name for name in attention_ref.__all__ if name[0].islower()]
CLASSES = [name for name in attention_ref.__all__ if name[0].isupper()]


def test_every_signature_is_as_promised():
    found = set()
    for name in FUNCTIONS:
        signature = inspect.signature(getattr(attention_ref, name))
        bare = [
            p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()
        ]
        found.add(name + str(inspect.Signature(bare)))
    assert set(SIGNATURES.strip().splitlines()) <= found


def test_the_classes_are_as_promised():
    assert set(CLASSES) >= {"AttentionStages", "Heatmap"}
    fields = ("scores", "capped", "biased", "weights", "logsumexp", "output")
    assert attention_ref.AttentionStages._fields == fields


def test_nothing_else_is_public():
    public = {name for name in vars(attention_ref) if not name.startswith("_")}
    assert public == set(attention_ref.__all__)
    assert len(attention_ref.__all__) == len(set(attention_ref.__all__))


def test_every_object_has_one_path():
    for module in pkgutil.iter_modules(attention_ref.__path__):
        assert module.name.startswith("_"), f"{module.name} would be a second path"
    objects = [getattr(attention_ref, name) for name in attention_ref.__all__]
    assert not any(isinstance(found, types.ModuleType) for found in objects)
    assert len({id(found) for found in objects}) == len(objects)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_documented(name):
    function = getattr(attention_ref, name)
    text = inspect.getdoc(function)
    headings = re.findall(r"^(Args|Returns|Raises|Complexity|Examples|References):", text, re.M)
    expected = ["Args", "Returns", "Raises", "Complexity", "Examples", "References"]
    assert headings == [heading for heading in expected if heading in headings]
    assert set(expected) - set(headings) <= {"References"}
    arguments = text.partition("Args:\n")[2].partition("\nReturns:")[0]
    described = re.findall(r"^    (\w+): \S", arguments, re.M)
    assert described == list(inspect.signature(function).parameters)
    first = text.splitlines()[0]
    assert first.endswith((".", ":")) or ": " in first
    assert re.search(r"^    >>> ", text, re.M)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_documented(name):
    text = inspect.getdoc(getattr(attention_ref, name))
    for field in inspect.signature(getattr(attention_ref, name)).parameters:
        assert f"    {field}: " in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_example_is_true(name):
    function = getattr(attention_ref, name)
    module = importlib.import_module(function.__module__)
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(function, name, module, globs=vars(module).copy())
    output = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(example, out=output.append)
    assert failed == 0, "".join(output)
    assert tried > 0
