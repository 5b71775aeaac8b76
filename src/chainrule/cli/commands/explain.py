"""``chainrule explain``: the formulas of one training step."""

from __future__ import annotations

import argparse

from chainrule.cli.console import output
from chainrule.cli.options.types import positive_int, widths
from chainrule.errors import ChainruleError
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES
from chainrule.nn.mlp import NORMALIZATIONS
from chainrule.verify.explain import explain

EXAMPLES = ("chainrule explain", "chainrule explain --layers 4,8,3 --activation gelu --loss softmax_cross_entropy")


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
        for line in str(found).split("\n"):
            output.result(line)
    if wrong:
        raise ChainruleError(
            f"the check disagrees with {', '.join(wrong)}",
            hint="a kernel or a formula is wrong: see `chainrule verify`",
        )
    return 0
