"""Threads that start cold on one simulated CUDA device give the bits of the same work in series."""

from __future__ import annotations

import pytest

from campaigns import shared_device
from emulation.compiled import compiler_problem


@pytest.mark.skipif(bool(compiler_problem()), reason=compiler_problem() or "a compiler is there")
def test_cold_threads_on_one_device(folder):
    counts, findings = shared_device.run([0, 1, 5], folder)
    assert findings == {}
    assert sum(counts.values()) == 3
