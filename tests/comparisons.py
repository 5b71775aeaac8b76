"""Comparisons for tests: stored numbers of other libraries, and element-wise bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def numbers(value: Any) -> Any:
    """Hex floats as floats; options and names unchanged."""
    if isinstance(value, str):
        return float.fromhex(value) if "0x" in value else value
    if isinstance(value, list):
        return [numbers(v) for v in value]
    return {key: numbers(v) for key, v in value.items()} if isinstance(value, dict) else value


def assert_within(got: np.ndarray, want: Any, bound: Any, what: Any = "") -> None:
    """|got - want| <= bound, element by element; a nan is never within."""
    want, bound = np.broadcast_arrays(np.asarray(want), np.asarray(bound))
    assert got.shape == want.shape, (got.shape, want.shape, what)
    within = np.abs(got - want) <= bound
    if not within.all():
        at = tuple(int(i) for i in np.argwhere(~within)[0])
        pytest.fail(f"{what}{list(at)} expected {want[at]} +- {bound[at]}, got {got[at]}")
