"""Labels exactly as given: none rounded or merged on the way from a list, a Series or a frame to class numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.sparse import issparse

from chainrule.errors import DataError
from chainrule.nn.columns.notation import NOTHING
from chainrule.tables.frames.foreign_columns import WIDE

ONE_KIND = "write all of them as text: y.astype(str)"
SURROGATE = re.compile("[\ud800-\udfff]")
LONGEST = 200  # characters: NumPy gives every row of a text array the width of the longest, an object eight bytes
AS_NUMBERS = "write dates as numbers, or as text if they are labels"


def exact_targets(y: Any) -> Any:
    """Targets as an array that holds them exactly; what scikit-learn refuses is returned as it is.

    scikit-learn makes float64 of pandas' nullable whole numbers and booleans, and NumPy of whole numbers of both signs
    that no 64 bits hold together: large labels would merge, and True would be 1.0. A sparse indicator becomes a dense
    one.
    """
    if issparse(y):
        return y.toarray()
    if isinstance(y, list | tuple):
        found = _array(y)
        return y if found is None else _native(found)
    dtype = getattr(y, "dtype", None)
    if hasattr(y, "to_numpy") and not isinstance(dtype, np.dtype):
        return _of_frame(y)
    return _native(y) if isinstance(y, np.ndarray) else y


def _array(values: list[Any] | tuple[Any, ...]) -> np.ndarray | None:
    if any(isinstance(value, str) and len(value) > LONGEST for value in values):
        return np.fromiter(values, object, len(values))
    try:
        found = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        return None
    whole = found.dtype.kind == "f" and all(isinstance(v, int | np.integer) for v in values)
    mixed = found.dtype.kind in "SU" and not all(isinstance(v, str) for v in values)  # NumPy: all of it as text
    if found.ndim == 1 and (whole or mixed):
        return np.fromiter(values, object, len(values))
    return found


def _of_frame(y: Any) -> Any:
    """Of a Series or DataFrame with dtypes of its own."""
    if hasattr(y, "columns") and hasattr(y, "iloc"):  # pandas
        if all(isinstance(dtype, np.dtype) for dtype in y.dtypes):
            return y
        columns = [_of_frame(y.iloc[:, j]) for j in range(y.shape[1])]
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    if hasattr(y, "to_pylist"):
        return _native(np.asarray(y.to_numpy(zero_copy_only=False)))
    if WIDE in str(getattr(y, "dtype", "")):
        return _native(np.fromiter(y.to_list(), object, len(y)))
    return _native(np.asarray(y.to_numpy()))


def _native(values: np.ndarray) -> Any:
    """Objects that are all whole numbers or all truths as an array of these; Python's own text as objects."""
    if values.dtype.kind == "T":
        return values.astype(object)
    if values.dtype.kind in "mM":  # of Polars, Arrow or a categorical: NumPy's own are refused before
        raise DataError(f"expected labels or numbers, got y of dtype {values.dtype}", hint=AS_NUMBERS)
    if values.dtype.kind != "O" or values.ndim != 1 or not len(values):
        return values
    listed = values.tolist()
    row = next((i for i, value in enumerate(listed) if _is_nothing(value)), None)
    if row is not None:
        raise DataError(f"Input y contains NaN or another missing value: the first is at row {row}")
    for kinds in ((bool, np.bool_), (int, np.integer)):
        if all(isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)) for value in listed):
            found = np.asarray(listed)
            if found.dtype.kind == "f" and min(listed) >= 0 and max(listed) < 2**64:  # NumPy: int64 beside uint64
                found = np.asarray(listed, np.uint64)
            return found if found.dtype.kind in "biu" else values
    return values


def _is_nothing(value: Any) -> bool:
    return not isinstance(value, str) and str(value) in {"nan", *NOTHING}


def refuse_no_labels(y: Any, name: str = "y") -> None:
    """DataError for objects that cannot be labels, with the row; scikit-learn would call them an unknown type.

    Whole numbers that no array of 64 bits holds together are none, nor are text beside numbers, half a surrogate pair,
    which no file can hold, decimals, lists or dates. Fractions are left to scikit-learn's own words.
    """
    if not (isinstance(y, np.ndarray) and y.dtype.kind in "OU" and y.ndim == 1 and len(y)):
        return
    listed = y.tolist()
    for row, label in enumerate(listed):
        if isinstance(label, int) and not -(2**63) <= label < 2**63:
            raise DataError(f"expected labels of at most 64 bits, got {label} at row {row} of {name}", hint=ONE_KIND)
        if not isinstance(label, str | int | float | np.generic | bytes):
            kind = type(label).__name__
            raise DataError(f"expected labels that are text, whole numbers or bool, got {kind} at row {row} of {name}")
        if isinstance(label, str) != isinstance(listed[0], str):
            pair = f"{listed[0]!r:.60} at row 0 and {label!r:.60} at row {row} of {name}"
            raise DataError(f"expected labels of one type, got {pair}", hint=ONE_KIND)
        if isinstance(label, str) and not label.isascii() and SURROGATE.search(label):
            raise DataError(f"expected labels of Unicode characters, got half a surrogate pair at row {row} of {name}")


def numbers_of(labels: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) the number of each label of ``y`` among ``labels``, -1 for one that is none of them.

    By Python's equality, which is exact whatever the types: NumPy compares uint64 with int64 as float64, and numbers
    with text as text.
    """
    number = {label: i for i, label in enumerate(labels.tolist())}
    different, inverse = np.unique(y, return_inverse=True)
    codes = np.array([number.get(label, -1) for label in different.tolist()], np.int64)
    found: np.ndarray = codes[inverse.reshape(-1)]
    return found


def is_one_of_kind(label: Any, labels: Iterable[Any]) -> bool:
    """Whether a label could be one of these: text among text, a number among numbers."""
    return any(isinstance(label, str) == isinstance(other, str) for other in labels)
