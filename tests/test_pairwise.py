"""Rows that cover all pairs do, and are far fewer than all combinations."""

from __future__ import annotations

import itertools
import math

import pytest

from pairwise import covering_rows


@pytest.mark.parametrize("sizes", [(2, 2), (1, 3, 1), (2, 2, 2), (11, 4, 2, 2, 2, 2), (5, 8, 2), (3, 3, 3, 3)])
def test_every_pair_of_values_meets_in_some_row(sizes):
    named = dict(zip("abcdef", sizes, strict=False))
    rows = covering_rows(named)
    for one, other in itertools.combinations(named, 2):
        assert len({(row[one], row[other]) for row in rows}) == named[one] * named[other]
    two_largest = math.prod(sorted(sizes)[-2:])
    assert two_largest <= len(rows) <= min(math.prod(sizes), 1.5 * two_largest)
