"""``chainrule cv``: k-fold cross-validation of what ``chainrule train`` would do."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from chainrule.backends import choose_backend
from chainrule.cli.console import output
from chainrule.cli.console.reports import Say
from chainrule.cli.options import optimisation
from chainrule.cli.options.architecture import net_of
from chainrule.cli.options.fitting import trainer_of, with_recipe
from chainrule.cli.options.train_options import OUTPUT, add_options_of_a_fit
from chainrule.cli.options.training_data import TrainingTable, data_of, named, read_training_table
from chainrule.cli.options.types import describe_device, positive_int
from chainrule.cli.runs.signals import Signals
from chainrule.errors import OptionError
from chainrule.nn.network import Network
from chainrule.tables.splitting.splits import Split, hold_out, make_folds
from chainrule.train.cross_validation import CrossValidation, cross_validate

FOLDS = 5
INTERRUPTED = 130
USAGE = "chainrule cv DATA --target COLUMN [--folds N] [options], or chainrule cv --config FILE [options]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folds", type=positive_int, default=FOLDS, metavar="N", help=f"parts of the rows ({FOLDS})")
    add_options_of_a_fit(parser)
    add = parser.add_argument_group(OUTPUT).add_argument
    add("--config", type=Path, metavar="FILE", help="options from a TOML file, those of a run: RUN/config.toml")
    add("--quiet", action="store_true", help="say nothing on stderr but errors")
    add("--json", action="store_true", help="one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    args = optimisation.with_defaults(args)
    optimisation.optimizer_of(with_recipe(args, rows=1, has_validation=False))  # refuses before a table is read
    _check(args)
    backend, why = choose_backend(args.device, precision=args.precision)
    say: Say = (lambda *_: None) if args.quiet else output.say
    say("device", describe_device(backend, why))
    read = read_training_table(args)
    folds = folds_of(args, read)
    how = "by time" if args.time else "by group" if args.group else "by class" if read.plan.classes else "by chance"
    say("data", f"{read.table.source}: {len(read.table):,} rows in {len(folds)} folds {how}")
    for note in (*read.notes, *_rare(read, len(folds))):
        say("note", note)

    notes: dict[str, None] = {}

    def train(training: np.ndarray) -> Network:
        data = data_of(args, read, _inner(args, read, training))
        has_validation = data.valid is not None
        used = with_recipe(args, len(data.y), has_validation=has_validation)
        net = net_of(used, data, backend)
        trainer = trainer_of(used, net, has_validation=has_validation, callbacks=(), progress=not args.quiet)
        with output.warnings_as_notes(say):
            outcome = trainer.fit(data.X, data.y, class_weight=args.class_weight, validation=data.valid)
        notes.update(dict.fromkeys(outcome.notes))
        if outcome.stopped == "interrupted":
            raise KeyboardInterrupt
        return net

    def say_fold(number: int, scores: dict[str, float]) -> None:
        say("fold", f"{number}/{len(folds)}  {', '.join(f'{name} {value:.4g}' for name, value in scores.items())}")

    with Signals() as signals:  # nothing of a fold is worth keeping: a signal ends it where it is
        try:
            found = cross_validate(train, read.table, read.plan.y, folds, on_fold=say_fold)
        except KeyboardInterrupt:
            say("stopped", "by a signal, before the last fold")
            return signals.exit_code or INTERRUPTED
    if args.json:
        each = [{"fold": i, "rows": n, **score} for i, (n, score) in _numbered(found)]
        facts = {"device": backend.device, "task": read.plan.task, "rows": len(read.table), "folds": len(folds)}
        spent = round(time.perf_counter() - started, 4)
        told = {"notes": list(notes)} if notes else {}
        output.result_json(
            {"ok": True, **facts, **found.mean, "std": found.std, "each": each, "seconds": spent, **told}
        )
    else:
        lines = [[str(i), f"{n:,}", *_cells(score, found.names)] for i, (n, score) in _numbered(found)]
        lines += [["mean", "", *_cells(found.mean, found.names)], ["std", "", *_cells(found.std, found.names)]]
        for line in output.aligned([["fold", "rows", *found.names], *lines]):
            output.result(line)
    return 0


def _numbered(found: CrossValidation) -> Iterator[tuple[int, tuple[int, dict[str, float]]]]:
    return enumerate(zip(found.rows, found.scores, strict=True), 1)


def _cells(scores: dict[str, float], names: Sequence[str]) -> list[str]:
    return [f"{scores[name]:.6g}" if name in scores else "-" for name in names]


def folds_of(args: argparse.Namespace, read: TrainingTable) -> list[Split]:
    """The folds: by time, by group, by class where there are any, or by chance."""
    with named(args, read.table):
        return make_folds(
            len(read.table), args.folds, seed=args.seed, classes=read.classes, groups=read.groups, times=read.times
        )


def _check(args: argparse.Namespace) -> None:
    if isinstance(args.valid, str):
        raise OptionError("cv came with a file to validate on", hint="--valid 0.2: of each fold's training rows")
    if not 0 <= args.valid < 1:
        raise OptionError(f"--valid: expected a fraction in [0, 1), got {args.valid:g}")
    if args.diagnose:
        raise OptionError("--diagnose came with cv", hint="chainrule train --diagnose")


def _inner(args: argparse.Namespace, read: TrainingTable, training: np.ndarray) -> Split:
    """Of a fold's training rows those to train on, and those that choose its best epoch; never a row to be scored."""
    if args.valid == 0:
        return Split(training, training[:0])
    beside = (read.classes, read.groups, read.times)
    classes, groups, times = (None if column is None else column[training] for column in beside)
    with named(args, read.table):
        inner = hold_out(len(training), args.valid, seed=args.seed, classes=classes, groups=groups, times=times)
    return Split(training[inner.training], training[inner.held_out])


def _rare(read: TrainingTable, folds: int) -> list[str]:
    """Classes that some fold has no row of."""
    if not read.plan.classes or read.groups is not None or read.times is not None:
        return []
    rows = np.bincount(read.plan.y.astype(np.int64), minlength=len(read.plan.classes))
    rare = [name for name, n in zip(read.plan.classes, rows, strict=True) if n < folds]
    how_many = f"{len(rare)} classes have" if len(rare) > 1 else "1 class has"
    return [f"{how_many} fewer rows than there are folds: {rare[0]!r:.60}"] if rare else []
