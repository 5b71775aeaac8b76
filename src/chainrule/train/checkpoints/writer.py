"""When a fit writes a checkpoint, and to which folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chainrule.errors import OptionError
from chainrule.files.descriptors import path_in_errors
from chainrule.files.folder import FileInFolder, Folder
from chainrule.files.regular_file import FilePath, is_folder
from chainrule.files.writing import make_folder
from chainrule.nn.network import Network
from chainrule.options import real_number, whole_number
from chainrule.plain_text import show
from chainrule.train.checkpoints.checkpoint import Checkpoint

LAST, BEST = "last.safetensors", "best.safetensors"
SECONDS = 30.0  # between two checkpoints, by default
SHARE = 0.01  # of the time, for checkpoints at the ends of epochs, which may be very short
FIRST_COST = 0.01  # seconds assumed for the first one, so that a fit of less than a second writes only its last


@dataclass(frozen=True)
class Checkpoints:
    """Write ``folder/last.safetensors`` while training, from which a fit resumes as if it had never stopped.

    One is written after every ``steps`` steps, or once ``seconds`` have passed since the last; at the end of an epoch,
    if that costs less than 1 % of the time since the last; when the fit is asked to stop, and at its end. The previous
    one stays until the new one is whole and on the disk. If a metric is monitored, ``best.safetensors`` beside it is a
    model file: the net with the weights of the best epoch so far.

    Parameters
    ----------
    folder : made if it does not exist; within a run's folder, a :class:`chainrule.files.folder.FileInFolder`
    steps : batches trained on between two checkpoints, or None to go by time
    seconds : between two checkpoints; 30 by default, unless ``steps`` are given

    ``trainer.fit(..., resume=folder)`` resumes from it.
    """

    folder: FilePath
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | os.PathLike):
            raise OptionError(f"folder: expected a path, got {self.folder!r}")
        if self.steps is not None:
            whole_number("steps", self.steps)
        if self.seconds is not None:
            real_number("seconds", self.seconds, above=True)

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return Path(self.folder) / LAST

    @property
    def best(self) -> Path:
        """The model file of the best epoch so far."""
        return Path(self.folder) / BEST

    def opened(self) -> Folder:
        """The folder, made if it is missing; within a run's folder by that one's descriptor, never through a link."""
        if isinstance(self.folder, FileInFolder):
            return self.folder.folder.open_folder(self.folder.name, make=True)
        make_folder(self.folder)
        with path_in_errors(self.folder):
            return Folder(self.folder)

    @property
    def interval(self) -> float | None:
        """Seconds between two checkpoints; None if only steps count."""
        return self.seconds if self.seconds is not None or self.steps is not None else SECONDS


def as_checkpoints(checkpoints: Checkpoints | FilePath | None) -> Checkpoints | None:
    """A folder as Checkpoints; OptionError for anything else."""
    if checkpoints is None or isinstance(checkpoints, Checkpoints):
        return checkpoints
    if not isinstance(checkpoints, str | os.PathLike):
        raise OptionError(
            f"checkpoints: expected a folder or Checkpoints, got {show(checkpoints)}", hint='checkpoints="checkpoints"'
        )
    return Checkpoints(checkpoints)


def newest(path: str | Path) -> Path:
    """The checkpoint that ``resume`` means: a file, or the last one of a folder."""
    return Path(path) / LAST if is_folder(path) else Path(path)


class CheckpointWriter:
    """Tells when a checkpoint of one fit is due, and writes it; without ``settings`` none ever is."""

    def __init__(self, settings: Checkpoints | None) -> None:
        self.settings = settings
        self.written: Path | None = None
        self._cost, self._at = FIRST_COST, time.monotonic()
        self._best_epoch = 0  # of the file

    def steps_to_next(self, step: int, most: int) -> int:
        """How many steps may be done after step ``step`` before a checkpoint is due: from 1 to ``most``."""
        if self.settings is None or self.settings.steps is None:
            return most
        return min(most, self.settings.steps - step % self.settings.steps)

    def is_due(self, step: int) -> bool:
        """Whether one is due after ``step`` steps, within an epoch."""
        if self.settings is None:
            return False
        steps, interval = self.settings.steps, self.settings.interval
        return (steps is not None and step % steps == 0) or (interval is not None and self._since() >= interval)

    def is_due_at_epoch_end(self, step: int) -> bool:
        """Whether one is due after the last step of an epoch."""
        return self.settings is not None and (self.is_due(step) or self._since() * SHARE >= self._cost)

    def _since(self) -> float:
        return time.monotonic() - self._at

    def write(self, checkpoint: Checkpoint, best: Callable[[], Network] | None) -> None:
        """Write it, if checkpoints are written at all; ``best`` returns the net of the best epoch so far."""
        if self.settings is None:
            return
        start = time.monotonic()
        with self.settings.opened() as folder:
            if best is not None and checkpoint.best_epoch != self._best_epoch:
                best().save(folder / BEST)
                self._best_epoch = checkpoint.best_epoch
            checkpoint.write(folder / LAST)
        self.written = self.settings.last
        self._at = time.monotonic()
        self._cost = self._at - start
