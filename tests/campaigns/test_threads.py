"""Fits side by side give the bits of fits one after the other."""

from __future__ import annotations

import os

import pytest

from campaigns import threads


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_fits_side_by_side(tmp_path):
    counts, findings = threads.run([0, 7, 2, 3], tmp_path)
    assert findings == {}
    assert sum(counts.values()) == 4
