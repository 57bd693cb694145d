"""Each convention's words: what a library with that signature is given, and how it answers."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from attention_ref import scaled_dot_product_attention
from attention_ref.interop import ADAPTERS
from attention_ref.testing import FEATURES
from attention_ref.testing._cases import CASES
from attention_ref.testing._conventions import CONVENTIONS, ScoreMod, first
from attention_ref.testing._judge import drawn
from attention_ref.testing._problems import Case, draw

BY_NAME = {case.name: case for case in CASES}
# Arrays are their kind and shape: b is boolean, f a number. A scale that is always given, as MLX
# and transformers need it, stands only where the case has one of its own. A word for a position is
# used wherever the library has it, so that the function's own handling of it is tried.
WORDS = {
    "attention_ref": {
        "self-attention": "",
        "scale": "scale=0.7",
        "padding": "mask=b[2, 1, 1, 11]",
        "mask shared by all": "mask=b[7, 7]",
        "mask of each head": "mask=b[1, 3, 7, 7]",
        "causal": "mask=b[7, 7]",
        "causal and padding": "mask=b[2, 1, 7, 7]",
        "window to the left": "mask=b[7, 7]",
        "window to both sides": "mask=b[7, 7]",
        "bias of each head": "bias=f[1, 3, 7, 7]",
        "bias and mask": "mask=b[2, 1, 7, 7]; bias=f[2, 3, 7, 7]",
        "bias and causal": "mask=b[7, 7]; bias=f[1, 3, 7, 7]",
        "soft cap": "softcap=1.5",
        "soft cap and bias": "bias=f[2, 3, 7, 7]; softcap=1.5",
        "sink": "sink=f[3]",
    },
    "torch": {
        "self-attention": "",
        "scale": "scale=0.7",
        "padding": "attn_mask=b[2, 1, 1, 11]",
        "mask shared by all": "attn_mask=b[7, 7]",
        "mask of each head": "attn_mask=b[1, 3, 7, 7]",
        "causal": "is_causal=True",
        "causal and padding": "attn_mask=b[2, 1, 7, 7]",
        "window to the left": "attn_mask=b[7, 7]",
        "window to both sides": "attn_mask=b[7, 7]",
        "bias of each head": "attn_mask=f[1, 3, 7, 7]",
        "bias and mask": "attn_mask=f[2, 3, 7, 7]",
        "bias and causal": "attn_mask=f[1, 3, 7, 7]",
        "grouped heads": "enable_gqa=True",
    },
    "torch_mha": {
        "self-attention": "",
        "padding": "key_padding_mask=b[2, 11]",
        "mask shared by all": "attn_mask=b[7, 7]",
        "mask of each head": "attn_mask=b[6, 7, 7]",
        "causal": "attn_mask=b[7, 7]",
        "causal and padding": "key_padding_mask=b[2, 7]; attn_mask=b[7, 7]",
        "window to the left": "attn_mask=b[7, 7]",
        "window to both sides": "attn_mask=b[7, 7]",
        "bias of each head": "attn_mask=f[6, 7, 7]",
        "bias and mask": "attn_mask=f[6, 7, 7]",
        "bias and causal": "attn_mask=f[6, 7, 7]",
    },
    "flex": {
        "self-attention": "",
        "scale": "scale=0.7",
        "padding": "score_mod=added f[2, 3, 5, 11], cap None",
        "mask shared by all": "score_mod=added f[2, 3, 7, 7], cap None",
        "mask of each head": "score_mod=added f[2, 3, 7, 7], cap None",
        "causal": "score_mod=added f[2, 3, 7, 7], cap None",
        "causal and padding": "score_mod=added f[2, 3, 7, 7], cap None",
        "window to the left": "score_mod=added f[2, 3, 7, 7], cap None",
        "window to both sides": "score_mod=added f[2, 3, 7, 7], cap None",
        "bias of each head": "score_mod=added f[2, 3, 7, 7], cap None",
        "bias and mask": "score_mod=added f[2, 3, 7, 7], cap None",
        "bias and causal": "score_mod=added f[2, 3, 7, 7], cap None",
        "soft cap": "score_mod=added None, cap 1.5",
        "soft cap and bias": "score_mod=added f[2, 3, 7, 7], cap 1.5",
        "grouped heads": "enable_gqa=True",
    },
    "jax": {
        "self-attention": "",
        "scale": "scale=0.7",
        "padding": "mask=b[2, 1, 1, 11]",
        "mask shared by all": "mask=b[1, 1, 7, 7]",
        "mask of each head": "mask=b[1, 3, 7, 7]",
        "causal": "is_causal=True",
        "causal and padding": "mask=b[2, 1, 1, 7]; is_causal=True",
        "window to the left": "is_causal=True; local_window_size=(2, 0)",
        "window to both sides": "local_window_size=(1, 2)",
        "bias of each head": "bias=f[1, 3, 7, 7]",
        "bias and mask": "bias=f[2, 3, 7, 7]; mask=b[2, 1, 7, 7]",
        "bias and causal": "bias=f[1, 3, 7, 7]; is_causal=True",
        "grouped heads": "",
    },
    "keras": {
        "self-attention": "",
        "scale": "scale=0.7",
        "padding": "mask=b[2, 1, 1, 11]",
        "mask shared by all": "mask=b[1, 1, 7, 7]",
        "mask of each head": "mask=b[1, 3, 7, 7]",
        "causal": "is_causal=True",
        "causal and padding": "mask=b[2, 1, 1, 7]; is_causal=True",
        "window to the left": "mask=b[1, 1, 7, 7]",
        "window to both sides": "mask=b[1, 1, 7, 7]",
        "bias of each head": "bias=f[1, 3, 7, 7]",
        "bias and mask": "bias=f[2, 3, 7, 7]; mask=b[2, 1, 7, 7]",
        "bias and causal": "bias=f[1, 3, 7, 7]; is_causal=True",
        "grouped heads": "",
    },
    "onnx": {
        "self-attention": "",
        "scale": "scale=0.7",
        "padding": "attn_mask=b[2, 1, 5, 11]",
        "mask shared by all": "attn_mask=b[7, 7]",
        "mask of each head": "attn_mask=b[1, 3, 7, 7]",
        "causal": "is_causal=1",
        "causal and padding": "attn_mask=b[2, 1, 7, 7]; is_causal=1",
        "window to the left": "is_causal=1; left_window_size=2; right_window_size=0",
        "window to both sides": "left_window_size=1; right_window_size=2",
        "bias of each head": "attn_mask=f[1, 3, 7, 7]",
        "bias and mask": "attn_mask=f[2, 3, 7, 7]",
        "bias and causal": "attn_mask=f[1, 3, 7, 7]; is_causal=1",
        "soft cap": "softcap=1.5",
        "soft cap and bias": "attn_mask=f[2, 3, 7, 7]; softcap=1.5",
        "grouped heads": "",
    },
    "mlx": {
        "self-attention": "",
        "scale": "scale=0.7",
        "padding": "mask=b[2, 1, 1, 11]",
        "mask shared by all": "mask=b[7, 7]",
        "mask of each head": "mask=b[1, 3, 7, 7]",
        "causal": "mask='causal'",
        "causal and padding": "mask=b[2, 1, 7, 7]",
        "window to the left": "mask=b[7, 7]",
        "window to both sides": "mask=b[7, 7]",
        "bias of each head": "mask=f[1, 3, 7, 7]",
        "bias and mask": "mask=f[2, 3, 7, 7]",
        "bias and causal": "mask=f[1, 3, 7, 7]",
        "sink": "sinks=f[3]",
        "grouped heads": "",
    },
    "flash_attn": {
        "self-attention": "",
        "scale": "softmax_scale=0.7",
        "causal": "causal=True",
        "window to the left": "causal=True; window_size=(2, 0)",
        "window to both sides": "window_size=(1, 2)",
        "soft cap": "softcap=1.5",
        "grouped heads": "",
    },
    "transformers": {
        "self-attention": "",
        "scale": "scaling=0.7",
        "padding": "attention_mask=f[2, 1, 1, 11]",
        "mask shared by all": "attention_mask=f[1, 1, 7, 7]",
        "mask of each head": "attention_mask=f[1, 3, 7, 7]",
        "causal": "attention_mask=f[1, 1, 7, 7]",
        "causal and padding": "attention_mask=f[2, 1, 7, 7]",
        "window to the left": "attention_mask=f[1, 1, 7, 7]",
        "window to both sides": "attention_mask=f[1, 1, 7, 7]",
        "bias of each head": "attention_mask=f[1, 3, 7, 7]",
        "bias and mask": "attention_mask=f[2, 3, 7, 7]",
        "bias and causal": "attention_mask=f[1, 3, 7, 7]",
        "soft cap": "softcap=1.5",
        "soft cap and bias": "attention_mask=f[2, 3, 7, 7]; softcap=1.5",
        "sink": "s_aux=f[3]",
        "grouped heads": "",
    },
}


def words(x):
    if isinstance(x, np.ndarray):
        return f"{x.dtype.kind}{list(x.shape)}"
    if isinstance(x, ScoreMod):
        return f"added {words(x.added)}, cap {x.softcap}"
    return repr(x)


def asked(name, case):
    """Return a convention and a case's problem, before it is understood."""
    its = CONVENTIONS[name]
    return its, draw(case, alignment=its.corner, dead=its.dead, layout=its.layout)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_words_of_each_convention(name):
    for case, expected in WORDS[name].items():
        its, problem = asked(name, BY_NAME[case])
        given = its.spell(problem)
        scale = given.get("scaling", given.get("scale", problem.scale))
        assert scale == problem.scale
        if problem.case.scale is None:
            given = {word: x for word, x in given.items() if word not in ("scale", "scaling")}
        assert given.pop("num_heads", 3) == 3
        told = "; ".join(f"{word}={words(x)}" for word, x in given.items() if x is not None)
        assert told == expected, case
    assert set(WORDS[name]) == {
        case
        for case in {case for one in WORDS.values() for case in one}
        if BY_NAME[case].needs <= CONVENTIONS[name].features
    }


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_words_are_arguments_of_the_adapter(name):
    function = ADAPTERS.get(name, scaled_dot_product_attention)
    known = set(inspect.signature(function).parameters)
    its = CONVENTIONS[name]
    assert known > set(its.inputs)
    for case in CASES:
        if case.needs <= its.features:
            assert known >= set(its.spell(asked(name, case)[1])), case.name


