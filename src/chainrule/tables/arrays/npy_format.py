"""One array of a ``.npy`` stream. Its header is bounded, and compared with the size of the stream.

``numpy.lib.format`` evaluates the header with Python's parser. Of 30,000 damaged headers some made it raise each of
seven kinds of exceptions (RecursionError and MemoryError among them), others made it warn the host process. Here a
regular expression matches the three entries that a header has, and nothing else is accepted. Format:
numpy.lib.format, versions 1 and 2.
"""

from __future__ import annotations

import math
import re
import struct
from typing import BinaryIO, NamedTuple

import numpy as np

from chainrule.errors import DataError
from chainrule.host_memory import require_free_memory
from chainrule.plain_text import show
from chainrule.tables.text.infer_target import first_rounded
from chainrule.tables.text_arrays import TEXT

MAGIC = b"\x93NUMPY"
LENGTH_FORMATS = {(1, 0): "<H", (2, 0): "<I"}  # by version, of the length of the header
HEAD = 1 << 14  # bytes read first: more than any valid header has
MAX_HEADER = 10_000  # bytes, NumPy's own bound
MAX_AXES = 64  # also NumPy's
MAX_NUMBERS = 1 << 48  # more than any memory has
LAST_CHARACTER = 0x10FFFF
CHARACTERS_AT_ONCE = 1 << 20  # of text, four bytes each, while it becomes objects

# Names of dtypes of numbers, text and times; other names are quoted in an error and never passed to np.dtype.
_DTYPE = re.compile(r"[<>|=]?[biufcmMSU]\d{1,4}(?:\[\w{1,20}\])?", re.ASCII)
_TEXT = re.compile(r"[<>|=]?U\d{1,7}", re.ASCII)
_ENTRY = re.compile(
    r"""\s*(['"])(?P<key>\w{1,20})\1\s*:\s*(?:(['"])(?P<text>[^'"\\]{0,99})\3|(?P<bool>True|False)
    |\((?P<shape>[-\d\s,L]*)\)|(?P<other>[\[({]))""",
    re.ASCII | re.VERBOSE,
)
_AXIS = re.compile(r"-?\d{1,20}L?", re.ASCII)
KINDS = {"O": "Python objects, which are never loaded", "V": "a structured array", "S": "bytes", "U": "text"}


class Header(NamedTuple):
    """What a header claims about its array; ``end`` is the position of the first byte of data."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    end: int

    @property
    def nbytes(self) -> int:
        """The size of the data."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_array(stream: BinaryIO, size: int, where: str, *, text: bool = False) -> np.ndarray:
    """The array in a ``stream`` of ``size`` bytes, in native byte order and C order, in memory of its own.

    Long double becomes float64. Text (only if ``text`` is set) becomes stripped str objects, equal ones shared.

    Raises
    ------
    DataError          naming ``where``, if the stream is damaged, longer or shorter than its header says, or holds no
        real numbers.
    OutOfMemoryError   if the array is larger than the free memory; nothing has been allocated then.
    """
    head = stream.read(HEAD)
    header = read_header(head, size, where, text=text)
    shape, fortran, dtype, end = header
    n_bytes = header.nbytes
    require_free_memory(n_bytes, doing=f"reading {where}")
    raw = np.empty(n_bytes, np.uint8)
    view, rest = raw.data, head[end:]
    done = min(len(rest), n_bytes)  # an archive may unpack to more than its directory claims
    view[:done] = rest[:done]
    while done < n_bytes and (count := stream.readinto(view[done:])):  # type: ignore[attr-defined]
        done += count
    if done < n_bytes or len(rest) > n_bytes or stream.read(1):  # zipfile checks the CRC at the end
        raise DataError(f"{where}: expected {n_bytes:,} bytes, got {'fewer' if done < n_bytes else 'more'}")
    flat = raw.view(np.uint8 if dtype.kind == "b" else dtype)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return _convert(array, dtype, where)


def read_header(head: bytes, size: int, where: str, *, text: bool = False) -> Header:
    """The header of a stream of ``size`` bytes that begins with ``head``; DataError if it does not fit that size."""
    header = parse_header(head, where, text=text)
    n_bytes, available = header.nbytes, size - header.end
    if n_bytes != available:
        what = "is cut off" if available < n_bytes else "has bytes after its end"
        raise DataError(
            f"{where} {what}: expected {header.shape} of {header.dtype}, {n_bytes:,} bytes, got {available:,}"
        )
    if (
        math.prod(max(axis, 1) for axis in header.shape) >= MAX_NUMBERS
    ):  # a huge axis beside one of 0, which NumPy refuses
        raise DataError(f"{where}: expected rows and columns, got shape {header.shape}")
    return header


def parse_header(head: bytes, where: str, *, text: bool = False) -> Header:
    """The header at the beginning of ``head``; DataError if it is none, or of an array that is not read."""
    begin, end = _bounds_of_header(head, where)
    entries = _entries(head[begin:end].decode("latin-1"))
    if entries is None:
        raise _not_npy(where, "its header is not {'descr': ..., 'fortran_order': ..., 'shape': ...}")
    dtype = _dtype(entries["descr"], where, text=text)
    shape = _shape(entries["shape"]["shape"], where)
    return Header(shape, entries["fortran_order"]["bool"] == "True", dtype, end)


def _not_npy(where: str, reason: str) -> DataError:
    return DataError(f"{where} is no valid .npy array: {reason}")


