"""The history: columns, a table that reads back exactly, and a plot that is well formed whatever the numbers."""

from __future__ import annotations

import csv
import io
import math
import pickle
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import chainrule as cr
from chainrule.plots.svg import value_axis
from chainrule.train.records.kept import Kept

SVG = "{http://www.w3.org/2000/svg}"


def history_of(**columns: list[float]) -> cr.History:
    history = cr.History()
    for values in zip(*columns.values(), strict=True):
        history.append(dict(zip(columns, values, strict=True)))
    return history


def draw(history: cr.History, tmp_path, **options) -> ET.Element:
    history.plot(tmp_path / "curves.svg", **options)
    return ET.parse(tmp_path / "curves.svg").getroot()


def test_a_history_is_a_mapping_of_columns():
    history = history_of(loss=[2.0, 1.0], lr=[0.1, 0.1])
    assert (list(history), len(history), history.epochs) == (["loss", "lr"], 2, 2)
    assert history["loss"] == [2.0, 1.0]
    assert "2 epochs: loss, lr" in repr(history)
    assert (cr.History().epochs, len(cr.History())) == (0, 0)
    with pytest.raises(KeyError):
        history["accuracy"]


def test_history_csv_reads_back_exactly(rng):
    columns = {
        "loss": [*rng.normal(size=20).tolist(), 0.1, 1e-300, 5e-324, 1.7e308, -0.0, math.nan, math.inf, -math.inf],
    }
    columns["valid_loss"] = columns["loss"][::-1]
    header, *lines = csv.reader(io.StringIO(history_of(**columns).to_csv()))
    assert header == ["epoch", "loss", "valid_loss"]
    assert [line[0] for line in lines] == [str(e) for e in range(1, 29)]
    for i, values in enumerate(columns.values(), start=1):
        read = np.array([float(line[i]) for line in lines])
        assert read.tobytes() == np.array(values).tobytes()


def test_history_csv_without_an_epoch():
    assert cr.History().to_csv() == "epoch\n"


def test_history_csv_of_numpy_numbers():
    assert history_of(loss=[np.float32(0.5), np.float64(0.25)]).to_csv() == "epoch,loss\n1,0.5\n2,0.25\n"


