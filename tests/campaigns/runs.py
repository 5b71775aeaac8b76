"""The run that campaigns stop in every way, and the checks of it afterwards."""

from __future__ import annotations

import csv
import dataclasses
import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import chainrule as cr
from campaigns.commands import Commands
from chainrule.cli.runs.files import CHECKPOINTS, CONFIG, CURVES, HISTORY, METRICS, MODEL
from chainrule.cli.runs.lock import LOCK
from chainrule.cli.runs.record import RECORD
from chainrule.files.atomic_write import TEMPORARY
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.writer import BEST, LAST

ROWS = "rows.csv"
EPOCHS = 6
SETTINGS = {
    "target": "kind",
    "hidden": "6",
    "batch-size": "16",
    "dropout": "0.2",
    "ema": "0.9",
    "accumulate": "2",
    "device": "cpu",
}
OPTIONS = tuple(word for name, value in SETTINGS.items() for word in (f"--{name}", value))
ALWAYS = ("--epochs", EPOCHS, "--checkpoint-every", "2")
TRAIN = ("train", ROWS, *OPTIONS, *ALWAYS)
PRESET = ("train", ROWS, "--target", "kind", "--device", "cpu", "--batch-size", "16")
TRAININGS: dict[str, tuple[Any, ...]] = {
    "a plain net": TRAIN,
    "an ensemble of 3": (*TRAIN, "--members", "3"),
    "preset fast": (*PRESET, "--preset", "fast", *ALWAYS),
    "preset default of 5": (*PRESET, "--preset", "default", "--members", "5", *ALWAYS),
}
FILES = {CONFIG, RECORD, METRICS, HISTORY, CURVES, MODEL, f"{CHECKPOINTS}/{LAST}", f"{CHECKPOINTS}/{BEST}"}


def write_rows(folder: Path, rows: int = 96) -> None:
    """Three numbers, a word and three classes: ``rows.csv``."""
    rng = random.Random(1)
    lines = ["a,b,c,where,kind"]
    for _ in range(rows):
        k = rng.randrange(3)
        numbers = [f"{rng.gauss(k * (j - 1), 1):.3f}" for j in range(3)]
        lines.append(",".join([*numbers, rng.choice("xyz"), "pqr"[k]]))
    (folder / ROWS).write_text("\n".join(lines) + "\n")


class Outcome(NamedTuple):
    """All of a run that must not depend on how often it was stopped."""

    model: bytes
    best: bytes
    curves: bytes
    metrics: list[dict[str, Any]]
    history: list[dict[str, str]]
    checkpoint: dict[str, Any]
    record: dict[str, Any]
    files: set[str]


def outcome_of(run: Path) -> Outcome:
    """Read from the files of a run that is done."""
    metrics = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    history = list(csv.DictReader((run / HISTORY).read_text().splitlines()))
    record = json.loads((run / RECORD).read_text())
    checkpoint = dataclasses.asdict(Checkpoint.read(run / CHECKPOINTS / LAST))
    for timed in (*metrics, *history, checkpoint, checkpoint["history"]):
        del timed["seconds"]
    checkpoint["arrays"] = {name: array.tobytes() for name, array in checkpoint["arrays"].items()}
    kept = ("status", "epochs", "best_epoch", "steps", "stopped", "train", "valid", "data", "seed", "error")
    return Outcome(
        (run / MODEL).read_bytes(),
        (run / CHECKPOINTS / BEST).read_bytes(),
        (run / CURVES).read_bytes(),
        metrics,
        history,
        checkpoint,
        {name: record.get(name) for name in kept},
        {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()},
    )


def train_whole(commands: Commands, train: tuple[Any, ...] = TRAIN, name: str = "whole") -> Outcome:
    """The run that nothing stopped."""
    if code := commands.run(*train, "--run-dir", name, err="said"):
        raise AssertionError(f"exit code {code}: {(commands.seen / 'said').read_text()}")
    whole = outcome_of(commands.seen / name)
    assert whole.files == FILES
    return whole


def seconds_of_a_run(commands: Commands, train: tuple[Any, ...] = TRAIN) -> float:
    """The less of two, for other work makes it more."""
    times = []
    for number in range(2):
        start = time.monotonic()
        commands.run(*train, "--overwrite", "--run-dir", f"timed{number}")
        times.append(time.monotonic() - start)
    return min(times)


class Training(NamedTuple):
    """A command of :data:`TRAININGS`, what comes of it if nothing stops it, and how long it takes."""

    kind: str
    argv: tuple[Any, ...]
    whole: Outcome
    seconds: float


class Trainings:
    """The commands in turn, each made ready by the first case that wants it."""

    def __init__(self, commands: Commands) -> None:
        self._commands, self._ready = commands, dict[str, Training]()

    def of_case(self, number: int) -> Training:
        """That of the case of this number."""
        kind = list(TRAININGS)[number % len(TRAININGS)]
        if kind not in self._ready:
            argv = TRAININGS[kind]
            whole = train_whole(self._commands, argv, f"whole, {kind}")
            self._ready[kind] = Training(kind, argv, whole, seconds_of_a_run(self._commands, argv))
        return self._ready[kind]


def try_each(numbers: range, folder: Path, case: Callable[[int], str]) -> dict[int, str]:
    """What went wrong, by number; what a case leaves in the folder is removed after it.

    ``case`` returns what went wrong, or ""; a TimeoutError goes wrong too.
    """
    findings, kept = {}, set(folder.iterdir())
    for number in numbers:
        try:
            wrong = case(number)
        except TimeoutError as error:
            wrong = str(error)
        if wrong:
            findings[number] = wrong
        for path in set(folder.iterdir()) - kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return findings


def difference(run: Path, whole: Outcome) -> str:
    """In what a completed run differs from the uninterrupted one; "" for nothing."""
    try:
        found = outcome_of(run)
    except (OSError, ValueError, LookupError) as error:
        return f"{type(error).__name__}: {error}"
    return ", ".join(name for name in Outcome._fields if getattr(found, name) != getattr(whole, name))


def damage(run: Path) -> str:
    """Which file of an interrupted run cannot be read; "" for none. Files may be missing, but not incomplete."""
    readers = {
        f"{CHECKPOINTS}/{LAST}": Checkpoint.read,
        f"{CHECKPOINTS}/{BEST}": cr.load,
        MODEL: cr.load,
        RECORD: lambda path: json.loads(path.read_bytes()),
        CURVES: _check_end,
        METRICS: lambda path: list(map(json.loads, path.read_text().split("\n")[:-1])),  # but for the last
    }
    for name, read in readers.items():
        if (run / name).exists():
            try:
                read(run / name)
            except (cr.ChainruleError, ValueError) as error:
                return f"{name}: {error}"
    return ""


def _check_end(path: Path) -> None:
    if not path.read_text().endswith("</svg>\n"):
        raise ValueError("it has no end")


def temporaries(run: Path) -> list[str]:
    """Names of temporaries that are left in it."""
    return [path.name for path in run.rglob(f".*{TEMPORARY}")]


def is_free(run: Path) -> bool:
    """Whether there is no lock file."""
    return not (run / LOCK).exists()
