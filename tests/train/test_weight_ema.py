"""The weight EMA: its formula over a run, what uses it, and that training does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.evaluation import Evaluator
from chainrule.nn.losses.names import LOSSES

DECAY = 0.8


def make_net(task: Any, backend: cr.Backend | None = None, dtype: str = "float64") -> cr.MLP:
    return cr.MLP(task.widths, loss=task.loss, backend=backend, dtype=dtype, seed=2)


def weights_of(net: cr.Network) -> np.ndarray:
    return net.backend.download(net.parameter_arena.flat)


def train(task: Any, *, backend: Any = None, validation: Any = None, **options: Any) -> tuple[Any, cr.Run, list[Any]]:
    """The net, the run, and what callbacks saw: one update per epoch."""
    net, seen = make_net(task, backend), []
    trainer = cr.Trainer(
        net,
        options.pop("optimizer", cr.Adam(lr=0.02)),
        callbacks=[lambda record: seen.append(weights_of(record.net))],
        **({"batch_size": 1000, "epochs": 8} | options),
    )
    return net, trainer.fit(task.X, task.y, validation=validation), seen


def test_ema_follows_its_formula_over_a_run(backend, classes):
    """By the raw weights of a run without it: callbacks see the average, and the net ends with the last one."""
    start = weights_of(make_net(classes))
    _, plain, raw = train(classes, backend=backend)
    net, run, seen = train(classes, backend=backend, ema=DECAY)
    average = start.astype(np.float64)
    for t, (weights, got) in enumerate(zip(raw, seen, strict=True), start=1):
        d = min(DECAY, (1 + t) / (10 + t))
        average = d * average + (1 - d) * weights
        np.testing.assert_allclose(got, average, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(weights_of(net), seen[-1])
    assert run.history["loss"] == plain.history["loss"], "training itself changed"


def test_ema_is_validated_and_kept_as_the_best_epoch(backend, classes):
    options = {"backend": backend, "validation": classes.valid, "epochs": 15, "optimizer": cr.SGD(lr=1.0, momentum=0.9)}
    net, run, seen = train(classes, ema=DECAY, **options)
    _, plain, _ = train(classes, **options)
    assert run.history["valid_loss"] != plain.history["valid_loss"]
    assert run.best_epoch == 1 + int(np.argmin(run.history["valid_loss"]))
    np.testing.assert_array_equal(weights_of(net), seen[run.best_epoch - 1])
    best = Evaluator(net, net.upload_rows(*classes.valid))()["loss"]
    assert best == min(run.history["valid_loss"])


def test_ema_is_better_and_steadier_if_batches_are_noisy(regression):
    """Two rows per step and noisy targets: the validation loss of the average is lower, and varies less."""
    y = regression.y + np.random.default_rng(0).normal(size=regression.y.shape)
    found = []
    for ema in (None, 0.98):
        net = cr.MLP(regression.widths, loss="squared_error", activation="tanh", seed=2)
        trainer = cr.Trainer(net, cr.SGD(lr=0.1), batch_size=2, epochs=40, ema=ema)
        valid = np.array(trainer.fit(regression.X, y, validation=regression.valid).history["valid_loss"][20:])
        found.append((valid.mean(), np.abs(np.diff(valid)).mean()))
    (mean, jump), (averaged_mean, averaged_jump) = found
    assert averaged_mean < mean
    assert averaged_jump < 0.5 * jump


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_ema_is_kept_by_an_interrupted_run(classes, how):
    net, seen = make_net(classes), []

    def cut(record: cr.EpochRecord) -> None:
        seen.append(weights_of(record.net))
        if record.epoch == 3 and how == "interrupt":
            raise KeyboardInterrupt
        if record.epoch == 3:
            trainer.stop()

    trainer = cr.Trainer(net, ema=DECAY, batch_size=1000, callbacks=[cut])
    run = trainer.fit(classes.X, classes.y)
    assert run.stopped == "interrupted"
    np.testing.assert_array_equal(weights_of(net), seen[2])


def test_ema_is_not_kept_by_a_diverging_run(classes):
    """And not the average, which an overflow may have reached."""
    y = np.zeros((len(classes.X), 3))
    nets = [cr.MLP([5, 3], loss="squared_error", seed=2) for _ in "01"]
    for net, ema in zip(nets, (None, DECAY), strict=True):
        with pytest.raises(cr.DivergenceError):
            cr.Trainer(net, cr.SGD(lr=1e6), epochs=50, batch_size=10, ema=ema).fit(classes.X, y)
    np.testing.assert_array_equal(weights_of(nets[0]), weights_of(nets[1]))


def test_ema_with_refused_rows_leaves_the_net_as_it_was(classes):
    net = make_net(classes, dtype="float32")
    X = classes.X.astype(np.float32)
    X[-1, 0] = np.nan
    before = weights_of(net)
    with pytest.raises(cr.DataError):
        cr.Trainer(net, ema=DECAY, batch_size=4, stream=True, shuffle=False).fit(X, classes.y)
    np.testing.assert_array_equal(weights_of(net), before)


@pytest.mark.parametrize("ema", [0.0, 1.0, -0.1, float("nan"), "0.9"])
def test_wrong_ema_is_refused(classes, ema):
    with pytest.raises(cr.OptionError, match=r"ema: expected a finite number above 0 to below 1"):
        cr.Trainer(make_net(classes), ema=ema)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "quantile", "gaussian_nll"])
def test_ema_begins_at_the_bias_from_targets(rng, loss):
    """Not at the weights before the bias was set: after ten updates these would be most of the average."""
    X = rng.normal(size=(60, 3))
    y = rng.gamma(2.0, 50.0, 60)
    starts: list[np.ndarray] = []
    found: dict[float | None, list[np.ndarray]] = {}

    class WeightsOfEpochs(cr.Callback):
        def __init__(self, seen: list[np.ndarray]) -> None:
            self.seen = seen

        def on_start(self, record: cr.StartRecord) -> None:
            starts.append(weights_of(record.net))

        def on_epoch_end(self, record: cr.EpochRecord) -> None:
            self.seen.append(weights_of(record.net))

    for ema in (None, 0.99):
        found[ema] = []
        net = cr.MLP([3, 4, LOSSES[loss].outputs_for(1)], loss=loss, dtype="float64", seed=2)
        before = weights_of(net)
        cr.Trainer(net, cr.SGD(1e-4), batch_size=60, epochs=10, ema=ema, callbacks=[WeightsOfEpochs(found[ema])]).fit(
            X, y
        )
    assert np.abs(starts[0] - before).max() > 1  # the bias was set
    average = starts[0]
    for t, (weights, got) in enumerate(zip(found[None], found[0.99], strict=True), start=1):
        d = min(0.99, (1 + t) / (10 + t))
        average = d * average + (1 - d) * weights
        np.testing.assert_allclose(got, average, rtol=1e-11, atol=1e-13)
