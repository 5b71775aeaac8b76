"""The workers of ``compare_cpu.py`` and ``compare_cuda.py`` as seen from outside; turns that nothing else disturbs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from busy import BusyProcesses

WORKER = Path(__file__).with_name("worker.py")
PAUSE = 0.1  # seconds between two turns, in which the waiting threads of the last one fall asleep
QUIET = 0.1  # the share of the machine that other work may take
PATIENCE = 30.0  # seconds to wait for that before a turn; with a patience of 0 every turn is taken as it comes
TRIES = 4  # of a turn in which it was more
# What overrides a library's choice of kernels for the processor: the others would be compared with half a library.
KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA",
           "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES")  # fmt: skip
# What overrides its number of threads, or how they wait. All else of OpenBLAS's variables goes with them.
THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOTO_NUM_THREADS", "MKL_NUM_THREADS")


class Process:
    """A worker, asked one thing at a time; once it is absent or has failed, that is its answer to everything."""

    def __init__(
        self,
        worker: str,
        environment: Mapping[str, str],
        without: Collection[str] = (),
        *,
        script: Path = WORKER,
        arguments: Collection[str] = (),
    ) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in without}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        self.process = subprocess.Popen(
            [sys.executable, str(script), worker, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**inherited, **environment},
            start_new_session=True,  # so that what it starts itself ends with it
        )
        self.fate: dict[str, str] = {}

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """What the worker's method of that name returns; {"absent": why} or {"failed": why} if it cannot."""
        self.send(do, **arguments)
        return self.receive()

    def send(self, do: str, **arguments: Any) -> None:
        """The question alone, so that several workers can be at work on one each."""
        if not self.fate:
            with contextlib.suppress(BrokenPipeError):  # receive says what happened
                print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)

    def receive(self, limit: float | None = None) -> dict[str, Any]:
        """The answer to what was sent; a worker that has not answered after ``limit`` seconds is ended and failed."""
        if self.fate:
            return self.fate
        if limit is not None and not select.select([self.process.stdout], [], [], max(0.0, limit))[0]:
            self.end()
            answer = {"failed": f"no answer within {limit:.0f} s", "traceback": self.said()}
        else:
            try:
                answer = json.loads(self.process.stdout.readline())
            except json.JSONDecodeError:
                self.end()
                said, code = self.said(), self.process.returncode
                reason = f"its process ended ({signal.strsignal(-code) if code < 0 else f'exit {code}'})"
                answer = {"failed": f"{reason}: {(said.splitlines() or ['no message'])[-1]}", "traceback": said}
        if "absent" in answer or "failed" in answer:
            self.fate = answer
        return answer

    def said(self) -> str:
        """The end of what it wrote to stderr."""
        self.errors.seek(0)
        return self.errors.read()[-4000:]

    def end(self) -> None:
        """Kill it and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # of a worker that is no more
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.end()
        self.process.stdout.close()
        self.errors.close()


def overriding(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that override a library's kernels or threads: no user sets them before the first run."""
    found = {name: environment[name] for name in (*KERNELS, *THREADS) if name in environment}
    return found | {name: value for name, value in environment.items() if name.startswith("OPENBLAS_")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How a measurement is protected from what else there is on the machine."""
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help="that a turn waits for a quiet machine; 0 takes every turn as it comes, to try things out (30)",
    )
    parser.add_argument(
        "--keep-kernels", action="store_true", help="leave variables like OPENBLAS_CORETYPE as they are"
    )


def set_aside(keep: bool) -> dict[str, str]:
    """What is taken from the environment of all workers, said on stdout; nothing if ``keep``."""
    found = {} if keep else overriding(os.environ)
    if found:
        print("set aside for this run: " + ", ".join(f"{name}={value}" for name, value in found.items()))
    return found


class Watch:
    """What other work takes of the machine from now on: neither ours nor that of the processes ``busy`` on purpose."""

    def __init__(self, busy: BusyProcesses | None = None) -> None:
        self.busy = busy
        self.start = self._read()

    def disturbed(self, own_seconds: float = 0.0) -> bool:
        """Whether that was more than QUIET. Only Linux can tell; elsewhere it never was."""
        used, everything = (after - before for after, before in zip(self._read(), self.start, strict=True))
        return used - own_seconds > QUIET * everything

    def _read(self) -> tuple[float, float]:
        used, everything = _used_and_all()
        return used - (self.busy.seconds() if self.busy else 0.0), everything


def turn(
    worker: Process, busy: BusyProcesses | None = None, patience: float = PATIENCE, **command: Any
) -> dict[str, Any]:
    """The answer to ``command``, asked when the machine is quiet, and again if other work took its share meanwhile.

    "disturbed" says whether the last try was so too. ``busy`` are the processes that are meant to compute beside it.
    """
    for _ in range(TRIES if patience else 1):
        await_quiet(busy, patience)
        watch = Watch(busy)
        answer = worker.ask(**command)
        if "cpu_seconds" not in answer:  # it has failed
            return answer
        answer["disturbed"] = watch.disturbed(answer["cpu_seconds"])
        if not answer["disturbed"]:
            break
    return answer


def await_quiet(busy: BusyProcesses | None = None, patience: float = PATIENCE) -> None:
    """A pause; a longer one while other work keeps the machine busy, though not for ever."""
    deadline = time.perf_counter() + patience
    while True:
        watch = Watch(busy)
        time.sleep(PAUSE)
        if not watch.disturbed() or time.perf_counter() > deadline:
            return


def _used_and_all() -> tuple[float, float]:
    """Seconds of all cores since the start: in which they were busy, and altogether; zeros if unknown."""
    try:
        line = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return 0.0, 0.0
    ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in line.split()[1:9]]
    idle = ticks[3] + ticks[4]  # user, nice, system, idle, iowait, irq, softirq, steal
    return sum(ticks) - idle, sum(ticks)
