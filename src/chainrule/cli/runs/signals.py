"""What a signal does to a command that trains."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from chainrule.cli.console import output
from chainrule.train.records.callbacks import Callback
from chainrule.train.records.run import StartRecord


class Stopped(KeyboardInterrupt):
    """A signal arrived while nothing was trained that could be kept; ``exit_code`` is 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class LeftBehind(NamedTuple):
    """What a command leaves if it ends now: what is saved, and how it is continued ("" if it is not)."""

    saved: str
    hint: str = ""


class Signals(Callback):
    """``with Signals() as signals``: INT, TERM and HUP ask the trainer to stop, as whose first callback it is passed.

    Before training has started a signal raises Stopped; once it has, the trainer stops after the step under way and all
    that comes after it is done: the checkpoint, the model, the record. The second signal ends the process at once, and
    says what it leaves. HUP stays ignored if it was, as under nohup.

    Parameters
    ----------
    left_behind : what the command would leave at the moment; called within a signal handler
    """

    only_reads = True

    def __init__(self, left_behind: Callable[[], LeftBehind]) -> None:
        self._left_behind = left_behind
        self._hook: Callable[..., Any] | None = None
        self.caught: list[int] = []
        self._stop: Callable[[], object] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread may set handlers; a host program that calls main() from another keeps its own.
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None and not (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._on_signal)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._hook is not None:
            sys.unraisablehook, self._hook = self._hook, None

    def on_start(self, record: StartRecord) -> None:
        self._stop = record.stop
        if self.caught:  # nobody heard of Stopped: it was raised in a callback of a weakref or of ctypes
            self._stop()

    def _on_signal(self, number: int, _: object) -> None:
        if self.caught:
            with contextlib.suppress(Exception):  # whatever state the first signal or the run has left
                saved, hint = self._left_behind()
                output.last_words(f"error: ended at once by a second signal: {saved}", hint and f"hint: {hint}")
            os._exit(128 + number)
        self.caught.append(number)
        if self._stop is None:
            raise Stopped(number)
        self._stop()

    def _on_unraisable(self, unraisable: Any) -> None:
        """Python would print the traceback of a Stopped that nobody hears of; ``on_start`` knows of the signal."""
        if self._hook is not None and unraisable.exc_type is not Stopped:
            self._hook(unraisable)

    @property
    def exit_code(self) -> int:
        """0 if no signal arrived."""
        return 128 + self.caught[0] if self.caught else 0
