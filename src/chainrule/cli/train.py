"""``chainrule train``: the main job."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainrule.backends import choose_backend
from chainrule.cli import optimisation, output, training_data
from chainrule.cli.options import add_device, describe_device, names, option, positive_int, widths, with_options
from chainrule.cli.run_directory import GRADIENT_NORMS, MODEL, RunDirectory, default_path, file_facts
from chainrule.cli.training_data import DEFAULT_LOSS, Data, read_training_data
from chainrule.errors import DivergenceError, OptionError
from chainrule.nn import metrics
from chainrule.nn.activations import ACTIVATIONS
from chainrule.nn.losses import LOSSES
from chainrule.nn.mlp import MLP, NORMALIZATIONS
from chainrule.nn.network import DTYPES
from chainrule.nn.preparation import Preparation, Standardization
from chainrule.random import check_seed
from chainrule.train.callbacks import Callback
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.loggers import JSONLinesLogger
from chainrule.train.progress import describe
from chainrule.train.tensorboard import TensorBoardLogger
from chainrule.train.trainer import EpochRecord, Run, Trainer

SCALINGS = {"standard": Standardization.fit, "robust": Standardization.fit_robust}
FEATURE_LIMIT = 3.0  # deviations; rarer values come to rest there
PLAIN_LINES = 10  # progress lines in all where stderr is no terminal
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="a .csv, .npy or .npz file, or `digits`, which is built in")
    training_data.add_arguments(parser)
    add("--scaling", choices=SCALINGS, default="standard", help="of features: by mean and deviation, or by quartiles")
    add_device(parser)
    add(
        "--hidden", type=widths, metavar="N,N", help="units of the hidden layers (by the rows: 100, or 256, or 256,128)"
    )
    add("--activation", choices=ACTIVATIONS, default="relu", help="of the hidden layers (relu)")
    add(
        "--dropout",
        type=float,
        metavar="X",
        help="rate behind every hidden layer (from 1,000 rows 0.2; with --hidden 0)",
    )
    add("--normalization", choices=NORMALIZATIONS, help="of what the hidden layers' products give (none)")
    add("--residual", action="store_true", help="a way around hidden layers as wide as the one before")
    add("--loss", choices=LOSSES, help="by default what the target asks for")
    add(
        "--loss-option", type=option, action="append", default=[], metavar="NAME=VALUE",
        help="of the loss, once for each: levels=0.05,0.5,0.95 of quantile, delta=2 of huber, label_smoothing=0.1",
    )  # fmt: skip
    add("--class-weight", choices=["balanced"], help="weight rows so that all classes count the same")
    optimisation.add_arguments(parser)
    add("--ema", type=float, metavar="X", help="decay of an average of the weights, which is kept; 0.999 say (none)")
    add("--accumulate", type=positive_int, default=1, metavar="N", help="batches that make one update (1)")
    add(
        "--batch-size",
        type=positive_int,
        metavar="N",
        help="rows a step (64, from 4,096 rows 128, from 16,384 rows 256)",
    )
    add("--epochs", type=positive_int, metavar="N", help="passes over the rows (200; from 32,768 rows up 60)")
    add("--patience", type=positive_int, metavar="N", help="stop after N epochs without a better one")
    add("--no-shrink", action="store_true", help="leave the net as it was trained, whatever the validation rows say")
    add(
        "--monitor", metavar="NAME",
        help="whose best epoch is kept: valid_accuracy, valid_r2, ... (loss, as a cosine is for its last epochs; with "
        "another --schedule, --patience or --no-shrink valid_loss)",
    )  # fmt: skip
    add("--metrics", type=names, default=[], metavar="A,B", help="also of the validation rows: roc_auc, log_loss, ...")
    add("--seed", type=int, default=0, metavar="N", help="of weights, shuffles and the split (0)")
    add("--dtype", choices=DTYPES, default="float32", help="(float32)")
    add("--run-dir", type=Path, metavar="DIR", help="by default runs/NAME-DATE-TIME")
    add("--overwrite", action="store_true", help="use --run-dir even if it holds files")
    add("--log-json", type=Path, metavar="FILE", help="settings and each epoch as one JSON object a line")
    add("--tensorboard", type=Path, metavar="FOLDER", help="event files for TensorBoard")
    add("--diagnose", action="store_true", help="look into the layers while they train, and say what is wrong")
    add("--quiet", action="store_true", help="say nothing on stderr but errors")
    add("--json", action="store_true", help="one JSON object on stdout at the end")


def run(args: argparse.Namespace) -> int:
    check_seed(args.seed)
    loggers = _loggers(args)
    backend, why = choose_backend(args.device, precision=args.precision)
    say: Callable[[str, str], None] = (lambda *_: None) if args.quiet else output.say
    say("device", describe_device(backend, why))
    data = read_training_data(args)
    optimisation.follow_recipe(args, len(data.y))
    optimizer = optimisation.optimizer_of(args, len(data.y))
    net = _net(args, data, backend)
    say("data", _describe_data(data))
    if data.columns:
        say("columns", data.columns)
    for note in data.notes:
        say("note", note)
    sizes = " -> ".join(map(str, net.widths))
    say("model", f"{sizes}, {_describe_layers(args)}, {net.parameter_count:,} parameters, {net.dtype}")
    directory = RunDirectory(
        args.run_dir or default_path(Path(args.data).stem), overwrite=args.overwrite,
        facts={"argv": ["chainrule", *args.argv], "seed": args.seed, "data": file_facts(args.data)},
    )  # fmt: skip

    lines = _PlainLines(args.epochs) if not (args.quiet or sys.stderr.isatty()) else None
    trainer = Trainer(
        net, optimizer, batch_size=args.batch_size, epochs=args.epochs, seed=args.seed,
        monitor=optimisation.monitor_of(args, validates=data.valid is not None),
        early_stopping=_early_stopping(args, data), progress=not args.quiet, metrics=args.metrics or True,
        callbacks=[directory, *([lines] if lines else []), *loggers], accumulate=args.accumulate, ema=args.ema,
        shrink=not args.no_shrink,
    )  # fmt: skip
    try:
        with _signals_stop(trainer) as caught:
            outcome = trainer.fit(
                data.X, data.y, class_weight=args.class_weight, validation=data.valid, diagnose=args.diagnose
            )
    except DivergenceError as error:
        kept = net if error.run.best_epoch else None
        directory.end("diverged", net=kept, run=error.run, summary={"error": error.message} | _findings(error.run))
        _say_findings(say, error.run)
        say("saved", f"{directory.path}/  {f'{MODEL} of the best epoch' if kept else 'no model: no epoch was good'}")
        raise
    except BaseException as error:
        directory.end("failed", net=None, run=None, summary={"error": str(error)})
        raise

    interrupted = outcome.stopped == "interrupted"
    summary = _summary(net, data, outcome)
    directory.end("interrupted" if interrupted else "done", net=net, run=outcome, summary=summary)
    drawn = f"  {GRADIENT_NORMS}" if args.diagnose else ""
    say("saved", f"{directory.path}/  model.safetensors  history.csv  curves.svg{drawn}")
    if outcome.best_epoch:
        part = "train" if data.valid is None else "valid"
        shown = ", ".join(f"{name} {value:.4g}" for name, value in summary[part].items())
        if (shrinkage := outcome.shrinkage) is not None and shrinkage.factor < 1:
            say("shrunk", f"to {shrinkage.factor:g} of the way from the best constant prediction, by the valid rows")
        say("best", f"epoch {outcome.best_epoch} of {outcome.history.epochs}: {part} {shown}")
    _say_findings(say, outcome)
    if interrupted:
        say("stopped", "by a signal, before the last epoch; the model is that of the best epoch so far")
    if args.json:
        output.result_json({"ok": not interrupted, **summary, "run_dir": str(directory.path)})
    return 128 + (caught[0] if caught else signal.SIGINT) if interrupted else 0


# ---- what the options mean ------------------------------------------------------------------------


def _loggers(args: argparse.Namespace) -> list[Callback]:
    loggers: list[Callback] = []
    if args.log_json is not None:
        loggers.append(JSONLinesLogger(args.log_json))
    if args.tensorboard is not None:
        loggers.append(TensorBoardLogger(args.tensorboard))
    return loggers


def _early_stopping(args: argparse.Namespace, data: Data) -> EarlyStopping | None:
    if args.patience is None:
        return None
    if data.valid is None:
        raise OptionError("--patience without validation rows came", hint="hold some out with --valid 0.2")
    return EarlyStopping(patience=args.patience, monitor=args.monitor or "valid_loss")


def _describe_layers(args: argparse.Namespace) -> str:
    words = [args.activation, *([f"{args.normalization} norm"] if args.normalization else [])]
    words += [f"dropout {args.dropout:g}"] if args.dropout else []
    return ", ".join(words + (["residual"] if args.residual else []))


def _net(args: argparse.Namespace, data: Data, backend: Any) -> MLP:
    """The net, prepared for this table: standardised by its training rows, names kept."""
    loss = with_options(LOSSES[args.loss or DEFAULT_LOSS[data.plan.task]], dict(args.loss_option))
    net = MLP(
        [data.X.shape[1], *args.hidden, loss.outputs_for(data.plan.n_out)], activation=args.activation,
        dropout=args.dropout, normalization=args.normalization, residual=args.residual,
        loss=loss, backend=backend, dtype=args.dtype, seed=args.seed,
    )  # fmt: skip
    target = [data.target_name or "y"] if data.y.ndim == 1 else []
    net.preparation = Preparation(
        features=SCALINGS[args.scaling](data.X, limit=FEATURE_LIMIT, names=data.feature_names),
        targets=Standardization.fit(data.y, names=target) if loss.task == "regress" and loss.standardizes else None,
        feature_names=data.feature_names,
        target_name=data.target_name,
        classes=data.plan.classes,
        encoder=data.encoder,
    )
    return net


def _describe_data(data: Data) -> str:
    what = f", {len(data.plan.classes)} classes" if data.plan.classes else ""
    rows = f"{len(data.y):,} train" + (f", {len(data.valid[1]):,} valid" if data.valid is not None else "")
    built_in = " (built in)" if data.source == "digits" else ""
    return f"{data.source}{built_in}: {data.rows:,} rows x {data.X.shape[1]} features{what}; {rows}"


def _summary(net: MLP, data: Data, outcome: Run) -> dict[str, Any]:
    """What ``--json`` prints and run.json keeps."""
    history, epoch = outcome.history, outcome.best_epoch or outcome.history.epochs
    parts: dict[str, dict[str, float]] = {"train": {}, "valid": {}}
    if epoch:
        for name, values in history.items():
            if name not in {"lr", "seconds"}:
                part = "valid" if name.startswith("valid_") else "train"
                parts[part][name.removeprefix("valid_")] = values[epoch - 1]
        if data.valid is not None:
            parts["valid"] |= metrics.score(net, *data.valid)
            if outcome.shrinkage is not None:
                parts["valid"]["loss"] = outcome.shrinkage.valid_loss
    return {
        "device": net.backend.device,
        "backend": net.backend.name,
        "task": data.plan.task,
        "rows": len(data.y),
        "parameters": net.parameter_count,
        "epochs": history.epochs,
        "best_epoch": outcome.best_epoch or None,
        "shrinkage": None if outcome.shrinkage is None else outcome.shrinkage.factor,
        "stopped": outcome.stopped,
        "steps": outcome.steps,
        **parts,
        "seconds": round(outcome.seconds, 4),
        **_findings(outcome),
    }


def _findings(outcome: Run) -> dict[str, list[str]]:
    """The findings of a diagnosis, where there was one."""
    return {} if outcome.diagnosis is None else {"findings": [str(f) for f in outcome.diagnosis.findings]}


def _say_findings(say: Callable[[str, str], None], outcome: Run) -> None:
    if outcome.diagnosis is not None:
        for line in str(outcome.diagnosis).splitlines():
            say("finding", line)


# ---- while it runs --------------------------------------------------------------------------------


class _PlainLines:
    """A callback: some lines of progress, spread over the run, for a log file."""

    def __init__(self, epochs: int) -> None:
        self.every = -(-epochs // PLAIN_LINES)

    def __call__(self, record: EpochRecord) -> None:
        if record.epoch % self.every == 0 or record.epoch == record.epochs:
            output.say("epoch", f"{record.epoch}/{record.epochs}  {describe(record.metrics)}")


@contextmanager
def _signals_stop(trainer: Trainer) -> Iterator[list[int]]:
    """The first INT or TERM asks the trainer to stop and is put in the list; the second ends the process at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may set handlers; a host program that calls main() keeps its own
        return

    def on_signal(number: int, _: object) -> None:
        if caught:
            os._exit(128 + number)
        caught.append(number)
        trainer.stop()

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
