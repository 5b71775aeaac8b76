"""One training job, from options to a run directory: what ``train`` begins and ``resume`` ends."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainrule.backends import choose_backend
from chainrule.cli.console import output
from chainrule.cli.console.output import Say
from chainrule.cli.console.reports import findings_of, say_findings, say_outcome, say_plan, summary_of
from chainrule.cli.options.config import config_text
from chainrule.cli.options.output import OutputOptions
from chainrule.cli.options.train_options import TrainingOptions
from chainrule.cli.options.types import describe_device, refuse_what_is_read
from chainrule.cli.runs.directory import RunDirectory
from chainrule.cli.runs.files import GRADIENT_NORMS
from chainrule.cli.runs.record import file_facts
from chainrule.cli.runs.signals import Signals
from chainrule.cli.training.data import TrainingData, read_training_data
from chainrule.cli.training.model import left_out_rows, net_of, trainer_of
from chainrule.cli.training.settings import settings_of
from chainrule.cli.training.used_options import used_options
from chainrule.errors import DivergenceError
from chainrule.files.model_file import MODEL
from chainrule.nn.network import Network
from chainrule.nn.saved import refuse_unsavable
from chainrule.tables.unchanged import SameFile
from chainrule.train.ensemble_fit import HostTable, LeftOutOutcome, LeftOutRows, begin_line, learn_from_left_out
from chainrule.train.records.callbacks import Callback
from chainrule.train.records.loggers import JSONLinesLogger
from chainrule.train.records.run import Run
from chainrule.train.records.tensorboard import TensorBoardLogger
from chainrule.train.trainer import Trainer

INTERRUPTED = 130


@dataclass(frozen=True)
class Resumption:
    """A run continues from its last checkpoint, or if it has none from the beginning.

    Parameters
    ----------
    anywhere : also from a checkpoint that was written on another machine
    threads : if they are others than the run began with
    files : those that it reads, as they were when they were compared with those of the run
    """

    anywhere: bool
    threads: int | None
    files: Sequence[SameFile]


@dataclass(frozen=True)
class Job:
    """What is trained, and where the run is kept."""

    options: TrainingOptions
    out: OutputOptions
    directory: RunDirectory
    data: TrainingData
    net: Network
    trainer: Trainer
    say: Say
    left_out: LeftOutRows | None
    resumption: Resumption | None

    @property
    def next_command(self) -> str:
        """What continues this run, with the threads that its checkpoints are of."""
        return self.directory.resume_command(None if self.resumption is None else self.resumption.threads)


def do_job(
    options: TrainingOptions,
    out: OutputOptions,
    directory: RunDirectory,
    *,
    config: Path | None = None,
    resumption: Resumption | None = None,
) -> int:
    """Train as the options say and keep the run in ``directory``; the exit code.

    ``config`` is the file that the options are from, if there is one.
    """
    say = output.speaker(quiet=out.quiet)
    threads = None if resumption is None else resumption.threads
    with Signals(lambda: directory.left_behind(threads)) as signals, directory, output.warnings_as_notes(say):
        refuse_what_is_read(out.log_json, options.data.data, options.data.valid, config)
        job = _prepare(options.with_defaults(), out, directory, signals, say, resumption)
        outcome, summary, judged = _train(job)
        _report(job, outcome, summary, judged)
        interrupted = outcome.stopped == "interrupted" and not signals.caught  # by who called main() from a thread
        return INTERRUPTED if interrupted else signals.exit_code


def _prepare(
    options: TrainingOptions,
    out: OutputOptions,
    directory: RunDirectory,
    signals: Signals,
    say: Say,
    resumption: Resumption | None,
) -> Job:
    """All until training starts: ``options`` have their optimiser's defaults."""
    loggers = _loggers(out)
    optimizer = options.updates.build()  # refuses a wrong option before a table is read
    backend, why = choose_backend(options.device.device, precision=options.device.precision)
    say("device", describe_device(backend, why))
    data, facts = _read(options, resumption)
    settings = settings_of(options, len(data.y), data.plan.task)
    net, left_out = net_of(options, settings, data, backend), left_out_rows(options, settings, data)
    begin_line(net, settings, HostTable(data.X, data.y), left_out)
    refuse_unsavable(net, directory.path / MODEL)
    say_plan(say, options, settings, data, net, leaves_out=left_out is not None)
    directory.describe(
        facts={"argv": ["chainrule", *out.argv], "seed": options.device.seed, **facts},
        config=config_text(*used_options(options, settings, data, net, leaves_out=left_out is not None)),
    )
    trainer = trainer_of(
        options,
        settings,
        net,
        optimizer,
        has_validation=data.valid is not None,
        leaves_out=left_out is not None,
        progress=not out.quiet,
        callbacks=[signals, *loggers, directory],
        checkpoints=directory.checkpoints,
    )
    return Job(options, out, directory, data, net, trainer, say, left_out, resumption)


