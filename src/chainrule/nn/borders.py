"""Where two dense layers touch: memory in which a backend may keep which outputs of the lower one are above 0."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.nn.layers.base import Memory, Node
from chainrule.nn.layers.dense import Dense
from chainrule.nn.row_format import RowFormat

SIGNS = "signs"


def signs_at_borders(nodes: Sequence[Node], backend: Backend, dtype: Any, n: int | None) -> dict[str, RowFormat]:
    """{name of the lower layer: a row of its signs}, for those borders at which ``backend`` wants any.

    Parameters
    ----------
    nodes : the layers in their places
    dtype : of the net
    n : rows of a batch, of each member; None for the most that may be wanted
    """
    wanted = {
        lower.name: backend.signs_per_row(
            n, lower.n_in, lower.n_out, upper.n_out, activation=lower.layer.activation, dtype=dtype
        )
        for lower, upper in _borders(nodes)
        if isinstance(lower.layer, Dense)
    }
    return {name: RowFormat((size,), np.dtype(np.uint8)) for name, size in wanted.items() if size}


def with_signs(
    memories: Mapping[str, Memory], nodes: Sequence[Node], backend: Backend, dtype: Any, n: int
) -> dict[str, Memory]:
    """What layers ask for to be trained on ``n`` rows, and the signs at their borders."""
    wanted = signs_at_borders(nodes, backend, dtype, n)
    return {
        name: memory._replace(rows=memory.rows | {SIGNS: wanted[name]}) if name in wanted else memory
        for name, memory in memories.items()
    }


def without_other_signs(
    rows: Mapping[str, dict[str, Array]], wanted: Mapping[str, RowFormat]
) -> dict[str, dict[str, Array]]:
    """Memory of layers, less the signs of those that are not among the ``wanted``."""
    return {
        layer: {name: array for name, array in arrays.items() if name != SIGNS or layer in wanted}
        for layer, arrays in rows.items()
    }


def _borders(nodes: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    """Dense layers that follow each other, within blocks too: the fused calls of ``nn/layers/chain.py``."""
    for node in nodes:
        yield from _borders(node.inner)
    for lower, upper in itertools.pairwise(nodes):
        if isinstance(lower.layer, Dense) and isinstance(upper.layer, Dense):
            yield lower, upper
