"""How well the estimators do with their defaults, beside scikit-learn's: a table in Markdown.

    python benchmarks/quality.py

scikit-learn's data sets, three splits of 75/25 (stratified for classes), the mean of the error on the rows held out:
the fraction that is wrong, or RMSE / standard deviation of the target. scikit-learn's nets come behind a
StandardScaler, chainrule's as they are. No setting is tuned by table, but chainrule's defaults were chosen with these
tables in view. Seconds are those of a fit, on one CPU core.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import datasets, ensemble, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule as cr

SPLITS = range(3)
WIDE = {"hidden_layer_sizes": (256, 128)}
SMOOTH = cr.SoftmaxCrossEntropy(label_smoothing=0.1)
ROWS = 8000


def ours(reg: bool, seed: int, **options: Any) -> Any:
    """One of chainrule's estimators."""
    return (cr.MLPRegressor if reg else cr.MLPClassifier)(random_state=seed, device="cpu", **options)


Make = Callable[[bool, int], Any]
CONTENDERS: dict[str, Make] = {
    "scikit-learn MLP, scaled": lambda reg, seed: make_pipeline(
        StandardScaler(),
        (neural_network.MLPRegressor if reg else neural_network.MLPClassifier)(random_state=seed),
    ),
    "scikit-learn hist. gradient boosting": lambda reg, seed: (
        ensemble.HistGradientBoostingRegressor if reg else ensemble.HistGradientBoostingClassifier
    )(random_state=seed),
    "chainrule": ours,
    "chainrule, (256, 128)": lambda reg, seed: ours(reg, seed, **WIDE),
    "chainrule, (256, 128), dropout 0.2, smoothed labels": lambda reg, seed: ours(
        reg, seed, **WIDE, dropout=0.2, **({} if reg else {"loss": SMOOTH})
    ),
}


def tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Real tables that come with scikit-learn, and two larger artificial ones."""
    found = {
        name: getattr(datasets, f"load_{name}")(return_X_y=True) for name in ("digits", "breast_cancer", "diabetes")
    }
    found["friedman1, noise 0.5, 8,000 rows"] = datasets.make_friedman1(ROWS, noise=0.5, random_state=0)
    found["four classes, 5 % wrong labels, 8,000 rows"] = datasets.make_classification(
        ROWS, 30, n_informative=12, n_classes=4, flip_y=0.05, random_state=0
    )
    return found


def error_of(make: Make, X: np.ndarray, y: np.ndarray, *, reg: bool) -> tuple[float, float]:
    """Mean error over the splits, and mean seconds of a fit."""
    errors, seconds = [], 0.0
    for seed in SPLITS:
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed, stratify=None if reg else y)
        model, start = make(reg, seed), time.perf_counter()
        model.fit(X_train, y_train)
        seconds += time.perf_counter() - start
        wrong = model.predict(X_test) - y_test if reg else model.predict(X_test) != y_test
        errors.append(np.sqrt(np.mean(wrong**2)) / y_test.std() if reg else np.mean(wrong))
    return float(np.mean(errors)), seconds / len(SPLITS)


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = tables()
    print(f"| | {' | '.join(data)} |")
    print(f"|---{'|---:' * len(data)}|")
    for name, make in CONTENDERS.items():
        cells = []
        for X, y in data.values():
            error, seconds = error_of(make, X, y, reg=y.dtype.kind == "f")
            cells.append(f"{error:.4f} ({seconds:.1f} s)")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