def _read(options: TrainingOptions, resumption: Resumption | None) -> tuple[TrainingData, dict[str, Any]]:
    """The rows, and what the record says of their files: a resumed run has that already."""
    path, valid = options.data.data, options.data.valid
    files = [SameFile(path), SameFile(valid)] if resumption is None else resumption.files
    data, facts = read_training_data(options), {}
    if resumption is None:
        facts = {"data": file_facts(path)} if path is not None else {}
        facts |= {"valid_data": file_facts(valid)} if isinstance(valid, str) else {}
    for file in files:  # what was read is what the record speaks of
        file.check()
    return data, facts


def _train(job: Job) -> tuple[Run, dict[str, Any], LeftOutOutcome | None]:
    """What happened, and the summary of it, both kept in the run directory, whatever happened."""
    directory, resumption, checkpoint = job.directory, job.resumption, None
    if resumption is not None:
        checkpoint = directory.last_checkpoint
        job.say("resumes", "from the beginning: there is no checkpoint" if checkpoint is None else str(checkpoint))
    try:
        outcome = job.trainer.fit(
            job.data.X,
            job.data.y,
            class_weight=job.options.fit.class_weight,
            validation=job.data.valid,
            left_out=None if job.left_out is None else job.left_out.mask,
            diagnose=job.options.fit.diagnose,
            resume=checkpoint,
            resume_anywhere=resumption is not None and resumption.anywhere,
        )
        judged = None
        if job.left_out is not None and outcome.stopped != "interrupted":
            table, options = HostTable(job.data.X, job.data.y), job.options
            seed, weight = options.device.seed, options.fit.class_weight
            shrinks = not options.fit.no_shrink
            judged = learn_from_left_out(job.net, table, outcome, job.left_out, seed, weight, shrinks=shrinks)
        summary = summary_of(job.net, job.data, outcome, judged)
        status = "interrupted" if outcome.stopped == "interrupted" else "done"
        directory.end(status, net=job.net, run=outcome, summary=summary)
    except DivergenceError as error:
        _end_diverged(job, error)
        raise
    except BaseException as error:
        with contextlib.suppress(
            OSError, MemoryError
        ):  # what failed may fail again, and the first error is the one to report
            directory.end("failed", net=None, run=None, summary={"error": str(error)})
        if isinstance(error, OSError) and directory.is_resumable:
            job.say("next", f"{job.next_command}, once that is fixed")
        raise
    return outcome, summary, judged


def _end_diverged(job: Job, error: DivergenceError) -> None:
    directory, kept = job.directory, job.net if error.run.best_epoch else None
    facts = {"error": error.message, "epochs": error.run.history.epochs} | findings_of(error.run)
    facts |= {"best_epoch": error.run.best_epoch, "kept": str(error.run.kept)} if kept else {}
    directory.end("diverged", net=kept, run=error.run, summary=facts)
    say_findings(job.say, error.run)
    what = MODEL if kept else "no model: it diverged before an epoch was completed"
    job.say("saved", f"{directory.found}/  {what}")
    if kept:
        job.say("kept", str(error.run.kept))
    if error.checkpoint is not None:
        job.say("saved", f"{error.checkpoint}, the last checkpoint before it diverged")


def _report(job: Job, outcome: Run, summary: dict[str, Any], judged: LeftOutOutcome | None) -> None:
    """Say what the training gave."""
    say, directory, found = job.say, job.directory, job.directory.found
    drawn, interrupted = f"  {GRADIENT_NORMS}" if job.options.fit.diagnose else "", outcome.stopped == "interrupted"
    if found != directory.path:
        say("note", f"{directory.path} was moved while the run wrote to it: the whole run is where it is now")
    say("saved", f"{found}/  model.safetensors  history.csv  curves.svg  config.toml{drawn}")
    say_outcome(say, job.data, outcome, summary, judged)
    if interrupted:
        say("stopped", f"by a signal, after {outcome.history.epochs} of {job.trainer.epochs} epochs")
        if directory.last_checkpoint is not None:
            say("next", job.next_command)
    if job.out.json:
        output.result_json({"ok": not interrupted, **summary, "run_dir": str(found)})


def _loggers(out: OutputOptions) -> list[Callback]:
    loggers: list[Callback] = []
    if out.log_json is not None:
        loggers.append(JSONLinesLogger(out.log_json))
    if out.tensorboard is not None:
        loggers.append(TensorBoardLogger(out.tensorboard))
    return loggers
