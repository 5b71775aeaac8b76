"""Rows on the device: what comes in is checked once, here, and never again in a step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.base import Array, Backend
from chainrule.errors import DataError, ShapeError
from chainrule.nn.losses import Loss
from chainrule.nn.preparation import Standardization

CHUNK = 65_536  # rows standardised at a time, so that the wide copy of a float64 table stays small
NARROW = 2  # bytes: numbers of up to 16 bits are exact in float32, so they can be converted whenever it suits


class Pending(NamedTuple):
    """A standardisation that has not been applied yet: mean, scale (n_in,) on the device, and the limit."""

    mean: Array
    scale: Array
    limit: float


class Features(NamedTuple):
    """x (n, n_in) on the device as it is kept there, and what is still to be done to a batch of it."""

    x: Array
    pending: Pending | None = None


class Rows(NamedTuple):
    """n rows on the device: features, targets as the loss wants them, weights (n,) float or None."""

    x: Array
    targets: Array
    weights: Array | None
    pending: Pending | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def features(self) -> Features:
        """The features alone."""
        return Features(self.x, self.pending)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays that there are, one row a row of the table."""
        return (self.x, self.targets) if self.weights is None else (self.x, self.targets, self.weights)


class InputReader:
    """``reader(x)``: up to n rows as the first layer reads them, in memory that is laid out once.

    Parameters
    ----------
    features : whose rows will be read
    n : how many at a time, at most
    dtype : of the net; the result has the backend's storage dtype for it
    """

    def __init__(self, backend: Backend, features: Features, n: int, dtype: np.dtype) -> None:
        self._backend, self._pending = backend, features.pending
        storage, x = backend.storage(dtype), features.x
        as_it_is = self._pending is None and x.dtype == storage
        self._buffer = None if as_it_is else backend.empty((n, x.shape[1]), storage)

    def __call__(self, x: Array) -> Array:
        if self._buffer is None:
            return x
        out = self._buffer[: len(x)]
        if self._pending is None:
            self._backend.copy(x, out=out)
        else:
            mean, scale, limit = self._pending
            self._backend.standardize(x, mean, scale, limit=limit, out=out)
        return out


def upload_features(
    backend: Backend, X: Any, n_in: int, dtype: np.dtype, standardization: Standardization | None
) -> Features:
    """``X`` (n, n_in) on the device in ``dtype``, standardised; ShapeError or DataError where it cannot be.

    Only read afterwards: where nothing has to be converted it is the caller's own memory. Narrow numbers (pixels) stay
    as they are where the backend wants that.
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
    pending = None
    if standardization is None and raw.dtype == dtype:
        x = raw
    elif backend.keeps_narrow_features and raw.dtype.itemsize <= NARROW and dtype.kind == "f":
        x = raw
        if standardization is not None:
            mean, scale = backend.upload(standardization.mean), backend.upload(standardization.scale)
            pending = Pending(mean, scale, standardization.limit)
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
    return Features(x, pending)


def upload_rows(
    backend: Backend, X: Any, y: Any, sample_weight: Any, *, n_in: int, dtype: np.dtype, loss: Loss,
    features: Standardization | None, targets: Standardization | None,
) -> Rows:  # fmt: skip
    """Features, targets and weights on the device, checked."""
    x, pending = upload_features(backend, X, n_in, dtype, features)
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
    return Rows(x, backend.upload(checked), weights, pending)


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
