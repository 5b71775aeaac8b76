"""Processes that begin at once: without ``--run-dir`` each has a run of its own, on one folder exactly one trains.

A case is a round: fifty processes begin together, on one table in one folder, and each is to end with a whole run. Then
ten begin on one ``--run-dir``: one trains, the others are refused and say why. What is counted are processes.
"""

from __future__ import annotations

from pathlib import Path

from campaigns import runs
from campaigns.commands import Commands
from chainrule.cli.runs.claim import RUNS

TITLE = "fifty processes that begin to train at once, then ten on one run directory"
CASES = 4

AT_ONCE, ON_ONE_FOLDER = 50, 10
TRAIN = (*runs.TRAIN, "--quiet")
REFUSALS = "is being trained in by process", "expected a new or an empty folder"


def _started(commands: Commands, count: int, *options: object) -> list[tuple[int, str]]:
    """So many processes at once: exit code and stderr of each."""
    files = [commands.folder / f"said{i}" for i in range(count)]
    started = [commands.start(*TRAIN, *options, err=file) for file in files]
    codes = [command.wait() for command in started]
    return [(code, file.read_text()) for code, file in zip(codes, files, strict=True)]


def each_alone(commands: Commands, whole: runs.Outcome) -> str:
    """Without ``--run-dir``; what went wrong, or ""."""
    if failed := [end for end in _started(commands, AT_ONCE) if end[0]]:
        return f"{len(failed)} failed: {failed[0]}"
    made = list((commands.folder / RUNS).iterdir())
    if len(made) != AT_ONCE:
        return f"{len(made)} runs of {AT_ONCE} processes"
    return next((f"{run}: {wrong}" for run in made if (wrong := runs.difference(run, whole))), "")


def one_of_many(commands: Commands, whole: runs.Outcome) -> str:
    """On one ``--run-dir``; what went wrong, or ""."""
    run = commands.folder / "one"
    ends = _started(commands, ON_ONE_FOLDER, "--run-dir", run)
    if sorted(code for code, _ in ends) != [0] + [2] * (ON_ONE_FOLDER - 1):
        return f"they ended with {ends}"
    if other := [said for code, said in ends if code and not any(refusal in said for refusal in REFUSALS)]:
        return f"refused with {other[0]}"
    return runs.difference(run, whole)


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many processes had a run of their own, trained or were refused; what went wrong, by number of the round."""
    runs.write_rows(folder)
    with Commands(folder) as commands:
        whole = runs.train_whole(commands)
        findings = runs.try_each(numbers, folder, lambda _: each_alone(commands, whole) or one_of_many(commands, whole))
    rounds = len(numbers) - len(findings)
    counts = {"a run of its own": AT_ONCE * rounds, "trained": rounds, "refused": (ON_ONE_FOLDER - 1) * rounds}
    return counts, findings
