"""``chainrule evaluate``: the metrics of a model on a table, and pictures of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends import backend
from chainrule.cli.console import output
from chainrule.cli.console.confusion import confusion_table
from chainrule.cli.model_rows import matrix_for
from chainrule.cli.options.types import add_device, picture
from chainrule.cli.runs.files import find_model
from chainrule.errors import DataError
from chainrule.files.writing import write_whole
from chainrule.nn import metrics
from chainrule.nn.network import Network
from chainrule.nn.saved import load
from chainrule.nn.scores import point_prediction, score, score_classes
from chainrule.plots.score_pictures import draw_confusion, draw_predictions
from chainrule.tables.columns import show
from chainrule.tables.readers import read_table
from chainrule.tables.targets import encode_target

MOST_CLASSES = 1000  # of a confusion matrix, which has the square of that


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file or a run directory")
    parser.add_argument(
        "data", metavar="DATA", help="a table with the columns that the model was trained on, and the target"
    )
    parser.add_argument("--target", metavar="COLUMN", help="by default the one that the model was trained on")
    parser.add_argument(
        "--plot",
        type=picture,
        metavar="FILE.svg",
        help="draw the confusion matrix of classes, or predicted against true numbers",
    )
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, the metrics at its top level")


def run(args: argparse.Namespace) -> int:
    net = load(find_model(args.model), backend=backend(args.device, precision=args.precision))
    p = net.preparation
    table = read_table(args.data, target=args.target or p.target_name or None, like=net)
    if table.target is None:
        raise DataError(f"{table.source} has no target", hint="name it with --target")
    y = encode_target(table.target, net.loss.task, p.classes, source=table.source)
    found = evaluate(net, matrix_for(p, table), y, source=table.source)
    for note in found.notes:
        output.say("note", note)
    if args.plot is not None:
        write_whole(args.plot, picture_of(found, net, y, title=f"{args.model} on {table.source}").encode())
        output.say("wrote", str(args.plot))
    if args.json:
        facts: dict[str, Any] = {"rows": len(table), "device": net.backend.device, **found.metrics}
        if found.confusion is not None:
            facts |= {"classes": found.classes, "confusion_matrix": found.confusion.tolist()}
        output.result_json({"ok": True, **facts, **({"notes": found.notes} if found.notes else {})})
        return 0
    numbers = [[name, f"{value:.6g}"] for name, value in found.metrics.items()]
    output.result_table([["rows", f"{len(table):,}"], *numbers])
    if found.confusion is not None:
        output.result("")
        for line in confusion_table(found.confusion, found.classes):
            output.result(line)
    return 0


class Evaluation(NamedTuple):
    """Metrics by name; of a classification also the counts of true and predicted classes."""

    metrics: dict[str, float]
    predicted: np.ndarray  # as net.predict returns it
    classes: list[str]
    confusion: np.ndarray | None
    notes: list[str]


def evaluate(net: Network, X: np.ndarray, y: np.ndarray, *, source: str) -> Evaluation:
    """How well a net predicts these rows. DataError for a class that it does not have."""
    task, k = net.loss.task, net.loss.columns
    predicted = np.asarray(net.predict(X))
    if task == "regress":
        return Evaluation(score(net, X, y), predicted, [], None, [])
    if task == "classify" and y.max() >= k:
        row = int((y >= k).argmax())
        raise DataError(f"{source}, row {row} (from 0) of the target: expected a class from 0 to {k - 1}, got {y[row]}")
    scores = score_classes(task, y, predicted, np.asarray(net.predict_proba(X)))
    if task == "multilabel" and predicted.ndim > 1:
        return Evaluation(scores, predicted, [], None, [])
    labels, k = (y, k) if task == "classify" else ((y > 0.5).astype(np.int64), 2)
    p = net.preparation
    classes = list(p.classes) if len(p.classes) == k else [str(i) for i in range(k)]
    notes = _missing(np.bincount(labels, minlength=k), classes)
    if k > MOST_CLASSES:
        return Evaluation(
            scores, predicted, classes, None, [*notes, f"{k:,} classes: a matrix has up to {MOST_CLASSES:,}"]
        )
    return Evaluation(scores, predicted, classes, metrics.confusion_matrix(labels, predicted, k), notes)


def _missing(rows_of_class: np.ndarray, classes: list[str]) -> list[str]:
    """What a class without rows does to the metrics."""
    missing = [name for name, rows in zip(classes, rows_of_class, strict=True) if not rows]
    if not missing:
        return []
    shown = ", ".join(show(name) for name in missing[:4]) + (f" and {len(missing) - 4} more" * (len(missing) > 4))
    without = f"no row of class {shown}"
    if len(classes) - len(missing) == 1:
        return [f"{without}: no roc_auc, which compares classes"]
    return [f"{without}: balanced_accuracy and roc_auc are means over the other {len(classes) - len(missing)} classes"]


def picture_of(found: Evaluation, net: Network, y: np.ndarray, *, title: str) -> str:
    """The confusion matrix, or predicted against true; SVG text. DataError for several labels per row."""
    if found.confusion is not None:
        return draw_confusion(found.confusion, found.classes, title=title)
    if net.loss.task != "regress":
        targets = f"{len(found.classes):,} classes" if found.classes else "several labels per row"
        raise DataError(f"{targets} have no confusion matrix", hint="leave --plot out")
    numbers = point_prediction(net, found.predicted)
    return draw_predictions(y.reshape(numbers.shape), numbers, title=title)
