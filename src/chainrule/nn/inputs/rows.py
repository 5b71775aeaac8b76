"""Rows on the device: checked once, at upload, and never again in a step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.nn.inputs.row_checks import (
    array_of_the_host,
    check_features,
    is_plain,
    nonfinite_feature,
    refuse_bad_codes,
    refuse_masked,
    refuse_ragged,
    targets_and_weights,
)
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.losses.names import Loss
from chainrule.nn.row_format import RowFormat, first_rows, with_members

CHUNK = 65_536  # rows standardised at a time, so that the wide copy of a float64 table stays small
NO_CODES: Final[Mapping[int, int]] = MappingProxyType({})
NARROW = 2  # bytes: numbers of up to 16 bits are exact in float32, so they can be converted whenever it suits


class Pending(NamedTuple):
    """A standardisation that is still to be applied: mean, scale (n_in,) on the device, and the limit."""

    mean: Array
    scale: Array
    limit: float


def pending_for(backend: Backend, standardization: Standardization | None) -> Pending | None:
    """What is to be done to rows as they were given; None for nothing."""
    if standardization is None:
        return None
    mean, scale = backend.upload(standardization.mean), backend.upload(standardization.scale)
    return Pending(mean, scale, standardization.limit)


class Features(NamedTuple):
    """x (n, n_in) on the device as it is kept there, and what is still to be done to a batch of it.

    With ``exact`` the first layer reads it in the net's dtype, otherwise in the dtype in which products are stored.
    """

    x: Array
    pending: Pending | None = None
    exact: bool = False


class Rows(NamedTuple):
    """n rows on the device: features, targets in the form that the loss takes, weights (n,) float or None.

    With class weights ``by_class`` is true and ``weights`` includes them; ``own`` are then the rows' own, or None. The
    members of an ensemble may weigh rows differently, or leave some out: weights and own are then (k, n).
    """

    x: Array
    targets: Array
    weights: Array | None
    pending: Pending | None = None
    exact: bool = False  # see Features
    own: Array | None = None
    by_class: bool = False

    def __len__(self) -> int:
        return len(self.x)

    @property
    def features(self) -> Features:
        """The features alone."""
        return Features(self.x, self.pending, self.exact)

    @property
    def counted(self) -> Array | None:
        """The weights of metrics: those of the rows themselves, None for all ones."""
        return self.own if self.by_class else self.weights

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Those of its arrays that exist, with one row for each row of the table."""
        return (self.x, self.targets, *(w for w in (self.weights, self.own) if w is not None))

    def with_arrays(self, arrays: Sequence[Array]) -> Rows:
        """Rows with these in place of its :attr:`arrays`."""
        x, targets, weights, own = (*arrays, None, None)[:4]
        return Rows(x, targets, weights, self.pending, self.exact, own, self.by_class)

    def weighing_classes(self, own: Array | None) -> Rows:
        """The same rows, whose ``weights`` include class weights; ``own`` are those of the rows themselves, or None."""
        return Rows(self.x, self.targets, self.weights, self.pending, self.exact, own, by_class=True)

    def with_weights(self, weights: Array | None, own: Array | None = None) -> Rows:
        """The same rows with these weights; ``own`` are used with class weights alone."""
        own = own if self.by_class else None
        return Rows(self.x, self.targets, weights, self.pending, self.exact, own, self.by_class)

    @property
    def formats(self) -> list[RowFormat]:
        """The format of a row of each of the arrays."""
        x, targets, *weights = self.arrays
        return [*(RowFormat(a.shape[1:], a.dtype) for a in (x, targets)), *(RowFormat((), w.dtype) for w in weights)]


class FeatureStorage:
    """How features of ``raw_dtype`` are kept on a device: as they were given, or converted once at upload.

    Parameters
    ----------
    raw_dtype : of the features as they were given
    dtype : of the net that reads them
    codes : columns that are not standardised
    """

    def __init__(
        self,
        backend: Backend,
        raw_dtype: np.dtype,
        dtype: np.dtype,
        standardization: Standardization | None,
        codes: Sequence[int] = (),
    ) -> None:
        self._backend, self._codes = backend, tuple(codes)
        narrow = raw_dtype.itemsize <= NARROW and dtype.kind == "f" and raw_dtype.isnative
        narrow = narrow and raw_dtype.kind in backend.narrow_kinds
        narrow = narrow and not (self._codes and standardization is not None)
        self._standardization = pending_for(backend, standardization)
        self.converts = not narrow and (self._standardization is not None or raw_dtype != dtype)
        self.dtype = dtype if self.converts else raw_dtype
        self.pending = None if self.converts else self._standardization

    def convert(self, raw: Array, *, out: Array) -> None:
        """Write raw features in the form in which they are kept, if that is another."""
        if self._standardization is None:
            self._backend.copy(raw, out=out)
        else:
            mean, scale, limit = self._standardization
            for start in range(0, len(raw), CHUNK):
                part = slice(start, start + CHUNK)
                self._backend.standardize(raw[part], mean, scale, limit=limit, out=out[part])
                if self._codes:
                    self._backend.copy_columns(raw[part], self._codes, out=out[part])


