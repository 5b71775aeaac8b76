"""How much a net multiplies and holds: what decides how a pass is best computed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.nn.layers.base import Node, walk
from chainrule.nn.layers.embedding import Embedding


def matrix_sizes(nodes: Sequence[Node]) -> list[int]:
    """Elements of each matrix that rows are multiplied by: 2 operations per element, row and pass."""
    layers = [node for node in walk(nodes) if not isinstance(node.layer, Embedding)]  # which picks rows of its matrix
    shapes = [shape for node in layers for shape in node.layer.parameter_shapes(node.n_in).values()]
    return [math.prod(shape) for shape in shapes if len(shape) > 1]


def widest(nodes: Sequence[Node], n_in: int) -> int:
    """The most numbers that a row has on its way through the net."""
    return max(n_in, *(node.n_out for node in walk(nodes)))
