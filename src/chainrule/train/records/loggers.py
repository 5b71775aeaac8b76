"""A log of a fit for other programs: one JSON object per line."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from chainrule.errors import OptionError
from chainrule.files.descriptors import path_in_errors
from chainrule.files.regular_file import AS_BYTES, NO_WAITING, file_type
from chainrule.json_values import json_line
from chainrule.nn.network import Network
from chainrule.train.records.callbacks import Callback
from chainrule.train.records.run import EpochRecord, Run, StartRecord, StepRecord


class JSONLinesLogger(Callback):
    """Writes a file with one JSON object per line, each flushed as soon as it is known.

    ``{"event": "start", ...}`` the settings: net, optimizer, rows, device, versions; ``{"event": "step", "step": ...,
    "epoch": ..., "loss": ..., "lr": ...}``; ``{"event": "epoch", "epoch": ..., "loss": ..., ...}`` with all that the
    history has; ``{"event": "end", "stopped": ..., ...}``. JSON has no nan and no infinity: they are the strings "nan",
    "inf" and "-inf", which ``float`` reads.

    Parameters
    ----------
    path : the file; an existing one is appended to, each fit in it begins with its "start"
    every : also a line after each ``every`` steps; the host synchronises that often
    """

    only_reads = True

    def __init__(self, path: str | Path, every: int | None = None) -> None:
        self.path, self.every = Path(path), every
        self._file: TextIO | None = None

    def on_start(self, record: StartRecord) -> None:
        self._file = _open_to_append(self.path)
        self._write({"event": "start", "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **_facts(record)})

    def on_step_end(self, record: StepRecord) -> None:
        facts = {"step": record.step, "epoch": record.epoch, "loss": record.loss, "lr": record.lr}
        self._write({"event": "step", **facts})

    def on_epoch_end(self, record: EpochRecord) -> None:
        self._write({"event": "epoch", "epoch": record.epoch, **record.metrics})

    def on_end(self, run: Run) -> None:
        facts = {"stopped": run.stopped, "epochs": run.history.epochs, "best_epoch": run.best_epoch or None}
        self._write({"event": "end", **facts, "steps": run.steps, "seconds": run.seconds})
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            with path_in_errors(self.path):
                self._file.write(json_line(line))
                self._file.flush()
        except OSError:
            with contextlib.suppress(OSError):  # closing would try once more to write what is buffered
                self._file.close()
            self._file = None
            raise


def _open_to_append(path: Path) -> TextIO:
    """A file or stream, opened to append; a named pipe only if it has a reader, which may be slow."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_WAITING | AS_BYTES
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a pipe or a socket
            kind = file_type(path.stat().st_mode)
            raise OptionError(f"{path}: expected a file, got {kind} without a reader") from error
        raise
    if NO_WAITING:
        os.set_blocking(number, True)
    return open(number, "a", encoding="utf-8")  # noqa: PTH123 - of a descriptor


def _facts(record: StartRecord) -> dict[str, Any]:
    """What a fit was asked to do, for :func:`~chainrule.json_values.json_line`."""
    settings, net = record.settings, record.net
    return {
        "net": _describe_net(net),
        "optimizer": settings.optimizer,
        "data": {"rows": record.rows, "valid_rows": record.valid_rows, "features": net.n_in, "outputs": net.n_out},
        "trainer": {
            "epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "steps_an_epoch": record.steps_per_epoch,
            "shuffle": settings.shuffle,
            "seed": settings.seed,
            "monitor": settings.monitor,
        },
        "device": {"backend": net.backend.name, "device": net.backend.device, "precision": net.backend.precision},
        "versions": _versions(),
    }


def _describe_net(net: Network) -> dict[str, Any]:
    return {
        "layers": net.layers,
        "loss": net.loss_name,
        "dtype": str(net.dtype),
        "parameters": net.parameter_count,
        "seed": net.seed,
    }


def _versions() -> dict[str, str]:
    loaded = [name for name in ("chainrule", "numpy", "cupy") if name in sys.modules]
    modules: dict[str, str] = {name: str(sys.modules[name].__version__) for name in loaded}
    return modules | {"python": platform.python_version()}
