"""Folds that are trained side by side, beside the same folds one after the other: cross-validation, and `shrink`.

    python benchmarks/folds_side_by_side.py [--rounds 7] [--json FILE]

`chainrule cv` calls `cross_validate`, as the case "cv" does; the case "shrink" is a fit of an estimator on fewer than
1,000 rows, five further nets included. All in one process with its loops loaded; the rounds alternate between the two
ways. The ratio is the median of the rounds' times side by side by those in series: below 1 is a gain.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from environment import facts

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.host_cores import usable_cores
from chainrule.train import side_by_side

FOLDS = 5


def rows(n: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, columns)).astype(np.float32)
    return X, X[:, 0] * X[:, 1] + 0.3 * rng.standard_normal(n).astype(np.float32)


def cross_validation(hidden: list[int], batch: int, epochs: int) -> list[float]:
    """The scores of each fold of 10,000 rows."""
    X, y = rows(10_000, 20)

    def train(chosen: np.ndarray) -> cr.MLP:
        net = cr.MLP([20, *hidden, 1], loss="squared_error", backend=cr.backend("cpu"))
        cr.Trainer(net, cr.Adam(), batch_size=batch, epochs=epochs).fit(X[chosen], y[chosen], validation=0.2)
        return net

    return [one["rmse"] for one in cr.cross_validate(train, X, y, cr.make_folds(len(y), FOLDS)).scores]


def shrink() -> list[float]:
    """The factor of a plain net on 900 rows."""
    X, y = rows(900, 20)
    return [cr.MLPRegressor(preset=None, random_state=0, device="cpu").fit(X, y).shrinkage_]


CASES: dict[str, Callable[[], list[float]]] = {
    "cv, 32, batch 64": functools.partial(cross_validation, [32], 64, 10),
    "cv, 100-100, batch 128": functools.partial(cross_validation, [100, 100], 128, 8),
    "cv, 256-256, batch 256": functools.partial(cross_validation, [256, 256], 256, 4),
    "shrink": shrink,
}


def in_series(case: Callable[[], list[float]]) -> list[float]:
    with patch.object(side_by_side, "threads_for", lambda *_: 1):
        return case()


def measure(case: Callable[[], list[float]], rounds: int) -> dict[str, Any]:
    """Seconds each way, their ratio, the results, and the load of the machine meanwhile."""
    ways = {"series": lambda: in_series(case), "side_by_side": case}
    results = [way() for way in ways.values()]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    loads = []
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
        loads.append(os.getloadavg()[0])
    pairs = [b / a for a, b in zip(*seconds.values(), strict=True)]
    ratio = statistics.median(seconds["side_by_side"]) / statistics.median(seconds["series"])
    return {
        "seconds": seconds,
        "ratio": ratio,
        "least": min(pairs),
        "most": max(pairs),
        "same": results[0] == results[1],
        "loads": loads,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    backend, results = compiled.loaded(), {}
    print(f"{usable_cores()} cores; side by side / in series: median (least to most of a round)")
    for name, case in CASES.items():
        results[name] = found = measure(case, args.rounds)
        spread = f"{found['ratio']:.2f} ({found['least']:.2f} to {found['most']:.2f})"
        results_are = "the same" if found["same"] else "DIFFERENT"
        load = statistics.mean(found["loads"])
        print(f"{name:<26}{spread:<24}results {results_are}; load average {load:.1f}", flush=True)
    if args.json is not None:
        content = {"benchmark": "folds_side_by_side", **facts([backend]), "rounds": args.rounds, "cases": results}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
