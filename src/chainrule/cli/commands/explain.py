"""``chainrule explain``: the formulas of one training step."""

from __future__ import annotations

import argparse

from chainrule.cli.console import output
from chainrule.cli.options.types import positive_int, widths
from chainrule.errors import ChainruleError
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES
from chainrule.nn.mlp import NORMALIZATIONS
from chainrule.verify.explain import Line, explain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--layers", type=widths, metavar="N,N,...", help="widths, input first (100,200,10)")
    add("--activation", choices=ACTIVATIONS, default="relu", help="of the hidden layers (relu)")
    add("--dropout", type=float, default=0.0, metavar="X", help="rate after every hidden layer (0)")
    add(
        "--normalization",
        choices=NORMALIZATIONS,
        help="of the outputs of the hidden layers, before the activation (none)",
    )
    add(
        "--residual",
        action="store_true",
        help="a skip connection around each hidden layer that is as wide as the one before",
    )
    add("--loss", choices=LOSSES, default="squared_error", help="(squared_error)")
    add("--batch", type=positive_int, default=32, metavar="N", help="rows (32)")
    add("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    layers = args.layers or [100, 200, LOSSES[args.loss].outputs_for(10)]
    found = explain(
        layers,
        batch=args.batch,
        activation=args.activation,
        dropout=args.dropout,
        normalization=args.normalization,
        residual=args.residual,
        loss=args.loss,
    )
    wrong = [line.name for line in found.lines if not line.right]
    if args.json:
        output.result_json({"ok": not wrong, "rule": found.rule, "lines": [line._asdict() for line in found.lines]})
    else:
        for part in dict.fromkeys(line.part for line in found.lines):
            output.result_table(_table(part, [line for line in found.lines if line.part == part]))
            output.result("")
        output.write(f"{found.rule}\n")
    if wrong:
        raise ChainruleError(
            f"the check disagrees with {', '.join(wrong)}",
            hint="a kernel or a formula is wrong: see `chainrule verify`",
        )
    return 0


def _table(part: str, lines: list[Line]) -> list[list[str]]:
    """A row per line, and one for its abbreviations. A layer is named where its lines begin, indented by its depth."""
    rows, layer = [[part, "", "", "shapes", "relative error"]], ""
    for line in lines:
        place = "  " * (line.depth + 1) + line.layer if line.layer != layer else ""
        layer = line.layer
        error = f"{line.error:.1e}{'' if line.right else '  WRONG'}"
        formula, where, abbreviations = line.formula.partition(" where ")
        rows.append([place, line.name, f"= {formula}", line.shapes, error])
        rows += [["", "", f"  where {abbreviations}"]] if where else []
    return rows
