"""Several threads that load the loops, and compile the same ones, at the same time in a process that has just begun."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from chainrule.backends.compiled import loading
from chainrule.backends.compiled.state import LOOPS, Loops

pytest.importorskip("numba", reason="numba is not installed")

EIGHT_FITS = """
import threading
import numpy as np
import chainrule as cr
from chainrule.backends.compiled import loading
from chainrule.backends.compiled.state import LOOPS

X = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
y, gate, found = X[:, 0] * X[:, 1], threading.Barrier(8), {}

def fit(seed):
    net = cr.MLP([5, 64, 1], loss="squared_error", backend=cr.backend("cpu"), seed=seed)
    cr.Trainer(net, cr.Adam(), batch_size=32, epochs=4, seed=seed).fit(X, y, validation=0.2)
    return net.parameter_arena.flat.tobytes()

def begin(seed):
    gate.wait()
    loading.load()
    found[seed] = fit(seed)

threads = [threading.Thread(target=begin, args=[seed]) for seed in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert (LOOPS.is_loaded, LOOPS.problem, LOOPS.unkept) == (True, "", ""), vars(LOOPS)
assert found == {seed: fit(seed) for seed in range(8)}, "other bits"
"""


def test_eight_threads_load_and_compile_at_once_and_have_the_bits_of_a_series(tmp_path):
    environment = {**os.environ, "CHAINRULE_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "2"}
    environment.pop("CHAINRULE_COMPILED", None)
    command = [sys.executable, "-W", "error", "-c", EIGHT_FITS]
    found = subprocess.run(command, env=environment, timeout=300, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert list(tmp_path.rglob("*adam*")), "kept for later processes"


def test_loops_are_loaded_once_and_other_threads_wait(monkeypatch):
    before = dict(vars(LOOPS))
    vars(LOOPS).update(vars(Loops()))
    loads: list[int] = []

    def slowly() -> None:
        loads.append(threading.get_ident())
        time.sleep(0.1)
        LOOPS.is_loaded = True

    seen: list[bool] = []

    def load() -> None:
        loading.load()
        seen.append(LOOPS.is_loaded)

    monkeypatch.setattr(loading, "_load", slowly)
    threads = [threading.Thread(target=load) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        vars(LOOPS).update(before)
    assert len(loads) == 1
    assert seen == [True] * 4
