"""A net as a model file, and back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from chainrule import model_file
from chainrule.backends import backend as make_backend
from chainrule.errors import ModelFileError
from chainrule.nn.dense import Dense
from chainrule.nn.network import Network
from chainrule.nn.preparation import Preparation, Standardization


def save(net: Network, path: str | Path) -> None:
    """Write the model file: parameters and all that a prediction needs. See :mod:`chainrule.model_file`."""
    p = net.preparation
    tensors = {f"parameters.{name}": value for name, value in net.parameter_arena.download().items()}
    for name, standardization in (("features", p.features), ("targets", p.targets)):
        if standardization is not None:
            tensors |= {f"{name}.mean": standardization.mean, f"{name}.scale": standardization.scale}
            if math.isfinite(standardization.limit):
                tensors[f"{name}.limit"] = np.array([standardization.limit])
    description = {
        "n_in": net.n_in,
        "layers": [{"kind": "dense", "n_out": la.n_out, "activation": la.activation} for la in net.layers],
        "loss": net.loss_name,
        "dtype": str(net.dtype),
        "seed": net.seed,
        "feature_names": list(p.feature_names),
        "target_name": p.target_name,
        "classes": list(p.classes),
    }
    model_file.write(path, description, tensors)


def load(path: str | Path, *, device: str = "auto") -> Network:
    """The net of a model file, on a device of your choice.

    Raises
    ------
    ModelFileError   if the file is damaged, foreign, or of a version that this chainrule does not know.
    """
    description, tensors = model_file.read(path)
    backend = make_backend(device)
    try:
        layers = [Dense(layer["n_out"], layer["activation"]) for layer in description["layers"]]
        net = Network(
            layers, description["n_in"], loss=description["loss"], backend=backend, dtype=description["dtype"],
            seed=description["seed"],
        )  # fmt: skip
        net.preparation = Preparation(
            features=_standardization(tensors, "features", net.n_in),
            targets=_standardization(tensors, "targets", net.n_out),
            feature_names=tuple(description["feature_names"]),
            target_name=description["target_name"],
            classes=tuple(description["classes"]),
        )
        prefix = "parameters."
        net.parameter_arena.assign({n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)})
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: the description does not fit the arrays: {error}") from error
    return net


def _standardization(tensors: dict[str, np.ndarray], name: str, width: int) -> Standardization | None:
    if f"{name}.mean" not in tensors:
        return None
    limit = float(tensors[f"{name}.limit"][0]) if f"{name}.limit" in tensors else math.inf
    found = Standardization(tensors[f"{name}.mean"], tensors[f"{name}.scale"], limit)
    if found.mean.shape != (width,):
        raise ModelFileError(f"{name}.mean has {found.mean.shape}, ({width},) was expected")
    return found
