import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    linear_attention,
    linear_attention_chunked,
    linear_attention_recurrent,
)

seeds = st.integers(0, 2**32 - 1)
chunk_sizes = st.integers(1, 9)
BATCH, HEADS, LENGTH, D_K, D_V = 2, 3, 7, 5, 11
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
FORMS = {
    "recurrent": linear_attention_recurrent,
    "parallel": linear_attention,
    "chunked": lambda *inputs, **options: linear_attention_chunked(
        *inputs, **options, chunk_size=3
    ),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
every_rule = st.tuples(
    st.sampled_from([None, "a head", "a row"]), st.booleans(), st.booleans(), st.booleans()
)


def draw_inputs(seed):
    rng = np.random.default_rng(seed)
    shapes = ((BATCH, HEADS, LENGTH, d) for d in (D_K, D_K, D_V))
    query, key, value = (rng.standard_normal(shape) for shape in shapes)
    return query, key / np.linalg.norm(key, axis=-1, keepdims=True), value


def draw_options(seed, rule=("a row", True, True, True)):
    gate, delta, scaled, started = rule
    rng = np.random.default_rng(seed + 1)
    options = {}
    if gate is not None:
        last = 1 if gate == "a head" else D_K
        options["decay"] = -rng.exponential(size=(BATCH, HEADS, LENGTH, last))
    if delta:
        options["beta"] = rng.random((BATCH, HEADS, LENGTH))
    if started:
        options["state"] = rng.standard_normal((BATCH, HEADS, D_K, D_V))
    return options | ({"scale": 0.7} if scaled else {})


def convert(function, options):
    return {n: function(x) if isinstance(x, np.ndarray) else x for n, x in options.items()}


def as_published(query, key, value, *, decay=None, beta=None, scale=D_K**-0.5, state=None):
    """Run one head with the transposed state of the papers: S (G - beta G k k^T) + beta v k^T."""
    state = np.zeros((D_V, D_K)) if state is None else state.T
    outputs = []
    for t in range(len(query)):
        gate = np.eye(D_K) if decay is None else np.diag(np.exp(decay[t]) * np.ones(D_K))
        if beta is None:
            state = state @ gate + np.outer(value[t], key[t])
        else:
            forget = np.eye(D_K) - beta[t] * np.outer(key[t], key[t])
            state = state @ gate @ forget + beta[t] * np.outer(value[t], key[t])
        outputs.append(scale * state @ query[t])
    return np.array(outputs), state.T


@given(seed=seeds, rule=every_rule)
def test_the_recurrent_form_agrees_with_the_papers_matrices(library, seed, rule):
    inputs, options = draw_inputs(seed), draw_options(seed, rule)
    found = linear_attention_recurrent(
        *map(library.array, inputs), **convert(library.array, options)
    )
    for place in np.ndindex(BATCH, HEADS):
        one = {n: x[place] if isinstance(x, np.ndarray) else x for n, x in options.items()}
        expected = as_published(*(x[place] for x in inputs), **one)
        for ours, exact in zip(found, expected, strict=True):
            np.testing.assert_allclose(library.numpy(ours)[place], exact, **CLOSE)


@given(seed=seeds, rule=every_rule, chunk_size=chunk_sizes)
def test_the_three_forms_are_equal(library, seed, rule, chunk_size):
    inputs = list(map(library.array, draw_inputs(seed)))
    options = convert(library.array, draw_options(seed, rule))
    expected = linear_attention_recurrent(*inputs, **options)
    for found in (
        linear_attention(*inputs, **options),
        linear_attention_chunked(*inputs, **options, chunk_size=chunk_size),
    ):
        for ours, exact in zip(found, expected, strict=True):
            np.testing.assert_allclose(library.numpy(ours), library.numpy(exact), **CLOSE)


@given(seed=seeds, rule=every_rule)
def test_so_are_their_gradients(seed, rule):
    numbers, options = draw_inputs(seed), draw_options(seed, rule)
    found = []
    for form in FORMS.values():
        inputs = [torch.asarray(x).requires_grad_() for x in numbers]
        given = convert(lambda x: torch.asarray(x).requires_grad_(), options)
        output, state = form(*inputs, **given)
        leaves = [*inputs, *(x for x in given.values() if isinstance(x, torch.Tensor))]
        found.append(torch.autograd.grad((output**2).sum() + (state**3).sum(), leaves))
    for gradients in found[1:]:
        for ours, exact in zip(gradients, found[0], strict=True):
            torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-10)


