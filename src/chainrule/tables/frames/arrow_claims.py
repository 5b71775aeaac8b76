"""How much an Arrow file (.arrow, .feather) claims to hold, read from its messages before anything is decompressed.

A compressed buffer begins with its decompressed size, and a column of nulls or of runs has rows without any bytes;
pyarrow trusts both. So the few numbers that decide how much memory it asks for are read here. Format: Arrow columnar
format, "Serialization and Interprocess Communication"; Message.fbs and File.fbs, as FlatBuffers.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from chainrule.errors import DataError

MAGIC = b"ARROW1"
CONTINUATION = b"\xff\xff\xff\xff"  # before the length of a message; files from before 2019 lack it
MAX_MESSAGE = 1 << 28  # bytes of the metadata of a message, or of the footer of a file
MAX_ROWS, MAX_ROWS_PER_BYTE = 1 << 20, 1000  # that a file may claim; 100 million equal rows are 260 kB of Parquet
MAX_COMPRESSION = 1 << 16  # bytes that zstd decompresses one byte to; LZ4 has less
DICTIONARY, RECORDS = 2, 3  # kinds of messages that have buffers
HEADER_TYPE, HEADER = 1, 2  # fields of a message, by number
LENGTH, BUFFERS, COMPRESSION = 0, 2, 3  # of a record batch
DATA = 1  # of a dictionary, a record batch
BLOCKS = (2, 3)  # of the footer: where dictionaries and record batches lie


class Claims(NamedTuple):
    """The number of rows, and the decompressed bytes of the largest buffer."""

    rows: int
    largest: int


def read_claims(file: BinaryIO, source: str) -> Claims:
    """The claims of the file; DataError if they are inconsistent."""
    rows = largest = total = 0
    try:
        size = file.seek(0, os.SEEK_END)
        for message, body in _messages(file, size):
            total += len(message)
            if total > size:
                raise ValueError("messages that overlap")
            batch, has_rows = _batch(message)
            if batch is None:
                continue
            rows += batch.number("<q", LENGTH) if has_rows else 0
            largest = max(largest, *_sizes(file, size, batch, body), 0)
    except (struct.error, IndexError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise DataError(f"{source} is no valid {Path(source).suffix} file: its messages are damaged") from error
    check_rows(rows, size, source)
    return Claims(rows, largest)


def check_rows(rows: int, size: int, source: str) -> None:
    """DataError if a file of ``size`` bytes claims more rows than such a file can hold."""
    if not 0 <= rows <= MAX_ROWS + MAX_ROWS_PER_BYTE * size:
        raise DataError(f"{source} is no valid {Path(source).suffix} file: it claims {rows:,} rows in {size:,} bytes")


class Fields:
    """A FlatBuffers table within ``data``: fields by number, located by the table's own directory."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._directory = at - _read(data, "<i", at)

    def place(self, field: int) -> int | None:
        """The position of the field; None if it has its default."""
        entry = 4 + 2 * field
        if entry >= _read(self._data, "<H", self._directory):
            return None
        offset = _read(self._data, "<H", self._directory + entry)
        return self._at + offset if offset else None

    def number(self, kind: str, field: int) -> int:
        """A number, 0 by default."""
        place = self.place(field)
        return 0 if place is None else _read(self._data, kind, place)

    def table(self, field: int) -> Fields | None:
        """A table within the table."""
        place = self.place(field)
        return None if place is None else Fields(self._data, place + _read(self._data, "<I", place))

    def structs(self, kind: str, field: int) -> Iterator[tuple[Any, ...]]:
        """A list of structs."""
        place = self.place(field)
        if place is None:
            return
        start = place + _read(self._data, "<I", place)
        count, size = _read(self._data, "<I", start), struct.calcsize(kind)
        yield from struct.iter_unpack(kind, self._data[start + 4 : start + 4 + count * size])


def _read(data: bytes, kind: str, at: int) -> int:
    if at < 0:
        raise ValueError("an offset before the beginning")
    found: int = struct.unpack_from(kind, data, at)[0]
    return found


def _batch(message: bytes) -> tuple[Fields | None, bool]:
    """The record batch in a message, None for a schema; and whether its rows are rows of the table."""
    fields = Fields(message, _read(message, "<I", 0))
    kind, header = fields.number("<B", HEADER_TYPE), fields.table(HEADER)
    if header is None or kind not in {DICTIONARY, RECORDS}:
        return None, False
    return (header, True) if kind == RECORDS else (header.table(DATA), False)


def _sizes(file: BinaryIO, size: int, batch: Fields, body: int) -> Iterator[int]:
    """The decompressed bytes of each buffer."""
    compressed = batch.place(COMPRESSION) is not None
    for offset, length in batch.structs("<qq", BUFFERS):
        if not 0 <= length <= size:
            raise ValueError("a buffer longer than the file")
        if not compressed or length < 8:
            yield length
            continue
        file.seek(body + offset)
        unpacked = struct.unpack("<q", file.read(8))[0]
        if unpacked > MAX_COMPRESSION * length:
            raise ValueError("a buffer that claims more than compression can do")
        yield length if unpacked < 0 else unpacked  # -1: this one is not compressed


def _messages(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Each message, and the position of its buffers."""
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        yield from _stream_messages(file, size)
        return
    file.seek(size - len(MAGIC) - 4)
    length = struct.unpack("<i", file.read(4))[0]
    file.seek(size - len(MAGIC) - 4 - length)
    end = file.read(length)
    footer = Fields(end, _read(end, "<I", 0))
    for field in BLOCKS:
        for start, length, _ in footer.structs("<qi4xq", field):
            file.seek(start)
            message = _message(file)
            yield message, start + length


def _stream_messages(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    at = 0
    while at < size:
        file.seek(at)
        message = _message(file)
        if not message:
            return
        body = file.tell()
        yield message, body
        length = Fields(message, _read(message, "<I", 0)).number("<q", 3)
        if length < 0:
            raise ValueError("a message of a negative length")
        at = body + length


def _message(file: BinaryIO) -> bytes:
    start = file.read(4)
    if start == CONTINUATION:
        start = file.read(4)
    length = struct.unpack("<i", start)[0]
    if not 0 <= length <= MAX_MESSAGE:
        raise ValueError("a message that is too long")
    return file.read(length)
