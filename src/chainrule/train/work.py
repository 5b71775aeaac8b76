"""How much a fit will compute: its steps, and what a step takes, by the shapes of the net."""

from __future__ import annotations

import math

from chainrule.backends.contract.work import Work
from chainrule.nn.layers.base import walk
from chainrule.nn.network import Network
from chainrule.train.settings import TrainingSettings

PER_LAYER, PER_STEP = 8, 8  # kernels, about: forward, backward, update; batch, loss, counters
PASSES = 8  # over the outputs of a layer, forward and backward
UPDATE = 8  # numbers that an update reads and writes, for each parameter


def work_of(net: Network, settings: TrainingSettings, rows: int) -> Work:
    """Of a fit of ``net`` on so many rows.

    A product of n rows with a matrix of m elements takes 2 n m operations, and each matrix has three: forward, and
    backward the gradients by its input and by itself.
    """
    n = min(settings.batch_size, rows)
    nodes = list(walk(net.fused_nodes))
    shapes = [shape for node in nodes for shape in node.layer.parameter_shapes(node.n_in).values()]
    matrices = [math.prod(shape) for shape in shapes if len(shape) > 1]
    k = net.members
    outputs = sum(node.n_out for node in nodes)
    parameters = sum(math.prod(shape) for shape in shapes)
    return Work(
        steps=settings.epochs * -(-rows // n),
        kernels=k * PER_LAYER * len(nodes) + PER_STEP,
        operations=6.0 * k * n * sum(matrices),
        largest=2.0 * n * max(matrices, default=0),
        numbers=float(k) * (n * (net.n_in + PASSES * outputs) + UPDATE * parameters),
        threads=settings.threads,
    )
