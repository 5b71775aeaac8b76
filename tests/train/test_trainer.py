"""The training loop: what it learns, what it records, how it stops, and that it repeats itself bit for bit."""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.evaluation import Evaluator


def make_net(task: Any, backend: cr.Backend | None = None, **options: Any) -> cr.MLP:
    return cr.MLP(task.widths, **({"loss": task.loss, "backend": backend, "seed": 2} | options))


def weights(net: cr.Network) -> dict[str, list]:
    return {name: value.tolist() for name, value in net.parameter_arena.download().items()}


def evaluate(net: cr.Network, rows: tuple[np.ndarray, ...]) -> dict[str, float]:
    return Evaluator(net, net.upload_rows(*rows))()


# ---- learning -------------------------------------------------------------------------------------


def test_noisy_digits_are_learnt(backend):
    """Ten random pictures of 8 x 8, under noise as strong as themselves."""
    rng = np.random.default_rng(4)
    pictures, y = rng.normal(size=(10, 64)), rng.integers(0, 10, 600)
    X = pictures[y] + rng.normal(size=(600, 64))
    net = cr.MLP([64, 32, 10], backend=backend)
    run = cr.Trainer(net, cr.Adam(lr=3e-3), batch_size=50, epochs=8).fit(X[:500], y[:500])
    assert run.history["loss"][0] > 1
    assert run.history["loss"][-1] < 0.1
    assert (net.predict(X[500:]) == y[500:]).mean() > 0.95


def test_every_loss_falls(backend, task):
    net = make_net(task, backend)
    before = evaluate(net, task.valid)["loss"]
    run = cr.Trainer(net, cr.Adam(lr=0.02), batch_size=10, epochs=15).fit(task.X, task.y, validation=task.valid)
    assert run.history["valid_loss"][-1] < 0.6 * before
    assert run.stopped == "completed"
    assert run.steps == 15 * 4
    assert 0 < run.seconds < 60


# ---- history --------------------------------------------------------------------------------------


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
    """With one batch an epoch, entry e (from 0) is what the net after e epochs says of all training rows."""

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


# ---- validation and early stopping ----------------------------------------------------------------


def test_a_validation_fraction_holds_out_that_many_rows(classes):
    """Rows whose targets are 4^i: the sum of what is left says which rows were left, each once."""
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


# ---- rows -----------------------------------------------------------------------------------------


def sum_of_epochs(n: int, backend: cr.Backend | None = None, **options: Any) -> list[int]:
    """The summed loss of each epoch of a net that predicts 0 and stands still, for targets 2^i: sum_i 4^i.

    A sum over as many rows as there are is (4^n - 1) / 3 only where each row counts once.
    """
    net = cr.MLP([1, 1], loss="squared_error_sum", dtype="float64", backend=backend)
    net.parameter_arena.assign({"dense0.W": np.zeros((1, 1)), "dense0.b": np.zeros(1)})
    run = cr.Trainer(net, cr.SGD(lr=1e-300), **options).fit(np.ones((n, 1)), 2.0 ** np.arange(n))
    return [int(loss) for loss in run.history["loss"]]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 25, 26, 100])
