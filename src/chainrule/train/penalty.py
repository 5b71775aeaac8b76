"""The l2 penalty on the weights, in the loss of each batch."""

from __future__ import annotations

import numpy as np

from chainrule.arena import Arena
from chainrule.backends.contract.backend import Array
from chainrule.nn.network import Network
from chainrule.optim.parameter_groups import segments


class Penalty:
    """(alpha / 2) sum(W^2) over the parameters that weight decay applies to, by ``Backend.penalize``.

    Parameters
    ----------
    net : whose weights are penalised
    alpha : above 0
    """

    def __init__(self, net: Network, alpha: float) -> None:
        parameters, gradients = net.parameter_arena, net.gradient_arena
        parts = [s.part for s in segments(parameters.layout, (), alpha) if s.weight_decay]
        self._work = [(_by_member(parameters, part), _by_member(gradients, part)) for part in parts]
        self._alpha, self._mean, self._backend, self._members = alpha, net.loss.mean, net.backend, net.members
        self._touched = net.touched_vectors

    def add(self, totals: Array, state: Array) -> None:
        """Add it to loss and gradient of the newest batch; part of a step, between the backward pass and the update."""
        for parameters, gradients in self._work:
            self._backend.penalize(parameters, gradients, totals, state, alpha=self._alpha, mean=self._mean)
        if self._touched is not None:
            self._touched.mark_all()

    def value(self) -> float:
        """(alpha / 2) sum(W^2) of the present weights, of an ensemble the mean over its members. Synchronises."""
        squares = (np.square(self._backend.download(p), dtype=np.float64).sum() for p, _ in self._work)
        return self._alpha / 2 * float(sum(squares)) / self._members


def _by_member(arena: Arena, part: slice) -> Array:
    """(m,) of one net, (k, m) of several, each of which has a sum of squares of its own."""
    return arena.flat[part] if arena.members == 1 else arena.by_member[:, part]
