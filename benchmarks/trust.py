"""How far the estimators trust their nets by default: tables of noise and easy ones, every loss with a known constant.

    python benchmarks/trust.py [--preset none] [--output FILE.json] [--losses poisson,gamma] [--tables 20]

Each table has n rows to train on, 40 to 2,000, and 2,000 to judge by. Of noise the targets know nothing of the
features; of easy ones they depend on them, with some noise. Judged is the deviance on new rows (the loss less that of
a prediction that is right for each row) of the estimator as it is, of the one with ``shrink=False``, and of the best
constant prediction for the training rows. gaussian_nll has no such prediction: there it is exp(2 (l - l_0)), l the
negative log likelihood per row: the square of how far too wide or narrow a normal distribution would have to be to cost
as much.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from environment import facts

import chainrule as cr
from chainrule.backends import backend
from chainrule.train.shrinkage.deviance import deviance
from chainrule.train.shrinkage.held_out import best_constant, predict_held_out

SIZES = (40, 60, 100, 150, 200, 300, 500, 800, 1200, 2000)
NEW = 2_000
LOSSES = (
    "log_loss, 2 classes",
    "log_loss, 3 classes",
    "log_loss, 2 labels a row",
    "focal",
    "squared_error",
    "absolute_error",
    "huber",
    "poisson",
    "gamma",
    "quantile",
    "gaussian_nll",
)


def table(loss: str, number: int, *, easy: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Features, targets, and how many rows are to train on."""
    rng = np.random.default_rng([number, easy])
    n, d = SIZES[number % len(SIZES)], int(rng.integers(2, 12))
    X = rng.normal(size=(n + NEW, d))
    slopes = rng.normal(size=(3, d))
    g = X @ slopes.T / np.linalg.norm(slopes, axis=1) + np.tanh(X[:, :1])
    g = g / g.std(axis=0) if easy else rng.permutation(g / g.std(axis=0))
    if loss.startswith(("log_loss", "focal")):
        z = 4 * g + rng.logistic(size=g.shape)
        if "labels" in loss:
            return X, (z[:, :2] > 0).astype(int), n
        return X, (z[:, 0] > 0).astype(int) if "2" in loss else z.argmax(axis=1), n
    match loss:
        case "poisson":
            y = rng.poisson(20 * np.exp(0.7 * g[:, 0])).astype(float)
        case "gamma":
            y = np.exp(g[:, 0]) * rng.gamma(10.0, 0.1, len(X))
        case _:
            y = 100 + 7 * (g[:, 0] + 0.2 * rng.normal(size=len(X)))
    return X, y, n


def judge(loss: str, number: int, preset: str | None, *, easy: bool) -> dict[str, Any]:
    """One table."""
    X, y, n = table(loss, number, easy=easy)
    kind = cr.MLPClassifier if loss.startswith(("log_loss", "focal")) else cr.MLPRegressor
    found: dict[str, Any] = {"loss": loss, "easy": easy, "rows": n, "features": X.shape[1]}
    for name, shrink in (("default", True), ("plain", False)):
        started = time.perf_counter()
        options = {"loss": loss.partition(",")[0], "preset": preset, "random_state": number, "device": "cpu"}
        model = kind(**options, shrink=shrink).fit(X[:n], y[:n])
        found[f"{name}_seconds"] = round(time.perf_counter() - started, 3)
        net = model.network_
        constant = best_constant(net, net.upload_rows(X[:n], y[:n]))
        new = predict_held_out(net, constant, net.upload_rows(X[n:], y[n:]))
        found[name], found["constant"] = (deviance(net.loss, [new], factor) / NEW for factor in (1.0, 0.0))
        found[f"{name}_factor"] = model.shrinkage_
    base = found["constant"]
    for name in ("default", "plain"):
        likelihood = loss == "gaussian_nll"
        found[f"{name}_ratio"] = float(np.exp(2 * (found[name] - base))) if likelihood else found[name] / base
    return found


def summary(found: list[dict[str, Any]]) -> str:
    """A row a loss: medians, and the worst of the tables in brackets."""
    lines = [
        "| loss | noise: to the constant | without `shrink` | easy: to the constant | to `shrink=False` |",
        "|---|---|---|---|---|",
    ]
    for loss in LOSSES:
        noise, easy = ([f for f in found if f["loss"] == loss and f["easy"] == is_easy] for is_easy in (False, True))
        if not noise or not easy:
            continue
        cells = [
            [f["default_ratio"] for f in noise], [f["plain_ratio"] for f in noise], [f["default_ratio"] for f in easy],
            [f["default_ratio"] / f["plain_ratio"] for f in easy],
        ]  # fmt: skip
        shown = " | ".join(f"{np.median(cell):.3g} ({np.max(cell):.3g})" for cell in cells)
        lines.append(f"| {loss} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description="How far the estimators trust their nets.")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--losses", default="")
    parser.add_argument("--preset", choices=["fast", "default", "best", "none"], default="default")
    parser.add_argument("--tables", type=int, default=20, help="of noise, and as many easy ones, for each loss")
    args = parser.parse_args()
    chosen = [loss for loss in LOSSES if not args.losses or loss.partition(",")[0] in args.losses.split(",")]
    found = []
    for loss in chosen:
        for number in range(args.tables):
            preset = None if args.preset == "none" else args.preset
            found += [judge(loss, number, preset, easy=easy) for easy in (False, True)]
        print(summary([f for f in found if f["loss"] == loss]).splitlines()[-1], flush=True)
    print(f"\n{summary(found)}")
    if args.output is not None:
        args.output.write_text(json.dumps({**facts([backend("cpu")]), "tables": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
