"""``chainrule predict``: predictions of a model for a table."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path

import numpy as np

from chainrule.backends import backend
from chainrule.cli import output
from chainrule.cli.model_rows import matrix_for
from chainrule.cli.options import add_device
from chainrule.cli.run_directory import find_model
from chainrule.errors import OptionError
from chainrule.nn.losses import GaussianNLL, Quantile
from chainrule.nn.network import Network
from chainrule.nn.saved import load
from chainrule.sealed_file import write_whole
from chainrule.tables.readers import read_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file or a run directory")
    parser.add_argument("data", metavar="DATA", help="a table with the columns that the model was trained on")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help=".csv or .npy (without: CSV on stdout)")
    parser.add_argument("--target", metavar="POSITION", help="the column of a .npy matrix to leave out")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    if args.output is not None and args.output.suffix not in {".csv", ".npy"}:
        raise OptionError(f"--output {args.output} came, a .csv or .npy file was expected")
    net = load(find_model(args.model), backend=backend(args.device, precision=args.precision))
    p = net.preparation
    # With names for the features a target column is one of the columns to ignore, whatever it holds; in a matrix
    # without names only its position tells it from the features.
    target = args.target if not p.feature_names or Path(args.data).suffix.lower() == ".npy" else None
    table = read_table(args.data, target=target, like=net)
    X = matrix_for(p, table)
    if args.output is None:
        text = as_csv(net, X)
        if sys.stdout.isatty():  # which obeys escapes; a file gets names as they are
            text = "".join(f"{output.printable(line)}\n" for line in text.split("\n")[:-1])
        sys.stdout.write(text)
    elif args.output.suffix == ".npy":
        content = io.BytesIO()
        np.save(content, np.asarray(net.predict(X)), allow_pickle=False)
        write_whole(args.output, content.getvalue())
    else:
        write_whole(args.output, as_csv(net, X).encode())
    if args.output is not None:
        output.say("wrote", f"{args.output}: {len(table):,} predictions")
    return 0


def as_csv(net: Network, X: np.ndarray) -> str:
    """A header and one line a row: the prediction, then the probability of each class where there are any.

    Quantiles have a column each (``target_q0.1``); a net that knows its spread adds the standard deviation.
    """
    predicted = np.asarray(net.predict(X))
    columns = predicted.reshape(len(predicted), -1)
    p, name = net.preparation, net.preparation.target_name or "prediction"
    header = [name] if columns.shape[1] == 1 else [f"{name}_{j}" for j in range(columns.shape[1])]
    rows: list[list[str]] = [[str(v) for v in row] for row in columns.tolist()]
    if isinstance(net.loss, Quantile):
        of_target = [name] if net.loss.columns == 1 else [f"{name}_{j}" for j in range(net.loss.columns)]
        header = [f"{column}_q{level:g}" for column in of_target for level in net.loss.levels]
    if isinstance(net.loss, GaussianNLL):
        deviations = np.sqrt(np.asarray(net.predict_distribution(X).variance)).reshape(len(predicted), -1)
        header += [f"{column}_sd" for column in header]
        rows = [row + [str(v) for v in extra] for row, extra in zip(rows, deviations.tolist(), strict=True)]
    if p.classes:
        rows = [[p.classes[int(v)] for v in row] for row in rows]
    if net.loss.task != "regress":
        probabilities = np.asarray(net.predict_proba(X)).reshape(len(predicted), -1)
        k = probabilities.shape[1]
        shown = range(k) if k > 1 else [1]  # one output has the probability of yes, the second class
        named = len(p.classes) == max(k, 2)
        header += [f"p_{p.classes[j] if named else j}" for j in shown]
        rows = [row + [f"{v:.6g}" for v in extra] for row, extra in zip(rows, probabilities, strict=True)]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()