def test_every_row_is_used_once_per_epoch(backend, batch_size, shuffle):
    n = 25
    assert sum_of_epochs(n, backend, batch_size=batch_size, epochs=3, shuffle=shuffle) == 3 * [(4**n - 1) // 3]


@pytest.mark.parametrize(("batch_size", "kept"), [(7, 21), (5, 25), (24, 24), (100, 25)])
def test_drop_last_leaves_out_the_ragged_batch(backend, batch_size, kept):
    sums = sum_of_epochs(25, backend, batch_size=batch_size, epochs=4, drop_last=True)
    assert [s.bit_count() for s in sums] == 4 * [kept]
    assert len(set(sums)) > 1 or kept == 25, "the same rows were left out every epoch"
    in_order = sum_of_epochs(25, backend, batch_size=batch_size, epochs=2, drop_last=True, shuffle=False)
    assert in_order == 2 * [(4**kept - 1) // 3]


def test_sample_weight_is_repeated_rows(task):
    """Weight 3 is the row three times, weight 0 no row at all: the same steps to rounding, batch for batch."""
    times = np.arange(len(task.X)) % 4
    repeated = np.repeat(np.arange(len(task.X)), times)
    nets, runs = [], []
    for rows in [{"X": task.X, "y": task.y, "sample_weight": times}, {"X": task.X[repeated], "y": task.y[repeated]}]:
        nets.append(make_net(task, dtype="float64"))
        runs.append(cr.Trainer(nets[-1], cr.SGD(lr=1e-3), batch_size=1000, epochs=10).fit(**rows))
    for name in set(runs[0].history) - {"seconds"}:
        np.testing.assert_allclose(runs[0].history[name], runs[1].history[name], rtol=1e-12, atol=1e-12)
    for name, value in nets[0].parameters().items():
        np.testing.assert_allclose(value, nets[1].parameters()[name], rtol=1e-12, atol=1e-12)


# ---- repetition -----------------------------------------------------------------------------------


def train(task: Any, *, seed: int = 0, dtype: str = "float32", **options: Any) -> dict[str, list]:
    net = make_net(task, dtype=dtype)
    cr.Trainer(net, cr.Adam(lr=0.01), batch_size=7, epochs=3, seed=seed, **options).fit(task.X, task.y, validation=0.2)
    return weights(net)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_seed_gives_the_same_bits(task, dtype):
    assert train(task, dtype=dtype) == train(task, dtype=dtype)


def test_another_seed_another_result(classes):
    results = [train(classes, seed=seed) for seed in (0, 1, 2**64 - 1)]
    assert all(a != b for a, b in itertools.combinations(results, 2))


def test_metrics_and_progress_do_not_change_the_result(classes):
    assert train(classes) == train(classes, metrics=False, progress=True)


def test_threads_do_not_disturb_each_other(classes, regression):
    """Fits at once on one backend, each as it would be alone; arrays large enough that NumPy lets go of the lock."""
    backend, jobs = cr.backend("cpu"), [(classes, 0), (regression, 1), (classes, 2), (regression, 3)]

    def fit(task: Any, seed: int) -> dict[str, list]:
        net = cr.MLP([5, 100, 80, task.widths[-1]], loss=task.loss, activation="tanh", backend=backend)
        cr.Trainer(net, cr.Adam(lr=0.01), batch_size=30, epochs=10, seed=seed).fit(task.X, task.y)
        return weights(net)

    alone = {seed: fit(task, seed) for task, seed in jobs}
    barrier, together = threading.Barrier(len(jobs)), {}

    def fit_at_once(task: Any, seed: int) -> None:
        barrier.wait()
        together[seed] = fit(task, seed)

    threads = [threading.Thread(target=fit_at_once, args=job) for job in jobs]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert together == alone


def test_a_trainer_can_be_used_again(classes):
    """A second fit goes on from the weights, with fresh moments, as a new trainer would."""
    net, other = make_net(classes), make_net(classes)
    trainer = cr.Trainer(net, batch_size=7, epochs=2)
    for _ in range(2):
        trainer.fit(classes.X, classes.y)
        cr.Trainer(other, batch_size=7, epochs=2).fit(classes.X, classes.y)
    assert weights(net) == weights(other)


# ---- stopping -------------------------------------------------------------------------------------


def test_callbacks_are_called_every_epoch(classes):
    records: list[cr.EpochRecord] = []
    net = make_net(classes)
    trainer = cr.Trainer(net, epochs=3, callbacks=[records.append, print])
    run = trainer.fit(classes.X, classes.y, validation=classes.valid)
    assert [(r.epoch, r.epochs, r.net) for r in records] == [(e, 3, net) for e in (1, 2, 3)]
    for i, record in enumerate(records):
        assert record.metrics == {name: values[i] for name, values in run.history.items()}


@pytest.mark.parametrize("how", ["ctrl-c", "stop"])
@pytest.mark.parametrize("validated", [True, False])
def test_an_interrupted_fit_returns_its_run_so_far(backend, classes, how, validated):
    net = make_net(classes, backend)

    def interrupt(record: cr.EpochRecord) -> None:
        if record.epoch == 4:
            if how == "ctrl-c":
                raise KeyboardInterrupt
            trainer.stop()

    trainer = cr.Trainer(net, cr.SGD(lr=0.5, momentum=0.9), batch_size=7, epochs=50, callbacks=[interrupt])
    validation = classes.valid if validated else None
    run = trainer.fit(classes.X, classes.y, validation=validation)
    assert run.stopped == "interrupted"
    assert run.history.epochs == 4
    assert run.steps == 4 * 6
    if validated:
        assert evaluate(net, classes.valid)["loss"] == min(run.history["valid_loss"])
        assert run.history["valid_loss"][run.best_epoch - 1] == min(run.history["valid_loss"])
    else:
        shorter = make_net(classes, backend)
        cr.Trainer(shorter, trainer.optimizer, batch_size=7, epochs=4).fit(classes.X, classes.y)
        assert weights(net) == weights(shorter)
    trainer.callbacks, trainer.epochs = (), 1
    assert trainer.fit(classes.X, classes.y).stopped == "completed", "the request to stop is over with its fit"


def test_stop_from_another_thread(classes):
    reached = threading.Event()
    trainer = cr.Trainer(
        make_net(classes), batch_size=1, epochs=100_000, metrics=False, callbacks=[lambda _: reached.set()]
    )

    def stop() -> None:
        reached.wait(30)
        trainer.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    run = trainer.fit(classes.X, classes.y)
    thread.join()
    assert run.stopped == "interrupted"
    assert run.history.epochs < 100_000


def test_an_error_of_a_callback_is_raised(classes):
    def fail(record: cr.EpochRecord) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        cr.Trainer(make_net(classes), callbacks=[fail]).fit(classes.X, classes.y)


# ---- divergence -----------------------------------------------------------------------------------


def line(weight: float = 1.0, *, backend: cr.Backend | None = None, depth: int = 1, **options: Any) -> cr.MLP:
    """p = weight^depth * x, without a bend: what becomes of it can be said on paper."""
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


WHERE = {  # the weight, the layers, x, and where the first number overflows
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


def test_divergence_in_a_ragged_last_batch(backend):
    """The batch that failed is gone through once more, to see where: it is the short one, and not the first."""
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


# ---- options --------------------------------------------------------------------------------------

WRONG = [
    ({"batch_size": 0}, "batch_size: expected a whole number from 1 up"),
    ({"batch_size": 1.5}, r"batch_size: expected .*, got 1.5"),
    ({"batch_size": True}, r"batch_size: expected .*, got True"),
    ({"epochs": -3}, "epochs: expected a whole number from 1 to below"),
    ({"epochs": "3"}, r"epochs: expected .*, got '3'"),
    ({"seed": -1}, "seed: expected a whole number from 0"),
    ({"seed": 2**64}, r"seed: expected .*, got 18446744073709551616"),
    ({"seed": 0.5}, r"seed: expected .*, got 0.5"),
    (
        {"monitor": "valid_loss"},
        "monitor: expected a metric .*, got 'valid_loss'(?s:.*)one of loss, accuracy",
    ),
    ({"monitor": "r2"}, "monitor: expected .*, got 'r2'"),
    ({"monitor": "accuracy", "metrics": False}, "monitor: expected .*, got 'accuracy'(?s:.*)one of loss"),
    ({"early_stopping": cr.EarlyStopping()}, "monitor: expected .*, got 'valid_loss'"),
    ({"validation": 0}, "validation: expected a finite number above 0 to below 1"),
    ({"validation": 1.0}, r"validation: expected .*, got 1.0"),
    ({"validation": -0.5}, r"validation: expected .*, got -0.5"),
    ({"validation": float("nan")}, r"validation: expected .*, got nan"),
    ({"validation": (1,)}, r"validation: expected \(X, y\) or \(X, y, weights\), got 1 arrays"),
    ({"validation": (1, 2, 3, 4)}, "validation: expected .*, got 4 arrays"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options_of_a_trainer(classes, options, message):
    options = dict(options)
    fit = {"validation": options.pop("validation")} if "validation" in options else {}
    with pytest.raises(cr.OptionError, match=message):
        cr.Trainer(make_net(classes), **options).fit(classes.X, classes.y, **fit)


def test_a_validation_fraction_of_one_row_is_refused(classes):
    with pytest.raises(cr.DataError, match="expected at least 2 rows, got 1"):
        cr.Trainer(make_net(classes)).fit(classes.X[:1], classes.y[:1], validation=0.5)
    run = cr.Trainer(make_net(classes), epochs=1).fit(classes.X[:2], classes.y[:2], validation=0.01)
    assert run.history["valid_loss"]


def test_validation_rows_are_checked_like_training_rows(classes):
    X, y = classes.valid
    for bad in [(X[:, :2], y), (X, y[:-1]), (X, y + 3), (X, y, -np.ones(len(X)))]:
        with pytest.raises((cr.ShapeError, cr.DataError)):
            cr.Trainer(make_net(classes)).fit(classes.X, classes.y, validation=bad)
