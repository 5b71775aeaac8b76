"""``chainrule export``: a model as a file for other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path

from chainrule.cli.console import output
from chainrule.cli.disk_errors import refuse_missing_folder
from chainrule.cli.options.types import refuse_what_is_read
from chainrule.cli.runs.state import model_of
from chainrule.nn.saved import load
from chainrule.onnx import export
from chainrule.onnx.write import INPUT_DTYPES, usual_input_dtype

EXAMPLES = (
    "chainrule export runs/digits --onnx digits.onnx",
    "chainrule export runs/digits --onnx digits32.onnx --input-dtype float32",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file or a run directory")
    parser.add_argument(
        "--onnx",
        type=Path,
        required=True,
        metavar="FILE",
        help="the ONNX file: raw features in, predictions in the target's own units out (opset 17)",
    )
    parser.add_argument(
        "--input-dtype",
        choices=INPUT_DTYPES,
        help="of numbers (float64; the model's own if it does not standardise)",
    )
    parser.add_argument(
        "--unchecked", action="store_true", help="write it without running it in onnxruntime and comparing it first"
    )


def run(args: argparse.Namespace) -> int:
    model = model_of(args.model)
    refuse_what_is_read(args.onnx, model)
    refuse_missing_folder(args.onnx)
    net = load(model, device="cpu")
    found = export(net, args.onnx, input_dtype=args.input_dtype, unchecked=args.unchecked)
    if found is None:
        output.say("checked", "no: the file was not run (--unchecked)")
    else:
        difference = f"largest difference {100 * found.difference:.2g} % of the tolerance"
        output.say("checked", f"{found.rows} rows in onnxruntime: as the model, {difference}")
    if net.preparation.encoder is not None:
        kinds = list(net.preparation.encoder.kinds.values())
        n_numbers, dtype = kinds.count("number"), args.input_dtype or usual_input_dtype(net)
        what = f"{n_numbers} numeric ({dtype}), {len(kinds) - n_numbers} text"
        output.say("inputs", f"{len(kinds)} columns of the table, (n, 1) each: {what}")
    output.say("wrote", f"{args.onnx}: {args.onnx.stat().st_size:,} bytes")
    return 0
