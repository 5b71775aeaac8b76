"""What ``chainrule show`` says of a checkpoint: how far the fit is, its settings, and whose it is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from chainrule.cli.console import output
from chainrule.cli.runs.files import CHECKPOINTS
from chainrule.cli.runs.record import RECORD
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.records.kept import Kept, reason_of


def facts_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """For ``--json``: all but the arrays, of which it has names, shapes and dtypes."""
    names = (
        "epochs",
        "batches",
        "steps",
        "seconds",
        "best_epoch",
        "best_value",
        "first_loss",
        "history",
        "rates",
        "settings",
        "rows",
        "machine",
    )
    arrays = {name: {"shape": list(a.shape), "dtype": str(a.dtype)} for name, a in checkpoint.arrays.items()}
    return {name: getattr(checkpoint, name) for name in names} | {"arrays": arrays}


def rows_of(checkpoint: Checkpoint, path: Path) -> list[list[str]]:
    """A table; what its settings say may be anything, and is shown as it stands."""
    c, settings = checkpoint, checkpoint.settings
    rows = [["checkpoint", f"{place_of(c)}; {c.steps:,} updates, {c.seconds:.4g} s"]]
    if c.best_epoch:
        rows.append(["kept", f"so far {_kept(c)}"])
    if c.epochs:
        last = {name: values[-1] for name, values in c.history.items() if name != "seconds"}
        rows.append(["last epoch", ", ".join(f"{name} {value:.6g}" for name, value in last.items())])
    sizes = [math.prod(a.shape) for a in c.arena("parameters").values()]
    rows.append(["net", f"{settings.get('n_in', '?')} columns, {_layers(settings)}; {sum(sizes):,} parameters"])
    rows += [[name, _as_text(settings[name])] for name in ("loss", "optimizer") if name in settings]
    shown = ("batch_size", "shuffle", "seed", "accumulate", "ema", "l2", "early_stopping")
    rows.append(["settings", ", ".join(f"{name} {_as_text(settings[name])}" for name in shown if settings.get(name))])
    rows.append(["rows", f"{_as_text(c.rows.get('rows', '?'))}, sha256 {_as_text(c.rows.get('sha256', '?')):.16}"])
    rows.append(["machine", ", ".join(f"{name} {_as_text(value)}" for name, value in c.machine.items())])
    folder = path.parent if path.parent.name == CHECKPOINTS else path.resolve().parent
    is_over = c.epochs == settings.get("epochs")
    if not is_over and folder.name == CHECKPOINTS and (folder.parent / RECORD).is_file():
        rows.append(["resume by", output.command("resume", folder.parent)])
    return rows


def _kept(c: Checkpoint) -> str:
    """Which epoch's weights would be kept if the run ended now. Its monitor may be anything; so may its history."""
    monitor = c.settings.get("monitor")
    name = monitor if isinstance(monitor, str) else "monitored metric"
    reason = reason_of(name, c.best_value, of=c.history.get(name, ()))
    return str(Kept(c.best_epoch, c.epochs, reason))


def place_of(c: Checkpoint) -> str:
    """How many epochs are done, and batches of the next."""
    of = f"{c.epochs:,} of {_as_text(c.settings.get('epochs', '?'))} epochs done"
    return f"{of}, and {c.batches:,} batches of the next" if c.batches else of


def _layers(settings: dict[str, Any]) -> str:
    """``dense 24, relu, dense 10`` of a list of layers."""
    layers = settings.get("layers")
    parts = [
        f"{layer.get('kind')} {_as_text(layer['n_out'])}" if "n_out" in layer else _as_text(layer.get("kind"))
        for layer in (layers if isinstance(layers, list) else [])
        if isinstance(layer, dict)
    ]
    return " -> ".join(parts[:20]) + (", ..." if len(parts) > 20 else "")


def _as_text(value: Any) -> str:
    """A name and its fields; numbers in six digits."""
    if isinstance(value, dict):
        parts = {name: part for name, part in value.items() if name != "name" and part not in (None, [])}
        fields = [f"{name} {_as_text(part)}" for name, part in parts.items()]
        return f"{value.get('name', '')}({', '.join(fields)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_text, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
