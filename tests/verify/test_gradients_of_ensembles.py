"""The gradient check of an ensemble: every member's gradients, and the member of a wrong one by its number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend

K = 3
LAYERS = [
    cr.PiecewiseLinear([[-1.0, 0.0, 0.5, 2.0], [], [-2.0, 0.5], []]),
    cr.Scale(),
    cr.Concatenate([cr.Dense(5, "selu"), cr.Dropout(0.2)]),
    cr.Dense(3),
]


@pytest.fixture
def rows(rng):
    return rng.normal(size=(10, 4)), rng.integers(0, 3, 10)


class OneEntryWrong(cr.MLP):
    """Its gradient by dense0.W[2, 1] of member 1 is off by a millionth."""

    def loss_and_gradients(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        loss, gradients = super().loss_and_gradients(X, y, sample_weight)
        gradients["dense0.W"][1, 2, 1] *= 1 + 1e-6
        return loss, gradients


class BiasOfAnotherMember(NumPyBackend):
    def activation_backward(self, activation: Any, saved: Any, dy: Any, *, dz: Any, db: Any) -> None:
        super().activation_backward(activation, saved, dy, dz=dz, db=db)
        db[2] = db[0]


@pytest.mark.parametrize(
    ("options", "weighted"),
    [({}, True), ({"normalization": "layer", "dropout": 0.3}, False), ({"normalization": "batch"}, False)],
)
def test_gradients_of_an_ensemble_pass(backend, rows, rng, options, weighted):
    net = cr.MLP([4, 6, 3], activation="tanh", backend=backend, members=K, seed=1, **options)
    before = net.parameter_arena.download()
    weights = rng.uniform(0.2, 2, (K, 10)) if weighted else None
    report = cr.check_gradients(net, *rows, weights)
    assert max(report.complex_step.values()) <= 1e-12
    assert set(report.central_difference) == set(net.parameters())
    for name, value in net.parameter_arena.download().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_gradients_of_an_ensemble_for_tables_pass(rows):
    report = cr.check_gradients(cr.Network(LAYERS, 4, members=K, seed=1), *rows)
    assert max(report.complex_step.values()) <= 1e-12


def test_gradients_of_an_ensemble_with_a_custom_activation_pass(rows):
    cube = cr.CustomActivation("cube", lambda xp, z: z**3, lambda xp, z: 3 * z**2)
    net = cr.Network([cr.Dense(6), cube, cr.Dense(3)], 4, members=K, seed=1)
    report = cr.check_gradients(net, *rows)
    assert max(report.central_difference.values()) <= 1e-6


def test_a_wrong_entry_of_a_member_is_named_with_the_member(rows):
    net = OneEntryWrong([4, 6, 3], activation="tanh", members=K, seed=1)
    with pytest.raises(cr.GradientError, match=r"dense0\.W\[2, 1\] of member 1: expected (\S+) by complex step, got"):
        cr.check_gradients(net, *rows)


def test_a_member_that_gets_the_gradient_of_another_is_named(rows):
    net = cr.MLP([4, 6, 3], activation="tanh", backend=BiasOfAnotherMember(), members=K, seed=1)
    with pytest.raises(cr.GradientError, match=r"dense0\.b\[\d\] of member 2"):
        cr.check_gradients(net, *rows)