@pytest.mark.parametrize("name", CONVENTIONS)
def test_what_is_asked_in_words_is_what_the_case_means(name):
    """The adapter hears the words; our own attention sees the problem itself."""
    its = CONVENTIONS[name]
    for case in CASES:
        if (
            case.gradient
            or not case.needs <= its.features
            or (its.one_width and case.d_k != case.d_v)
        ):
            continue
        p = drawn(its, case)
        query_heads = p.query.shape[1] // p.key.shape[1]
        key, value = (np.repeat(x, query_heads, axis=1) for x in (p.key, p.value))
        right = scaled_dot_product_attention(
            p.query, key, value, mask=p.allowed(), bias=p.bias, scale=case.scale,
            softcap=case.softcap, sink=p.sink,
        )  # fmt: skip
        alive = p.allowed().any(axis=-1, keepdims=True)
        answer = its.reference(p)
        np.testing.assert_allclose(np.where(alive, answer, 0), right, atol=1e-11, err_msg=case.name)
        dead = {"zero": 0, "nan": np.nan, "mean": value.mean(axis=-2, keepdims=True)}[its.dead]
        expected = np.broadcast_to(dead, right.shape)
        np.testing.assert_allclose(np.where(alive, expected, answer), expected, atol=1e-15)


def test_hidden_scores_of_transformers_are_the_smallest_number_of_the_dtype():
    for dtype, smallest in (
        ("float16", -65504.0),
        ("bfloat16", -(2.0**128 - 2.0**120)),
        ("float32", float(np.finfo(np.float32).min)),
    ):
        its, problem = asked("transformers", Case("mask", mask="full", dtype=dtype))
        given = its.spell(problem)["attention_mask"]
        np.testing.assert_array_equal(given, np.where(problem.mask, 0, smallest))


