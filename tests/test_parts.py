import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attention_ref._parts import in_parts

SCORES, ROWS = 60, 4


@settings(max_examples=100)
@example(batch=[], q_len=12, kv_len=5)  # as many scores as a part may have
@example(batch=[], q_len=8, kv_len=20)  # as many queries as are cut once
@given(
    batch=st.lists(st.integers(1, 5), max_size=3),
    q_len=st.integers(1, 40),
    kv_len=st.integers(0, 20),
)
def test_parts_are_small_but_no_smaller_than_need_be(batch, q_len, kv_len):
    item = np.arange(math.prod(batch)).reshape(*batch, 1, 1)
    query = item + np.arange(q_len)[:, None] / 100 + np.zeros(3)
    key, value = item + np.zeros((kv_len, 1)), item - np.zeros((kv_len, 2))
    shapes = []

    def attend(query, key, value, mask, bias, sink):
        shapes.append(query.shape)
        for array in (key, value):  # those of the same items
            assert (array == np.floor(query[..., :1, :1])).all()
        return query

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attention_ref._parts._SCORES", SCORES)
        patch.setattr("attention_ref._parts._ROWS", ROWS)
        joined = in_parts(np, attend, query, key, value, None, None, None)
    np.testing.assert_array_equal(joined, query)
    for shape in shapes:
        *items, rows, _ = shape
        alone = math.prod(items) == 1
        assert math.prod(shape[:-1]) * kv_len <= SCORES or (alone and rows < 2 * ROWS)
        assert rows == q_len or (alone and rows >= ROWS)  # the batch is cut first
    largest = max(math.prod(shape[:-1]) * kv_len for shape in shapes)
    assert len(shapes) == 1 or largest > SCORES / 2
