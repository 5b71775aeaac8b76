"""A run on disk: what was asked for, what happened, what is needed to go on, and the model.

``config.toml`` (its options, for ``chainrule train --config``), ``run.json`` (what and where, from start to end),
``metrics.jsonl`` (one line an epoch as it ends), ``checkpoints/`` (for ``chainrule resume``), ``history.csv`` and
``curves.svg`` (when training ends), ``gradient_norms.svg`` (with a diagnosis), ``model.safetensors``; and ``lock``,
while a process trains there.
"""

from __future__ import annotations

import contextlib
import errno
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from chainrule.backends.compiled import backend as compiled
from chainrule.cli.runs.claim import Claim, claim, claim_new
from chainrule.cli.runs.lock import LOCK
from chainrule.cli.runs.record import RECORD, facts_of, now, read_record, record_in
from chainrule.errors import DataError
from chainrule.files.folder import Folder, Place
from chainrule.files.regular_file import is_folder
from chainrule.json_values import json_line, json_text
from chainrule.nn.network import Network
from chainrule.train.checkpoints.writer import BEST, LAST
from chainrule.train.records.callbacks import Callback
from chainrule.train.records.history import History
from chainrule.train.records.run import EpochRecord, Run, StartRecord

MODEL, METRICS, HISTORY, CURVES, GRADIENT_NORMS, CONFIG, CHECKPOINTS = (
    "model.safetensors",
    "metrics.jsonl",
    "history.csv",
    "curves.svg",
    "gradient_norms.svg",
    "config.toml",
    "checkpoints",
)
OF_CHECKPOINTS = (LAST, BEST)
FILES = (RECORD, MODEL, METRICS, HISTORY, CURVES, GRADIENT_NORMS, CONFIG)  # first what speaks of the others


