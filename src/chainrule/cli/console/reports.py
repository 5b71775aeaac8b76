"""What ``chainrule train`` says of its data and of what came of them, on stderr, in run.json and with ``--json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.cli.console import output
from chainrule.cli.options.training_data import Data
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.network import Network
from chainrule.nn.scores import score
from chainrule.train.records.progress import describe
from chainrule.train.records.run import EpochRecord, Run

PLAIN_LINES = 10  # progress lines in all where stderr is no terminal

Say = Callable[[str, str], None]


class PlainLines:
    """A callback: some lines of progress, spread over the run, for a log file."""

    def __init__(self, epochs: int) -> None:
        self.every = -(-epochs // PLAIN_LINES)

    def __call__(self, record: EpochRecord) -> None:
        if record.epoch % self.every == 0 or record.epoch == record.epochs:
            output.say("epoch", f"{record.epoch}/{record.epochs}  {describe(record.metrics)}")


def describe_data(data: Data) -> str:
    """Source, rows and features, classes, and how many rows are for what."""
    what = f", {len(data.plan.classes)} classes" if data.plan.classes else ""
    rows = f"{len(data.y):,} train" + (f", {len(data.valid[1]):,} valid" if data.valid is not None else "")
    built_in = " (built in)" if data.source == "digits" else ""
    return f"{data.source}{built_in}: {data.rows:,} rows x {data.X.shape[1]} features{what}; {rows}"


def describe_embedding(embedding: Embedding, data: Data) -> str:
    """Which columns have vectors, how many, and how long."""
    sizes = zip(embedding.columns, embedding.counts, embedding.widths or (), strict=True)
    return ", ".join(f"{data.feature_names[column]} ({count:,} x {width})" for column, count, width in sizes)


def summary_of(net: Network, data: Data, outcome: Run) -> dict[str, Any]:
    """What ``--json`` prints and run.json keeps."""
    history, epoch = outcome.history, outcome.best_epoch or outcome.history.epochs
    parts: dict[str, dict[str, float]] = {"train": {}, "valid": {}}
    if epoch:
        for name, values in history.items():
            if name not in {"lr", "seconds"}:
                part = "valid" if name.startswith("valid_") else "train"
                parts[part][name.removeprefix("valid_")] = values[epoch - 1]
        if data.valid is not None:
            if (shrinkage := outcome.shrinkage) is not None and shrinkage.changed:
                parts["valid"] = {"loss": shrinkage.valid_loss}  # what the epoch had was of the net before
            parts["valid"] |= score(net, *data.valid)
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
        **({"notes": outcome.notes} if outcome.notes else {}),
        **findings_of(outcome),
    }


def findings_of(outcome: Run) -> dict[str, list[str]]:
    """The findings of a diagnosis, where there was one."""
    return {} if outcome.diagnosis is None else {"findings": [str(f) for f in outcome.diagnosis.findings]}


def say_findings(say: Say, outcome: Run) -> None:
    if outcome.diagnosis is not None:
        for line in str(outcome.diagnosis).splitlines():
            say("finding", line)
