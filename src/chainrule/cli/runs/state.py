"""What has become of a run: what its record says, and whether a process still holds its lock."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from chainrule.cli.console import output
from chainrule.cli.runs.files import CHECKPOINTS, CONFIG
from chainrule.cli.runs.lock import NOBODY, UNKNOWN, owner_of
from chainrule.cli.runs.record import RECORD, record_in
from chainrule.errors import DataError
from chainrule.files.descriptors import path_in_errors
from chainrule.files.folder import Folder
from chainrule.files.model_file import MODEL
from chainrule.files.regular_file import is_folder
from chainrule.train.checkpoints.writer import BEST, LAST

State: TypeAlias = Literal[
    "beginning", "running", "running or killed", "killed", "interrupted", "failed", "diverged", "completed", "unknown"
]
ENDED: dict[Any, State] = {
    "interrupted": "interrupted",
    "failed": "failed",
    "diverged": "diverged",
    "done": "completed",
}


@dataclass(frozen=True)
class RunState:
    """A run directory as it is now.

    Parameters
    ----------
    path : of the folder
    state : "beginning": its process has not started to train; "running or killed": the file system has no locks that
        would tell
    record : what run.json says; empty while the first run of a folder begins
    owner : "process 12 on host", which holds the folder; "" for none
    has_model, has_checkpoint, has_best : whether it has these files
    """

    path: Path
    state: State
    record: Mapping[str, Any]
    owner: str
    has_model: bool
    has_checkpoint: bool
    has_best: bool

    @classmethod
    def of(cls, path: Path) -> RunState | None:
        """Of a folder, None if ``path`` is no folder; DataError if no run is or begins there."""
        if not is_folder(path):
            return None
        with path_in_errors(path), Folder(path) as folder:
            owner = owner_of(folder)  # before the record: a run that ends now has written its last before it lets go
            held = owner not in {NOBODY, UNKNOWN}
            record: dict[str, Any] = {}
            try:
                record = record_in(folder)
            except DataError:
                if not held or folder.lstat(RECORD) is not None:
                    raise
        checkpoints = path / CHECKPOINTS
        files = (path / MODEL).exists(), (checkpoints / LAST).exists(), (checkpoints / BEST).exists()
        return cls(path, _state_of(record.get("status"), owner), record, owner if held else "", *files)

    @property
    def in_words(self) -> str:
        """What it is doing, or how it ended."""
        words = {
            "beginning": f"beginning now: {self.owner} has the folder, and has not started to train in it",
            "running": f"running now: {self.owner} trains",
            "running or killed": "running now, or killed: this file system has no locks that would tell",
            "killed": "killed: its process ended before the training did (kill -9, out of memory, a power cut)",
            "interrupted": "interrupted: a signal (Ctrl-C) stopped it before the last epoch",
            "failed": "failed: an error ended it",
            "diverged": "diverged: its loss grew beyond reason",
            "completed": "completed",
            "unknown": str(self.record.get("status", "unknown")),
        }
        now = f"; {self.owner} has the folder open now" if self.owner and self.state in ENDED.values() else ""
        early = " early: no later epoch was better" * (self.record.get("stopped") == "early")
        return words[self.state] + early * (self.state == "completed") + now

    @property
    def next_step(self) -> str:
        """What can be done about it; "" for nothing."""
        if self.owner:
            return ""
        if self.state in {"killed", "interrupted", "failed", "running or killed"}:
            where = "its last checkpoint" if self.has_checkpoint else "the beginning: it has no checkpoint"
            first = {"failed": "once the error is mended, ", "running or killed": "if it was killed, "}
            resume = output.command("resume", self.path)
            return f"{first.get(self.state, '')}{resume} continues from {where}"
        if self.state == "diverged":
            return f"start again with a lower rate: {output.command('train --config', self.path / CONFIG)} --lr ..."
        return ""

    @property
    def best_so_far(self) -> str:
        """The model file beside the checkpoints, of a run without its own: with the weights it would keep now."""
        return str(self.path / CHECKPOINTS / BEST) if self.has_best and not self.has_model else ""

    @property
    def why_no_model(self) -> str:
        """Why it has no model, or none yet."""
        if self.state in {"beginning", "running"}:
            return f"no model yet: {self.owner} trains now, and saves one in the end"
        reasons = {
            "killed": "no model: the run was killed before it saved one",
            "failed": "no model: the run failed before it saved one",
            "diverged": "no model: the run diverged before an epoch was completed",
            "running or killed": "no model yet: it is saved when the training ends",
        }
        return reasons.get(self.state, "no model: the file is missing")


def model_of(path: Path) -> Path:
    """The model file of a run directory, or the path itself; DataError, with what to do, if the run has none (yet)."""
    run = None
    with contextlib.suppress(DataError):  # a folder with a model and without a record is no run, and has a model
        run = RunState.of(path)
    if run is None:
        return path / MODEL if is_folder(path) else path
    if run.has_model:
        if run.owner:
            output.say("note", f"{run.owner} has {path} open now: this is the model of before")
        return path / MODEL
    do = "wait until it has ended" if run.owner else run.next_step
    best = f"{run.best_so_far} has the weights that would be kept now" if run.best_so_far else ""
    raise DataError(f"{path}: {run.why_no_model}", hint="; ".join(part for part in (do, best) if part))


def _state_of(status: Any, owner: str) -> State:
    held = owner not in {NOBODY, UNKNOWN}
    if status == "running":
        return "running" if held else "killed" if owner == NOBODY else "running or killed"
    if held and status is None:
        return "beginning"
    return ENDED.get(status, "unknown") if isinstance(status, str) else "unknown"