def _bounds_of_header(head: bytes, where: str) -> tuple[int, int]:
    """Where the text of the header begins and ends; all of it is in ``head``."""
    if not head.startswith(MAGIC) or len(head) < 8:
        raise _not_npy(where, f"expected it to begin with {show(MAGIC)}, got {show(head[:6])}")
    version = head[6], head[7]
    if version not in LENGTH_FORMATS:
        raise DataError(f"{where}: expected npy version 1.0 or 2.0, got {version[0]}.{version[1]}")
    begin = 8 + struct.calcsize(LENGTH_FORMATS[version])
    if len(head) < begin:
        raise _not_npy(where, "its header is cut off")
    end = begin + struct.unpack_from(LENGTH_FORMATS[version], head, 8)[0]
    if end - begin > MAX_HEADER:
        raise _not_npy(where, f"expected a header of at most {MAX_HEADER:,} bytes, got {end - begin:,}")
    if end > len(head):
        raise _not_npy(where, "its header is cut off")
    return begin, end


def _shape(text: str, where: str) -> tuple[int, ...]:
    axes = [axis.strip() for axis in text.split(",")]
    if axes[-1] == "":  # of (), (3,) and (3, 4,); (3) is no tuple
        axes.pop()
    elif len(axes) == 1:
        raise _not_npy(where, "its shape is no tuple")
    if len(axes) > MAX_AXES or not all(_AXIS.fullmatch(axis) for axis in axes):
        raise _not_npy(where, "its shape is no tuple of at most 64 integers")
    shape = tuple(int(axis.rstrip("L")) for axis in axes)  # 3L of Python 2
    if not shape or min(shape) < 0:
        raise DataError(f"{where}: expected rows and columns, got shape {shape}")
    return shape


def _entries(header: str) -> dict[str, dict[str, str]] | None:
    """The values of the three keys, each by the name of its group in _ENTRY; None if this is no such dictionary."""
    header = header.strip()
    if not (header.startswith("{") and header.endswith("}")):
        return None
    at, found = 1, {}
    while match := _ENTRY.match(header, at):
        key = match["key"]
        if key in found:
            return None
        found[key] = {name: value for name, value in match.groupdict().items() if value is not None}
        if key == "descr" and match["other"]:  # a list of fields: refused, whatever it holds
            return {"descr": {"other": ""}, "fortran_order": {"bool": ""}, "shape": {"shape": ""}}
        at = match.end()
        comma = re.compile(r"\s*,").match(header, at)
        if comma is None:
            break
        at = comma.end()
    wanted = {"descr": "text", "fortran_order": "bool", "shape": "shape"}
    whole = not header[at:-1].strip() and found.keys() == wanted.keys()
    return found if whole and all(group in found[key] for key, group in wanted.items()) else None


def _dtype(entry: dict[str, str], where: str, *, text: bool) -> np.dtype:
    descr = entry.get("text")
    given = KINDS["V"]
    if descr is not None:
        kind = descr.lstrip("<>|=")[:1]
        given = KINDS.get(kind, f"dtype {show(descr)}")
        if _DTYPE.fullmatch(descr) or (text and _TEXT.fullmatch(descr)):
            try:
                dtype = np.dtype(descr)
            except (TypeError, ValueError):
                raise DataError(f"{where} is no valid .npy array: there is no dtype {show(descr)}") from None
            if dtype.itemsize and (dtype.kind in "biuf" or (text and dtype.kind == "U")):
                return dtype
            given = KINDS.get(dtype.kind, f"dtype {dtype}")
    raise DataError(f"{where}: expected real numbers{' or str' if text else ''}, got {given}")


def _convert(array: np.ndarray, dtype: np.dtype, where: str) -> np.ndarray:
    """Long double to float64, big-endian to native, Fortran to C order; text is checked and stripped."""
    if dtype.kind == "b":
        return np.ascontiguousarray(np.minimum(array, 1, out=array)).view(np.bool_)
    if dtype.kind == "U":
        return _as_objects(array, where)
    wanted = np.dtype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")
    with np.errstate(over="ignore", invalid="ignore"):  # inf and nan are refused later
        converted = np.ascontiguousarray(array, wanted)
        at = first_rounded(array, converted)
    if at is not None:
        raise DataError(
            f"{where}: expected a whole number that float64 holds, got {array.reshape(-1)[at]} as {dtype}",
            hint="save whole numbers as int64, quantities as float64",
        )
    return converted


def _as_objects(array: np.ndarray, where: str) -> np.ndarray:
    """Stripped str objects, made some rows at a time; each part is first checked to be valid characters."""
    cells, found = array.reshape(-1), np.empty(array.size, TEXT)
    width = array.dtype.itemsize // 4
    step = max(1, CHARACTERS_AT_ONCE // width)
    one: dict[str, str] = {}
    for start in range(0, len(cells), step):
        part = np.ascontiguousarray(cells[start : start + step], array.dtype.newbyteorder("="))
        points = part.view(np.uint32)
        if points.max() > LAST_CHARACTER or ((points >= 0xD800) & (points < 0xE000)).any():
            raise DataError(f"{where}: expected text, got a surrogate or a number beyond Unicode")
        found[start : start + step] = [one.setdefault(text, text) for text in map(str.strip, part.tolist())]
    return found.reshape(array.shape)
