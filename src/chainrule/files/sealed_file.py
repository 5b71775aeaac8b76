"""Arrays and their description in one checksummed file: safetensors with JSON metadata.

The safetensors metadata holds one string, under the name of the format: a JSON object of ``version``, ``description``
(what the arrays mean) and ``sha256``, over the description and every array's name, dtype, shape and bytes. safetensors
itself has no checksum, silently writes arrays wrongly that are not C-contiguous, and orders several metadata strings at
random (so that equal arrays would give different bytes); all three are taken care of here. Nothing in a file is ever
executed, and nothing is trusted before it has been checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from chainrule.errors import DataError, ModelFileError, first_line
from chainrule.files.regular_file import FilePath, open_regular, path_of_open
from chainrule.files.writing import write_atomically

MAX_BRACKETS, BYTES_PER_BRACKET = 1_000, 8  # of a description: a column has some 20 bytes per bracket, a layer more
BYTES_PER_ARRAY = 120  # of a header, besides the name of the array
MAX_DEPTH = 40  # levels of a description; blocks of blocks have 20
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip # a table of names
# Kinds of files: name, and what to do with one in the place of another.
KINDS = {
    "chainrule-model": ("model", "`chainrule predict`, `evaluate` and `show` take it; cr.load opens it"),
    "chainrule-checkpoint": (
        "checkpoint",
        "`chainrule resume RUN` continues from it, or fit(resume=...) in the library; the model is "
        "model.safetensors of the run, or best.safetensors beside the checkpoint",
    ),
}


class Format(NamedTuple):
    """A kind of sealed file.

    ``key`` names it within the file, ``what`` in messages, ``version`` is the newest that is read, ``max_header``
    bounds the bytes of names and description.
    """

    key: str
    what: str
    version: int
    max_header: int


class Content(NamedTuple):
    """What a sealed file holds."""

    version: int
    description: Any
    arrays: dict[str, np.ndarray]


def write(
    path: FilePath, kind: Format, version: int, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write the file atomically: :func:`chainrule.files.writing.write_atomically`.

    DataError if the header is too long, or a name is no Unicode.
    """
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    try:
        envelope = {"version": version, "description": description, "sha256": checksum(description, arrays)}
    except UnicodeEncodeError as error:
        name = error.object[max(error.start - 20, 0) : error.end + 20]
        raise DataError(f"{path}: expected names and categories of Unicode characters, got {name!a}") from error
    text = json.dumps(envelope, ensure_ascii=False, allow_nan=False)
    if _bytes_within_json(text) > kind.max_header:  # before safetensors does, which has a limit of its own
        raise too_long(path, kind)
    header, *content = parts_of_safetensors(arrays, {kind.key: text})
    if len(header) - 8 > kind.max_header:
        raise too_long(path, kind)
    write_atomically(path, [header, *content])


