"""The gradient check finds what is wrong, and names the place."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.layers.activations import ACTIVATIONS


class OneEntryWrong(cr.MLP):
    """Its gradient by dense0.W[2, 1] is off by a millionth."""

    factor = 1 + 1e-6

    def loss_and_gradients(self, X, y, sample_weight=None):
        loss, gradients = super().loss_and_gradients(X, y, sample_weight)
        gradients["dense0.W"][2, 1] *= self.factor
        return loss, gradients


class ForgottenMask(NumPyBackend):
    """relu lets every gradient through."""

    def activation_backward(self, activation, saved, dy, *, dz, db):
        super().activation_backward("identity", saved, dy, dz=dz, db=db)


class BiasNotSummed(NumPyBackend):
    def activation_backward(self, activation, saved, dy, *, dz, db):
        super().activation_backward(activation, saved, dy, dz=dz, db=db)
        db[...] = dz[0]


@pytest.fixture
def rows(rng):
    return rng.normal(size=(10, 4)), rng.integers(0, 3, 10)


def test_a_right_gradient_passes_and_is_reported(rows):
    net = cr.MLP([4, 6, 3], seed=1)
    before = {name: p.copy() for name, p in net.parameters().items()}
    report = cr.check_gradients(net, *rows)
    assert max(report.complex_step.values()) <= 1e-12
    assert str(report).count("dense") == 4
    assert all((before[name] == p).all() for name, p in net.parameters().items()), "the net changed"


def test_one_wrong_entry_is_named_with_both_values(rows):
    net = OneEntryWrong([4, 6, 3], activation="tanh", seed=1)
    with pytest.raises(
        cr.GradientError, match=r"dense0\.W\[2, 1\]: expected (\S+) by complex step, got (\S+) "
    ) as caught:
        cr.check_gradients(net, *rows)
    assert "hint: " in str(caught.value)


@pytest.mark.parametrize(("backend", "name"), [(ForgottenMask, "dense0.W"), (BiasNotSummed, "dense0.b")])
def test_a_wrong_backward_pass_is_named_by_parameter(rows, backend, name):
    net = cr.MLP([4, 6, 3], backend=backend(), seed=1)
    with pytest.raises(cr.GradientError, match=name.replace(".", r"\.")):
        cr.check_gradients(net, *rows)


def test_a_nan_gradient_does_not_pass(rows):
    class Nan(OneEntryWrong):
        factor = float("nan")

    with pytest.raises(cr.GradientError, match=r"dense0\.W\[2, 1\]: expected .* got nan"):
        cr.check_gradients(Nan([4, 6, 3], seed=1), *rows)


def test_weights_count(rows, rng):
    weights = rng.uniform(0, 3, 10)
    report = cr.check_gradients(cr.MLP([4, 6, 3], seed=1), *rows, weights)
    assert max(report.central_difference.values()) <= 1e-6


def test_two_hundred_random_nets(rng):
    """Random depth, widths, activation, loss, rows and weights; both methods."""
    worst_exact = worst_rough = 0.0
    for _ in range(200):
        n, widths = int(rng.integers(1, 9)), [int(w) for w in rng.integers(1, 8, rng.integers(2, 6))]
        loss = str(rng.choice(["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error", "squared_error_sum"]))
        if loss.startswith("softmax"):
            widths[-1] += 1
        activation = str(rng.choice(list(ACTIVATIONS)))
        net = cr.MLP(widths, activation=activation, loss=loss, seed=int(rng.integers(2**31)))
        if loss.startswith("softmax"):
            y = rng.integers(0, widths[-1], n)
        else:
            y = rng.integers(0, 2, (n, widths[-1])) if loss.startswith("sigmoid") else rng.normal(size=(n, widths[-1]))
        weights = rng.uniform(0.1, 2, n) if rng.random() < 0.5 else None
        report = cr.check_gradients(net, rng.normal(size=(n, widths[0])), y, weights)
        worst_exact = max(worst_exact, *report.complex_step.values())
        worst_rough = max(worst_rough, *report.central_difference.values())
    assert worst_exact <= 1e-12
    assert worst_rough <= 1e-6


def test_float32_gradients_agree_with_float64(backend, rng):
    X, y = rng.normal(size=(64, 20)).astype(np.float32), rng.integers(0, 10, 64)
    net = cr.MLP([20, 50, 30, 10], backend=backend, seed=2)
    _, single = net.loss_and_gradients(X, y)
    _, double = net.copy(dtype="float64").loss_and_gradients(X, y)
    for name, exact in double.items():
        gap = np.abs(backend.download(single[name]) - backend.download(exact))
        assert gap.max() <= 1e-5 * np.abs(backend.download(exact)).max()