@every_form
def test_gradients_agree_with_finite_differences(form):
    rng = np.random.default_rng(2)
    shapes = (3, 2), (3, 2), (3, 2), (3, 2), (3,), (2, 2)
    drawn = [torch.asarray(rng.standard_normal(shape)) / 2 for shape in shapes]
    inputs = [x.requires_grad_() for x in drawn]

    def attend(query, key, value, decay, beta, state):
        return tuple(form(query, key, value, decay=decay, beta=beta, state=state))

    assert torch.autograd.gradcheck(attend, inputs)


@every_form
def test_alone_it_is_causal_attention_without_the_softmax(library, form):
    query, key, value = draw_inputs(3)
    found = form(*map(library.array, (query, key, value)), scale=1.0)
    expected = np.tril(query @ key.swapaxes(-1, -2)) @ value
    np.testing.assert_allclose(library.numpy(found.output), expected, **CLOSE)
    state = key.swapaxes(-1, -2) @ value
    np.testing.assert_allclose(library.numpy(found.state), state, **CLOSE)


@every_form
def test_a_column_of_ones_normalizes_as_katharopoulos_does(form):
    query, key, value = (x[0, 0] for x in draw_inputs(4))
    query, key = (np.where(x > 0, x + 1, np.exp(x)) for x in (query, key))
    found = form(query, key, np.concat([value, np.ones((LENGTH, 1))], axis=-1)).output
    for i in range(LENGTH):
        similarity = [query[i] @ key[j] for j in range(i + 1)]
        mean = sum(s * value[j] for j, s in enumerate(similarity)) / sum(similarity)
        np.testing.assert_allclose(found[i, :-1] / found[i, -1], mean, **CLOSE)


@every_form
def test_the_delta_rule_replaces_what_a_key_held(library, form):
    key = np.eye(3)[[0, 1, 0, 2, 1]]
    value = np.arange(10.0).reshape(5, 2)
    options = {"scale": 1.0, "beta": library.array(np.ones(5))}
    keys, values = library.array(key), library.array(value)
    found = form(keys, keys, values, **options)
    np.testing.assert_allclose(library.numpy(found.output), value)
    np.testing.assert_allclose(library.numpy(found.state), value[[2, 4, 3]])
    half = form(keys, keys, values, scale=1.0, beta=library.array(np.full(5, 0.5)))
    np.testing.assert_allclose(library.numpy(half.state)[0], value[0] / 4 + value[2] / 2)


@given(seed=seeds, cut=st.integers(0, LENGTH), rule=every_rule)
def test_a_sequence_in_two_parts_is_the_whole(library, seed, cut, rule):
    inputs = list(map(library.array, draw_inputs(seed)))
    options = convert(library.array, draw_options(seed, rule))
    whole = linear_attention(*inputs, **options)
    parts = []
    state = options.get("state")
    for part in (slice(0, cut), slice(cut, LENGTH)):
        few = {n: x[:, :, part, ...] for n, x in options.items() if n in ("decay", "beta")}
        given = {"scale": options["scale"]} if "scale" in options else {}
        done = linear_attention(*(x[:, :, part, :] for x in inputs), **few, **given, state=state)
        state = done.state
        parts.append(library.numpy(done.output))
    np.testing.assert_allclose(np.concat(parts, axis=-2), library.numpy(whole.output), **CLOSE)
    np.testing.assert_allclose(library.numpy(state), library.numpy(whole.state), **CLOSE)


@every_form
@pytest.mark.parametrize("gate", [None, "a head", "a row"])
@pytest.mark.parametrize("bad", [1.0, np.nan, np.inf])
def test_the_future_changes_no_bit(library, form, gate, bad):
    inputs, options = draw_inputs(5), draw_options(5, (gate, True, False, True))
    before = form(*map(library.array, inputs), **convert(library.array, options))
    for x in inputs:
        x[:, :, 4, 1] += bad
    options["beta"][:, :, 5] = 0.3
    after = form(*map(library.array, inputs), **convert(library.array, options))
    earlier, later = (library.numpy(x.output)[:, :, :4] for x in (before, after))
    np.testing.assert_array_equal(later, earlier)
    assert not np.array_equal(library.numpy(after.output), library.numpy(before.output))


