"""The layers of a net: checked, and put in their places."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import OptionError
from chainrule.nn.layers.base import Layer, Node, arrange, walk
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.piecewise_linear import PiecewiseLinear

MOST_ENCODINGS = 8  # of a net: each keeps some numbers for every column of its output, which no file pays for


def last_of(layers: Sequence[Layer]) -> Dense:
    """The layer that gives the logits; OptionError unless it is one that can, and all are layers."""
    for layer in layers:
        if not isinstance(layer, Layer):
            raise OptionError(f"expected a layer, got {layer!r}", hint="cr.Dense(256, 'relu'), for example")
    top = layers[-1] if layers else None
    if not isinstance(top, Dense) or top.activation != "identity":
        raise OptionError(
            f"layers: expected a Dense of activation 'identity' as the last, got {'none' if top is None else top}",
            hint="the losses work from logits: end with cr.Dense(outputs)",
        )
    return top


def arranged(layers: Sequence[Layer], n_in: int) -> tuple[Node, ...]:
    """The layers in their places; OptionError if one above the first takes codes, or for very many encodings."""
    nodes = arrange(layers, n_in)
    encodings = sum(isinstance(node.layer, PiecewiseLinear) for node in walk(nodes))
    if encodings > MOST_ENCODINGS:
        raise OptionError(f"expected at most {MOST_ENCODINGS} PiecewiseLinear layers, got {encodings:,}")
    for node in walk(nodes):
        if node is not nodes[0] and node.layer.codes(training=True):
            raise OptionError(f"{node.name} takes codes, which only X holds: it must be the first layer")
    return nodes


def kinds_of(nodes: Sequence[Node]) -> list[str]:
    """The activations and the layers besides the dense ones, each once, in the order in which a batch meets them."""
    found = [getattr(node.layer, "activation", node.layer.kind) for node in walk(nodes)]
    return [name for name in dict.fromkeys(found) if name != "identity"]
