"""Checkpoints that are damaged or hostile.

Each is read, and a fit resumes from it. Right is an error of the library that leaves the net unchanged,
or a fit that continues to its end, or says that it diverges: plausible numbers cannot be told from true ones.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from campaigns.damage import damaged
from campaigns.limits import outcome_of
from campaigns.tally import Tally
from chainrule.errors import DataError, OptionError
from chainrule.files import sealed_file
from chainrule.files.sealed_file import Content
from chainrule.train.checkpoints import checkpoint
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.writer import LAST
from stopping import StopAfter

TITLE = "hostile checkpoints"
CASES = 20_000

X = np.random.default_rng(3).normal(size=(26, 3))
LABELS = (X[:, 0] > X[:, 1]).astype(np.int64) + (X[:, 2] > 1)
VALID = X[:9] + 0.5, LABELS[:9]
ARRAYS = (
    "totals",
    "best.",
    "best.dense0.W",
    "averages.dense0.b",
    "moments.m.dense0.W",
    "moments.v.dense0.W",
    "accumulated.",
    "parameters.",
    "parameters.dense0.W.W",
    "moments.x.dense0.W",
)


class Kind(NamedTuple):
    """A fit whose checkpoints are damaged: what its net and trainer are made with, and its ``fit`` is called with."""

    net: dict[str, Any]
    trainer: Callable[[], dict[str, Any]]
    fit: dict[str, Any]

    def trained(self, **options: Any) -> cr.Trainer:
        """One that has not begun."""
        net = cr.MLP([3, 4, 3], seed=1, **self.net)
        return cr.Trainer(net, **{"batch_size": 6, "epochs": 4, "seed": 2} | self.trainer() | options)

    def go(self, trainer: cr.Trainer, **options: Any) -> cr.Run:
        """Its fit."""
        y = LABELS if trainer.net.loss.task == "classify" else X
        held = None if "validation" in self.fit else (VALID if y is LABELS else (VALID[0], VALID[0]))
        return trainer.fit(X, y, **{"validation": held} | self.fit | options)


KINDS = [
    Kind({"normalization": "batch"}, lambda: {"ema": 0.9, "early_stopping": cr.EarlyStopping(2, min_delta=0.01)}, {}),
    Kind(
        {"loss": "squared_error", "dtype": "float64"},
        lambda: {"optimizer": cr.SGD(cr.Plateau(0.05, patience=1), momentum=0.9), "accumulate": 2, "metrics": ["mae"]},
        {"diagnose": True},
    ),
    Kind({"dropout": 0.2}, lambda: {"optimizer": cr.AdamW(cr.OneCycle(0.01)), "l2": 0.1}, {"validation": None}),
    Kind({"activation": "tanh"}, lambda: {"stream": True, "metrics": False}, {"diagnose": True, "validation": 0.2}),
]  # fmt: skip
# Rows that members leave out; row i is seen by all but member i % 6, or all.
LEFT_OUT = np.arange(26)[None, :] % 6 == np.arange(4)[:, None]
KINDS += [
    Kind({"members": 3, "normalization": "batch"}, lambda: {"ema": 0.9, "accumulate": 2}, {}),
    Kind(
        {"members": 4, "dropout": 0.1, "activation": "selu"},
        lambda: {"monitor": "left_out_loss", "early_stopping": cr.EarlyStopping(2)},
        {"left_out": LEFT_OUT, "validation": None},
    ),
]
STOPS = (1, 3, 7, 10, 12, 99)  # batches after which they stop


NUMBERS: list[Any] = [
    0, 1, 2, 3, 4, 5, 6, 12, 99, -1, 2**31, 2**62, 2**63, 2**64, 10**400, 1.0, 0.5, -0.5, 1e300, 1e-320, "nan", "inf",
    "-inf", "NaN", "1", None, True, [], {}, [1], float("nan"), float("-inf"),
]  # fmt: skip


COUNTS = ["epochs", "batches", "steps", "best_epoch"]


def harm(rng: random.Random, description: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """One thing that a checkpoint may say and mean nothing by."""
    rng.choice([_harm_counts, _harm_history, _harm_feedback, _harm_identity, _harm_arrays])(rng, description, arrays)


def _harm_counts(rng: random.Random, d: dict[str, Any], _: Any) -> None:
    """Elsewhere than the rest."""
    match rng.randrange(3):
        case 0:
            d[rng.choice(COUNTS)] = rng.choice(NUMBERS)
        case 1:
            d[rng.choice(["seconds", "best_value", "first_loss"])] = rng.choice(NUMBERS)
        case _:
            d[rng.choice(COUNTS)] += rng.choice([-2, -1, 1, 2, 2**61])


def _harm_history(rng: random.Random, d: dict[str, Any], _: Any) -> None:
    """Another number, another quantity, more epochs."""
    history = d["history"]
    if not history:
        history["loss"] = [rng.choice(NUMBERS)]
        return
    name = rng.choice(list(history))
    match rng.randrange(3):
        case 0:
            history[name][rng.randrange(len(history[name]))] = rng.choice(NUMBERS)
        case 1:
            history[rng.choice(["x", "loss", "epoch", "\x1b[31m", "", "n" * 5000])] = history.pop(name)
        case _:
            more = rng.choice([1, 2, 200])
            for values in history.values():
                values.extend([rng.choice(values)] * more)
            d["epochs"] += more


def _harm_feedback(rng: random.Random, d: dict[str, Any], _: Any) -> None:
    """Of rates, and of what a diagnosis has measured."""
    if not d["probe"] or rng.random() < 0.3:
        d["rates"] = rng.choice([{}, {"reductions": 1e300}, d["rates"] | {"reductions": rng.choice(NUMBERS)}])
        return
    part = d["probe"][rng.choice(list(d["probe"]))]
    if not part:
        d["probe"] = rng.choice([None, {}, [], d["probe"] | {"losses": []}])
        return
    key = rng.choice(list(part) if isinstance(part, dict) else list(range(len(part))))
    if isinstance(part[key], list):
        part[key][rng.randrange(len(part[key]))] = rng.choice(NUMBERS)
    else:
        part[key] = rng.choice(NUMBERS)


def _harm_identity(rng: random.Random, d: dict[str, Any], _: Any) -> None:
    """Of other settings, rows and machines, with names of any length and kind."""
    part = d[rng.choice(["settings", "rows", "machine"])]
    if rng.random() < 0.7:
        part[rng.choice([*part, "\x1b[2J", "k" * 9000])] = rng.choice(NUMBERS)
    else:
        part |= {f"{i}\x9b": i for i in range(rng.choice([1, 2000]))}


def _harm_arrays(rng: random.Random, _: Any, arrays: dict[str, np.ndarray]) -> None:
    """Totals of other batches, and one number in any of them."""
    totals = arrays["totals"]
    if rng.random() < 0.3:
        arrays["totals"] = rng.choice(
            [
                totals[:-1],
                np.zeros((9, 3)),
                np.full_like(totals, np.nan),
                np.zeros((2**20, 3)),
                np.zeros((0, 3), np.float32),
                np.full_like(totals, -1e300),
                np.zeros((0,)),
            ]
        )
        return
    name = rng.choice(sorted(arrays))
    array = arrays[name].copy()
    if array.size:
        array.flat[rng.randrange(array.size)] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 1e38, 0.0, 1e-40])
    arrays[name] = array


def case(number: int, whole: list[tuple[Kind, Content]]) -> tuple[Kind, bytes]:
    """The fit and the content of the file of this number, made from one of the ``whole`` ones."""
    rng = random.Random(number)
    kind, content = rng.choice(whole)
    return kind, damaged(rng, checkpoint.FORMAT, content, version_of=lambda _: 1, names=ARRAYS, harm=harm)


def outcome(kind: Kind, path: Path) -> str:
    """The outcome of reading the file and resuming from it."""
    trainer = kind.trained()
    flat, content = trainer.net.parameter_arena.flat, path.read_bytes()
    before = flat.copy(), X.copy(), LABELS.copy()
    ends = [0.0]  # what a fit takes beside the checkpoint: little here, and the allowance covers it

    def read() -> str:
        Checkpoint.read(path)
        return "read"

    def use() -> str:
        try:
            with np.errstate(all="ignore"):
                run = kind.go(trainer, resume=path, resume_anywhere=bool(len(content) % 2))
        except cr.DivergenceError:
            return "diverged"
        ends.append(run.history.epochs)
        return "went on"

    said = outcome_of(read, refusal=cr.ModelFileError, path=path)
    if said not in {"read", "refused"}:
        return said
    readable, said = said, outcome_of(use, refusal=(DataError, OptionError), path=path)
    if said != "refused" and readable == "refused":
        return f"not read, and then {said}"
    if said == "refused" and flat.tobytes() != before[0].tobytes():
        return "refused, and the net has changed"
    if said == "went on" and not (np.isfinite(flat).all() and 1 <= ends[-1] <= trainer.epochs):
        return f"went on to {ends[-1]} epochs and {flat[:4]}"
    if X.tobytes() != before[1].tobytes() or LABELS.tobytes() != before[2].tobytes() or path.read_bytes() != content:
        return f"{said}, and rows or file have changed"
    return said


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many were refused, went on and diverged, and what went wrong, by number."""
    whole = []
    for kind in KINDS:
        for stop in STOPS:
            kind.go(kind.trained(callbacks=[StopAfter(stop)], checkpoints=folder))
            whole.append((kind, sealed_file.read(folder / LAST, checkpoint.FORMAT)))
            outcome(kind, folder / LAST)  # what is imported and made once is no one's fault
            assert outcome(kind, folder / LAST) == "went on"
    for left in folder.iterdir():
        left.unlink()
    tally = Tally("went on", "refused", "diverged")
    with contextlib.chdir(folder):  # where something that was executed would leave its mark
        for number in numbers:
            kind, content = case(number, whole)
            path = folder / LAST
            path.write_bytes(content)
            said = outcome(kind, path)
            path.unlink()
            if left_behind := list(folder.iterdir()):
                said = f"{said}, and there is {left_behind[0].name!r}"
            tally.add(number, said)
    return tally.result()
