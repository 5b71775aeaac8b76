"""Compiled loops: the same bits as NumPy, loaded when it pays, safe in threads and after a fork."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import loading, loop_cache
from chainrule.backends.compiled.state import Loops
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES
from chainrule.verify.explain import random_rows

pytest.importorskip("numba", reason="numba is not installed")

OPTIMIZERS = {
    "sgd": cr.SGD(1e-3),
    "nesterov": cr.SGD(1e-3, momentum=0.9, nesterov=True, weight_decay=0.1),
    "momentum": cr.SGD(1e-3, momentum=0.9),
    "adam": cr.Adam(1e-3, weight_decay=0.1, clip_norm=1.0),
    "adamw": cr.AdamW(1e-3),
}


def train(
    backend,
    *,
    loss="softmax_cross_entropy",
    optimizer="adam",
    activation="relu",
    dtype="float32",
    k=5,
    seed=0,
    **options,
):
    """Weights after three epochs with a ragged batch, row weights and validation, and the history of the loss."""
    rng = np.random.default_rng(seed)
    n, k = 107, LOSSES[loss].outputs_for(k)
    net = cr.MLP([20, 33, 17, k], activation=activation, loss=loss, backend=backend, dtype=dtype, seed=seed)
    X, y = random_rows(net, n, rng)
    trainer = cr.Trainer(net, OPTIMIZERS[optimizer], batch_size=32, epochs=3, seed=seed, **options)
    run = trainer.fit(X, y, sample_weight=rng.uniform(0, 2, n) if k % 2 else None, validation=0.1)
    return net.parameter_arena.download(), run.history["loss"]


def same(one, other) -> bool:
    (weights, losses), (other_weights, other_losses) = one, other
    return losses == other_losses and all(np.array_equal(weights[name], other_weights[name]) for name in weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "optimizer"),
    [(loss, o) for loss in LOSSES for o in OPTIMIZERS if o == "adam" or loss == "softmax_cross_entropy"],
)
def test_the_same_bits_as_numpy(loss, optimizer, dtype):
    outputs = (2, 5, 12, 140)  # fewer than eight, more, and beyond NumPy's unrolled sum; no hidden layer knows of them
    for activation, k in zip(("identity", "relu", "tanh", "sigmoid"), outputs, strict=True):
        setting = {"loss": loss, "optimizer": optimizer, "activation": activation, "dtype": dtype, "k": k}
        assert same(train(compiled.loaded(), **setting), train(NumPyBackend(), **setting)), setting


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averages_and_sums_of_gradients_have_the_same_bits(dtype):
    options = {"dtype": dtype, "k": 5, "ema": 0.9, "accumulate": 3}
    assert same(train(compiled.loaded(), **options), train(NumPyBackend(), **options))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_have_the_same_bits(rng, activation, dtype):
    """In training, and far out: there a loop has to choose as NumPy does."""
    setting = {"activation": activation, "dtype": dtype}
    assert same(train(compiled.loaded(), **setting), train(NumPyBackend(), **setting))
    ends = [np.nan, np.inf, -np.inf, 1e4, -1e4, 0.0, -0.0, 8.0, 30.0, 40.0, -40.0, -800.0, 1e-40]
    z = np.concatenate([ends, 3 * rng.normal(size=500)]).astype(dtype).reshape(27, 19)
    found = []
    for backend in (compiled.loaded(), NumPyBackend()):
        y, in_place, dz, db = np.empty_like(z), z.copy(), np.cos(np.nan_to_num(z)), z[0].copy()
        with backend.running():
            backend.activate(activation, z, out=y)
            backend.activate(activation, in_place, out=in_place)
            saved = y if ACTIVATIONS[activation].saves == "output" else z
            backend.activation_backward(activation, saved, dz, dz=dz, db=db)
        found.append([array.tobytes() for array in (np.abs(y), np.abs(in_place), np.abs(dz), np.abs(db))])
    assert found[0] == found[1]


@pytest.mark.parametrize("k", [1, 2, 7, 8, 9, 15, 16, 17, 100, 127, 128])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_summed_in_the_order_of_numpy(rng, dtype, k):
    from chainrule.backends.compiled.loops import losses

    rows = np.exp(3 * rng.normal(size=(200, k))).astype(dtype)
    assert [losses.pairwise_sum(row) for row in rows] == rows.sum(axis=-1).tolist()


def test_random_words_are_those_of_the_reference(rng):
    for count in (1, 2, 3, 4, 5, 1001):
        key, counter = tuple(map(int, rng.integers(0, 2**32, 2))), tuple(map(int, rng.integers(0, 2**32, 3)))
        found = []
        for backend in (compiled.loaded(), NumPyBackend()):
            for dtype in (np.uint32, np.uint64):
                found.append(words := np.empty(count, dtype))
                backend._fill_words(key, counter, 0, words)
        for words in found[1:]:
            np.testing.assert_array_equal(words, found[0])


def test_eight_threads_train_what_one_trains():
    fits = 50
    expected = [train(compiled.loaded(), seed=seed) for seed in range(fits)]
    found: dict[tuple[int, int], bool] = {}

    def work(number: int) -> None:
        backend = compiled.loaded()
        for seed in range(fits):
            found[number, seed] = same(train(backend, seed=seed), expected[seed])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 * fits
    assert all(found.values())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_trains_the_same():
    code = """
