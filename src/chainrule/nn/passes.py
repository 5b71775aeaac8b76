"""A net at work on a batch: the forward and the backward pass, in memory that is laid out once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chainrule.backends.contract.backend import HALTED, RUNNING, Array, Backend
from chainrule.nn.layers.base import Binding, LayerPass, Node
from chainrule.nn.layers.chain import Chain
from chainrule.nn.layout import BatchMemory


class Pass:
    """A net at work on a batch of n rows: all intermediate results, laid out once and used again every step.

    Forward, each layer keeps its input and output; when nothing is trained, only until the layer above has read it
    (:mod:`chainrule.nn.layout`). Backward, the loss has left its gradient by the logits in ``dlogits``, and each layer
    turns the gradient by its output into the gradients by its parameters and its input.

    Parameters
    ----------
    nodes : the layers in their places
    binding : what they share: backend, parameters, gradients if they are trained, the state of the step
    memory : their arrays
    n : rows of the batch
    """

    def __init__(self, nodes: Sequence[Node], binding: Binding, memory: BatchMemory, n: int) -> None:
        self.n, self.backend, self.training, self.state = n, binding.backend, binding.training, binding.state
        self._nodes, self._binding, self._memory = nodes, binding, memory
        self.chain = Chain([_bind(node, binding, memory) for node in nodes])
        self.layers = self.chain.layers
        self.dlogits = self.layers[-1].dy

    def first(self, n: int) -> Pass:
        """A pass on ``n`` rows, at most as many as this one's, in the first rows of the same memory."""
        return self if n == self.n else Pass(self._nodes, self._binding, self._memory.first(n), n)

    def parts(self, n: int) -> Iterator[tuple[slice, Pass]]:
        """Slices that cover ``n`` rows, each with a pass of its length; the last may be shorter."""
        for start in range(0, n, self.n):
            stop = min(start + self.n, n)
            yield slice(start, stop), self.first(stop - start)

    def forward(self, x: Array) -> Array:
        """Logits of the rows ``x`` (n, n_in)."""
        parameters, factors = self._binding.parameters, self._binding.factors
        if factors is not parameters:
            self.backend.copy(parameters.flat, out=factors.flat)
        return self.chain.forward(x)

    def backward(self) -> None:
        """The gradient arena, from ``dlogits``."""
        self.chain.backward(None)


def _bind(node: Node, binding: Binding, memory: BatchMemory) -> LayerPass:
    inner = [_bind(child, binding, memory) for child in node.inner]
    return node.layer.bind(node, binding, memory.rows[node.name] | memory.fixed[node.name], inner)


def new_state(backend: Backend, *, halted: int = RUNNING) -> Array:
    """A step state at its start: step 0, batch 0, and unless told otherwise not halted."""
    state = backend.empty((3,), np.int64)
    start = [0, 0, 0]
    start[HALTED] = halted
    backend.assign(start, out=state)
    return state
