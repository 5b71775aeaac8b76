"""What a user sees: a terminal that wraps its lines anew when it is resized, and a pseudo-terminal to write to it."""

from __future__ import annotations

import os
import re
import select
import termios
from typing import Any

ESCAPE = re.compile("\x1b\\[(\\??)([0-9;]*)([A-Za-z])")


class Screen:
    """Lines as they were written, with the cursor in one of them: a resize wraps them anew and moves nothing else."""

    def __init__(self, columns: int) -> None:
        self.columns, self.lines, self.line, self.at = columns, [""], 0, 0
        self.widest = 0

    def feed(self, text: str) -> None:
        while text:
            if found := ESCAPE.match(text):
                self._control(found[1] + found[3], found[2])
                text = text[found.end() :]
                continue
            self._put(text[0])
            text = text[1:]

    def _put(self, character: str) -> None:
        if character == "\n":
            self.line, self.at = self.line + 1, 0
            self.lines += [""] * (self.line == len(self.lines))
        elif character == "\r":
            self.at -= self.at % self.columns if self.at else 0
        else:
            line = self.lines[self.line].ljust(self.at)
            self.lines[self.line] = line[: self.at] + character + line[self.at + 1 :]
            self.at += 1
            self.widest = max(self.widest, self.at)

    def _control(self, name: str, argument: str) -> None:
        row = self.at - self.at % self.columns  # where the row of the cursor begins in its line
        if name == "J":
            self.lines[self.line] = self.lines[self.line][: self.at]
            del self.lines[self.line + 1 :]
        elif name == "K" and argument == "2":
            line = self.lines[self.line]
            self.lines[self.line] = line[:row] + line[row + self.columns :]
        elif name == "A":
            self.line = max(0, self.line - int(argument or 1))

    @property
    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.lines if line.strip()]


class PseudoTerminal:
    """``stream`` leads to ``screen``, by a pseudo-terminal of the kernel's, which turns each "\\n" into "\\r\\n"."""

    def __init__(self, columns: int) -> None:
        self._master, slave = os.openpty()
        self._size_of = slave
        self.stream: Any = os.fdopen(slave, "w", encoding="utf-8")
        self.screen = Screen(columns)
        self.resize(columns)

    def resize(self, columns: int) -> None:
        self.read()
        termios.tcsetwinsize(self._size_of, (24, columns))
        self.screen.columns = columns

    def read(self) -> str:
        """What has been written since, which is on the screen from now on."""
        self.stream.flush()
        read = b""
        while select.select([self._master], [], [], 0.02)[0]:
            read += os.read(self._master, 65536)
        self.screen.feed(read.decode())
        return read.decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self._master)
