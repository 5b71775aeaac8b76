"""Fits of the default ensemble for tables: processor seconds per epoch, of four tables and of a plain net.

``--against FOLDER`` interleaves the same fits by the source of another checkout, each in a process of its own, and
prints the ratio of the medians. One thread; the compiled loops are loaded first. Scores are of rows not trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src"
TABLES: dict[str, dict[str, Any]] = {  # n rows to train on, columns, epochs at most
    "regression, 15,000 x 10": {"n": 15_000, "columns": 10, "epochs": 6},
    "regression, 3,000 x 8": {"n": 3_000, "columns": 8, "epochs": 20},
    "regression, 10,000 x 54": {"n": 10_000, "columns": 54, "epochs": 6},
    "classification, 2,000 x 20": {"n": 2_000, "columns": 20, "epochs": 24, "classes": True},
    "plain net, 15,000 x 10": {"n": 15_000, "columns": 10, "epochs": 30, "preset": None},
}


def fit(n: int, columns: int, epochs: int, *, classes: bool = False, **options: Any) -> dict[str, float]:
    """Processor seconds per epoch, all else of a fit included, and the score."""
    import numpy as np
    from sklearn.datasets import make_classification, make_friedman1

    import chainrule as cr
    from chainrule.backends.compiled import backend as compiled

    compiled.loaded()
    if classes:
        X, y = make_classification(n + 1_000, columns, n_informative=8, random_state=0)
    else:
        X, y = make_friedman1(n + 1_000, columns, noise=1, random_state=0)
    X, y = X.astype(np.float32), y if classes else y.astype(np.float32)
    kind = cr.MLPClassifier if classes else cr.MLPRegressor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged in these epochs
        kind(random_state=0, device="cpu", max_iter=1, **options).fit(X[:600], y[:600])
        start = time.process_time()
        model = kind(random_state=0, device="cpu", max_iter=epochs, **options).fit(X[:n], y[:n])
    seconds = (time.process_time() - start) / model.n_iter_
    return {"seconds per epoch": seconds, "score": float(model.score(X[n:], y[n:]))}


def in_process(source: Path, name: str) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(source), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", name]
    answer: dict[str, float] = json.loads(subprocess.check_output(command, env=environment, text=True))
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--one", choices=TABLES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(fit(**TABLES[arguments.one])))
        return
    sources = [SOURCE] + ([arguments.against / "src"] if arguments.against else [])
    for name in TABLES:
        rounds = [[in_process(source, name) for source in sources] for _ in range(arguments.rounds)]
        medians = [statistics.median(one[i]["seconds per epoch"] for one in rounds) for i in range(len(sources))]
        ratio = f"  ratio {medians[0] / medians[-1]:.2f}" if len(sources) > 1 else ""
        scores = " ".join(f"{one['score']:.4f}" for one in rounds[0])
        print(f"{name:30} {' '.join(f'{m:.3f} s' for m in medians)}{ratio}  score {scores}", flush=True)


if __name__ == "__main__":
    main()
