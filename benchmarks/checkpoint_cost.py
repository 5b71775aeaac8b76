"""What checkpoints cost a run: ``python benchmarks/checkpoint_cost.py [--epochs 60] [--rounds 3] [--json FILE]``.

Workload M of compare_cpu.py is trained with checkpoints at the default interval and without, in turn. Compared are wall
time and processor time of all that a fit does; and, as other work on the machine weighs more than a checkpoint, the
time spent in writing them is taken by itself, and its share of the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from compare_cpu import WORKLOADS
from environment import facts

import chainrule as cr
from chainrule.train.checkpoints.writer import LAST
from chainrule.train.fit import Fit

CASE = WORKLOADS["M"]


def train(epochs: int, folder: Path | None) -> dict[str, Any]:
    """Seconds of one fit, and of each checkpoint in it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(CASE.batch * CASE.steps, CASE.widths[0])).astype(np.float32)
    y = rng.integers(0, CASE.widths[-1], len(X))
    net = cr.MLP(CASE.widths, loss=CASE.loss, backend=cr.backend("cpu"))
    writes: list[tuple[float, float]] = []
    plain = Fit._write_checkpoint

    def timed(self: Fit, done: int) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        plain(self, done)
        writes.append((time.perf_counter() - wall, time.process_time() - processor))

    with mock.patch.object(Fit, "_write_checkpoint", timed):
        wall, processor = time.perf_counter(), time.process_time()
        cr.Trainer(net, cr.Adam(1e-4), batch_size=CASE.batch, epochs=epochs, checkpoints=folder).fit(X, y)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    found = {"wall_s": round(wall, 3), "processor_s": round(processor, 3)}
    if folder is None:
        return found
    return found | {
        "checkpoints": len(writes),
        "writing_wall_s": [round(w, 4) for w, _ in writes],
        "writing_processor_s": [round(p, 4) for _, p in writes],
        "bytes": (folder / LAST).stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60, help="of each fit; 40 steps each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a disk: /tmp may be memory")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    train(2, None)  # loads what is loaded once
    epochs = args.epochs
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        runs = [(train(epochs, Path(folder)), train(epochs, None)) for _ in range(args.rounds)]
    kept, bare = [a for a, _ in runs], [b for _, b in runs]
    times = [seconds for run in kept for seconds in run["writing_wall_s"]]
    shares = {
        kind: max(sum(run[f"writing_{kind}_s"]) / run[f"{kind}_s"] for run in kept) for kind in ("wall", "processor")
    }
    ratios = {kind: min(r[kind] for r in kept) / min(r[kind] for r in bare) - 1 for kind in ("wall_s", "processor_s")}
    summary = {
        "epochs": epochs, "steps": epochs * CASE.steps, "one_checkpoint_median_s": round(statistics.median(times), 4),
        "one_checkpoint_least_s": round(min(times), 4), "one_checkpoint_most_s": round(max(times), 4),
        "bytes": kept[0]["bytes"], "largest_share_of_wall": round(shares["wall"], 5),
        "largest_share_of_processor": round(shares["processor"], 5),
        "least_with_over_least_without": {kind: round(ratio, 5) for kind, ratio in ratios.items()},
    }  # fmt: skip
    print(json.dumps(summary, indent=2))
    if args.json is not None:
        about = {"about": __doc__.strip().splitlines()[0], **facts([cr.backend("cpu")])}
        whole = {**about, "workload": "M", "summary": summary, "with": kept, "without": bare}
        args.json.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
