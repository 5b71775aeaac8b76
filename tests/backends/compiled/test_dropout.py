"""The compiled loops of dropout have the bits of NumPy's passes."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.numpy.backend import NumPyBackend


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (17, 33), (130, 10), (3, 4099), (1, 2301)])
def test_dropout_has_the_bits_of_numpy(rng, dtype, shape):
    pytest.importorskip("numba", reason="numba is not installed")
    x, state, found = rng.normal(size=shape).astype(dtype), np.array([3, 1, RUNNING]), []
    for be in (NumPyBackend(), compiled.loaded()):
        out = np.empty_like(x)
        be.dropout(x, state, key=(5, 2**32 - 3), counter=(7, 3), rate=0.3, out=out)
        found.append(out.tobytes())
    assert found[0] == found[1]
