"""A penalty on the size of the weights, in the loss of each batch."""

from __future__ import annotations

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.nn.network import Network
from chainrule.optim.base import segments


class Penalty:
    """alpha / 2 sum W^2 over what weight decay is of, by ``Backend.penalize``.

    Parameters
    ----------
    net : whose weights are held small
    alpha : above 0
    """

    def __init__(self, net: Network, alpha: float) -> None:
        parameters, gradients = net.parameter_arena, net.gradient_arena
        parts = [cut.part for cut in segments(parameters.layout, (), alpha) if cut.weight_decay]
        self._work = [(parameters.flat[part], gradients.flat[part]) for part in parts]
        self._alpha, self._mean, self._backend = alpha, net.loss.mean, net.backend

    def add(self, totals: Array, state: Array) -> None:
        """To loss and gradient of the newest batch; part of a step, between the backward pass and the update."""
        for parameters, gradients in self._work:
            self._backend.penalize(parameters, gradients, totals, state, alpha=self._alpha, mean=self._mean)

    def value(self) -> float:
        """alpha / 2 sum W^2 of the present weights. Looks at the device."""
        squares = (np.square(self._backend.download(p), dtype=np.float64).sum() for p, _ in self._work)
        return self._alpha / 2 * float(sum(squares))
