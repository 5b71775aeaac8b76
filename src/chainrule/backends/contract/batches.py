"""The contract of what goes into a batch: copies, conversions, rows by their number, the step's counters.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Final

from chainrule.backends.contract.arrays import Array

# Of the standardisation: a difference of doubles can overflow if one of them is at least 2^970; and from FAR * limit
# on, a number is bent to the limit, to the last bit.
HALVED_ABOVE: Final = 2.0**960
FAR: Final = 1e9


class BatchContract(abc.ABC):
    """Copies, standardisation, rows of a batch."""

    @abc.abstractmethod
    def fill(self, value: float, *, out: Array) -> None:
        """out = value, everywhere."""

    @abc.abstractmethod
    def copy(self, source: Array, *, out: Array) -> None:
        """out = source, converted to the dtype of ``out``; the shapes are equal."""

    @abc.abstractmethod
    def copy_columns(self, source: Array, columns: Sequence[int], *, out: Array) -> None:
        """out[:, j] = source[:, j] for these columns, converted to the dtype of ``out``. Outside a step only."""

    @abc.abstractmethod
    def standardize(self, x: Array, mean: Array, scale: Array, *, limit: float = math.inf, out: Array) -> None:
        """z = (x - mean) / scale,   out = z / sqrt(1 + (z / limit)^2).   x, out (n, n_in); mean, scale (n_in,).

        The second step keeps abs(out) below ``limit`` and hardly touches what is far below it; inf leaves it out.
        Computed in the wider dtype of ``x`` and ``mean``, then rounded to that of ``out``: large values with
        small differences (a year, a time stamp) keep their digits.

        x and mean are finite, scale is above 0 and may be inf, which makes z 0. Right up to the largest double: if
        |mean| > ``HALVED_ABOVE``, x, mean and scale are halved (which is exact), so that no difference overflows; and z
        is clipped to ``FAR * limit``, so that no square does: there z / sqrt(1 + (z / limit)^2) is the limit already.
        """

    @abc.abstractmethod
    def scale_and_shift(self, x: Array, scale: Array, shift: Array, *, out: Array) -> None:
        """out = x scale + shift.   x, out (n, k), which may be one memory; scale, shift (k,). In no step of training.

        A product and a sum, each rounded once in the widest dtype of these, then rounded to that of ``out``.
        """

    @abc.abstractmethod
    def first_nonfinite(self, x: Array) -> int | None:
        """Flat index of the first nan or inf in ``x``, or None. Synchronises: outside a step only."""

    @abc.abstractmethod
    def gather(
        self, sources: Sequence[Array], order: Array, position: Array, *, stride: int, out: Sequence[Array]
    ) -> None:
        """The next batch: out[a][i] = sources[a][order[position * stride + i]] in the dtype of out[a]; position += 1.

        ``order`` (rows,) int64, values in range; ``position`` (1,) int64, a counter of its own: that the next batch can
        be fetched while the optimiser still works on this one, neither may touch what the other reads. All of a batch
        is one call, so that it can be one launch; the ragged last batch has fewer rows in ``out`` than ``stride``.

        Members take their rows in an order of their own, (m, rows): out[a][j][i] = sources[a][order[j, ...]], or
        sources[a][j][...] of a source that has the model axis too.
        """

    @abc.abstractmethod
    def tick(self, state: Array, *, updates: int = 1) -> None:
        """state[STEP] += updates,   state[BATCH] += 1: the end of a step; ``updates`` is 0 if none was made."""
