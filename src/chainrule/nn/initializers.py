"""Initial weights: uniform, with the variance that keeps signals and gradients at their size through the layers.

W ~ U(-limit, limit) has variance limit^2 / 3.

he      limit = sqrt(6 / n_in)            ReLU halves the variance, so 2 / n_in evens it out (He et al. 2015, eq. 10)
glorot  limit = sqrt(6 / (n_in + n_out))  a compromise between both directions (Glorot, Bengio 2010, eq. 16)

Biases start at 0. Uniform rather than normal numbers, because they need no transcendental function, so that every
device draws the same bits.
"""

from __future__ import annotations

import math

from chainrule.backends.base import Array, Backend
from chainrule.random import Purpose, stream


def uniform_limit(initializer: str, n_in: int, n_out: int) -> float:
    """The half-width of the interval that weights are drawn from."""
    return math.sqrt(6 / n_in) if initializer == "he" else math.sqrt(6 / (n_in + n_out))


def initialize_weights(backend: Backend, W: Array, initializer: str, *, seed: int, layer: int) -> None:
    """Overwrite ``W`` (n_in, n_out) with the weights of this seed and layer."""
    limit = uniform_limit(initializer, *W.shape)
    backend.uniform(*stream(seed, Purpose.WEIGHTS, index=layer), low=-limit, high=limit, out=W)
