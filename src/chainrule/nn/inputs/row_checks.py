"""What rows are checked for before they go to a device, and the messages of those that are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import DataError, ShapeError
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.losses.base import refuse_if
from chainrule.nn.losses.names import Loss, refuse_standardized

PLAIN = (np.dtype(np.float64), np.dtype(np.float32))  # in this machine's order of bytes


def targets_and_weights(
    backend: Backend,
    y: Any,
    sample_weight: Any,
    n: int,
    *,
    dtype: np.dtype,
    loss: Loss,
    targets: Standardization | None,
    members: int = 1,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Targets in the form that the loss takes and weights, of ``n`` rows, in ``dtype``, checked, on the host.

    Weights are (n,), or (members, n) if those of an ensemble have their own.
    """
    y_host = on_host(backend, y, "y")
    if len(y_host) != n:
        raise ShapeError(f"expected X and y with the same number of rows, got {n} and {len(y_host)}")
    checked = loss.check_targets(y_host)
    if targets is not None:
        refuse_standardized(loss)
        checked = targets.of_targets(checked)
    if checked.dtype.kind != "i" or loss.task != "classify":
        checked = _as_dtype(checked, dtype, "a target")
    if sample_weight is None:
        return checked, None
    weights = on_host(backend, sample_weight, "sample_weight")
    if weights.ndim == 2 and len(weights) == members > 1:
        return checked, np.stack([_kernel_weights(of_member, n, loss, dtype) for of_member in weights])
    return checked, _kernel_weights(weights, n, loss, dtype)


def _kernel_weights(weights: np.ndarray, n: int, loss: Loss, dtype: np.dtype) -> np.ndarray:
    """(n,) weights, checked, as the kernels take them."""
    weights = check_weights(weights, n)
    # A sum depends on the weights themselves, a mean on their ratios alone.
    return _as_dtype(relative_weights(weights) if loss.mean else weights, dtype, "a weight")


def _as_dtype(values: np.ndarray, dtype: np.dtype, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        converted = values.astype(dtype, copy=False)
    refuse_if(~np.isfinite(converted), values, what, f"a number that fits {dtype}")
    return converted


def refuse_masked(values: Any, name: str = "X") -> None:
    """DataError for a masked array."""
    if isinstance(values, np.ma.MaskedArray):
        raise DataError(
            f"{name}: expected a plain array, got a masked one, whose masked values would silently be used",
            hint="fill or drop them first",
        )


def refuse_ragged(values: Any, name: str = "X") -> None:
    """DataError for a list of rows that differ in length."""
    if not isinstance(values, list | tuple) or not all(isinstance(row, Sized) for row in values):
        return
    lengths = [len(row) for row in values]
    other = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
    if other is not None:
        raise DataError(
            f"{name}: expected rows of one length, got rows of {lengths[0]} and {lengths[other]} numbers (row {other})"
        )


def is_plain(X: Any, n_in: int | None) -> bool:
    """Whether X is a plain array (n, n_in) of float64 or float32, n above 0; not whether they are finite."""
    return type(X) is np.ndarray and X.dtype in PLAIN and X.ndim == 2 and X.shape[1] == n_in and len(X) > 0


def check_features(raw: Array, n_in: int, dtype: np.dtype) -> None:
    """DataError or ShapeError unless these are numbers of shape (n, n_in) with n > 0; not whether they are finite."""
    if raw.dtype.kind not in "biufc" or (raw.dtype.kind == "c" and dtype.kind != "c"):
        raise DataError(f"expected real numbers, got X of dtype {raw.dtype}", hint=_object_hint(raw))
    if raw.ndim != 2 or raw.shape[1] != n_in:
        hint = "one row still needs two axes: X[None, :]" if raw.ndim == 1 and raw.shape[0] == n_in else ""
        raise ShapeError(f"expected X of shape (n, {n_in}), got {raw.shape}", hint=hint)
    if not len(raw):
        raise DataError("X: expected at least one row, got none")


def refuse_bad_codes(
    columns: Mapping[int, np.ndarray], codes: Mapping[int, int], *, numbers: np.ndarray | None = None
) -> None:
    """DataError for the first row in which a column of X holds no whole number from 0 to below its ``codes``.

    Parameters
    ----------
    columns : {column: (n,)}, on the host
    codes : {column: how many codes it may hold}
    numbers : (n,) the numbers of the rows in the table, if they are not 0, 1, ...
    """
    found: list[tuple[int, int, Any]] = []
    for column, values in columns.items():
        real = values.real
        bad = ~((real >= 0) & (real < codes[column]) & (real == np.floor(real)))
        if bad.any():
            at = np.flatnonzero(bad)
            rows = at if numbers is None else numbers[at]
            first = int(rows.argmin())
            found.append((int(rows[first]), column, real[at[first]]))
    if found:
        row, column, value = min(found, key=lambda one: one[:2])
        raise DataError(
            f"X at row {row}, column {column}: expected a code from 0 to {codes[column] - 1}, got {value}",
            hint="the net embeds this column: its codes are the category numbers of the training",
        )


def place_of_nonfinite(values: np.ndarray) -> str:
    """``row 3, column 1`` of the first number that is not finite, ``row 3`` of (n,); empty if all are finite."""
    bad = np.argwhere(~np.isfinite(values))
    return ", ".join(f"{axis} {at}" for axis, at in zip(("row", "column"), bad[0], strict=False)) if len(bad) else ""


def nonfinite_feature(row: int, column: int, value: Any, dtype: np.dtype) -> DataError:
    """The error for a feature that is not a finite number, or not in ``dtype``."""
    fits = "" if not np.isfinite(value) else f", which does not fit {dtype}"
    return DataError(f"X at row {row}, column {column}: expected a finite number, got {value}{fits}")


def check_weights(weights: np.ndarray, n: int) -> np.ndarray:
    """The weights of ``n`` rows; ShapeError or DataError, naming the first row, if they are invalid."""
    if weights.shape != (n,):
        raise ShapeError(f"expected sample_weight of shape ({n},), got {weights.shape}")
    if weights.dtype.kind not in "biuf":
        raise DataError(f"expected numbers, got sample_weight of dtype {weights.dtype}")
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"sample_weight at row {row}: expected a finite number from 0 up, got {weights[row]}")
    if not weights.any():
        raise DataError("sample_weight: expected at least one weight above 0, got zeros")
    return weights


