"""Tests of every pair of settings rather than of every combination: half the cases or fewer, and what they find."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any

import pytest

Setting = tuple[str, int]  # a factor, and the number of its value


def pairwise(**factors: Collection[Any]) -> pytest.MarkDecorator:
    """``parametrize`` over the factors so that any two values of two factors meet in some case.

    A fault that takes one setting, or two together, is found as by all combinations; one that takes three may not be.
    """
    values = {name: list(found) for name, found in factors.items()}
    rows = covering_rows({name: len(found) for name, found in values.items()})
    cases = [[values[name][row[name]] for name in values] for row in rows]
    return pytest.mark.parametrize(tuple(values), cases)


def covering_rows(sizes: dict[str, int]) -> list[dict[str, int]]:
    """Rows with a number below its size for each factor, in which every pair of two factors' numbers occurs.

    Greedy, and the same each time: a row begins with a pair that is left, and takes of every other factor the number
    that brings most pairs that are left.
    """
    left = {
        frozenset(((one, i), (other, j)))
        for one, other in itertools.combinations(sizes, 2)
        for i in range(sizes[one])
        for j in range(sizes[other])
    }
    rows = []
    while left:
        row = dict(min(left, key=sorted))
        for name in sorted(sizes.keys() - row.keys(), key=lambda name: (-sizes[name], name)):
            gains = [sum(frozenset(((name, i), old)) in left for old in row.items()) for i in range(sizes[name])]
            row[name] = gains.index(max(gains))
        left -= {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
        rows.append(row)
    return rows
