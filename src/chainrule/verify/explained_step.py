"""The numbers of the training step that :mod:`~chainrule.verify.explain` explains: the library's, and by formula.

Each quantity of the net has its own name: its symbol in the layer's formulas, and how many layers with that symbol
precede. So W1 is the W of dense1, and y3 the fourth y in the order of the forward pass.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.layers.base import LayerPass, Node
from chainrule.nn.layers.dense import DensePass
from chainrule.nn.layers.formulas import Formulas, Forward
from chainrule.nn.network import Network
from chainrule.nn.passes import Pass, new_state
from chainrule.verify.gradients import COMPLEX_STEP, TINY

# Of the largest gradient. The terms of a gradient may all but cancel, as when two numbers are normalised, while their
# rounding errors do not; and an error of a part in 10^13 of the largest is still detected.
FLOOR = 0.1
SYMBOL = re.compile(r"\{([^{}]+)\}")
# A formula that forgets a parameter would be right at these values, which a new net has everywhere: they are changed.
FRESH = {"W": 0.0, "b": 0.0, "s": 1.0, "bias": 0.0, "gain": 1.0, "running_mean": 0.0, "running_var": 1.0}


class Place(NamedTuple):
    """A layer in its place, and the names of its symbols there."""

    node: Node
    depth: int  # of blocks around it
    formulas: Formulas
    names: dict[str, str]
    inner: tuple[Place, ...]

    @property
    def output(self) -> str:
        return self.names[self.formulas.forward[-1].symbol]

    def walk(self) -> Iterator[Place]:
        """The layers within it, then itself: the order in which a batch passes through them."""
        for place in self.inner:
            yield from place.walk()
        yield self


def name_quantities(nodes: Sequence[Node], n: int) -> tuple[Place, ...]:
    """The layers of a net, in a row on the ``n`` rows "x"."""
    counts: dict[str, int] = {}

    def row(nodes: Sequence[Node], x: str, depth: int) -> tuple[Place, ...]:
        places: list[Place] = []
        for node in nodes:
            inner = row(node.inner, x, depth + 1)
            formulas = node.layer.formulas()
            names = {"x": x, "n": str(n), **({"f": inner[-1].output} if inner else {})}
            texts = (f"{{{line.symbol}}} {line.text}" for part in formulas for line in part)
            for symbol in (*node.layer.parameter_shapes(node.n_in), *SYMBOL.findall(" ".join(texts))):
                if symbol not in names and symbol != "inner":
                    gap = "." if symbol[-1].isdigit() else ""  # of several embedding tables: E0.0, E1.0
                    names[symbol] = f"{symbol}{gap}{counts.setdefault(symbol, 0)}"
                    counts[symbol] += 1
            places.append(Place(node, depth, formulas, names, inner))
            x = places[-1].output
        return tuple(places)

    return row(nodes, "x", 0)


class Step:
    """One pass of the library over random rows. ``at`` and ``d`` hold each quantity and its gradient by name.

    ``predicted`` holds the outputs of the layers in a prediction.
    """

    def __init__(self, net: Network, n: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.net = net = net.copy(backend=NumPyBackend(), dtype="float64")
        net.preparation = Preparation()  # x is what the first layer reads
        net.parameter_arena.assign(_off_fresh_values(net.parameter_arena.download(), self.rng), partly=True)
        self.places = name_quantities(net.nodes, n)
        self.order = [inner for place in self.places for inner in place.walk()]
        be = net.backend
        self.rows = net.upload_rows(*random_rows(net, n, self.rng))
        self._state, totals = new_state(be, halted=0), be.empty((1, 3), np.float64)  # halted: statistics stay
        batch = net.bind(n, training=True, state=self._state, keep_outputs=True)
        prediction = net.bind(n, training=False, keep_outputs=True)
        self._passes = _by_name(batch)
        with be.running():
            logits = batch.forward(self.rows.x)
            net.loss(be, LossBatch(logits, self.rows.targets, None, self._state, totals, batch.dlogits))
            batch.backward()
            prediction.forward(self.rows.x)
            self.at: dict[str, Any] = {"x": self.rows.x, "loss": net.loss.value(totals), **self._kept()}
            self.d = dict(self._gradients(self.places, batch.dlogits))
        outputs = _by_name(prediction)
        self.predicted = {place.output: outputs[place.node.name].y for place in self.order}
        self._floor = FLOOR * max(float(np.abs(gradient).sum()) for gradient in self.d.values())

    def _kept(self) -> dict[str, Any]:
        """What the library computed in the forward pass, and the parameters."""
        found: dict[str, Any] = {}
        for place in self.order:
            layer: Any = self._passes[place.node.name]
            symbols = [*place.node.layer.parameter_shapes(place.node.n_in), *(f.symbol for f in place.formulas.forward)]
            found |= {place.names[symbol]: getattr(layer, symbol) for symbol in symbols}
            if isinstance(layer, DensePass):  # which need not keep z
                z = np.empty_like(layer.y)
                self.net.backend.dense(layer.x, layer.W, layer.b, "identity", z=z, y=z)
                found[place.names["z"]] = z
        return found

    def _gradients(self, places: Sequence[Place], top: Any) -> Iterator[tuple[str, Any]]:
        """Of each quantity, by name; ``top`` is the gradient by the output of the last of these layers."""
        for place, above in itertools.zip_longest(places, places[1:]):
            layer: Any = self._passes[place.node.name]
            own = place.node.layer.parameter_shapes(place.node.n_in)
            yield from ((place.names[p], getattr(layer, f"d{p}")) for p in own if hasattr(layer, f"d{p}"))
            dy = layer.dy
            if isinstance(layer, DensePass):
                yield place.names["z"], layer.dz
                dy = top if above is None else self._gradient_below(above, layer)
            if place.output != place.names.get("z"):
                yield place.output, dy
            yield from self._gradients(place.inner, layer.inner_gradient(dy))

    def _gradient_below(self, above: Place, layer: DensePass) -> Any:
        """The gradient by y of a dense layer, which it overwrote with that by z: computed again by the layer above."""
        upper, dy = self._passes[above.node.name], np.empty_like(layer.y)
        if isinstance(upper, DensePass):
            upper.backward_from_dz(dy)
        else:
            upper.backward(dy)
        return dy

    def by_formula(self, dtype: Any, moved: str = "", value: Any = None, *, training: bool = True) -> dict[str, Any]:
        """Every quantity of the forward pass in ``dtype``, by formula, the one named ``moved`` held at ``value``."""
        be, at = self.net.backend, {"x": self.rows.x.astype(dtype)}

        def put(name: str, found: Any) -> None:
            at[name] = value if name == moved else found.astype(dtype)

        with be.running():
            for place in self.order:
                layer = self._passes[place.node.name]
                for symbol in place.node.layer.parameter_shapes(place.node.n_in):
                    put(place.names[symbol], self.at[place.names[symbol]])
                for formula in self._formulas(place.formulas, training):
                    q = SimpleNamespace(**{symbol: at[name] for symbol, name in place.names.items() if name in at})
                    put(place.names[formula.symbol], formula.value(layer, q))
            logits, totals = at[self.places[-1].output], np.empty((1, 3), dtype)
            self.net.loss(be, LossBatch(logits, self.rows.targets, None, self._state, totals, np.empty_like(logits)))
        at["loss"] = self.net.loss.value(totals)
        return at

    @staticmethod
    def _formulas(formulas: Formulas, training: bool) -> tuple[Forward, ...]:
        return formulas.forward if training or not formulas.prediction else formulas.prediction

    def gradient_error(self, name: str) -> float:
        """How far the gradient by ``name`` is from the complex step, along a random direction."""
        gradient = self.d[name]
        direction = self.rng.normal(size=gradient.shape)
        moved = self.at[name] + 1j * COMPLEX_STEP * direction
        slope = self.by_formula(np.complex128, name, moved)["loss"].imag / COMPLEX_STEP
        size = max(float(np.abs(gradient * direction).sum()), self._floor, TINY)
        return float(abs((gradient * direction).sum() - slope) / size)


def _by_name(batch: Pass) -> Mapping[str, LayerPass]:
    return {layer.name: layer for layer in batch.chain.walk()}


def _off_fresh_values(point: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The parameters that still have their initial value, moved by up to a half."""
    moved = {}
    for name, value in point.items():
        fresh = FRESH.get(name.rpartition(".")[2])
        if fresh is not None:
            moved[name] = np.where(value == fresh, fresh + rng.uniform(-0.5, 0.5, value.shape), value)
    return moved


def random_rows(net: Network, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Normal features, codes if the net takes any, and targets of the kind that the net's loss takes."""
    X, shape = rng.normal(size=(n, net.n_in)), (n, net.loss.columns)
    for column, count in net.codes(training=True).items():
        X[:, column] = rng.integers(0, count, n)
    if net.loss.task == "classify":
        return X, rng.integers(0, net.n_out, n)
    if net.loss.support == "unit":
        return X, rng.integers(0, 2, shape)
    if net.loss.support == "nonnegative":
        return X, rng.poisson(2.0, shape)
    return X, rng.gamma(2.0, size=shape) if net.loss.support == "positive" else rng.normal(size=shape)
