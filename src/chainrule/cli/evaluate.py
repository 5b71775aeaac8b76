"""``chainrule evaluate``: the metrics of a model on a table."""

from __future__ import annotations

import argparse
from pathlib import Path

from chainrule.backends import backend
from chainrule.cli import output
from chainrule.cli.model_rows import matrix_for
from chainrule.cli.options import add_device
from chainrule.cli.run_directory import find_model
from chainrule.errors import DataError
from chainrule.nn import metrics
from chainrule.nn.saved import load
from chainrule.tables.readers import read_table
from chainrule.tables.targets import encode_target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file or a run directory")
    parser.add_argument(
        "data", metavar="DATA", help="a table with the columns that the model was trained on, and the target"
    )
    parser.add_argument("--target", metavar="COLUMN", help="by default the one that the model was trained on")
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    net = load(find_model(args.model), backend=backend(args.device, precision=args.precision))
    p = net.preparation
    table = read_table(args.data, target=args.target or p.target_name or None, like=net)
    if table.target is None:
        raise DataError(f"{table.source} has no target", hint="name it with --target")
    y = encode_target(table.target, net.loss.task, p.classes, source=table.source)
    found = metrics.score(net, matrix_for(p, table), y)
    if args.json:
        output.result_json({"ok": True, "rows": len(table), "device": net.backend.device, **found})
    else:
        output.result_table([["rows", f"{len(table):,}"], *([name, f"{value:.6g}"] for name, value in found.items())])
    return 0
