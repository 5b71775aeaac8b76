"""The dense layer, where the chain rule meets the matrix product."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.arena import Arena
from chainrule.backends.base import Array, Backend
from chainrule.nn.activations import find_activation
from chainrule.options import whole_number


@dataclass(frozen=True)
class Dense:
    """y = act(x @ W + b): what the layer is. :class:`DensePass` is the layer at work on a batch.

    Parameters
    ----------
    n_out : columns of y, at least 1
    activation : a name of :data:`~chainrule.nn.activations.ACTIVATIONS`: "identity", "relu", "gelu", ...
    """

    n_out: int
    activation: str = "identity"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_out", whole_number("n_out", self.n_out))  # the dataclass is frozen
        find_activation(self.activation)

    def parameter_shapes(self, n_in: int) -> dict[str, tuple[int, ...]]:
        """W (n_in, n_out) and b (n_out,)."""
        return {"W": (n_in, self.n_out), "b": (self.n_out,)}


class DensePass:
    """y = act(x @ W + b) on a batch of n rows, forward and backward, in memory that is laid out once.

    x (n, n_in), W (n_in, n_out), b (n_out,), y (n, n_out).

    Backward, with dz = dy * act'(z), the gradient of the loss by z = x @ W + b::

        dW = x.T @ dz         db = sum_rows(dz)         dx = dz @ W.T

    The shapes leave no other choice: dW must be (n_in, n_out), and x.T (n_in, n) times dz (n, n_out) is the only
    product of the two that is.
    """

    def __init__(
        self, layer: Dense, backend: Backend, name: str, parameters: Arena, factors: Arena, gradients: Arena | None, *,
        y: Array, z: Array, dz: Array | None,
    ) -> None:  # fmt: skip
        self.backend = backend
        self.name = name
        self.activation = find_activation(layer.activation).name
        self.W = factors[f"{name}.W"]
        self.b = (factors if y.dtype == factors.layout.dtype else parameters)[f"{name}.b"]  # added in the dtype of y
        if gradients is not None:
            self.dW, self.db = gradients[f"{name}.W"], gradients[f"{name}.b"]
        self.x: Array = None
        self.y, self.z, self.dz = y, z, dz
        self.saved = y if find_activation(layer.activation).saves == "output" else z

    def forward(self, x: Array) -> Array:
        """y, keeping x for the way back."""
        self.x = x
        self.backend.dense(x, self.W, self.b, self.activation, z=self.z, y=self.y)
        return self.y

    def backward(self, dy: Array) -> None:
        """dz and db, from the gradient by this layer's output (``dy`` may be ``dz``)."""
        self.backend.activation_backward(self.activation, self.saved, dy, dz=self.dz, db=self.db)

    def weight_gradient(self) -> None:
        """dW = x.T @ dz."""
        self.backend.matmul(self.x.swapaxes(-1, -2), self.dz, out=self.dW)

    def backward_into(self, below: DensePass) -> None:
        """dx = dz @ W.T is the ``dy`` of the layer below: its dz and db in the same breath."""
        self.backend.matmul_activation_backward(
            self.dz, self.W, below.activation, below.saved, out=below.dz, db=below.db
        )
