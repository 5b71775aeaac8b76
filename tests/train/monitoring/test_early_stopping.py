"""Early stopping: which epoch counts as the best, and min_delta."""

from __future__ import annotations

import math

import pytest

import chainrule as cr
from chainrule.train.monitoring.early_stopping import BestEpoch

NAN, INF = math.nan, math.inf
CASES = [  # monitor, min_delta, values, which of them improved
    ("valid_loss", 0.0, [3, 2, 2, 1, 4], [True, True, False, True, False]),
    ("loss", 0.5, [3, 2.6, 2.4, 2.0, 1.8], [True, False, True, False, True]),
    ("loss", 0.5, [3, 2.5, 2.0], [True, False, True]),  # by exactly min_delta is not better
    ("valid_accuracy", 0.0, [0.1, 0.5, 0.5, 0.4, 0.6], [True, True, False, False, True]),
    ("r2", 0.0, [-INF, -5.0, 0.2], [False, True, True]),
    ("valid_r2", 0.1, [0.0, 0.05, 0.2], [True, False, True]),
    ("valid_loss", 0.0, [NAN, 5.0, NAN, 4.0], [False, True, False, True]),
    ("valid_loss", 0.0, [INF, NAN, 1e300], [False, False, True]),
    ("accuracy", 0.0, [0.0, 0.0], [True, False]),
]


@pytest.mark.parametrize(("monitor", "min_delta", "values", "improved"), CASES)
def test_best_epoch(monitor, min_delta, values, improved):
    best = BestEpoch(monitor, min_delta)
    assert best.epoch == 0
    assert [best.improved(e, {monitor: v, "other": 0.0}) for e, v in enumerate(values, start=1)] == improved
    last = max((e for e, better in enumerate(improved, start=1) if better), default=0)
    assert best.epoch == last
    assert best.value == values[last - 1]


def test_min_delta_of_early_stopping_decides_about_the_best_epoch(classes):
    """A fit with a min_delta between its gains keeps another epoch, and ends earlier."""
    rows = {"validation": classes.valid}

    def fit(**options: float) -> cr.Run:
        stopping = cr.EarlyStopping(patience=3, **options)
        trainer = cr.Trainer(cr.MLP(classes.widths, seed=2), cr.Adam(0.01), epochs=60, early_stopping=stopping)
        return trainer.fit(classes.X, classes.y, **rows)

    losses = fit().history["valid_loss"]
    min_delta = 0.8 * (losses[0] - losses[1])
    expected = BestEpoch("valid_loss", min_delta)
    for epoch, loss in enumerate(losses, start=1):
        expected.improved(epoch, {"valid_loss": loss})
        if epoch - expected.epoch == 3:
            break
    run = fit(min_delta=min_delta)
    assert (run.best_epoch, run.history.epochs) == (expected.epoch, epoch)
    assert epoch < len(losses)


def test_a_monitor_that_is_not_in_the_history_is_refused():
    with pytest.raises(cr.OptionError, match=r"monitor: expected .*, got 'valid_loss'(?s:.*)one of loss, accuracy"):
        BestEpoch("valid_loss").improved(1, {"loss": 1.0, "accuracy": 0.5})


@pytest.mark.parametrize(
    ("epoch", "best", "over"),
    [(4, 0, False), (5, 0, True), (6, 2, False), (7, 2, True), (29, 20, False), (30, 20, True), (31, 21, False)],
)
def test_patience_grows_with_the_best_epoch(epoch, best, over):
    assert cr.EarlyStopping(patience=5, patience_fraction=0.5).is_over(epoch, best) is over


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience: expected .*, got 0"),
        ({"min_delta": -1.0}, "min_delta: expected"),
        ({"min_delta": NAN}, "nan"),
        ({"patience_fraction": -0.5}, "patience_fraction: expected"),
    ],
)
def test_wrong_options_of_early_stopping(options, message):
    with pytest.raises(cr.OptionError, match=message):
        cr.EarlyStopping(**options)
