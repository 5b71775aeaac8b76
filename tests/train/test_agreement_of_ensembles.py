"""100 steps of an ensemble of eight: every implementation trains the reference's weights, and each member its own."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend

N, N_IN, K, BATCHES = 40, 5, 8, 3  # batches an epoch
STEPS, FEWER = 102, 12
SLOW = {"CuPyBackend", "GuardedBackend"}  # a simulated device needs 0.1 s for a step; the guarded one is the reference
CLOSE = {"float32": 1e-5, "float64": 1e-12}  # of the largest weight of a parameter
EDGES = [[-1.0, 0.0, 0.5, 2.0], [], [-2.0, -0.5, 0.5, 1.0, 1.5]]

NETS: dict[str, dict[str, Any]] = {
    "classes": {"optimizer": cr.AdamW(lr=0.01, clip_norm=0.5), "ema": 0.9},
    "encoded numbers": {"optimizer": cr.SGD(lr=0.02, momentum=0.9), "l2": 0.1},
}


def make(name: str, backend: cr.Backend, dtype: str, **options: Any) -> cr.Network:
    if name == "classes":
        layers = {"dropout": 0.2, "normalization": "layer"}
        return cr.MLP([N_IN, 6, 3], activation="tanh", backend=backend, dtype=dtype, seed=11, **layers, **options)
    start = cr.Start("lecun", bias_std=1, rows=N_IN)
    layers = [cr.PiecewiseLinear(EDGES), cr.Scale(), cr.Dense(6, "gelu", start=start), cr.Dense(1)]
    return cr.Network(layers, N_IN, loss="squared_error", backend=backend, dtype=dtype, seed=11, **options)


def trained(name: str, backend: cr.Backend, dtype: str, steps: int, member: int | None = None) -> cr.Network:
    """The ensemble after so many steps, or the net of one member."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, N_IN))
    weights = rng.uniform(0.2, 2, size=(K, N))
    weights[np.arange(N) % K, np.arange(N)] = 0  # left out
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5) if name == "classes" else X[:, 0] * X[:, 1]
    net = make(name, backend, dtype, **({"members": K} if member is None else {"member": member}))
    options = {"batch_size": 16, "epochs": steps // BATCHES, "seed": 5, **NETS[name]}
    run = cr.Trainer(net, options.pop("optimizer"), **options).fit(
        X, y, sample_weight=weights if member is None else weights[member]
    )
    assert run.steps == steps
    return net


@functools.cache
def of_reference(name: str, dtype: str, steps: int) -> dict[str, np.ndarray]:
    return trained(name, NumPyBackend(), dtype, steps).parameter_arena.download()


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float, what: str) -> None:
    for parameter, value in expected.items():
        gap = np.abs(found[parameter] - value).max()
        assert gap <= tolerance * max(1.0, np.abs(value).max()), f"{parameter}{what}: {gap:.1e}"


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", NETS)
def test_an_ensemble_of_eight_after_100_steps(backend, name, dtype):
    kind = type(backend).__name__
    steps = FEWER if kind in SLOW else STEPS
    ensemble = trained(name, backend, dtype, steps)
    assert_close(ensemble.parameter_arena.download(), of_reference(name, dtype, steps), CLOSE[dtype], "")
    for j in (5,) if kind in SLOW else (0, 5):
        alone = trained(name, backend, dtype, steps, member=j).parameter_arena.download()
        ours = ensemble.member(j).parameter_arena.download()
        assert_close(ours, alone, CLOSE[dtype] if kind == "CompiledBackend" else 0.0, f" of member {j}")
