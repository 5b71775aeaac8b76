"""The rows that members of an ensemble are not trained on: who never saw which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.errors import DataError, OptionError, ShapeError
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.network import Network
from chainrule.train.feeding.host_rows import HostRows


class LeftOutPart(NamedTuple):
    """Rows that the same members never saw.

    Parameters
    ----------
    members : their numbers, ascending
    rows : numbers of the rows, ascending
    """

    members: tuple[int, ...]
    rows: np.ndarray


class LeftOut:
    """Which rows each member of an ensemble is not trained on.

    Parameters
    ----------
    mask : (k, n) bool: whether member j never sees row i
    members, rows : k and n, as they must be

    Attributes
    ----------
    parts : of the rows that some member never saw, by the members that did not; each row is in one
    """

    def __init__(self, mask: Any, members: int, rows: int) -> None:
        mask = np.asarray(mask)
        if members == 1:
            raise OptionError("left_out: expected an ensemble, got a single net", hint="MLP(..., members=8)")
        if mask.shape != (members, rows):
            raise ShapeError(f"left_out: expected shape ({members}, {rows}), got {mask.shape}")
        if mask.dtype != bool:
            raise DataError(f"left_out: expected True and False, got {mask.dtype}")
        if (everything := mask.all(axis=1)).any():
            raise DataError(f"left_out: expected rows to train on for each member, got none for {everything.argmax()}")
        self.mask = mask
        patterns, part_of_row = np.unique(mask, axis=1, return_inverse=True)
        part_of_row = part_of_row.reshape(-1)
        self.parts = [
            LeftOutPart(tuple(np.flatnonzero(pattern).tolist()), np.flatnonzero(part_of_row == number))
            for number, pattern in enumerate(patterns.T)
            if pattern.any()
        ]

    @property
    def rows(self) -> np.ndarray:
        """The numbers of all rows that some member never saw, part after part."""
        return np.concatenate([part.rows for part in self.parts]) if self.parts else np.empty(0, np.int64)

    def rows_of(self, member: int) -> np.ndarray:
        """The numbers of those that a member never saw, part after part."""
        own = [part.rows for part in self.parts if member in part.members]
        return np.concatenate(own) if own else np.empty(0, np.int64)

    def split(self, of_members: Sequence[np.ndarray]) -> list[np.ndarray]:
        """From what each member says of :meth:`rows_of`, (m_j, ...), to each part's, (members of it, rows, ...)."""
        starts, found = [0] * len(of_members), []
        for part in self.parts:
            size, own = len(part.rows), []
            for j in part.members:
                own.append(of_members[j][starts[j] : starts[j] + size])
                starts[j] += size
            found.append(np.stack(own))
        return found

    def withhold(self, net: Network, rows: Rows | HostRows) -> Rows | HostRows:
        """``rows`` with weights of their own for each member, (k, n): 0 for those that it is not to see."""
        if isinstance(rows, HostRows):
            own = self._withheld(rows.own, net.dtype) if rows.by_class else None
            return rows.weighed_by_member(self._withheld(rows.weights, net.dtype), own)
        be = net.backend

        def on_device(weights: Array | None) -> Array:
            host = None if weights is None else be.download(weights)
            return be.upload(self._withheld(host, net.dtype))

        return rows.with_weights(on_device(rows.weights), on_device(rows.own) if rows.by_class else None)

    def _withheld(self, weights: np.ndarray | None, dtype: np.dtype) -> np.ndarray:
        return np.where(self.mask, 0, np.ones(1) if weights is None else weights).astype(dtype)
