"""From raw features to logits: the preparation and the layers, as they are in prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from chainrule.backends.contract.batches import FAR
from chainrule.errors import OptionError
from chainrule.nn.inputs.rows import NO_CODES
from chainrule.nn.inputs.standardization import LARGEST, Standardization, halves
from chainrule.nn.layers.activation import Activation
from chainrule.nn.layers.base import Node
from chainrule.nn.layers.concatenate import Concatenate
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.layers.normalization import BatchNorm, LayerNorm
from chainrule.nn.layers.piecewise_linear import PiecewiseLinear
from chainrule.nn.layers.residual import Residual
from chainrule.nn.layers.scale import Scale
from chainrule.nn.network import Network
from chainrule.onnx.activations import activate
from chainrule.onnx.columns import DOUBLE, encoded
from chainrule.onnx.graph import Graph

NO_SUMMAND = 1e-15  # onnxruntime drops the addition of a single number below this
WRITTEN = {"features", "targets", "feature_names", "target_name", "classes", "encoder"}  # what is in an ONNX file
OF_TEXT_FILES = {"target_notation"}  # how a text file is read: an ONNX file takes numbers, and has no target

Parameters = Mapping[str, np.ndarray]


def check_preparation(net: Network) -> None:
    """OptionError if rows are prepared in a way that would not be in the file, or not as the net reads them."""
    preparation = net.preparation
    preparation.refuse_other_codes(net.codes())
    for field in fields(preparation):
        if field.name not in WRITTEN | OF_TEXT_FILES and getattr(preparation, field.name) is not field.default:
            raise OptionError(
                f"the preparation has {field.name}, which has no ONNX form",
                hint="prepare the table first, then train and export a net without it",
            )


def features(g: Graph, net: Network, input_dtype: np.dtype) -> str:
    """From the inputs, X of dtype ``input_dtype`` or the columns of a table, to what the first layer reads."""
    preparation = net.preparation
    if preparation.encoder is None:
        return prepared(g, g.input("X", input_dtype, net.n_in), input_dtype, preparation.features, net.codes())
    return prepared(g, encoded(g, preparation.encoder, input_dtype), DOUBLE, preparation.features, net.codes())


def prepared(
    g: Graph,
    x: str,
    input_dtype: np.dtype,
    standardization: Standardization | None,
    codes: Mapping[int, int] = NO_CODES,
) -> str:
    """Features as the first layer reads them; see :class:`Standardization`. ``input_dtype`` is their dtype.

    Columns with ``codes`` stay as they are.
    """
    if standardization is None:
        return g.cast(x, input_dtype, g.dtype)
    wide = g.cast(x, input_dtype, DOUBLE)
    z = _standardized(g, wide, standardization)
    if math.isfinite(standardization.limit):
        # The net refuses an infinite feature; here it becomes nan rather than one at the limit.
        z = str(g.node("Add", _limited(g, z, standardization.limit), g.node("Mul", wide, g.scalar(0.0, DOUBLE))))
    z = g.cast(z, DOUBLE, g.dtype)
    if not codes:
        return z
    is_code = np.isin(np.arange(len(standardization.mean)), list(codes))
    return str(g.node("Where", g.constant("codes", is_code, np.dtype(np.bool_)), g.cast(x, input_dtype, g.dtype), z))


def _standardized(g: Graph, x: str, standardization: Standardization) -> str:
    """(x - mean) / scale of an ``x`` in float64: large values with small differences keep their digits.

    As ``Backend.standardize``: x, mean and scale are halved if the difference could overflow.
    """
    mean, scale = standardization.mean, standardization.scale
    factor = halves(mean) * power_for(mean, scale)
    if (factor != 1).any():
        x = g.node("Mul", x, g.constant("features.factor", factor, DOUBLE))
    difference = g.node("Sub", x, g.constant("features.mean", mean * factor, DOUBLE))
    return str(g.node("Div", difference, g.constant("features.scale", scale * factor, DOUBLE)))


def power_for(offset: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(n_columns,) powers of two by which numbers of this ``offset`` and ``scale`` are multiplied; mostly 1.

    onnxruntime drops the addition of a single number below 2.2e-16, as if it were 0: such columns are scaled near 1.
    """
    if len(offset) > 1 or not 0 < abs(offset[0]) < NO_SUMMAND or not 0 < scale[0] < NO_SUMMAND:
        return np.ones(len(offset))
    power: np.ndarray = np.ldexp(1.0, -np.frexp(scale)[1])
    return power


def _limited(g: Graph, z: str, limit: float) -> str:
    """z / sqrt(1 + (z / limit)^2), with z clipped so that its square does not overflow."""
    most = g.scalar(min(FAR * limit, LARGEST), DOUBLE)
    is_far = g.node("Greater", g.node("Abs", z), most)
    clipped = g.node("Where", is_far, g.node("Mul", g.node("Sign", z), most), z)
    ratio = g.node("Div", clipped, g.scalar(limit, DOUBLE))
    square = g.node("Add", g.node("Mul", ratio, ratio), g.scalar(1.0, DOUBLE))
    return str(g.node("Div", clipped, g.node("Sqrt", square)))


