"""How much a fit will compute: its steps, and what a step takes, by the shapes of the net."""

from __future__ import annotations

import math

from chainrule.backends.contract.work import Work
from chainrule.nn.layers.base import Node, walk
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.fused import FusedDense
from chainrule.nn.layers.piecewise_linear import PiecewiseLinear
from chainrule.nn.network import Network
from chainrule.nn.sizes import matrix_sizes
from chainrule.train.settings import TrainingSettings

PER_LAYER, PER_STEP = 8, 8  # kernels, about: forward, backward, update; batch, loss, counters
# Numbers that are read and written for each output of a layer, forward and backward. Random numbers and exponentials
# take as long as so many; of an encoding below a dense layer, for each column that it encodes.
PASSES, RANDOM, EXPONENTIAL, ENCODED = 8, 48, 32, 12
PLAIN = {"identity", "relu", "leaky_relu"}  # activations without an exponential
UPDATE = 8  # numbers that an update reads and writes, for each parameter


def work_of(net: Network, settings: TrainingSettings, rows: int) -> Work:
    """Of a fit of ``net`` on so many rows.

    A product of n rows with a matrix of m elements takes 2 n m operations, and each matrix has three: forward, and
    backward the gradients by its input and by itself.
    """
    n = min(settings.batch_size, rows)
    nodes = list(walk(net.fused_nodes))
    shapes = [shape for node in walk(net.nodes) for shape in node.layer.parameter_shapes(node.n_in).values()]
    matrices = matrix_sizes(net.nodes)
    k = net.members
    passes = sum(node.n_out * _passes(node) for node in nodes)
    parameters = sum(math.prod(shape) for shape in shapes)
    return Work(
        steps=settings.epochs * -(-rows // n),
        kernels=k * PER_LAYER * len(nodes) + PER_STEP,
        operations=6.0 * k * n * sum(matrices),
        largest=2.0 * n * max(matrices, default=0),
        numbers=float(k) * (n * (net.n_in + passes) + UPDATE * parameters),
        threads=settings.threads,
    )


def _passes(node: Node) -> int:
    layer = node.layer
    own = layer.dense if isinstance(layer, FusedDense) else layer
    passes = PASSES + (0 if getattr(own, "activation", "identity") in PLAIN else EXPONENTIAL)
    if isinstance(layer, FusedDense) and layer.encoding is not None:
        encoding = layer.encoding.layer
        assert isinstance(encoding, PiecewiseLinear)
        passes += ENCODED * sum(1 for edges in encoding.edges if edges)
    return passes + (RANDOM if isinstance(layer, Dropout) else 0)
