"""Dropout in a recorded step: NumPy's bits, from the counters as they are when it is replayed, also in parts."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.numpy.backend import NumPyBackend
from recorded import RecordedBackend

pytest.importorskip("numba", reason="numba is not installed")

SHAPES = [(1, 1), (1, 7), (7, 1), (5, 3), (3, 1000), (129, 33), (4097, 1), (3, 5, 7), (2, 40, 128)]
OPTIONS = {"key": (5, 2**32 - 3), "counter": (7, 3)}


def dropped(backend: Any, x: np.ndarray, state: np.ndarray, *, rate: float = 0.3, in_place: bool = False) -> bytes:
    given = x.copy()
    out = given if in_place else np.full_like(x, np.nan)
    backend.dropout(given, state, rate=rate, **OPTIONS, out=out)
    return out.tobytes()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_dropout_has_the_bits_of_numpy(rng, dtype, shape, in_place):
    compiled.loaded()
    x = rng.normal(size=shape).astype(dtype)
    x.flat[0], x.flat[-1] = np.nan, np.inf
    recorded = RecordedBackend()
    for state in ([0, 0, RUNNING], [2**32 + 11, 2**16 + 1, RUNNING]):
        for rate in (0.0, 0.3, 0.99):
            options = {"state": np.array(state), "rate": rate, "in_place": in_place}
            want = dropped(NumPyBackend(), x, **options)
            assert dropped(compiled.loaded(), x, **options) == want
            assert dropped(recorded, x, **options) == want
    assert recorded.replayed["dropout"] == 6
    assert recorded.called["dropout"] == 0


@pytest.mark.parametrize("shape", [(40, 3), (9, 1), (3, 2000)])
def test_a_replayed_step_draws_anew_each_time_and_in_any_parts(rng, dtype, shape):
    """Parts that begin within a block of Philox, and cross a tile of blocks."""
    backend = compiled.loaded()
    x, state = rng.normal(size=shape).astype(dtype), np.array([0, 0, RUNNING])
    out = np.empty_like(x)
    recorder = LOOPS.programs.StepRecorder()
    (launch,) = recorder.record(functools.partial(backend.dropout, x, state, rate=0.5, **OPTIONS, out=out))
    borders = [0, 1, 2, len(x)]
    whole, parts = ([launch], [launch.part(*ends) for ends in itertools.pairwise(borders)])
    results = set()
    for step in range(3):
        state[:2] = step, 5 - step
        want = dropped(NumPyBackend(), x, state, rate=0.5)
        for launches in (whole, parts):
            out.fill(np.nan)
            recorder.program(launches)(1)
            assert out.tobytes() == want
        results.add(want)
    assert len(results) == 3
