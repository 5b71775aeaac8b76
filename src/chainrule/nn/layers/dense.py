"""The dense layer: the chain rule of a matrix product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from chainrule.backends.contract.backend import ActivationName, Array, Backend
from chainrule.errors import OptionError
from chainrule.nn.layers.activations import find_activation
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use
from chainrule.nn.layers.formulas import Backward, Formulas, Forward, activated
from chainrule.nn.layers.initializers import USUAL, Start
from chainrule.nn.row_format import RowFormat
from chainrule.options import whole_number


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """y = act(x @ W + b): the description. :class:`DensePass` is the layer bound to a batch.

    Parameters
    ----------
    n_out : columns of y, at least 1
    activation : a name of :data:`~chainrule.nn.layers.activations.ACTIVATIONS`: "identity", "relu", "gelu", ...
    start : W and b before the first step, see :class:`Start`; by default W suits the activation, and b is 0
    """

    kind: ClassVar[str] = "dense"

    n_out: int
    activation: ActivationName = "identity"
    start: Start = USUAL

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_out", whole_number("n_out", self.n_out))  # the dataclass is frozen
        find_activation(self.activation)
        if not isinstance(self.start, Start):
            raise OptionError(f"start: expected a Start, got {self.start!r:.80}", hint="cr.Start('zero'), for example")

    def __repr__(self) -> str:
        activation = "" if self.activation == "identity" else f", {self.activation!r}"
        return f"Dense({self.n_out}{activation}{'' if self.start == USUAL else f', start={self.start!r}'})"

    def width(self, n_in: int) -> int:
        if self.start.rows is not None and self.start.rows > n_in:
            raise OptionError(f"rows of a start: expected at most the {n_in} inputs, got {self.start.rows}")
        return self.n_out

    def parameter_shapes(self, n_in: int) -> dict[str, tuple[int, ...]]:
        """W (n_in, n_out) and b (n_out,)."""
        return {"W": (n_in, self.n_out), "b": (self.n_out,)}

    def initialize(
        self, backend: Backend, parameters: Mapping[str, Array], *, seed: int, number: int, member: int = 0
    ) -> None:
        """W and b as ``start`` says."""
        suited = find_activation(self.activation).initializer
        self.start.initialize(backend, parameters, suited, seed=seed, layer=number, member=member)

    def memory(self, n_in: int, use: Use) -> Memory:
        """y and dz; in training z, if the derivative is a function of it rather than of y."""
        y = RowFormat((self.n_out,), use.dtype if use.is_last else use.storage)
        rows = {"y": y}
        if use.training and find_activation(self.activation).saves == "input":
            rows["z"] = y
        if use.training or use.is_last:  # a loss writes its gradient even if nothing is trained
            rows["dz"] = RowFormat((self.n_out,), use.storage)
        return Memory(rows, {})

    def formulas(self) -> Formulas:
        activation = find_activation(self.activation)
        z = Forward("z", "{x} @ {W} + {b}", lambda _, q: q.x @ q.W + q.b, "{x} @ {W} + {b} = {z}")
        from_dz = (
            Backward("W", "{x}.T @ d{z}", "{x}.T @ {z} = {W}"),
            Backward("b", "sum_rows(d{z})", "{z} -> {b}"),
            Backward("x", "d{z} @ {W}.T", "{z} @ {W}.T = {x}"),
        )
        if activation.name == "identity":
            return Formulas((z,), from_dz)
        y = Forward("y", activation.of("{z}"), lambda at, q: activated(at.backend, activation.name, q.z))
        return Formulas((z, y), (Backward("z", f"d{{y}} * {activation.factor('{y}', '{z}')}"), *from_dz))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> DensePass:
        return DensePass(self, node.name, binding, **memory)

    def describe(self) -> dict[str, Any]:
        start = self.start.describe()
        described = {"kind": self.kind, "n_out": self.n_out, "activation": self.activation}
        return described | ({"start": start} if start else {})


class DensePass(LayerPass):
    """y = act(x @ W + b) on a batch of n rows, forward and backward, in memory that is allocated once.

    x (n, n_in), W (n_in, n_out), b (n_out,), y (n, n_out).

    Backward, with dz = dy * act'(z), the gradient of the loss by z = x @ W + b::

        dW = x.T @ dz         db = sum_rows(dz)         dx = dz @ W.T

    The shapes leave no other choice: dW must be (n_in, n_out), and x.T (n_in, n) times dz (n, n_out) is the only
    product of the two that is.
    """

    def __init__(
        self,
        layer: Dense,
        name: str,
        binding: Binding,
        *,
        y: Array,
        z: Array = None,
        dz: Array = None,
        signs: Array = None,
    ) -> None:
        self.backend = binding.backend
        self.name = name
        activation = find_activation(layer.activation)
        self.activation = activation.name
        factors, gradients = binding.factors, binding.gradients
        self.W = factors[f"{name}.W"]
        in_storage = y.dtype == factors.layout.dtype
        self.b = (factors if in_storage else binding.parameters)[f"{name}.b"]  # added in the dtype of y
        if gradients is not None:
            self.dW, self.db = gradients[f"{name}.W"], gradients[f"{name}.b"]
        self.x: Array = None
        self.y, self.z = y, y if z is None else z
        self.dy = self.dz = dz
        self.saved = y if activation.saves == "output" else z
        self.signs = signs  # if the layer above is dense too, and the backend wants them

    def forward(self, x: Array) -> Array:
        """y, keeping x for the backward pass."""
        self.x = x
        self.backend.dense(x, self.W, self.b, self.activation, z=self.z, y=self.y, signs=self.signs)
        return self.y

    def backward(self, dx: Array | None) -> None:
        self.activation_gradient()
        self.backward_from_dz(dx)

    def activation_gradient(self) -> None:
        """dz = dy * act'(z) and db = sum_rows(dz)."""
        self.backend.activation_backward(self.activation, self.saved, self.dy, dz=self.dz, db=self.db)

    def weight_gradient(self) -> None:
        """dW = x.T @ dz."""
        self.backend.matmul(self.x.swapaxes(-1, -2), self.dz, out=self.dW)

    def backward_from_dz(self, dx: Array | None) -> None:
        """dW, and dx = dz @ W.T."""
        self.weight_gradient()
        if dx is not None:
            self.backend.matmul(self.dz, self.W.swapaxes(-1, -2), out=dx)

    def backward_into(self, below: DensePass) -> None:
        """dx = dz @ W.T, which is the ``dy`` of the dense layer below, and that layer's dz and db, in one call."""
        self.backend.matmul_activation_backward(
            self.dz, self.W, below.activation, below.saved, out=below.dz, db=below.db, signs=below.signs
        )