@every_form
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_value_spoils_its_column_from_its_position_on(library, form, bad):
    inputs, options = draw_inputs(6), draw_options(6)
    inputs[2][0, 0, 3, 2] = bad
    found = form(*map(library.array, inputs), **convert(library.array, options))
    spoiled = np.zeros(inputs[2].shape, dtype=bool)
    spoiled[0, 0, 3:, 2] = True
    np.testing.assert_array_equal(np.isnan(library.numpy(found.output)), spoiled)


@every_form
@pytest.mark.parametrize("gate", ["a head", "a row"])
@pytest.mark.parametrize("delta", [False, True])
def test_a_decay_of_minus_infinity_forgets_all(library, form, gate, delta):
    inputs, options = draw_inputs(7), draw_options(7, (gate, delta, False, True))
    options["decay"][:, :, 4] = -np.inf
    found = form(*map(library.array, inputs), **convert(library.array, options))
    few = {n: x[:, :, 4:] for n, x in options.items() if n != "state"}
    fresh = linear_attention_recurrent(*(x[:, :, 4:] for x in inputs), **few)
    np.testing.assert_allclose(library.numpy(found.output)[:, :, 4:], fresh.output, **CLOSE)
    np.testing.assert_allclose(library.numpy(found.state), fresh.state, **CLOSE)


@every_form
def test_padding_with_zeros_keeps_the_state(library, form):
    inputs, options = draw_inputs(8), draw_options(8)
    inputs[1][:, :, 5:] = options["decay"][:, :, 5:] = 0
    found = form(*map(library.array, inputs), **convert(library.array, options))
    few = {n: x[:, :, :5] if n in ("decay", "beta") else x for n, x in options.items()}
    short = linear_attention_recurrent(*(x[:, :, :5] for x in inputs), **few)
    np.testing.assert_allclose(library.numpy(found.state), short.state, **CLOSE)


@every_form
def test_decay_and_beta_broadcast(library, form):
    inputs = list(map(library.array, draw_inputs(9)))
    decay, beta = np.array([[[-0.5]], [[-1.0]], [[-2.0]]]), np.array(0.25)
    small = form(*inputs, decay=library.array(decay), beta=library.array(beta))
    shape = BATCH, HEADS, LENGTH
    large = form(
        *inputs,
        decay=library.array(np.broadcast_to(decay, (*shape, D_K)).copy()),
        beta=library.array(np.full(shape, 0.25)),
    )
    for ours, exact in zip(small, large, strict=True):
        np.testing.assert_allclose(library.numpy(ours), library.numpy(exact), **CLOSE)
    one = form(*inputs, decay=library.array(np.array(-0.5)))
    row = form(*inputs, decay=library.array(np.full(D_K, -0.5)))
    np.testing.assert_allclose(library.numpy(one.output), library.numpy(row.output), **CLOSE)


@every_form
def test_no_position_gives_no_output_and_the_state_that_came(library, form):
    inputs = [library.array(x[:, :, :0]) for x in draw_inputs(10)]
    state = draw_options(10)["state"]
    found = form(*inputs, state=library.array(state))
    assert found.output.shape == (BATCH, HEADS, 0, D_V)
    np.testing.assert_array_equal(library.numpy(found.state), state)
    assert not library.numpy(form(*inputs).state).any()


@every_form
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_error_is_at_most_twice_that_of_the_recurrence_in_float32(form, dtype):
    rng = np.random.default_rng(11)
    dtype, length = getattr(torch, dtype), 200
    inputs = [torch.asarray(rng.standard_normal((length, d))).to(dtype) for d in (8, 8, 8)]
    decay = torch.asarray(-rng.exponential(size=(length, 8)) / 30).to(dtype)

    def recurrence(working):
        q, k, v, g = (x.to(working) for x in (*inputs, decay))
        state, outputs = torch.zeros(8, 8, dtype=working), []
        for t in range(length):
            state = g[t].exp()[:, None] * state + torch.outer(k[t], v[t])
            outputs.append(q[t] @ state / 8**0.5)
        return torch.stack(outputs), state

    exact, plain = recurrence(torch.float64), recurrence(torch.float32)
    found = form(*inputs, decay=decay)
    assert found.output.dtype == dtype
    assert found.state.dtype == torch.float32
    for ours, best, rough in zip(found, exact, plain, strict=True):
        allowed = 2 * (rough.to(ours.dtype).double() - best).abs().max()
        assert (ours.double() - best).abs().max() <= allowed


