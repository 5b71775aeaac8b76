"""Which weights a net has after a fit, and the words for it: they must be true of the history."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.records.kept import Kept, reason_of


@pytest.fixture
def noise(rng):
    """Labels that have nothing to do with X, so that the best epoch is not the last."""
    return rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 2, 60)


@pytest.mark.parametrize(
    ("monitor", "word"),
    [("valid_loss", "lowest valid_loss"), ("loss", "lowest training loss"), ("accuracy", "highest training accuracy")],
)
def test_a_monitored_metric_is_named_with_its_extreme(noise, monitor, word):
    X, y = noise
    net = cr.MLP([3, 16, 2], seed=0)
    run = cr.Trainer(net, cr.Adam(lr=0.05), epochs=12, batch_size=10, monitor=monitor).fit(X, y, validation=0.3)
    values = run.history[monitor]
    extreme = min(values) if word.startswith("lowest") else max(values)
    assert str(run.kept) == f"epoch {run.best_epoch} of 12: {word} {extreme:.4g}"
    assert run.kept.monitor == monitor


def test_without_a_metric_the_last_weights_are_kept(noise):
    net = cr.MLP([3, 4, 2])
    run = cr.Trainer(net, epochs=3).fit(*noise)
    assert (str(run.kept), run.best_epoch) == ("the last epoch's weights", 0)


@pytest.mark.parametrize("step", [2, 8])
def test_a_fit_that_is_stopped_within_an_epoch_has_the_last_steps_weights(noise, step):
    class Stop(cr.Callback):
        every = step

        def on_step_end(self, record):
            record.stop()

    run = cr.Trainer(cr.MLP([3, 4, 2]), epochs=3, batch_size=10, callbacks=[Stop()]).fit(*noise)
    assert str(run.kept) == f"the last step's weights, within epoch {run.history.epochs + 1}"
    assert run.history.epochs == (step - 1) // 6


def test_a_value_that_min_delta_passes_over_is_not_called_the_lowest(noise):
    X, y = noise
    stopping = cr.EarlyStopping(patience=50, monitor="loss", min_delta=0.05)
    run = cr.Trainer(cr.MLP([3, 16, 2]), cr.Adam(lr=1e-3), epochs=20, early_stopping=stopping).fit(X, y)
    value = run.history["loss"][run.best_epoch - 1]
    assert min(run.history["loss"]) < value
    said = f"training loss {value:.4g}, which no later epoch improved by more than min_delta"
    assert str(run.kept) == f"epoch {run.best_epoch} of 20: {said}"


def test_words_without_a_history():
    assert reason_of("valid_roc_auc", 0.9) == "highest valid_roc_auc 0.9"
    assert reason_of("valid_mine", 0.9) == "best valid_mine 0.9"
    assert str(Kept(3, 4)) == "epoch 3 of 4"
