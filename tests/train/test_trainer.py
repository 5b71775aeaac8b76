"""The training loop: what it learns, which rows it uses, that it repeats itself bit for bit, and wrong options."""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any

import numpy as np
import pytest
from tests.train.fits import evaluate, make_net, weights

import chainrule as cr


def test_noisy_digits_are_learnt(backend):
    """Ten random pictures of 8 x 8, under noise as strong as the pictures."""
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


def sum_of_epochs(n: int, backend: cr.Backend | None = None, **options: Any) -> list[int]:
    """The summed loss of each epoch of a net that predicts 0 and never changes, for targets 2^i: sum_i(4^i).

    A sum over as many rows as there are is (4^n - 1) / 3 only if each row counts once.
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
    """A second fit continues from the weights, with fresh moments, as a new trainer would."""
    net, other = make_net(classes), make_net(classes)
    trainer = cr.Trainer(net, batch_size=7, epochs=2)
    for _ in range(2):
        trainer.fit(classes.X, classes.y)
        cr.Trainer(other, batch_size=7, epochs=2).fit(classes.X, classes.y)
    assert weights(net) == weights(other)


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


def test_divergence_in_the_last_update_is_noticed():
    """No later loss would show it."""
    net = cr.MLP([2, 1], loss="squared_error")
    with pytest.raises(cr.DivergenceError, match="last update"):
        cr.Trainer(net, cr.SGD(lr=1e38), epochs=1).fit(np.full((4, 2), 1e3), np.ones(4))
