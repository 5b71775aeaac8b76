"""``chainrule predict``: predictions of a model for a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from chainrule.backends import backend
from chainrule.cli.console import output
from chainrule.cli.console.prediction_table import as_csv, as_npy, as_parquet, parquet_writer, prediction_table
from chainrule.cli.disk_errors import refuse_missing_folder
from chainrule.cli.model_rows import matrix_for
from chainrule.cli.options.types import add_device, refuse_what_is_read, source
from chainrule.cli.runs.state import model_of
from chainrule.errors import OptionError
from chainrule.files.writing import write_atomically
from chainrule.nn.network import Network
from chainrule.nn.saved import load
from chainrule.plain_text import printable
from chainrule.tables.choose_columns import show_names
from chainrule.tables.readers import read_table

KINDS = (".csv", ".parquet", ".npy")
EXAMPLES = (
    "chainrule predict runs/digits digits -o predictions.csv",
    "chainrule predict runs/digits digits -o classes.npy",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file or a run directory")
    parser.add_argument(
        "data", type=source, metavar="DATA", help="a table with the columns that the model was trained on"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help=".csv, .parquet or .npy (without: CSV on stdout)"
    )
    parser.add_argument("--target", metavar="POSITION", help="the column of a .npy matrix to leave out")
    parser.add_argument(
        "--no-escape",
        action="store_true",
        help="class names in CSV cells as they are, even if a spreadsheet takes them for a formula (=1+1)",
    )
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    kind = ".csv" if args.output is None else args.output.suffix.lower()
    if kind not in KINDS:
        raise OptionError(f"--output: expected a file of {', '.join(KINDS)}, got {args.output}")
    if kind == ".parquet":
        parquet_writer()  # refuses before anything is predicted
    model = model_of(args.model)
    refuse_what_is_read(args.output, args.data, model)
    refuse_missing_folder(args.output)
    net = load(model, backend=backend(args.device, precision=args.precision))
    # With names for the features a target column is one of the columns to ignore, whatever it holds; in a matrix
    # without names only its position tells it from the features.
    has_position = not net.preparation.feature_names or Path(args.data).suffix.lower() == ".npy"
    table = read_table(args.data, target=args.target if has_position else None, like=net)
    X = matrix_for(net.preparation, table)
    if args.output is None:
        _print(as_csv(prediction_table(net, X), escape=not args.no_escape))
        return 0
    write_atomically(args.output, _content(net, X, kind, escape=not args.no_escape))
    if kind == ".npy" and (classes := net.preparation.classes):
        output.say("note", f"{args.output} has positions of classes, from 0: {show_names(classes)}")
    output.say("wrote", f"{args.output}: {len(table):,} predictions")
    return 0


def _print(parts: Iterable[str]) -> None:
    is_terminal = sys.stdout.isatty()  # which obeys control characters
    for text in parts:
        lines = text.split("\n")[:-1] if is_terminal else []
        output.write("".join(f"{printable(line)}\n" for line in lines) if is_terminal else text)


def _content(net: Network, X: np.ndarray, kind: str, *, escape: bool) -> Iterator[bytes]:
    """The predictions as parts of a file of this kind; DataError for rows that the net does not take."""
    if kind == ".npy":
        return as_npy(net, X)
    table = prediction_table(net, X)
    return as_parquet(table) if kind == ".parquet" else (part.encode() for part in as_csv(table, escape=escape))
