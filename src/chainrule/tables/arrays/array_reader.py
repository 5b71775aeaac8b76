"""Tables from NumPy's own files, .npy and .npz: nothing in them is executed, and no header is trusted.

A header is checked against the size of the file before memory is allocated, so that a header of 8 TiB costs nothing.
"""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import ChainruleError, DataError, OptionError, first_line
from chainrule.host_memory import require_free_memory
from chainrule.nn.columns.column_data import TableColumns
from chainrule.nn.columns.notation import MISSING
from chainrule.options import suggest
from chainrule.plain_text import show
from chainrule.tables.arrays.npy_format import Header, read_array
from chainrule.tables.arrays.npz_archive import check_directory, header_of, list_arrays, read_member
from chainrule.tables.arrays.split_without_copy import without_column
from chainrule.tables.choose_columns import check_width, find_position, refuse_very_many, show_names
from chainrule.tables.selection import Selection
from chainrule.tables.table import Table
from chainrule.tables.text.infer_target import LONGEST_CLASS_NAME
from chainrule.tables.text.parsing import BOOLEAN_NAMES, cell_kind
from chainrule.tables.text.refusals import NO_DATES, NO_TARGET
from chainrule.tables.text_arrays import TEXT, take_texts, unique_with_codes

if TYPE_CHECKING:
    import zipfile

PART = 1 << 20  # numbers checked at a time, so that temporaries stay small


def read_npy(path: Path, selection: Selection) -> Table:
    """The table of one (n, d) matrix, of which one column may be the target.

    Raises
    ------
    DataError     if the file is damaged or holds anything but real numbers in two axes, finite or nan if missing.
    OptionError   if the target column is needed and not given, or is no position of a column.
    """
    source, target = str(path), selection.target
    with path.open("rb") as file:
        matrix = read_array(file, os.fstat(file.fileno()).st_size, source)
    holes = _check_features(matrix, source)
    width = matrix.shape[1]
    position = find_position(target, width) if target else None
    if position is None and selection.need_target:
        raise OptionError(
            f"{source}: expected a target from 0 to {width - 1}, got {show(target) if target else 'none'}",
            hint="give the position of the target column; -1 is the last",
        )
    y = None
    if position is not None:
        y = matrix[:, position].copy()
        _check_values(y, source, column=position)
        if width == 1:
            raise DataError(f"{source} has no column besides the target")
        matrix = without_column(matrix, position)
    return _table(matrix, y, "", source, source, selection, holes=holes)


def read_npz(path: Path, selection: Selection) -> Table:
    """The table of the array "X", or of the only array besides the target; the target is "y" if no name is given.

    Raises
    ------
    DataError     if the file is damaged, an array is not what it should be, or the lengths differ.
    OptionError   if a target is needed and there is no array of its name; lists the arrays.
    """
    source, y_name = str(path), selection.target or "y"
    import zipfile  # slow to import

    try:
        with path.open("rb") as file:
            check_directory(file, source)
            with zipfile.ZipFile(file) as archive:
                members = list_arrays(archive, path)
                if y_name not in members and selection.need_target:
                    raise OptionError(
                        f"{source} has no array {show(y_name)}; its arrays are {show_names(list(members))}",
                        hint=suggest(y_name, list(members)),
                    )
                x_name = _choose_features(list(members), y_name, source)
                where, y_where = (f"{source}, array {show(name)}" for name in (x_name, y_name))
                X, y = _read_pair(archive, members[x_name], members.get(y_name), where, y_where)
    except (ChainruleError, MemoryError):
        raise
    except Exception as error:  # zipfile and zlib raise several kinds
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which a position before the file's start gives
            raise
        raise DataError(f"{source} is no valid .npz file: {first_line(error)[:120]}") from error
    holes = _check_features(X, where)
    if y is not None:
        _check_target(y, y_where, selection.classes)
    return _table(X, y, "" if y is None else y_name, source, where, selection, holes=holes)