class InputReader:
    """``reader(x)``: up to n rows as the first layer reads them, in memory that is allocated once.

    Parameters
    ----------
    features : whose rows will be read
    n : how many at a time, at most
    dtype : of the net; the result has the backend's storage dtype for it, unless features are exact
    members : that have rows of their own, (k, n, n_in)

    Attributes
    ----------
    buffer : this memory; None if rows are read where they are
    """

    def __init__(self, backend: Backend, features: Features, n: int, dtype: np.dtype, members: int = 1) -> None:
        self._backend, self._pending, self._members = backend, features.pending, members
        storage, x = dtype if features.exact else backend.storage(dtype), features.x
        as_it_is = self._pending is None and x.dtype == storage
        self.buffer = None if as_it_is else backend.empty(with_members((n, x.shape[-1]), members), storage)

    def __call__(self, x: Array) -> Array:
        if self.buffer is None:
            return x
        out = first_rows(self.buffer, x.shape[-2], self._members)
        if self._pending is None:
            self._backend.copy(x, out=out)
        else:
            mean, scale, limit = self._pending
            self._backend.standardize(x, mean, scale, limit=limit, out=out)
        return out


def upload_features(
    backend: Backend,
    X: Any,
    n_in: int,
    dtype: np.dtype,
    standardization: Standardization | None,
    codes: Mapping[int, int] = NO_CODES,
) -> Features:
    """``X`` (n, n_in) on the device in ``dtype``, standardised; ShapeError or DataError if it cannot be.

    Columns with ``codes``, {column: how many}, are checked and stay as they are.

    The result is only read: if nothing has to be converted it is the caller's own memory. Narrow numbers (pixels) stay
    as they are and are converted batch by batch, if the device is made for that.
    """
    raw = _uploaded(backend, X, n_in, dtype)
    if codes:
        refuse_bad_codes({j: backend.download(raw[:, j : j + 1])[:, 0] for j in codes}, codes)
    if standardization is None and raw.dtype == dtype and backend.first_nonfinite(raw) is None:
        return Features(raw, None, bool(codes))  # as it is
    storage = FeatureStorage(backend, raw.dtype, dtype, standardization, tuple(codes))
    x = raw
    # With a limit everything finite stays finite, and infinity would become the limit: search before, not after.
    limited = standardization is not None and math.isfinite(standardization.limit)
    bad = backend.first_nonfinite(raw) if limited and raw.dtype.kind in "fc" else None
    if storage.converts and bad is None:
        x = backend.empty(raw.shape, dtype)
        storage.convert(raw, out=x)
    if not limited:
        bad = backend.first_nonfinite(x)
    if bad is not None:
        row, column = divmod(bad, n_in)
        value = backend.download(raw[row : row + 1, column : column + 1])[0, 0]
        raise nonfinite_feature(row, column, value, dtype)
    return Features(x, storage.pending, bool(codes))


def _uploaded(backend: Backend, X: Any, n_in: int, dtype: np.dtype) -> Array:
    """``X`` on the device, of the right shape, in a dtype of numbers."""
    if is_plain(X, n_in):  # nothing to refuse: of one row the checks would take as long as the net
        return backend.upload(X)
    refuse_masked(X)
    on_host = array_of_the_host(X)
    if on_host is not None:  # before the upload: not every device takes every dtype and shape
        check_features(on_host, n_in, dtype)
    else:
        refuse_ragged(X)
    raw = backend.upload(X if on_host is None else on_host)
    check_features(raw, n_in, dtype)
    return raw


def upload_rows(
    backend: Backend,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    n_in: int,
    dtype: np.dtype,
    loss: Loss,
    features: Standardization | None,
    targets: Standardization | None,
    codes: Mapping[int, int] = NO_CODES,
    members: int = 1,
) -> Rows:
    """Features, targets and weights on the device, checked."""
    x, pending, exact = upload_features(backend, X, n_in, dtype, features, codes)
    on_host, weights = targets_and_weights(
        backend, y, sample_weight, len(x), dtype=dtype, loss=loss, targets=targets, members=members
    )
    return Rows(x, backend.upload(on_host), None if weights is None else backend.upload(weights), pending, exact)
