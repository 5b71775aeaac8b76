"""The multilayer perceptron: the common nets, from a list of widths and a few options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np

from chainrule.backends.contract.backend import ActivationName, Backend
from chainrule.errors import OptionError
from chainrule.nn.layers.activation import Activation
from chainrule.nn.layers.activations import find_activation
from chainrule.nn.layers.base import Layer
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.layers.normalization import BatchNorm, LayerNorm
from chainrule.nn.layers.residual import Residual
from chainrule.nn.losses.names import Loss, LossName
from chainrule.nn.network import Network
from chainrule.nn.row_format import DtypeLike
from chainrule.options import one_of, whole_number

NormalizationName: TypeAlias = Literal["layer", "batch"]
NORMALIZATIONS: dict[NormalizationName, type[Layer]] = {"layer": LayerNorm, "batch": BatchNorm}


class MLP(Network):
    """A multilayer perceptron: ``MLP([64, 256, 128, 10])`` has 64 inputs, two hidden layers and 10 outputs.

    A hidden layer is Dense, normalisation, activation, dropout; normalisation and dropout only if asked for.

    Parameters
    ----------
    widths : columns of X, units of each hidden layer, outputs
    activation : of the hidden layers, one for all or one for each; the output layer gives logits
    dropout : the rate after every hidden layer, in [0, 1)
    normalization : None, "layer" or "batch"; before the activation
    residual : whether every hidden layer that is as wide as the one below it has a shortcut around it
    embedding : the first layer, if columns of X hold codes of categories; see ``encoder.embedding()``
    loss : a name, or a loss with options: ``cr.Huber(delta=2.0)``
    backend : from :func:`chainrule.backend`; the CPU's by default
    dtype : "float32" or "float64"
    seed : of the initial weights and of dropout
    members : nets of this kind that are trained at once, an ensemble; see :class:`Network`
    member : the number of the first of them
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        activation: ActivationName | Sequence[ActivationName] = "relu",
        dropout: float = 0.0,
        normalization: NormalizationName | None = None,
        residual: bool = False,
        embedding: Embedding | None = None,
        loss: LossName | Loss = "softmax_cross_entropy",
        backend: Backend | None = None,
        dtype: DtypeLike = "float32",
        seed: int = 0,
        members: int = 1,
        member: int = 0,
    ) -> None:
        if not isinstance(widths, Sequence | np.ndarray) or isinstance(widths, str):
            raise OptionError(f"widths: expected a list of whole numbers, got {widths!r}", hint="[64, 256, 10]")
        if len(widths) < 2:
            raise OptionError(f"widths: expected at least an input and an output, got {list(widths)}")
        n_in, *hidden, n_out = (whole_number(f"widths[{i}]", width) for i, width in enumerate(widths))
        if normalization is not None:
            one_of("normalization", normalization, NORMALIZATIONS)
        if not isinstance(embedding, Embedding | None):
            raise OptionError(f"embedding: expected an Embedding or None, got {embedding!r:.80}")
        layers: list[Layer] = [] if embedding is None else [embedding]
        for i, (width, name) in enumerate(zip(hidden, _activations(activation, len(hidden)), strict=True)):
            block = list(_hidden_layer(width, name, dropout, normalization))
            layers += [Residual(block)] if residual and i and width == hidden[i - 1] else block
        super().__init__(
            [*layers, Dense(n_out)],
            n_in,
            loss=loss,
            backend=backend,
            dtype=dtype,
            seed=seed,
            members=members,
            member=member,
        )


def _activations(activation: ActivationName | Sequence[ActivationName], count: int) -> list[ActivationName]:
    if not isinstance(activation, str | Sequence):
        raise OptionError(
            f"activation: expected a name or one for each hidden layer, got {activation!r}",
            hint="'relu', for example; a custom function is a cr.CustomActivation, a layer of cr.Network",
        )
    names = [activation] * count if isinstance(activation, str) else list(activation)
    if len(names) != count:
        raise OptionError(f"activation: expected one for all, or one for each hidden layer ({count}), got {len(names)}")
    if isinstance(activation, str):
        find_activation(activation)  # which no layer would check in a net without hidden layers
    return names


def _hidden_layer(
    width: int, activation: ActivationName, dropout: float, normalization: NormalizationName | None
) -> Iterator[Layer]:
    if normalization is None:
        yield Dense(width, activation)
    else:
        yield Dense(width)
        yield NORMALIZATIONS[normalization]()
        yield Activation(activation)
    rate = Dropout(dropout)
    if rate.rate:
        yield rate
