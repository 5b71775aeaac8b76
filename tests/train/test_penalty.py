"""The l2 penalty: a weight decay of alpha / n in the gradient, and a term in the loss."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr


@pytest.mark.parametrize("weighted", [False, True])
def test_l2_is_a_decay_of_alpha_by_the_sample_weight_of_the_batch(backend, rng, weighted):
    """Weights of rows count by their ratios: their mean is 1."""
    X, y = rng.normal(size=(12, 4)), rng.normal(size=12)
    weights = rng.integers(1, 4, 12).astype(float) if weighted else None
    total = 12.0
    nets, runs = [], []
    for l2, decay in ((0.6, 0.0), (0.0, 0.6 / total)):
        net = cr.MLP([4, 5, 1], loss="squared_error", backend=backend, dtype="float64", seed=1)
        sgd = cr.SGD(0.1, momentum=0.5, weight_decay=decay)
        runs.append(cr.Trainer(net, sgd, batch_size=12, epochs=5, l2=l2).fit(X, y, sample_weight=weights))
        nets.append(net.parameter_arena.download())
    for name in nets[0]:
        np.testing.assert_allclose(nets[0][name], nets[1][name], rtol=1e-12, atol=1e-14)
    first = cr.MLP([4, 5, 1], loss="squared_error", seed=1, dtype="float64").parameters()
    squares = sum(float((W**2).sum()) for name, W in first.items() if name.endswith(".W"))
    more = runs[0].history["loss"][0] - runs[1].history["loss"][0]
    np.testing.assert_allclose(more, 0.3 * squares / total, rtol=1e-12)


def test_l2_with_accumulate_is_refused():
    net = cr.MLP([2, 1], loss="squared_error")
    with pytest.raises(cr.OptionError, match=r"l2: expected 0 with accumulate=2, .*, got 0\.1"):
        cr.Trainer(net, l2=0.1, accumulate=2)
    with pytest.raises(cr.OptionError, match=r"l2: expected .*, got -1"):
        cr.Trainer(net, l2=-1)
