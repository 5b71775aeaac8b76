"""A net at work on a batch: the forward and the backward pass, in memory that is laid out once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.backends.contract.backend import HALTED, RUNNING, Array, Backend
from chainrule.nn.borders import signs_at_borders, without_other_signs
from chainrule.nn.layers.base import Binding, LayerPass, Node
from chainrule.nn.layers.chain import Chain
from chainrule.nn.layout import BatchMemory
from chainrule.nn.row_format import first_rows


class SharedRows(NamedTuple):
    """What k members need beside their layers if all have the same rows; each None if there is no need.

    Parameters
    ----------
    x : (k, n, n_in), for a copy of the rows for each member
    mean_of_members : what makes of their logits (k, n, n_out) those of the ensemble, ``mean(logits, out)``
    logits : (n, n_out), for these
    """

    x: Array = None
    mean_of_members: Callable[[Array, Array], None] | None = None
    logits: Array = None

    def first(self, n: int, members: int) -> SharedRows:
        """For ``n`` rows, in the same memory."""
        x = None if self.x is None else first_rows(self.x, n, members)
        return SharedRows(x, self.mean_of_members, None if self.logits is None else self.logits[:n])


NOT_SHARED = SharedRows()


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
    n : rows of the batch, of each member
    shared : if the members of an ensemble have the same rows

    An ensemble of k predicts the mean of its members: ``forward`` returns logits (n, n_out) whose prediction is that
    mean. In training it returns those of each member, (k, n, n_out).
    """

    def __init__(
        self, nodes: Sequence[Node], binding: Binding, memory: BatchMemory, n: int, shared: SharedRows = NOT_SHARED
    ) -> None:
        self.n, self.backend, self.training, self.state = n, binding.backend, binding.training, binding.state
        self._nodes, self._binding, self._memory, self._shared = nodes, binding, memory, shared
        self.chain = Chain([_bind(node, binding, memory) for node in nodes])
        self.layers = self.chain.layers
        self.dlogits = self.layers[-1].dy
        if shared.logits is not None:  # a loss of the ensemble writes a gradient that no one reads
            self.dlogits = self.dlogits[0]

    def first(self, n: int) -> Pass:
        """A pass on ``n`` rows, at most as many as this one's, in the same memory."""
        if n == self.n:
            return self
        memory = self._memory.first(n)
        if self.training:  # fewer rows are another shape, in which something else may be faster
            dtype = self._binding.parameters.layout.dtype
            wanted = signs_at_borders(self._nodes, self.backend, dtype, n)
            memory = memory._replace(rows=without_other_signs(memory.rows, wanted))
        return Pass(self._nodes, self._binding, memory, n, self._shared.first(n, memory.members))

    def parts(self, n: int) -> Iterator[tuple[slice, Pass]]:
        """Slices that cover ``n`` rows, each with a pass of its length; the last may be shorter."""
        for start in range(0, n, self.n):
            stop = min(start + self.n, n)
            yield slice(start, stop), self.first(stop - start)

    def forward(self, x: Array) -> Array:
        """Logits of the rows ``x``: (n, n_in), or (k, n, n_in) if each member has its own."""
        if self._binding.renews_factors:
            self.renew_factors()
        shared = self._shared
        if shared is NOT_SHARED:
            return self.chain.forward(x)
        if shared.x is not None:
            self.backend.copy(x, out=shared.x)
            x = shared.x
        logits = self.chain.forward(x)
        if shared.mean_of_members is None:
            return logits
        shared.mean_of_members(logits, shared.logits)
        return shared.logits

    def renew_factors(self) -> None:
        """The weights as products read them become those of the parameters, if they are a copy."""
        parameters, factors = self._binding.parameters, self._binding.factors
        if factors is not parameters:
            self.backend.copy(parameters.flat, out=factors.flat)

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
