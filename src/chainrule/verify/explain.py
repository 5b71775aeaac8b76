"""Every formula of one training step, with its shapes, each checked numerically.

A forward line is checked against the same formula in long double. A backward line ``dq = ...`` claims to be the
gradient of the loss by the quantity q, and is checked by the complex step: move q along a random direction, run the
forward pass again with q held there, and compare the slope of the loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.activations import find_activation
from chainrule.nn.dense import Dense, DensePass
from chainrule.nn.losses import Loss
from chainrule.nn.mlp import MLP
from chainrule.nn.network import Network
from chainrule.nn.passes import new_state
from chainrule.random import Purpose, stream
from chainrule.verify.gradients import COMPLEX_STEP

TOLERANCE = 1e-12

RULE_OF_THUMB = (
    "Rule of thumb: a gradient has the shape of what it is the gradient of, and the shapes leave a product no other\n"
    "choice. d{W} must be {dW_shape}, as {W} is. Of {x} {x_shape} and d{z} {z_shape} only {x}.T @ d{z} has that shape."
)


class Line(NamedTuple):
    """One formula: ``name = formula``, the shapes in it, and the relative error that its check found."""

    part: str  # "forward" or "backward"
    name: str
    formula: str
    shapes: str
    error: float

    @property
    def right(self) -> bool:
        """Whether the check agrees."""
        return self.error <= TOLERANCE


class Explanation(NamedTuple):
    """The lines of a step, and the rule of thumb with this net's shapes."""

    lines: list[Line]
    rule: str


def explain(widths: Sequence[int], *, activation: str, loss: str | Loss, batch: int, seed: int = 0) -> Explanation:
    """One step of ``MLP(widths)`` on ``batch`` random rows, in float64 on the CPU.

    The numbers checked are those of the library's own forward and backward pass.
    """
    net = MLP(widths, activation=activation, loss=loss, backend=NumPyBackend(), dtype="float64", seed=seed)
    step = _Step(net, batch, seed)
    W, x, z = f"W{step.top}", step.input_of(step.top), f"z{step.top}"
    W_shape, x_shape, z_shape = (_shape(step.at[name]) for name in (W, x, z))
    rule = RULE_OF_THUMB.format(W=W, dW_shape=W_shape, x=x, x_shape=x_shape, z=z, z_shape=z_shape)
    return Explanation([*_forward_lines(step), *_backward_lines(step)], rule)


class _Step:
    """One pass of the library over random rows. ``at`` and ``d`` hold each quantity and its gradient by name."""

    def __init__(self, net: MLP, n: int, seed: int) -> None:
        self.net, self.top = net, len(net.layers) - 1
        self.layers = [layer for layer in net.layers if isinstance(layer, Dense)]
        self.rng = np.random.default_rng(seed)
        be = net.backend
        self.rows = net.upload_rows(*random_rows(net, n, self.rng))
        for i in range(self.top + 1):  # biases of 0 would hide one that is forgotten
            key, counter = stream(seed, Purpose.CHECK, index=i)
            be.uniform(key, counter, low=-0.5, high=0.5, out=net.parameters()[f"dense{i}.b"])
        batch = net.bind(n, training=True)
        totals = be.empty((1, 3), np.float64)
        with be.running():
            logits = batch.forward(self.rows.x)
            net.loss(be, logits, self.rows.targets, None, new_state(be), totals=totals, dlogits=batch.dlogits)
            batch.backward()
        self.at: dict[str, Any] = {"x": self.rows.x, "loss": net.loss.value(totals)}
        self.d: dict[str, Any] = {}
        for i, layer in enumerate(p for p in batch.layers if isinstance(p, DensePass)):
            z = np.empty_like(layer.y)
            be.dense(layer.x, layer.W, layer.b, "identity", z=z, y=z)
            self.at |= {f"W{i}": layer.W, f"b{i}": layer.b, f"z{i}": z, f"y{i}": layer.y}
            self.d |= {f"W{i}": layer.dW, f"b{i}": layer.db, f"z{i}": layer.dz}
            if i:
                self.d[f"y{i - 1}"] = layer.dz @ layer.W.T

    def input_of(self, layer: int) -> str:
        return f"y{layer - 1}" if layer else "x"

    def forward(self, dtype: Any, moved: str = "", value: Any = None) -> dict[str, Any]:
        """Every quantity of the forward pass in ``dtype``, the one named ``moved`` held at ``value``."""
        at = {"x": self.rows.x.astype(dtype)}

        def put(name: str, found: Any) -> Any:
            at[name] = value if name == moved else found.astype(dtype)
            return at[name]

        be, x = self.net.backend, at["x"]
        with be.running():
            for i, layer in enumerate(self.layers):
                W, b = put(f"W{i}", self.at[f"W{i}"]), put(f"b{i}", self.at[f"b{i}"])
                z = put(f"z{i}", x @ W + b)
                y = np.empty_like(z)
                be.activate(find_activation(layer.activation).name, z, out=y)
                x = put(f"y{i}", y)
            totals = np.empty((1, 3), dtype)
            self.net.loss(be, x, self.rows.targets, None, new_state(be), totals=totals, dlogits=np.empty_like(x))
        at["loss"] = self.net.loss.value(totals)
        return at

    def gradient_error(self, name: str) -> float:
        """How far the gradient by ``name`` is from the complex step, along a random direction."""
        direction = self.rng.normal(size=self.d[name].shape)
        moved = self.at[name] + 1j * COMPLEX_STEP * direction
        slope = self.forward(np.complex128, name, moved)["loss"].imag / COMPLEX_STEP
        # The terms of a bias gradient may all but cancel, their roundings do not.
        size = np.abs(self.d[f"z{name[1:]}"]).sum(axis=0) if name[0] == "b" else np.abs(self.d[name])
        return float(abs((self.d[name] * direction).sum() - slope) / (size * np.abs(direction)).sum())


