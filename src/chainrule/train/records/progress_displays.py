"""Where progress is shown: a bar on a terminal, one output that changes in a notebook, lines in a log file."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TextIO, TypeAlias

from chainrule.train.records.progress_text import ASCII_SIGNS, BAR_SIGNS
from chainrule.train.stop_request import GROUP

Line: TypeAlias = Callable[[int, str], str]  # of columns, and the signs of a bar

HIDE_CURSOR, SHOW_CURSOR, ERASE_BELOW = "\x1b[?25l", "\x1b[?25h", "\x1b[J"
NOTEBOOK_COLUMNS = 110


class Display(Protocol):
    """``seconds`` pass between two drawings at least; what is kept stays, what is drawn is replaced, and ends."""

    seconds: ClassVar[float]

    def start(self) -> None: ...
    def draw(self, line: Line) -> None: ...
    def keep(self, text: str) -> None: ...
    def stop(self) -> None: ...


def find_display() -> Display | None:
    """Where stderr leads; None if it leads nowhere, or other fits run beside this one and lines would mix."""
    if sys.stderr is None or GROUP.get() is not None:
        return None
    if _is_terminal(sys.stderr):
        return TerminalBar(sys.stderr)
    return NotebookOutput() if _is_notebook() else LogLines()


def has_bar() -> bool:
    """Whether progress would be shown in one place, a terminal or a notebook, rather than as lines."""
    return sys.stderr is not None and (_is_terminal(sys.stderr) or _is_notebook())


def _is_terminal(stream: TextIO) -> bool:
    """One that obeys control sequences."""
    try:
        return stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
    except ValueError:  # it is closed
        return False


def _is_notebook() -> bool:
    """Whether IPython runs here and is not that of a terminal: then a front end shows its outputs."""
    find_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if find_shell is None else find_shell()
    return shell is not None and type(shell).__name__ != "TerminalInteractiveShell"


class LogLines:
    """What is kept, on stderr."""

    seconds: ClassVar[float] = math.inf

    def start(self) -> None:
        pass

    def draw(self, line: Line) -> None:
        pass

    def keep(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def stop(self) -> None:
        pass


class NotebookOutput:
    """One output of the cell, of plain text: no widgets, so that a notebook that is saved, or executed without anyone
    looking, has what was kept."""

    seconds: ClassVar[float] = 0.25

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._handle: Any = None

    def start(self) -> None:
        pass

    def draw(self, line: Line) -> None:
        self._show([*self._kept, line(NOTEBOOK_COLUMNS, BAR_SIGNS)])

    def keep(self, text: str) -> None:
        self._kept.append(text)

    def stop(self) -> None:
        self._show(self._kept)

    def _show(self, lines: list[str]) -> None:
        from IPython.display import display

        output = {"text/plain": "\n".join(lines)}
        if self._handle is None:
            self._handle = display(output, raw=True, display_id=True)
        else:
            self._handle.update(output, raw=True)


class TerminalBar:
    """One line below all that is printed meanwhile.

    The cursor waits at the start of the line, not at its end. A terminal that is made narrower wraps the line and
    leaves the cursor at its start; all below is erased before the line is drawn anew, so that no part of it stays.
    """

    seconds: ClassVar[float] = 0.1  # an epoch may take a millisecond, and drawing takes as long

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._is_drawn, self.is_mid_line = stream, False, False
        self._replaced: list[tuple[str, TextIO, Any]] = []
        self._signs = BAR_SIGNS if _encodes(stream, BAR_SIGNS) else ASCII_SIGNS

    def start(self) -> None:
        self._write(HIDE_CURSOR)
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and stream.isatty():
                self._replaced.append((name, stream, _AboveBar(self, stream)))
                setattr(sys, name, self._replaced[-1][2])

    def draw(self, line: Line) -> None:
        if not self.is_mid_line:
            # Not the last column, after which some terminals wrap at once.
            self._write(f"{ERASE_BELOW}{line(_columns(self._stream) - 1, self._signs)}\r")
            self._is_drawn = True

    def erase(self) -> None:
        """Leave an empty line in the place of the bar."""
        if self._is_drawn:
            self._is_drawn = False
            self._write(ERASE_BELOW)

    def keep(self, text: str) -> None:
        self.erase()
        self._write("\n" * self.is_mid_line + f"{text}\n")
        self.is_mid_line = False

    def stop(self) -> None:
        for name, stream, proxy in self._replaced:
            if getattr(sys, name) is proxy:  # else somebody has put another one there, and has to know
                setattr(sys, name, stream)
        self.erase()
        self._write(SHOW_CURSOR)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class _AboveBar:
    """A stream to the terminal on which a bar is: what is written to it appears above the bar."""

    def __init__(self, bar: TerminalBar, stream: TextIO) -> None:
        self._bar, self._stream = bar, stream

    def write(self, text: str) -> int:
        if not text:
            return 0
        self._bar.erase()
        written = self._stream.write(text)
        self._stream.flush()
        self._bar.is_mid_line = not text.endswith("\n")
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _encodes(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _columns(stream: TextIO) -> int:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # a stream without a file
        columns = 0
    return columns or shutil.get_terminal_size().columns
