"""Runs that are killed at random moments, resumed, killed again, and in the end brought to theirs.

Each case is a run; its number says how often it is killed and when. What is counted are kills, by what they struck.
Right is: all that is there after a kill can be read, and the end is that of a run that was never killed.
"""

from __future__ import annotations

import random
import shutil
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

MOST = 6  # kills of a run


def struck(run: Path, code: int) -> str:
    """What a kill came into, by what it left."""
    if code == 0:
        return "too late"
    if runs.temporaries(run):
        return "while a file was written"
    if not (run / RECORD).exists():
        return "before the run began"
    return "between files" if (run / CHECKPOINTS / LAST).exists() else "before the first checkpoint"


def case(number: int, commands: Commands, whole: runs.Outcome, seconds: float, counts: Counter[str]) -> str:
    """Kill the run of this number as often as it says, then let it end; what went wrong, or ""."""
    rng, run = random.Random(number), commands.folder / "run"
    for _ in range(rng.randint(1, MOST)):
        argv = ("resume", run) if (run / RECORD).exists() else (*runs.TRAIN, "--overwrite", "--run-dir", run)
        command = commands.start(*argv, err="said")
        command.is_over(rng.uniform(0, seconds))
        command.signal(signal.SIGKILL)
        if (code := command.wait()) not in {0, -signal.SIGKILL}:
            return f"exit code {code}: {(commands.folder / 'said').read_text()}"
        counts[struck(run, code)] += 1
        if wrong := runs.damage(run):
            return wrong
    argv = ("resume", run) if (run / RECORD).exists() else (*runs.TRAIN, "--overwrite", "--run-dir", run)
    if code := commands.run(*argv, err="said"):
        return f"exit code {code} in the end: {(commands.folder / 'said').read_text()}"
    return runs.difference(run, whole)


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many kills struck what, and what went wrong, by number of the case."""
    counts, findings = Counter[str](), {}
    runs.write_rows(folder)
    with Commands(folder) as commands:
        whole = runs.train_whole(commands)
        seconds = runs.seconds_of_a_run(commands)
        for number in numbers:
            try:
                said = case(number, commands, whole, seconds, counts)
            except TimeoutError as error:
                said = str(error)
            if said:
                findings[number] = said
            shutil.rmtree(folder / "run", ignore_errors=True)
            (folder / "said").unlink(missing_ok=True)
    return dict(counts), findings
