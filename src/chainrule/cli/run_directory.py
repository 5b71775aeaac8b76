"""A run on disk: what was asked for, what happened, and the model.

``config.toml`` (its options, for ``chainrule train --config``), ``run.json`` (what and where, from start to end),
``metrics.jsonl`` (one line an epoch as it ends), ``history.csv`` and ``curves.svg`` (when training ends),
``gradient_norms.svg`` (with a diagnosis), ``model.safetensors``.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

import chainrule
from chainrule.backends.numpy import blas, compiled
from chainrule.errors import OptionError
from chainrule.nn.network import Network
from chainrule.sealed_file import write_whole
from chainrule.train.callbacks import Callback
from chainrule.train.loggers import json_line, plain
from chainrule.train.run import EpochRecord, Run, StartRecord

MODEL, RECORD, METRICS, HISTORY, CURVES, GRADIENT_NORMS, CONFIG = (
    "model.safetensors", "run.json", "metrics.jsonl", "history.csv", "curves.svg", "gradient_norms.svg", "config.toml",
)  # fmt: skip


class RunDirectory(Callback):
    """Makes the folder when training starts, then keeps its files up to date.

    Whatever is wrong with rows or options is refused before that: it leaves no folder behind, and of a run that is to
    be overwritten nothing is lost. ``facts``: argv, seed and data; ``config``: the text of config.toml.
    """

    def __init__(self, path: Path, *, overwrite: bool, facts: Mapping[str, Any], config: str) -> None:
        self.path, self._facts, self._config = path, facts, config
        self._record: dict[str, Any] = {}
        if path.exists() and (not path.is_dir() or any(path.iterdir())) and not overwrite:
            raise OptionError(
                f"{path} is not empty", hint="give another --run-dir, or --overwrite to replace its files"
            )

    def on_start(self, record: StartRecord) -> None:
        """Write down what is about to happen."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in (MODEL, RECORD, METRICS, HISTORY, CURVES, GRADIENT_NORMS, CONFIG):
            (self.path / name).unlink(missing_ok=True)
        write_whole(self.path / CONFIG, self._config.encode())
        net, backend = record.net, record.net.backend
        self._record = {
            "status": "running",
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "argv": self._facts["argv"],
            "seed": self._facts["seed"],
            "device": backend.device,
            "backend": backend.name,
            "dtype": str(net.dtype),
            "layers": list(net.widths),
            "loss": net.loss_name,
            "data": self._facts["data"],
            "versions": {
                "chainrule": chainrule.__version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "safetensors": safetensors.__version__,
                **({"cupy": sys.modules["cupy"].__version__} if backend.name == "cupy" else {}),
            },
            "machine": {
                "system": platform.platform(),
                "processor": platform.machine(),
                "blas": blas.core_name(),
            },
        }
        self._write_record()

    def on_epoch_end(self, record: EpochRecord) -> None:
        """One line of metrics as soon as the epoch is over."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json_line({"epoch": record.epoch, **record.metrics}))

    def end(self, status: str, *, net: Network | None, run: Run | None, summary: Mapping[str, Any]) -> None:
        """Write down what happened, if anything has begun; the model where there is one worth keeping."""
        if not self._record:
            return
        if run is not None and run.history.epochs:
            write_whole(self.path / HISTORY, run.history.to_csv().encode())
            run.history.plot(self.path / CURVES, best_epoch=run.best_epoch or None)
        if run is not None and run.diagnosis is not None:
            run.diagnosis.plot(self.path / GRADIENT_NORMS)
        if net is not None:
            net.save(self.path / MODEL)
        self._record |= {
            "status": status,
            "compiled": compiled.describe(),
            "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **summary,
        }
        self._write_record()

    def _write_record(self) -> None:
        write_whole(self.path / RECORD, (json.dumps(plain(self._record), indent=2, ensure_ascii=False) + "\n").encode())


def default_path(name: str) -> Path:
    """runs/NAME-YYYYMMDD-HHMM, with -2, -3, ... behind it where that is taken."""
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M')}"
    path, number = Path("runs") / stem, 2
    while path.exists():
        path, number = Path("runs") / f"{stem}-{number}", number + 1
    return path


def find_model(path: Path) -> Path:
    """The model file of a run directory, or the path itself."""
    return path / MODEL if path.is_dir() else path


def file_facts(source: str) -> dict[str, Any]:
    """Path, size and sha256 of a data file; the name alone of a built-in data set."""
    path = Path(source)
    if not path.is_file():
        return {"source": source}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"source": str(path.resolve()), "bytes": path.stat().st_size, "sha256": digest}
