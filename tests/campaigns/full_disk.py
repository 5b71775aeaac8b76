"""Runs for which there is no room: on a disk that is full, and with a limit on how large a file may be.

A case trains, or resumes a run that was killed, with so many bytes of room. Where they do not suffice: exit code 5, the
file named and what to do, the checkpoint before still there, no temporary. Then room is made, and the run resumed: it
ends as one that had room from the beginning. What is counted is the file for which there was none.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

from campaigns import runs
from campaigns.commands import Commands
from chainrule.cli.runs.record import RECORD

TITLE = "runs on a full disk, or with files of limited size"
CASES = 40

DISK = 8 << 20  # bytes
MOST = 17  # pages of 4 KiB: a run has no more
LIMITS = 700, 12_000  # bytes: from less than a config.toml to more than a checkpoint
TRAIN = (*runs.TRAIN, "--epochs", 40, "--checkpoint-every", 17, "--quiet")


class Case:
    """One run, in ``commands.folder / "run"``."""

    def __init__(self, number: int, commands: Commands, said: Path, seconds: float) -> None:
        self.rng, self.commands, self.said, self.seconds = random.Random(number), commands, said, seconds
        self.run, self.seen = commands.folder / "run", commands.seen / "run"

    def _argv(self) -> tuple[object, ...]:
        if (self.seen / RECORD).exists():
            return "resume", self.run, "--quiet"
        return (*TRAIN, "--overwrite", "--run-dir", self.run)

    def outcome(self, whole: runs.Outcome, *, on_full_disk: bool) -> tuple[str, str]:
        """The outcome, and what went wrong, or ""."""
        if self.rng.random() < 0.5:
            command = self.commands.start(*self._argv())
            command.is_over(self.rng.uniform(0.2, 1.1) * self.seconds)
            command.signal(signal.SIGKILL)
            command.wait()
        limit, ballast = None, self.commands.seen / "ballast"
        if on_full_disk:
            free = os.statvfs(self.commands.seen)
            ballast.write_bytes(b"\0" * max(0, free.f_bavail - self.rng.randrange(MOST)) * free.f_bsize)
        else:
            limit = self.rng.randint(*LIMITS)
        code = self.commands.run(*self._argv(), err=self.said, limit=limit)
        ballast.unlink(missing_ok=True)
        said, how = self.said.read_text(), "full" if on_full_disk else "limited"
        if code == 0:
            return f"{how}: room enough", runs.difference(self.seen, whole)
        if code != 5 or "hint: " not in said or not said.startswith(f"error: {self.run}"):
            return "", f"exit code {code}: {said}"
        if left := runs.temporaries(self.seen):
            return "", f"{left[0]} is left"
        name = Path(said.splitlines()[0].removeprefix("error: ").partition(": ")[0]).name
        return f"{how}: {name}", runs.damage(self.seen) or self._to_its_end(whole)

    def _to_its_end(self, whole: runs.Outcome) -> str:
        if code := self.commands.run(*self._argv(), err=self.said):
            return f"exit code {code} with room enough: {self.said.read_text()}"
        return runs.difference(self.seen, whole)


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How often there was no room for which file, and what went wrong, by number. Even numbers have a full disk."""
    counts, findings, said = Counter[str](), {}, folder / "said"
    with contextlib.ExitStack() as stack:
        (folder / "files").mkdir()
        kinds = {False: stack.enter_context(Commands(folder / "files"))}
        with contextlib.suppress(OSError):  # where nothing may be mounted, files of limited size are all there is
            (folder / "disk").mkdir()
            kinds[True] = stack.enter_context(Commands(folder / "disk", disk=DISK))
        wholes, seconds = {}, 0.0
        for on_full_disk, commands in kinds.items():
            runs.write_rows(commands.seen)
            start = time.monotonic()
            if commands.run(*TRAIN, "--run-dir", "whole"):
                raise AssertionError("the run with room failed")
            seconds = time.monotonic() - start
            wholes[on_full_disk] = runs.outcome_of(commands.seen / "whole")
        for number in numbers:
            on_full_disk = number % 2 == 0 and True in kinds
            commands = kinds[on_full_disk]
            case = Case(number, commands, said, seconds)
            outcome, wrong = case.outcome(wholes[on_full_disk], on_full_disk=on_full_disk)
            if wrong:
                findings[number] = wrong
            else:
                counts[outcome] += 1
            shutil.rmtree(commands.seen / "run", ignore_errors=True)
            said.unlink(missing_ok=True)
    return dict(counts), findings
