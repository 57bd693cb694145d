import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_ref import (
    causal_mask,
    document_mask,
    padding_mask,
    prefix_mask,
    sliding_window_mask,
    streaming_mask,
)

lengths = st.integers(0, 11)
starts = st.integers(-5, 13)


def spelled_out(q_len, kv_len, q_start, visible):
    rows = [[visible(q_start + i, j) for j in range(kv_len)] for i in range(q_len)]
    return np.array(rows, dtype=bool).reshape(q_len, kv_len)


@given(q_len=lengths, kv_len=lengths, q_start=starts)
def test_causal_mask(q_len, kv_len, q_start):
    expected = spelled_out(q_len, kv_len, q_start, lambda i, j: j <= i)
    mask = causal_mask(q_len, kv_len, q_start=q_start)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


reaches = st.none() | st.integers(0, 7)


@given(q_len=lengths, kv_len=lengths, q_start=starts, left=reaches, right=reaches)
def test_sliding_window_mask(q_len, kv_len, q_start, left, right):
    def visible(i, j):
        return (left is None or i - j <= left) and (right is None or j - i <= right)

    mask = sliding_window_mask(q_len, kv_len, left=left, right=right, q_start=q_start)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, spelled_out(q_len, kv_len, q_start, visible))


@given(q_len=lengths, kv_len=lengths, q_start=starts, left=reaches, sink_tokens=st.integers(0, 3))
def test_streaming_mask(q_len, kv_len, q_start, left, sink_tokens):
    def visible(i, j):
        return j <= i and (left is None or i - j <= left or j in range(sink_tokens))

    mask = streaming_mask(q_len, kv_len, left=left, sink_tokens=sink_tokens, q_start=q_start)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, spelled_out(q_len, kv_len, q_start, visible))


def test_a_window_looks_back_unless_told_otherwise():
    np.testing.assert_array_equal(
        sliding_window_mask(7, left=2), sliding_window_mask(7, left=2, right=0)
    )
    np.testing.assert_array_equal(sliding_window_mask(7, left=None), causal_mask(7))


@given(q_len=lengths, kv_len=lengths, q_start=starts, prefix=st.integers(0, 13))
def test_prefix_mask(q_len, kv_len, q_start, prefix):
    expected = spelled_out(q_len, kv_len, q_start, lambda i, j: j < prefix or j <= i)
    mask = prefix_mask(q_len, kv_len, prefix=prefix, q_start=q_start)
    np.testing.assert_array_equal(mask, expected)


def test_equal_lengths_start_at_zero():
    for mask, given_start in (
        (causal_mask(5), causal_mask(5, 5, q_start=0)),
        (sliding_window_mask(5, left=1), sliding_window_mask(5, 5, left=1, q_start=0)),
        (
            streaming_mask(5, left=1, sink_tokens=1),
            streaming_mask(5, 5, left=1, sink_tokens=1, q_start=0),
        ),
        (prefix_mask(5, prefix=2), prefix_mask(5, 5, prefix=2, q_start=0)),
    ):
        np.testing.assert_array_equal(mask, given_start)


def test_a_start_a_batch_item_stacks_their_masks(library):
    start = np.array([[4, 0], [-2, 6], [9, 1]], dtype=np.int32)
    for function, more in (
        (causal_mask, {}),
        (sliding_window_mask, {"left": 2, "right": 1}),
        (streaming_mask, {"left": 1, "sink_tokens": 2}),
        (prefix_mask, {"prefix": 3}),
    ):
        mask = library.numpy(function(5, 7, q_start=library.array(start), **more))
        assert mask.shape == (3, 2, 5, 7)
        for place in np.ndindex(3, 2):
            one = function(5, 7, q_start=int(start[place]), **more)
            np.testing.assert_array_equal(mask[place], one)


def test_a_prefix_a_batch_item_stacks_their_masks(library):
    prefix = np.array([0, 2, 5])
    mask = library.numpy(prefix_mask(5, prefix=library.array(prefix)))
    for n, one in zip(prefix, mask, strict=True):
        np.testing.assert_array_equal(one, prefix_mask(5, prefix=int(n)))
    starts = library.array(np.array([1, -1, 0]))
    mask = library.numpy(prefix_mask(5, 7, prefix=library.array(prefix), q_start=starts))
    for n, start, one in zip(prefix, (1, -1, 0), mask, strict=True):
        np.testing.assert_array_equal(one, prefix_mask(5, 7, prefix=int(n), q_start=start))


