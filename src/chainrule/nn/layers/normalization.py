"""Layer and batch normalisation: mean 0 and variance 1, then a learned gain and bias."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.backends.contract.backend import Array, Backend
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use
from chainrule.nn.layers.formulas import Backward, Formulas, Forward
from chainrule.nn.row_format import RowFormat
from chainrule.options import real_number


@dataclass(frozen=True, repr=False)
class _Normalization(Layer):
    """The parameters of both: gain (k,), which starts at 1, and bias (k,), which starts at 0."""

    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", real_number("eps", self.eps, above=True))

    def parameter_shapes(self, n_in: int) -> dict[str, tuple[int, ...]]:
        return {"gain": (n_in,), "bias": (n_in,)}

    def initialize(
        self, backend: Backend, parameters: Mapping[str, Array], *, seed: int, number: int, member: int = 0
    ) -> None:
        backend.fill(1, out=parameters["gain"])

    def memory(self, n_in: int, use: Use) -> Memory:
        """y and dy; the statistics of the batch."""
        y = RowFormat((n_in,), use.storage)
        return Memory({"y": y, "dy": y} if use.training else {"y": y}, {})

    def _formulas(self, mean: str, axis: int) -> tuple[Forward, ...]:
        """Forward, with means along ``axis``."""
        eps = self.eps

        def expanded(array: Array) -> Array:  # statistics, to be combined with x
            return array[:, None] if axis else array

        return (
            Forward("mean", f"{mean}({{x}})", lambda _, q: q.x.mean(axis=axis), "{x} -> {mean}"),
            Forward(
                "inverse_std",
                f"1 / sqrt({mean}(({{x}} - {{mean}})^2) + {eps:g})",
                lambda _, q: 1 / (((q.x - expanded(q.mean)) ** 2).mean(axis=axis) + eps) ** 0.5,
                "{x} -> {inverse_std}",
            ),
            Forward(
                "y",
                "{gain} {x_hat} + {bias} where {x_hat} = ({x} - {mean}) {inverse_std}",
                lambda _, q: q.gain * ((q.x - expanded(q.mean)) * expanded(q.inverse_std)) + q.bias,
            ),
        )

    def _parameter_gradients(self) -> tuple[Backward, ...]:
        return (
            Backward("gain", "sum_rows(d{y} * {x_hat})", "{y} -> {gain}"),
            Backward("bias", "sum_rows(d{y})", "{y} -> {bias}"),
        )


@dataclass(frozen=True, repr=False)
class LayerNorm(_Normalization):
    """y_ij = gain_j (x_ij - mean_i) / sqrt(var_i + eps) + bias_j: each row by its own mean and variance over columns.

    The same in training and in prediction, and independent of the other rows of the batch.

    Parameters
    ----------
    eps : above 0

    Source: Ba, Kiros, Hinton 2016.
    """

    kind: ClassVar[str] = "layer_norm"

    def memory(self, n_in: int, use: Use) -> Memory:
        rows, fixed, _ = super().memory(n_in, use)
        one = RowFormat((), use.dtype)
        return Memory({**rows, "mean": one, "inverse_std": one}, fixed)

    def formulas(self) -> Formulas:
        dx = "{inverse_std} (g - mean_j(g) - {x_hat} mean_j(g {x_hat})) where g = d{y} {gain}"
        return Formulas(self._formulas("mean_j", 1), (*self._parameter_gradients(), Backward("x", dx)))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return LayerNormPass(self, node, binding, **memory)


@dataclass(frozen=True, repr=False)
class BatchNorm(_Normalization):
    """y_ij = gain_j (x_ij - mean_j) / sqrt(var_j + eps) + bias_j: each column by its mean and variance over a batch.

    In prediction mean and variance are running averages over the batches of the training, which are kept with the
    parameters and saved with them: running += momentum (batch - running). They ignore sample weights.

    Parameters
    ----------
    eps : above 0
    momentum : in (0, 1), the share of the newest batch

    Source: Ioffe, Szegedy 2015.
    """

    kind: ClassVar[str] = "batch_norm"

    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "momentum", real_number("momentum", self.momentum, above=True, below=1.0))

    def parameter_shapes(self, n_in: int) -> dict[str, tuple[int, ...]]:
        return {**super().parameter_shapes(n_in), "running_mean": (n_in,), "running_var": (n_in,)}

    def initialize(
        self, backend: Backend, parameters: Mapping[str, Array], *, seed: int, number: int, member: int = 0
    ) -> None:
        super().initialize(backend, parameters, seed=seed, number=number, member=member)
        backend.fill(1, out=parameters["running_var"])

    def memory(self, n_in: int, use: Use) -> Memory:
        rows, *_ = super().memory(n_in, use)
        column = RowFormat((n_in,), use.dtype)
        return Memory(rows, {"mean": column, "inverse_std": column} if use.training else {})

    def formulas(self) -> Formulas:
        eps, momentum = self.eps, self.momentum
        prediction = Forward(
            "y",
            f"{{gain}} ({{x}} - {{running_mean}}) / sqrt({{running_var}} + {eps:g}) + {{bias}} "
            f"where running += {momentum:g} (batch - running) after each batch of the training",
            lambda _, q: q.gain * (q.x - q.running_mean) / (q.running_var + eps) ** 0.5 + q.bias,
        )
        dx = "{gain} {inverse_std} (d{y} - d{bias} / {n} - {x_hat} d{gain} / {n})"
        backward = (*self._parameter_gradients(), Backward("x", dx))
        return Formulas(self._formulas("mean_i", 0), backward, (prediction,))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return BatchNormPass(self, node, binding, **memory)


class _NormalizationPass(LayerPass):
    """A normalisation bound to a batch: keeps its input, whose distance from the mean the backward pass needs."""

    def __init__(
        self,
        layer: _Normalization,
        node: Node,
        binding: Binding,
        *,
        y: Array,
        dy: Array = None,
        mean: Array = None,
        inverse_std: Array = None,
    ) -> None:
        self.backend, self.name, self.eps = binding.backend, node.name, layer.eps
        self.gain, self.bias = (binding.parameters[f"{node.name}.{name}"] for name in ("gain", "bias"))
        if binding.gradients is not None:
            self.dgain, self.dbias = (binding.gradients[f"{node.name}.{name}"] for name in ("gain", "bias"))
        self.x: Array = None
        self.y, self.dy, self.mean, self.inverse_std = y, dy, mean, inverse_std

    def forward(self, x: Array) -> Array:
        """y, keeping x for the backward pass."""
        self.x = x
        self._normalize()
        return self.y

    @abc.abstractmethod
    def _normalize(self) -> None:
        """y from x."""


class LayerNormPass(_NormalizationPass):
    """The layer bound to a batch."""

    def _normalize(self) -> None:
        self.backend.layer_norm(
            self.x, self.gain, self.bias, eps=self.eps, mean=self.mean, inverse_std=self.inverse_std, y=self.y
        )

    def backward(self, dx: Array | None) -> None:
        self.backend.layer_norm_backward(
            self.dy, self.x, self.gain, self.mean, self.inverse_std, dx=dx, dgain=self.dgain, dbias=self.dbias
        )


class BatchNormPass(_NormalizationPass):
    """The layer bound to a batch."""

    def __init__(self, layer: BatchNorm, node: Node, binding: Binding, **memory: Array) -> None:
        super().__init__(layer, node, binding, **memory)
        self.momentum, self._training, self._state = layer.momentum, binding.training, binding.state
        self.running_mean = binding.parameters[f"{node.name}.running_mean"]
        self.running_var = binding.parameters[f"{node.name}.running_var"]

    def _normalize(self) -> None:
        if self._training:
            self.backend.batch_norm(
                self.x,
                self.gain,
                self.bias,
                self._state,
                eps=self.eps,
                momentum=self.momentum,
                mean=self.mean,
                inverse_std=self.inverse_std,
                running_mean=self.running_mean,
                running_var=self.running_var,
                y=self.y,
            )
        else:
            self.backend.batch_norm_inference(
                self.x, self.gain, self.bias, self.running_mean, self.running_var, eps=self.eps, y=self.y
            )

    def backward(self, dx: Array | None) -> None:
        self.backend.batch_norm_backward(
            self.dy, self.x, self.gain, self.mean, self.inverse_std, dx=dx, dgain=self.dgain, dbias=self.dbias
        )
