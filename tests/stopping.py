"""A fit that somebody ends on its way."""

from __future__ import annotations

import chainrule as cr
from chainrule.train.records.run import StepRecord


class StopAfter(cr.Callback):
    """Asks for the end once so many batches of the run are done."""

    every = 1

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, record: StepRecord) -> None:
        if record.step == self.step:
            record.stop()
