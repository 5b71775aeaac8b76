"""Runs that leave the finite numbers, each by its own way and with everything else drawn.

What comes of one is a DivergenceError within one check, exit code 6, that says step, place, cause and remedy; the last
checkpoint is from before, loads, and continues to the same end. What stays finite all the same is trained to its end.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import random
import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from campaigns.implementations import IMPLEMENTATIONS, backend_of
from campaigns.tally import Tally
from chainrule.cli.main import main
from chainrule.cli.runs.files import CHECKPOINTS
from chainrule.cli.runs.record import RECORD
from chainrule.train.checkpoints.checkpoint import Checkpoint

TITLE = "divergence"
CASES = 30

ROWS, SIZE, EPOCHS, EVERY = 60, 8, 6, 3  # rows, a batch of them, passes, batches between two checkpoints
BATCHES = -(-ROWS // SIZE)
BAD = 37  # the row that a loss takes for inf, or has no gradient of
LAYERS: dict[str, list[cr.Layer]] = {
    "relu": [cr.Dense(8, "relu"), cr.Dense(8, "relu")],
    "gelu, dropout": [cr.Dense(8, "gelu"), cr.Dropout(0.2), cr.Dense(8, "silu")],
    "batch norm": [cr.Dense(8), cr.BatchNorm(), cr.Activation("relu"), cr.Dense(8, "leaky_relu")],
    "layer norm": [cr.Dense(8), cr.LayerNorm(), cr.Dense(8, "softplus")],
    "residual": [cr.Dense(8, "relu"), cr.Residual([cr.Dense(8, "relu"), cr.Dense(8)])],
}
LOSSES = [
    "softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error", "squared_error_sum", "huber", "poisson", "gamma",
    "gaussian_nll", "absolute_error",
]  # fmt: skip
OPTIMIZERS = [
    lambda lr: cr.SGD(lr=lr), lambda lr: cr.SGD(lr=lr, momentum=0.9), lambda lr: cr.Adam(lr=lr),
    lambda lr: cr.SGD(lr=lr, momentum=0.9, nesterov=True), lambda lr: cr.AdamW(lr=lr, weight_decay=0.1),
]  # fmt: skip
WAYS = ["rate", "rate", "inf loss", "nan gradient", "exploding Adam", "command"]


def is_bad(xp: Any, t: Any) -> Any:
    """Whose target marks them as bad: 1 for those, else 0. (n,)"""
    return (t[:, 0] > 1e5).astype(t.dtype)


def value(xp: Any, z: Any, t: Any) -> Any:
    """Squared error, inf for a bad row."""
    with np.errstate(divide="ignore"):
        bad = is_bad(xp, t)
        return ((z - t * (1 - bad[:, None])) ** 2).sum(axis=-1) + (1 / (1 - bad) - 1)


def slope(xp: Any, z: Any, t: Any) -> Any:
    """Of the squared error."""
    return 2 * (z - t * (1 - is_bad(xp, t)[:, None]))


def finite_value(xp: Any, z: Any, t: Any) -> Any:
    """Squared error, 0 for the target of a bad row."""
    return ((z - t * (1 - is_bad(xp, t)[:, None])) ** 2).sum(axis=-1)


def nan_slope(xp: Any, z: Any, t: Any) -> Any:
    """Of the squared error, nan for a bad row."""
    with np.errstate(divide="ignore", invalid="ignore"):
        bad = is_bad(xp, t)
        return slope(xp, z, t) + (0 / (1 - bad))[:, None]


INF_LOSS = cr.CustomLoss("inf_for_one", value, slope)
NAN_GRADIENT = cr.CustomLoss("nan_for_one", finite_value, nan_slope)


class Case:
    """All that its number says."""

    def __init__(self, number: int, folder: Path) -> None:
        rng = random.Random(number)
        self.way = WAYS[number % len(WAYS)]
        self.implementation = IMPLEMENTATIONS[number // 2 % len(IMPLEMENTATIONS)]
        self.folder = folder
        self.dtype = rng.choice(["float32", "float64"])
        self.layers = rng.choice(list(LAYERS))
        self.lr = 10.0 ** rng.randint(3, 30)
        self.loss: Any = LOSSES[number % len(LOSSES)]
        self.optimizer = OPTIMIZERS[number % len(OPTIMIZERS)](self.lr)
        self.validation = rng.choice([None, 0.2])
        self.members = rng.randint(2, 5) if number % 5 > 2 else 1
        self.options: dict[str, Any] = {"shuffle": rng.random() < 0.5, "seed": number}
        if rng.random() < 0.3:
            self.options["ema"] = 0.9
        elif rng.random() < 0.3:
            self.options["accumulate"] = 2
        X = np.random.default_rng(number).normal(size=(ROWS, 4))
        self.X, self.y = X, self._targets(X)
        if self.way in {"inf loss", "nan gradient"}:
            self.loss = INF_LOSS if self.way == "inf loss" else NAN_GRADIENT
            self.optimizer = OPTIMIZERS[number % len(OPTIMIZERS)](1e-3)
            self.y = X[:, :2].copy()
            self.y[BAD] = 1e6
            self.validation = None  # the bad row is to be trained on
        elif self.way == "exploding Adam":  # a step is lr whatever the gradient: beyond the dtype with powers of it
            self.lr = 1e19 if self.dtype == "float32" else 1e160
            self.optimizer, self.loss, self.y = cr.Adam(lr=self.lr), "squared_error", X[:, :2]
            self.layers = "relu"

    def _targets(self, X: np.ndarray) -> np.ndarray:
        if self.loss == "softmax_cross_entropy":
            return np.arange(ROWS) % 2
        if self.loss == "sigmoid_cross_entropy":
            return (X[:, :2] > 0).astype(float)
        return np.abs(X[:, :2]) + 0.1

    def net(self, backend: cr.Backend) -> cr.Network:
        """Untrained."""
        k = 4 if self.loss == "gaussian_nll" else 2
        layers = [*LAYERS[self.layers], cr.Dense(k)]
        options: dict[str, Any] = {"dtype": self.dtype, "members": self.members, "backend": backend}
        return cr.Network(layers, 4, loss=self.loss, seed=1, **options)

    def fit(self, backend: cr.Backend, **resume: Any) -> cr.Run:
        """Train, with a checkpoint every few batches."""
        checkpoints = cr.Checkpoints(self.folder, steps=EVERY)
        trainer = cr.Trainer(
            self.net(backend), self.optimizer, batch_size=SIZE, epochs=EPOCHS, checkpoints=checkpoints, **self.options
        )
        return trainer.fit(self.X, self.y, validation=self.validation, **resume)

    def outcome(self) -> str:
        """ "diverged", "stayed finite", or what went wrong."""
        with backend_of(self.implementation) as backend:
            try:
                run = self.fit(backend)
            except cr.DivergenceError as error:
                return self.judge(error) or self.judge_checkpoint(error, backend) or "diverged"
            must = self.way != "rate"
            good = run.stopped == "completed" and all(map(np.isfinite, run.history["loss"]))
            return "stayed finite" if good and not must else f"{run.stopped}, losses {run.history['loss']}"

    def judge(self, error: cr.DivergenceError) -> str:
        """What is wrong with message, place and counts; empty if nothing is."""
        group, run = self.options.get("accumulate", 1), error.run
        rows = ROWS - int(ROWS * (self.validation or 0))
        updates = math.ceil(math.ceil(rows / SIZE) / group)
        if error.exit_code != 6 or not error.hint or not error.where or run.stopped != "diverged":
            return f"says {error!s:.300} {error.where!r} {run.stopped}"
        if self.members > 1 and "exploded" not in error.message and not re.search(r" of member \d$", error.where):
            return f"no member is named: {error!s:.300}"
        if error.epoch != run.history.epochs + 1 and "exploded" not in error.message:
            return f"epoch {error.epoch} after {run.history.epochs}"
        if not (error.epoch - 1) * updates <= error.step < error.epoch * updates + 1:
            return f"step {error.step} of epoch {error.epoch}, of {updates} updates"
        cause = {
            "inf loss": r"the loss is inf.*the loss itself.*look at",
            "nan gradient": r"the parameter \w+.*gradient",
            "exploding Adam": r"learning rate",
        }.get(self.way, "learning rate|clip_norm|standardise|targets")
        if not re.search(cause, f"{error.message} {error.hint}"):
            return f"no cause of {self.way}: {error!s:.400}"
        return ""

    def judge_checkpoint(self, error: cr.DivergenceError, backend: cr.Backend) -> str:
        """The last one: from before, whole, and on its way to the same end."""
        path = self.folder / "last.safetensors"
        if error.checkpoint is None:
            return f"there is a checkpoint that the error does not name: {path}" if path.exists() else ""
        checkpoint = Checkpoint.read(error.checkpoint)
        group = self.options.get("accumulate", 1)
        if checkpoint.steps > error.step or Path(error.checkpoint) != path:
            return f"a checkpoint of {checkpoint.steps} updates, and it diverged at {error.step}"
        if checkpoint.steps * group + 2 * EVERY * group < error.step * group and "exploded" not in error.message:
            return f"the last checkpoint is of {checkpoint.steps} updates, it diverged at {error.step}"
        try:
            self.fit(backend, resume=path)
        except cr.DivergenceError as again:
            return "" if (again.step, again.where) == (error.step, error.where) else f"resumed: {again!s:.300}"
        return "resumed, it does not diverge"

    def command_outcome(self) -> str:
        """``train`` of the same rows."""
        table, out = self.folder / "t.csv", self.folder / "run"
        lines = [",".join(f"{v:.4f}" for v in (*x, x[0] * 100)) for x in self.X]
        table.write_text("\n".join(["a,b,c,d,y", *lines]) + "\n")
        name = random.Random(self.lr).choice(["sgd", "adam", "adamw"])
        argv = [
            "train",
            table,
            "--target",
            "y",
            "--lr",
            f"{self.lr:g}",
            "--optimizer",
            name,
            "--device",
            "cpu",
            "--quiet",
            "--epochs",
            EPOCHS,
            "--batch-size",
            SIZE,
            "--checkpoint-every",
            EVERY,
            "--run-dir",
            out,
        ]
        with contextlib.redirect_stderr(io.StringIO()) as words:
            code = main(list(map(str, argv)))
        said, record = words.getvalue(), json.loads((out / RECORD).read_text())
        if code != 6 or record["status"] != "diverged" or not re.search(r"^error: .*\nhint: .*learning rate", said):
            return f"exit code {code}, {record['status']}: {said:.300}"
        last = out / CHECKPOINTS / "last.safetensors"
        if last.exists():
            Checkpoint.read(last)
        return "diverged"


def run(numbers: Sequence[int], folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many diverged, how many did not, and what went wrong, by number."""
    tally = Tally("diverged", "stayed finite")
    for number in numbers:
        place = folder / str(number)
        place.mkdir()
        case = Case(number, place)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                outcome = case.command_outcome() if case.way == "command" else case.outcome()
        except Exception as error:
            outcome = f"{type(error).__name__}: {error!s:.300}"
        shutil.rmtree(place)
        tally.add(number, outcome, f"{case.way}, {case.implementation}, {case.loss}, {case.layers}")
    return tally.result()
