"""The contract from logits to predictions.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc

from chainrule.backends.contract.arrays import Array


class PredictionContract(abc.ABC):
    """Probabilities, classes and distributions, from the outputs of a net."""

    @abc.abstractmethod
    def softmax(self, logits: Array, *, out: Array) -> None:
        """out_ij = exp(z_ij) / sum_k(exp(z_ik)), z the logits; ``out`` may be ``logits``."""

    @abc.abstractmethod
    def argmax(self, x: Array, *, out: Array) -> None:
        """out_i = the first j of the largest x_ij.   x (n, k), out (n,) int32."""

    @abc.abstractmethod
    def positive(self, x: Array, *, out: Array) -> None:
        """out = 1 if x > 0, else 0, element by element.   x, out of one shape, out int32."""

    @abc.abstractmethod
    def exp(self, x: Array, *, out: Array) -> None:
        """out = exp(x): the mean of a log link.   x, out of one shape; ``out`` may be ``x``."""

    @abc.abstractmethod
    def quantiles(self, logits: Array, *, count: int, out: Array) -> None:
        """The q of ``quantile_loss`` of ``count`` levels.   logits, out (n, k count), which may be one memory."""

    @abc.abstractmethod
    def mean_and_variance(self, logits: Array, *, out: Array) -> None:
        """out_ij = z_ij, out_i,k+j = exp(z_i,k+j), z the logits.   logits, out (n, 2 k), which may be one memory."""
