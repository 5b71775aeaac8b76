"""Programs with a time limit, whose output is kept in memory: a full disk costs a file, never an answer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

BLOCK = 1 << 16
HEAD, TAIL = 8, 24  # blocks of an output that are kept: half a megabyte of its beginning, one and a half of its end
GRACE = 10.0  # seconds from the first signal until the program is killed


class Output:
    """The beginning and the end of what a program writes, read by a thread of its own."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._head: list[bytes] = []
        self._tail: deque[bytes] = deque(maxlen=TAIL)
        self._left_out = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, daemon=True)  # a grandchild may hold the pipe for ever
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._pipe:
            while block := self._pipe.read1(BLOCK):  # type: ignore[attr-defined]
                with self._lock:
                    self._keep(block)

    def _keep(self, block: bytes) -> None:
        if len(self._head) < HEAD:
            self._head.append(block)
            return
        if len(self._tail) == TAIL:
            self._left_out += len(self._tail[0])
        self._tail.append(block)

    def text(self, wait: float = 2.0) -> str:
        """What was written until now, or until the pipe is closed if that happens within ``wait`` seconds."""
        self._thread.join(wait)
        with self._lock:
            gap = f"\n... {self._left_out:,} bytes left out ...\n".encode() if self._left_out else b""
            return b"".join([*self._head, gap, *self._tail]).decode("utf-8", "replace")


class Ended(NamedTuple):
    """How a program ended: its exit code, below 0 for a signal, and ``timed_out`` if its time was over."""

    code: int
    seconds: float
    stdout: str
    stderr: str  # "" if both went the same way
    timed_out: bool

    @property
    def why(self) -> str:
        """In words, if it did not end well; "" if it did."""
        if self.timed_out:
            return f"stopped after {self.seconds:.0f} s"
        if self.code < 0:
            with contextlib.suppress(ValueError):
                return f"ended by {signal.Signals(-self.code).name}"
            return f"ended by signal {-self.code}"
        return f"exit {self.code}" if self.code else ""


def run(
    command: Sequence[str],
    seconds: float,
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    apart: bool = False,
    first_signal: int = signal.SIGTERM,
) -> Ended:
    """Run a program in ``folder`` for at most ``seconds``.

    Then it and what it started are asked to end, and killed after GRACE. ``apart`` keeps stderr away from stdout. A
    program that cannot be started has exit code 127. An exception meanwhile, Ctrl-C say, ends the program too.
    """
    start = time.monotonic()
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,  # so that a signal reaches what it starts too, and Ctrl-C only us
        )
    except OSError as error:
        return Ended(127, time.monotonic() - start, str(error), "", False)
    assert process.stdout is not None
    outputs = [Output(process.stdout), *([Output(process.stderr)] if process.stderr else [])]
    timed_out = False
    try:
        process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        timed_out = True
        end(process, first_signal)
    except BaseException:
        end(process, first_signal)
        raise
    finally:
        _signal(process, signal.SIGKILL)  # what it has left behind
    seconds = time.monotonic() - start
    texts = [output.text() for output in outputs]
    return Ended(process.returncode, seconds, texts[0], texts[1] if apart else "", timed_out)


def end(process: subprocess.Popen[bytes], first_signal: int) -> None:
    """Ask its process group to end, and kill it if it has not after GRACE seconds."""
    try:
        _signal(process, first_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
