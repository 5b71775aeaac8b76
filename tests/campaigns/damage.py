"""What someone who means harm, or a disk, does to a sealed file: to its description, arrays, envelope and bytes.

All of it is drawn from a generator, so that a case comes back with its number.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from chainrule.files import sealed_file
from chainrule.files.sealed_file import Content, Format

Harm = Callable[[random.Random, dict[str, Any], dict[str, np.ndarray]], None]


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


NAMES = ["\x1b[31mred", "\x9b2J", "\u202egnp", "\u2066x", "\x7f", "a\rb", "\ud800", "a" * 3000]
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400, 10**4000, -0.5, 0.0, 0.5, 1.0,
    1e-320, 1e308, float("nan"), float("inf"), "", "relu", "dense", "float64", "x" * 10_000, "\0", "\n", "\u202e", [],
    {}, [[]], [0.1, 0.2], [1] * 1000, {"kind": "dense"}, {"kind": "residual", "layers": []}, {"name": "huber"},
    {"kind": []}, {"kind": "scale"}, {"kind": "custom_activation"}, {"kind": "number"}, {"kind": "category"},
    {"kind": "embedding"}, {"kind": "embedding", "columns": [0], "counts": [2**24], "widths": [2**40], "shares": None},
    nested(50), nested(400), nested(900), {"kind": nested(900)}, *NAMES, NAMES,
]  # fmt: skip
KEYS = (
    "kind",
    "columns",
    "fill",
    "categories",
    "shares",
    "indicator",
    "n_out",
    "n_in",
    "activation",
    "layers",
    "name",
    "eps",
    "rate",
    "levels",
    "counts",
    "widths",
    "reduction",
    "",
    "self",
    "x",
)


def places(value: Any, depth: int = 30) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a tree down to ``depth``."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    found = [(value, key) for key in keys]
    for key in keys if depth else ():
        found += places(value[key], depth - 1)
    return found


def damage_description(rng: random.Random, description: dict[str, Any]) -> None:
    """One to three changes anywhere in the tree."""
    for _ in range(rng.randint(1, 3)):
        there = places(description)
        if not there:
            return
        container, key = rng.choice(there)
        other, its = rng.choice(there)
        match rng.randrange(6):
            case 0 | 1 | 2:
                container[key] = json.loads(json.dumps(rng.choice(VALUES)))
            case 3:
                container[key] = json.loads(json.dumps(other[its]))
            case 4:
                del container[key]
            case 5 if isinstance(container, dict):
                container[rng.choice(KEYS)] = json.loads(json.dumps(rng.choice(VALUES)))
            case _:
                container.extend([container[key]] * rng.choice([1, 3, 300])) if isinstance(container, list) else None


MODEL_ARRAYS = ("parameters.", "parameters.dense0.W.W", "features.mean", "features.scale", "targets.limit")
SHAPES = [(0,), (), (0, 2**40), (2**40, 0), (1,) * 32]
NUMBERS = [np.nan, -np.inf, 0, -1, 1e-45, 3e38]
LARGE = [1e300, -1e308, 5e-324]


def damage_tensors(rng: random.Random, tensors: dict[str, np.ndarray], names: Sequence[str] = MODEL_ARRAYS) -> None:
    """One or two arrays renamed, reshaped, exchanged, of another type, or of values that no net has."""
    for _ in range(rng.randint(1, 2)):
        name, other = rng.choice(sorted(tensors)), rng.choice(sorted(tensors))
        a = tensors[name]
        match rng.randrange(8):
            case 0 if len(tensors) > 1:
                del tensors[name]
            case 1:
                tensors[name], tensors[other] = tensors[other], a
            case 2:
                tensors[rng.choice(["", "x", *names])] = a
            case 3:
                tensors[name] = rng.choice([a.T, a.reshape(-1), a[None], a[:0], a[..., :-1]]) if a.ndim else a[None]
            case 4:
                tensors[name] = np.zeros(rng.choice(SHAPES))
            case 5:
                tensors[name] = a.astype(rng.choice(["f2", "f8", "i8", "u1", "?"]))
            case 6:
                tensors[name] = np.full(a.shape, rng.choice(NUMBERS)).astype(a.dtype)
            case _:
                tensors[name] = np.full(a.shape, rng.choice(LARGE))


def damage_bytes(rng: random.Random, content: bytes) -> bytes:
    """Bits turned, a piece cut out, doubled or overwritten, the length of the header changed."""
    at, length = rng.randrange(len(content)), rng.randint(1, 64)
    noise = rng.randbytes(length)
    header = int.from_bytes(content[:8], "little")
    return rng.choice(
        [
            content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :],
            content[:at],
            content[:at] + content[at + length :],
            content[: at + length] + content[at:],
            content[:at] + noise + content[at + length :],
            rng.choice([0, 1, 2, 7, header - 1, header + 1, 2**20, 2**40, 2**64 - 1]).to_bytes(8, "little")
            + content[8:],
            content.replace(b'"F32"', rng.choice([b'"F64"', b'"BF16"', b'"F8_E4M3"', b'"U64"', b'"??"']), 1),
            content.replace(b'"shape":[', b'"shape":[%d,' % rng.choice([0, 1, 2**31, 2**62, 2**64 - 1, 10**30]), 1),
            content.replace(b'"data_offsets":[', b'"data_offsets":[%d' % rng.randint(0, 9), 1),
            content.replace(b'"dtype"', rng.choice([b'"dtypo"', b"[" * 300]), 1),
        ]
    )


def _checksum(description: Any, arrays: dict[str, np.ndarray]) -> str:
    try:
        return sealed_file.checksum(description, arrays)
    except UnicodeEncodeError:  # half a character, which JSON can say and no file is read with
        return ""


def damaged(
    rng: random.Random,
    kind: Format,
    content: Content,
    *,
    version_of: Callable[[Any], int],
    names: Sequence[str] = MODEL_ARRAYS,
    harm: Harm | None = None,
) -> bytes:
    """A sealed file of what ``content`` has become.

    The checksum is right wherever the damage is not to the bytes: a checksum keeps no one out who can compute it.

    Parameters
    ----------
    version_of : the version that belongs to a description
    names : of arrays, under which others may come
    harm : what else may be done to description and arrays, in a third of the cases; what this kind of file is prone to
    """
    description, tensors = json.loads(json.dumps(content.description)), dict(content.arrays)
    what = rng.choice(["description", "description", "tensors", "both", "bytes", "envelope"])
    if harm is not None and rng.random() < 1 / 3:
        what = "harm"
        harm(rng, description, tensors)
    if what in ("description", "both"):
        damage_description(rng, description)
    if what in ("tensors", "both"):
        with np.errstate(all="ignore"):
            damage_tensors(rng, tensors, names)
    try:
        version = version_of(description)
    except (AttributeError, TypeError):
        version = content.version
    other = {rng.choice(["version", "description", "sha256", "x"]): rng.choice(VALUES)} if what == "envelope" else {}
    whole = sealed(kind, description, tensors, version, other)
    return damage_bytes(rng, whole) if what == "bytes" else whole


def sealed(
    kind: Format, description: Any, tensors: dict[str, np.ndarray], version: Any, other: Mapping[str, Any] = {}
) -> bytes:
    """The file of a description and arrays, whatever they are, with the checksum that belongs to them.

    ``other`` is what its envelope says instead.
    """
    arrays = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in tensors.items()}
    try:
        envelope = {"version": version, "description": description, "sha256": _checksum(description, arrays)}
        text = json.dumps(envelope | dict(other))
    except (RecursionError, ValueError):  # deeper than this Python writes: one nesting for all
        text = '{"version": 1, "sha256": "", "description": ' + "[" * 5000 + "]" * 5000 + "}"
    try:
        return safetensors.numpy.save(arrays, {kind.key: text})
    except safetensors.SafetensorError:  # over 100 MB: a file that says so
        return struct.pack("<Q", len(text)) + b"{"