def _read_pair(
    archive: zipfile.ZipFile, x: zipfile.ZipInfo, y: zipfile.ZipInfo | None, where: str, y_where: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Features and target, once their headers fit each other and the free memory."""
    x_header = header_of(archive, x, where)
    _check_shape(x_header.shape, where)
    n_bytes = x_header.nbytes
    if y is not None:
        y_header = header_of(archive, y, y_where, text=True)
        _check_target_shape(y_header, x_header.shape[0], y_where)
        n_bytes += y_header.nbytes
    require_free_memory(n_bytes, doing=f"reading {archive.filename}")
    X = read_member(archive, x, where)
    return X, None if y is None else read_member(archive, y, y_where, text=True)


def _choose_features(names: list[str], y_name: str, source: str) -> str:
    others = [name for name in names if name != y_name]
    if "X" in others:
        return "X"
    if len(others) != 1:
        raise DataError(
            f"{source}: expected features called 'X', got the arrays {show_names(names)}"
            if names
            else f"{source} holds no arrays",
            hint="call the features X and the target y",
        )
    return others[0]


def _table(
    X: np.ndarray, y: np.ndarray | None, y_name: str, source: str, where: str, selection: Selection, *, holes: bool
) -> Table:
    """The matrix unchanged, or with holes its columns, which are called x0, x1, ... without ``feature_names``."""
    names = selection.feature_names
    check_width(where, X.shape[1], names)
    if y is not None and y.dtype.kind == "b":  # one column: classes, as in a text file; several: numbers
        y = take_texts(BOOLEAN_NAMES, y.view(np.uint8)) if y.ndim == 1 else y.view(np.uint8)
    if X.dtype.kind == "b":
        X = X.view(np.uint8)
    if not holes:
        return Table(TableColumns({}), X, (), y, y_name, source)
    texts = [name for name in names if selection.kind(name) == "category"]
    if texts:
        raise DataError(f"{where}: expected a table with the text column {show(texts[0])}, got an array without names")
    refuse_very_many(where, X.shape[1])
    names = names or tuple(f"x{j}" for j in range(X.shape[1]))
    with np.errstate(invalid="ignore"):  # signalling nans
        columns = {name: np.ascontiguousarray(X[:, j], np.float64) for j, name in enumerate(names)}
    return Table(TableColumns(columns), None, names, y, y_name, source)


# ---- checks of shapes and values --------------------------------------------------------------------


def _check_features(X: np.ndarray, where: str) -> bool:
    """Whether there are holes; DataError for anything but an (n, d) array without infinities."""
    _check_shape(X.shape, where)
    return _check_values(X, where, holes=True)


def _check_shape(shape: tuple[int, ...], where: str) -> None:
    if len(shape) != 2:
        hint = "one column still needs two axes: X[:, None]" if len(shape) == 1 else ""
        raise DataError(f"{where}: expected shape (n, d), got {shape}", hint=hint)
    if not math.prod(shape):
        raise DataError(f"{where}: expected rows and columns, got shape {shape}")


def _check_target_shape(header: Header, n: int, where: str) -> None:
    shape, text = header.shape, header.dtype.kind == "U"
    if len(shape) not in {1, 2} or (len(shape) == 2 and (text or not shape[1])):
        raise DataError(f"{where}: expected shape (n,){' or (n, k)' * (not text)}, got {shape}")
    if shape[0] != n:
        raise DataError(f"{where}: expected {n} rows as in the features, got {shape[0]}")


def _check_target(y: np.ndarray, where: str, classes: frozenset[str]) -> None:
    if y.dtype != TEXT:
        _check_values(y, where)
        return
    names, codes = unique_with_codes(y)
    holes = MISSING - classes
    for bad, expected, hint in (
        ([name in holes for name in names], "a class", NO_TARGET),
        (
            [len(name) > LONGEST_CLASS_NAME for name in names],
            f"a class name of at most {LONGEST_CLASS_NAME} characters",
            "",
        ),
        ([all(cell_kind(name) == "date" for name in names)] * len(names), "a class, and no date", NO_DATES),
    ):
        if any(bad):
            row = int(np.array(bad)[codes].argmax())
            given = show(y[row]) if y[row] else "empty text"
            raise DataError(f"{where}, row {row} (from 0): expected {expected}, got {given}", hint=hint)


def _check_values(array: np.ndarray, where: str, *, holes: bool = False, column: int | None = None) -> bool:
    """Whether there are nans; DataError for the first number that is not finite, by row and column.

    With ``holes`` nan is accepted. ``column`` is the position of (n,) numbers in their matrix.
    """
    found = False
    if array.dtype.kind != "f":
        return found
    flat = array.reshape(-1)
    for start in range(0, len(flat), PART):
        part = flat[start : start + PART]
        if np.isfinite(part).all():
            continue
        bad = np.isinf(part) if holes else ~np.isfinite(part)
        if bad.any():
            at = [int(i) for i in np.unravel_index(start + int(bad.argmax()), array.shape)]
            value, at = array[tuple(at)], [*at, *([] if column is None else [column])]
            position = ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column"), at, strict=False))
            wanted = "a finite number, or nan for a hole" if holes else "a finite number"
            raise DataError(f"{where}, {position} (from 0): expected {wanted}, got {value}")
        found = True
    return found
