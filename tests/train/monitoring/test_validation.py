"""The history of a fit, its validation rows, early stopping and the best epoch."""

from __future__ import annotations

import numpy as np
import pytest
from tests.train.fits import evaluate, make_net, weights

import chainrule as cr


@pytest.mark.parametrize("metrics", [True, False])
@pytest.mark.parametrize("validation", [None, 0.25, "rows"])
def test_columns_of_the_history(task, validation, metrics):
    metric = "r2" if task.loss.startswith("squared") else "accuracy"
    trainer = cr.Trainer(make_net(task), batch_size=16, epochs=3, metrics=metrics)
    run = trainer.fit(task.X, task.y, validation=task.valid if validation == "rows" else validation)
    valid = [] if validation is None else ["valid_loss", f"valid_{metric}"]
    of_training = [metric] if metrics and metric != "r2" else []  # of two target columns the steps add up the errors
    assert list(run.history) == ["loss", *of_training, *valid, "lr", "seconds"]
    assert {len(values) for values in run.history.values()} == {run.history.epochs} == {3}
    assert run.history["seconds"] == sorted(run.history["seconds"])


def test_the_history_is_of_the_batches_before_their_updates(task):
    """With one batch per epoch, entry e (from 0) is the loss of the net after e epochs for all training rows."""

    def fit(net: cr.MLP, epochs: int) -> cr.History:
        return cr.Trainer(net, cr.SGD(lr=0.001), batch_size=1000, epochs=epochs).fit(task.X, task.y).history

    history = fit(make_net(task, dtype="float64"), 4)
    for epochs in range(4):
        net = make_net(task, dtype="float64")
        if epochs:
            fit(net, epochs)
        for name, value in evaluate(net, (task.X, task.y)).items():
            if name in history:
                assert history[name][epochs] == pytest.approx(value, rel=1e-12)


def test_the_rate_of_the_history_is_the_last_of_its_epoch(classes):
    schedule = cr.Cosine(0.1, warmup=0.2)
    run = cr.Trainer(make_net(classes), cr.SGD(lr=schedule), batch_size=16, epochs=4).fit(classes.X, classes.y)
    assert run.history["lr"] == schedule.rates(0, 12, 12)[2::3].tolist()


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_are_what_they_say(task, weighted):
    """Loss, accuracy and r2 over validation rows, against their definitions in plain NumPy."""
    X, y = task.valid
    w = np.random.default_rng(1).uniform(0, 3, len(X)) if weighted else np.ones(len(X))
    net = make_net(task, dtype="float64")
    got = evaluate(net, (X, y, w) if weighted else (X, y))
    p = net.parameters()
    z = np.maximum(X @ p["dense0.W"] + p["dense0.b"], 0) @ p["dense1.W"] + p["dense1.b"]
    if task.loss == "softmax_cross_entropy":
        rows, metric = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(z)), y], "accuracy"
        value = np.average(z.argmax(axis=1) == y, weights=w)
    elif task.loss == "sigmoid_cross_entropy":
        rows, metric = (np.logaddexp(0, z) - z * y).mean(axis=1), "accuracy"
        value = np.average(((z > 0) == y).all(axis=1), weights=w)
    else:
        rows, metric = ((z - y) ** 2).sum(axis=1), "r2"
        rows = rows / 2 if task.loss == "squared_error" else rows
        spread = (w[:, None] * (y - np.average(y, axis=0, weights=w)) ** 2).sum(axis=0)
        value = (1 - (w[:, None] * (z - y) ** 2).sum(axis=0) / spread).mean()
    loss = (rows * w).sum() if task.loss == "squared_error_sum" else np.average(rows, weights=w)
    assert got == pytest.approx({"loss": loss, metric: value}, rel=1e-12)


def test_a_validation_fraction_holds_out_that_many_rows(classes):
    """Rows whose targets are 4^i: the sum of the training rows tells which they are, each once."""
    n = 20
    y = 2.0 ** np.arange(n)
    for fraction, held_out in [(0.25, 5), (0.5, 10), (0.01, 1), (0.99, 19)]:
        net = cr.MLP([1, 1], loss="squared_error_sum", dtype="float64")
        net.parameters()["dense0.W"][:] = 0.0
        trainer = cr.Trainer(net, cr.SGD(lr=1e-300), batch_size=3, epochs=1, seed=5)
        history = trainer.fit(np.ones((n, 1)), y, validation=fraction).history
        kept, out = int(history["loss"][0]), int(history["valid_loss"][0])
        assert kept + out == sum(4**i for i in range(n))
        assert kept & out == 0
        assert out.bit_count() == held_out


