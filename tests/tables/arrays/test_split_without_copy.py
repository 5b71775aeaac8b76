"""Large matrices without a column, or split, in their own memory."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.tables.arrays import split_without_copy
from chainrule.tables.splitting.splits import hold_out


@pytest.fixture(params=[1, 13, 1000], autouse=True)
def part(request, monkeypatch):
    monkeypatch.setattr(split_without_copy, "PART", request.param)


@pytest.mark.parametrize("column", [0, 2, 4])
def test_without_column_in_place(rng, column):
    matrix = rng.normal(size=(23, 5)).astype(np.float32)
    expected = np.delete(matrix, column, axis=1)
    found = split_without_copy.without_column(matrix, column)
    np.testing.assert_array_equal(found, expected)
    assert found.flags.c_contiguous
    assert np.shares_memory(found, matrix)


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.99])
def test_split_without_copy(rng, fraction):
    matrix = rng.integers(0, 9, (23, 3))
    split = hold_out(len(matrix), fraction, seed=4)
    expected = matrix[split.training], matrix[split.held_out]
    kept, others = split_without_copy.split_without_copy(matrix, *split)
    np.testing.assert_array_equal(kept, expected[0])
    np.testing.assert_array_equal(others, expected[1])
    assert np.shares_memory(kept, matrix)
