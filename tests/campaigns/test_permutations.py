"""Tables of permuted rows and columns, a few of them."""

from __future__ import annotations

import pytest

pytest.importorskip("pandas", reason="pandas is not installed")

from campaigns import permutations


def test_the_same_rows_in_any_order_are_one_table(folder):
    counts, findings = permutations.run(range(25), folder)
    assert findings == {}
    assert counts["as drawn"] > 8
