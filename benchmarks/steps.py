"""Training steps a second on each device, a few sizes: ``python benchmarks/steps.py [--json FILE] [--device D ...]``.

A step is gather, forward, loss, backward and Adam, as `Trainer` runs it, float32, random data. The figure is the median
over epochs after the first, which allocates and warms up. On a GPU the time includes one synchronisation per epoch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from environment import facts

import chainrule as cr


class Workload(NamedTuple):
    """A net, a batch, a loss, and how many steps make an epoch here."""

    widths: tuple[int, ...]
    batch: int
    loss: str
    steps: int


WORKLOADS = {
    "T": Workload((100, 200, 10), 32, "squared_error", 400),
    "S": Workload((64, 100, 10), 200, "softmax_cross_entropy", 300),
    "W": Workload((32, 256, 256, 256, 1), 256, "squared_error", 60),
    "M": Workload((784, 512, 512, 10), 128, "softmax_cross_entropy", 40),
    "L": Workload((784, 2048, 2048, 10), 1024, "softmax_cross_entropy", 3),
}


def measure(workload: Workload, device: str, epochs: int) -> dict[str, Any]:
    """Microseconds per step: median, least and most over the epochs after the first."""
    widths, batch, loss, steps = workload
    rng = np.random.default_rng(0)
    X = rng.normal(size=(batch * steps, widths[0])).astype(np.float32)
    y = rng.integers(0, 10, len(X)) if loss.startswith("softmax") else rng.normal(size=(len(X), widths[-1]))
    net = cr.MLP(widths, loss=loss, backend=cr.backend(device))
    run = cr.Trainer(net, cr.Adam(1e-4), batch_size=batch, epochs=epochs + 1, metrics=False).fit(X, y)
    times = [(b - a) / steps * 1e6 for a, b in itertools.pairwise(run.history["seconds"])]
    return {"median_us": statistics.median(times), "least_us": min(times), "most_us": max(times), "epochs": epochs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", nargs="+", default=["cpu"])
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for name, workload in WORKLOADS.items():
        results[name] = {device: measure(workload, device, args.epochs) for device in args.device}
    if args.json is not None:
        backends = [cr.backend(device) for device in args.device]
        found = {"benchmark": "steps", **facts(backends), "workloads": results}
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"{'':<4}{'net':<26}{'batch':>6}" + "".join(f"{d + ' us/step':>18}{'steps/s':>10}" for d in args.device))
    for name, (widths, batch, _, _) in WORKLOADS.items():
        cells = [results[name][device]["median_us"] for device in args.device]
        row = "".join(f"{us:>18.1f}{1e6 / us:>10.0f}" for us in cells)
        print(f"{name:<4}{'-'.join(map(str, widths)):<26}{batch:>6}{row}")


if __name__ == "__main__":
    main()