def parts_of_safetensors(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """The bytes of ``safetensors.numpy.save(arrays, metadata)``: the header, then the arrays where they lie in memory.

    safetensors itself makes two copies of them all. It says the order and the names of the dtypes.
    """
    without_numbers = safetensors.numpy.save({name: np.empty(0, array.dtype) for name, array in arrays.items()})
    length = struct.unpack("<Q", without_numbers[:8])[0]
    described: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, facts in json.loads(without_numbers[8 : 8 + length]).items():
        start, end = end, end + arrays[name].nbytes
        described[name] = {"dtype": facts["dtype"], "shape": arrays[name].shape, "data_offsets": (start, end)}
    header = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    order = [arrays[name] for name in described if name in arrays]
    return [struct.pack("<Q", len(header)) + header, *map(_bytes_of, order)]


def _bytes_of(array: np.ndarray) -> memoryview:
    """Those of a C-contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def too_long(path: FilePath, kind: Format) -> DataError:
    """The error for a description that is too long for a file of this kind."""
    return DataError(
        f"{path}: expected at most {kind.max_header:,} bytes of names and categories, got more",
        hint="use fewer or shorter names of columns, classes and categories",
    )


def header_bytes(description: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The size of names and description in a file, to within a few hundred bytes per array."""
    text = json.dumps(description, ensure_ascii=False)
    return _bytes_within_json(text) + sum(len(name) + BYTES_PER_ARRAY for name in shapes)


def _bytes_within_json(text: str) -> int:
    """The bytes of a JSON text as a string within the JSON of a header, where each quote takes two."""
    return len(json.dumps(text, ensure_ascii=False).encode(errors="replace"))


def read(path: FilePath, kind: Format) -> Content:
    """What a sealed file of this kind holds.

    Raises
    ------
    ModelFileError   if the file is missing, foreign, damaged, or of an unknown version.
    """
    try:
        with open_regular(path) as opened, _safe_open(opened, path, kind) as file:
            envelope = _read_envelope(path, file, kind)
            arrays = _read_arrays(opened, file)
        description = envelope["description"]
        if is_nested_deeper(description, MAX_DEPTH):
            raise ModelFileError(f"{path} is not a {kind.what} file: its description is nested too deeply")
        if envelope["sha256"] != checksum(description, arrays):
            raise ModelFileError(f"{path} is damaged: its checksum does not match", hint="use an intact copy")
    except (ModelFileError, MemoryError):
        raise
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # safetensors raises several kinds, json and numpy more
        raise ModelFileError(f"{path} is not a {kind.what} file: {first_line(error):.200}") from error
    return Content(envelope["version"], description, arrays)


def _read_envelope(path: FilePath, file: Any, kind: Format) -> Any:
    """The JSON of the metadata, once its kind and version are known to be readable."""
    metadata = file.metadata() or {}
    if kind.key not in metadata:
        other, hint = next((KINDS[key] for key in KINDS if key in metadata), ("", ""))
        given = f"a chainrule {other}" if other else "another safetensors file"
        raise ModelFileError(f"{path}: expected a chainrule {kind.what}, got {given}", hint=hint)
    envelope = json.loads(_refuse_brackets(path, metadata[kind.key], kind))
    version = envelope["version"]
    if type(version) is not int or not 1 <= version <= kind.version:
        raise ModelFileError(
            f"{path}: expected format version 1 to {kind.version}, got {version!r:.40}",
            hint="open it with the chainrule that wrote it, or a newer one",
        )
    return envelope


def _safe_open(opened: io.BufferedReader, path: FilePath, kind: Format) -> Any:
    """The open file in safetensors, after a check of the length of its header."""
    start = opened.read(8)
    if len(start) < 8 or not 2 <= struct.unpack("<Q", start)[0] <= kind.max_header:
        raise ModelFileError(
            f"{path}: expected a chainrule {kind.what}, got a file of another kind",
            hint="models and checkpoints are .safetensors files",
        )
    return safetensors.safe_open(path_of_open(opened, path), framework="np")


def _read_arrays(opened: io.BufferedReader, file: Any) -> dict[str, np.ndarray]:
    """All arrays, in their order in the file, where they follow the header without gaps.

    safetensors has checked that, but would map the file into memory: the system ends a process that touches mapped
    bytes beyond the end of a file that has been truncated meanwhile.
    """
    if not hasattr(file, "offset_keys"):  # safetensors before 0.6 does not know the order
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    opened.seek(0)
    opened.seek(8 + struct.unpack("<Q", opened.read(8))[0])
    arrays = {}
    for name in file.offset_keys():
        claimed = file.get_slice(name)
        array = np.empty(claimed.get_shape(), DTYPES[claimed.get_dtype()])
        content = array.reshape(-1).view(np.uint8).data
        if opened.readinto(content) != len(content):
            raise ValueError("it was truncated while it was read")
        arrays[name] = array
    return arrays


def _refuse_brackets(path: FilePath, text: str, kind: Format) -> str:
    """``text``, unless much of it is brackets: Python makes ninety bytes of the two that open and close a list."""
    if text.count("[") + text.count("{") > MAX_BRACKETS + len(text) // BYTES_PER_BRACKET:
        raise ModelFileError(f"{path} is not a {kind.what} file: its description is nested too deeply")
    return text


def is_nested_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects of JSON are nested more than ``levels`` deep."""
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def is_of_format(path: FilePath, kind: Format) -> bool:
    """Whether the header of a file names this kind; False if it cannot be read. The content is not checked."""
    try:
        with open_regular(path) as opened, _safe_open(opened, path, kind) as file:
            return kind.key in (file.metadata() or {})
    except Exception:  # as in read
        return False


def checksum(description: Any, arrays: Mapping[str, np.ndarray]) -> str:
    """sha256, in hex, of the description and all arrays."""
    digest = hashlib.sha256(json.dumps(description, ensure_ascii=False, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(_bytes_of(np.ascontiguousarray(array)))
    return digest.hexdigest()
