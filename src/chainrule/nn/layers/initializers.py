"""Initial weights: uniform, with the variance that keeps signals and gradients at the same scale through the layers.

W ~ U(-limit, limit) has variance limit^2 / 3.

he      limit = sqrt(6 / n_in)            ReLU halves the variance, 2 / n_in compensates (He et al. 2015, eq. 10)
glorot  limit = sqrt(6 / (n_in + n_out))  a compromise between both directions (Glorot, Bengio 2010, eq. 16)
lecun   limit = sqrt(3 / n_in)            a sum of n_in terms has the variance of one (LeCun et al. 1998, eq. 16), which
                                          SELU's fixed point presupposes (Klambauer et al. 2017)

Biases start at 0. Uniform rather than normal numbers, because they need no transcendental function, so that the bits
are the same on every device.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, assert_never

from chainrule.backends.contract.backend import Array, Backend
from chainrule.random import Purpose, stream

InitializerName: TypeAlias = Literal["he", "glorot", "lecun"]


def uniform_limit(initializer: InitializerName, n_in: int, n_out: int) -> float:
    """The half-width of the interval of the weights."""
    match initializer:
        case "he":
            return math.sqrt(6 / n_in)
        case "glorot":
            return math.sqrt(6 / (n_in + n_out))
        case "lecun":
            return math.sqrt(3 / n_in)
    assert_never(initializer)


def initialize_weights(
    backend: Backend, W: Array, initializer: InitializerName, *, seed: int, layer: int, member: int = 0
) -> None:
    """Overwrite ``W`` (n_in, n_out) with the weights of this seed, layer and member of an ensemble."""
    limit = uniform_limit(initializer, *W.shape)
    backend.uniform(*stream(seed, Purpose.WEIGHTS, index=layer, member=member), low=-limit, high=limit, out=W)
