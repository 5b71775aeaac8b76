"""The model file: a :mod:`chainrule.files.sealed_file` with the arrays of a net and its description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ModelFileError
from chainrule.files import sealed_file
from chainrule.files.regular_file import FilePath, is_folder
from chainrule.files.sealed_file import Format

# The newest version; a file gets the oldest that its description needs, see version_of. 100,000 columns fit into the
# header; safetensors itself takes at most 100 MB.
FORMAT = Format("chainrule-model", "model", version=6, max_header=1 << 26)
DTYPES = ("float32", "float64")
MODEL = "model.safetensors"  # in a run directory
NEW_IN_6 = ("concatenate", "piecewise_linear", "scale")

SCHEMA: dict[str, type | tuple[type, ...]] = {
    "n_in": int,
    "layers": list,
    "loss": (str, dict),  # its name, or {"name": ..., option: value}
    "dtype": str,
    "seed": int,
    "feature_names": list,
    "target_name": str,
    "classes": list,
}
OPTIONAL: dict[str, type] = {
    "columns": list,
    "constant_columns": int,  # how many scales are infinite: columns that never changed in training
    "target_notation": dict,  # how the numbers of the target are written
    "members": int,  # of an ensemble, at least 2: arrays of parameters have an axis for them in front
    "member": int,  # the number of the net, or of the first of the members, if it is not 0
}


def find_model(path: FilePath) -> Path:
    """The model file of a run directory, or the path itself."""
    return Path(path) / MODEL if is_folder(path) else Path(path)


def write(path: FilePath, description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write the file atomically: completely or not at all."""
    sealed_file.write(path, FORMAT, version_of(description), description, tensors)


def version_of(description: Mapping[str, Any]) -> int:
    """The oldest format version that knows all of it, so that older readers can open it.

    6 with "members" or a "member" number, a layer that is new in it, a start of its own in a dense one, "statistics"
    of the target in a column, or a "unit" in a notation, 5 with a "notation" of numbers, 4 with "marks" in a column
    (text with nulls of its own) or constant columns, 3 with an embedding, 2 with "columns" (of a table, before they
    became X), else 1.
    """
    if "members" in description or "member" in description:
        return 6
    columns = [column for column in description.get("columns", ()) if isinstance(column, dict)]
    if any(layer.get("kind") in NEW_IN_6 or "start" in layer for layer in _layers(description.get("layers", ()))):
        return 6
    notations = [description.get("target_notation"), *(column.get("notation") for column in columns)]
    if any("statistics" in column for column in columns):
        return 6
    if any(isinstance(notation, dict) and "unit" in notation for notation in notations):
        return 6
    if "target_notation" in description or any("notation" in column for column in columns):
        return 5
    if "constant_columns" in description or any("marks" in column for column in columns):
        return 4
    parts = [*description.get("layers", ()), *columns]
    if any(isinstance(part, dict) and part.get("kind") == "embedding" for part in parts):
        return 3
    return 2 if "columns" in description else 1


def _layers(described: Any) -> Iterator[dict[str, Any]]:
    """All layers of a description, those within blocks too."""
    left = [described]  # no recursion: a damaged file may nest as deeply as it likes
    while left:
        some = left.pop()
        for layer in some if isinstance(some, list | tuple) else ():
            if isinstance(layer, dict):
                yield layer
                left.append(layer.get("layers"))


def is_scale(name: str) -> bool:
    """Whether an array of this name may hold infinities: the scale of a column that never changed in training."""
    return name in {"features.scale", "targets.scale"}


def read(path: FilePath) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and arrays of a model file.

    Raises
    ------
    ModelFileError   if the file is missing, foreign, damaged, or of an unknown version.
    """
    version, description, tensors = sealed_file.read(path, FORMAT)
    _check_description(Path(path), description, tensors, version=version)
    return description, tensors


def _check_description(path: Path, description: Any, tensors: Mapping[str, np.ndarray], *, version: int) -> None:
    if not isinstance(description, dict):
        raise ModelFileError(f"{path}: expected the description to be a JSON object, got {type(description).__name__}")
    optional = {key: kind for key, kind in OPTIONAL.items() if key in description}
    for key, kind in (SCHEMA | optional).items():
        if not isinstance(description.get(key), kind) or isinstance(description[key], bool):
            kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise ModelFileError(
                f"{path}: {key} of the description: expected {kinds}, got {type(description.get(key)).__name__}"
            )
    for key in ("feature_names", "classes"):
        if not all(isinstance(name, str) for name in description[key]):
            raise ModelFileError(f"{path}: {key} of the description: expected a list of str, got other values")
    for key, what in (("layers", "layer"), ("columns", "column")):
        for part in description.get(key, ()):
            if not isinstance(part, dict) or not isinstance(part.get("kind"), str):
                raise ModelFileError(f"{path}: unknown kind of {what}: {part!r:.80}")
    if version_of(description) != version:
        raise ModelFileError(
            f"{path}: expected format version {version_of(description)} for its layers and columns, got {version}"
        )
    for name, array in tensors.items():
        finite = np.isfinite(array) | (np.isposinf(array) if is_scale(name) else False)
        if str(array.dtype) not in DTYPES or not finite.all():
            raise ModelFileError(f"{path}: {name}: expected finite numbers of {' or '.join(DTYPES)}, got others")
