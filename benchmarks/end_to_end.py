"""Whole fits beside scikit-learn, data checking included, from 200 to 100,000 rows.

Both train 20-100-10 with ReLU and Adam at 1e-3, batches of 200, 20 epochs, float32 arrays in memory; early stopping is
off in both. Interleaved rounds in one process; the median of each, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from environment import facts
from sklearn.neural_network import MLPClassifier

import chainrule as cr

SIZES = (200, 1_000, 10_000, 100_000)
EPOCHS, BATCH, HIDDEN = 20, 200, 100


def fit_chainrule(X: np.ndarray, y: np.ndarray) -> None:
    net = cr.MLP([X.shape[1], HIDDEN, 10])
    cr.Trainer(net, cr.Adam(1e-3), batch_size=BATCH, epochs=EPOCHS).fit(X, y)


def fit_scikit_learn(X: np.ndarray, y: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it has not converged in these epochs
        MLPClassifier(
            (HIDDEN,), batch_size=min(BATCH, len(X)), max_iter=EPOCHS, n_iter_no_change=EPOCHS + 1, tol=0.0, alpha=0.0
        ).fit(X, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    peers = {"chainrule": fit_chainrule, "scikit-learn": fit_scikit_learn}
    rng, results = np.random.default_rng(0), {}
    for n in SIZES:
        X, y = rng.normal(size=(n, 20)).astype(np.float32), rng.integers(0, 10, n)
        times: dict[str, list[float]] = {peer: [] for peer in peers}
        for _ in range(args.rounds):
            for peer, fit in peers.items():
                start = time.perf_counter()
                fit(X, y)
                times[peer].append(time.perf_counter() - start)
        ours, theirs = (statistics.median(times[peer]) * 1e3 for peer in peers)
        results[n] = {"chainrule_ms": ours, "scikit_learn_ms": theirs, "ratio": ours / theirs}
        print(f"{n:>8,} rows   chainrule {ours:9.1f} ms   scikit-learn {theirs:9.1f} ms   ratio {ours / theirs:.2f}")
    if args.json is not None:
        found = {"benchmark": "end_to_end", **facts([cr.backend("cpu")]), "rows": results}
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
