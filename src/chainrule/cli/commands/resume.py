"""``chainrule resume``: continue a run that was stopped, killed or cut off."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chainrule.backends.contract.backend import PRECISIONS
from chainrule.cli.console import output
from chainrule.cli.options.config import command_from
from chainrule.cli.options.fitting import interval
from chainrule.cli.options.output import OutputOptions
from chainrule.cli.options.parser import typed
from chainrule.cli.options.train_options import TrainingOptions
from chainrule.cli.options.types import add_threads
from chainrule.cli.runs.directory import RunDirectory
from chainrule.cli.runs.files import CONFIG
from chainrule.cli.runs.job import Resumption, do_job
from chainrule.cli.runs.record import file_facts
from chainrule.errors import DataError, OptionError
from chainrule.tables.unchanged import SameFile

EXAMPLES = ("chainrule resume runs/digits", "chainrule resume runs/digits --json")


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """What a resumed run may have otherwise; None for as it was."""

    anywhere: bool
    device: str | None
    precision: str | None
    threads: int | None
    checkpoint_every: str | None
    quiet: bool
    json: bool

    def applied_to(self, options: TrainingOptions) -> TrainingOptions:
        """The options of the run with these changes."""
        names = ("device", "precision", "threads")
        device = {name: value for name in names if (value := getattr(self, name)) is not None}
        every = options.fit.checkpoint_every if self.checkpoint_every is None else self.checkpoint_every
        return replace(
            options, device=replace(options.device, **device), fit=replace(options.fit, checkpoint_every=every)
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="the folder of a run")
    add(
        "--anywhere",
        action="store_true",
        help="also resume on another device, machine or version; the weights then differ in the last bits",
    )
    add("--device", metavar="D", help="auto, cpu, cuda or cuda:N (that of the run)")
    add("--precision", choices=PRECISIONS, help="of products on a CUDA device (that of the run)")
    add_threads(parser, default="as for the run")
    add("--checkpoint-every", type=interval, metavar="N", help="steps, or a time: 30s, 5m (as it was)")
    add("--log-json", type=Path, metavar="FILE", help="settings and each epoch as one JSON object per line")
    add("--tensorboard", type=Path, metavar="FOLDER", help="event files for TensorBoard")
    add("--quiet", action="store_true", help="print only errors on stderr")
    add("--json", action="store_true", help="one JSON object on stdout at the end")


def run(args: argparse.Namespace) -> int:
    changes, path = typed(ResumeOptions, args), Path(args.run)
    with RunDirectory.reopen(path) as directory:
        status = directory.record.get("status")
        if status == "done":
            return _say_done(path, changes, directory)
        if status == "diverged":
            raise OptionError(
                f"{path} diverged: a resumed run would diverge again",
                hint=f"start again with a lower rate: chainrule train --config {path / CONFIG} --lr ...",
            )
        options = changes.applied_to(command_from(path / CONFIG).training)
        data, valid = options.data.data, options.data.valid
        files = [SameFile(data), SameFile(valid)]
        _refuse_other_data(directory.record.get("data"), data, "the run was trained")
        _refuse_other_data(directory.record.get("valid_data"), valid, "the run is validated")
        out = typed(OutputOptions, args)
        return do_job(options, out, directory, resumption=Resumption(changes.anywhere, changes.threads, files))


def _say_done(path: Path, options: ResumeOptions, directory: RunDirectory) -> int:
    output.speaker(quiet=options.quiet)("done", f"{path} is complete: there is nothing to resume")
    if options.json:
        output.result_json({"ok": True, "run_dir": str(path), "run": directory.record})
    return 0


def _refuse_other_data(before: Any, source: Any, what: str) -> None:
    """DataError if the file that the record describes by ``before`` has changed since, or has gone."""
    if not isinstance(before, dict) or not isinstance(source, str):  # nothing is known, or no file was used
        return
    try:
        now = file_facts(source)
    except OSError as error:
        raise DataError(f"{source}, on which {what}, cannot be read: {error.strerror or error}") from error
    if before.get("sha256") == now.get("sha256"):
        return
    if "sha256" not in now:
        raise DataError(f"{source}, on which {what}, does not exist")
    raise DataError(f"{source} has changed since the run began", hint="restore the file as it was, or start a new run")
