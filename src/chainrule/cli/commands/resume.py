"""``chainrule resume``: a run that was stopped, killed or cut off goes on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chainrule.backends.contract.backend import PRECISIONS
from chainrule.cli.console import output
from chainrule.cli.options.config import arguments_from
from chainrule.cli.options.fitting import interval
from chainrule.cli.runs.directory import CONFIG, RunDirectory
from chainrule.cli.runs.job import do_job
from chainrule.cli.runs.record import file_facts
from chainrule.errors import DataError, OptionError
from chainrule.tables.unchanged import SameFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="the folder of a run")
    add(
        "--anywhere",
        action="store_true",
        help="also on another device or machine, or with other versions: it goes on, and ends with other last bits",
    )
    add("--device", metavar="D", help="auto, cpu, cuda or cuda:N (that of the run)")
    add("--precision", choices=PRECISIONS, help="of products on a CUDA device (that of the run)")
    add("--checkpoint-every", type=interval, metavar="N", help="steps, or a time: 30s, 5m (as it was)")
    add("--log-json", type=Path, metavar="FILE", help="settings and each epoch as one JSON object a line")
    add("--tensorboard", type=Path, metavar="FOLDER", help="event files for TensorBoard")
    add("--quiet", action="store_true", help="say nothing on stderr but errors")
    add("--json", action="store_true", help="one JSON object on stdout at the end")


def run(args: argparse.Namespace) -> int:
    with RunDirectory.reopen(args.run) as directory:
        status = directory.record.get("status")
        if status == "done":
            return _say_done(args, directory)
        if status == "diverged":
            raise OptionError(
                f"{args.run} diverged: going on would end as it ended",
                hint=f"begin anew with a lower rate: chainrule train --config {args.run / CONFIG} --lr ...",
            )
        options = arguments_from(args.run / CONFIG)
        for name in ("device", "precision", "checkpoint_every"):
            if getattr(args, name) is not None:
                setattr(options, name, getattr(args, name))
        for name in ("log_json", "tensorboard", "quiet", "json", "argv"):
            setattr(options, name, getattr(args, name))
        files = [SameFile(options.data), SameFile(options.valid)]
        _refuse_other_data(directory.record.get("data"), options.data, "the run was trained")
        _refuse_other_data(directory.record.get("valid_data"), options.valid, "the run is validated")
        return do_job(options, directory, goes_on=True, anywhere=args.anywhere, files=files)


def _say_done(args: argparse.Namespace, directory: RunDirectory) -> int:
    if not args.quiet:
        output.say("done", f"{args.run} came to its end: there is nothing to resume")
    if args.json:
        output.result_json({"ok": True, "run_dir": str(args.run), "run": directory.record})
    return 0


def _refuse_other_data(before: Any, source: Any, what: str) -> None:
    """DataError where the file of which the record knows ``before`` has changed since, or has gone."""
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
    raise DataError(
        f"{source} has changed since the run began", hint="bring back the file as it was, or begin a run anew"
    )
