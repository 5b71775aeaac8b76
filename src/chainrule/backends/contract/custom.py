"""The contract of functions of the user's own.

The rules that hold for all: :mod:`~chainrule.backends.contract.backend`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.losses import LossBatch


class CustomContract(abc.ABC):
    """The functions may allocate memory, so a device does not record a step that calls them."""

    @abc.abstractmethod
    def apply(self, function: Callable[..., Array], *arrays: Array, out: Array) -> None:
        """out = function(xp, *arrays), a function of the user's own in operations of the array module ``xp``.

        ShapeError if it returns another shape than that of ``out``.
        """

    @abc.abstractmethod
    def custom_loss(
        self, batch: LossBatch, value: Callable[..., Array], gradient: Callable[..., Array], *, scale: float, mean: bool
    ) -> None:
        """A loss of the user's own: l_i = value(xp, logits, targets)_i,   dl_i / dz_ij = gradient(xp, ...)_ij.

        dlogits_ij = w_i (dl_i / dz_ij) scale / sum w
        """
