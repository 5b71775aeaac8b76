"""A net at work on a batch: the forward and the backward pass, in memory that is laid out once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from chainrule.backends.base import HALTED, RUNNING, Array, Backend
from chainrule.nn.activations import find_activation
from chainrule.nn.dense import Dense, DensePass

if TYPE_CHECKING:
    from chainrule.nn.network import Network


class Pass:
    """A net at work on a batch of n rows: all intermediate results, laid out once and used again every step.

    Forward, each layer keeps its input and output. Backward, the loss has left its gradient by the logits in
    ``dlogits``, and each layer turns the gradient by its output into the gradients by its parameters and its input.
    """

    def __init__(
        self, net: Network, n: int, *, training: bool, memory: Sequence[dict[str, Array]] | None = None
    ) -> None:
        be = net.backend
        self.net, self.backend, self.n, self.training = net, be, n, training
        self._parameters, self._factors = net.parameter_arena, net.factor_arena
        self._memory = memory or [self._allocate(layer, n) for layer in net.layers]
        gradients = net.gradient_arena if training else None
        self.layers = [
            DensePass(layer, be, f"dense{i}", self._parameters, self._factors, gradients, **mine)
            for i, (layer, mine) in enumerate(zip(net.layers, self._memory, strict=True))
        ]
        self.dlogits = self.layers[-1].dz

    def _allocate(self, layer: Dense, n: int) -> dict[str, Array]:
        shape, be, is_last = (n, layer.n_out), self.backend, layer is self.net.layers[-1]
        storage = be.storage(self.net.dtype)
        y = be.empty(shape, self.net.dtype if is_last else storage)  # a loss wants all digits of the logits
        keeps_z = self.training and find_activation(layer.activation).saves == "input"
        z = be.empty(shape, y.dtype) if keeps_z else y
        needs_gradient = self.training or is_last  # and room for its gradient
        return {"y": y, "z": z, "dz": be.empty(shape, storage) if needs_gradient else None}

    def first(self, n: int) -> Pass:
        """A pass on ``n`` rows, at most as many as this one's, in the first rows of the same memory."""
        if n == self.n:
            return self
        memory = []
        for mine in self._memory:
            y = mine["y"][:n]
            z = y if mine["z"] is mine["y"] else mine["z"][:n]
            memory.append({"y": y, "z": z, "dz": None if mine["dz"] is None else mine["dz"][:n]})
        return Pass(self.net, n, training=self.training, memory=memory)

    def parts(self, n: int) -> Iterator[tuple[slice, Pass]]:
        """Slices that cover ``n`` rows, each with a pass of its length; the last may be shorter."""
        for start in range(0, n, self.n):
            stop = min(start + self.n, n)
            yield slice(start, stop), self.first(stop - start)

    def forward(self, x: Array) -> Array:
        """Logits of the rows ``x`` (n, n_in)."""
        if self._factors is not self._parameters:
            self.backend.copy(self._parameters.flat, out=self._factors.flat)
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self) -> None:
        """The gradient arena, from ``dlogits``: from the top layer down, each by the chain rule."""
        top, bottom = self.layers[-1], self.layers[0]
        top.backward(self.dlogits)
        for layer, below in itertools.pairwise(reversed(self.layers)):
            layer.weight_gradient()
            layer.backward_into(below)
        bottom.weight_gradient()


def new_state(backend: Backend) -> Array:
    """A step state at its start: step 0, batch 0, not halted."""
    state = backend.empty((3,), np.int64)
    start = [0, 0, 0]
    start[HALTED] = RUNNING
    backend.assign(start, out=state)
    return state