def logits_of(g: Graph, nodes: Sequence[Node], x: str, parameters: Parameters) -> str:
    """The output of the layers in a row; OptionError for a custom one."""
    for node in nodes:
        x = _layer(g, node, x, parameters)
    return x


def _layer(g: Graph, node: Node, x: str, parameters: Parameters) -> str:
    layer = node.layer

    def parameter(name: str) -> str:
        return g.constant(f"{node.name}.{name}", parameters[f"{node.name}.{name}"])

    match layer:
        case Dense():
            return activate(g, layer.activation, g.node("Gemm", x, parameter("W"), parameter("b")))
        case Activation():
            return activate(g, layer.activation, x)
        case Dropout():
            return x
        case LayerNorm():
            return _layer_norm(g, x, parameter("gain"), parameter("bias"), layer.eps)
        case BatchNorm():
            values = [parameters[f"{node.name}.{name}"] for name in ("gain", "bias", "running_mean", "running_var")]
            return _batch_norm(g, x, node.name, *values, eps=layer.eps)
        case Embedding():
            return _embedding(g, node, layer, x, parameters)
        case Residual():
            return str(g.node("Add", x, logits_of(g, node.inner, x, parameters)))
        case Concatenate():
            return str(g.node("Concat", x, logits_of(g, node.inner, x, parameters), axis=1))
        case Scale():
            return str(g.node("Mul", x, parameter("s")))
        case PiecewiseLinear():
            return _piecewise_linear(g, node, layer, x)
        case _:
            raise OptionError(
                f"{layer.kind} {getattr(layer, 'name', '')!r} has no ONNX form, as only Python functions define it",
                hint="use the library's own activations and layers",
            )


def _embedding(g: Graph, node: Node, layer: Embedding, x: str, parameters: Parameters) -> str:
    """The numbers, then the row of each table; the row after its last is the mean, for unseen categories."""
    numbers = [column for column in range(node.n_in) if column not in layer.columns]
    parts = [g.node("Gather", x, g.integers(numbers), axis=1)] if numbers else []
    for t, (column, shares) in enumerate(zip(layer.columns, layer.shares or (), strict=True)):
        table = parameters[f"{node.name}.E{t}"]
        if shares:
            table = np.vstack([table, np.asarray(shares) @ table])
        chosen = g.node("Reshape", g.node("Gather", x, g.integers([column]), axis=1), g.integers([-1]))
        code = g.cast(chosen, g.dtype, np.dtype(np.int64))
        parts.append(g.node("Gather", g.constant(f"{node.name}.E{t}", table), code, axis=0))
    return str(g.node("Concat", *parts, axis=1))


def _piecewise_linear(g: Graph, node: Node, layer: PiecewiseLinear, x: str) -> str:
    """x, and behind it the fractions of its columns."""
    pieces = layer.pieces(node.n_in, g.dtype)
    if not layer.fractions:
        return x

    def of_fractions(name: str, values: np.ndarray) -> str:
        return g.constant(f"{node.name}.{name}", values[node.n_in :])

    source = g.node("Gather", x, g.integers(pieces.columns[node.n_in :].tolist()), axis=1)
    from_start = g.node("Sub", source, of_fractions("start", pieces.start))
    z = g.node("Div", from_start, of_fractions("width", pieces.width))
    clipped = g.node("Min", g.node("Max", z, of_fractions("low", pieces.low)), of_fractions("high", pieces.high))
    return str(g.node("Concat", x, clipped, axis=1))


# An attribute is float32, in which an eps of 1e-5 is another number: a float64 net has the formulas instead.


def _layer_norm(g: Graph, x: str, gain: str, bias: str, eps: float) -> str:
    """Of the distances from the row's mean, whose own mean is 0.

    Some runtimes (onnxruntime 1.20) compute the variance as mean(x^2) - mean(x)^2, which loses all digits, down to nan,
    if values are large and close.
    """
    distance = g.node("Sub", x, g.node("ReduceMean", x, axes=[-1]))
    if g.dtype != DOUBLE:
        return str(g.node("LayerNormalization", distance, gain, bias, axis=-1, epsilon=eps))
    variance = g.node("ReduceMean", g.node("Mul", distance, distance), axes=[-1])
    normalized = g.node("Div", distance, g.node("Sqrt", g.node("Add", variance, g.scalar(eps))))
    return str(g.node("Add", g.node("Mul", normalized, gain), bias))


def _batch_norm(
    g: Graph, x: str, name: str, gain: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray, *, eps: float
) -> str:
    """By the running statistics: gain (x - mean) / sqrt(var + eps) + bias."""
    if g.dtype != DOUBLE:
        named = {"gain": gain, "bias": bias, "running_mean": mean, "running_var": var}
        inputs = [g.constant(f"{name}.{key}", values) for key, values in named.items()]
        return str(g.node("BatchNormalization", x, *inputs, epsilon=eps))
    distance = g.node("Sub", x, g.constant(f"{name}.running_mean", mean))
    scaled = g.node("Mul", distance, g.constant(f"{name}.scale", gain / np.sqrt(var + eps)))
    return str(g.node("Add", scaled, g.constant(f"{name}.bias", bias)))
