"""Divergence: at the step at which it happens, with the place of the first number that is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.train.fits import evaluate, make_net, weights

import chainrule as cr
from chainrule.nn.losses.base import Baseline
from chainrule.train.diagnosis.divergence import refuse_explosion, remedy


def line(weight: float = 1.0, *, backend: cr.Backend | None = None, depth: int = 1, **options: Any) -> cr.MLP:
    """p = weight^depth * x, linear, so that its course can be computed on paper."""
    layers = [cr.Dense(1) for _ in range(depth)]
    net = cr.Network(layers, 1, loss="squared_error", backend=backend, **options)
    net.parameter_arena.assign(
        {name: np.full(v.shape, weight if name.endswith("W") else 0.0) for name, v in net.parameters().items()}
    )
    return net


def diverge(net: cr.Network, *, lr: float = 1e3, epochs: int = 100, **fit: Any) -> tuple[cr.DivergenceError, Any]:
    trainer = cr.Trainer(net, cr.SGD(lr=lr), batch_size=2, epochs=epochs, shuffle=False, divergence_factor=None)
    with pytest.raises(cr.DivergenceError) as caught:
        trainer.fit(np.ones((6, 1)), np.zeros(6), **fit)
    return caught.value, caught.value.run


def overflow_step(lr: float) -> int:
    """p <- p - lr * 2 p for rows x = 1, t = 0, W and b alike: the first step whose p^2 exceeds float32."""
    w, b, step = 1.0, 0.0, 0
    while (w + b) ** 2 < float(np.finfo(np.float32).max):
        w, b, step = w - lr * 2 * (w + b), b - lr * 2 * (w + b), step + 1
    return step


@pytest.mark.parametrize("lr", [1e3, 30.0])
def test_divergence_stops_at_the_step_at_which_it_happens(backend, lr):
    step = overflow_step(lr)
    net = line(backend=backend)
    error, run = diverge(net, lr=lr)
    assert (error.step, error.epoch) == (step, step // 3 + 1)
    assert run.history.epochs == step // 3
    assert run.steps == step // 3 * 3
    assert f"at step {step} (epoch {step // 3 + 1}, batch {step % 3 + 1} of 3)" in error.message
    assert f"learning rate (it is {lr:.3g})" in error.hint
    # The weights are those with which the failing step began: full batches of the same rows take the same steps.
    shorter = line(backend=backend)
    cr.Trainer(shorter, cr.SGD(lr=lr), epochs=step, shuffle=False, divergence_factor=None).fit(
        np.ones((2, 1)), np.zeros(2)
    )
    assert weights(net) == weights(shorter)


@pytest.mark.parametrize("scale", [1.0, 1e6], ids=["unit", "in thousands"])
def test_divergence_factor_stops_an_exploding_loss_that_is_still_finite(backend, scale):
    X, y = np.ones((6, 1)), scale * np.array([0.0, 1, 2, 0, 1, 2])
    net = line(backend=backend)
    trainer = cr.Trainer(net, cr.SGD(lr=0.6), batch_size=2, epochs=100, shuffle=False)
    with pytest.raises(cr.DivergenceError, match="exploded in epoch") as caught:
        trainer.fit(X, y)
    run = caught.value.run
    assert run.stopped == "diverged"
    assert all(loss <= 1e3 * max(1, scale**2 * 5 / 3) for loss in run.history.get("loss", ()))
    assert all(np.isfinite(values).all() for values in weights(net).values())


WHERE = {  # the weight, the layers, x, and where the first overflow is
    "loss": (1e25, 1, 1.0, "the loss itself"),
    "output of the first layer": (1e38, 1, 1e3, "the output of dense0"),
    "output of a later layer": (1e15, 3, 1.0, "the output of dense2"),
}


@pytest.mark.parametrize("case", WHERE)
def test_divergence_names_the_place(backend, case):
    weight, depth, x, where = WHERE[case]
    net = line(weight, backend=backend, depth=depth)
    trainer = cr.Trainer(net, epochs=2, batch_size=4)
    before = weights(net)
    with pytest.raises(cr.DivergenceError) as caught:
        trainer.fit(np.full((6, 1), x), np.zeros(6))
    assert caught.value.where.startswith(where)
    assert (caught.value.step, caught.value.epoch) == (0, 1)
    assert where in str(caught.value)
    assert weights(net) == before
    # No update was made: the learning rate had no part in it.
    assert "learning rate" not in caught.value.hint
    assert ("targets" if "loss" in where else "standardise X") in caught.value.hint


def test_divergence_in_a_parameter(backend):
    """A step of 1e38 times a gradient of 2e3: the parameter overflows, the loss of the next step shows it."""
    net = line(1e3, backend=backend)
    error, _ = diverge(net, lr=1e38)
    assert (error.step, error.where) == (1, "the parameter dense0.W")
    assert (
        "the update was too large, or its gradient was not finite: lower the learning rate (it is 1e+38)" in error.hint
    )


@pytest.mark.parametrize("loss", ["squared_error", "squared_error_sum"])
def test_divergence_of_a_sum_asks_for_the_mean_and_that_of_a_mean_does_not(loss):
    net = cr.MLP([1, 1], loss=loss)
    assert ("take the mean" in remedy(net, "the output of dense0", step=3, rate=0.1)) == (loss == "squared_error_sum")


def test_divergence_in_a_ragged_last_batch(backend):
    """The batch that failed is run once more, to find the place: it is the short one, not the first."""
    net = line(2.0, backend=backend)
    trainer = cr.Trainer(net, cr.SGD(lr=1e-3), batch_size=4, epochs=3, shuffle=False)
    X = np.array([1, 1, 1, 1, 1, 3e38])[:, None]
    with pytest.raises(cr.DivergenceError, match="batch 2 of 2") as caught:
        trainer.fit(X, np.zeros(6))
    assert (caught.value.step, caught.value.epoch, caught.value.where) == (1, 1, "the output of dense0")


def test_divergence_with_validation_keeps_the_best_epoch(backend):
    """The loss falls while the rate warms up, then the rate is too large."""
    valid = (np.ones((2, 1)), np.array([2.0, 3.0]))
    net = line(backend=backend)
    trainer = cr.Trainer(net, cr.SGD(lr=cr.Constant(20.0, warmup=0.999)), batch_size=2, epochs=300)
    with pytest.raises(cr.DivergenceError) as caught:
        trainer.fit(np.ones((6, 1)), np.arange(6), validation=valid)
    run = caught.value.run
    valid_loss = run.history["valid_loss"]
    assert caught.value.epoch == run.history.epochs + 1
    assert 1 < run.best_epoch < run.history.epochs
    assert evaluate(net, valid)["loss"] == min(valid_loss) == valid_loss[run.best_epoch - 1]


@pytest.mark.parametrize("optimizer", [cr.SGD(lr=1e6), cr.SGD(lr=1e5, momentum=0.9), cr.Adam(lr=1e18)], ids=repr)
def test_every_optimiser_and_loss_can_diverge(backend, regression, optimizer):
    net = make_net(regression, backend)
    with pytest.raises(cr.DivergenceError):
        cr.Trainer(net, optimizer, batch_size=8, epochs=50).fit(regression.X, regression.y)
    assert all(np.isfinite(value).all() for value in net.parameter_arena.download().values())


@pytest.mark.parametrize(
    ("first", "constant", "largest"), [(0.2, None, 1.0), (7.0, 3.0, 7.0), (-7.0, 3.0, 7.0), (2.0, 30.0, 30.0)]
)
def test_divergence_factor_is_of_the_first_loss_of_the_constant_prediction_or_of_one(first, constant, largest):
    """Whichever is the largest."""
    baseline = None if constant is None else Baseline(constant, 0.0)
    options = {"factor": 10.0, "first": first, "baseline": baseline, "step": 3, "epoch": 1}
    refuse_explosion(9.9 * largest, **options)
    with pytest.raises(cr.DivergenceError, match="exploded in epoch 1"):
        refuse_explosion(10.1 * largest, **options)
    refuse_explosion(1e30, **options | {"factor": None})