def weights_of_all(weights: np.ndarray | None) -> np.ndarray | None:
    """(n,): the weights of rows, of those that members of an ensemble have for themselves, (k, n), the mean."""
    return weights if weights is None or weights.ndim == 1 else weights.mean(axis=0)


def relative_weights(weights: np.ndarray) -> np.ndarray:
    """w_i / mean of those above 0, in float64: only ratios of weights matter, so that all 1/n are the same as all 1.

    Divided by the largest first, so that no sum overflows. The weights themselves if their mean is 1.
    """
    wide = weights.astype(np.result_type(weights.dtype, np.float64), copy=False)
    largest = wide.max()
    shares = (wide / largest).astype(np.float64)
    mean = shares[shares > 0].mean()
    relative: np.ndarray = weights if mean * largest == 1 else shares / mean
    return relative


def on_host(backend: Backend, values: Any, name: str) -> np.ndarray:
    """``values`` as a NumPy array: labels and weights are small and are checked on the host, wherever they lie."""
    refuse_masked(values, name)
    array = array_of_the_host(values)
    if array is None:
        refuse_ragged(values, name)
        array = backend.download(backend.upload(values))
    if array.ndim == 0:
        raise ShapeError(f"{name}: expected one value per row, got a single value")
    return array


def array_of_the_host(values: Any) -> np.ndarray | None:
    """A NumPy array, also of a list; None for an array elsewhere or a ragged list, which a backend takes or refuses.

    A subclass becomes a plain array: the square of an ``np.matrix`` is a product, and its columns have two axes.
    """
    if isinstance(values, np.ndarray) and not hasattr(values, "__cuda_array_interface__"):
        return np.asarray(values)
    if hasattr(values, "shape"):
        return None
    try:
        return np.asarray(values)
    except (ValueError, TypeError):
        return None


def _object_hint(array: Array) -> str:
    return (
        "encode text columns as numbers first: cr.TableEncoder (docs/tables.md)" if array.dtype.kind in "OUST" else ""
    )
