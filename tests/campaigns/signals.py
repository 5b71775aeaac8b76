"""Runs that are asked to end, and runs whose readers go away.

INT, TERM, HUP, a second INT, TERM in the middle of a save: the exit code is 128 and the signal's number, record and
checkpoint agree to the step, and a resume ends as the run that nobody stopped. A reader of stdout or stderr that goes
away, or was never there, stops nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from campaigns import runs
from campaigns.commands import Command, Commands
from chainrule.cli.runs.files import CHECKPOINTS
from chainrule.cli.runs.record import RECORD
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.writer import LAST

TITLE = "runs that a signal ends, or whose reader goes away"
CASES = 300

KINDS = ["INT", "TERM", "HUP", "INT twice", "TERM while it saves", "no reader"]  # of a case, by its number
AT_ONCE = 5.0  # seconds at most between a second signal and the end, on a machine with other work
READERS = ["closed", "gone", "full"]


class Case:
    """One run in ``commands.folder / "run"``."""

    def __init__(self, number: int, commands: Commands, training: runs.Training) -> None:
        self.number, self.kind, self.rng = number, KINDS[number % len(KINDS)], random.Random(number)
        self.commands, self.train = commands, training.argv
        self.whole, self.seconds = training.whole, training.seconds
        self.run, self.said = commands.folder / "run", commands.folder / "said"

    def outcome(self) -> tuple[str, str]:
        """The outcome, and what went wrong, or ""."""
        if self.kind == "no reader":
            return self._without_readers()
        command = self.commands.start(*self.train, "--run-dir", self.run, err=self.said)
        number = signal.Signals[f"SIG{self.kind.split()[0]}"]
        if self.kind.endswith("saves"):
            self._wait_for_a_save(command)
        else:
            began = self.rng.random() < 0.5 and self._wait_until_it_trains(command)
            command.is_over(self.rng.uniform(0, self.seconds / 4 if began else self.seconds))
        command.signal(number)
        if self.kind.endswith("twice"):
            return self._end_at_once(command, number)
        code = command.wait()
        if code == 0:
            return "too late", runs.difference(self.run, self.whole)
        if code == -number or not (self.run / RECORD).exists():
            return "before it began", self._refuse_code(code, number) or self._end_anew()
        wrong = self._refuse_code(code, number) or runs.damage(self.run) or self._disagreement()
        return "interrupted", wrong or self._go_on()

    def _refuse_code(self, code: int, number: int) -> str:
        # A shell says 128 + number of both: one that the process said, and one that ended it.
        return "" if code in {128 + number, -number} else f"exit code {code}: {self.said.read_text()}"

    def _disagreement(self) -> str:
        """Between what is left of a run that was interrupted."""
        record = json.loads((self.run / RECORD).read_text())
        if (
            record["status"] == "done"
        ):  # the signal arrived while the record was written: the exit code is still its own
            return runs.difference(self.run, self.whole)
        if record["status"] != "interrupted":
            return f"its status is {record['status']}"
        checkpoint = Checkpoint.read(self.run / CHECKPOINTS / LAST)
        if (checkpoint.steps, checkpoint.epochs) != (record["steps"], record["epochs"]):
            return f"checkpoint of step {checkpoint.steps}, the run ended at {record['steps']}"
        if left := runs.temporaries(self.run) or not runs.is_free(self.run):
            return f"something is left: {left}"
        return ""

    def _go_on(self) -> str:
        if code := self.commands.run("resume", self.run, err=self.said):
            return f"exit code {code} of resume: {self.said.read_text()}"
        return runs.difference(self.run, self.whole)

    def _end_anew(self) -> str:
        if code := self.commands.run(*self.train, "--overwrite", "--run-dir", self.run, err=self.said):
            return f"exit code {code} of another run: {self.said.read_text()}"
        return runs.difference(self.run, self.whole)

    def _wait_until_it_trains(self, command: Command) -> bool:
        while not command.is_over(0.002):
            if (self.run / RECORD).exists():
                return True
        return False

    def _wait_for_a_save(self, command: Command) -> None:
        wanted = self.rng.randint(1, 6)
        while wanted and not command.is_over():
            saving = bool(runs.temporaries(self.run / CHECKPOINTS))
            wanted -= saving
            while saving and wanted and not command.is_over() and runs.temporaries(self.run / CHECKPOINTS):
                pass

    def _end_at_once(self, command: Command, number: int) -> tuple[str, str]:
        time.sleep(self.rng.uniform(0, 0.02))
        command.signal(number)
        start = time.monotonic()
        code = command.wait()
        if (took := time.monotonic() - start) > AT_ONCE:
            return "", f"it went on for {took:.1f} s after the second signal"
        if code == 0:
            return "too late", runs.difference(self.run, self.whole)
        wrong = self._refuse_code(code, number) or runs.damage(self.run)
        if not (self.run / RECORD).exists():
            return "before it began", wrong or self._end_anew()
        status = json.loads((self.run / RECORD).read_text())["status"]
        return "ended at once" if status == "running" else "over before the second", wrong or self._go_on()

    def _without_readers(self) -> tuple[str, str]:
        """stdout and stderr, one or both, have nobody at their other end, from the beginning or from some moment on."""
        how = READERS[self.number // len(KINDS) % len(READERS)]
        streams = self.rng.choice([{"out"}, {"err"}, {"out", "err"}])
        paths = {name: {"closed": "", "full": "/dev/full"}.get(how, self.commands.folder / name) for name in streams}
        readers = []
        for path in paths.values() if how == "gone" else ():
            Path(path).unlink(missing_ok=True)
            os.mkfifo(path)
            readers.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        command = self.commands.start(*self.train, "--json", "--run-dir", self.run, **{"err": self.said} | paths)
        opened = Path(f"/proc/{command.pid}/fd")
        while readers and not command.is_over(0.001):  # to open a pipe that nobody reads waits for ever
            with contextlib.suppress(OSError):
                if set(map(str, paths.values())) <= {str(path.readlink()) for path in opened.iterdir()}:
                    break
        command.is_over(self.rng.choice([0.0, self.rng.uniform(0, self.seconds)]))
        for reader in readers:
            os.close(reader)
        code = command.wait()
        wanted = 5 if how == "full" and "out" in streams else 0  # a result that cannot be written is an error
        wrong = "" if code == wanted else f"exit code {code} with {' and '.join(sorted(streams))} {how}"
        return f"{how}, ran on", wrong or runs.difference(self.run, self.whole)


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """The outcomes, and what went wrong, by number."""
    counts = Counter[str]()
    runs.write_rows(folder)
    with Commands(folder) as commands:
        trainings = runs.Trainings(commands)

        def try_one(number: int) -> str:
            training = trainings.of_case(number // len(KINDS))
            case = Case(number, commands, training)
            outcome, wrong = case.outcome()
            counts[outcome] += not wrong
            return f"{training.kind}, {case.kind}: {wrong}" if wrong else ""

        findings = runs.try_each(numbers, folder, try_one)
    return dict(+counts), findings
