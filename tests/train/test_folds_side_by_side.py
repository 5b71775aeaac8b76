"""Cross-validation and ``shrink``: folds that are trained side by side say and give what folds in series do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.train import side_by_side


@pytest.fixture
def cpu(monkeypatch) -> cr.Backend:
    """The CPU with its loops loaded, and two cores."""
    pytest.importorskip("numba", reason="numba is not installed")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    return compiled.loaded()


@pytest.fixture
def fitting_threads(monkeypatch) -> set[int]:
    """The threads in which fits begin."""
    found: set[int] = set()
    real = cr.Trainer.fit

    def fit(self: cr.Trainer, *args: Any, **options: Any) -> cr.Run:
        found.add(threading.get_ident())
        return real(self, *args, **options)

    monkeypatch.setattr(cr.Trainer, "fit", fit)
    return found


@pytest.fixture
def both_ways(monkeypatch, fitting_threads) -> Callable[[Callable[[], Any]], tuple[Any, Any]]:
    """What comes of something side by side, and in series, with all else as it is."""

    def do(something: Callable[[], Any]) -> tuple[Any, Any]:
        together = something()
        assert fitting_threads - {threading.get_ident()}, "fits in further threads"
        fitting_threads.clear()
        with monkeypatch.context() as patch:
            patch.setattr(side_by_side, "threads_for", lambda *_: 1)
            series = something()
        assert fitting_threads == {threading.get_ident()}
        return together, series

    return do


def rows(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(4).normal(size=(n, 5)).astype(np.float32)
    return X, X[:, 0] * X[:, 1] + 0.1 * X[:, 2]


def trained(backend: cr.Backend, rows_of_fold: np.ndarray, **options: Any) -> cr.MLP:
    X, y = rows()
    net = cr.MLP([5, 32, 1], loss="squared_error", backend=backend, seed=1)
    chosen = X[rows_of_fold], y[rows_of_fold]
    cr.Trainer(net, cr.Adam(lr=0.01), epochs=6, batch_size=32, **options).fit(*chosen, validation=0.2)
    return net


def test_cross_validate_has_the_bits_of_a_series(cpu, both_ways):
    X, y = rows()
    folds = cr.make_folds(len(y), 5)

    def found() -> cr.CrossValidation:
        told: list[int] = []
        scores = cr.cross_validate(
            lambda rows: trained(cpu, rows, shrink=True), X, y, folds, on_fold=lambda number, _: told.append(number)
        )
        assert told == [1, 2, 3, 4, 5]
        return scores

    together, series = both_ways(found)
    assert together == series
    assert len({one["rmse"] for one in together.scores}) == 5


def test_cross_validate_with_threads_1_calls_train_in_one_thread(cpu, fitting_threads):
    X, y = rows()
    cr.cross_validate(lambda rows: trained(cpu, rows), X, y, cr.make_folds(len(y), 3), threads=1)
    assert fitting_threads == {threading.get_ident()}
    with pytest.raises(cr.OptionError, match="threads: expected a whole number from 1 up, got 0"):
        cr.cross_validate(lambda rows: trained(cpu, rows), X, y, cr.make_folds(len(y), 3), threads=0)


def test_an_error_in_a_fold_is_raised(cpu):
    X, y = rows()
    folds = cr.make_folds(len(y), 4)

    def train(rows: np.ndarray) -> cr.MLP:
        if rows is folds[2].training:
            raise cr.DataError("no such fold")
        return trained(cpu, rows)

    with pytest.raises(cr.DataError, match="no such fold"):
        cr.cross_validate(train, X, y, folds)


@pytest.mark.parametrize(
    ("estimator", "target"),
    [("MLPRegressor", lambda y: y), ("MLPClassifier", lambda y: np.where(y > 0, "up", "down"))],
    ids=["regressor", "classifier"],
)
def test_shrink_by_folds_has_the_bits_of_a_series(cpu, both_ways, estimator, target):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    X, y = rows()

    def found() -> tuple[float, list[bytes]]:
        model = getattr(cr, estimator)(hidden_layer_sizes=(16,), max_iter=15, random_state=0, device="cpu")
        model.fit(X, target(y))
        return model.shrinkage_, [w.tobytes() for w in (*model.coefs_, *model.intercepts_)]

    together, series = both_ways(found)
    assert together == series
    assert together[0] < 1


def test_a_diverging_fold_of_shrink_leaves_the_net_as_it_was_trained(cpu, monkeypatch):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    X, y = rows()
    real = cr.Trainer.fit

    def fit(self: cr.Trainer, *args: Any, **options: Any) -> cr.Run:
        if threading.current_thread() is not threading.main_thread():
            raise cr.DivergenceError("diverged", step=0, epoch=0, where="loss")
        return real(self, *args, **options)

    monkeypatch.setattr(cr.Trainer, "fit", fit)
    model = cr.MLPRegressor(hidden_layer_sizes=(16,), max_iter=5, random_state=0, device="cpu").fit(X, y)
    assert model.shrinkage_ is None


# ---- chainrule cv -----------------------------------------------------------------------------------

ARGUMENTS = ("cv", "t.csv", "--target", "y", "--device", "cpu", "--hidden", 8)


@pytest.fixture
def table(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [",".join(f"{v:.4f}" for v in (*x, t)) for x, t in zip(*rows(150), strict=True)]
    Path("t.csv").write_text("a,b,c,d,e,y\n" + "\n".join(lines) + "\n")


def told(capsys, *argv: Any) -> tuple[int, str, str]:
    from chainrule.cli.main import main

    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_cv_prints_what_it_prints_in_series(cpu, both_ways, table, capsys):
    """With a note in each fold, said before the fold's line."""
    argv = (*ARGUMENTS, "--epochs", 3, "--folds", 4, "--monitor", "valid_r2", "--valid", 0.005)
    together, series = both_ways(lambda: told(capsys, *argv))
    assert together == series
    assert together[0] == 0, together
    words = [line.split()[0] for line in together[2].splitlines()]
    assert words[-8:] == ["note", "fold"] * 4


def test_cv_with_one_thread_trains_fold_after_fold(cpu, fitting_threads, table, capsys):
    assert told(capsys, *ARGUMENTS, "--epochs", 2, "--quiet", "--threads", 1)[0] == 0
    assert fitting_threads == {threading.get_ident()}


def test_a_signal_ends_cv_while_folds_are_trained_side_by_side(cpu, table, capsys, monkeypatch):
    from chainrule.cli.commands import cv

    real, sent = cv.trainer_of, []

    def trainer_of(*args: Any, callbacks: Any, **options: Any) -> cr.Trainer:
        first = threading.current_thread() is threading.main_thread()
        callbacks = [lambda record: record.stop() if first else send()]
        return real(*args, callbacks=callbacks, **options)

    def send() -> None:
        if not sent:
            sent.append(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(cv, "trainer_of", trainer_of)
    code, out, err = told(capsys, *ARGUMENTS, "--epochs", 1_000_000)
    assert (code, out, sent) == (128 + signal.SIGTERM, "", [signal.SIGTERM])
    assert "fold     1/5" in err
    assert "fold     2/5" not in err
