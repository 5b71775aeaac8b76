"""``chainrule explain``: the formulas of one training step."""

from __future__ import annotations

import argparse

from chainrule.cli import output
from chainrule.cli.options import widths
from chainrule.errors import ChainruleError
from chainrule.nn.activations import ACTIVATIONS
from chainrule.nn.losses import LOSSES
from chainrule.verify.explain import explain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layers", type=widths, metavar="N,N,...", help="widths, input first (100,200,10)")
    parser.add_argument("--activation", choices=ACTIVATIONS, default="relu")
    parser.add_argument("--loss", choices=LOSSES, default="squared_error")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="rows (default: 32)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    layers = args.layers or [100, 200, LOSSES[args.loss].outputs_for(10)]
    found = explain(layers, activation=args.activation, loss=args.loss, batch=args.batch)
    wrong = [line.name for line in found.lines if not line.right]
    if args.json:
        output.result_json({"ok": not wrong, "rule": found.rule, "lines": [line._asdict() for line in found.lines]})
    else:
        for part in ("forward", "backward"):
            lines = [line for line in found.lines if line.part == part]
            header = [part, "", "shapes", "relative error"]
            rows = [
                [f"  {li.name}", f"= {li.formula}", li.shapes, f"{li.error:.1e}{'' if li.right else '  WRONG'}"]
                for li in lines
            ]
            output.result_table([header, *rows])
            print()
        print(found.rule)
    if wrong:
        raise ChainruleError(
            f"the check disagrees with {', '.join(wrong)}", hint="a gradient is wrong: see `chainrule verify`"
        )
    return 0
