"""The weight EMA: an arena that follows the parameters, and the net that has it as its parameters."""

from __future__ import annotations

from chainrule.backends.contract.backend import Array
from chainrule.nn.network import Network


class WeightEMA:
    """An exponential moving average of all parameters (and statistics) of a net, updated after every step's update.

    Training continues with the raw weights. ``net`` is the same net on the memory of the average: what happens at the
    end of an epoch (validation, callbacks, the snapshot of the best epoch) uses it, so nothing is swapped or copied
    back, and a recorded step or evaluation keeps its addresses. Once, at the end of the run, the average is copied into
    the parameters.

    Parameters
    ----------
    net : whose parameters are followed; the average begins as these
    decay : of ``Backend.average``
    """

    def __init__(self, net: Network, decay: float) -> None:
        self._parameters, self._decay, self._backend = net.parameter_arena.flat, decay, net.backend
        self.net = net.on_parameters(net.parameter_arena.copy())
        self.flat = self.net.parameter_arena.flat

    def begin(self) -> None:
        """The average becomes the parameters as they are before the first step: a first bias may have been set."""
        self._backend.copy(self._parameters, out=self.flat)

    def update(self, state: Array) -> None:
        """After the optimiser, before ``tick``; part of a step."""
        self._backend.average(self._parameters, state, decay=self._decay, out=self.flat)

    def copy_to_parameters(self) -> None:
        """The parameters become the average, at the end of a run."""
        self._backend.copy(self.flat, out=self._parameters)
