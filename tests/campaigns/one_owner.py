"""Two processes on one run directory: one trains, the other is refused and says who has it.

Each case: two begin at once (train and train, resume and resume, train and resume), and the one that is refused names
the other. The one that trains is killed; then a third takes the run, and ends it when asked to, at a checkpoint.
"""

from __future__ import annotations

import random
import signal
import socket
import time
from collections import Counter
from pathlib import Path

from campaigns import runs
from campaigns.commands import TIMEOUT, Command, Commands
from chainrule.cli.runs.record import RECORD

TITLE = "two processes on one run directory"
CASES = 50

PAIRS = ["train and train", "resume and resume", "train and resume"]
TRAIN = ("train", runs.ROWS, *runs.OPTIONS, "--overwrite", "--epochs", 1_000_000, "--checkpoint-every", "2")


def case(number: int, commands: Commands) -> str:
    """What went wrong, or ""."""
    rng, run = random.Random(number), commands.folder / "run"
    pair = PAIRS[number % len(PAIRS)].split(" and ")
    if "resume" in pair:
        first = commands.start(*TRAIN, "--run-dir", run)
        if wrong := _until_it_trains(run, first):
            return wrong
        first.signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
        first.wait()
    rng.shuffle(pair)
    both = []
    for which, word in enumerate(pair):
        argv = (*TRAIN, "--run-dir", run) if word == "train" else ("resume", run)
        both.append(commands.start(*argv, err=commands.folder / f"said{which}"))
        time.sleep(rng.choice([0.0, rng.uniform(0, 0.1)]))
    wrong = _refused(both, commands.folder)
    for command in both:
        command.signal(signal.SIGKILL)
        command.wait()
    return wrong or _is_taken_and_left(run, commands)


def _until_it_trains(run: Path, command: Command) -> str:
    deadline = time.monotonic() + TIMEOUT
    while not (run / RECORD).exists():
        if command.is_over(0.002) or time.monotonic() > deadline:
            return "it did not begin to train"
    return ""


def _refused(both: list[Command], folder: Path) -> str:
    """What is wrong with how the one of two was refused."""
    deadline = time.monotonic() + TIMEOUT
    while not any(command.is_over(0.002) for command in both):
        if time.monotonic() > deadline:
            return "both train"
    other = 0 if both[0].is_over() else 1
    owner = both[1 - other]
    code, said = both[other].wait(), (folder / f"said{other}").read_text()
    if code != 2 or f"is being trained in by process {owner.pid} on {socket.gethostname()}" not in said:
        return f"exit code {code}, process {owner.pid} trains: {said}"
    return "the other ended too" if owner.is_over(0.05) else ""


def _is_taken_and_left(run: Path, commands: Commands) -> str:
    """After the owner was killed."""
    if wrong := runs.damage(run):
        return wrong
    begun = (run / RECORD).exists()  # else it was killed before there was anything to go on with
    command = commands.start(*(("resume", run) if begun else (*TRAIN, "--run-dir", run)), err="said")
    command.is_over(0.1)
    if command.is_over():
        return f"it cannot be taken: {(commands.folder / 'said').read_text()}"
    command.signal(signal.SIGTERM)
    if (code := command.wait()) not in {143, -signal.SIGTERM}:
        return f"exit code {code}: {(commands.folder / 'said').read_text()}"
    return "" if code < 0 or runs.is_free(run) else "the lock was left"


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many of each pair were kept apart, and what went wrong, by number."""
    runs.write_rows(folder)
    with Commands(folder) as commands:
        findings = runs.try_each(numbers, folder, lambda number: case(number, commands))
    return dict(Counter(PAIRS[number % len(PAIRS)] for number in numbers if number not in findings)), findings
