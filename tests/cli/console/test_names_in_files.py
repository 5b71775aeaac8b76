"""Names of classes, columns and metrics in what commands write: CSV, Parquet, SVG, JSON and lines of progress."""

from __future__ import annotations

import csv
import io
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli.console.prediction_table import as_csv, prediction_table
from chainrule.json_values import json_line
from chainrule.nn.predictions import with_class_names
from chainrule.train.records.progress import Progress
from chainrule.train.records.progress_text import describe
from chainrule.train.records.tensorboard import _tag

CLASSES = ("=1+1", "-1", "@SUM(A1)", "\x1b[31mred", "a\nb", "plain")
TARGET = "=cmd|' /C calc'!A0"


@pytest.fixture
def model(tmp_path):
    """A net that predicts each of its classes, one per row, and the rows."""
    net = cr.MLP([6, 6])
    net.parameters()["dense0.W"][...] = 9 * np.eye(6)
    net.preparation = cr.Preparation(feature_names=tuple("abcdef"), target_name=TARGET, classes=CLASSES)
    net.save(tmp_path / "m")
    rows = "\n".join(",".join(map(str, row)) for row in np.eye(6, dtype=int))
    (tmp_path / "t.csv").write_text(f"a,b,c,d,e,f\n{rows}\n")
    return net


def test_class_names_in_a_csv_of_predictions_are_no_formulas(run, model):
    assert run("predict", "m", "t.csv", "-o", "p.csv").code == 0
    header, *rows = csv.reader(Path("p.csv").read_text().splitlines())
    assert header[0] == f"'{TARGET}"
    assert header[1:4] == ["p_=1+1", "p_-1", "p_@SUM(A1)"], "they begin with p"
    assert [row[0] for row in rows] == ["'=1+1", "-1", "'@SUM(A1)", r"\x1b[31mred", r"a\nb", "plain"]
    assert run("predict", "m", "t.csv").out == Path("p.csv").read_text()


def test_no_escape_writes_class_names_as_they_are_and_a_header_never(run, model):
    assert run("predict", "m", "t.csv", "-o", "p.csv", "--no-escape").code == 0
    header, *rows = csv.reader(io.StringIO(Path("p.csv").read_bytes().decode(), newline=""))
    assert header[0] == f"'{TARGET}"
    assert tuple(row[0] for row in rows) == CLASSES


def test_a_terminal_never_gets_control_characters_of_predictions(run, model, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    found = run("predict", "m", "t.csv", "--no-escape")
    assert found.out.replace("\n", "").isprintable()
    assert "=1+1" in found.out


def test_negative_numbers_in_a_csv_of_predictions_stay_numbers():
    net = cr.MLP([1, 1], loss="squared_error")
    net.parameters()["dense0.W"][...] = -1.5
    assert "".join(as_csv(prediction_table(net, np.ones((1, 1))))) == "prediction\n-1.5\n"


def test_parquet_has_names_and_labels_as_they_are(run, model):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert run("predict", "m", "t.csv", "-o", "p.parquet").code == 0
    assert parquet.read_table("p.parquet").to_pydict()[TARGET] == list(CLASSES)


def test_class_names_in_the_picture_of_a_confusion_matrix_are_xml(run, model):
    Path("y.csv").write_text("a,b,c,d,e,f,y\n1,0,0,0,0,0,=1+1\n0,1,0,0,0,0,-1\n0,0,0,0,0,1,plain\n")
    assert run("evaluate", "m", "y.csv", "--target", "y", "--plot", "c.svg").code == 0
    assert ET.parse("c.svg").getroot().tag.endswith("svg")
    assert Path("c.svg").read_text().replace("\n", "").isprintable()


def test_class_names_with_a_regression_or_several_answers_are_left_out():
    """A preparation may say anything: numbers are no positions of names, and neither is one of several answers."""
    classes = cr.Preparation(classes=("no", "yes"))
    for loss, widths in (("squared_error", [2, 2]), ("squared_error", [2, 1]), ("sigmoid_cross_entropy", [2, 2])):
        net = cr.MLP(widths, loss=loss)
        net.preparation = classes
        X = np.full((3, 2), 50.0)
        answers = np.asarray(net.predict(X))
        np.testing.assert_array_equal(with_class_names(answers, net.loss, net.preparation.classes), answers)
        assert "".join(as_csv(prediction_table(net, X))).startswith("prediction")


def test_metric_names_on_a_terminal_are_no_escapes_and_no_markup(monkeypatch):
    assert describe({"loss": 1.0, "valid_\x1b[31m": 2.0}) == r"train 1  \x1b[31m 2"
    err = io.StringIO()
    err.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", err)
    with Progress(2, enabled=True) as progress:
        progress.update(1, {"loss": 1.0, "valid_[/red]": 2.0})
    assert "[/red] 2" in err.getvalue()


def test_metric_names_in_tensorboard_tags_are_printable():
    assert _tag("valid_\ud800\x1b") == r"\ud800\x1b/valid"


def test_names_in_json_lines_are_printable():
    assert json_line({"\x9b2J": "\u202e", "é": 1}) == '{"\\u009b2J": "\\u202e", "\\u00e9": 1}\n'
    assert json_line({"é": "\ud800"}) == '{"\\u00e9": "\\ud800"}\n'
    assert json_line({"é": 1}) == '{"é": 1}\n'
