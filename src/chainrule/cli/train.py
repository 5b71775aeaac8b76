"""``chainrule train``: the main job."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chainrule.backends import choose_backend
from chainrule.cli import optimisation, output
from chainrule.cli.architecture import describe_net, net_of
from chainrule.cli.config import config_text
from chainrule.cli.fitting import trainer_of, with_batch_size
from chainrule.cli.options import describe_device
from chainrule.cli.reports import PlainLines, Say, describe_data, findings_of, say_findings, summary_of
from chainrule.cli.resolved import resolve
from chainrule.cli.run_directory import GRADIENT_NORMS, MODEL, RunDirectory, default_path, file_facts
from chainrule.cli.signals import exit_code, signals_stop
from chainrule.cli.train_options import add_arguments
from chainrule.cli.training_data import read_training_data
from chainrule.errors import DivergenceError
from chainrule.train.callbacks import Callback
from chainrule.train.loggers import JSONLinesLogger
from chainrule.train.tensorboard import TensorBoardLogger

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    args, loggers = optimisation.with_defaults(args), _loggers(args)
    optimisation.optimizer_of(args)  # refuses what is wrong before a table is read
    backend, why = choose_backend(args.device, precision=args.precision)
    say: Say = (lambda *_: None) if args.quiet else output.say
    say("device", describe_device(backend, why))
    data = read_training_data(args)
    net = net_of(args, data, backend)
    say("data", describe_data(data))
    if data.columns:
        say("columns", data.columns)
    for note in data.notes:
        say("note", note)
    say("model", describe_net(args, net))
    used, remarks = resolve(args, data, net)
    directory = RunDirectory(
        args.run_dir or default_path(Path(args.data).stem), overwrite=args.overwrite,
        facts={"argv": ["chainrule", *args.argv], "seed": args.seed, "data": file_facts(args.data)},
        config=config_text(used, remarks),
    )  # fmt: skip

    lines = [] if args.quiet or sys.stderr.isatty() else [PlainLines(args.epochs)]
    trainer = trainer_of(
        with_batch_size(args, len(data.y)), net, has_validation=data.valid is not None,
        callbacks=[directory, *lines, *loggers], progress=not args.quiet,
    )  # fmt: skip
    try:
        with signals_stop(trainer) as caught:
            outcome = trainer.fit(
                data.X, data.y, class_weight=args.class_weight, validation=data.valid, diagnose=args.diagnose
            )
    except DivergenceError as error:
        kept = net if error.run.best_epoch else None
        directory.end("diverged", net=kept, run=error.run, summary={"error": error.message} | findings_of(error.run))
        say_findings(say, error.run)
        say("saved", f"{directory.path}/  {f'{MODEL} of the best epoch' if kept else 'no model: no epoch was good'}")
        raise
    except BaseException as error:
        directory.end("failed", net=None, run=None, summary={"error": str(error)})
        raise

    interrupted = outcome.stopped == "interrupted"
    summary = summary_of(net, data, outcome)
    directory.end("interrupted" if interrupted else "done", net=net, run=outcome, summary=summary)
    drawn = f"  {GRADIENT_NORMS}" if args.diagnose else ""
    say("saved", f"{directory.path}/  model.safetensors  history.csv  curves.svg  config.toml{drawn}")
    if outcome.best_epoch:
        part = "train" if data.valid is None else "valid"
        shown = ", ".join(f"{name} {value:.4g}" for name, value in summary[part].items())
        say("best", f"epoch {outcome.best_epoch} of {outcome.history.epochs}: {part} {shown}")
    say_findings(say, outcome)
    if interrupted:
        say("stopped", "by a signal, before the last epoch; the model is that of the best epoch so far")
    if args.json:
        output.result_json({"ok": not interrupted, **summary, "run_dir": str(directory.path)})
    return exit_code(caught) if interrupted else 0


def _loggers(args: argparse.Namespace) -> list[Callback]:
    loggers: list[Callback] = []
    if args.log_json is not None:
        loggers.append(JSONLinesLogger(args.log_json))
    if args.tensorboard is not None:
        loggers.append(TensorBoardLogger(args.tensorboard))
    return loggers
