"""What a signal does to a command that trains."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from chainrule.train.trainer import Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_stop(trainer: Trainer) -> Iterator[list[int]]:
    """The first INT or TERM asks the trainer to stop and is put in the list; the second ends the process at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may set handlers; a host program that calls main() keeps its own
        return

    def on_signal(number: int, _: object) -> None:
        if caught:
            os._exit(128 + number)
        caught.append(number)
        trainer.stop()

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(caught: list[int]) -> int:
    """Of a command that a signal (or Ctrl-C) ended."""
    return 128 + (caught[0] if caught else signal.SIGINT)