class RunDirectory(Callback):
    """``with directory: ...`` takes the folder for this process; from the start of training its files are up to date.

    Whatever is wrong with rows or options is refused before training: it leaves no folder behind, and of a run that is
    to be overwritten nothing is lost. All is read and written by the folder's descriptor, so a run goes on in a folder
    that is renamed meanwhile, and writes nowhere else.

    Parameters
    ----------
    path : of the folder, made if it is missing; None for a new one in ``runs``
    name : in the new one's name
    overwrite : whether it may hold files, which are replaced

    Before training starts, :meth:`describe` is told what is trained. :meth:`reopen` is for a run that is to go on.
    """

    def __init__(self, path: Path | None, *, name: str = "run", overwrite: bool = False) -> None:
        self._named, self._name, self._overwrite = path, name, overwrite
        self._record: dict[str, Any] = {}
        self._facts: Mapping[str, Any] = {}
        self._config = ""
        self._claim: Claim | None = None
        self._goes_on = self._has_begun = False

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """A run that is to go on, this process's from now on.

        DataError if there is none, OptionError if another process trains there.
        """
        if not path.is_dir():
            raise DataError(f"{path} is no run directory: it is no folder")
        if not any((path / name).exists() for name in (RECORD, LOCK)):
            read_record(path)  # says what is missing, and leaves no lock
        directory = cls(path, overwrite=True)
        with contextlib.ExitStack() as undone:
            directory._claim = Claim(path, [])
            undone.callback(directory.__exit__)
            directory._refuse_other_kinds(but_links=False)
            directory._record, directory._goes_on = record_in(directory.folder), True  # which nobody else writes now
            undone.pop_all()
        return directory

    def __enter__(self) -> Self:
        if self._claim is None:
            path = self._named
            self._claim = claim_new(self._name) if path is None else claim(path, overwrite=self._overwrite)
            try:
                self._refuse_other_kinds(but_links=True)
                self._refuse_long_paths()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._claim is not None:
            self._claim.release()

    def _refuse_other_kinds(self, *, but_links: bool) -> None:
        """DataError for a folder in the place of a file, or something else in that of the folder of checkpoints.

        ``but_links``: a link there is about to be replaced.
        """
        facts = self.folder.facts(CHECKPOINTS)
        if facts is not None and not (but_links and stat.S_ISLNK(facts.st_mode)):
            with self.folder.within(CHECKPOINTS) as checkpoints:
                _refuse_folders(checkpoints, OF_CHECKPOINTS)
        _refuse_folders(self.folder, FILES)

    def _refuse_long_paths(self) -> None:
        """What is written must be found again by its path."""
        try:
            (self.path / CHECKPOINTS / LAST).lstat()
        except OSError as error:  # what else is there instead is replaced, or has been refused
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
        return self.folder.found()

    @property
    def checkpoints(self) -> Place:
        """Their folder, within this one."""
        return self.folder / CHECKPOINTS

    @property
    def record(self) -> Mapping[str, Any]:
        """What run.json says; of a run that is to go on, what it said."""
        return self._record

    @property
    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint; None before the first."""
        last = self.found / CHECKPOINTS / LAST
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
        facts = facts_of(record)
        if self._goes_on:
            _tidy(self.folder, FILES)
            if self.folder.facts(CHECKPOINTS) is not None:
                with self.folder.within(CHECKPOINTS) as checkpoints:
                    _tidy(checkpoints, OF_CHECKPOINTS)
            self._write_metrics(record.run.history)  # of the epochs that were written down those that it still has
            before = self._record.get("resumed")
            again = {"time": now(), "epochs": record.run.history.epochs, "steps": record.run.steps, **facts}
            self._record |= {"status": "running", "resumed": [*(before if isinstance(before, list) else []), again]}
            self._record.pop("error", None)
        else:
            _remove(self.folder, FILES)
            self._remove_checkpoints()
            self.folder.write_whole(CONFIG, self._config.encode())
            self._record = {"status": "running", "started": now(), **self._facts, **facts}
        self._write_record()
        self._has_begun = True  # not before: what is in a run.json can be gone on with

    def _remove_checkpoints(self) -> None:
        """Of a run before this one; a link in the place of their folder, and nothing of where it leads."""
        facts = self.folder.facts(CHECKPOINTS)
        if facts is not None and stat.S_ISLNK(facts.st_mode):
            self.folder.unlink(CHECKPOINTS)
        elif facts is not None:
            with self.folder.within(CHECKPOINTS) as checkpoints:
                _remove(checkpoints, OF_CHECKPOINTS)

    def _write_metrics(self, history: History) -> None:
        """All epochs so far."""
        epochs = enumerate(zip(*history.values(), strict=True), start=1)
        lines = [{"epoch": epoch, **dict(zip(history, values, strict=True))} for epoch, values in epochs]
        self.folder.write_whole(METRICS, "".join(map(json_line, lines)).encode())

    def on_epoch_end(self, record: EpochRecord) -> None:
        """One line of metrics as soon as the epoch is over."""
        line = json_line({"epoch": record.epoch, **record.metrics})
        if not self._append_metrics(line, is_first=record.epoch == 1):
            self._write_metrics(record.history)

    def _append_metrics(self, line: str, *, is_first: bool = False) -> bool:
        """False if somebody has removed the file, or put a link in its place."""
        is_there = is_first or self.folder.facts(METRICS) is not None
        return is_there and self.folder.append(METRICS, line.encode())

    def end(self, status: str, *, net: Network | None, run: Run | None, summary: Mapping[str, Any]) -> None:
        """Write down what happened, if anything has begun; the model if there is one worth keeping."""
        if not self._has_begun:
            return
        folder = self.folder
        if run is not None and run.history.epochs:
            if self._append_metrics(""):
                folder.flush_file(METRICS)
            else:
                self._write_metrics(run.history)
            folder.write_whole(HISTORY, run.history.to_csv().encode())
            run.history.plot(folder / CURVES, best_epoch=run.best_epoch or None)
        if run is not None and run.diagnosis is not None:
            run.diagnosis.plot(folder / GRADIENT_NORMS)
        if net is not None:
            net.save(folder / MODEL)
        self._record |= {"status": status, "compiled": compiled.describe(), "ended": now(), **summary}
        self._write_record()

    def _write_record(self) -> None:
        text = json_text(self._record, indent=2)
        self.folder.write_whole(RECORD, f"{text}\n".encode())


def _refuse_folders(folder: Folder, names: Sequence[str]) -> None:
    for name in names:
        if (facts := folder.facts(name)) is not None and stat.S_ISDIR(facts.st_mode):
            raise DataError(f"{folder / name}: expected a file, got a directory", hint="move it away")


def _remove(folder: Folder, names: Sequence[str]) -> None:
    """These files, or what else has their names, and what writers of them have left."""
    for name in names:
        folder.unlink(name)
    folder.remove_temporaries(names)


def _tidy(folder: Folder, names: Sequence[str]) -> None:
    """Keep these files, remove what is none: links and pipes, which are not written to, and temporaries."""
    for name in names:
        if (facts := folder.facts(name)) is not None and not stat.S_ISREG(facts.st_mode):
            folder.unlink(name)
    folder.remove_temporaries(names)


def find_model(path: Path) -> Path:
    """The model file of a run directory, or the path itself."""
    return path / MODEL if is_folder(path) else path
