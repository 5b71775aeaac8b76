"""What ``chainrule show`` says of a run directory: how the run stands, what can be done about it, and its record."""

from __future__ import annotations

from typing import Any

from chainrule.cli.console import show_checkpoint
from chainrule.cli.runs.files import CHECKPOINTS, METRICS
from chainrule.cli.runs.state import RunState
from chainrule.errors import ChainruleError
from chainrule.files.folder import Folder
from chainrule.plain_text import count_of
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.writer import LAST

FACTS = ("error", "started", "ended", "device", "seed", "epochs", "seconds", "train", "valid", "left_out")
PART = 1 << 16  # bytes that are read at once


def rows_of(run: RunState) -> list[list[str]]:
    """A table; what its record says may be anything, and is shown as it stands."""
    record = run.record
    rows = [["status", run.in_words]]
    if run.next_step:
        rows.append(["next", run.next_step])
    if far := _how_far(run):
        rows.append(["so far", far])
    rows += [[key, _as_text(record[key])] for key in FACTS if record.get(key) not in (None, {})]
    if kept := record.get("kept"):
        rows.append(["kept", _as_text(kept)])
    elif epoch := record.get("best_epoch"):  # of a run that did not say why yet
        rows.append(["kept", f"epoch {_as_text(epoch)}"])
    return rows + [[key, _as_text(record[key])] for key in ("data", "valid_data", "versions") if key in record]


def _how_far(run: RunState) -> str:
    """What a resumed run would continue from, or what one that trains has done."""
    if run.state == "running":
        done = count_of(_lines_of_metrics(run), "epoch")
        return f"{done} ended" + (
            f"; {run.best_so_far} has the weights that would be kept now" if run.best_so_far else ""
        )
    if run.state not in {"killed", "interrupted", "failed", "running or killed"} or not run.has_checkpoint:
        return ""
    try:
        return f"{show_checkpoint.place_of(Checkpoint.read(run.path / CHECKPOINTS / LAST))}, by the last checkpoint"
    except (ChainruleError, OSError) as error:
        return f"the last checkpoint cannot be read: {error}"


def _lines_of_metrics(run: RunState) -> int:
    count = 0
    try:
        with Folder(run.path) as folder, folder.open_regular(METRICS) as file:
            while part := file.read(PART):
                count += part.count(b"\n")
    except (ChainruleError, OSError):  # none has ended
        pass
    return count


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_as_text(v)}" for k, v in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
