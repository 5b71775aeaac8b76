"""``chainrule cv``: k-fold cross-validation of what ``chainrule train`` would do."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.backends import choose_backend
from chainrule.backends.contract.backend import Backend
from chainrule.cli.console import output
from chainrule.cli.console.output import Say
from chainrule.cli.console.reports import describe_task
from chainrule.cli.options.data import FRACTION
from chainrule.cli.options.output import TITLE
from chainrule.cli.options.parser import typed
from chainrule.cli.options.train_options import TrainingOptions, add_options_of_a_fit
from chainrule.cli.options.types import describe_device, positive_int
from chainrule.cli.runs.signals import LeftBehind, Signals
from chainrule.cli.training.data import split_data
from chainrule.cli.training.model import left_out_rows, net_of, trainer_of
from chainrule.cli.training.settings import settings_of
from chainrule.cli.training.table import TrainingTable, hold_out_rows, naming_split_column, read_training_table
from chainrule.errors import OptionError
from chainrule.nn.network import Network
from chainrule.optim.base import Optimizer
from chainrule.plain_text import table_lines
from chainrule.tables.splitting.splits import Split, make_folds
from chainrule.train.cross_validation import CrossValidation, cross_validate
from chainrule.train.ensemble_fit import HostTable, begin_line, learn_from_left_out
from chainrule.train.records.progress import bar_alone

FOLDS = 5
INTERRUPTED = 130
NOTHING_LEFT = LeftBehind("a cross-validation saves nothing", "run it again, from its first fold")
EXAMPLES = (
    "chainrule cv digits --preset fast --epochs 10",
    "chainrule cv digits --hidden 32 --epochs 10 --folds 3 --json",
)
USAGE = "chainrule cv DATA --target COLUMN [--folds N] [options], or chainrule cv --config FILE [options]"


@dataclass(frozen=True, kw_only=True)
class CrossValidationOptions:
    """Those of the command itself, as typed; the others are of the training of a fold."""

    folds: int
    quiet: bool
    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folds", type=positive_int, default=FOLDS, metavar="N", help=f"parts of the rows ({FOLDS})")
    add_options_of_a_fit(parser, run=False)
    add = parser.add_argument_group(TITLE).add_argument
    add("--config", type=Path, metavar="FILE", help="read options from a TOML file, e.g. a run's: RUN/config.toml")
    add("--quiet", action="store_true", help="print only errors on stderr")
    add("--json", action="store_true", help="one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    started, asked = time.perf_counter(), typed(CrossValidationOptions, args)
    options, say = TrainingOptions.of(args).with_defaults(), output.speaker(quiet=asked.quiet)
    optimizer = options.updates.build()  # refuses a wrong option before a table is read
    fraction = _validation_fraction(options)
    backend, why = choose_backend(options.device.device, precision=options.device.precision)
    say("device", describe_device(backend, why))
    read = read_training_table(options)
    folds = folds_of(options, read, asked.folds)
    _say_folds(say, options, read, len(folds))
    training = FoldTraining(options, fraction, optimizer, backend, read, asked.quiet)
    speaker = FoldSpeaker(say, training, folds)
    with Signals(lambda: NOTHING_LEFT) as signals:  # nothing of a fold is worth keeping: a signal ends it at once
        try:
            with output.warnings_as_notes(speaker.say_note):
                found = cross_validate(
                    training.net_of_fold,
                    read.table,
                    read.plan.y,
                    folds,
                    on_fold=speaker.say_fold,
                    threads=options.device.threads,
                )
        except KeyboardInterrupt:
            say("stopped", "by a signal, before the last fold")
            code = signals.exit_code or INTERRUPTED
            if asked.json:
                output.result_json({"ok": False, "error": "interrupted", "hint": "", "exit_code": code})
            return code
        finally:
            speaker.say_rest()
    if asked.json:
        facts = {"device": backend.device, "task": read.plan.task, "rows": len(read.table), "folds": len(folds)}
        seconds = round(time.perf_counter() - started, 4)
        output.result_json(_summary(found, facts, seconds, list(speaker.notes)))
    else:
        _print_table(found)
    return 0


@dataclass(frozen=True)
class FoldNotes:
    """What is noted of a fold: in its fit's record, and in warnings that are said once the fold has ended."""

    recorded: list[str] = field(default_factory=list)
    unsaid: list[str] = field(default_factory=list)


