"""What every part of the specification works with: an array module, memory for intermediate results, inner steps."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from typing import Any

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import BATCH, Backend
from chainrule.backends.contract.losses import LossBatch


def slot_of(state: Array) -> Array:
    """(1,): the number of the batch, as an index that no host has to read."""
    return state[BATCH : BATCH + 1]


class ArrayOperations(Backend):
    """A backend whose kernels are operations of the array module ``xp``.

    The kernels are functions of it, a file per topic; :class:`~chainrule.backends.reference.backend.ReferenceBackend`
    lists them. Below stand the inner steps that a faster implementation may replace without writing the kernel again.
    """

    xp: Any  # the array module

    def _scratch(self, shape: tuple[int, ...], dtype: Any, *, use: Any) -> Array:
        """Memory for an intermediate result that no one reads after the kernel; ``use`` tells such memory apart."""
        return self.xp.empty(shape, dtype)

    def _parts(self, size: int) -> Iterator[slice]:
        """Slices of a flat array: all of it at once, unless an implementation knows a better size for its caches."""
        yield slice(0, size)

    def _rows(self, n: int) -> Array:
        """0 .. n-1."""
        return self.xp.arange(n)

    # ---- losses -----------------------------------------------------------------------------------

    @abc.abstractmethod
    def _finish(self, batch: LossBatch, losses: Array, *, scale: float, mean: bool, factor: float = 1.0) -> None:
        """From l_i and w_i to the totals, and from dl_i to ``factor * scale * w_i dl_i / divisor``."""

    @abc.abstractmethod
    def _record(self, loss: Array, weight: Array | int, state: Array, totals: Array) -> None:
        """The loss of a batch and its weight into its row of totals; the run halts if the loss is not finite."""

    # ---- normalisation ----------------------------------------------------------------------------

    @abc.abstractmethod
    def _moments(self, x: Array, axis: int, *, mean: Array, var: Array) -> None:
        """Mean and variance along ``axis``."""

    @abc.abstractmethod
    def _normalize(
        self, x: Array, mean: Array, inverse_std: Array, gain: Array, bias: Array, axis: int, *, out: Array
    ) -> None:
        """out = gain (x - mean) inverse_std + bias, with the statistics along ``axis``."""

    # ---- optimisers -------------------------------------------------------------------------------

    @abc.abstractmethod
    def _learning_rate(self, lr: Array, state: Array, factor: float) -> Array:
        """(1,) float64: this batch's learning rate, and 0 in a run that has halted."""

    @abc.abstractmethod
    def _bias_corrected(
        self, rate: Array, state: Array, beta1: float, beta2: float, eps: float, dtype: Any, eps_hat: bool
    ) -> tuple[Array, Array]:
        """(step_size, step_eps) with rate m_hat / (sqrt(v_hat) + eps) = step_size m / (sqrt(v) + step_eps)."""

    @abc.abstractmethod
    def _subtract(self, params: Array, update: Array, state: Array) -> None:
        """params -= update, and nothing in a run that has halted, whose ``update`` may be nan."""

    @abc.abstractmethod
    def _update_touched(
        self, update: Callable[..., None], touched: Array, params: Array, grads: Array, *moments: Array
    ) -> None:
        """``update(params, grads, *moments)`` of those vectors alone whose number in ``touched`` is not 0."""

    @abc.abstractmethod
    def _approach(self, target: Array, share: Any, out: Array) -> None:
        """out += (target - out) share, for a share that is known on the host."""

    # ---- random numbers ---------------------------------------------------------------------------

    @abc.abstractmethod
    def _fill_words(self, key: tuple[int, int], counter: tuple[int, int, int], first: int, words: Array) -> None:
        """``words`` (count,) of unsigned integers: those of Philox from number ``first`` on, a multiple of 4."""
