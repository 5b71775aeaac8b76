"""Nets of every layer, activation and loss, with rows and weights, all drawn: their gradients by other ways.

By complex step to 1e-12 and by central differences to 1e-6 of the largest entry, as ``check_gradients`` holds them, and
in float32 against float64 to 1e-5 of the largest, to 1e-4 behind normalisations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from campaigns.tally import Tally
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES
from chainrule.verify.explain import random_rows

TITLE = "gradients of random nets"
CASES = 200

SINGLE, SINGLE_NORMALIZED = 1e-5, 1e-4  # of the largest entry; each normalisation makes roundings larger
# In float32 a number may come down on the other side of a kink, of which rounding says nothing.
SMOOTH = ["tanh", "sigmoid", "softplus", "gelu", "gelu_tanh", "silu", "mish", "identity"]
SMOOTH_LOSSES = [name for name in LOSSES if name not in {"absolute_error", "huber", "quantile"}]


def block(rng: np.random.Generator, width: int, activations: list[str]) -> list[cr.Layer]:
    """Layers that come to this width."""
    activation = str(rng.choice(activations))
    return [
        [cr.Dense(width, activation)],
        [cr.Dense(width), cr.LayerNorm(), cr.Activation(activation)],
        [cr.Dense(width), cr.BatchNorm(), cr.Activation(activation)],
        [cr.Dense(width, activation), cr.Dropout(0.3)],
        [cr.Dense(width), cr.Residual([cr.Dense(width, activation), cr.Dense(width)])],
        [cr.Scale(), cr.Concatenate([cr.Dense(3, activation), cr.Scale()]), cr.Dense(width)],
        [cr.PiecewiseLinear([(-0.9, 0.1, 1.3), (), (-0.2, 0.4)]), cr.Dense(width, activation)],
    ][int(rng.integers(7))]


def net_of(rng: np.random.Generator, activations: list[str], losses: list[str]) -> cr.Network:
    """Up to four blocks between X, whose first column may hold codes, and one of the losses.

    Columns, units and rows are enough for a normalisation to have something to divide by: of two or three units it
    leaves hardly more than a sign, and roundings grow without bound.
    """
    n_in, loss = int(rng.integers(3, 9)), LOSSES[str(rng.choice(losses))]
    layers: list[cr.Layer] = [cr.Embedding([0], [3], [2])] if rng.random() < 0.2 else []
    for _ in range(int(rng.integers(0, 5))):
        layers += block(rng, int(rng.integers(6, 13)), activations)
    layers.append(cr.Dense(loss.outputs_for(int(rng.integers(2, 5)))))
    members = int(rng.integers(2, 6)) if rng.random() < 0.3 else 1
    options: dict[str, Any] = {"dtype": "float64", "backend": cr.backend("cpu"), "members": members}
    return cr.Network(layers, n_in, loss=loss, seed=int(rng.integers(1 << 31)), **options)


def rows_of(rng: np.random.Generator, net: cr.Network) -> tuple[Any, ...]:
    """X, y and weights, exact in float32."""
    X, y = random_rows(net, int(rng.integers(12, 25)), rng)
    for column, count in net.codes().items():
        X[:, column] = rng.integers(0, count, len(X))
    shape = (net.members, len(X)) if net.members > 1 and rng.random() < 0.5 else (len(X),)
    weights = rng.uniform(0.1, 2, shape).astype(np.float32) if rng.random() < 0.5 else None
    return X.astype(np.float32), y, weights


def outcome(number: int) -> str:
    """ "right", or what is wrong."""
    rng = np.random.default_rng(number)
    net = net_of(rng, list(ACTIVATIONS), list(LOSSES))
    X, y, weights = rows_of(rng, net)
    try:
        cr.check_gradients(net, X, y, weights)
    except cr.GradientError as error:
        return str(error)
    net = net_of(rng, SMOOTH, SMOOTH_LOSSES)
    rows = rows_of(rng, net)
    exact, single = (n.loss_and_gradients(*rows)[1] for n in (net, net.copy(dtype="float32")))
    largest = max(float(np.abs(gradient).max()) for gradient in exact.values())
    worst = max(float(np.abs(single[name] - gradient).max()) for name, gradient in exact.items())
    normalized = any(isinstance(layer, cr.LayerNorm | cr.BatchNorm) for layer in net.layers)
    limit = SINGLE_NORMALIZED if normalized else SINGLE
    return "right" if worst <= limit * largest else f"in float32 off by {worst / largest:.1e} of the largest entry"


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many were right, and what went wrong, by number."""
    tally = Tally("right")
    for number in numbers:
        tally.add(number, outcome(number))
    return tally.result()