def test_an_open_side_of_a_window_is_said_as_each_library_says_it():
    sides = Case("open", window=(None, 2))
    assert asked("flash_attn", sides)[0].spell(asked("flash_attn", sides)[1])["window_size"] == (
        -1,
        2,
    )
    its, problem = asked("jax", sides)
    left, right = its.spell(problem)["local_window_size"]
    assert (left > 10**5, right) == (True, 2)
    its, problem = asked("onnx", sides)
    assert its.spell(problem) == {"right_window_size": 2}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_layout_is_put_and_taken_back(name):
    its = CONVENTIONS[name]
    x = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    put = its.put(x)
    shape = {"heads": (2, 3, 5, 7), "length": (2, 5, 3, 7), "merged": (2, 5, 21)}
    assert put.shape == shape[its.layout]
    np.testing.assert_array_equal(its.take(put, 3), x)
    answer = its.put_answer(x)
    assert answer.shape == shape[its.answer_layout or its.layout]
    np.testing.assert_array_equal(its.take_answer(answer, 3), x)
    np.testing.assert_array_equal(its.take_answer((answer, None), 3), x)
    for other in (x[0, 0], x[None]):
        assert its.take(other, 3) is other
        assert its.take_answer(other, 3) is other
    assert first([x, None]) is x
    assert first(x) is x


