"""``chainrule show``: what a model file, a run directory or a checkpoint holds."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.cli.console import output, show_checkpoint, show_run
from chainrule.cli.console.reports import shape_of
from chainrule.cli.runs.state import RunState
from chainrule.files.model_file import find_model
from chainrule.files.sealed_file import is_of_format
from chainrule.nn.columns.category_columns import CategoryColumn, EmbeddedColumn
from chainrule.nn.columns.notation import PLAIN
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.edges import from_standardized
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.layers.base import Node, walk
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.embedding import Embedding
from chainrule.nn.layers.piecewise_linear import PiecewiseLinear
from chainrule.nn.network import Network
from chainrule.nn.saved import load
from chainrule.train.checkpoints import checkpoint

NAMES_SHOWN = 12
COLUMNS_SHOWN = 60
EXAMPLES = ("chainrule show runs/digits", "chainrule show runs/digits/model.safetensors --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, metavar="MODEL_OR_RUN", help="a model file, a run directory, or a checkpoint of one"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    if is_of_format(args.path, checkpoint.FORMAT):
        found = checkpoint.Checkpoint.read(args.path)
        if args.json:
            output.result_json({"ok": True, "run": None, "model": None, "checkpoint": show_checkpoint.facts_of(found)})
        else:
            output.result_table(show_checkpoint.rows_of(found, args.path))
        return 0
    run = RunState.of(args.path)
    net = load(find_model(args.path), device="cpu") if run is None or run.has_model else None
    if args.json:
        facts = {} if run is None else {"state": run.state, "owner": run.owner or None}
        model = None if net is None else _model_facts(net)
        output.result_json({"ok": True, "run": None if run is None else run.record, **facts, "model": model})
        return 0
    if run is not None:
        output.result_table(show_run.rows_of(run))
        output.result("")
    if net is None:
        output.result("" if run is None else run.why_no_model)
        return 0
    output.result_table(_model_rows(net))
    output.result("")
    if net.preparation.encoder is not None:
        output.result_table(_column_rows(net.preparation.encoder))
        output.result("")
    output.result_table(_layer_rows(net))
    return 0


def _model_facts(net: Network) -> dict[str, Any]:
    p = net.preparation
    return {
        "layers": list(net.widths),
        "activations": [node.layer.activation for node in walk(net.nodes) if isinstance(node.layer, Dense)],
        "description": [layer.describe() for layer in net.layers],
        "loss": net.loss_name,
        "dtype": str(net.dtype),
        "members": net.members,
        "parameters": net.parameter_count,
        "seed": net.seed,
        "target": p.target_name,
        "features": list(p.feature_names),
        "columns": [] if p.encoder is None else [column.describe() for column in p.encoder.columns],
        "classes": list(p.classes),
        "standardised": {"features": p.features is not None, "target": p.targets is not None},
    }


def _model_rows(net: Network) -> list[list[str]]:
    p = net.preparation
    codes = f", {len(net.codes())} of codes, not standardised" if net.codes() and p.features is not None else ""
    rows = [
        ["model", f"{shape_of(net)}, {net.parameter_count:,} parameters, {net.dtype}"],
        ["loss", f"{net.loss_name}: {net.loss.formula}"],
        ["features", f"{net.n_in} columns{_names(p.feature_names)}; {_standardization(p.features)}{codes}"],
    ]
    if net.loss.task == "regress":
        rows.append(["target", f"{p.target_name or 'one number per row'}; {_standardization(p.targets)}"])
    else:
        rows.append(["target", f"{p.target_name or 'one label per row'}{_names(p.classes)}"])
    return rows


def _names(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return f": {', '.join(names[:NAMES_SHOWN])}{', ...' if len(names) > NAMES_SHOWN else ''}"


def _standardization(s: Standardization | None) -> str:
    if s is None:
        return "not standardised"
    constant = int(s.is_constant.sum())
    if len(s.mean) == 1:
        moments = f"standardised with mean {s.mean[0]:.6g}, scale {s.scale[0]:.6g}"
        return f"always {s.mean[0]:.6g} in training" if constant else moments
    limit = f", limited to {s.limit:g}" if math.isfinite(s.limit) else ""
    return f"standardised column by column{limit}" + (f", {constant:,} constant in training" if constant else "")


def _column_rows(encoder: TableEncoder) -> list[list[str]]:
    rows = [["column", "kind", "columns of X", "what becomes of it"]]
    for column in encoder.columns[:COLUMNS_SHOWN]:
        if isinstance(column, NumberColumn):
            does = f"missing values become {column.fill:.6g}, the median"
            does += ", and have a column" if column.indicator else ""
            if column.notation is not None and column.notation != PLAIN:
                does += f"; written like {column.notation.example}"
        elif isinstance(column, EmbeddedColumn):
            does = f"a vector for each of {len(column.categories):,} categories"
            does += "; one for rarer and unseen ones" if column.rarer else "; unseen ones count as an average row"
            does += "; one for missing ones" if column.missing else ""
        else:
            does = f"one each for {', '.join(column.categories[:NAMES_SHOWN])}"
            does += f" and {len(column.categories) - NAMES_SHOWN} more" * (len(column.categories) > NAMES_SHOWN)
            does += "; one for rarer and unseen ones" if column.rarer else "; unseen ones count as an average row"
            does += "; one for missing ones" if column.missing else ""
            does += _statistics_of(column)
        rows.append([column.name, column.kind, str(len(column.names)), does])
    if len(encoder.columns) > COLUMNS_SHOWN:
        rows.append([f"and {len(encoder.columns) - COLUMNS_SHOWN} more"])
    return rows


def _statistics_of(column: CategoryColumn) -> str:
    if column.statistics is None:
        return ""
    return f"; {', '.join(column.statistics.names)} of {len(column.statistics.categories):,} rarer ones"


def _layer_rows(net: Network) -> list[list[str]]:
    rows = [["layer", "columns", "what it does", "largest |W|", "rms W"]]
    parameters = net.parameters()
    for node in walk(net.nodes):
        described = node.layer.describe().items()
        settings = {name: value for name, value in described if name not in {"kind", "n_out", "start"}}
        if node.inner:
            settings = {"around": f"around {' '.join(inner.name for inner in node.inner)}"}
        if isinstance(node.layer, PiecewiseLinear):
            rows += _piecewise_rows(node, net)
            continue
        if isinstance(node.layer, Embedding):
            rows += _embedding_rows(node, net)
            continue
        W, largest = parameters.get(f"{node.name}.W"), ("", "")
        if W is not None:
            largest = _sizes(W)
        does = ", ".join(str(v) if isinstance(v, str) else f"{name} {v:g}" for name, v in settings.items())
        rows.append([node.name, f"{node.n_in} -> {node.n_out}", does, *largest])
    return rows


def _embedding_rows(node: Node, net: Network) -> list[list[str]]:
    """One for the layer, one for each of its tables."""
    layer, names, parameters = node.layer, net.preparation.feature_names, net.parameters()
    assert isinstance(layer, Embedding)
    rows = [[node.name, f"{node.n_in} -> {node.n_out}", "numbers as they are, and a vector for each code", "", ""]]
    for t, (column, count) in enumerate(zip(layer.columns, layer.counts, strict=True)):
        E = parameters[f"{node.name}.E{t}"]
        what = f"{count:,} vectors of {names[column] if names else f'column {column}'}"
        rows.append([f"  E{t}", f"1 -> {E.shape[1]}", what, *_sizes(E)])
    return rows


def _piecewise_rows(node: Node, net: Network) -> list[list[str]]:
    """One for the layer; at the input of a net one for each column with edges, which are in its units."""
    layer, at_input = node.layer, _columns_of_input(node, net)
    assert isinstance(layer, PiecewiseLinear)
    rows = [[node.name, f"{node.n_in} -> {node.n_out}", "x as it is, and fractions of the pieces of columns", "", ""]]
    with_edges = [(column, edges) for column, edges in zip(at_input, layer.edges, strict=False) if edges]
    names, features = net.preparation.feature_names, net.preparation.features
    for column, edges in with_edges[:COLUMNS_SHOWN]:
        x = np.array(edges) if features is None else _in_units(np.array(edges), features, column)
        listed = ", ".join(f"{b:.4g}" for b in x[:NAMES_SHOWN]) + ", ..." * (len(x) > NAMES_SHOWN)
        rows.append([f"  {names[column] if names else f'column {column}'}", f"1 -> {len(edges)}", f"edges {listed}"])
    return rows + [[f"  and {len(with_edges) - COLUMNS_SHOWN} more"]] * (len(with_edges) > COLUMNS_SHOWN)


def _in_units(edges: np.ndarray, features: Standardization, column: int) -> np.ndarray:
    """In those of the table. An edge is a float32, so what its rounding makes of a 0 is told as 0."""
    x = from_standardized(edges, features, column)
    rounding = np.finfo(np.float32).eps * (abs(features.mean[column]) + features.scale[column])
    return np.where(np.abs(x) <= rounding, 0.0, x)


def _columns_of_input(node: Node, net: Network) -> list[int]:
    """The columns of X that a layer at the input, or right behind its embedding, takes as they are; else none."""
    embedded = net.codes()
    first = net.nodes[1 if embedded else 0]
    while first is not node and first.inner:
        first = first.inner[0]
    return [column for column in range(net.n_in) if column not in embedded] if first is node else []


def _sizes(W: Array) -> tuple[str, str]:
    """The largest of these numbers, and their root mean square."""
    sizes = abs(W.astype("float64"))
    largest = float(sizes.max())
    relative = sizes / (largest or 1.0)  # squares of the numbers themselves may not be finite
    return f"{largest:.3g}", f"{largest * float((relative**2).mean() ** 0.5):.3g}"
