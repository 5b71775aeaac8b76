"""Model files that someone made to do harm, or that a disk did.

Each case is drawn from its own seed, so a finding comes back with its number. The checksum is right wherever the
damage is not to the bytes: a checksum keeps no one out who can compute it.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import chainrule as cr
from chainrule import model_file, sealed_file

TITLE = "hostile model files"
CASES = 100_000

MEMORY = 64 << 20  # bytes that opening a file of a few kilobytes may take at the most
SECONDS = 5.0


def nets() -> list[cr.Network]:
    """Small, and together of every layer and of losses with every kind of option."""
    block = cr.Residual([cr.LayerNorm(), cr.Dense(4, "gelu"), cr.Residual([cr.Dropout(0.2), cr.Dense(4)])])
    many = cr.Network([cr.BatchNorm(), cr.Dense(4, "relu"), block, cr.Activation("mish"), cr.Dense(3)], 2)
    many.preparation = cr.Preparation(
        cr.Standardization(np.array([1.0, 2.0]), np.array([3.0, 4.0]), 3.0), None, ("a", "b"), "kind", ("x", "y", "z")
    )
    quantiles = cr.MLP([2, 3, 2], loss=cr.Quantile([0.2, 0.8]), dtype="float64")
    quantiles.preparation = cr.Preparation(targets=cr.Standardization(np.array([5.0]), np.array([2.0])))
    kinds = cr.Categorical(np.array([0, 1, -1, 1, 0, 2]), ("blue", "red", "rare"))
    table = {"kind": kinds, "size": np.array([1.0, np.nan, 3.0, 4.0, 5.0, 6.0])}
    encoder = cr.TableEncoder.fit(table, max_categories=2)
    tabular = cr.MLP([len(encoder.names), 3])
    tabular.preparation = cr.Preparation(encoder=encoder)
    embedding_encoder = cr.TableEncoder.fit(table, embed_above=2)
    embedded = cr.MLP([len(embedding_encoder.names), 3, 2], embedding=embedding_encoder.embedding())
    embedded.preparation = cr.Preparation(encoder=embedding_encoder)
    others = [cr.MLP([2, 1], loss=cr.Huber(delta=0.5)), cr.MLP([1, 2], loss="gaussian_nll")]
    return [many, quantiles, tabular, embedded, *others]


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400, 10**4000, -0.5, 0.0, 0.5, 1.0,
    1e-320, 1e308, float("nan"), float("inf"), "", "relu", "dense", "float64", "x" * 10_000, "\0", "\n", "\u202e", [],
    {}, [[]], [0.1, 0.2], [1] * 1000, {"kind": "dense"}, {"kind": "residual", "layers": []}, {"name": "huber"},
    {"kind": []}, {"kind": "custom_activation"}, {"kind": "number"}, {"kind": "category"},
    {"kind": "embedding"}, {"kind": "embedding", "columns": [0], "counts": [2**24], "widths": [2**40], "shares": None},
    nested(50), nested(400), nested(900), {"kind": nested(900)},
]  # fmt: skip
KEYS = (
    "kind", "columns", "fill", "categories", "shares", "indicator", "n_out", "n_in", "activation", "layers", "name",
    "eps", "rate", "levels", "counts", "widths", "reduction", "", "self", "x",
)  # fmt: skip


def _places(value: Any, depth: int = 30) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a tree down to ``depth``."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    found = [(value, key) for key in keys]
    for key in keys if depth else ():
        found += _places(value[key], depth - 1)
    return found


def damage_description(rng: random.Random, description: dict[str, Any]) -> None:
    """One to three changes anywhere in the tree."""
    for _ in range(rng.randint(1, 3)):
        places = _places(description)
        if not places:
            return
        container, key = rng.choice(places)
        other, its = rng.choice(places)
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


SHAPES = [(0,), (), (0, 2**40), (2**40, 0), (1,) * 32]
NAMES = ["", "parameters.", "x", "parameters.dense0.W.W", "features.mean", "features.scale", "targets.limit"]
NUMBERS = [np.nan, -np.inf, 0, -1, 1e-45, 3e38]
LARGE = [1e300, -1e308, 5e-324]


def damage_tensors(rng: random.Random, tensors: dict[str, np.ndarray]) -> None:
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
                tensors[rng.choice(NAMES)] = a
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
    return rng.choice([
        content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :],
        content[:at],
        content[:at] + content[at + length :],
        content[: at + length] + content[at:],
        content[:at] + noise + content[at + length :],
        rng.choice([0, 1, 2, 7, header - 1, header + 1, 2**20, 2**40, 2**64 - 1]).to_bytes(8, "little") + content[8:],
        content.replace(b'"F32"', rng.choice([b'"F64"', b'"BF16"', b'"F8_E4M3"', b'"U64"', b'"??"']), 1),
        content.replace(b'"shape":[', b'"shape":[%d,' % rng.choice([0, 1, 2**31, 2**62, 2**64 - 1, 10**30]), 1),
        content.replace(b'"data_offsets":[', b'"data_offsets":[%d' % rng.randint(0, 9), 1),
        content.replace(b'"dtype"', rng.choice([b'"dtypo"', b"[" * 300]), 1),
    ])  # fmt: skip


def case(number: int, whole: list[tuple[dict[str, Any], dict[str, np.ndarray]]]) -> bytes:
    """The content of the file of this number, made from one of the ``whole`` ones."""
    rng = random.Random(number)
    description, tensors = rng.choice(whole)
    description, tensors = json.loads(json.dumps(description)), dict(tensors)
    kind = rng.choice(["description", "description", "tensors", "both", "bytes", "envelope"])
    if kind in ("description", "both"):
        damage_description(rng, description)
    if kind in ("tensors", "both"):
        with np.errstate(all="ignore"):
            damage_tensors(rng, tensors)
    arrays = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in tensors.items()}
    try:
        checksum = sealed_file.checksum(description, arrays)
        version = 2 if "columns" in description else 1
        envelope = {"version": version, "description": description, "sha256": checksum}
        if kind == "envelope":
            envelope[rng.choice(["version", "description", "sha256", "x"])] = rng.choice(VALUES)
        text = json.dumps(envelope)
    except (RecursionError, ValueError):  # deeper than this Python writes: one nesting for all
        text = '{"version": 1, "sha256": "", "description": ' + "[" * 5000 + "]" * 5000 + "}"
    content = safetensors.numpy.save(arrays, {model_file.FORMAT.key: text})
    return damage_bytes(rng, content) if kind == "bytes" else content


def outcome(path: Path) -> str:
    """What opening the file came to: "opened", "refused", or what went wrong."""
    tracemalloc.start()
    start = time.process_time()
    try:
        net = cr.load(path, device="cpu")
        with np.errstate(all="ignore"), contextlib.suppress(cr.DataError):  # rows that do not fit are refused
            net.predict(np.ones((2, net.n_in)))
        said = "opened"
    except cr.ModelFileError as error:
        said = "refused" if len(str(error)) < 1000 else f"a message of {len(str(error))} characters: {error!s:.200}"
    except BaseException as error:  # a panic of safetensors is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        said = f"{type(error).__name__}: {error!s:.200}"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if peak > MEMORY:
        return f"{said}, with {peak:,} bytes"
    return said if time.process_time() - start < SECONDS else f"{said}, after {time.process_time() - start:.1f} s"


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many were opened and refused, and what went wrong, by number."""
    path = folder / "model.safetensors"
    whole = []
    for net in nets():
        net.save(path)
        whole.append(model_file.read(path))
    counts, findings = {"opened": 0, "refused": 0}, {}
    for number in numbers:
        path.write_bytes(case(number, whole))
        said = outcome(path)
        if said in counts:
            counts[said] += 1
        else:
            findings[number] = said
    return counts, findings