def test_positions_stay_words_where_the_convention_has_them():
    for name, case, said in (
        ("torch", Case("causal", causal=True), True),
        ("torch", Case("window", window=(1, 1)), False),
        ("torch", Case("causal and mask", causal=True, mask="full"), False),
        ("mlx", Case("causal", causal=True), True),
        ("mlx", Case("causal and mask", causal=True, mask="full"), False),
        ("attention_ref", Case("causal", causal=True), False),
        ("jax", Case("causal and window", causal=True, window=(1, 0)), True),
        ("keras", Case("causal and window", causal=True, window=(1, 0)), False),
        ("flash_attn", Case("window", window=(1, 1)), True),
        ("onnx", Case("window", window=(None, 1)), True),
        ("onnx", Case("window", window=(1, None)), True),
    ):
        its, problem = asked(name, case)
        understood = its.understood(problem)
        assert (understood is problem) == said, (name, case)
        assert said or not (understood.causal or understood.window)
        np.testing.assert_array_equal(understood.allowed(), problem.allowed())


def test_the_answer_is_computed_in_float64():
    its, problem = asked("transformers", Case("mask", mask="dead", dtype="float16"))
    wide = replace(problem, case=replace(problem.case, dtype="float64"))
    np.testing.assert_array_equal(its.reference(problem), its.reference(wide))
    assert its.reference(problem).dtype == np.float64


def test_the_answer_is_no_affair_of_the_readers_errstate():
    """Weights far below the largest underflow, which is no fault of theirs."""
    its, problem = asked("attention_ref", BY_NAME["large scores"])
    expected = its.reference(problem)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(its.reference(problem), expected)


def test_a_score_mod_caps_and_then_adds():
    added = np.arange(24.0).reshape(1, 2, 3, 4)
    assert ScoreMod(added, None)(1.0, 0, 1, 2, 3) == 24
    assert ScoreMod(None, 2.0)(1.0, 0, 1, 2, 3) == 2 * np.tanh(0.5)
    assert ScoreMod(added, 2.0)(1.0, 0, 1, 2, 3) == 2 * np.tanh(0.5) + 23


def test_what_a_library_does_not_hold_is_asked_for_by_name_alone():
    """Only our own lets no NaN through, of those that take a mask; some compute in float32."""
    beyond = {name: set(its.beyond) for name, its in CONVENTIONS.items()}
    assert beyond == {
        "attention_ref": set(),
        "torch": {"isolation"},
        "torch_mha": {"isolation"},
        "flex": {"gradient"},
        "jax": {"isolation", "float64"},
        "keras": {"isolation", "float64"},
        "onnx": {"isolation"},
        "mlx": {"isolation"},
        "flash_attn": set(),
        "transformers": {"float64"},
    }
    for its in CONVENTIONS.values():
        assert its.defaults == its.features - its.beyond
        assert its.beyond <= its.features <= set(FEATURES)


def test_isolation_is_asked_for_where_the_answer_to_it_is_finite():
    """Where a mask comes as numbers to add, a masked NaN stays NaN, and the adapter's answer is."""
    for name, its in CONVENTIONS.items():
        for case in CASES:
            if "isolation" in case.needs and "mask" in its.features:
                _, problem = asked(name, case)
                finite = np.isfinite(its.reference(its.understood(problem))).all()
                assert finite or "isolation" not in its.features, name
    without = {name for name, its in CONVENTIONS.items() if "isolation" not in its.features}
    assert without == {"flex", "transformers", "flash_attn"}


def test_values_have_a_width_of_their_own_where_the_convention_can_say_it():
    for its in CONVENTIONS.values():
        assert its.one_width == ("d_v" not in its.features)


def test_whose_arrays_a_convention_takes():
    own = {name: its.library for name, its in CONVENTIONS.items() if its.library != "torch"}
    assert own == {
        "attention_ref": "numpy",
        "jax": "jax",
        "keras": "numpy",
        "onnx": "numpy",
        "mlx": "mlx",
    }


def test_the_path_of_an_adapter_is_where_it_can_be_imported_from():
    for name, its in CONVENTIONS.items():
        module, _, attribute = its.adapter.rpartition(".")
        found = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert found is ADAPTERS.get(name, scaled_dot_product_attention)
