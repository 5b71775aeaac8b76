"""Write the numbers that ``tests/nn/test_metrics.py`` compares with: scikit-learn's own metrics.

    python benchmarks/golden/make_sklearn_metrics.py        # needs scikit-learn, not chainrule

Scores come rounded to tenths, so that there are many ties. The rows stand in the file, with the values.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn import metrics

TARGET = Path(__file__).parents[2] / "tests" / "nn" / "sklearn_metrics.json"
N, K = 40, 3
SCALES = [1e-3, 1e3]  # of two target columns: each is to be measured by itself


def main() -> None:
    rng = np.random.default_rng(8)
    w = rng.integers(0, 4, N).astype(float)
    labels, predicted = rng.integers(0, K, N), rng.integers(0, K, N)
    labels[:6], predicted[-3:] = 0, 1
    P = np.round(rng.dirichlet(np.ones(K), N) + 0.05, 1)
    P /= P.sum(axis=1, keepdims=True)
    yes, score = rng.integers(0, 2, N), np.round(rng.uniform(0.05, 0.95, N), 1)
    both, scores = rng.integers(0, 2, (N, 2)), np.round(rng.uniform(size=(N, 2)), 1)
    y, p = np.round(rng.normal(size=N), 2), np.round(rng.normal(size=N), 2)
    Y, Q = np.round(rng.normal(size=(N, 2)), 2), np.round(rng.normal(size=(N, 2)), 2)
    cases = [
        ("accuracy", labels, predicted, metrics.accuracy_score, {}),
        ("balanced_accuracy", labels, predicted, metrics.balanced_accuracy_score, {}),
        ("log_loss", labels, P, metrics.log_loss, {}),
        ("binary_log_loss", yes, score, metrics.log_loss, {}),
        ("roc_auc", yes, score, metrics.roc_auc_score, {}),
        ("roc_auc", labels, P, metrics.roc_auc_score, {"multi_class": "ovr"}),
        ("roc_auc", both, scores, metrics.roc_auc_score, {}),
        ("rmse", y, p, metrics.root_mean_squared_error, {}),
        ("mae", y, p, metrics.mean_absolute_error, {}),
        ("mae", Y, Q, metrics.mean_absolute_error, {}),
        ("r2", y, p, metrics.r2_score, {}),
        ("r2", Y, Q, metrics.r2_score, {}),
        ("rmse", Y * SCALES, Q * SCALES, metrics.root_mean_squared_error, {}),
        ("mae", Y * SCALES, Q * SCALES, metrics.mean_absolute_error, {}),
        ("r2", Y * SCALES, Q * SCALES, metrics.r2_score, {}),
        ("balanced_accuracy", yes, (score > 0.5).astype(int), metrics.balanced_accuracy_score, {}),
    ]
    found = [
        {
            "metric": name, "y": truth.tolist(), "predicted": said.tolist(),
            "value": float(function(truth, said, **options)),
            "weighted": float(function(truth, said, sample_weight=w, **options)),
        }
        for name, truth, said, function, options in cases
    ]  # fmt: skip
    TARGET.write_text(json.dumps({"weights": w.tolist(), "cases": found}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
