"""One training job, from options to a run directory: what ``train`` begins and ``resume`` ends."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from chainrule.backends import choose_backend
from chainrule.cli.console import output
from chainrule.cli.console.reports import (
    PlainLines,
    Say,
    describe_data,
    describe_embedding,
    findings_of,
    say_findings,
    summary_of,
)
from chainrule.cli.options import optimisation
from chainrule.cli.options.architecture import describe_net, net_of
from chainrule.cli.options.config import config_text
from chainrule.cli.options.fitting import trainer_of, with_recipe
from chainrule.cli.options.resolved import resolve
from chainrule.cli.options.training_data import Data, read_training_data
from chainrule.cli.options.types import describe_device, refuse_what_is_read
from chainrule.cli.runs.directory import GRADIENT_NORMS, MODEL, RunDirectory
from chainrule.cli.runs.record import file_facts
from chainrule.cli.runs.signals import Signals
from chainrule.errors import DivergenceError
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.network import Network
from chainrule.nn.saved import refuse_unsavable
from chainrule.tables.unchanged import SameFile
from chainrule.train.records.callbacks import Callback
from chainrule.train.records.loggers import JSONLinesLogger
from chainrule.train.records.run import Run
from chainrule.train.records.tensorboard import TensorBoardLogger

INTERRUPTED = 130


def do_job(
    args: argparse.Namespace,
    directory: RunDirectory,
    *,
    goes_on: bool = False,
    anywhere: bool = False,
    files: Sequence[SameFile] = (),
) -> int:
    """Train as the options say and keep the run in ``directory``; the exit code.

    ``goes_on``: from its last checkpoint, or if it has none from the beginning, on ``files`` as they were when they
    were compared with those of the run; ``anywhere``: also one that was written on another machine.
    """
    say: Say = (lambda *_: None) if args.quiet else output.say
    with Signals() as signals, directory, output.warnings_as_notes(say):
        refuse_what_is_read(args.log_json, args.data, args.valid, getattr(args, "config", None))
        asked, loggers = optimisation.with_defaults(args), _loggers(args)
        optimisation.optimizer_of(with_recipe(asked, rows=1, has_validation=False))  # refuses before a table is read
        backend, why = choose_backend(args.device, precision=args.precision)
        say("device", describe_device(backend, why))
        files = files or [SameFile(args.data), SameFile(args.valid)]
        data = read_training_data(args)
        facts = {} if goes_on else _facts_of_data(args)
        for file in files:  # what was read is what the record speaks of
            file.check()
        args = with_recipe(asked, len(data.y), has_validation=data.valid is not None)
        net = net_of(args, data, backend)
        refuse_unsavable(net, directory.path / MODEL)
        say("data", describe_data(data))
        if data.columns:
            say("columns", data.columns)
        if isinstance(net.layers[0], Embedding):
            say("vectors", describe_embedding(net.layers[0], data))
        for note in data.notes:
            say("note", note)
        say("model", describe_net(args, net))
        directory.describe(
            facts={"argv": ["chainrule", *args.argv], "seed": args.seed, **facts},
            config=config_text(*resolve(asked, args, data, net)),
        )
        lines = [] if args.quiet or sys.stderr.isatty() else [PlainLines(args.epochs)]
        trainer = trainer_of(
            args,
            net,
            has_validation=data.valid is not None,
            progress=not args.quiet,
            callbacks=[signals, *loggers, directory, *lines],
            checkpoints=directory.checkpoints,
        )
        resume = directory.last_checkpoint if goes_on else None
        if goes_on:
            say("resumes", "from the beginning: it has no checkpoint" if resume is None else str(resume))
        try:
            outcome = trainer.fit(
                data.X,
                data.y,
                class_weight=args.class_weight,
                validation=data.valid,
                diagnose=args.diagnose,
                resume=resume,
                resume_anywhere=anywhere,
            )
            summary = _keep(directory, net, data, outcome)
        except DivergenceError as error:
            _end_diverged(directory, net, error, say)
            raise
        except BaseException as error:
            with contextlib.suppress(OSError, MemoryError):  # what failed may fail again, and it is what is to be said
                directory.end("failed", net=None, run=None, summary={"error": str(error)})
            if isinstance(error, OSError) and directory.can_go_on:
                say("next", f"{output.command('resume', directory.found)}, once that is mended")
            raise
        _tell(args, directory, data, outcome, summary, say)
        interrupted = outcome.stopped == "interrupted" and not signals.caught  # by who called main() from a thread
        return INTERRUPTED if interrupted else signals.exit_code


def _facts_of_data(args: argparse.Namespace) -> dict[str, Any]:
    valid = {"valid_data": file_facts(args.valid)} if isinstance(args.valid, str) else {}
    return {"data": file_facts(args.data), **valid}


def _end_diverged(directory: RunDirectory, net: Network, error: DivergenceError, say: Say) -> None:
    kept = net if error.run.best_epoch else None
    directory.end("diverged", net=kept, run=error.run, summary={"error": error.message} | findings_of(error.run))
    say_findings(say, error.run)
    say("saved", f"{directory.found}/  {f'{MODEL} of the best epoch' if kept else 'no model: no epoch was good'}")
    if error.checkpoint is not None:
        say("kept", f"{error.checkpoint}, the last checkpoint from before")


def _keep(directory: RunDirectory, net: Network, data: Data, outcome: Run) -> dict[str, Any]:
    """Save what came out; the summary of it."""
    summary = summary_of(net, data, outcome)
    directory.end("interrupted" if outcome.stopped == "interrupted" else "done", net=net, run=outcome, summary=summary)
    return summary


def _tell(
    args: argparse.Namespace, directory: RunDirectory, data: Data, outcome: Run, summary: dict[str, Any], say: Say
) -> None:
    """Say what came out."""
    interrupted = outcome.stopped == "interrupted"
    drawn, found = f"  {GRADIENT_NORMS}" if args.diagnose else "", directory.found
    if found != directory.path:
        say("note", f"{directory.path} was moved while the run wrote to it: all of the run is where it is now")
    say("saved", f"{found}/  model.safetensors  history.csv  curves.svg  config.toml{drawn}")
    if outcome.best_epoch:
        part = "train" if data.valid is None else "valid"
        shown = ", ".join(f"{name} {value:.4g}" for name, value in summary[part].items())
        if (shrinkage := outcome.shrinkage) is not None and shrinkage.changed:
            say("shrunk", f"{shrinkage}, by the valid rows")
        say("best", f"epoch {outcome.best_epoch} of {outcome.history.epochs}: {part} {shown}")
    say_findings(say, outcome)
    if interrupted:
        say("stopped", "by a signal, before the last epoch; the model is that of the best epoch so far")
        if directory.last_checkpoint is not None:
            say("next", output.command("resume", found))
    if args.json:
        output.result_json({"ok": not interrupted, **summary, "run_dir": str(found)})


def _loggers(args: argparse.Namespace) -> list[Callback]:
    loggers: list[Callback] = []
    if args.log_json is not None:
        loggers.append(JSONLinesLogger(args.log_json))
    if args.tensorboard is not None:
        loggers.append(TensorBoardLogger(args.tensorboard))
    return loggers
