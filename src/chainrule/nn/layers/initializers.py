"""Initial weights: uniform, with the variance that keeps signals and gradients at the same scale through the layers.

W ~ U(-limit, limit) has variance limit^2 / 3.

he      limit = sqrt(6 / n_in)            ReLU halves the variance, 2 / n_in compensates (He et al. 2015, eq. 10)
glorot  limit = sqrt(6 / (n_in + n_out))  a compromise between both directions (Glorot, Bengio 2010, eq. 16)
lecun   limit = sqrt(3 / n_in)            a sum of n_in terms has the variance of one (LeCun et al. 1998, eq. 16), which
                                          SELU's fixed point presupposes (Klambauer et al. 2017)

Biases start at 0 unless a :class:`Start` says otherwise. Uniform rather than normal numbers, because they need no
transcendental function, so that the bits are the same on every device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias, assert_never, get_args

from chainrule.backends.contract.backend import Array, Backend
from chainrule.options import one_of, real_number, whole_number
from chainrule.random import Purpose, stream

InitializerName: TypeAlias = Literal["he", "glorot", "lecun"]
StartName: TypeAlias = Literal["he", "glorot", "lecun", "zero"]


@dataclass(frozen=True, repr=False)
class Start:
    """What the parameters of a dense layer are before the first step, if not what suits its activation.

    An output layer that starts at 0 gives the best constant first; biases apart from each other put the kinks of the
    units at different places; and weights of some inputs alone leave the rest, like the fractions of a
    :class:`PiecewiseLinear`, to what training finds in them::

        cr.Dense(96, "selu", start=cr.Start("lecun", bias_std=1.0, rows=n_numbers))
        cr.Dense(n_out, start=cr.Start("zero"))

    Parameters
    ----------
    weights : "he", "glorot" or "lecun", all uniform, of variance 2 / n_in, 2 / (n_in + n_out) and 1 / n_in; "zero"; or
        None for the one that suits the activation
    bias_std : the standard deviation of the biases, from 0 up: b ~ U(-sqrt(3) bias_std, sqrt(3) bias_std)
    rows : only the first so many rows of W, those of the first inputs, start with weights, as if they were all (n_in
        above is ``rows``); the others start at 0. None for all of W
    fan_in : in the place of n_in above, for inputs whose squares have another mean than 1: the sum of these means, so
        that hundreds of columns of rare categories count for what they are
    """

    weights: StartName | None = None
    bias_std: float = 0.0
    rows: int | None = None
    fan_in: float | None = None

    def __post_init__(self) -> None:
        if self.weights is not None:
            one_of("weights", self.weights, get_args(StartName))
        object.__setattr__(self, "bias_std", real_number("bias_std", self.bias_std))  # the dataclass is frozen
        if self.rows is not None:
            object.__setattr__(self, "rows", whole_number("rows", self.rows))
        if self.fan_in is not None:
            object.__setattr__(self, "fan_in", real_number("fan_in", self.fan_in, above=True))

    def __repr__(self) -> str:
        return f"Start({', '.join(f'{name}={value!r}' for name, value in self.describe().items())})"

    def describe(self) -> dict[str, Any]:
        """What differs from the defaults, for a model file."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    def initialize(
        self,
        backend: Backend,
        parameters: Mapping[str, Array],
        suited: InitializerName,
        *,
        seed: int,
        layer: int,
        member: int = 0,
    ) -> None:
        """Overwrite W and b, which are 0; ``suited`` is the initializer that suits the activation."""
        if self.weights != "zero":
            W = parameters["W"] if self.rows is None else parameters["W"][: self.rows]
            initialize_weights(
                backend, W, self.weights or suited, seed=seed, layer=layer, member=member, fan_in=self.fan_in
            )
        if self.bias_std:
            limit = math.sqrt(3) * self.bias_std
            numbers = stream(seed, Purpose.BIASES, index=layer, member=member)
            backend.uniform(*numbers, low=-limit, high=limit, out=parameters["b"])


USUAL: Final = Start()


def uniform_limit(initializer: InitializerName, n_in: float, n_out: int) -> float:
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
    backend: Backend,
    W: Array,
    initializer: InitializerName,
    *,
    seed: int,
    layer: int,
    member: int = 0,
    fan_in: float | None = None,
) -> None:
    """Overwrite ``W`` (n_in, n_out) with the weights of this seed, layer and member of an ensemble.

    ``fan_in`` stands in the place of n_in in the limit.
    """
    n_in, n_out = W.shape
    limit = uniform_limit(initializer, n_in if fan_in is None else fan_in, n_out)
    backend.uniform(*stream(seed, Purpose.WEIGHTS, index=layer, member=member), low=-limit, high=limit, out=W)
