"""The analytic gradients of whole nets, on every body, against numeric ones."""

from __future__ import annotations

import pytest

import chainrule as cr
from chainrule.nn.activations import ACTIVATIONS
from chainrule.nn.losses import LOSSES
from chainrule.verify.explain import random_rows

N, N_IN, N_OUT = 11, 5, 3


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("activation", "loss"),
    [(a, loss) for a in ACTIVATIONS for loss in LOSSES if a == "tanh" or loss in {"softmax_cross_entropy", "huber"}],
)
def test_every_activation_and_loss(backend, rng, activation, loss, weighted):
    widths = [N_IN, 7, 6, LOSSES[loss].outputs_for(N_OUT)]
    net = cr.MLP(widths, activation=activation, loss=loss, backend=backend, seed=3)
    weights = rng.uniform(0, 2, N) if weighted else None
    report = cr.check_gradients(net, *random_rows(net, N, rng), weights)
    assert set(report.complex_step) == set(net.parameters())
    assert max(report.complex_step.values()) <= 1e-12
    assert max(report.central_difference.values()) <= 1e-6
