"""What the default regressor makes of tables of nothing, whose target is independent of the columns.

    python benchmarks/noise.py [--output FILE.json] [--draws 40]

For each size so many tables are drawn: normal columns and a normal target. A ratio is the RMSE of the predictions for
1,000 new rows to that of the mean of the training rows: 1 is all that can be had.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
from pathlib import Path

import numpy as np
from environment import facts

import chainrule as cr

SIZES = ((40, 5), (100, 5), (400, 10))  # rows, columns
NEW = 1_000


def ratio(rows: int, columns: int, seed: int) -> float:
    """Of one table."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(rows + NEW, columns)), rng.normal(size=rows + NEW)
    net = cr.MLPRegressor(device="cpu", random_state=seed).fit(X[:rows], y[:rows])
    error, of_mean = (np.mean((guess - y[rows:]) ** 2) for guess in (net.predict(X[rows:]), y[:rows].mean()))
    return float(np.sqrt(error / of_mean))


def main() -> None:
    parser = argparse.ArgumentParser(description="The default regressor on tables of nothing.")
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    parser.add_argument("--draws", type=int, default=40)
    args = parser.parse_args()
    found = []
    for rows, columns in SIZES:
        ratios = [ratio(rows, columns, seed) for seed in range(args.draws)]
        found.append({"rows": rows, "columns": columns, "ratios": [round(r, 5) for r in ratios]})
        print(f"{rows} rows of {columns}: mean {np.mean(ratios):.4f}, worst {max(ratios):.4f}", flush=True)
    if args.output is not None:
        args.output.write_text(json.dumps({**facts([cr.backend("cpu")]), "tables": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
