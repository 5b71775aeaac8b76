"""A net as a model file, and back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import model_file
from chainrule.backends import Backend
from chainrule.backends import backend as make_backend
from chainrule.errors import DataError, ModelFileError, first_line
from chainrule.nn.dense import Dense
from chainrule.nn.losses import description_of, find_loss, from_description, refuse_standardized
from chainrule.nn.network import DTYPES, Network
from chainrule.nn.preparation import Preparation, Standardization

PREFIX = "parameters."


def save(net: Network, path: str | Path) -> None:
    """Write the model file: parameters and all that a prediction needs. See :mod:`chainrule.model_file`."""
    p = net.preparation
    tensors = {f"{PREFIX}{name}": value for name, value in net.parameter_arena.download().items()}
    for name, standardization in (("features", p.features), ("targets", p.targets)):
        if standardization is not None:
            tensors |= {f"{name}.mean": standardization.mean, f"{name}.scale": standardization.scale}
            if math.isfinite(standardization.limit):
                tensors[f"{name}.limit"] = np.array([standardization.limit])
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise DataError(f"{name} is not finite: a net that predicts nothing is not saved")
    description = {
        "n_in": net.n_in,
        "layers": [{"kind": "dense", "n_out": la.n_out, "activation": la.activation} for la in net.layers],
        "loss": description_of(net.loss),
        "dtype": str(net.dtype),
        "seed": net.seed,
        "feature_names": list(p.feature_names),
        "target_name": p.target_name,
        "classes": list(p.classes),
    }
    model_file.write(path, description, tensors)


def load(path: str | Path, *, device: str = "auto", backend: Backend | None = None) -> Network:
    """The net of a model file, on the ``device`` of that name, or on ``backend`` where one is given.

    Raises
    ------
    ModelFileError   if the file is damaged, foreign, or of a version that this chainrule does not know.
    """
    description, tensors = model_file.read(path)
    backend = backend if backend is not None else make_backend(device)
    try:
        _check(description, tensors)
        layers = [Dense(layer["n_out"], layer["activation"]) for layer in description["layers"]]
        net = Network(
            layers, description["n_in"], loss=from_description(description["loss"]), backend=backend,
            dtype=description["dtype"], seed=description["seed"],
        )  # fmt: skip
        net.preparation = Preparation(
            features=_standardization(tensors, "features"),
            targets=_standardization(tensors, "targets"),
            feature_names=tuple(description["feature_names"]),
            target_name=description["target_name"],
            classes=tuple(description["classes"]),
        )
        net.parameter_arena.assign({n.removeprefix(PREFIX): v for n, v in tensors.items() if n.startswith(PREFIX)})
    except (LookupError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: the description does not fit the arrays: {first_line(error)}") from error
    return net


def _check(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """ValueError unless the arrays are just those described, before memory is taken on the description's word."""
    n_in, n_out = description["n_in"], description["layers"][-1]["n_out"]
    shapes: dict[str, tuple[int, ...]] = {}
    width = n_in
    for i, layer in enumerate(description["layers"]):
        shapes |= {f"{PREFIX}dense{i}.W": (width, layer["n_out"]), f"{PREFIX}dense{i}.b": (layer["n_out"],)}
        width = layer["n_out"]
    loss = find_loss(from_description(description["loss"]), n_out)
    for name, columns in (("features", n_in), ("targets", loss.columns)):
        if any(tensor.startswith(f"{name}.") for tensor in tensors):
            shapes |= {f"{name}.mean": (columns,), f"{name}.scale": (columns,)}
        if f"{name}.limit" in tensors:
            shapes[f"{name}.limit"] = (1,)
    found = {name: array.shape for name, array in tensors.items()}
    if found != shapes:
        wrong = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
        raise ValueError(f"{wrong[0]} has shape {found.get(wrong[0])}, {shapes.get(wrong[0])} was expected")
    for name, array in tensors.items():
        if name.endswith((".scale", ".limit")) and not (array > 0).all():
            raise ValueError(f"{name} should be above 0")
    if "targets.mean" in tensors:
        refuse_standardized(loss)
    if description["dtype"] not in DTYPES:
        raise ValueError(f"dtype {description['dtype']} was not expected")
    if len(description["feature_names"]) not in {0, n_in} or len(description["classes"]) not in {0, max(2, n_out)}:
        raise ValueError(f"names for {n_in} features and {n_out} outputs were expected")


def _standardization(tensors: dict[str, np.ndarray], name: str) -> Standardization | None:
    if f"{name}.mean" not in tensors:
        return None
    limit = float(tensors[f"{name}.limit"][0]) if f"{name}.limit" in tensors else math.inf
    return Standardization(tensors[f"{name}.mean"], tensors[f"{name}.scale"], limit)
