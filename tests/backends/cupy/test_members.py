"""Ensembles on a simulated device: in captured steps each member is, bit for bit, the net that is trained alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from emulation.backend import compiler_problem
from emulation.simulated_cupy import simulated

N, N_IN, K = 37, 5, 3
MIXED = {"batch_size": 15, "accumulate": 2, "ema": 0.9}
GROUPS = [cr.ParameterGroup("dense1.*", lr_factor=0.5), cr.ParameterGroup("*.W", lr_factor=3.0, members=(1, 3))]
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "float32": (
        "fp32",
        {"dropout": 0.3, "normalization": "layer"},
        {"optimizer": cr.AdamW(lr=0.02, clip_norm=0.05, groups=GROUPS), **MIXED},
    ),
    "bfloat16": ("bf16", {"dropout": 0.3}, {"optimizer": cr.Adam(lr=0.02), "l2": 0.3, "batch_size": 15}),
    "float64": (
        "fp32",
        {"normalization": "batch", "dtype": "float64"},
        {"optimizer": cr.SGD(lr=0.05, momentum=0.9, groups=GROUPS[:1])},
    ),
    "squared_error streamed": (
        "fp32",
        {"loss": "squared_error", "activation": "tanh"},
        {"optimizer": cr.SGD(lr=0.05), "stream": True},
    ),
}


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, N_IN)).astype(np.float32)
    labels = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
    weights = rng.uniform(0.2, 2, size=(K, N))
    weights[0, :9] = 0  # left out
    return X, labels, weights


def trained(backend: cr.Backend, rows: Any, weights: Any, net: dict[str, Any], options: dict[str, Any]) -> Any:
    X, labels, _ = rows
    y = np.eye(3)[labels] if "loss" in net else labels
    built = cr.MLP([N_IN, 7, 8, 3], backend=backend, seed=11, **net)
    run = cr.Trainer(built, **{"batch_size": 16, "epochs": 3, "seed": 5, **options}).fit(X, y, sample_weight=weights)
    return built, run


@pytest.mark.parametrize("case", CASES)
def test_a_member_is_the_net_that_is_trained_alone(rows, case):
    if problem := compiler_problem():
        pytest.skip(problem)
    precision, net, options = CASES[case]
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        backend = CuPyBackend(precision=precision)
        ensemble, run = trained(backend, rows, rows[2], {**net, "members": K}, options)
        losses = []
        for j in range(K):
            alone, alone_run = trained(backend, rows, rows[2][j], {**net, "member": j}, options)
            losses.append(alone_run.history["loss"])
            ours, theirs = ensemble.member(j).parameter_arena.download(), alone.parameter_arena.download()
            for name, value in theirs.items():
                np.testing.assert_array_equal(ours[name], value, err_msg=name)
        np.testing.assert_allclose(run.history["loss"], np.mean(losses, axis=0), rtol=1e-12)


def test_validation_takes_the_mean_prediction(rows):
    if problem := compiler_problem():
        pytest.skip(problem)
    X, labels, _ = rows
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        net = cr.MLP([N_IN, 7, 3], backend=CuPyBackend(), members=K, seed=1)
        run = cr.Trainer(net, cr.Adam(lr=0.02), epochs=2, batch_size=16).fit(X, labels, validation=(X, labels))
        probabilities = net.predict_proba_members(X).mean(axis=0)
    expected = -np.log(probabilities[np.arange(N), labels]).mean()
    assert run.history["valid_loss"][run.best_epoch - 1] == pytest.approx(expected, 1e-4)