@pytest.mark.parametrize("start", [0, 3])
def test_chunks_make_up_the_whole(start):
    whole = causal_mask(7)
    np.testing.assert_array_equal(causal_mask(7 - start, 7, q_start=start), whole[start:])


@pytest.mark.no_shape_checks
def test_small_unsigned_integers_do_not_wrap_around():
    size, start = np.uint8(5), np.array([3, 0], dtype=np.uint8)
    expected = causal_mask(5, 7, q_start=np.array([3, 0]))
    np.testing.assert_array_equal(causal_mask(size, np.uint8(7), q_start=start), expected)
    np.testing.assert_array_equal(
        sliding_window_mask(size, left=np.uint8(2)), sliding_window_mask(5, left=2)
    )
    np.testing.assert_array_equal(
        padding_mask(np.array([255, 3], dtype=np.uint8), 300), padding_mask(np.array([255, 3]), 300)
    )


def test_large_unsigned_integers_mix_with_no_others(library):
    starts = library.array(np.array([3, 0], dtype=np.uint64))
    masks = (
        causal_mask(5, 7, q_start=starts),
        prefix_mask(7, prefix=starts),
        padding_mask(starts, 7),
    )
    signed = np.array([3, 0])
    expected = (
        causal_mask(5, 7, q_start=signed),
        prefix_mask(7, prefix=signed),
        padding_mask(signed, 7),
    )
    for got, wanted in zip(masks, expected, strict=True):
        np.testing.assert_array_equal(library.numpy(got), wanted)


