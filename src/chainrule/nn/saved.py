"""A net to a model file, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.backends import Backend
from chainrule.backends import backend as make_backend
from chainrule.errors import DataError, ModelFileError, first_line
from chainrule.files import model_file, sealed_file
from chainrule.files.regular_file import FilePath
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.columns.notation import Notation
from chainrule.nn.columns.saved_statistics import arrays_for, arrays_of, shapes_of
from chainrule.nn.columns.table_columns import column_from
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.layers.activation import Activation
from chainrule.nn.layers.base import Layer, arrange, parameter_shapes, refuse_very_many
from chainrule.nn.layers.block import Block
from chainrule.nn.layers.concatenate import Concatenate
from chainrule.nn.layers.custom_activation import CustomActivation
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.layers.initializers import Start
from chainrule.nn.layers.normalization import BatchNorm, LayerNorm
from chainrule.nn.layers.piecewise_linear import PiecewiseLinear
from chainrule.nn.layers.residual import Residual
from chainrule.nn.layers.scale import Scale
from chainrule.nn.losses.names import CustomLoss, Loss, find_loss, from_description, refuse_standardized
from chainrule.nn.network import Network
from chainrule.nn.row_format import DTYPES, with_members
from chainrule.options import whole_number
from chainrule.random import MOST_MEMBERS

PREFIX = "parameters."
LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        Activation,
        BatchNorm,
        Concatenate,
        Dense,
        Dropout,
        Embedding,
        LayerNorm,
        PiecewiseLinear,
        Residual,
        Scale,
    )
}
DEEPEST = 8  # blocks within blocks


@out_of_memory_hint("a model file takes the memory of its parameters twice", doing="writing a model file")
def save(net: Network, path: FilePath) -> None:
    """Write the model file: parameters and all that a prediction needs. See :mod:`chainrule.files.model_file`."""
    p = net.preparation
    tensors = {f"{PREFIX}{name}": value for name, value in net.parameter_arena.download().items()}
    tensors |= _statistics(net)
    for name, standardization in (("features", p.features), ("targets", p.targets)):
        if standardization is not None:
            tensors |= {f"{name}.mean": standardization.mean, f"{name}.scale": standardization.scale}
            if math.isfinite(standardization.limit):
                tensors[f"{name}.limit"] = np.array([standardization.limit])
    for name, value in tensors.items():
        if not np.isfinite(value).all() and not (model_file.is_scale(name) and (value > 0).all()):
            raise DataError(f"{name} is not finite: such a net predicts nothing and is not saved")
    description = _description(net)
    if constant := _constant_columns(tensors):
        description["constant_columns"] = constant
    model_file.write(path, description, tensors)


def refuse_unsavable(net: Network, path: FilePath) -> None:
    """DataError if the names of this net do not fit in a model file: to be called before training."""
    arena = net.parameter_arena
    shapes = {f"{PREFIX}{name}": arena.shape_of(slot) for name, slot in arena.layout.slots.items()}
    shapes |= {name: array.shape for name, array in _statistics(net).items()}
    if sealed_file.header_bytes(_description(net), shapes) > model_file.FORMAT.max_header:
        raise sealed_file.too_long(path, model_file.FORMAT)


def _statistics(net: Network) -> dict[str, np.ndarray]:
    encoder = net.preparation.encoder
    return {} if encoder is None else arrays_of(encoder.columns)


def _description(net: Network) -> dict[str, Any]:
    return {**net.describe(), **net.preparation.describe()}


@out_of_memory_hint("a model file takes the memory of its parameters twice", doing="reading a model file")
def load(
    path: FilePath,
    *,
    device: str = "auto",
    backend: Backend | None = None,
    custom: Sequence[CustomActivation | CustomLoss] = (),
) -> Network:
    """The net of a model file, or of a run.

    Parameters
    ----------
    path : of the file, or of the run directory in which it is
    device : "auto" (a CUDA device if one works, else the CPU), "cpu", "cuda" or "cuda:N"
    backend : the Backend that the net is made on; with it ``device`` is ignored
    custom : the CustomActivations and the CustomLoss of the net, of which a file keeps the names alone

    Raises
    ------
    ModelFileError   if the file is damaged, foreign, or of a version that this chainrule does not know, or if it names
        a function that is not in ``custom``.
    DeviceError      if the device is not available.
    """
    path = model_file.find_model(path)
    description, tensors = model_file.read(path)
    backend = backend if backend is not None else make_backend(device)
    try:
        refuse_very_many(_count(description["layers"]))  # before objects are made of them
        layers = [_layer(layer, custom) for layer in description["layers"]]
        loss = from_description(description["loss"], custom)
        _check(description, layers, loss, tensors)
        net = Network(
            layers,
            description["n_in"],
            loss=loss,
            backend=backend,
            dtype=description["dtype"],
            seed=description["seed"],
            members=description.get("members", 1),
            member=description.get("member", 0),
            parameters={n.removeprefix(PREFIX): v for n, v in tensors.items() if n.startswith(PREFIX)},
        )
        net.preparation = Preparation(
            features=_standardization(tensors, "features"),
            targets=_standardization(tensors, "targets"),
            feature_names=tuple(description["feature_names"]),
            target_name=description["target_name"],
            classes=tuple(description["classes"]),
            encoder=_encoder(description, tensors),
            target_notation=_target_notation(description),
        )
        net.preparation.refuse_other_codes(net.codes())
    except ModelFileError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: the description does not fit the arrays: {first_line(error):.200}") from error
    return net


def _count(layers: Any) -> int:
    """How many layers are described, those within blocks included."""
    inner = (layer["layers"] for layer in layers if isinstance(layer, dict) and isinstance(layer.get("layers"), list))
    return len(layers) + sum(map(_count, inner))


def _layer(description: dict[str, Any], custom: Sequence[CustomActivation | CustomLoss], depth: int = 0) -> Layer:
    """The layer of this description; LookupError, TypeError or ValueError if there is no such layer."""
    if description["kind"] == CustomActivation.kind:
        for layer in custom:
            if isinstance(layer, CustomActivation) and layer.name == description["name"]:
                return layer
        raise ModelFileError(
            f"the net has a custom activation, {description['name']!r:.80}", hint="load(..., custom=[it])"
        )
    fields = dict(description)
    kind = LAYERS.get(fields.pop("kind"))
    if kind is None:
        raise ValueError(f"unknown kind of layer: {description!r:.80}")
    if issubclass(kind, Block):
        if depth == DEEPEST:
            raise ValueError(f"expected blocks within blocks at most {DEEPEST} deep")
        fields["layers"] = [_layer(layer, custom, depth + 1) for layer in fields["layers"]]
    if kind is Dense and "start" in fields:
        fields["start"] = Start(**fields["start"])
    return kind(**fields)


def _check(description: dict[str, Any], layers: Sequence[Layer], loss: Loss, tensors: dict[str, np.ndarray]) -> None:
    """ValueError unless the arrays are exactly those described, before memory is allocated by the description."""
    nodes, n_in = arrange(layers, description["n_in"]), description["n_in"]
    n_out = nodes[-1].n_out
    members = whole_number("members", description.get("members", 1), below=MOST_MEMBERS + 1)
    shapes = {f"{PREFIX}{name}": with_members(shape, members) for name, shape in parameter_shapes(nodes).items()}
    loss = find_loss(loss, n_out)
    for name, columns in (("features", n_in), ("targets", loss.columns)):
        if any(tensor.startswith(f"{name}.") for tensor in tensors):
            shapes |= {f"{name}.mean": (columns,), f"{name}.scale": (columns,)}
    shapes |= shapes_of(description.get("columns", ()))
    if "features.limit" in tensors:  # targets have none: predictions in their units would not be linear
        shapes["features.limit"] = (1,)
    found = {name: array.shape for name, array in tensors.items()}
    if found != shapes:
        wrong = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
        name, shape, got = wrong[0], shapes.get(wrong[0]), found.get(wrong[0])
        expected = "no such array" if shape is None else f"shape {shape}"
        raise ValueError(f"{name}: expected {expected}, got {'none' if got is None else f'one of shape {got}'}")
    for name, array in tensors.items():
        if name.endswith((".scale", ".limit")) and not (array > 0).all():
            raise ValueError(f"{name}: expected numbers above 0")
    if "targets.mean" in tensors:
        refuse_standardized(loss)
    if _constant_columns(tensors) != description.get("constant_columns", 0):
        raise ValueError(f"constant_columns: expected {_constant_columns(tensors)}, the number of infinite scales")
    if description["dtype"] not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {description['dtype']!r:.80}")
    largest = np.finfo(description["dtype"]).max
    for name, array in tensors.items():
        if name.startswith(PREFIX) and array.dtype != description["dtype"] and (np.abs(array) > largest).any():
            raise ValueError(f"{name} does not fit {description['dtype']}")
    if len(description["feature_names"]) not in {0, n_in} or len(description["classes"]) not in {0, max(2, n_out)}:
        raise ValueError(f"expected names for {n_in} features and {n_out} outputs, or none")


def _constant_columns(tensors: dict[str, np.ndarray]) -> int:
    """How many columns, of features and targets, were constant in training."""
    return sum(int(np.isinf(array).sum()) for name, array in tensors.items() if model_file.is_scale(name))


def _encoder(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> TableEncoder | None:
    if "columns" not in description:
        return None
    columns = (column_from(column, arrays_for(i, tensors)) for i, column in enumerate(description["columns"]))
    encoder = TableEncoder(tuple(columns))
    if list(encoder.names) != description["feature_names"]:
        raise ValueError("feature_names: expected those of the columns")
    return encoder


def _target_notation(description: dict[str, Any]) -> Notation | None:
    found = description.get("target_notation")
    return None if found is None else Notation.from_description(found)


def _standardization(tensors: dict[str, np.ndarray], name: str) -> Standardization | None:
    if f"{name}.mean" not in tensors:
        return None
    limit = float(tensors[f"{name}.limit"][0]) if f"{name}.limit" in tensors else math.inf
    return Standardization(tensors[f"{name}.mean"], tensors[f"{name}.scale"], limit)
