"""The contract of columns: side by side, cut out, and each times a factor.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc

from chainrule.backends.contract.arrays import Array


class ColumnContract(abc.ABC):
    """What a layer does with whole columns. Arrays of rows are (..., n, columns), in the storage dtype."""

    @abc.abstractmethod
    def join_columns(self, left: Array, right: Array, *, out: Array) -> None:
        """out = [left | right]: the columns of both, side by side.   left (n, a), right (n, b), out (n, a + b).

        With a model axis in ``out``, ``left`` or ``right`` may be without one: the same for all members.
        """

    @abc.abstractmethod
    def take_columns(self, source: Array, first: int, *, out: Array) -> None:
        """out = source[:, first : first + k].   source (n, m), out (n, k), first + k <= m."""

    @abc.abstractmethod
    def add_columns(self, source: Array, first: int, *, out: Array) -> None:
        """out += source[:, first : first + k].   source (n, m), out (n, k), first + k <= m."""

    @abc.abstractmethod
    def scale_columns(self, x: Array, scale: Array, *, out: Array) -> None:
        """out_ij = x_ij scale_j.   x, out (n, k), which may be one memory; scale (k,) in the net's own dtype.

        With a model axis in ``scale`` and ``out``, ``x`` may be without one.
        """

    @abc.abstractmethod
    def scale_columns_backward(self, dy: Array, x: Array, scale: Array, *, dx: Array | None, dscale: Array) -> None:
        """dscale = sum_rows(dy x),   dx_ij = dy_ij scale_j unless it is None; ``dx`` may be ``dy``.

        dy, x, dx (n, k); scale, dscale (k,) in the net's own dtype. With a model axis ``x`` may be without one.
        """