def random_rows(net: Network, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Normal features, and targets of the kind that the net's loss wants."""
    X, shape = rng.normal(size=(n, net.n_in)), (n, net.loss.columns)
    if net.loss.task == "classify":
        return X, rng.integers(0, net.n_out, n)
    if net.loss.support == "unit":
        return X, rng.integers(0, 2, shape)
    if net.loss.support == "nonnegative":
        return X, rng.poisson(2.0, shape)
    return X, rng.gamma(2.0, size=shape) if net.loss.support == "positive" else rng.normal(size=shape)


def _forward_lines(step: _Step) -> Iterator[Line]:
    exact = step.forward(np.longdouble)

    def line(name: str, formula: str, shapes: str) -> Line:
        error = np.abs(step.at[name] - exact[name]).max() / np.abs(exact[name]).max()
        return Line("forward", name, formula, shapes, float(error))

    for i, layer in enumerate(step.layers):
        x, W, b, z = step.input_of(i), f"W{i}", f"b{i}", f"z{i}"
        shapes = f"{_shape(step.at[x])} @ {_shape(step.at[W])} + {_shape(step.at[b])} = {_shape(step.at[z])}"
        yield line(z, f"{x} @ {W} + {b}", shapes)
        if i < step.top:
            formula = find_activation(layer.activation).formula
            yield line(f"y{i}", _of_layer(i, formula), _shape(step.at[z]))
    yield line("loss", _of_top(step, step.net.loss.formula), f"{step.at['loss']:.6g}")


def _backward_lines(step: _Step) -> Iterator[Line]:
    def line(name: str, formula: str, shapes: str) -> Line:
        return Line("backward", f"d{name}", formula, shapes, step.gradient_error(name))

    for i in reversed(range(step.top + 1)):
        x, W, b, y, z = step.input_of(i), f"W{i}", f"b{i}", f"y{i}", f"z{i}"
        z_shape = _shape(step.at[z])
        if i == step.top:
            yield line(z, _of_top(step, step.net.loss.gradient), z_shape)
        else:
            above, upper = f"z{i + 1}", f"W{i + 1}"
            shapes = f"{_shape(step.at[above])} @ {_shape(step.at[upper].T)} = {z_shape}"
            yield line(y, f"d{above} @ {upper}.T", shapes)
            derivative = find_activation(step.layers[i].activation).derivative
            yield line(z, f"d{y} * {_factor(_of_layer(i, derivative))}", z_shape)
        shapes = f"{_shape(step.at[x].T)} @ {z_shape} = {_shape(step.at[W])}"
        yield line(W, f"{x}.T @ d{z}", shapes)
        yield line(b, f"sum_rows(d{z})", f"{z_shape} -> {_shape(step.at[b])}")


def _of_layer(layer: int, formula: str) -> str:
    """An activation's formula or derivative with the layer's names of y and z."""
    return re.sub(r"\b[yz]\b", rf"\g<0>{layer}", formula)


def _factor(formula: str) -> str:
    """A formula as a factor: in parentheses if it is not one already; abbreviations stay behind it."""
    expression, where, abbreviations = formula.partition(" where ")
    is_one = re.fullmatch(r"\d+|\[[^]]*\]", expression)
    return (expression if is_one else f"({expression})") + where + abbreviations


def _of_top(step: _Step, formula: str) -> str:
    """A loss's formula with the output's name, number of rows and columns put in."""
    n, k = step.at[f"z{step.top}"].shape
    named = re.sub(r"\b[zp](?=\b|_)", f"z{step.top}", formula)
    return re.sub(r"\bk\b", str(k), re.sub(r"\bn\b", str(n), named))


def _shape(array: np.ndarray) -> str:
    return f"({','.join(map(str, array.shape))})"
