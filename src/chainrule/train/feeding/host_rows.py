"""Rows that stay in host memory, or in a memory-mapped file, and are sent to the device block by block."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.errors import OptionError
from chainrule.nn.inputs.row_checks import (
    check_features,
    nonfinite_feature,
    refuse_bad_codes,
    refuse_masked,
    targets_and_weights,
)
from chainrule.nn.inputs.rows import FeatureStorage, Pending, Rows, upload_features
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.network import Network
from chainrule.nn.row_format import RowFormat
from chainrule.train.feeding.batches import classes_of, refuse_weightless, split_order

RowNumbers: TypeAlias = "np.ndarray | slice"  # a slice is copied as one piece, numbers row by row


class HostRows:
    """Rows checked as :meth:`Network.upload_rows` checks them, except for the numbers in X: :meth:`refuse_nonfinite`.

    Parameters
    ----------
    net : that reads them
    X : (n, n_in) NumPy array or memory map; read, never copied as a whole
    y, sample_weight : as for :meth:`Trainer.fit`
    """

    def __init__(self, net: Network, X: Any, y: Any, sample_weight: Any = None) -> None:
        refuse_masked(X)
        if not isinstance(X, np.ndarray):
            raise OptionError(
                f"expected X to be a NumPy array with stream=True, got {type(X).__name__}",
                hint="np.asarray(X); or stream=None, which leaves on the device what lies there",
            )
        self._x = np.asarray(X)  # of np.memmap and other subclasses the plain array
        check_features(self._x, net.n_in, net.dtype)
        be, preparation = net.backend, net.preparation
        given = be.upload(self._x[:1]).dtype.newbyteorder("=")  # DataError if the device does not know the dtype
        self._codes = net.codes(training=True)
        self.storage = FeatureStorage(be, given, net.dtype, preparation.features, tuple(self._codes))
        self.exact = bool(self._codes)
        self.targets, self.weights = targets_and_weights(
            be,
            y,
            sample_weight,
            len(X),
            dtype=net.dtype,
            loss=net.loss,
            targets=preparation.targets,
            members=net.members,
        )
        self.own: np.ndarray | None = None
        self.by_class = False
        self._describe_sent()
        self._numbers: np.ndarray | None = None  # of the rows that count; None for all
        self._bounds = _bounds(self._x.dtype, net.dtype, preparation.features)
        self._net = net

    def __len__(self) -> int:
        return len(self.targets)

    def weigh_by_class(self, own: np.ndarray | None) -> None:
        """The weights include those of classes; ``own`` are the rows' own, or None. See Rows."""
        self.own, self.by_class = own, True
        self._describe_sent()

    def weighed_by_member(self, weights: np.ndarray, own: np.ndarray | None) -> HostRows:
        """The same rows with these weights, (k, n), one set for each member of an ensemble; ``own`` as in Rows."""
        other = copy.copy(self)
        other.weights, other.own = weights, own
        other._describe_sent()
        return other

    @property
    def counted(self) -> np.ndarray | None:
        """The weights in metrics: the rows' own; None for all ones."""
        return self.own if self.by_class else self.weights

    def as_rows(self, arrays: Sequence[Array], pending: Pending | None) -> Rows:
        """These rows on a device, where ``arrays`` are."""
        return Rows(arrays[0], arrays[1], None, pending, self.exact, by_class=self.by_class).with_arrays(arrays)

    def _describe_sent(self) -> None:
        self.sent = [RowFormat(a.shape[1:], a.dtype.newbyteorder("=")) for a in self._arrays(0)]

    def _arrays(self, member: int) -> list[np.ndarray]:
        """Features, targets, weights; the weights of a member of an ensemble may be its own."""
        weights = [w if w.ndim == 1 else w[member] for w in (self.weights, self.own) if w is not None]
        return [self._x, self.targets, *weights]

    @property
    def formats(self) -> list[RowFormat]:
        """The format of one row of each array on the device, in the order in which they are sent."""
        return [RowFormat(self.sent[0].shape, self.storage.dtype), *self.sent[1:]]

    @property
    def pending(self) -> bool:
        """Whether features are still to be standardised when a batch of them is read."""
        return self.storage.pending is not None

    @property
    def may_be_nonfinite(self) -> bool:
        """Whether there may be features for :meth:`refuse_nonfinite` to refuse."""
        return self._bounds is not None or self.exact

    # ---- features -------------------------------------------------------------------------------

    def gather(self, order: RowNumbers, out: Sequence[np.ndarray], *, member: int = 0) -> None:
        """out[a][i] = row ``order[i]`` of array a: features, targets, weights of this member."""
        _take(self._x, self._of_x(order), out[0])
        for source, target in zip(self._arrays(member)[1:], out[1:], strict=True):
            _take(source, order, target)

    def refuse_nonfinite(self, order: RowNumbers, x: np.ndarray | None = None) -> None:
        """DataError for a number of these rows that is not finite in the net's dtype, and for a bad code.

        ``x`` are their features, if they have been gathered already.
        """
        if not self.may_be_nonfinite:
            return
        numbers = self._of_x(order)
        x = self._x[numbers] if x is None else x
        if self.exact:
            of_table = np.arange(len(self._x))[numbers] if isinstance(numbers, slice) else numbers
            refuse_bad_codes({j: x[:, j] for j in self._codes}, self._codes, numbers=of_table)
        if self._bounds is None:
            return
        low, high = self._bounds
        with np.errstate(invalid="ignore"):
            if not len(x) or ((x.min(axis=0) >= low) & (x.max(axis=0) <= high)).all():  # a nan is neither
                return
        bad = ~((x >= low) & (x <= high))
        rows = np.arange(len(self._x))[numbers] if isinstance(numbers, slice) else numbers
        at = min(np.flatnonzero(bad.any(axis=1)), key=lambda i: rows[i])  # the first of the table
        column = int(bad[at].argmax())
        raise nonfinite_feature(int(rows[at]), column, x[at, column], self._net.dtype)

    def _of_x(self, order: RowNumbers) -> RowNumbers:
        return order if self._numbers is None else self._numbers[order]

    # ---- a split --------------------------------------------------------------------------------

    def split(self, fraction: float, seed: int) -> tuple[HostRows, Rows]:
        """Training rows that stay on the host, and validation rows on the device; the same as ``split_rows`` takes."""
        be = self._net.backend
        order = split_order(be, len(self), fraction, seed, classes_of(self._net.loss, self.targets))
        training, validation = (be.download(part) for part in order)
        kept, held_out = self._only(training), self._only(validation)
        refuse_weightless(kept.weights, held_out.weights)
        return kept, held_out._upload()

    def sample(self, numbers: np.ndarray) -> Rows:
        """These rows on the device."""
        return self._only(numbers)._upload()

    def _only(self, numbers: np.ndarray) -> HostRows:
        other = copy.copy(self)
        other._numbers, other.targets = np.asarray(self._of_x(numbers)), self.targets[numbers]
        other.weights = None if self.weights is None else self.weights[..., numbers]
        other.own = None if self.own is None else self.own[..., numbers]
        return other

    def _upload(self) -> Rows:
        be, everything = self._net.backend, slice(0, len(self))
        held = [np.empty((len(self), *f.shape), f.dtype) for f in self.sent]
        self.gather(everything, held)
        self.refuse_nonfinite(everything, held[0])
        features = self._net.preparation.features
        x, pending, _ = upload_features(be, held[0], self._net.n_in, self._net.dtype, features, self._codes)
        return self.as_rows([x, *(be.upload(part) for part in held[1:])], pending)


def _take(source: np.ndarray, numbers: RowNumbers, out: np.ndarray) -> None:
    in_order = source.dtype == out.dtype and source.flags.c_contiguous and source.flags.aligned
    if isinstance(numbers, slice) or not in_order:
        out[...] = source[numbers]  # ``take`` would first copy the whole source
    else:
        source.take(numbers, axis=0, out=out, mode="clip")  # the mode that writes straight into ``out``


def _bounds(
    raw_dtype: np.dtype, dtype: np.dtype, standardization: Standardization | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The least and the largest number that a column may hold; None if it cannot hold others."""
    if raw_dtype.kind != "f":
        return None
    largest = np.finfo(raw_dtype).max
    with np.errstate(over="ignore"):
        top = np.asarray(np.finfo(dtype).max, np.result_type(raw_dtype, np.float64))
        if standardization is None:
            low, high = -top, top
        elif np.isfinite(standardization.limit):
            return np.asarray(-largest), np.asarray(largest)
        else:
            low = standardization.mean - top * standardization.scale
            high = standardization.mean + top * standardization.scale
    return np.maximum(low, -largest), np.minimum(high, largest)
