"""Runs that are killed at random moments, resumed, killed again, and finally completed.

Each case is a run, of a plain net, an ensemble or a preset; its number decides how often it is killed and when. Kills
are counted by what they interrupted. All files must be readable after every kill, and the final result must be that of
an uninterrupted run.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

from campaigns import runs
from campaigns.commands import Commands
from chainrule.cli.runs.files import CHECKPOINTS
from chainrule.cli.runs.record import RECORD
from chainrule.train.checkpoints.writer import LAST

TITLE = "runs killed at random moments and resumed"
CASES = 200

MAX_KILLS = 6  # of a run


def interrupted(run: Path, code: int) -> str:
    """What a kill interrupted, judged by what it left."""
    if code == 0:
        return "too late"
    if runs.temporaries(run):
        return "while a file was written"
    if not (run / RECORD).exists():
        return "before the run began"
    return "between files" if (run / CHECKPOINTS / LAST).exists() else "before the first checkpoint"


def case(number: int, commands: Commands, training: runs.Training, counts: Counter[str]) -> str:
    """Kill the run of this number repeatedly, then let it end; what went wrong, or ""."""
    rng, run = random.Random(number), commands.folder / "run"
    for _ in range(rng.randint(1, MAX_KILLS)):
        argv = ("resume", run) if (run / RECORD).exists() else (*training.argv, "--overwrite", "--run-dir", run)
        command = commands.start(*argv, err="said")
        command.is_over(rng.uniform(0, training.seconds))
        command.signal(signal.SIGKILL)
        if (code := command.wait()) not in {0, -signal.SIGKILL}:
            return f"exit code {code}: {(commands.folder / 'said').read_text()}"
        counts[interrupted(run, code)] += 1
        if wrong := runs.damage(run):
            return wrong
    argv = ("resume", run) if (run / RECORD).exists() else (*training.argv, "--overwrite", "--run-dir", run)
    if code := commands.run(*argv, err="said"):
        return f"exit code {code} in the end: {(commands.folder / 'said').read_text()}"
    wrong = runs.difference(run, training.whole)
    return f"{training.kind}: {wrong}" if wrong else ""


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many kills hit what, and what went wrong, by number of the case."""
    counts = Counter[str]()
    runs.write_rows(folder)
    with Commands(folder) as commands:
        trainings = runs.Trainings(commands)
        findings = runs.try_each(numbers, folder, lambda n: case(n, commands, trainings.of_case(n), counts))
    return dict(counts), findings
