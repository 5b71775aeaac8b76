"""Tables from NumPy's own files, .npy and .npz: nothing in them is executed, and nothing is believed.

A header is checked against the size of the file before memory is asked for, so that a header of 8 TiB costs nothing.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from chainrule.errors import ChainruleError, DataError, OptionError
from chainrule.tables.columns import check_width, find_position, show, show_names, suggest
from chainrule.tables.selection import Selection
from chainrule.tables.table import Table

if TYPE_CHECKING:
    import zipfile

HEAD = 1 << 14  # bytes; NumPy itself refuses headers over 10,000
MAX_RATIO = 1000  # of a zip member over 1 GiB: real data hardly packs better, a bomb does
MAX_UNBOUNDED = 1 << 30


def read_npy(path: Path, selection: Selection) -> Table:
    """The table of one (n, d) matrix, of which one column may be the target.

    Raises
    ------
    DataError     if the file is damaged or holds anything but finite real numbers in two axes.
    OptionError   if the target column is needed and not said, or is no position of a column.
    """
    source, target = str(path), selection.target
    try:
        with path.open("rb") as file:
            matrix = _read_array(file, os.fstat(file.fileno()).st_size, source)
    except (ChainruleError, OSError, MemoryError):
        raise
    except Exception as error:  # NumPy's header parser raises a dozen kinds
        raise _damaged(source, ".npy", error) from error
    _check_features(matrix, source)
    width = matrix.shape[1]
    position = find_position(target, width) if target else None
    if position is None and selection.need_target:
        came = f"{show(target)} is none of them" if target else "which one is the target was not said"
        raise OptionError(
            f"{source} has columns 0 to {width - 1}: {came}", hint="name the target by its position; -1 is the last"
        )
    y = None
    if position is not None:
        y = matrix[:, position].copy()
        matrix = np.delete(matrix, position, axis=1)
        if not matrix.shape[1]:
            raise DataError(f"{source} has no column besides the target")
    check_width(source, matrix.shape[1], selection.feature_names)
    return Table({}, matrix, (), y, "", source)


def read_npz(path: Path, selection: Selection) -> Table:
    """The table of the array "X", or of the only one besides the target, which is called "y" if not said.

    Raises
    ------
    DataError     if the file is damaged, an array is not what it should be, or the lengths differ.
    OptionError   if there is no array of the target's name and one is needed; lists the arrays.
    """
    source, y_name = str(path), selection.target or "y"
    import zipfile  # not for everyone who imports chainrule

    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = _list_arrays(archive, file, source)
            if y_name not in members and selection.need_target:
                raise OptionError(
                    f"{source} has no array {show(y_name)}; its arrays are {show_names(list(members))}",
                    hint=suggest(y_name, list(members)),
                )
            x_name = _choose_features(list(members), y_name, source)
            X = _read_member(archive, members[x_name], f"{source}, array {show(x_name)}")
            y = None
            if y_name in members:
                y = _read_member(archive, members[y_name], f"{source}, array {show(y_name)}", text=True)
    except (ChainruleError, OSError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib, bz2 and NumPy's header parser raise a dozen kinds
        raise _damaged(source, ".npz", error) from error
    _check_features(X, f"{source}, array {show(x_name)}")
    if y is not None:
        _check_target(y, len(X), f"{source}, array {show(y_name)}")
    check_width(f"{source}, array {show(x_name)}", X.shape[1], selection.feature_names)
    return Table({}, X, (), y, "" if y is None else y_name, source)


def _choose_features(names: list[str], y_name: str, source: str) -> str:
    others = [name for name in names if name != y_name]
    if "X" in others:
        return "X"
    if len(others) != 1:
        raise DataError(
            f"{source}: the arrays {show_names(names)} came, features called 'X' were expected"
            if names else f"{source} holds no arrays",
            hint="call the features X and the target y",
        )  # fmt: skip
    return others[0]


def _list_arrays(archive: zipfile.ZipFile, file: BinaryIO, source: str) -> dict[str, zipfile.ZipInfo]:
    """The members that are arrays, by name without ".npy"; what the directory claims is checked."""
    size = file.seek(-22 - len(archive.comment), os.SEEK_END) + 22 + len(archive.comment)
    if file.read(4) != b"PK\5\6":
        raise DataError(f"{source} has bytes after its end, or is damaged")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise DataError(f"{source} holds several arrays called {show(name)}")
        if name != info.filename:
            members[name] = info
            packed = max(min(info.compress_size, size), 1)
            if info.file_size > MAX_UNBOUNDED and info.file_size > MAX_RATIO * packed:
                raise DataError(
                    f"{source}, array {show(name)}: {info.file_size:,} bytes out of {packed:,} came, "
                    f"at most {MAX_RATIO} times as many were expected"
                )
    return members


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, *, text: bool = False) -> np.ndarray:
    with archive.open(info) as stream:
        return _read_array(stream, info.file_size, where, text=text)  # type: ignore[arg-type]


def _read_array(stream: BinaryIO, size: int, where: str, *, text: bool = False) -> np.ndarray:
    """The array in ``stream``, which is ``size`` bytes long: native byte order, C order, memory of its own."""
    head = stream.read(HEAD)
    parser = io.BytesIO(head)
    version = np.lib.format.read_magic(parser)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise DataError(f"{where}: npy version {version[0]}.{version[1]} came, 1.0 or 2.0 was expected")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header written by Python 2 is read all the same
        shape, fortran, dtype = readers[version](parser)
    _check_dtype(dtype, where, text=text)
    if not shape or min(shape) < 0:
        raise DataError(f"{where}: shape {shape} came, rows were expected")
    n_bytes = math.prod(shape) * dtype.itemsize
    there = size - parser.tell()
    if n_bytes != there:
        what = "is cut off" if there < n_bytes else "has bytes after its end"
        raise DataError(f"{where} {what}: {shape} of {dtype} is {n_bytes:,} bytes, {there:,} came")
    raw = np.empty(n_bytes, np.uint8)
    view, rest = raw.data, head[parser.tell() :]
    view[: len(rest)] = rest
    done = len(rest)
    while done < n_bytes and (count := stream.readinto(view[done:])):  # type: ignore[attr-defined]
        done += count
    if done < n_bytes or stream.read(1):  # reading past the end is also what makes zipfile check the CRC
        raise DataError(f"{where}: {n_bytes:,} bytes were expected, {'fewer' if done < n_bytes else 'more'} came")
    flat = raw.view(np.uint8 if dtype.kind == "b" else dtype)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return _convert(array, dtype)


def _check_dtype(dtype: np.dtype, where: str, *, text: bool) -> None:
    if dtype.kind in "biuf" or (text and dtype.kind == "U"):
        return
    kinds = {"O": "Python objects, which are never loaded", "V": "a structured array", "S": "bytes", "U": "text"}
    came = kinds.get(dtype.kind, f"dtype {dtype}")
    raise DataError(f"{where}: {came} came, real numbers{' or str' if text else ''} were expected")


def _convert(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Bool to uint8, long double to float64, big-endian to native, Fortran to C order; str is stripped."""
    if dtype.kind == "U":
        cells = [cell.strip() for cell in array.ravel().tolist()]
        "".join(cells).encode()  # half a surrogate pair could not be written anywhere
        return np.array(cells, np.str_).reshape(array.shape)
    if dtype.kind == "b":
        return np.ascontiguousarray(np.minimum(array, 1))
    wanted = np.dtype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # it becomes inf, which is refused with its row and column
        return np.ascontiguousarray(array, wanted)


