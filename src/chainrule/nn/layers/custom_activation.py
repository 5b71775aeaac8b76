"""Custom activations: a function and its derivative, checked against each other before they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import GradientError
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use
from chainrule.nn.layers.formulas import Backward, Formulas, Forward
from chainrule.nn.row_format import RowFormat
from chainrule.nn.user_functions import STEP, Function, central_difference, check_given, disagreement, failure, mismatch

POINTS, RANGE = 257, 4.0  # of the check


@dataclass(frozen=True, repr=False)
class CustomActivation(Layer):
    """y = value(z) element by element, with a derivative that you supply; a layer of its own.

    >>> softsign = CustomActivation(
    ...     "softsign", lambda xp, z: z / (1 + abs(z)), lambda xp, z: 1 / (1 + abs(z)) ** 2
    ... )

    Parameters
    ----------
    name : its name in a model file; :func:`chainrule.load` takes the layer itself in ``custom=[...]``
    value, derivative : functions of (xp, z): the array module of the backend (NumPy or CuPy) and an array of any shape.
        They return an array of that shape, and read no value on the host.

    A net with it runs on every device. On a GPU its steps are launched kernel by kernel rather than replayed as a
    graph, which makes small nets slower.

    Raises
    ------
    GradientError   when a net is made of it, if ``derivative`` is not the slope of ``value``: names the point.
    OptionError     if a function fails or returns another shape.
    """

    kind: ClassVar[str] = "custom_activation"

    name: str
    value: Function
    derivative: Function

    def __post_init__(self) -> None:
        check_given(self.name, {"value": self.value, "derivative": self.derivative}, "(xp, z)")

    def __repr__(self) -> str:
        return f"CustomActivation({self.name!r})"

    def initialize(
        self, backend: Backend, parameters: Mapping[str, Array], *, seed: int, number: int, member: int = 0
    ) -> None:
        """There are no parameters: this is where the pair is checked, on the backend that it will run on."""
        check_derivative(backend, self.name, self.value, self.derivative)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name}

    def memory(self, n_in: int, use: Use) -> Memory:
        y = RowFormat((n_in,), use.storage)
        return Memory({"y": y, "dy": y} if use.training else {"y": y}, {})

    def formulas(self) -> Formulas:
        """By its name, as the function itself is opaque."""

        def value(at: Any, q: Any) -> Array:
            y = at.backend.empty(q.x.shape, q.x.dtype)
            at.backend.apply(self.value, q.x, out=y)
            return y

        dx = Backward("x", f"d{{y}} * {self.name}'({{x}})")
        return Formulas((Forward("y", f"{self.name}({{x}})", value),), (dx,))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return CustomActivationPass(self, node, binding, **memory)


class CustomActivationPass(LayerPass):
    """The layer bound to a batch:   y = value(x),   dx = dy derivative(x)."""

    def __init__(self, layer: CustomActivation, node: Node, binding: Binding, *, y: Array, dy: Array = None) -> None:
        self.backend, self.name = binding.backend, node.name
        self._value, self._derivative = layer.value, layer.derivative
        self.x: Array = None
        self.y, self.dy = y, dy

    def forward(self, x: Array) -> Array:
        self.x = x
        self.backend.apply(self._value, x, out=self.y)
        return self.y

    def backward(self, dx: Array | None) -> None:
        if dx is not None:
            derivative = self._derivative
            self.backend.apply(lambda xp, x, dy: dy * derivative(xp, x), self.x, self.dy, out=dx)


def check_derivative(backend: Backend, name: str, value: Function, derivative: Function) -> None:
    """GradientError if ``derivative`` is not the slope of ``value``, by central differences in float64.

    The points are random, so that none is a kink of the function.
    """
    z = np.sort(np.random.default_rng(0).uniform(-RANGE, RANGE, POINTS))

    def of(what: str, function: Function, at: np.ndarray) -> np.ndarray:
        found = backend.empty(at.shape, np.float64)
        with backend.running():
            try:
                backend.apply(function, backend.upload(at), out=found)
            except MemoryError:
                raise
            except Exception as error:
                raise failure(f"the {what} of {name}", error, "(xp, z)") from error
        return backend.download(found)

    ahead, behind = (of("value", value, z + h) for h in (STEP, -STEP))
    numeric, analytic = central_difference(ahead, behind), of("derivative", derivative, z)
    wrong = disagreement(analytic, numeric)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise GradientError(
            f"derivative of {name} at z = {z[at]:.6g}: {mismatch(analytic[at], numeric[at])}; "
            f"{int(wrong.sum())} of {POINTS} points between {-RANGE:g} and {RANGE:g} disagree",
            hint="the derivative is a function of z, the input, not of y",
        )
