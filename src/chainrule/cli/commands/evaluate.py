"""``chainrule evaluate``: the metrics of a model on a table, and pictures of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends import backend
from chainrule.cli.console import output
from chainrule.cli.console.confusion import confusion_table, largest_confusions
from chainrule.cli.disk_errors import refuse_missing_folder
from chainrule.cli.model_rows import matrix_for
from chainrule.cli.options.types import add_device, picture, source
from chainrule.cli.runs.state import model_of
from chainrule.errors import DataError
from chainrule.files.writing import write_atomically
from chainrule.nn.confusion import Confusion
from chainrule.nn.network import Network
from chainrule.nn.saved import load
from chainrule.nn.scores import point_prediction, score, score_classes, score_labels
from chainrule.plain_text import show
from chainrule.plots.score_pictures import MOST_CLASSES as MOST_DRAWN
from chainrule.plots.score_pictures import draw_confusion, draw_predictions
from chainrule.tables.readers import read_table
from chainrule.tables.targets import encode_target

MOST_CLASSES = 1000  # of a confusion matrix in JSON, which has the square of that
EXAMPLES = ("chainrule evaluate runs/digits digits", "chainrule evaluate runs/digits digits --plot confusion.svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file or a run directory")
    parser.add_argument(
        "data",
        type=source,
        metavar="DATA",
        help="a table with the columns that the model was trained on, and the target",
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
    refuse_missing_folder(args.plot)
    net = load(model_of(args.model), backend=backend(args.device, precision=args.precision))
    p = net.preparation
    table = read_table(args.data, target=args.target or p.target_name or None, like=net)
    if table.target is None:
        raise DataError(f"{table.source} has no target", hint="name it with --target")
    y = encode_target(table.target, net.loss.task, p.classes, source=table.source)
    found = evaluate(net, matrix_for(p, table), y, source=table.source)
    for note in found.notes:
        output.say("note", note)
    if args.plot is not None:
        write_atomically(args.plot, picture_of(found, net, y, title=f"{args.model} on {table.source}").encode())
        output.say("wrote", str(args.plot))
    if args.json:
        facts: dict[str, Any] = {"rows": len(table), "device": net.backend.device, **found.metrics}
        if found.confusion is not None:
            facts |= _confusion_facts(found.confusion, found.classes)
        output.result_json({"ok": True, **facts, **({"notes": found.notes} if found.notes else {})})
        return 0
    numbers = [[name, f"{value:.6g}"] for name, value in found.metrics.items()]
    output.result_table([["rows", f"{len(table):,}"], *numbers])
    if found.confusion is not None:
        output.result("")
        for line in confusion_table(found.confusion, found.classes):
            output.result(line)
    return 0


def _confusion_facts(confusion: Confusion, classes: list[str]) -> dict[str, Any]:
    """What ``--json`` has of it: the matrix, or of more than 1,000 classes the largest confusions by name."""
    if len(classes) <= MOST_CLASSES:
        return {"classes": classes, "confusion_matrix": confusion.matrix().tolist()}
    listed = largest_confusions(confusion)
    named = [{"true": classes[one.true], "predicted": classes[one.predicted], "rows": one.rows} for one in listed]
    return {"largest_confusions": named}


class Evaluation(NamedTuple):
    """Metrics by name; of a classification also the counts of true and predicted classes."""

    metrics: dict[str, float]
    predicted: np.ndarray  # as net.predict returns it
    classes: list[str]
    confusion: Confusion | None
    notes: list[str]


def evaluate(net: Network, X: np.ndarray, y: np.ndarray, *, source: str) -> Evaluation:
    """How well a net predicts these rows. DataError for a class that it does not have."""
    task, k = net.loss.task, net.loss.columns
    if task == "regress":
        return Evaluation(score(net, X, y), np.asarray(net.predict(X)), [], None, [])
    if task == "classify" and y.max() >= k:
        row = int((y >= k).argmax())
        raise DataError(f"{source}, row {row} (from 0) of the target: expected a class from 0 to {k - 1}, got {y[row]}")
    if task == "classify":
        scores, predicted = score_labels(net, X, y)
    else:
        predicted = np.asarray(net.predict(X))
        scores = score_classes(task, y, predicted, np.asarray(net.predict_proba(X)))
    if task == "multilabel" and predicted.ndim > 1:
        return Evaluation(scores, predicted, [], None, [])
    labels, k = (y, k) if task == "classify" else ((y > 0.5).astype(np.int64), 2)
    p = net.preparation
    classes = list(p.classes) if len(p.classes) == k else [str(i) for i in range(k)]
    notes = _missing(np.bincount(labels, minlength=k), classes)
    return Evaluation(scores, predicted, classes, Confusion.of(labels, predicted, k), notes)


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
        counts, names = found.confusion.merged(found.classes, MOST_DRAWN)
        return draw_confusion(counts, names, title=title)
    if net.loss.task != "regress":
        raise DataError("several labels per row have no confusion matrix", hint="leave --plot out")
    numbers = point_prediction(net, found.predicted)
    return draw_predictions(y.reshape(numbers.shape), numbers, title=title)
