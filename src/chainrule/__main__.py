"""``python -m chainrule`` and the script ``chainrule``: the command line, which Ctrl-C ends in words at any moment.

Nothing here may import what takes time: an interruption before the handler is set ends in Python's traceback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
IMPORTER = "<frozen importlib._bootstrap>"  # the file of its frames


def main(argv: list[str] | None = None) -> int:
    """Run the command that was typed, or is given; the exit code."""
    sets_handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else nohup or a host has its own
    if sets_handler:
        signal.signal(signal.SIGINT, _on_interrupt)
    code = 0  # of --help and --version, which exit by themselves
    try:
        from chainrule.cli.main import main as run  # NumPy, and much else

        code = run(argv)
    except KeyboardInterrupt as error:
        code = getattr(error, "exit_code", INTERRUPTED)
        _complain()
    finally:
        if sets_handler:  # all is done and said, and what Python still tidies up need not be waited for
            signal.signal(signal.SIGINT, lambda *_: os._exit(code))
    return code


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    """The first Ctrl-C is a KeyboardInterrupt; the second, and the first within an import, ends the process at once.

    Python's import system, and libraries that are being imported, print some exceptions and forget them.
    """
    signal.signal(signal.SIGINT, _end_at_once)
    if _is_importing(frame):
        _end_at_once()
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == IMPORTER:
            return True
        frame = frame.f_back
    return False


def _end_at_once(*_: object) -> None:
    _complain()
    os._exit(INTERRUPTED)


def _complain() -> None:
    """By the descriptor: the stream may be in the middle of a line of its own."""
    with contextlib.suppress(OSError):
        os.write(2, b"error: interrupted\n")


if __name__ == "__main__":
    sys.exit(main())
