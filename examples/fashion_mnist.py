"""Fashion-MNIST from its four files to two ``.npz`` that `chainrule train` reads.

    python examples/fashion_mnist.py FOLDER       # FOLDER holds train-images-idx3-ubyte.gz and the other three
    chainrule train fashion-train.npz --valid 0.1 --epochs 20
    chainrule evaluate runs/fashion-train-... fashion-test.npz

The images are by Zalando SE (MIT licence). The format is that of MNIST: two zero bytes, the code of the type, the
number of axes, each axis as a big-endian 32-bit number, then the bytes.
"""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an ``idx`` file, gzipped."""
    content = gzip.decompress(path.read_bytes())
    zeros, kind, axes = struct.unpack_from(">HBB", content)
    if (zeros, kind) != (0, 8):
        raise SystemExit(f"{path} is no idx file of bytes")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def main(folder: Path) -> None:
    for part, stem in (("train", "train"), ("test", "t10k")):
        images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{stem}-labels-idx1-ubyte.gz")
        np.savez(f"fashion-{part}.npz", X=images.reshape(len(images), -1), y=labels)
        print(f"fashion-{part}.npz: {len(images):,} images")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
