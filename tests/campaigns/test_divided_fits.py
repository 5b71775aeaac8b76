"""Fits in parts have the same bits whoever computes them."""

from __future__ import annotations

import pytest

from campaigns import divided_fits


def test_fits_in_parts(tmp_path):
    pytest.importorskip("numba", reason="numba is not installed")
    counts, findings = divided_fits.run(range(10), tmp_path)
    assert findings == {}
    assert sum(count for name, count in counts.items() if name.startswith("in parts")) >= 3
