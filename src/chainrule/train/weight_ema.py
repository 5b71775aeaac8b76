"""Averages of the weights: an arena that follows the parameters, and the net that has them as its parameters."""

from __future__ import annotations

from chainrule.backends.contract.backend import Array
from chainrule.nn.network import Network


class WeightEMA:
    """An exponential moving average of all parameters (and statistics) of a net, moved on after every update.

    Training goes on with the raw weights. ``net`` is the same net on the memory of the averages: what an epoch ends
    with (validation, callbacks, the snapshot of the best epoch) works on it, so nothing is ever swapped or copied
    back, and a recorded step or evaluation keeps its addresses. Once, at the end of the run, the averages are copied
    into the parameters.

    Parameters
    ----------
    net : whose parameters are followed; the averages begin as these
    decay : of ``Backend.average``
    """

    def __init__(self, net: Network, decay: float) -> None:
        self._parameters, self._decay, self._backend = net.parameter_arena.flat, decay, net.backend
        self.net = net.on_parameters(net.parameter_arena.copy())
        self.flat = self.net.parameter_arena.flat

    def begin(self) -> None:
        """The averages become the parameters, before the first step."""
        self._backend.copy(self._parameters, out=self.flat)

    def update(self, state: Array) -> None:
        """After the optimiser, before ``tick``; part of a step."""
        self._backend.average(self._parameters, state, decay=self._decay, out=self.flat)

    def keep(self) -> None:
        """The parameters become the averages: the end of a run."""
        self._backend.copy(self.flat, out=self._parameters)