@pytest.mark.parametrize("batch", [(), (1,), (1, 2)])
def test_two_features_that_fade_apart_do_so_in_a_batch_of_one(library, batch):
    """Neither a batch of one nor two features are taken for one decay that all features share."""
    rng = np.random.default_rng(5)
    query, key, decay = rng.standard_normal((3, *batch, 7, 2))
    decay, value = -np.abs(decay), rng.standard_normal((*batch, 7, 3))
    arrays = [library.array(x) for x in (query, key, value)]
    expected = linear_attention_recurrent(*arrays, decay=library.array(decay))
    found = linear_attention(*arrays, decay=library.array(decay))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            library.numpy(ours), library.numpy(theirs), rtol=1e-11, atol=1e-12
        )


def test_what_is_not_given_is_on_the_device_of_the_query():
    device = array_api_strict.Device("device1")
    x = array_api_strict.ones((5, 3), device=device)
    for form in (linear_attention_recurrent, linear_attention):
        assert {found.device for found in form(x, x, x)} == {device}


X = np.zeros((5, 3))


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: linear_attention(X, np.zeros((7, 3)), np.zeros((7, 3))),
            ValueError,
            "key must have shape (length=5, d_k=3), got (7, 3)",
        ),
        (
            lambda: linear_attention(X, X, X[:4]),
            ValueError,
            "value must have shape (kv_len=5, d_v), got (4, 3)",
        ),
        (
            lambda: linear_attention([1.0], X, X),
            TypeError,
            "query must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: linear_attention_recurrent(X, X, X, decay=np.zeros((5, 2))),
            ValueError,
            "decay must have shape that broadcasts to (*batch, length, d_k) = (5, 3), got (5, 2)",
        ),
        (
            lambda: linear_attention_recurrent(X, X, X, beta=np.zeros((5, 1))),
            ValueError,
            "beta must have shape that broadcasts to (*batch, length) = (5,), got (5, 1)",
        ),
        (
            lambda: linear_attention_recurrent(X, X, X, beta=np.ones(5, dtype=int)),
            TypeError,
            "beta must have a real floating dtype, got int64",
        ),
        (
            lambda: linear_attention_recurrent(X, X, X, state=np.zeros((3, 5))),
            ValueError,
            "state must have shape (*batch, d_k, d_v) = (3, 3), got (3, 5)",
        ),
        (
            lambda: linear_attention_recurrent(X, X, X, state=torch.zeros(3, 3)),
            TypeError,
            "state must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: linear_attention_chunked(X, X, X, chunk_size=0),
            ValueError,
            "chunk_size must be at least 1, got 0",
        ),
        (
            lambda: linear_attention(X, X, X, scale=np.nan),
            ValueError,
            "scale must be a finite number, got nan",
        ),
        (
            lambda: linear_attention_recurrent(X, X[:, :2], X),
            ValueError,
            "key must have shape (..., kv_len, d_k=3), got (5, 2)",
        ),
        (
            lambda: linear_attention_recurrent(X, X, X, decay=torch.zeros(5, 3)),
            TypeError,
            "decay must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: linear_attention_recurrent(X, X, X, beta=torch.zeros(5)),
            TypeError,
            "beta must be an array of the library of query (numpy), got torch",
        ),
        (
            lambda: linear_attention_recurrent(X, X, X, decay=np.zeros((5, 3), dtype=int)),
            TypeError,
            "decay must have a real floating dtype, got int64",
        ),
        (
            lambda: linear_attention_recurrent(X, X, X, state=np.zeros((3, 3), dtype=int)),
            TypeError,
            "state must have a real floating dtype, got int64",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
