"""From logits to predictions, those of ``Network.predict`` and its relatives, by the net's loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.errors import OptionError
from chainrule.nn.inputs.standardization import Units
from chainrule.nn.losses.base import Loss
from chainrule.nn.losses.names import Gamma, GaussianNLL, Poisson, Quantile
from chainrule.nn.network import Network
from chainrule.onnx.activations import softplus
from chainrule.onnx.columns import DOUBLE, INTEGER
from chainrule.onnx.graph import Graph
from chainrule.onnx.layers import power_for


def add_outputs(g: Graph, net: Network, logits: Sequence[str]) -> None:
    """The outputs of the graph, from the logits of each member of an ensemble, or of one net.

    ``label`` and ``probabilities`` of classes: numbers of classes (n,), or zeros and ones (n, k), k times yes or no;
    ``mean`` and ``variance`` of gaussian_nll; ``prediction`` of any other regression. Shapes are those of ``predict``.
    """
    k = net.n_out
    if net.loss.task == "classify":
        probabilities = _mean(g, [g.node("Softmax", z, axis=1) for z in logits])
        decisive = logits[0] if len(logits) == 1 else probabilities
        g.output("label", g.node("ArgMax", decisive, axis=1, keepdims=0), INTEGER, ())
        g.output("probabilities", probabilities, g.dtype, (k,))
    elif net.loss.task == "multilabel":
        probabilities = _mean(g, [g.node("Sigmoid", z) for z in logits])
        decisive, least = (logits[0], 0.0) if len(logits) == 1 else (probabilities, 0.5)
        label = g.cast(g.node("Greater", decisive, g.scalar(least)), np.dtype(np.bool_), INTEGER)
        _output(g, "label", label, (k,) if k > 1 else (), INTEGER)
        _output(g, "probabilities", probabilities, (k,) if k > 1 else ())
    else:
        _regression(g, net, logits)


def _mean(g: Graph, values: Sequence[str]) -> str:
    """The mean over members."""
    return values[0] if len(values) == 1 else str(g.node("Mul", g.node("Sum", *values), g.scalar(1 / len(values))))


def _mean_numbers(g: Graph, loss: Loss, numbers: Sequence[str]) -> str:
    """Of what members predict; the variance of gaussian_nll is that of the mixture."""
    if not isinstance(loss, GaussianNLL) or len(numbers) == 1:
        return _mean(g, numbers)
    means, variances = zip(*(_halves(g, one, loss.columns) for one in numbers), strict=True)
    mean = _mean(g, means)
    distances = [g.node("Sub", one, mean) for one in means]
    spread = _mean(g, [g.node("Mul", distance, distance) for distance in distances])
    return str(g.node("Concat", mean, g.node("Add", _mean(g, variances), spread), axis=1))


def _regression(g: Graph, net: Network, logits: Sequence[str]) -> None:
    loss, columns, targets = net.loss, net.loss.columns, net.preparation.targets
    if targets is not None:  # from here on in float64, as `predict`
        logits = [g.cast(z, g.dtype, DOUBLE) for z in logits]
        g.dtype = DOUBLE
    numbers = _mean_numbers(g, loss, [_numbers(g, loss, z) for z in logits])
    if targets is not None:
        numbers = _in_own_units(g, loss.units(targets), numbers)
    shape = (columns,) if columns > 1 else ()
    if isinstance(loss, GaussianNLL):
        mean, variance = _halves(g, numbers, columns)
        _output(g, "mean", mean, shape)
        _output(g, "variance", variance, shape)
    elif isinstance(loss, Quantile):
        _output(g, "prediction", numbers, (*shape, len(loss.levels)))
    else:
        _output(g, "prediction", numbers, shape)


def _numbers(g: Graph, loss: Loss, logits: str) -> str:
    """As ``loss.to_predictions``."""
    match loss:
        case Poisson() | Gamma():
            return str(g.node("Exp", logits))
        case Quantile():
            return _cumulated(g, logits, loss.columns, len(loss.levels))
        case GaussianNLL():
            mean, logarithm = _halves(g, logits, loss.columns)
            return str(g.node("Concat", mean, g.node("Exp", logarithm), axis=1))
    if type(loss).to_predictions is not Loss.to_predictions:
        raise OptionError(f"the predictions of {loss} have no ONNX form, as only Python functions define them")
    return logits


def _cumulated(g: Graph, logits: str, columns: int, levels: int) -> str:
    """Quantiles: q_1 = z_1, q_j = q_(j-1) + log(1 + exp(z_j)), for each target column."""
    if levels == 1:
        return logits
    z = g.node("Reshape", logits, g.integers([-1, columns, levels]))
    first, others = g.node("Split", z, g.integers([1, levels - 1]), outputs=2, axis=2)
    rising = g.node("CumSum", g.node("Concat", first, softplus(g, others), axis=2), g.integers(2))
    return str(g.node("Reshape", rising, g.integers([-1, columns * levels])))


def _in_own_units(g: Graph, units: Units, numbers: str) -> str:
    """As ``Backend.scale_and_shift``."""
    factor = power_for(units.shift, units.scale)
    scaled = g.node("Mul", numbers, g.constant("targets.scale", units.scale * factor))
    shifted = str(g.node("Add", scaled, g.constant("targets.shift", units.shift * factor)))
    return str(g.node("Mul", shifted, g.constant("targets.factor", 1 / factor))) if (factor != 1).any() else shifted


def _halves(g: Graph, x: str, columns: int) -> tuple[str, str]:
    left, right = g.node("Split", x, g.integers([columns, columns]), outputs=2, axis=1)
    return left, right


def _output(g: Graph, name: str, value: str, shape: tuple[int, ...], dtype: np.dtype | None = None) -> None:
    g.output(name, g.node("Reshape", value, g.integers([-1, *shape])), dtype or g.dtype, shape)
