"""How well chainrule predicts tables, beside other models: errors, log losses and seconds, one thread each.

    scripts/quality --results FILE.jsonl [--set choosing] [--models linear realmlp-td-s] [--splits 0 1 2]
    scripts/quality --results FILE.jsonl --report [--picture FILE.svg]

One line of JSON per table, split and model. What the file already has is not run again (with ``--again`` it is, and the
later line counts), so a run may be stopped and resumed, and models may be added. A split has three quarters of the rows
for training and a quarter for testing, chosen by the seed, the same for all models. ``error`` is the fraction of test
rows whose class is wrong, or RMSE / standard deviation of the target; ``loss`` is the log loss of classes, in nats, of
probabilities of at least 1e-7. ``seconds`` is the processor time of the fit, preparation of the columns included; of
``chainrule-train`` that of the whole process.

The tables: ``quality_tables.py``; the models: ``quality_models.py``; what the report shows: ``quality_report.py``.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_CORETYPE"] = os.environ["OPENBLAS_L2_SIZE"] = ""  # OpenBLAS shall choose

import argparse
import json
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from environment import facts
from quality_data import Split, load, split
from quality_models import MODELS, Model
from quality_report import Record, read, report
from quality_tables import SETS, Table

import chainrule as cr

LEAST_PROBABILITY = 1e-7


class Run(NamedTuple):
    """A fit that the results lack."""

    table: Table
    seed: int
    model: str


def main() -> None:
    warnings.simplefilter("ignore")  # of convergence, of missing names and what else models have to say
    args = _parser().parse_args()
    results = read(args.results)
    tables = [table for table in SETS[args.set] if not args.tables or table.name in args.tables]
    if args.report:
        print(report(results, tables, args.picture))
        return
    runs = [
        Run(table, seed, model)
        for model in _installed(args.models)
        for table in _by_size(tables, args.housing)
        for seed in args.splits
        if args.again or (table.name, seed, model) not in results
    ]
    for record in measure(runs, args.housing):
        with args.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [table.name for table in SETS["all"]]
    parser.add_argument("--results", type=Path, required=True, metavar="FILE.jsonl", help="read, and added to")
    parser.add_argument(
        "--set", choices=SETS, default="all", help="tables on which defaults were chosen, the others, or all"
    )
    parser.add_argument("--tables", nargs="+", choices=names, metavar="NAME", help="only these of the set")
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, metavar="NAME", default=list(MODELS), help=", ".join(MODELS)
    )
    parser.add_argument(
        "--splits", nargs="+", type=int, default=[0], metavar="SEED", help="seeds of splits and models (0)"
    )
    parser.add_argument("--housing", type=Path, help="California housing as a CSV file with its text column and holes")
    parser.add_argument("--again", action="store_true", help="also what the results have")
    parser.add_argument("--report", action="store_true", help="no run: the results as Markdown")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="with --report: errors against seconds")
    return parser


# ---- the run ----------------------------------------------------------------------------------------


def measure(runs: Sequence[Run], housing: Path | None = None) -> Iterator[Record]:
    """A record of each run; a fit that fails is reported and has none."""
    about = _about()
    warm: set[tuple[str, bool]] = set()
    for i, run in enumerate(runs, start=1):
        said = f"{i}/{len(runs)} {run.model}: {run.table.name}, split {run.seed}"
        model, rows = MODELS[run.model], split(run.table, *load(run.table, housing), run.seed)
        try:
            if (run.model, rows.regress) not in warm:
                warm.add((run.model, rows.regress))
                model.make(_small(rows)).fit(*_small(rows)[:2])  # compiles and loads what later fits share
            outcome = evaluate(model, rows)
        except Exception as error:  # of any library; the run continues
            print(f"{said}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr, flush=True)
            continue
        print(f"{said}: error {outcome['error']:.4f}, {outcome['seconds']:.1f} s", file=sys.stderr, flush=True)
        key = {"table": run.table.name, "split": run.seed, "model": run.model}
        yield {**key, "rows": len(rows.y), **outcome, "versions": model.versions(), **about}


def evaluate(model: Model, rows: Split) -> dict[str, float | None]:
    """Of a fit: its error and log loss on the test rows, and its seconds."""
    estimator = model.make(rows)
    wall, seconds = time.perf_counter(), _seconds()
    estimator.fit(rows.X, rows.y)
    spent = {"seconds": round(_seconds() - seconds, 3), "wall": round(time.perf_counter() - wall, 3)}
    if rows.regress:
        predicted = np.ravel(estimator.predict(rows.X_test))
        return {
            "error": float(np.sqrt(np.mean((predicted - rows.y_test) ** 2)) / rows.y_test.std()),
            "loss": None,
            **spent,
        }
    p = np.full((len(rows.y_test), rows.classes), LEAST_PROBABILITY)
    p[:, np.asarray(estimator.classes_, int)] = estimator.predict_proba(rows.X_test)
    p = np.clip(p, LEAST_PROBABILITY, None)
    right = p[np.arange(len(p)), rows.y_test] / p.sum(axis=1)
    return {"error": float(np.mean(p.argmax(1) != rows.y_test)), "loss": float(-np.log(right).mean()), **spent}


def _seconds() -> float:
    """Of the processor, for this process and those it has waited for."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in spent)


def _small(rows: Split, most: int = 200) -> Split:
    """The first rows, with as many classes as they have."""
    y = rows.y[:most] if rows.regress else np.unique(rows.y[:most], return_inverse=True)[1]
    return rows._replace(X=rows.X[:most], y=y)


def _installed(names: Sequence[str]) -> list[str]:
    """Those whose packages are there; the others with a line that says what to install."""
    found = []
    for name in names:
        try:
            MODELS[name].versions()
            found.append(name)
        except metadata.PackageNotFoundError as missing:
            print(
                f"{name}: left out, because {missing.name} is not installed (pip install '.[quality]')", file=sys.stderr
            )
    return found


def _by_size(tables: Sequence[Table], housing: Path | None) -> list[Table]:
    """The smallest first; one whose file is not given is left out."""
    cells: dict[Table, int] = {}
    for table in tables:
        try:
            cells[table] = load(table, housing)[0].size
        except (FileNotFoundError, ModuleNotFoundError) as error:
            print(f"{table.name}: left out: {error}", file=sys.stderr)
    return sorted(cells, key=lambda table: cells[table])


def _about() -> dict[str, Any]:
    """Where and when, the same for all runs."""
    known = facts([cr.backend("cpu")])
    return {name: known[name] for name in ("commit", "chainrule", "date", "processor", "python")}


if __name__ == "__main__":
    main()
