"""A run on disk: what was asked for, what happened, what is needed to go on, and the model.

``config.toml`` (its options, for ``chainrule train --config``), ``run.json`` (what and where, from start to end),
``metrics.jsonl`` (one line an epoch as it ends), ``checkpoints/`` (for ``chainrule resume``), ``history.csv`` and
``curves.svg`` (when training ends), ``gradient_norms.svg`` (with a diagnosis), ``model.safetensors``; and ``lock``,
while a process trains there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from chainrule.backends.numpy import compiled
from chainrule.cli.lock import LOCK, RunLock
from chainrule.cli.run_record import RECORD, facts_of, now, read_record
from chainrule.errors import DataError, OptionError
from chainrule.nn.network import Network
from chainrule.sealed_file import flush, make_folder, naming, remove_temporaries, write_whole
from chainrule.train.callbacks import Callback
from chainrule.train.checkpoints import Checkpoints
from chainrule.train.loggers import json_line, json_text
from chainrule.train.run import EpochRecord, Run, StartRecord

MODEL, METRICS, HISTORY, CURVES, GRADIENT_NORMS, CONFIG, CHECKPOINTS = (
    "model.safetensors", "metrics.jsonl", "history.csv", "curves.svg", "gradient_norms.svg", "config.toml",
    "checkpoints",
)  # fmt: skip


class RunDirectory(Callback):
    """Makes the folder when training starts, then keeps its files up to date: ``with directory: ...``.

    Whatever is wrong with rows or options is refused before that: it leaves no folder behind, and of a run that is to
    be overwritten nothing is lost.

    Parameters
    ----------
    path : of the folder
    overwrite : whether it may hold files, which are replaced

    Before training starts, :meth:`describe` is told what is trained. :meth:`reopen` is for a run that is to go on.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path, self._overwrite = path, overwrite
        self.checkpoints = path / CHECKPOINTS
        self._record: dict[str, Any] = {}
        self._facts: Mapping[str, Any] = {}
        self._config = ""
        self._lock: RunLock | None = None
        self._goes_on = self._has_begun = False
        self._refuse_files()

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """A run that is to go on, locked from now on.

        DataError where there is none, OptionError where another process trains there.
        """
        if not any((path / name).exists() for name in (RECORD, LOCK)) and read_record(path) is None:
            raise DataError(f"{path} is no run directory: it is no folder")
        directory = cls(path, overwrite=True)
        with contextlib.ExitStack() as undone:
            directory._lock = undone.enter_context(RunLock(path))
            directory._record, directory._goes_on = read_record(path) or {}, True  # which nobody else writes now
            undone.pop_all()
        return directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def _refuse_files(self) -> None:
        path = self.path
        if not self._overwrite and path.exists() and (not path.is_dir() or any(p.name != LOCK for p in path.iterdir())):
            raise OptionError(
                f"{path} is not empty", hint="give another --run-dir, or --overwrite to replace its files"
            )

    @property
    def record(self) -> Mapping[str, Any]:
        """What run.json says; of a run that is to go on, what it said."""
        return self._record

    @property
    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint, where there is one."""
        last = Checkpoints(self.checkpoints).last
        return last if last.exists() else None

    @property
    def can_go_on(self) -> bool:
        """Whether training has begun in this process, and has left a checkpoint."""
        return self._has_begun and self.last_checkpoint is not None

    def describe(self, *, facts: Mapping[str, Any], config: str) -> None:
        """``facts``: argv, seed and data; ``config``: the text of config.toml."""
        self._facts, self._config = facts, config

    # ---- while it is trained ------------------------------------------------------------------------

    def on_start(self, record: StartRecord) -> None:
        """Write down what is about to happen."""
        make_folder(self.path)
        if self._lock is None:
            self._lock = RunLock(self.path)
            self._refuse_files()  # once more: another process may have been here since
        remove_temporaries(self.path)
        remove_temporaries(self.checkpoints)
        facts = facts_of(record)
        if self._goes_on:
            self._cut_back(record.run)
            before = self._record.get("resumed")
            again = {"time": now(), "epochs": record.run.history.epochs, "steps": record.run.steps, **facts}
            self._record |= {"status": "running", "resumed": [*(before if isinstance(before, list) else []), again]}
            self._record.pop("error", None)
        else:
            for name in (RECORD, MODEL, METRICS, HISTORY, CURVES, GRADIENT_NORMS, CONFIG):  # first what speaks of them
                (self.path / name).unlink(missing_ok=True)
            for file in (Checkpoints(self.checkpoints).last, Checkpoints(self.checkpoints).best):
                file.unlink(missing_ok=True)
            write_whole(self.path / CONFIG, self._config.encode())
            self._record = {"status": "running", "started": now(), **self._facts, **facts}
        self._write_record()
        self._has_begun = True  # not before: what is in a run.json can be gone on with

    def _cut_back(self, run: Run) -> None:
        """Of the epochs that were written down those remain that the checkpoint has."""
        epochs = enumerate(zip(*run.history.values(), strict=True), start=1)
        lines = [{"epoch": epoch, **dict(zip(run.history, values, strict=True))} for epoch, values in epochs]
        write_whole(self.path / METRICS, "".join(map(json_line, lines)).encode())

    def on_epoch_end(self, record: EpochRecord) -> None:
        """One line of metrics as soon as the epoch is over."""
        path = self.path / METRICS
        with naming(path), path.open("a", encoding="utf-8") as file:
            file.write(json_line({"epoch": record.epoch, **record.metrics}))

    def end(self, status: str, *, net: Network | None, run: Run | None, summary: Mapping[str, Any]) -> None:
        """Write down what happened, if anything has begun; the model where there is one worth keeping."""
        if not self._has_begun:
            return
        if run is not None and run.history.epochs:
            flush(self.path / METRICS)
            write_whole(self.path / HISTORY, run.history.to_csv().encode())
            run.history.plot(self.path / CURVES, best_epoch=run.best_epoch or None)
        if run is not None and run.diagnosis is not None:
            run.diagnosis.plot(self.path / GRADIENT_NORMS)
        if net is not None:
            net.save(self.path / MODEL)
        self._record |= {"status": status, "compiled": compiled.describe(), "ended": now(), **summary}
        self._write_record()

    def _write_record(self) -> None:
        write_whole(self.path / RECORD, f"{json_text(self._record, indent=2)}\n".encode())


def default_path(name: str) -> Path:
    """runs/NAME-YYYYMMDD-HHMM, with -2, -3, ... behind it where that is taken."""
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M')}"
    path, number = Path("runs") / stem, 2
    while path.exists():
        path, number = Path("runs") / f"{stem}-{number}", number + 1
    return path


def find_model(path: Path) -> Path:
    """The model file of a run directory, or the path itself."""
    return path / MODEL if path.is_dir() else path