@given(given=st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_padding_mask(library, given):
    mask = library.numpy(padding_mask(library.array(np.array(given)), 7))
    expected = [[[j < length for j in range(7)]] for length in given]
    np.testing.assert_array_equal(mask, np.array(expected))


def test_padding_mask_of_one_sequence_and_of_none(library):
    one = padding_mask(library.array(np.array(2)), 3)
    assert library.numpy(one).tolist() == [[True, True, False]]
    assert padding_mask(library.array(np.zeros((0,), dtype=int)), 3).shape == (0, 1, 3)


def test_document_mask(library):
    ids, key_ids = np.array([[7, 7, 9], [1, 2, 1]]), np.array([[9, 7], [1, 1]])
    mask = library.numpy(document_mask(library.array(ids), library.array(key_ids)))
    assert mask.astype(int).tolist() == [[[0, 1], [0, 1], [1, 0]], [[1, 1], [0, 0], [1, 1]]]
    own = library.numpy(document_mask(library.array(ids)))
    assert own.astype(int).tolist()[1] == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_masks_combine(library):
    causal = causal_mask(3, like=library.array(np.zeros(1)))
    both = library.numpy(causal & padding_mask(library.array(np.array([1, 2])), 3))
    assert both.astype(int).tolist() == [
        [[1, 0, 0], [1, 0, 0], [1, 0, 0]],
        [[1, 0, 0], [1, 1, 0], [1, 1, 0]],
    ]


def windowed(*lengths, **options):
    return sliding_window_mask(*lengths, left=2, **options)


def prefixed(*lengths, **options):
    return prefix_mask(*lengths, prefix=2, **options)


@pytest.mark.parametrize("function", [causal_mask, windowed, prefixed])
def test_like_and_arrays_decide_the_library_and_device(function):
    strict = array_api_strict.asarray([1])
    assert type(function(3)) is np.ndarray
    assert type(function(3, like=strict)) is type(strict)
    assert type(function(3, q_start=strict)) is type(strict)
    on_meta = function(3, like=torch.zeros(1, device="meta"))
    assert on_meta.device == torch.device("meta")
    device = array_api_strict.Device("device1")
    on_device = function(3, like=array_api_strict.asarray([1.0], device=device))
    assert on_device.device == device


def test_lengths_prefixes_and_ids_decide_the_library():
    strict = array_api_strict.asarray([1])
    for mask in (padding_mask(strict, 3), prefix_mask(3, prefix=strict), document_mask(strict)):
        assert type(mask) is type(strict)
    device = array_api_strict.Device("device1")
    assert padding_mask(array_api_strict.asarray([1], device=device), 3).device == device


IDS = np.array([[1, 2, 3]])
BOTH_READINGS = (
    "q_start must be given where q_len=1 and kv_len=5 differ: 0 gives query 0 position 0 "
    "(top-left), 4 gives the last query the last position (bottom-right)"
)


@pytest.mark.no_shape_checks
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: causal_mask(1, 5), ValueError, BOTH_READINGS),
        (lambda: sliding_window_mask(1, 5, left=2), ValueError, BOTH_READINGS),
        (lambda: prefix_mask(1, 5, prefix=2), ValueError, BOTH_READINGS),
        (lambda: causal_mask(-1), ValueError, "q_len must be at least 0, got -1"),
        (lambda: causal_mask(2, -1, q_start=0), ValueError, "kv_len must be at least 0, got -1"),
        (lambda: causal_mask(2.0), TypeError, "q_len must be an integer, got float"),
        (lambda: causal_mask(True), TypeError, "q_len must be an integer, got bool"),
        (
            lambda: causal_mask(2, q_start=1.0),
            TypeError,
            "q_start must be an integer, got float",
        ),
        (
            lambda: causal_mask(2, q_start=[1]),
            TypeError,
            "q_start must be an integer, got list",
        ),
        (
            lambda: causal_mask(2, q_start=np.array([1.0])),
            TypeError,
            "q_start must have an integral dtype, got float64",
        ),
        (
            lambda: causal_mask(2, q_start=np.array([1]), like=torch.zeros(1)),
            TypeError,
            "q_start must be an array of the library of like (torch), got numpy",
        ),
        (
            lambda: causal_mask(2, like="torch"),
            TypeError,
            "like must be an array (NumPy, PyTorch, ...), got str",
        ),
        (
            lambda: sliding_window_mask(2, left=-1),
            ValueError,
            "left must be at least 0, or None for no bound, got -1",
        ),
        (
            lambda: sliding_window_mask(2, left=1, right=-1),
            ValueError,
            "right must be at least 0, or None for no bound, got -1",
        ),
        (
            lambda: sliding_window_mask(2, left=1.5),
            TypeError,
            "left must be an integer, or None for no bound, got float",
        ),
        (
            lambda: streaming_mask(2, left=-1, sink_tokens=1),
            ValueError,
            "left must be at least 0, or None for no bound, got -1",
        ),
        (
            lambda: streaming_mask(2, left=None, sink_tokens=-1),
            ValueError,
            "sink_tokens must be at least 0, got -1",
        ),
        (lambda: prefix_mask(2, prefix=-1), ValueError, "prefix must be at least 0, got -1"),
        (lambda: prefix_mask(2, prefix=None), TypeError, "prefix must be an integer, got NoneType"),
        (
            lambda: prefix_mask(2, prefix=np.array([1.0])),
            TypeError,
            "prefix must have an integral dtype, got float64",
        ),
        (
            lambda: padding_mask([1, 2], 3),
            TypeError,
            "lengths must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: padding_mask(np.array([1.0]), 3),
            TypeError,
            "lengths must have an integral dtype, got float64",
        ),
        (
            lambda: padding_mask(np.array([[1, 2], [3, 4]]), 3),
            ValueError,
            "lengths must lie between 0 and kv_len=3, got 4",
        ),
        (
            lambda: padding_mask(torch.tensor([1, -2]), 3),
            ValueError,
            "lengths must lie between 0 and kv_len=3, got -2",
        ),
        (lambda: padding_mask(IDS, None), TypeError, "kv_len must be an integer, got NoneType"),
        (
            lambda: document_mask([1]),
            TypeError,
            "query_ids must be an array (NumPy, PyTorch, ...), got list",
        ),
        (
            lambda: document_mask(IDS > 1),
            TypeError,
            "query_ids must have an integral dtype, got bool",
        ),
        (
            lambda: document_mask(np.array(1)),
            ValueError,
            "query_ids must have shape (*batch, q_len), got ()",
        ),
        (
            lambda: document_mask(IDS, IDS[0]),
            ValueError,
            "key_ids must have shape (*batch, kv_len) with batch axes (1,), got (3,)",
        ),
        (
            lambda: document_mask(IDS, np.concat([IDS, IDS])),
            ValueError,
            "key_ids must have shape (*batch, kv_len) with batch axes (1,), got (2, 3)",
        ),
    ],
)
def test_bad_input_gets_one_clear_line(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
