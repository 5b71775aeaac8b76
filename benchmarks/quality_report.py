"""The results of ``quality.py`` as Markdown: geometric means over tables of ratios of errors.

The error of a model on a table is its mean over the splits that both models of a ratio have. ``SMALL`` is added to both
before they are divided, so that one wrong row more on a table that all models solve does not count as twice the error:
0.002 is one row in 500. Regressions (RMSE / standard deviation) and classes (the fraction that is wrong; the log loss)
have means of their own beside that of all. Below 1 is in favour of the model that the heading names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from quality_models import CHAINRULE, MODELS
from quality_tables import SETS, Table
from scatter import Point, draw_scatter

Record: TypeAlias = dict[str, Any]
Results: TypeAlias = dict[tuple[str, int, str], Record]  # by table, split and model

SMALL = 0.002
LEAST_SECONDS = 0.01  # below which a processor's clock says little
BESIDE = "chainrule-default"  # the model at (1, 1) of the picture
WORST, WORSE = 12, 1.01  # tables that lose to the linear model: how many are named, from which ratio


class Ratio(NamedTuple):
    """Of two models on one table."""

    table: Table
    error: float
    loss: float | None  # of classes
    seconds: float


def read(path: Path) -> Results:
    """The last record of each table, split and model; nothing if there is no file yet."""
    if not path.exists():
        return {}
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {(record["table"], record["split"], record["model"]): record for record in records}


def report(results: Results, tables: Sequence[Table], picture: Path | None = None) -> str:
    """Tables that choices were made on and the others, apart."""
    parts = []
    measured = {table for table, _, _ in results}
    for name in ("verdict", "choosing"):
        kept = [table for table in SETS[name] if table in tables and table.name in measured]
        if kept:
            parts += [_about(results, kept, name), *(_beside_others(results, kept, model) for model in CHAINRULE)]
            parts += [_losing(results, kept, model) for model in CHAINRULE]
    if picture is not None:
        picture.write_text(_picture(results, tables), encoding="utf-8")
    return "\n\n".join(part for part in parts if part)


def ratios(results: Results, tables: Iterable[Table], model: str, other: str) -> list[Ratio]:
    """On every table that both have a split of."""
    found = []
    for table in tables:
        splits = sorted(seed for name, seed, who in results if name == table.name and who == model)
        pairs = [
            (results[table.name, seed, model], results[table.name, seed, other])
            for seed in splits
            if (table.name, seed, other) in results
        ]
        if pairs:
            found.append(_ratio(table, pairs))
    return found


def _ratio(table: Table, pairs: Sequence[tuple[Record, Record]]) -> Ratio:
    def of(name: str, least: float) -> float:
        mine, others = (np.mean([pair[i][name] for pair in pairs]) for i in (0, 1))
        return float((mine + least) / (others + least))

    loss = None if table.regress else of("loss", SMALL)
    return Ratio(table, of("error", SMALL), loss, of("seconds", LEAST_SECONDS))


def geometric_mean(values: Iterable[float | None]) -> float:
    """Of those that are numbers; nan of none."""
    logs = [np.log(value) for value in values if value is not None]
    return float(np.exp(np.mean(logs))) if logs else float("nan")


def _about(results: Results, tables: Sequence[Table], name: str) -> str:
    names = {table.name for table in tables}
    seeds = sorted({seed for table, seed, _ in results if table in names})
    what = {"verdict": "on which nothing was chosen", "choosing": "on which chainrule's defaults were chosen"}[name]
    return (
        f"## {name.capitalize()}: {len(tables)} of {len(SETS[name])} tables {what}, splits {', '.join(map(str, seeds))}"
    )


def _beside_others(results: Results, tables: Sequence[Table], model: str) -> str:
    """A row for each other model; empty without results of this one."""
    lines = [
        f"| {model} beside | tables | error | RMSE | wrong classes | log loss | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for other in MODELS:
        found = ratios(results, tables, model, other) if other != model else []
        if found:
            means = (
                geometric_mean(r.error for r in found),
                geometric_mean(r.error for r in found if r.table.regress),
                geometric_mean(r.error for r in found if not r.table.regress),
                geometric_mean(r.loss for r in found),
            )
            cells = " | ".join(f"{mean:.3f}" for mean in means)
            lines.append(f"| {other} | {len(found)} | {cells} | {geometric_mean(r.seconds for r in found):.3g} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _losing(results: Results, tables: Sequence[Table], model: str) -> str:
    """The tables on which a straight line does better, the worst first."""
    found = ratios(results, tables, model, "linear")
    if not found:
        return ""
    lost = sorted((r for r in found if r.error > WORSE), key=lambda r: -r.error)
    named = ", ".join(f"{r.table.name} {r.error:.3f}" for r in lost[:WORST])
    return f"{model}: more than {WORSE - 1:.0%} worse than the linear model on {len(lost)} of {len(found)} tables" + (
        f": {named}." if named else "."
    )


def _picture(results: Results, tables: Sequence[Table]) -> str:
    points, counts = [], {}
    for model in MODELS:
        found = ratios(results, tables, model, BESIDE)
        if found and model != "constant":  # which is far above all others
            counts[model] = len(found)
            seconds, error = geometric_mean(r.seconds for r in found), geometric_mean(r.error for r in found)
            points.append(Point(model, seconds, error, model in CHAINRULE))
    most = max(counts.values(), default=0)
    labelled = [
        point if counts[point.label] == most else point._replace(label=f"{point.label} ({counts[point.label]} tables)")
        for point in points
    ]
    title = f"Errors and seconds on {most} tables"
    return draw_scatter(
        title, f"Geometric means of ratios to {BESIDE}; one thread", "seconds of a fit", "error", labelled
    )
