"""Fashion-MNIST as bytes, from whatever files of it there are."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

NAMES = ("X", "y", "X_test", "y_test")
STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
OTHER_NAMES = (NAMES, ("x_train", "y_train", "x_test", "y_test"), ("X_train", "y_train", "X_test", "y_test"))


def read_fashion(path: Path) -> dict[str, np.ndarray]:
    """{"X": (60000, 784) uint8, "y": (60000,) int64, "X_test": ..., "y_test": ...}.

    ``path`` is an .npz with these arrays (also as x_train, y_train, x_test, y_test), or a folder: with the four idx
    files, gzipped or not, with fashion-train.npz and fashion-test.npz as examples/fashion_mnist.py writes them, or with
    one such .npz. FileNotFoundError or ValueError if there is nothing of the kind.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    files = [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]
    by_stem = {file.name.removesuffix(".gz"): file for file in reversed(files)}
    if all(stem in by_stem for stem in STEMS):
        return _shaped(_read_idx(by_stem[stem]) for stem in STEMS)
    if {"fashion-train.npz", "fashion-test.npz"} <= by_stem.keys():
        with np.load(by_stem["fashion-train.npz"]) as train, np.load(by_stem["fashion-test.npz"]) as test:
            return _shaped([train["X"], train["y"], test["X"], test["y"]])
    for file in files:
        if file.suffix == ".npz":
            with np.load(file) as content:
                if (found := _four_of(content)) is not None:
                    return found
    raise FileNotFoundError(f"{path} holds neither the four idx files nor an .npz with {', '.join(NAMES)}")


def _four_of(content: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    for names in OTHER_NAMES:
        if all(name in content for name in names):
            return _shaped(content[name] for name in names)
    return None


def _shaped(arrays: object) -> dict[str, np.ndarray]:
    X, y, X_test, y_test = (np.asarray(array) for array in arrays)  # type: ignore[attr-defined]
    if X.dtype != np.uint8 or X.size != len(X) * 784:
        raise ValueError(f"images: expected (n, 28, 28) or (n, 784) bytes, got {X.shape} of {X.dtype}")
    images = [np.ascontiguousarray(x.reshape(len(x), -1)) for x in (X, X_test)]
    return dict(zip(NAMES, (images[0], y.astype(np.int64), images[1], y_test.astype(np.int64)), strict=True))


def _read_idx(path: Path) -> np.ndarray:
    """Two zero bytes, the code of the type, the number of axes, each axis as a big-endian word, then the bytes."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    zeros, kind, axes = struct.unpack_from(">HBB", content)
    if (zeros, kind) != (0, 8):
        raise ValueError(f"{path} is no idx file of bytes")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
