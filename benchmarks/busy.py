"""Processes that compute meanwhile: a machine that others use too.

    with BusyProcesses(1) as busy:
        ...
        busy.seconds()  # of processor time that they have had so far

Each is a bare interpreter in an endless loop: no array library, no threads, no memory to speak of, on whatever core
the scheduler likes. It has a session of its own, as another user's program has: Linux shares cores by session.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

# Also without us: killed or not, our process is then no longer its parent. It looks some fifty times a second.
LOOP = """
import os, sys
print(flush=True)
while os.getppid() == int(sys.argv[1]):
    for i in range(500_000): pass
"""


class BusyProcesses:
    """``count`` of them from the beginning of the block to its end, however it ends; computing when it begins."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> BusyProcesses:
        command = [sys.executable, "-I", "-S", "-c", LOOP, str(os.getpid())]
        try:
            for _ in range(self.count):
                self.processes.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                )
            for process in self.processes:
                if not process.stdout.readline():  # type: ignore[union-attr]  # the pipe that was asked for
                    raise RuntimeError("a busy process ended before it computed anything")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        alive = all(process.poll() is None for process in self.processes)
        self._end()
        if error is None and not alive:
            raise RuntimeError("a busy process ended before the measurement did: the machine was not as busy as said")

    def seconds(self) -> float:
        """Processor seconds of all of them since they started; zero where the system does not tell (not Linux)."""
        return sum(_processor_seconds(process.pid) for process in self.processes)

    def _end(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]
        self.processes = []


def _processor_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system
    return 0.0


def described(count: int) -> str:
    """What tables, pictures and result files call a machine with ``count`` busy processes."""
    return "idle" if count == 0 else f"busy: {count} other process{'es' if count > 1 else ''} computing"


def busy_counts(text: str) -> list[int]:
    """Of "0,1": [0, 1]. Each once, in the order given."""
    try:
        counts = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        counts = []
    if not counts or min(counts) < 0:
        raise argparse.ArgumentTypeError(f"expected numbers of busy processes like 1 or 0,1, got {text!r}")
    return counts
