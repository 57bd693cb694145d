import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    alibi_bias,
    alibi_slopes,
    attention_weights,
    causal_mask,
    relative_position_bias,
    relative_position_bucket,
)

lengths = st.integers(0, 11)
starts = st.integers(-5, 13)

# The minus powers of two: Press et al. 2022, section 3, for 8 and 16 heads; its code for others.
PUBLISHED = {
    8: range(1, 9),
    16: [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8],
    12: [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5],
    3: [4, 8, 2],
    1: [8],
}


@pytest.mark.parametrize("heads", PUBLISHED)
def test_slopes_are_those_published(heads):
    expected = [2.0**-power for power in PUBLISHED[heads]]
    np.testing.assert_allclose(alibi_slopes(heads), expected, rtol=1e-15)


@given(heads=st.integers(1, 200))
def test_slopes_of_a_power_of_two_begin_those_of_more_heads(heads):
    slopes = alibi_slopes(heads)
    power = 2 ** int(np.log2(heads))
    assert slopes.shape == (heads,)
    np.testing.assert_array_equal(slopes[:power], alibi_slopes(power))
    assert len(set(slopes.tolist())) == heads
    assert (slopes[:power] >= 2**-8).all()
    assert (np.diff(slopes[power:]) < 0).all()


def test_slopes_take_the_working_dtype_library_and_device():
    assert alibi_slopes(2).dtype == np.float64
    assert alibi_slopes(2, like=np.zeros(1, dtype=np.float16)).dtype == np.float32
    assert alibi_slopes(2, like=torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert alibi_slopes(2, like=torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert alibi_slopes(2, like=torch.zeros(1, device="meta")).device.type == "meta"
    strict = array_api_strict.asarray([1.0], device=array_api_strict.Device("device1"))
    assert alibi_slopes(2, like=strict).device == strict.device


def spelled_out(slopes, q_len, kv_len, q_start):
    rows = [
        [[-slope * abs(q_start + i - j) for j in range(kv_len)] for i in range(q_len)]
        for slope in slopes
    ]
    return np.array(rows).reshape(len(slopes), q_len, kv_len)


@given(q_len=lengths, kv_len=lengths, q_start=starts)
def test_alibi_bias_falls_with_distance(library, q_len, kv_len, q_start):
    slopes = np.array([0.5, 0.25, 0.3])
    bias = library.numpy(alibi_bias(library.array(slopes), q_len, kv_len, q_start=q_start))
    np.testing.assert_array_equal(bias, spelled_out(slopes, q_len, kv_len, q_start))
    assert not np.signbit(bias[bias == 0]).any()


TABLE = np.random.default_rng(3).standard_normal((8, 3))


def alibi(array, *lengths, **options):
    return alibi_bias(array(TABLE[0]), *lengths, **options)


def learned(array, *lengths, **options):
    return relative_position_bias(
        array(TABLE), *lengths, bidirectional=True, max_distance=7, **options
    )


@pytest.mark.parametrize("function", [alibi, learned])
def test_a_start_a_batch_item_stacks_their_biases(library, function):
    start = np.array([[4, 0], [-2, 6]], dtype=np.int32)
    bias = library.numpy(function(library.array, 5, 7, q_start=library.array(start)))
    assert bias.shape == (2, 2, 3, 5, 7)
    for place in np.ndindex(2, 2):
        one = function(np.asarray, 5, 7, q_start=int(start[place]))
        np.testing.assert_array_equal(bias[place], one)


@pytest.mark.parametrize("function", [alibi, learned])
def test_decoding_one_query_gives_the_last_row_of_the_whole(function):
    whole = function(np.asarray, 7)
    np.testing.assert_array_equal(function(np.asarray, 1, 7, q_start=6), whole[:, 6:])


@pytest.mark.parametrize("function", [alibi, learned])
def test_biases_depend_on_the_difference_of_positions_alone(function):
    whole = function(np.asarray, 11)
    np.testing.assert_array_equal(whole[:, :-1, :-1], whole[:, 1:, 1:])


def test_causal_weights_equal_those_of_the_form_that_adds_slope_times_key_position(library):
    generator = np.random.default_rng(0)
    query, key = (generator.standard_normal((2, 3, n, 5)) for n in (4, 7))
    slopes = alibi_slopes(3)
    mask = library.array(causal_mask(4, 7, q_start=3))
    by_distance, by_position = (
        attention_weights(library.array(query), library.array(key), mask=mask, bias=bias)
        for bias in (
            alibi_bias(library.array(slopes), 4, 7, q_start=3),
            library.array(np.broadcast_to(slopes[:, None, None] * np.arange(7), (3, 1, 7)).copy()),
        )
    )
    np.testing.assert_allclose(library.numpy(by_distance), library.numpy(by_position), atol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_biases_keep_the_dtype_and_round_once(dtype):
    slopes = alibi_slopes(3).astype(dtype)
    bias = alibi_bias(slopes, 1, 3000, q_start=2999)
    assert bias.dtype == dtype
    exact = spelled_out(slopes.astype(np.float64), 1, 3000, 2999)
    np.testing.assert_array_equal(bias, exact.astype(dtype))
    table = TABLE.astype(dtype)
    bias = relative_position_bias(table, 5, bidirectional=False, max_distance=9)
    assert bias.dtype == dtype
    assert set(bias.ravel().tolist()) <= set(table.ravel().tolist())


def test_gradients_reach_the_slopes_and_the_table():
    weight = torch.randn(3, 4, 7, dtype=torch.float64, generator=torch.manual_seed(1))
    slopes = torch.tensor(TABLE[0], requires_grad=True)
    (alibi_bias(slopes, 4, 7, q_start=2) * weight).sum().backward()
    ones = torch.ones(3, dtype=torch.float64)
    expected = (alibi_bias(ones, 4, 7, q_start=2) * weight).sum((1, 2))
    torch.testing.assert_close(slopes.grad, expected)

    table = torch.tensor(TABLE, requires_grad=True)
    (learned(lambda _: table, 4, 7, q_start=2) * weight).sum().backward()
    expected = np.zeros((8, 3))
    for i in range(4):
        for j in range(7):
            expected[transcribed(j - i - 2, True, 8, 7)] += weight[:, i, j].numpy()
    np.testing.assert_allclose(table.grad.numpy(), expected, rtol=1e-12, atol=1e-14)


def transcribed(relative_position, bidirectional, num_buckets, max_distance):
    """T5's rule for one number, from the paper's words and its code's order of steps."""
    bucket, distance = 0, -relative_position
    if bidirectional:
        num_buckets //= 2
        bucket = num_buckets if relative_position > 0 else 0
        distance = abs(relative_position)
    distance = max(distance, 0)
    exact = num_buckets // 2
    if distance < exact:
        return bucket + distance
    share = np.log(np.float64(distance) / exact) / np.log(np.float64(max_distance) / exact)
    # A little is added because the logarithms of powers round to either side of whole steps.
    return bucket + min(exact + int(share * (num_buckets - exact) + 1e-12), num_buckets - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("numbers", [(32, 128), (8, 20), (4, 3), (64, 1000), (6, 9), (32, 17)])
def test_buckets_are_those_of_the_rule(library, bidirectional, numbers):
    num_buckets, max_distance = numbers
    positions = np.arange(-1100, 1101).reshape(31, 71)
    bucket = relative_position_bucket(
        library.array(positions),
        bidirectional=bidirectional,
        num_buckets=num_buckets,
        max_distance=max_distance,
    )
    expected = np.vectorize(transcribed)(positions, bidirectional, num_buckets, max_distance)
    np.testing.assert_array_equal(library.numpy(bucket), expected)


def test_buckets_of_t5_begin_where_its_table_says():
    back = relative_position_bucket(
        -np.arange(200), bidirectional=False, num_buckets=32, max_distance=128
    )
    begins = np.flatnonzero(np.diff(back, prepend=-1)).tolist()
    assert begins == [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
    both = relative_position_bucket(
        np.arange(-200, 200), bidirectional=True, num_buckets=32, max_distance=128
    )
    assert both[199:203].tolist() == [1, 0, 17, 18]
    assert both[[0, -1]].tolist() == [15, 31]
    begins = np.flatnonzero(np.diff(both[200:], prepend=-1)).tolist()
    assert begins == [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]


@pytest.mark.no_shape_checks
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8"])
def test_small_integers_do_not_wrap_around(dtype):
    least = np.iinfo(dtype).min
    positions = np.array([least, 0, 1, 100], dtype=dtype)
    bucket = relative_position_bucket(
        positions, bidirectional=True, num_buckets=np.int8(32), max_distance=np.int16(1000)
    )
    assert bucket.tolist() == [transcribed(int(n), True, 32, 1000) for n in positions]


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_buckets_keep_the_shape(library, shape):
    positions = library.array(np.zeros(shape, dtype=int))
    bucket = relative_position_bucket(positions, bidirectional=False, num_buckets=2, max_distance=2)
    assert tuple(bucket.shape) == shape


@given(q_len=lengths, kv_len=lengths, q_start=starts, bidirectional=st.booleans())
def test_relative_position_bias_looks_up_the_bucket(library, q_len, kv_len, q_start, bidirectional):
    bias = relative_position_bias(
        library.array(TABLE),
        q_len,
        kv_len,
        bidirectional=bidirectional,
        max_distance=6,
        q_start=q_start,
    )
    bias = library.numpy(bias)
    assert bias.shape == (3, q_len, kv_len)
    for i, j in np.ndindex(q_len, kv_len):
        bucket = transcribed(j - q_start - i, bidirectional, 8, 6)
        np.testing.assert_array_equal(bias[:, i, j], TABLE[bucket])


def test_biases_follow_the_device():
    strict = array_api_strict.asarray(TABLE, device=array_api_strict.Device("device1"))
    assert alibi(lambda _: strict[0, :], 3).device == strict.device
    assert learned(lambda _: strict, 3).device == strict.device


ONE = np.array([1])


def bucket(positions=ONE, bidirectional=True, num_buckets=32, max_distance=128):
    return relative_position_bucket(
        positions,
        bidirectional=bidirectional,
        num_buckets=num_buckets,
        max_distance=max_distance,
    )


BOTH_READINGS = (
    "q_start must be given where q_len=1 and kv_len=5 differ: 0 gives query 0 position 0 "
    "(top-left), 4 gives the last query the last position (bottom-right)"
)
ABOVE = "max_distance must be above {}, the number of buckets that hold one distance, got {}"


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: alibi_slopes(0), ValueError, "heads must be at least 1, got 0"),
        (lambda: alibi_slopes(8.0), TypeError, "heads must be an integer, got float"),
        (
            lambda: alibi_slopes(8, like="torch"),
            TypeError,
            "like must be an array (NumPy, PyTorch, ...), got str",
        ),
        (
            lambda: alibi_slopes(8, like=np.array([1])),
            TypeError,
            "like must have a real floating dtype, got int64",
        ),
        (
            lambda: alibi_bias(8, 3),
            TypeError,
            "slopes must be an array (NumPy, PyTorch, ...), got int",
        ),
        (
            lambda: alibi_bias(np.array([1]), 3),
            TypeError,
            "slopes must have a real floating dtype, got int64",
        ),
        (
            lambda: alibi_bias(TABLE, 3),
            ValueError,
            "slopes must have shape (heads,), got (8, 3)",
        ),
        (lambda: alibi_bias(TABLE[0], 1, 5), ValueError, BOTH_READINGS),
        (lambda: learned(np.asarray, 1, 5), ValueError, BOTH_READINGS),
        (lambda: alibi_bias(TABLE[0], -1), ValueError, "q_len must be at least 0, got -1"),
        (
            lambda: alibi_bias(TABLE[0], 3, q_start=1.5),
            TypeError,
            "q_start must be an integer, got float",
        ),
        (
            lambda: alibi_bias(TABLE[0], 3, q_start=torch.tensor([1])),
            TypeError,
            "q_start must be an array of the library of slopes (numpy), got torch",
        ),
        (
            lambda: learned(np.asarray, 3, q_start=torch.tensor([1])),
            TypeError,
            "q_start must be an array of the library of table (numpy), got torch",
        ),
        (
            lambda: learned(lambda _: TABLE[0], 3),
            ValueError,
            "table must have shape (num_buckets, heads), got (3,)",
        ),
        (
            lambda: learned(lambda _: TABLE > 0, 3),
            TypeError,
            "table must have a real floating dtype, got bool",
        ),
        (
            lambda: learned(lambda _: TABLE[:7], 3),
            ValueError,
            "num_buckets must be even, half for each direction, got 7",
        ),
        (
            lambda: bucket([1]),
            TypeError,
            "relative_position must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: bucket(np.array([1.0])),
            TypeError,
            "relative_position must have an integral dtype, got float64",
        ),
        (
            lambda: bucket(bidirectional=1),
            TypeError,
            "bidirectional must be a bool, got int",
        ),
        (lambda: bucket(num_buckets=2), ValueError, "num_buckets must be at least 4, got 2"),
        (
            lambda: bucket(num_buckets=1, bidirectional=False),
            ValueError,
            "num_buckets must be at least 2, got 1",
        ),
        (lambda: bucket(num_buckets=8.0), TypeError, "num_buckets must be an integer, got float"),
        (lambda: bucket(max_distance=8), ValueError, ABOVE.format(8, 8)),
        (
            lambda: bucket(max_distance=16, bidirectional=False),
            ValueError,
            ABOVE.format(16, 16),
        ),
        (
            lambda: bucket(max_distance=None),
            TypeError,
            "max_distance must be an integer, got NoneType",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
