"""Scalars of a fit as event files, which TensorBoard draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chainrule.errors import OptionError
from chainrule.plain_text import printable
from chainrule.train.records.callbacks import Callback
from chainrule.train.records.run import EpochRecord, Run, StartRecord, StepRecord


class TensorBoardLogger(Callback):
    """Writes an event file into ``folder``: ``tensorboard --logdir FOLDER`` shows it.

    Scalars over the epoch's number: ``loss/train``, ``loss/valid``, ``accuracy/valid``, ..., ``lr``; with ``every``
    also ``step/loss`` and ``step/lr`` over the step's. Needs the package tensorboard (extra ``tensorboard``).

    Parameters
    ----------
    folder : one for each run; made if it is not there
    every : steps between two values over steps; None for none

    Raises
    ------
    OptionError   if the package is not installed; at once.
    """

    only_reads = True

    def __init__(self, folder: str | Path, every: int | None = None) -> None:
        self.folder, self.every = Path(folder), every
        self._writer: Any = None
        _writer_class()

    def on_start(self, record: StartRecord) -> None:
        self._writer = _writer_class()(str(self.folder))

    def on_step_end(self, record: StepRecord) -> None:
        self._write({"step/loss": record.loss, "step/lr": record.lr}, record.step)

    def on_epoch_end(self, record: EpochRecord) -> None:
        self._write({_tag(name): v for name, v in record.metrics.items() if name != "seconds"}, record.epoch)

    def on_end(self, run: Run) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, scalars: dict[str, float], step: int) -> None:
        if self._writer is not None:
            for tag, value in scalars.items():
                self._writer.add_scalar(tag, value, step)
            self._writer.flush()


def _tag(name: str) -> str:
    """``valid_loss`` as ``loss/valid``: what belongs together is in one plot."""
    if name == "lr":
        return name
    name = printable(name)  # protocol buffers take no half characters
    return f"{name.removeprefix('valid_')}/valid" if name.startswith("valid_") else f"{name}/train"


def _writer_class() -> Any:
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise OptionError(
            f"the package tensorboard cannot be imported: {error}", hint="pip install 'chainrule[tensorboard]'"
        ) from error
    return Writer
