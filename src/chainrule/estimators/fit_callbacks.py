"""Callbacks of an estimator's fits: when one of a fold ends, and what ``verbose`` prints."""

from __future__ import annotations

from chainrule.train.records.callbacks import Callback
from chainrule.train.records.run import EpochRecord


class StopAfter(Callback):
    """Ends a fit after so many epochs of a schedule that is longer."""

    only_reads = True

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_epoch_end(self, record: EpochRecord) -> None:
        if record.epoch >= self._epochs:
            record.stop()


class IterationLines(Callback):
    """``Iteration 3, loss = 0.21045368`` on stdout after each epoch, and the score of held-out rows.

    Parameters
    ----------
    score : its name in the history
    """

    only_reads = True

    def __init__(self, score: str) -> None:
        self._score = score

    def on_epoch_end(self, record: EpochRecord) -> None:
        print(f"Iteration {record.epoch}, loss = {record.metrics['loss']:.8f}")
        if (value := record.metrics.get(self._score)) is not None:
            print(f"Validation score: {value:.6f}")
