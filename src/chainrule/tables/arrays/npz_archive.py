"""The arrays of a ``.npz`` archive by name; the claims of its directory are checked before anything is unpacked."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from chainrule.errors import DataError
from chainrule.plain_text import show
from chainrule.tables.arrays.npy_format import HEAD, Header, read_array, read_header

if TYPE_CHECKING:
    import zipfile

END, END_SIZE, LONGEST_COMMENT = b"PK\5\6", 22, (1 << 16) - 1
END_64, END_64_SIZE, LOCATOR, LOCATOR_SIZE = b"PK\6\6", 56, b"PK\6\7", 20
MAX_DIRECTORY = 1 << 20  # bytes: ten thousand names, each of which becomes Python objects
PACKINGS = (0, 8)  # stored and deflated, the two that NumPy writes
DEFLATE_RATIO = 1032  # the best that deflate can do: a directory that claims more is wrong
MAX_RATIO = 1000  # of a member over 1 GiB: real data hardly compresses better, a zip bomb does
MAX_UNBOUNDED = 1 << 30


def check_directory(file: BinaryIO, source: str) -> None:
    """DataError if the file does not end as a zip archive does, or its directory is too long."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END_SIZE - LONGEST_COMMENT))
    tail = file.read()
    at = tail.rfind(END)
    if at < 0 or at + END_SIZE > len(tail):
        raise DataError(f"{source} is no valid .npz file: it does not end as a zip archive does")
    length, _, comment = struct.unpack_from("<LLH", tail, at + 12)
    if at + END_SIZE + comment != len(tail):
        raise DataError(f"{source} has bytes after its end, or is damaged")
    end = len(tail) - END_SIZE - comment
    if tail[end - LOCATOR_SIZE : end].startswith(LOCATOR):  # an archive over 4 GiB
        file.seek(max(0, size - (len(tail) - end) - LOCATOR_SIZE - END_64_SIZE))
        record = file.read(END_64_SIZE)
        if record.startswith(END_64) and len(record) == END_64_SIZE:
            length = struct.unpack_from("<Q", record, 40)[0]
    if length > MAX_DIRECTORY:
        raise DataError(f"{source}: expected a directory of at most {MAX_DIRECTORY:,} bytes, got {length:,}")
    file.seek(0)


def list_arrays(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members that are arrays, by name without ".npy"; no file is ever written under these names."""
    size, members = path.stat().st_size, dict[str, "zipfile.ZipInfo"]()
    names: set[str] = set()
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in names:
            raise DataError(f"{path} holds several arrays called {show(name)}")
        names.add(name)
        if name != info.filename:
            members[name] = info
            _check_packing(info, size, f"{path}, array {show(name)}")
    return members


def _check_packing(info: zipfile.ZipInfo, size: int, where: str) -> None:
    if info.flag_bits & 1:
        raise DataError(f"{where}: expected a plain array, got an encrypted one", hint="save it without a password")
    if info.compress_type not in PACKINGS:
        raise DataError(
            f"{where}: expected compression 0 (stored) or 8 (deflate), got {info.compress_type}",
            hint="save it with np.savez or np.savez_compressed",
        )
    packed = max(min(info.compress_size, size), 1)
    most = MAX_RATIO if info.file_size > MAX_UNBOUNDED else DEFLATE_RATIO if info.compress_type else 1
    if info.file_size > most * packed:
        raise DataError(
            f"{where}: expected at most {most} times its {packed:,} compressed bytes, got {info.file_size:,}"
        )


def header_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, *, text: bool = False) -> Header:
    """The header of one member; only the beginning of it is unpacked."""
    with archive.open(info) as stream:
        return read_header(stream.read(HEAD), info.file_size, where, text=text)


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, *, text: bool = False) -> np.ndarray:
    """The array of one member."""
    with archive.open(info) as stream:
        return read_array(stream, info.file_size, where, text=text)  # type: ignore[arg-type]