_of_fold: ContextVar[FoldNotes | None] = ContextVar("notes_of_fold", default=None)  # that this thread trains


class FoldTraining:
    """Trains the net of a fold, as ``chainrule train`` would on its training rows; several threads may.

    Parameters
    ----------
    options : with their optimiser's defaults
    fraction : of a fold's training rows, to be held out
    optimizer : but for what depends on the rows
    read : the whole table
    """

    def __init__(
        self,
        options: TrainingOptions,
        fraction: float,
        optimizer: Optimizer,
        backend: Backend,
        read: TrainingTable,
        quiet: bool,
    ) -> None:
        self._options, self._fraction, self._optimizer, self._backend = options, fraction, optimizer, backend
        self._read, self._quiet = read, quiet
        self._notes: dict[int, FoldNotes] = {}  # by the identity of a fold's training rows

    def net_of_fold(self, training: np.ndarray) -> Network:
        """A net trained on some of these rows, and validated on the others; KeyboardInterrupt if it was stopped."""
        self._notes[id(training)] = notes = FoldNotes()
        token = _of_fold.set(notes)
        try:
            return self._net_of_fold(training, notes)
        finally:
            _of_fold.reset(token)

    def notes_of_fold(self, training: np.ndarray) -> FoldNotes:
        """Of a net that was trained on these very rows."""
        return self._notes.setdefault(id(training), FoldNotes())

    def _net_of_fold(self, training: np.ndarray, notes: FoldNotes) -> Network:
        options = self._options
        data = split_data(options, self._read, self._inner_split(training))
        settings, has_validation = settings_of(options, len(data.y), data.plan.task), data.valid is not None
        net, left_out = net_of(options, settings, data, self._backend), left_out_rows(options, settings, data)
        begin_line(net, settings, HostTable(data.X, data.y), left_out)
        trainer = trainer_of(
            options,
            settings,
            net,
            self._optimizer,
            has_validation=has_validation,
            leaves_out=left_out is not None,
            callbacks=(),
            progress=not self._quiet,
        )
        weight, mask = options.fit.class_weight, None if left_out is None else left_out.mask
        with bar_alone():
            outcome = trainer.fit(data.X, data.y, class_weight=weight, validation=data.valid, left_out=mask)
        if left_out is not None:
            learn_from_left_out(
                net,
                HostTable(data.X, data.y),
                outcome,
                left_out,
                options.device.seed,
                weight,
                shrinks=not options.fit.no_shrink,
            )
        notes.recorded.extend(outcome.notes)
        if outcome.stopped == "interrupted":
            raise KeyboardInterrupt
        return net

    def _inner_split(self, training: np.ndarray) -> Split:
        """A fold's training rows: those to train on, and those that choose its best epoch; never a row to be scored."""
        if self._fraction == 0:
            return Split(training, training[:0])
        return hold_out_rows(self._options, self._read, self._fraction, training)


def folds_of(options: TrainingOptions, read: TrainingTable, folds: int) -> list[Split]:
    """The folds: by time, by group, by class if there are any, or by chance."""
    with naming_split_column(options.data, read.table):
        return make_folds(
            len(read.table),
            folds,
            seed=options.device.seed,
            classes=read.classes,
            groups=read.groups,
            times=read.times,
        )


