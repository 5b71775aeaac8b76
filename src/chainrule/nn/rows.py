"""Rows on the device: what comes in is checked once, here, and never again in a step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.base import Array, Backend
from chainrule.errors import DataError, ShapeError
from chainrule.nn.losses import Loss
from chainrule.nn.preparation import Standardization

CHUNK = 65_536  # rows standardised at a time, so that the wide copy of a float64 table stays small


class Rows(NamedTuple):
    """n rows on the device: x (n, n_in) float, targets as the loss wants them, weights (n,) float or None."""

    x: Array
    targets: Array
    weights: Array | None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays that there are."""
        return (self.x, self.targets) if self.weights is None else (self.x, self.targets, self.weights)


def upload_features(
    backend: Backend, X: Any, n_in: int, dtype: np.dtype, standardization: Standardization | None
) -> Array:
    """``X`` (n, n_in) on the device in ``dtype``, standardised; ShapeError or DataError where it cannot be.

    Only read afterwards: where nothing has to be converted it is the caller's own memory.
    """
    if isinstance(X, np.ma.MaskedArray):
        raise DataError("X is a masked array, whose masked values would silently count", hint="fill or drop them first")
    raw = backend.upload(X)
    if raw.dtype.kind not in "biufc" or (raw.dtype.kind == "c" and dtype.kind != "c"):
        raise DataError(f"X of dtype {raw.dtype} came, real numbers were expected", hint=_object_hint(raw))
    if raw.ndim != 2 or raw.shape[1] != n_in:
        hint = "one row still needs two axes: X[None, :]" if raw.ndim == 1 and raw.shape[0] == n_in else ""
        raise ShapeError(f"X of shape {raw.shape} came, (n, {n_in}) was expected", hint=hint)
    if not len(raw):
        raise DataError("X has no rows")
    if standardization is None and raw.dtype == dtype:
        x = raw
    else:
        x = backend.empty(raw.shape, dtype)
        if standardization is None:
            backend.copy(raw, out=x)
        else:
            mean, scale = backend.upload(standardization.mean), backend.upload(standardization.scale)
            for start in range(0, len(raw), CHUNK):
                part = slice(start, start + CHUNK)
                backend.standardize(raw[part], mean, scale, limit=standardization.limit, out=x[part])
    bad = backend.first_nonfinite(x)
    if bad is not None:
        row, column = divmod(bad, n_in)
        value = backend.download(raw[row : row + 1, column : column + 1])[0, 0]
        fits = "" if not np.isfinite(value) else f", which does not fit {dtype}"
        raise DataError(f"X at row {row}, column {column} is {value}{fits}; finite numbers were expected")
    return x


def upload_rows(
    backend: Backend, X: Any, y: Any, sample_weight: Any, *, n_in: int, dtype: np.dtype, loss: Loss,
    features: Standardization | None, targets: Standardization | None,
) -> Rows:  # fmt: skip
    """Features, targets and weights on the device, checked."""
    x = upload_features(backend, X, n_in, dtype, features)
    y_host = _on_host(backend, y, "y")
    if len(y_host) != len(x):
        raise ShapeError(f"X has {len(x)} rows and y has {len(y_host)}")
    checked = loss.check_targets(y_host)
    if targets is not None:
        checked = (checked - targets.mean) / targets.scale
    if checked.dtype.kind != "i" or loss.task != "classify":
        checked = checked.astype(dtype)
        if not np.isfinite(checked).all():
            raise DataError(f"a target does not fit {dtype}")
    weights = None
    if sample_weight is not None:
        weights = backend.upload(_check_weights(_on_host(backend, sample_weight, "sample_weight"), len(x)), dtype)
    return Rows(x, backend.upload(checked), weights)


def _check_weights(weights: np.ndarray, n: int) -> np.ndarray:
    if weights.shape != (n,):
        raise ShapeError(f"sample_weight of shape {weights.shape} came, ({n},) was expected")
    if weights.dtype.kind not in "biuf":
        raise DataError(f"sample_weight of dtype {weights.dtype} came, numbers were expected")
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"sample_weight at row {row} is {weights[row]}, a finite number from 0 up was expected")
    if not weights.any():
        raise DataError("sample_weight is zero everywhere")
    return weights


def _on_host(backend: Backend, values: Any, name: str) -> np.ndarray:
    """Labels and weights are small and are checked on the host, wherever they come from."""
    if isinstance(values, np.ma.MaskedArray):
        raise DataError(f"{name} is a masked array, whose masked values would silently count")
    array = backend.download(backend.upload(values)) if not isinstance(values, np.ndarray) else values
    if array.ndim == 0:
        raise ShapeError(f"{name} is a single value, one a row was expected")
    return array


def _object_hint(array: Array) -> str:
    return "text columns must become numbers first" if array.dtype.kind in "OUST" else ""
