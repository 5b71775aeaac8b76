"""Memory that is not there: one error of known words, a net that can be used, a run that resumes."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from campaigns import allocations
from campaigns.failing_memory import failing_at
from emulation.compiled import compiler_problem

pytestmark = pytest.mark.skipif(sys.platform != "linux" or bool(compiler_problem()), reason="a compiler, and Linux")


CASES = [0, 104, 308, 512, 716, 5, 201, 401, 701, 122, 63]  # of each kind; those on a device take longest


def test_memory_that_is_not_there(tmp_path):
    counts, findings = allocations.run(CASES, tmp_path)
    assert findings == {}
    assert counts["done"] < 3


def test_the_handler_fails_the_array_that_it_is_told():
    with failing_at(1) as asked:
        np.empty(100)
        with pytest.raises(MemoryError):
            np.empty(100)
        np.empty(100)
    assert asked() == 3
