"""The analytic gradients of whole nets, on every backend, against numeric ones."""

from __future__ import annotations

import itertools

import pytest

import chainrule as cr
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES
from chainrule.verify.explain import random_rows

N, N_IN, N_OUT = 11, 5, 3


# A loss knows nothing of the activations below: all losses for one with a kink and one without, each other with one.
PAIRS = [(activation, loss) for activation in ("relu", "tanh") for loss in LOSSES]
PAIRS += zip([name for name in ACTIVATIONS if name not in {"relu", "tanh"}], itertools.cycle(LOSSES), strict=False)
# Weights of rows are the losses' affair alone.
CASES = [(*pair, False) for pair in PAIRS] + [("relu", loss, True) for loss in LOSSES]


@pytest.mark.parametrize(("activation", "loss", "weighted"), CASES)
def test_every_activation_and_loss(backend, rng, activation, loss, weighted):
    widths = [N_IN, 7, 6, LOSSES[loss].outputs_for(N_OUT)]
    net = cr.MLP(widths, activation=activation, loss=loss, backend=backend, seed=3)
    weights = rng.uniform(0, 2, N) if weighted else None
    report = cr.check_gradients(net, *random_rows(net, N, rng), weights)
    assert set(report.complex_step) == set(net.parameters())
    assert max(report.complex_step.values()) <= 1e-12
    assert max(report.central_difference.values()) <= 1e-6
