"""Recorded steps as programs: into how many parts a step is divided."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled

pytest.importorskip("numba", reason="numba is not installed")


@pytest.mark.parametrize("threads", [16, 24, 48, 1000, 1_000_000])
def test_more_threads_than_a_step_has_rows_for_divide_it_nevertheless(threads):
    rng = np.random.default_rng(0)
    net = cr.MLP([256, 512, 512, 1], loss="squared_error", backend=compiled.loaded(), seed=0)
    trainer = cr.Trainer(net, batch_size=512, epochs=1, threads=threads)
    run = trainer.fit(rng.normal(size=(1024, 256)), rng.normal(size=1024))
    assert 2 <= run.execution["threads"] <= 64