@pytest.mark.parametrize("validation", ["rows", 0.3])
def test_the_weights_of_the_best_epoch_stay(backend, task, validation):
    """The net ends with the weights of its best epoch: its evaluation is that epoch's entry, bit for bit."""
    held_out = task.valid if validation == "rows" else validation
    net = make_net(task, backend)
    lr = 1e-3 if task.loss == "squared_error_sum" else 0.02
    trainer = cr.Trainer(net, cr.SGD(lr=lr, momentum=0.9), batch_size=7, epochs=12)
    run = trainer.fit(task.X, task.y, validation=held_out)
    valid_loss = run.history["valid_loss"]
    assert valid_loss[run.best_epoch - 1] == min(valid_loss)
    if validation == "rows":
        assert evaluate(net, task.valid)["loss"] == min(valid_loss)
    # A run that is over at that epoch has these weights too.
    again = make_net(task, backend)
    cr.Trainer(again, trainer.optimizer, batch_size=7, epochs=run.best_epoch).fit(task.X, task.y, validation=held_out)
    assert weights(again) == weights(net)


def test_early_stopping_waits_for_its_patience_and_restores_the_best_weights(classes):
    """Labels of pure chance: the validation loss soon rises."""
    y = np.random.default_rng(0).integers(0, 3, len(classes.X))
    net = make_net(classes)
    trainer = cr.Trainer(net, cr.Adam(lr=0.05), batch_size=8, epochs=200, early_stopping=cr.EarlyStopping(patience=3))
    run = trainer.fit(classes.X, y, validation=classes.valid)
    valid_loss = run.history["valid_loss"]
    assert run.stopped == "early"
    assert run.history.epochs == run.best_epoch + 3 < 200
    assert valid_loss[run.best_epoch - 1] == min(valid_loss) == evaluate(net, classes.valid)["loss"]


@pytest.mark.parametrize(("values", "infinite_in", "diverges"), [([0, 1, 0], 2, True), ([0, 1, 0], 3, False)])
def test_the_weights_of_the_best_epoch_must_be_finite_not_those_of_the_last(classes, values, infinite_in, diverges):
    """A bias of -inf before a relu, which leaves the loss finite, in one of three epochs; the second is the best."""
    answers = iter(values)
    metric = cr.Metric(lambda y, predicted: next(answers), "mine", greater_is_better=True)

    def change(record: cr.EpochRecord) -> None:
        bias = record.net.parameter_arena["dense0.b"]
        bias[0] = -np.inf if record.epoch + 1 == infinite_in else 0.0

    net = make_net(classes)
    fitting = cr.Trainer(net, epochs=3, metrics=[metric], monitor="valid_mine", callbacks=[change])
    if diverges:
        with pytest.raises(cr.DivergenceError, match=r"dense0\.b is not finite"):
            fitting.fit(classes.X, classes.y, validation=classes.valid)
    else:
        assert fitting.fit(classes.X, classes.y, validation=classes.valid).best_epoch == 2
        assert np.isfinite(net.parameter_arena.flat).all()


@pytest.mark.parametrize("monitor", ["loss", "accuracy", "valid_loss", "valid_accuracy"])
def test_any_metric_can_be_monitored(classes, monitor):
    net, records = make_net(classes), []
    trainer = cr.Trainer(net, cr.Adam(lr=0.05), batch_size=8, epochs=8, monitor=monitor, callbacks=[records.append])
    run = trainer.fit(classes.X, classes.y, validation=classes.valid)
    values = run.history[monitor]
    best = (max if "accuracy" in monitor else min)(values)
    assert run.best_epoch == values.index(best) + 1, "the first of equals"
    improved = [r.improved for r in records]
    assert improved[run.best_epoch - 1]
    assert not any(improved[run.best_epoch :])


def test_without_a_monitored_metric_the_last_epoch_stays(classes):
    run = cr.Trainer(make_net(classes), epochs=2).fit(classes.X, classes.y)
    assert run.best_epoch == 0
