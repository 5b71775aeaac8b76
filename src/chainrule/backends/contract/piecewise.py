"""The contract of piecewise-linear encodings: numbers to fractions of the pieces that they have passed.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc

from chainrule.backends.contract.arrays import Array, Pieces


class PiecewiseContract(abc.ABC):
    """x as it is and, behind it, fractions of its columns.   x, dx (n, n_in), y, dy (n, m), in the storage dtype."""

    @abc.abstractmethod
    def piecewise_linear(self, x: Array, pieces: Pieces, *, y: Array) -> None:
        """y_io = clip((x[i, column_o] - start_o) / width_o, low_o, high_o), for each column o of y.

        The first n_in columns of y are x itself: their start is 0, their width 1, their limits are infinite. A nan
        stays one. With a model axis in ``y``, ``x`` may be without one.
        """

    @abc.abstractmethod
    def piecewise_linear_backward(self, dy: Array, y: Array, pieces: Pieces, *, dx: Array) -> None:
        """dx_ij = dy_ij + sum_o( [low_o < y_io < high_o] dy_io / width_o ), over the fractions o of column j.

        They are the columns first_j .. first_(j+1) - 1 of y, and added in this order.
        """