def _check_features(X: np.ndarray, where: str) -> None:
    if X.ndim != 2:
        hint = "one column still needs two axes: X[:, None]" if X.ndim == 1 else ""
        raise DataError(f"{where}: shape {X.shape} came, (n, d) was expected", hint=hint)
    if not X.size:
        raise DataError(f"{where}: shape {X.shape} came, rows and columns were expected")
    _check_finite(X, where)


def _check_target(y: np.ndarray, n: int, where: str) -> None:
    if y.ndim not in {1, 2} or (y.ndim == 2 and (y.dtype.kind == "U" or not y.shape[1])):
        raise DataError(f"{where}: shape {y.shape} came, (n,){' or (n, k)' * (y.dtype.kind != 'U')} was expected")
    if len(y) != n:
        raise DataError(f"{where}: {len(y)} rows came, {n} were expected as in the features")
    if y.dtype.kind == "U":
        if (y == "").any():
            raise DataError(f"{where}, row {int((y == '').argmax())} (from 0): empty text came, a class was expected")
    else:
        _check_finite(y, where)


def _check_finite(array: np.ndarray, where: str) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        at = np.unravel_index(int(bad.argmax()), array.shape)
        position = ", ".join(f"{axis} {int(i)}" for axis, i in zip(("row", "column"), at, strict=False))
        raise DataError(f"{where}, {position} (from 0): {array[at]} came, a finite number was expected")


def _damaged(source: str, what: str, error: Exception) -> DataError:
    first = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
    return DataError(f"{source} is no valid {what} file: {first}")