def _validation_fraction(options: TrainingOptions) -> float:
    """``--valid``; OptionError for what a cross-validation does not have."""
    valid = FRACTION if options.data.valid is None else options.data.valid
    if isinstance(valid, str):
        raise OptionError("--valid: expected a fraction, got a file", hint="--valid 0.2: of each fold's training rows")
    if not 0 <= valid < 1:
        raise OptionError(f"--valid: expected a fraction in [0, 1), got {valid:g}")
    if options.fit.diagnose:
        raise OptionError("cv has no --diagnose", hint="chainrule train --diagnose")
    return valid


def _say_folds(say: Say, options: TrainingOptions, read: TrainingTable, folds: int) -> None:
    data = options.data
    how = "by time" if data.time else "by group" if data.group else "by class" if read.plan.classes else "by chance"
    say("data", f"{read.table.source}: {len(read.table):,} rows in {folds} folds {how}")
    say("task", describe_task(options, read.plan, read.table.target_name))
    for note in (*read.notes, *_rare_classes(read, folds)):
        say("note", note)


def _rare_classes(read: TrainingTable, folds: int) -> list[str]:
    """A note about classes that some fold has no row of."""
    if not read.plan.classes or read.groups is not None or read.times is not None:
        return []
    rows = np.bincount(read.plan.y.astype(np.int64), minlength=len(read.plan.classes))
    rare = [name for name, n in zip(read.plan.classes, rows, strict=True) if n < folds]
    how_many = f"{len(rare)} classes have" if len(rare) > 1 else "1 class has"
    return [f"{how_many} fewer rows than there are folds: {rare[0]!r:.60}"] if rare else []


class FoldSpeaker:
    """Says the notes and the metrics of each fold once it has ended, in order, whichever ended first.

    Parameters
    ----------
    say : a line on stderr
    training, folds : whose notes they are
    """

    def __init__(self, say: Say, training: FoldTraining, folds: Sequence[Split]) -> None:
        self._say, self._training, self._folds = say, training, folds
        self.notes: dict[str, None] = {}  # of the fits, each once, in order

    def say_note(self, label: str, text: str) -> None:
        """A warning: with those of its fold, if it arose in the training of one."""
        if (notes := _of_fold.get()) is None:
            self._say(label, text)
        else:
            notes.unsaid.append(text)

    def say_fold(self, number: int, scores: dict[str, float]) -> None:
        notes = self._training.notes_of_fold(self._folds[number - 1].training)
        self.notes.update(dict.fromkeys(notes.recorded))
        self._say_notes(notes)
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        self._say("fold", f"{number}/{len(self._folds)}  {metrics}")

    def say_rest(self) -> None:
        """The notes of folds that have not come to their end."""
        for fold in self._folds:
            self._say_notes(self._training.notes_of_fold(fold.training))

    def _say_notes(self, notes: FoldNotes) -> None:
        for text in notes.unsaid:
            self._say("note", text)
        notes.unsaid.clear()


def _summary(found: CrossValidation, facts: dict[str, Any], seconds: float, notes: list[str]) -> dict[str, Any]:
    each = [{"fold": i, "rows": n, **score} for i, (n, score) in _numbered(found)]
    summary = {"ok": True, **facts, **found.mean, "std": found.std, "each": each, "seconds": seconds}
    return {**summary, "notes": notes} if notes else summary


def _print_table(found: CrossValidation) -> None:
    lines = [[str(i), f"{n:,}", *_cells(score, found.names)] for i, (n, score) in _numbered(found)]
    lines += [["mean", "", *_cells(found.mean, found.names)], ["std", "", *_cells(found.std, found.names)]]
    for line in table_lines([["fold", "rows", *found.names], *lines], numbers=True):
        output.result(line)


def _numbered(found: CrossValidation) -> Iterator[tuple[int, tuple[int, dict[str, float]]]]:
    return enumerate(zip(found.rows, found.scores, strict=True), 1)


def _cells(scores: dict[str, float], names: Sequence[str]) -> list[str]:
    return [f"{scores[name]:.6g}" if name in scores else "-" for name in names]
