"""A callback that stops a fit."""

from __future__ import annotations

import chainrule as cr
from chainrule.train.records.run import StepRecord


class StopAfter(cr.Callback):
    """Stops the run after ``step`` batches."""

    every = 1

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, record: StepRecord) -> None:
        if record.step == self.step:
            record.stop()
