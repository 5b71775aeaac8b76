"""How long an epoch of an ensemble takes on a device: k members trained at once, beside k times the net alone.

::

    python benchmarks/ensemble_cuda.py [--device cuda] [--members 1 2 8 16] [--json FILE]
    python benchmarks/ensemble_cuda.py --device cpu --smoke      # a few rows, whose figures mean nothing

The first fit of a net captures its step and times its products; what is measured is a later fit of the same net, and of
several the median. Prints milliseconds per epoch, and the ratio of k nets alone to the ensemble.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr

WIDTHS = (32, 128, 128, 10)
ROUNDS = 5


def milliseconds_per_epoch(backend: cr.Backend, members: int, rows: int, epochs: int) -> float:
    """The median over ``ROUNDS`` fits of an ensemble, or of a net if ``members`` is 1."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(rows, WIDTHS[0])).astype(np.float32), rng.integers(WIDTHS[-1], size=rows)
    axis: dict[str, Any] = {"members": members} if members > 1 else {}
    net = cr.MLP(WIDTHS, dropout=0.1, seed=1, backend=backend, **axis)
    seconds = []
    for _ in range(ROUNDS + 1):
        trainer = cr.Trainer(net, cr.AdamW(lr=1e-3, weight_decay=1e-2), batch_size=256, epochs=epochs, seed=2)
        start = time.perf_counter()
        trainer.fit(X, y)
        backend.synchronize()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds[1:]) / epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2, 8, 16])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--smoke", action="store_true", help="a few rows, whose figures mean nothing")
    args = parser.parse_args()
    backend = cr.backend(args.device)
    rows, epochs = (512, 1) if args.smoke else (1 << 16, 10)
    alone = milliseconds_per_epoch(backend, 1, rows, epochs)
    found = []
    for members in args.members:
        together = alone if members == 1 else milliseconds_per_epoch(backend, members, rows, epochs)
        found.append({"members": members, "ms_per_epoch": together, "ratio": members * alone / together})
        print(
            f"{members:3} members: {together:9.2f} ms per epoch, {found[-1]['ratio']:5.2f} times as fast as one by one"
        )
    if args.json:
        about = {"device": backend.device, "widths": WIDTHS, "rows": rows, "found": found}
        args.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
