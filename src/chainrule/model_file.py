"""The model file: safetensors for the arrays, JSON for what they mean, a checksum over both.

The safetensors metadata holds one string, ``chainrule-model``: a JSON object of ``version``, ``description`` (what the
arrays mean) and ``sha256``, over the description and every array's name, dtype, shape and bytes. safetensors itself has
no checksum, writes arrays that are not C-contiguous wrongly without a word, and puts several metadata strings in a
random order (so the same net would give other bytes each time); all three are taken care of here. Nothing in a file is
ever executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from chainrule.errors import DataError, ModelFileError, first_line

FORMAT = "chainrule-model"
VERSION = 3  # the newest; each file has the least that its description needs, see version_of
MAX_HEADER = 1 << 26  # bytes: 100,000 columns fit; safetensors itself takes at most 100 MB
DTYPES = ("float32", "float64")

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


def write(path: str | Path, description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write the file whole or not at all: to a temporary beside it, flushed to disk, then renamed over it."""
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    envelope = {
        "version": version_of(description),
        "description": description,
        "sha256": _checksum(description, arrays),
    }
    metadata = {FORMAT: json.dumps(envelope, ensure_ascii=False, allow_nan=False)}
    content = safetensors.numpy.save(arrays, metadata)
    if struct.unpack("<Q", content[:8])[0] > MAX_HEADER:
        raise DataError(f"{path} would need more than {MAX_HEADER:,} bytes for names and categories")
    write_whole(path, content)


def version_of(description: Mapping[str, Any]) -> int:
    """3 with an embedding, 2 with "columns" (of a table, before they became X), else 1: what an old reader can read."""
    parts = [*description.get("layers", ()), *description.get("columns", ())]
    if any(isinstance(part, dict) and part.get("kind") == "embedding" for part in parts):
        return 3
    return 2 if "columns" in description else 1


def write_whole(path: str | Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step; a reader sees the old file or the new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and arrays of a model file.

    Raises
    ------
    ModelFileError   if the file is missing, foreign, damaged, or of an unknown version.
    """
    path = Path(path)
    try:
        _check_header(path)
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if FORMAT not in metadata:
                raise ModelFileError(f"{path} is a safetensors file, but not a chainrule model")
            envelope = json.loads(metadata[FORMAT])
            version = envelope["version"]
            if type(version) is not int or not 1 <= version <= VERSION:
                raise ModelFileError(
                    f"{path} has format version {version!r:.40}, this chainrule reads 1 to {VERSION}",
                    hint="open it with the chainrule that wrote it, or a newer one",
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        description = envelope["description"]
        if envelope["sha256"] != _checksum(description, tensors):
            raise ModelFileError(f"{path} is damaged: its checksum does not fit", hint="take a copy that is intact")
    except ModelFileError:
        raise
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # safetensors raises several kinds, json and numpy more
        raise ModelFileError(f"{path} is not a model file: {first_line(error):.200}") from error
    _check_description(path, description, tensors, version=version)
    return description, tensors


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or not 2 <= struct.unpack("<Q", start)[0] <= MAX_HEADER:
        raise ModelFileError(f"{path} is not a safetensors file")


def _checksum(description: Any, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(description, ensure_ascii=False, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _check_description(path: Path, description: Any, tensors: Mapping[str, np.ndarray], *, version: int) -> None:
    if not isinstance(description, dict):
        raise ModelFileError(f"{path}: the description is no JSON object")
    for key, kind in (SCHEMA | ({"columns": list} if "columns" in description else {})).items():
        if not isinstance(description.get(key), kind) or isinstance(description[key], bool):
            kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise ModelFileError(f"{path}: {key} of the description should be of type {kinds}")
    for key in ("feature_names", "classes"):
        if not all(isinstance(name, str) for name in description[key]):
            raise ModelFileError(f"{path}: {key} of the description should be strings")
    for key, what in (("layers", "layer"), ("columns", "column")):
        for part in description.get(key, ()):
            if not isinstance(part, dict) or not isinstance(part.get("kind"), str):
                raise ModelFileError(f"{path}: unknown kind of {what}: {part!r:.80}")
    if version_of(description) != version:
        raise ModelFileError(
            f"{path}: format version {version} came, its layers and columns belong to {version_of(description)}"
        )
    for name, array in tensors.items():
        if str(array.dtype) not in DTYPES or not np.isfinite(array).all():
            raise ModelFileError(f"{path}: {name} should be finite numbers of {' or '.join(DTYPES)}")
