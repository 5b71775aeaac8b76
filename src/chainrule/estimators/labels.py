"""Labels as they came: none rounded, and none merged, on the way from a list, a Series or a frame to class numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.sparse import issparse

from chainrule.errors import DataError
from chainrule.nn.table_columns import NOTHING

ONE_KIND = "write all of them as text: y.astype(str)"


def as_they_came(y: Any) -> Any:
    """Targets as an array that holds them exactly; what scikit-learn refuses as it is.

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
    try:
        found = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        return None
    if found.dtype.kind == "f" and found.ndim == 1 and all(isinstance(v, int | np.integer) for v in values):
        return np.fromiter(values, object, len(values))
    return found


def _of_frame(y: Any) -> Any:
    """Of a Series or DataFrame with dtypes of its own."""
    if hasattr(y, "columns") and hasattr(y, "iloc"):  # pandas
        if all(isinstance(dtype, np.dtype) for dtype in y.dtypes):
            return y
        columns = [_of_frame(y.iloc[:, j]) for j in range(y.shape[1])]
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    try:
        values = np.asarray(y.to_numpy())
    except Exception:  # Polars: whole numbers of 128 bits
        values = np.fromiter(y.to_list(), object, len(y))
    return _native(values)


def _native(values: np.ndarray) -> Any:
    """Objects that are all whole numbers or all truths as an array of these; Python's own text as objects."""
    if values.dtype.kind == "T":
        return values.astype(object)
    if values.dtype.kind != "O" or values.ndim != 1 or not len(values):
        return values
    listed = values.tolist()
    row = next((i for i, value in enumerate(listed) if _is_nothing(value)), None)
    if row is not None:
        raise DataError(f"Input y contains NaN, or what else is no value: the first is at row {row}")
    for kinds in ((bool, np.bool_), (int, np.integer)):
        if all(isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)) for value in listed):
            found = np.asarray(listed)
            return found if found.dtype.kind in "biu" else values
    return values


def _is_nothing(value: Any) -> bool:
    return not isinstance(value, str) and str(value) in {"nan", *NOTHING}


def refuse_large(y: Any) -> None:
    """DataError for whole numbers that no array of 64 bits holds together: scikit-learn would call them unknown."""
    if isinstance(y, np.ndarray) and y.dtype.kind == "O" and y.ndim == 1 and len(y):
        row = next((i for i, v in enumerate(y.tolist()) if isinstance(v, int) and not -(2**63) <= v < 2**63), None)
        if row is not None:
            raise DataError(f"expected labels of at most 64 bits, got {y[row]} at row {row} of y", hint=ONE_KIND)


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
