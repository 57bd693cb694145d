"""What a reader can import: listed, documented, tried, and reached by one path alone."""

import doctest
import importlib
import inspect
import pkgutil
import re
import types

import pytest

import attention_ref
import attention_ref.torch

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
streaming_mask(q_len, kv_len=None, *, left, sink_tokens, q_start=None, like=None)
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
yarn_frequency_scaling(frequencies, *, factor, original_length, beta_fast=32.0, beta_slow=1.0, truncate=True)
attention_backward_flops(pairs, *, heads, d_k, d_v)
attention_bytes(q_len, kv_len, *, heads, kv_heads, d_k, d_v, itemsize)
attention_flops(pairs, *, heads, d_k, d_v)
flash_attention_backward_flops(pairs, *, heads, d_k, d_v)
flash_attention_bytes(q_len, kv_len, *, heads, kv_heads, d_k, d_v, itemsize, q_tile)
kv_cache_bytes(length, *, layers, kv_heads, d_k, d_v, itemsize)
latent_attention(query, rotary_query, latent, rotary_key, w_uk, w_uv, *, mask=None, bias=None, scale=None, softcap=None, sink=None)
latent_attention_absorbed(query, rotary_query, latent, rotary_key, w_uk, w_uv, *, mask=None, bias=None, scale=None, softcap=None, sink=None)
latent_cache_bytes(length, *, layers, d_latent, d_rotary, itemsize)
projection_flops(q_len, kv_len, *, d_model, heads, kv_heads, d_k, d_v)
visible_pairs(q_len, kv_len=None, *, left=None, right=0, q_start=None)
attention_layer(x, parameters, *, heads, kv_heads=None, context=None, mask=None, bias=None, rotary=None, cache=None)
feed_forward(x, w_in, w_out, b_in=None, b_out=None)
layer_norm(x, gain, shift=None, *, epsilon=1e-05)
post_norm_transformer_block(x, parameters, *, heads, kv_heads=None, mask=None, bias=None, rotary=None, cache=None)
tiny_transformer(ids, parameters, *, heads, caches=())
trained_tiny_transformer(step=600)
transformer_block(x, parameters, *, heads, kv_heads=None, mask=None, bias=None, rotary=None, cache=None)
grouped_query_attention(query, key, value, *, mask=None, bias=None, scale=None, softcap=None, sink=None)
expand_block_mask(block_mask, q_len, kv_len, *, q_block, kv_block)
block_sparse_attention(query, key, value, block_mask, *, q_block, kv_block, mask=None, bias=None, scale=None, softcap=None, sink=None)
top_k_mask(scores, k)
top_k_attention(query, key, value, *, k, mask=None, bias=None, scale=None, softcap=None, sink=None)
gated_attention(query, key, value, gate, *, mask=None, bias=None, scale=None, softcap=None, sink=None)
real_map(name)
rms_norm(x, gain=None, *, epsilon=1e-06)
qk_norm_attention(query, key, value, *, query_gain=None, key_gain=None, epsilon=1e-06, mask=None, bias=None, scale=None, softcap=None, sink=None)
differential_attention(query, key, value, *, factor, mask=None, bias=None, scale=None, softcap=None, sink=None)
differential_lambda(lambda_q1, lambda_k1, lambda_q2, lambda_k2, *, initial)
differential_lambda_init(layer)
native_sparse_attention(query, key, value, gates, *, block_size, blocks, left, compressed_key=None, compressed_value=None, q_start=None, scale=None)
select_blocks(query, compressed_key, kv_len, *, block_size, blocks, q_start=None, scale=None)
heatmap(weights, *, rows=None, columns=None, title=None, axes=('queries', 'keys'))
stacked_bars(weights, *, rows=None, columns=None, title=None)
line_plot(x, series, *, x_label, y_label, log_x=False, log_y=False, title=None)
vector_plot(vectors, *, roles=None, title=None)
dataflow(rows, arrows, *, roles=None, title=None)
"""  # noqa: E501
TORCH_SIGNATURES = """
MultiHeadAttention(d_model, *, heads, biases=False, rotary=None)
MultiHeadAttention.from_torch(module)
MultiHeadAttention.to_torch(self)
GroupedQueryAttention(d_model, *, heads, kv_heads, biases=False, rotary=None)
GroupedQueryAttention.forward(self, x, *, mask=None, bias=None)
GroupedQueryAttention.decode(self, x, cache=None)
CrossAttention(d_model, *, heads, d_context=None, biases=False)
CrossAttention.forward(self, x, context, *, mask=None, bias=None)
CrossAttention.remember(self, context)
CrossAttention.decode(self, x, cache, *, mask=None)
CrossAttention.from_torch(module)
CrossAttention.to_torch(self)
LatentAttention(d_model, *, heads, d_latent, d_query_latent, d_nope, d_rotary, d_v=None, layout)
LatentAttention.forward(self, x, *, mask=None, bias=None)
LatentAttention.decode(self, x, cache=None)
TransformerBlock(d_model, *, heads, kv_heads=None, d_ff=None, biases=False, rotary=None)
TransformerBlock.forward(self, x, *, mask=None, bias=None)
TransformerBlock.decode(self, x, cache=None)
PostNormTransformerBlock(d_model, *, heads, kv_heads=None, d_ff=None, biases=False, rotary=None)
TinyTransformer(vocabulary, d_model, *, heads, layers, d_ff=None)
TinyTransformer.forward(self, ids)
TinyTransformer.decode(self, ids, caches=())
TinyTransformer.generate(self, ids, n, *, temperature=None, generator=None)
all_to_all_attention(query, key, value, *, mask=None, bias=None, scale=None, softcap=None, sink=None, group=None)
ring_attention(query, key, value, *, mask=None, bias=None, scale=None, softcap=None, sink=None, group=None)
"""  # noqa: E501
NAMESPACES = {"exercises", "interop", "testing", "torch"}
FUNCTIONS = [name for name in attention_ref.__all__ if name[0].islower()]
TORCH_FUNCTIONS = [name for name in attention_ref.torch.__all__ if name[0].islower()]
LAYERS = [name for name in attention_ref.torch.__all__ if name[0].isupper()]
CLASSES = [name for name in attention_ref.__all__ if name[0].isupper()]


def bare_signature(function):
    parameters = inspect.signature(function).parameters.values()
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return str(inspect.Signature(bare))


def test_every_signature_is_as_promised():
    found = {name + bare_signature(getattr(attention_ref, name)) for name in FUNCTIONS}
    assert set(SIGNATURES.strip().splitlines()) <= found


def test_every_layer_and_its_methods_are_as_promised():
    found = set()
    for name in attention_ref.torch.__all__:
        layer = getattr(attention_ref.torch, name)
        found.add(name + bare_signature(layer))
        methods = [own for own, method in vars(layer).items() if inspect.isroutine(method)]
        methods = [own for own in methods if not own.startswith("_") and own != "function"]
        found |= {f"{name}.{own}{bare_signature(getattr(layer, own))}" for own in methods}
    assert found == set(TORCH_SIGNATURES.strip().splitlines())


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_documented_and_its_example_true(name):
    layer = getattr(attention_ref.torch, name)
    text = inspect.getdoc(layer)
    assert re.findall(r"^(Args|Examples|References):", text, re.M) == [
        "Args",
        "Examples",
        "References",
    ]
    arguments = text.partition("Args:\n")[2].partition("\nExamples:")[0]
    assert re.findall(r"^    (\w+): \S", arguments, re.M) == list(
        inspect.signature(layer).parameters
    )
    module = importlib.import_module(layer.__module__)
    found = doctest.DocTestFinder(recurse=False).find(
        layer, name, module, globs=vars(module).copy()
    )
    output = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(found[0], out=output.append)
    assert failed == 0, "".join(output)
    assert tried > 0


def test_the_classes_are_as_promised():
    assert set(CLASSES) >= {"AttentionStages", "Heatmap"}
    fields = ("scores", "capped", "biased", "weights", "logsumexp", "output")
    assert attention_ref.AttentionStages._fields == fields


def test_nothing_else_is_public():
    public = {name for name in vars(attention_ref) if not name.startswith("_")}
    assert public - NAMESPACES == set(attention_ref.__all__)
    assert len(attention_ref.__all__) == len(set(attention_ref.__all__))


def test_every_object_has_one_path():
    for module in pkgutil.iter_modules(attention_ref.__path__):
        known = module.name.startswith("_") or module.name in NAMESPACES
        assert known, f"{module.name} would be a second path"
    objects = [getattr(attention_ref, name) for name in attention_ref.__all__]
    assert not any(isinstance(found, types.ModuleType) for found in objects)
    assert len({id(found) for found in objects}) == len(objects)


@pytest.mark.parametrize("name", FUNCTIONS + TORCH_FUNCTIONS)
def test_every_function_is_documented(name):
    function = getattr(attention_ref.torch if name in TORCH_FUNCTIONS else attention_ref, name)
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


@pytest.mark.parametrize("name", FUNCTIONS + TORCH_FUNCTIONS)
def test_every_example_is_true(name):
    function = getattr(attention_ref.torch if name in TORCH_FUNCTIONS else attention_ref, name)
    module = importlib.import_module(function.__module__)
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(function, name, module, globs=vars(module).copy())
    output = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(example, out=output.append)
    assert failed == 0, "".join(output)
    assert tried > 0
