"""The analytic gradients of whole nets, on every body, against numeric ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.activations import ACTIVATIONS
from chainrule.nn.losses import LOSSES

N, N_IN, N_OUT = 11, 5, 3


def targets_for(loss: str, rng: np.random.Generator, n: int = N, k: int = N_OUT) -> np.ndarray:
    if loss == "softmax_cross_entropy":
        return rng.integers(0, k, n)
    return rng.integers(0, 2, (n, k)) if loss == "sigmoid_cross_entropy" else rng.normal(size=(n, k))


# A loss knows nothing of the activations below: all pairs for one with a kink and one without, each other with a loss.
PAIRS = [(activation, loss) for activation in ("relu", "tanh") for loss in LOSSES]
PAIRS += zip([name for name in ACTIVATIONS if name not in {"relu", "tanh"}], itertools.cycle(LOSSES), strict=False)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_every_activation_and_loss(backend, rng, activation, loss, weighted):
    net = cr.MLP([N_IN, 7, 6, N_OUT], activation=activation, loss=loss, backend=backend, seed=3)
    weights = rng.uniform(0, 2, N) if weighted else None
    report = cr.check_gradients(net, rng.normal(size=(N, N_IN)), targets_for(loss, rng), weights)
    assert set(report.complex_step) == set(net.parameters())
    assert max(report.complex_step.values()) <= 1e-12
    assert max(report.central_difference.values()) <= 1e-6
