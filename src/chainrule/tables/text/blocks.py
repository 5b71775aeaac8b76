"""A text file as blocks of whole lines in UTF-8."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self, TextIO

SIZE = 1 << 18  # bytes: what is made of so many stays in the caches


class Blocks:
    """The blocks of a file, none empty; each ends where a line ends.

    Attributes
    ----------
    size : how many bytes are read at a time; a block is longer if no line ends in them
    """

    def __init__(self, path: Path, encoding: str) -> None:
        self.size = SIZE
        self._file: BinaryIO | TextIO
        if encoding in {"utf-8", "utf-8-sig"}:
            binary = self._file = path.open("rb")
            if encoding == "utf-8-sig":
                binary.read(len(codecs.BOM_UTF8))
            self._blocks = self._whole_lines(binary.read)
        else:
            text = self._file = path.open(encoding=encoding, newline="")
            self._blocks = self._whole_lines(lambda size: text.read(size).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def next(self) -> bytes:
        """The next block; empty at the end of the file."""
        return next(self._blocks, b"")

    def _whole_lines(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        waiting: list[bytes] = []  # the beginning of a line
        while part := read(self.size):
            end = part.rfind(b"\n") + 1
            if not end and (b"\r" in part or (waiting and waiting[-1].endswith(b"\r"))):
                part, waiting = b"".join([*waiting, part]), []
                end = part.rfind(b"\r", 0, -1) + 1  # behind the very last one may come a line feed
            if end:
                yield b"".join([*waiting, part[:end]])
                waiting = []
            if end < len(part):
                waiting.append(part[end:])
        if waiting:
            yield b"".join(waiting)


def lines_of(block: bytes) -> list[str]:
    """Its lines with their ends: LF, CR or CRLF, and nothing else ends a line."""
    return list(io.StringIO(block.decode(), newline=""))
