"""What a problem of the conformance kit is: its numbers, what it hides, how it rounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from attention_ref import causal_mask, sliding_window_mask
from attention_ref.testing._cases import CASES
from attention_ref.testing._problems import Case, Problem, draw, epsilon, round_to

DTYPES = ("float16", "bfloat16", "float32", "float64")
RNG = np.random.default_rng(3)


def drawn(alignment="bottom-right", **terms):
    return draw(Case("case", **terms), alignment=alignment, dead="zero", layout="heads")


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_pytorch_s(dtype):
    tie = 1 + epsilon(dtype) / 2  # halfway goes to the even one: to 1, and the next one upwards
    numbers = [0.0, -0.0, 1.0, tie, tie + epsilon(dtype), 65519.0, 65521.0, 1e30, 3.39e38, -1e39]
    x = np.array([*numbers, np.inf, -np.inf, np.nan, *(RNG.normal(size=100) * 300)])
    kind = getattr(torch, dtype)
    # PyTorch rounds a float64 twice on its way to half precision, as the kit does to bfloat16.
    start = torch.tensor(x).float() if dtype == "bfloat16" else torch.tensor(x)
    theirs = start.to(kind).double().numpy()
    np.testing.assert_array_equal(round_to(x, dtype), theirs)
    assert round_to(x, dtype).dtype == np.float64
    assert epsilon(dtype) == torch.finfo(kind).eps


def test_the_numbers_of_every_case_are_exact_in_every_dtype():
    for case in CASES:
        p = draw(case, alignment="top-left", dead="zero", layout="heads")
        for x in (p.query, p.key, p.value, p.bias, p.sink, p.cotangent):
            for dtype in DTYPES if x is not None else ():
                if dtype == "float16" and case.special == "far":
                    continue  # too large for it, on purpose
                np.testing.assert_array_equal(round_to(x, dtype), x)


def test_numbers_are_drawn_to_the_quarter_and_are_some_one_in_size():
    p = drawn(batch=20, bias="full", sink=True)
    for x, size in ((p.query, 1), (p.key, 1), (p.value, 1), (p.cotangent, 1), (p.bias, 2)):
        np.testing.assert_array_equal(x, np.round(4 * x) / 4)
        assert not np.signbit(x[x == 0]).any()  # -0.0 would be printed
        assert abs(x.mean()) < 0.15 * size
        assert abs(x.std() / size - 1) < 0.05
    assert p.sink.shape == (3,)
    assert (np.round(p.bias * 2) == p.bias * 2).all()
    assert (np.unique(p.query) % 0.5 == 0.25).any()


def test_queries_and_keys_are_as_large_as_the_case_says_and_the_rest_is_not():
    small, large = drawn(), drawn(size=64.0)
    np.testing.assert_array_equal(large.query, 64 * small.query)
    np.testing.assert_array_equal(large.key, 64 * small.key)
    np.testing.assert_array_equal(large.value, small.value)
    np.testing.assert_array_equal(large.cotangent, small.cotangent)


def test_shapes_are_those_of_the_case():
    p = drawn(batch=2, heads=6, kv_heads=3, q_len=5, kv_len=11, d_k=7, d_v=13, bias="full")
    assert p.query.shape == (2, 6, 5, 7)
    assert p.key.shape == (2, 3, 11, 7)
    assert p.value.shape == (2, 3, 11, 13)
    assert p.cotangent.shape == (2, 6, 5, 13)
    assert p.bias.shape == p.shape == (2, 6, 5, 11)
    assert drawn(bias="head").bias.shape == (1, 3, 7, 7)
    assert drawn().sink is drawn().bias is drawn().mask is None


def test_another_seed_draws_other_numbers():
    assert (drawn(seed=1).query != drawn().query).any()
    np.testing.assert_array_equal(drawn(seed=0).query, drawn().query)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("shared", (5, 11)),
        ("item", (2, 1, 5, 11)),
        ("head", (1, 3, 5, 11)),
        ("full", (2, 3, 5, 11)),
        ("dead", (2, 1, 5, 11)),
        ("padding", (2, 1, 1, 11)),
        ("cached", (5, 11)),
    ],
)
def test_a_mask_has_the_axes_of_its_kind(kind, shape):
    mask = drawn(mask=kind, q_len=5, kv_len=11).mask
    assert (mask.shape, mask.dtype) == (shape, bool)


def test_a_mask_hides_half_and_differs_along_each_of_its_axes():
    mask = np.concatenate([drawn(mask="full", seed=seed).mask for seed in range(20)])
    off = ~np.eye(7, dtype=bool)
    off[6, 5] = False  # where the last query sees a key
    assert abs(mask[..., off].mean() - 0.5) < 0.03
    one = drawn(mask="full").mask
    assert (one[0] != one[1]).any()
    assert (one[:, 0] != one[:, 1]).any()


@pytest.mark.parametrize("mask", ["shared", "item", "head", "full"])
def test_every_query_sees_the_key_at_its_place_and_the_last_one_that_before(mask):
    for q_len, kv_len in ((7, 7), (5, 11), (3, 2), (3, 1)):
        for seed in range(10):
            p = drawn(mask=mask, q_len=q_len, kv_len=kv_len, seed=seed)
            for query in range(q_len):
                assert p.mask[..., query, min(query, max(kv_len - 2, 0))].all()


def test_padding_hides_the_end_of_each_item_in_another_length():
    mask = drawn(mask="padding", batch=4, kv_len=11).mask[:, 0, 0]
    assert [list(row).index(False) for row in mask] == [10, 8, 6, 4]
    for row in mask:
        assert (np.diff(row.astype(int)) <= 0).all()
    # However many items there are, each has a key; and a single key is not hidden.
    assert drawn(mask="padding", kv_len=1).mask.all()
    assert drawn(mask="padding", batch=40, kv_len=5).mask.any(axis=-1).all()
    np.testing.assert_array_equal(
        drawn(mask="padding", batch=3, kv_len=4).mask[:, 0, 0].sum(axis=-1), [3, 1, 2]
    )


def test_cached_decoding_ends_at_the_last_key():
    np.testing.assert_array_equal(
        drawn(mask="cached", q_len=3, kv_len=5).mask, causal_mask(3, 5, q_start=2)
    )


def test_two_queries_of_a_mask_with_dead_rows_see_nothing():
    for seed in range(5):
        seen = drawn(mask="dead", batch=3, seed=seed).mask.any(axis=-1)[:, 0]
        expected = np.ones((3, 7), dtype=bool)
        expected[0, 3] = expected[2, 0] = False
        np.testing.assert_array_equal(seen, expected)


def test_far_below_zero_every_query_sees_one_key():
    p = drawn(mask="full", special="far", size=4.0)
    assert (p.mask.sum(axis=-1) == 1).all()
    assert (p.query >= 4).all()
    assert (p.key <= -4).all()
    assert (np.abs(p.query) > 4).any()


def test_long_sums_are_of_ones_with_equal_weights():
    p = drawn(special="long")
    np.testing.assert_array_equal(p.query @ p.key.swapaxes(-1, -2), 0)
    np.testing.assert_array_equal(p.value, 1)
    assert not np.signbit(p.key).any()


@pytest.mark.parametrize("special", ["key", "value"])
def test_nan_and_inf_stand_only_where_all_masks_hide_them(special):
    p = drawn(special=special, mask="full", kv_len=11, batch=3)
    poisoned, other = (p.key, p.value) if special == "key" else (p.value, p.key)
    assert np.isfinite(other).all()
    bad = ~np.isfinite(poisoned)
    assert not p.mask[..., -1].any()
    assert not bad[..., :-1, :].any()
    assert np.isnan(poisoned[:, :, -1, 0]).all()
    assert (poisoned[-1, :, -1, -1] == np.inf).all()
    assert bad.sum() == 3 * 3 + 3


def test_a_bias_that_hides_leaves_each_query_the_key_at_its_place():
    bias = np.concatenate([drawn(bias="infinite", seed=seed).bias for seed in range(20)])
    hidden = bias == -np.inf
    assert not hidden[..., np.arange(7), np.arange(7)].any()
    assert abs(hidden[..., ~np.eye(7, dtype=bool)].mean() - 0.4) < 0.03
    assert np.isfinite(drawn(bias="full").bias).all()
    seen = np.isfinite(drawn(bias="infinite", q_len=5, kv_len=3).bias)[..., [0, 1, 2, 3, 4],
                       [0, 1, 2, 0, 1]]  # fmt: skip
    assert seen.all()


@pytest.mark.parametrize(("alignment", "start"), [("top-left", 0), ("bottom-right", 6)])
def test_causal_is_aligned_to_the_corner_of_the_convention(alignment, start):
    p = drawn(alignment, causal=True, q_len=5, kv_len=11)
    assert p.start == start
    np.testing.assert_array_equal(p.placed(), causal_mask(5, 11, q_start=start))
    p = drawn(alignment, q_len=5, kv_len=11)
    assert not p.causal
    assert p.start is None
    assert p.placed().all()


@pytest.mark.parametrize("sides", [(2, 1), (0, 3), (None, 1), (2, None), (None, None)])
@pytest.mark.parametrize("lengths", [(7, 7), (5, 11)])
def test_a_window_is_counted_from_the_query_s_place_at_the_end(sides, lengths):
    q_len, kv_len = lengths
    left, right = sides
    p = drawn(window=sides, q_len=q_len, kv_len=kv_len)
    expected = sliding_window_mask(q_len, kv_len, left=left, right=right, q_start=kv_len - q_len)
    np.testing.assert_array_equal(p.placed(), expected)
    p = replace(p, causal=True, start=0)
    expected = sliding_window_mask(q_len, kv_len, left=left, right=right, q_start=0)
    np.testing.assert_array_equal(p.placed(), expected & causal_mask(q_len, kv_len, q_start=0))


def test_what_is_allowed_is_what_nothing_hides():
    p = drawn(mask="item", bias="infinite", causal=True, window=(3, 0))
    expected = p.mask & (p.bias != -np.inf) & p.placed()
    np.testing.assert_array_equal(p.allowed(), expected)
    assert p.allowed().shape == p.shape
    assert drawn().allowed().shape == p.shape
    assert drawn().allowed().all()


def test_folded_positions_hide_the_same_by_a_mask_alone():
    for terms in ({"causal": True}, {"window": (2, 1)}, {"causal": True, "mask": "full"}):
        p = drawn(q_len=5, kv_len=11, **terms)
        folded = p.folded()
        np.testing.assert_array_equal(folded.allowed(), p.allowed())
        assert folded.causal is False
        assert folded.window is None
        assert (folded.mask.ndim == 4) == ("mask" in terms)
    p = drawn(mask="full")
    assert p.folded() is p


def test_the_scale_is_given_or_the_root_of_d_k():
    assert drawn(d_k=16).scale == 0.25
    assert drawn(d_k=16, scale=0.7).scale == 0.7


def problem(dtype, order=0):
    return replace(drawn(), dtype=dtype, order=order)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_is_summed_in_float32_and_rounded_at_the_end(dtype):
    a, b = RNG.normal(size=(2, 3, 7)), RNG.normal(size=(2, 7, 5))
    a, b = round_to(a, dtype), round_to(b, dtype)
    gaps = set()
    for order in range(8):
        product = problem(dtype, order).product(a, b)
        np.testing.assert_array_equal(product, round_to(product, dtype))
        exact = a @ b
        # Rounded once to the dtype, and six times to float32 on the way.
        allowed = epsilon(dtype) / 2 * np.abs(exact) + (np.abs(a) @ np.abs(b)) * 6 * 2.0**-24
        assert (np.abs(product - exact) <= allowed * 1.01 + 1e-15).all()
        gaps.add(np.abs(product - exact).max())
    assert (len(gaps) > 4) == (dtype == "float32")  # each order has sums of its own
    assert gaps == {0.0} or dtype != "float64"


def test_the_terms_of_a_product_are_added_one_after_the_other():
    ones = np.ones((1, 99))
    large = np.where(np.arange(99)[:, None] == 50, 2.0**24, 1.0)
    totals = {problem("float32", order).product(ones, large).item() for order in range(6)}
    # A one that comes after 2**24 is lost in float32; how many come after it hangs on the order.
    assert len(totals) > 3
    assert all(2.0**24 <= total < 2.0**24 + 98 for total in totals)
    long = problem("float16").product(np.ones((1, 4000)), np.full((4000, 1), 2.0**-4))
    assert long.item() == 250  # so many are left to the library, whose sums are in float32 too


def test_sums_of_more_than_a_hundred_terms_have_the_order_of_the_library():
    x = RNG.normal(size=101)
    for count, orders in ((100, True), (101, False)):
        products = {
            problem("float32", order).product(x[None, :count], x[:count, None]).item()
            for order in range(8)
        }
        assert (len(products) > 1) == orders


def test_total_sums_the_last_axis_and_keeps_it():
    x = RNG.integers(0, 9, size=(2, 3, 5)).astype(float)
    np.testing.assert_array_equal(problem("float16").total(x), x.sum(axis=-1, keepdims=True))


def test_a_power_is_off_by_up_to_two_epsilons_of_float32():
    x = RNG.uniform(-3, 3, size=4000)
    p = problem("float32")
    off = (p.exp(x) / np.exp(x) - 1) / epsilon("float32")
    assert 1.9 < np.abs(off).max() < 2.51  # half an epsilon more, as it is rounded
    assert abs(off.mean()) < 0.1
    assert off.min() < -1.9
    np.testing.assert_array_equal(p.exp(x), p.exp(x))
    assert (p.exp(x) != problem("float32", 1).exp(x)).any()
    np.testing.assert_array_equal(p.exp(x), round_to(p.exp(x), "float32"))
    np.testing.assert_array_equal(problem("float64").exp(x), np.exp(x))
    off = (p.inexact(x, 5) / x - 1) / epsilon("float32")
    assert 4.9 < np.abs(off).max() < 5.51


def test_a_problem_is_exact_and_plain_unless_it_says_otherwise():
    p = Problem(Case("plain"), *[np.ones((1, 1, 1, 1))] * 3)
    assert (p.dtype, p.order, p.dead, p.layout, p.causal) == ("float64", 0, "zero", "heads", False)
    assert p.cotangent.shape == ()
    assert p.cotangent == 1
    assert Case("plain").size == 1
    assert not Case("plain").sink
    assert not Case("plain").gradient