CURVES = {
    "none": [],
    "one epoch": [0.5],
    "two epochs": [0.5, 0.25],
    "many epochs": [1 / e for e in range(1, 400)],
    "many decades": [10.0**-e for e in range(12)],
    "constant": [0.7, 0.7, 0.7],
    "zero": [0.0, 0.0],
    "negative": [-3.0, 0.5, 0.9],
    "a nan in the middle": [1.0, math.nan, 0.5],
    "nothing but nan": [math.nan, math.nan],
    "infinite": [1.0, math.inf, -math.inf],
    "tiny": [1e-300, 2e-300],
    "huge": [1e300, 3e300],
    "a step of one unit in the last place": [1.0, 1.0 + 2**-52],
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("columns", [["loss"], ["loss", "valid_loss"], ["loss", "valid_loss", "r2", "valid_r2"]])
def test_the_plot_is_well_formed(tmp_path, name, columns):
    values = CURVES[name]
    svg = draw(history_of(**dict.fromkeys(columns, values)), tmp_path, best_epoch=len(values))
    assert svg.tag == f"{SVG}svg"
    panels = svg.findall(f"{SVG}g")
    assert len(panels) == (len({c.removeprefix("valid_") for c in columns}) if values else 0)
    for element in svg.iter():
        for key in ("d", "x", "y", "cx", "cy"):
            numbers = re.findall(r"nan|inf|-?[\d.]+(?:e[-+]?\d+)?", element.get(key, ""))
            assert all(-1 <= float(n) <= 460 for n in numbers), f"{element.tag} is drawn outside its panel"


def test_the_plot_has_a_point_for_every_finite_value(tmp_path):
    svg = draw(history_of(loss=[3.0, math.nan, 2.0, 1.0], valid_loss=[4.0, 3.0, 2.0, 1.0]), tmp_path)
    lines = [p.get("d") for p in svg.iter(f"{SVG}path") if p.get("stroke-linejoin")]
    assert [line.count("L") + 1 for line in lines] == [3, 4]
    points = np.array([[float(v) for v in point.split()] for point in lines[1].removeprefix("M").split("L")])
    assert (np.diff(points[:, 0]) > 0).all(), "epochs run to the right"
    assert (np.diff(points[:, 1]) > 0).all(), "a smaller loss is lower down, which in SVG is a larger y"


@pytest.mark.parametrize(("best_epoch", "marked"), [(None, False), (0, False), (2, True), (3, True), (9, False)])
def test_the_plot_marks_the_best_epoch_if_there_is_one(tmp_path, best_epoch, marked):
    svg = draw(history_of(loss=[3.0, 2.0, 1.0]), tmp_path, best_epoch=best_epoch)
    texts = [t.text for t in svg.iter(f"{SVG}text")]
    assert (f"kept epoch {best_epoch} of 3" in texts) == marked
    assert not [text for text in texts if "best" in text]


def test_only_the_panel_of_the_metric_says_why_an_epoch_was_kept(tmp_path):
    """An accuracy that is highest elsewhere must not be read as the one by which the epoch was chosen."""
    accuracies = {"accuracy": [0.5, 0.6, 0.9], "valid_accuracy": [0.1, 0.2, 0.9]}
    history = history_of(loss=[3, 2, 1], valid_loss=[3, 1.5, 2], **accuracies)
    kept = Kept(2, 3, "lowest valid_loss 1.5", "valid_loss")
    history.plot(tmp_path / "x.svg", kept=kept)
    loss, accuracy = ET.parse(tmp_path / "x.svg").getroot().findall(f"{SVG}g")
    said = [[t.text for t in panel.iter(f"{SVG}text")] for panel in (loss, accuracy)]
    assert {"kept epoch 2 of 3:", "lowest valid_loss 1.5"} <= set(said[0])
    assert "kept epoch 2 of 3" in said[1]
    assert not [text for text in said[1] if "loss" in text]
    (point,) = [c for c in loss.iter(f"{SVG}circle") if c.get("class") == "kept"]
    curve = [p.get("d", "") for p in loss.iter(f"{SVG}path") if p.get("stroke-linejoin")][1]
    assert curve.removeprefix("M").split("L")[1] == f"{point.get('cx')} {point.get('cy')}"
    assert not [c for c in accuracy.iter(f"{SVG}circle") if c.get("class") == "kept"]


@pytest.mark.parametrize("epoch", [1, 20, 21, 40])
def test_the_reason_stays_within_its_panel(tmp_path, epoch):
    name = "valid_" + "x" * 200
    history = history_of(**{name: [1.0] * 40})
    history.plot(tmp_path / "x.svg", kept=Kept(epoch, 40, f"highest {name} 1", name))
    (text,) = [t for t in ET.parse(tmp_path / "x.svg").iter(f"{SVG}text") if str(t.text).startswith("highest")]
    width, at = 7 * len(str(text.text)), float(text.get("x", ""))
    low = at if text.get("text-anchor") == "start" else at - width
    assert 0 <= low <= low + width <= 460


def test_the_plot_is_logarithmic_if_a_loss_spans_decades():
    assert value_axis([1.0, 0.001]).logarithmic
    assert value_axis([1.0, 0.001]).ticks == (0.001, 0.01, 0.1, 1.0)
    assert not value_axis([1.0, 0.1]).logarithmic
    assert not value_axis([1.0, 0.0, -1.0]).logarithmic
    assert value_axis([0.0, 1.0]).ticks == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1.0))
    axis = value_axis([0.01, 1.0])
    assert [axis.fraction(v) for v in (0.01, 0.1, 1.0)] == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize("values", [[1e17], [1e20, 1e20], [1e-3, 1.5e308], [-1e308, 1e308]])
def test_huge_values_are_plotted_or_left_out(tmp_path, values):
    history = cr.History()
    for value in values:
        history.append({"loss": value})
    history.plot(tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text().startswith("<svg")


TRAINED = {
    "loss": [1.0],
    "accuracy": [0.5],
    "valid_loss": [2.0],
    "valid_accuracy": [0.4],
    "lr": [0.1],
    "seconds": [1.0],
}
NEAR = {
    "val_acc": "valid_accuracy", "val_accuracy": "valid_accuracy", "valid_acc": "valid_accuracy",
    "validation_loss": "valid_loss", "val_loss": "valid_loss", "acc": "accuracy", "train_acc": "accuracy",
    "train_loss": "loss", "learning_rate": "lr", "time": "seconds", "accurcy": "accuracy",
}  # fmt: skip


@pytest.mark.parametrize(("given", "near"), NEAR.items())
def test_a_name_of_another_library_is_answered_with_ours(given, near):
    history = history_of(**TRAINED)
    with pytest.raises(KeyError) as error:
        history[given]
    assert str(error.value) == f"the history has no {given!r}: did you mean {near!r}? It has {', '.join(TRAINED)}"
    assert history.get(given) is None
    assert given not in history


def test_a_name_that_a_history_does_not_have():
    with pytest.raises(KeyError, match=r"^the history has no 'colour': it has loss, lr$"):
        history_of(loss=[1.0], lr=[0.1])["colour"]
    with pytest.raises(KeyError, match=r"'val_acc': there were no validation rows: fit\(X, y, validation=0.2\)"):
        history_of(loss=[1.0], accuracy=[0.1])["val_acc"]
    with pytest.raises(KeyError, match="'loss': no epoch has ended"):
        cr.History()["loss"]
    with pytest.raises(KeyError, match="the history has no 3: it has loss"):
        history_of(loss=[1.0])[3]
    with pytest.raises(KeyError) as error:
        history_of(loss=[1.0])["a\x1b"]
    assert "\x1b" not in str(pickle.loads(pickle.dumps(error.value)))
