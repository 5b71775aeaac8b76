"""The contract of piecewise-linear encodings: numbers to fractions of the pieces that they have passed.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc

from chainrule.backends.contract.arrays import ActivationName, Array, Pieces


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

    @abc.abstractmethod
    def encoded_dense(
        self,
        x: Array,
        pieces: Pieces,
        scale: Array,
        W: Array,
        b: Array,
        activation: ActivationName,
        *,
        z: Array,
        y: Array,
        piece: Array,
        fraction: Array,
        keeps: bool = True,
    ) -> None:
        """z = ([x | p] * scale) @ W + b and y = act(z), p the fractions of :meth:`piecewise_linear`.

        x (n, n_in), scale (m,), W (m, n_out), b (n_out,), z, y (n, n_out), which may be one memory. ``piece`` (n, q)
        int32 and ``fraction`` (n, q), for each of the q columns of x that have fractions, are memory in which an
        implementation may keep where the numbers lie, for the backward pass if it ``keeps`` it.
        """

    @abc.abstractmethod
    def encoded_dense_backward(
        self,
        x: Array,
        pieces: Pieces,
        scale: Array,
        W: Array,
        dz: Array,
        *,
        piece: Array,
        fraction: Array,
        dW: Array,
        dscale: Array,
        dx: Array | None,
        frozen: bool = False,
    ) -> None:
        """The gradients by W, scale and, unless it is None, x, from dz (n, n_out).

        dW = ([x | p] * scale).T @ dz,   dscale = sum_rows([x | p] * (dz @ W.T)),   dx through x and through p.
        ``piece`` and ``fraction`` are as :meth:`encoded_dense` has left them.

        ``frozen`` says that no one reads the rows of dW that belong to p: they may stay as they are.
        """