import os, sys, numpy as np, chainrule as cr
from chainrule.backends.compiled import backend as compiled, loading, loop_cache
def train():
    net = cr.MLP([4, 8, 3], backend=compiled.loaded())
    cr.Trainer(net, epochs=2).fit(np.eye(4).repeat(9, 0), np.arange(36) % 3)
    return net.parameter_arena.flat.tobytes()
expected = train()
child = os.fork()
if child == 0:
    os._exit(0 if train() == expected else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


def test_workers_of_joblib_train_the_same():
    pytest.importorskip("joblib", reason="joblib is not installed")
    code = """
import joblib, numpy as np, chainrule as cr
from chainrule.backends.compiled import backend as compiled, loading, loop_cache
def train(seed):
    net = cr.MLP([4, 8, 3], backend=compiled.loaded(), seed=seed)
    cr.Trainer(net, epochs=2).fit(np.eye(4).repeat(9, 0), np.arange(36) % 3)
    return net.parameter_arena.flat.tobytes()
expected = [train(seed) for seed in range(6)]
for backend in ("loky", "threading"):
    assert joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(train)(s) for s in range(6)) == expected, backend
"""
    found = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_nothing_of_the_host_process_changes():
    threads, state = threading.active_count(), np.geterr()
    train(compiled.loaded())
    assert threading.active_count() == threads
    assert np.geterr() == state


SHORT_RUN = """
import json, sys, numpy as np, chainrule as cr
from chainrule.backends.compiled import backend as compiled, loading, loop_cache
net = cr.MLP([4, 8, 3])
cr.Trainer(net, epochs=2).fit(np.eye(4).repeat(9, 0), np.arange(36) % 3)
print(json.dumps([type(net.backend).__name__, "numba" in sys.modules, compiled.describe()]))
"""


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("0", ["NumPyBackend", False, "off (CHAINRULE_COMPILED=0)"]),
        ("", ["CompiledBackend", False, "installed, loaded by runs that are long enough"]),
        ("1", ["CompiledBackend", True, "in use"]),
    ],
)
def test_when_the_loops_are_loaded(wanted, expected):
    environment = os.environ | {"CHAINRULE_COMPILED": wanted}
    found = subprocess.run([sys.executable, "-c", SHORT_RUN], env=environment, capture_output=True, check=True)
    assert json.loads(found.stdout) == expected


def test_a_long_run_loads_them_once_they_pay(monkeypatch):
    monkeypatch.setattr(loading, "LOOPS", loops := Loops())
    monkeypatch.setattr(loop_cache, "has_loops", lambda: True)
    loading.spend(loading.LOADING * 0.6)
    assert not loops.is_loaded
    loading.spend(loading.LOADING * 0.6)
    assert loops.is_loaded
