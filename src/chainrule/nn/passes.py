"""A net at work on a batch: the forward and the backward pass, in memory that is laid out once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from chainrule.backends.contract.backend import HALTED, RUNNING, Array, Backend
from chainrule.nn.layers.base import Binding, LayerPass, Node
from chainrule.nn.layers.chain import Chain
from chainrule.nn.layout import Memories, lay_out

if TYPE_CHECKING:
    from chainrule.nn.network import Network


class Pass:
    """A net at work on a batch of n rows: all intermediate results, laid out once and used again every step.

    Forward, each layer keeps its input and output; where nothing is trained, only until the layer above has read it
    (:mod:`chainrule.nn.layout`). Backward, the loss has left its gradient by the logits in ``dlogits``, and each layer
    turns the gradient by its output into the gradients by its parameters and its input.

    Parameters
    ----------
    training : whether layers do what they do in training (drop out, measure) and there is room for gradients
    apart : every output stays as it is until the next pass, to be looked at, also where nothing is trained
    state : of the step, for layers that draw random numbers or keep statistics; by default that of step 0
    """

    def __init__(
        self,
        net: Network,
        n: int,
        *,
        training: bool,
        state: Array = None,
        apart: bool = False,
        rows: Memories | None = None,
        fixed: Memories | None = None,
    ) -> None:
        be = net.backend
        self.net, self.backend, self.n, self.training = net, be, n, training
        self._parameters, self._factors = net.parameter_arena, net.factor_arena
        if rows is None or fixed is None:
            rows, fixed = lay_out(net, n, training=training, apart=apart)
        self._rows, self._fixed = rows, fixed
        self.state = new_state(be) if state is None else state
        gradients = net.gradient_arena if training else None
        binding = Binding(be, self._parameters, self._factors, gradients, self.state, net.seed)
        self.chain = Chain([_bind(node, binding, rows, fixed) for node in net.nodes])
        self.layers = self.chain.layers
        self.dlogits = self.layers[-1].dy

    def first(self, n: int) -> Pass:
        """A pass on ``n`` rows, at most as many as this one's, in the first rows of the same memory."""
        if n == self.n:
            return self
        rows = {layer: {name: array[:n] for name, array in mine.items()} for layer, mine in self._rows.items()}
        return Pass(self.net, n, training=self.training, state=self.state, rows=rows, fixed=self._fixed)

    def parts(self, n: int) -> Iterator[tuple[slice, Pass]]:
        """Slices that cover ``n`` rows, each with a pass of its length; the last may be shorter."""
        for start in range(0, n, self.n):
            stop = min(start + self.n, n)
            yield slice(start, stop), self.first(stop - start)

    def forward(self, x: Array) -> Array:
        """Logits of the rows ``x`` (n, n_in)."""
        if self._factors is not self._parameters:
            self.backend.copy(self._parameters.flat, out=self._factors.flat)
        return self.chain.forward(x)

    def backward(self) -> None:
        """The gradient arena, from ``dlogits``."""
        self.chain.backward(None)


def _bind(node: Node, binding: Binding, rows: Memories, fixed: Memories) -> LayerPass:
    inner = [_bind(child, binding, rows, fixed) for child in node.inner]
    return node.layer.bind(node, binding, rows[node.name] | fixed[node.name], inner)


def new_state(backend: Backend, *, halted: int = RUNNING) -> Array:
    """A step state at its start: step 0, batch 0, and unless told otherwise not halted."""
    state = backend.empty((3,), np.int64)
    start = [0, 0, 0]
    start[HALTED] = halted
    backend.assign(start, out=state)
    return state
