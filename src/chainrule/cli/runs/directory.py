"""A run on disk: what was asked for, what happened, what a resumed run needs, and the model.

``config.toml`` (its options, for ``chainrule train --config``), ``run.json`` (what and where, from start to end),
``metrics.jsonl`` (one line per epoch as it ends), ``checkpoints/`` (for ``chainrule resume``), ``history.csv`` and
``curves.svg`` (when training ends), ``gradient_norms.svg`` (with a diagnosis), ``model.safetensors``; and ``lock``,
while a process trains there.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from chainrule.backends.compiled import backend as compiled
from chainrule.cli.console.output import command
from chainrule.cli.runs.claim import Claim, claim, claim_new
from chainrule.cli.runs.files import (
    CHECKPOINTS,
    CONFIG,
    CURVES,
    GRADIENT_NORMS,
    HISTORY,
    METRICS,
    append_metrics,
    refuse_other_kinds,
    remove_run,
    tidy_run,
    write_metrics,
)
from chainrule.cli.runs.lock import LOCK
from chainrule.cli.runs.record import RECORD, facts_of, now, read_record, record_in
from chainrule.cli.runs.signals import LeftBehind
from chainrule.errors import DataError
from chainrule.files.folder import FileInFolder, Folder
from chainrule.files.model_file import MODEL
from chainrule.json_values import json_line, json_text
from chainrule.nn.network import Network
from chainrule.train.checkpoints.writer import LAST
from chainrule.train.records.callbacks import Callback
from chainrule.train.records.run import EpochRecord, Run, StartRecord


class RunDirectory(Callback):
    """``with directory: ...`` takes the folder for this process; from the start of training its files are up to date.

    Whatever is wrong with rows or options is refused before training: it leaves no folder behind, and of a run that is
    to be overwritten nothing is lost. All is read and written by the folder's descriptor, so a run continues in a
    folder that is renamed meanwhile, and writes nowhere else.

    Parameters
    ----------
    path : of the folder, made if it is missing; None for a new one in ``runs``
    name : part of the new one's name
    overwrite : whether it may hold files, which are replaced

    Before training starts, :meth:`describe` is told what is trained. :meth:`reopen` is for a run that is resumed.
    """

    only_reads = True

    def __init__(self, path: Path | None, *, name: str = "run", overwrite: bool = False) -> None:
        self._named, self._name, self._overwrite = path, name, overwrite
        self._record: dict[str, Any] = {}
        self._facts: Mapping[str, Any] = {}
        self._config = ""
        self._claim: Claim | None = None
        self._is_resumed = self._has_begun = False

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """A run that is to be resumed, this process's from now on.

        DataError if there is none, OptionError if another process trains there.
        """
        if not path.is_dir():
            raise DataError(f"{path}: expected a run directory, got no folder")
        if not any((path / name).exists() for name in (RECORD, LOCK)):
            read_record(path)  # says what is missing, and leaves no lock
        directory = cls(path, overwrite=True)
        with contextlib.ExitStack() as undone:
            directory._claim = Claim(path, [])
            undone.callback(directory.__exit__)
            refuse_other_kinds(directory.folder, but_links=False)
            directory._record, directory._is_resumed = record_in(directory.folder), True  # which nobody else writes now
            undone.pop_all()
        return directory

    def __enter__(self) -> Self:
        if self._claim is None:
            path = self._named
            self._claim = claim_new(self._name) if path is None else claim(path, overwrite=self._overwrite)
            try:
                refuse_other_kinds(self.folder, but_links=True)
                self._refuse_long_paths()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._claim is not None:
            self._claim.release()

    def _refuse_long_paths(self) -> None:
        """What is written must be found again by its path."""
        try:
            (self.path / CHECKPOINTS / LAST).lstat()
        except OSError as error:  # anything else in its place is replaced, or has been refused
            if error.errno == errno.ENAMETOOLONG:
                raise

    @property
    def folder(self) -> Folder:
        """Open, between ``with`` and its end."""
        assert self._claim is not None
        return self._claim.folder

    @property
    def path(self) -> Path:
        """The path by which it was opened."""
        return self.folder.path

    @property
    def found(self) -> Path:
        """Its path now: somebody may have renamed it."""
        return self.folder.current_path()

    @property
    def checkpoints(self) -> FileInFolder:
        """Their folder, within this one."""
        return self.folder / CHECKPOINTS

    @property
    def record(self) -> Mapping[str, Any]:
        """What run.json says; of a resumed run, what it said."""
        return self._record

    @property
    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint; None before the first."""
        last = self.found / CHECKPOINTS / LAST
        return last if last.exists() else None

    @property
    def is_resumable(self) -> bool:
        """Whether training has started in this process, and has written a checkpoint."""
        return self._has_begun and self.last_checkpoint is not None

    def resume_command(self, threads: int | None = None) -> str:
        """What continues this run, with the threads of its checkpoints if it began with others."""
        resume = command("resume", self.found)
        return resume if threads is None else f"{resume} --threads {threads}"

    def left_behind(self, threads: int | None = None) -> LeftBehind:
        """What is in the folder if the process ends now; ``threads`` as for :meth:`resume_command`."""
        status = self._record.get("status")
        if self._claim is None or not (self._has_begun or self._is_resumed):
            return LeftBehind("nothing was saved, for training had not begun")
        if status in {"done", "diverged"}:
            return LeftBehind(f"{self.found} had been saved")
        resume = self.resume_command(threads)
        if self.last_checkpoint is None:
            return LeftBehind("no checkpoint had been written", f"{resume} starts over")
        return LeftBehind(f"{self.last_checkpoint} is the last checkpoint", f"{resume} continues from it")

    def describe(self, *, facts: Mapping[str, Any], config: str) -> None:
        """``facts``: argv, seed and data; ``config``: the text of config.toml."""
        self._facts, self._config = facts, config

    # ---- while it is trained ------------------------------------------------------------------------

    def on_start(self, record: StartRecord) -> None:
        """Write down what is about to be trained."""
        facts = facts_of(record)
        if self._is_resumed:
            tidy_run(self.folder)
            write_metrics(self.folder, record.run.history)  # of the recorded epochs only those that the run still has
            before = self._record.get("resumed")
            again = {"time": now(), "epochs": record.run.history.epochs, "steps": record.run.steps, **facts}
            self._record |= {"status": "running", "resumed": [*(before if isinstance(before, list) else []), again]}
            self._record.pop("error", None)
        else:
            remove_run(self.folder)
            self.folder.write_atomically(CONFIG, self._config.encode())
            self._record = {"status": "running", "started": now(), **self._facts, **facts}
        self._write_record()
        self._has_begun = True  # not before: a run with a run.json can be resumed

    def on_epoch_end(self, record: EpochRecord) -> None:
        """One line of metrics as soon as the epoch is over."""
        line = json_line({"epoch": record.epoch, **record.metrics})
        if not append_metrics(self.folder, line, is_first=record.epoch == 1):
            write_metrics(self.folder, record.history)

    def end(self, status: str, *, net: Network | None, run: Run | None, summary: Mapping[str, Any]) -> None:
        """Write down what happened, if anything has begun; the model if there is one worth keeping."""
        if not self._has_begun:
            return
        folder = self.folder
        if run is not None and run.history.epochs:
            if append_metrics(folder, ""):
                folder.flush_file(METRICS)
            else:
                write_metrics(folder, run.history)
            folder.write_atomically(HISTORY, run.history.to_csv().encode())
            run.history.plot(folder / CURVES, kept=run.kept)
        if run is not None and run.diagnosis is not None:
            run.diagnosis.plot(folder / GRADIENT_NORMS)
        if net is not None:
            net.save(folder / MODEL)
        if run is not None:
            self._record["execution"] = run.execution
        self._record |= {"status": status, "compiled": compiled.describe(), "ended": now(), **summary}
        self._write_record()

    def _write_record(self) -> None:
        text = json_text(self._record, indent=2)
        self.folder.write_atomically(RECORD, f"{text}\n".encode())
