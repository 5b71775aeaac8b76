"""`chainrule evaluate`: metrics of classes and numbers, the confusion matrix, pictures, and what is said of gaps."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli.console.confusion import confusion_table
from chainrule.nn.confusion import Confusion

CPU = ("--device", "cpu")


@pytest.fixture
def model(run, flowers):
    found = run("train", flowers, "--target", "kind", "--epochs", 30, *CPU, "--quiet", "--run-dir", "model")
    assert found.code == 0, found.err
    return Path("model")


def texts(path: str) -> list[str]:
    return [element.text or "" for element in ET.parse(path).getroot().iter() if element.tag.endswith("text")]


def test_metrics_and_the_confusion_matrix(run, model, flowers):
    found = run("evaluate", model, flowers, *CPU, "--json").json
    assert set(found) == {
        "ok",
        "rows",
        "device",
        "accuracy",
        "balanced_accuracy",
        "log_loss",
        "roc_auc",
        "classes",
        "confusion_matrix",
    }
    counts = np.array(found["confusion_matrix"])
    true = [line.rsplit(",", 1)[1] for line in flowers.read_text().splitlines()[1:]]
    assert (found["rows"], found["classes"], counts.sum()) == (120, ["aster", "rose", "tulip"], 120)
    assert counts.sum(axis=1).tolist() == [true.count(name) for name in found["classes"]]
    assert found["accuracy"] == np.trace(counts) / 120 > 0.95
    assert found["roc_auc"] > 0.99
    lines = run("evaluate", model, flowers, *CPU).out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["rows", "accuracy", "balanced_accuracy", "log_loss", "roc_auc"]
    assert lines[5] == ""
    assert lines[6].split() == ["true", "\\", "predicted", "aster", "rose", "tulip", "recall"]
    assert lines[7].split()[:4] == ["aster", *map(str, counts[0])]
    Path("other.csv").write_text("height,width,kind\n1,2,oak\n")
    refused = run("evaluate", model, "other.csv", *CPU)
    assert refused.code == 3
    assert "oak" in refused.error


def test_evaluate_notes_a_class_without_rows(run, model, flowers):
    header, *lines = flowers.read_text().splitlines()
    Path("two.csv").write_text("\n".join([header, *(line for line in lines if "aster" not in line)]) + "\n")
    found = run("evaluate", model, "two.csv", *CPU)
    assert "note     no row of class 'aster': balanced_accuracy and roc_auc are means over the other 2 cl" in found.err
    Path("one.csv").write_text("\n".join([header, *(line for line in lines if "rose" in line)]) + "\n")
    found = run("evaluate", model, "one.csv", *CPU, "--json")
    assert "roc_auc" not in found.json
    assert found.json["notes"] == ["no row of class 'aster', 'tulip': no roc_auc, which compares classes"]
    assert found.json["accuracy"] > 0.9


def test_evaluate_plot_draws_pictures(run, model, flowers, houses):
    found = run("evaluate", model, flowers, *CPU, "--plot", "c.svg", "--json")
    assert (found.code, "wrote    c.svg" in found.err) == (0, True)
    shown = texts("c.svg")
    counts = np.array(found.json["confusion_matrix"])
    assert {"aster", "rose", "tulip", "predicted", "true", *(f"{n}" for n in counts[counts > 0])} <= set(shown)
    assert shown[0] == f"model on {flowers}"
    train = ("train", houses, "--target", "price", "--epochs", 2, *CPU, "--quiet", "--run-dir", "h")
    assert run(*train).code == 0
    assert run("evaluate", "h", houses, *CPU, "--plot", "h.svg").code == 0
    assert "200 rows" in texts("h.svg")
    quantiles = ("--loss", "quantile", "--overwrite")
    assert run(*train, *quantiles).code == 0
    assert run("evaluate", "h", houses, *CPU, "--plot", "h.svg").code == 0
    refused = run("evaluate", "h", houses, *CPU, "--plot", "h.png")
    assert (refused.code, "expected a file that ends in .svg" in refused.error) == (2, True)


def test_evaluate_of_binary_and_multilabel_targets(run, tmp_path, rng):
    x = rng.normal(size=(80, 2))
    np.savez("one.npz", X=x, y=(x[:, 0] > 0).astype(int))
    np.savez("two.npz", X=x, y=(x > 0).astype(int))
    train = ("--loss", "sigmoid_cross_entropy", "--epochs", 20, "--lr", 0.01, *CPU, "--quiet")
    for name in ("one", "two"):
        assert run("train", f"{name}.npz", *train, "--run-dir", name).code == 0
    found = run("evaluate", "one", "one.npz", *CPU, "--json").json
    assert np.sum(found["confusion_matrix"]) == 80
    assert found["roc_auc"] > 0.9
    found = run("evaluate", "two", "two.npz", *CPU, "--json").json
    assert "confusion_matrix" not in found
    assert found["roc_auc"] > 0.9
    refused = run("evaluate", "two", "two.npz", *CPU, "--plot", "x.svg")
    assert (refused.code, "no confusion matrix" in refused.error) == (3, True)


def test_a_class_beyond_those_of_a_net_without_names(run):
    cr.MLP([2, 3], seed=0).save("m.safetensors")
    np.savez("a.npz", X=np.ones((3, 2)), y=[0, 2, 3])
    found = run("evaluate", "m.safetensors", "a.npz", *CPU)
    assert (found.code, "row 2 (from 0) of the target: expected a class from 0 to 2, got 3" in found.error) == (3, True)


def test_evaluate_names_that_would_break_terminal_or_picture(run, rng):
    names = ["<b>&\x1b[31m", 'a "quoted" one', "plain ]]>"]
    rows = [f'{rng.normal() + 5 * (i % 3)!r},"{names[i % 3].replace(chr(34), chr(34) * 2)}"' for i in range(60)]
    Path("x.csv").write_text("a,y\n" + "\n".join(rows) + "\n")
    assert run("train", "x.csv", "--target", "y", "--epochs", 1, *CPU, "--quiet", "--run-dir", "m").code == 0
    found = run("evaluate", "m", "x.csv", *CPU, "--plot", "x.svg")
    assert found.code == 0
    assert "\x1b" not in found.out + found.err + Path("x.svg").read_text()
    assert {"<b>&\\x1b[31m", 'a "quoted" one', "plain ]]>"} <= set(texts("x.svg"))


def confusion_of(counts: np.ndarray) -> Confusion:
    true, predicted = (np.repeat(numbers.reshape(-1), counts.reshape(-1)) for numbers in np.indices(counts.shape))
    return Confusion.of(true, predicted, len(counts))


def test_confusion_of_many_classes_lists_the_most_frequent_mistakes():
    counts = np.diag(np.full(30, 1000))
    counts[3, 4], counts[7, 1] = 200, 50
    lines = confusion_table(confusion_of(counts), [f"c{i}" for i in range(30)])
    assert lines[0] == "the most frequent of 250 mistakes"
    assert [line.split() for line in lines[2:]] == [["c3", "c4", "200", "0.167"], ["c7", "c1", "50", "0.048"]]
    assert confusion_table(confusion_of(np.eye(30, dtype=int)), ["x"] * 30) == ["no mistakes"]


def test_confusion_of_a_class_without_rows_or_predictions():
    lines = confusion_table(confusion_of(np.array([[2, 1], [0, 0]])), ["yes", "no"])
    assert [line.split()[-3:] for line in lines[1:]] == [
        ["2", "1", "0.667"],
        ["0", "0", "-"],
        ["precision", "1.000", "0.000"],
    ]
    assert {len(line) for line in lines[:3]} == {len(lines[0])}, "numbers end in the same column"


# ---- one name, one number ---------------------------------------------------------------------------


def write_constant(folder, *, two=False):
    """60 rows to train on, and 20 to validate on whose target never changes."""
    rows = np.random.default_rng(0).normal(size=(80, 3))
    for name, part, still in (("t.csv", rows[:60], False), ("v.csv", rows[60:], True)):
        target = np.full(len(part), 0.1) if still else part[:, 0]
        lines = [f"{a!r},{b!r},{c!r},{y!r}" for (a, b, c), y in zip(part.tolist(), target.tolist(), strict=True)]
        (folder / name).write_text("a,b,c,y\n" + "\n".join(lines) + "\n", encoding="utf-8")


def test_a_monitor_without_meaning_is_a_note(run, tmp_path):
    write_constant(tmp_path)
    options = ("--target", "y", "--task", "regress", "--valid", "v.csv", "--monitor", "valid_r2", "--patience", 3)
    found = run("train", "t.csv", *options, "--epochs", 12, "--device", "cpu", "--json", "--run-dir", "m")
    assert found.code == 0
    said = "valid_r2 is undefined or constant: the target never changes in the validation rows"
    assert found.err.count(f"note     {said}; valid_loss is monitored instead") == 1
    assert "Warning" not in found.err
    assert found.json["notes"] == [f"{said}; valid_loss is monitored instead"]
    assert json.loads(Path("m", "run.json").read_text(encoding="utf-8"))["notes"] == found.json["notes"]
    assert found.json["valid"]["r2"] == 0
    assert run("evaluate", "m", "v.csv", "--device", "cpu", "--json").json["r2"] == 0


@pytest.mark.parametrize("classes", ["two", "three"])
def test_two_classes_have_the_metrics_of_three(run, tmp_path, classes):
    rows = np.random.default_rng(0).normal(size=(90, 2))
    known = np.array(["no", "yes", "so"] if classes == "three" else ["no", "yes", "yes"])
    names = known[(rows[:, 0] > 0).astype(int) + (rows[:, 0] > 1)]
    lines = [f"{a!r},{b!r},{name}" for (a, b), name in zip(rows.tolist(), names, strict=True)]
    (tmp_path / "c.csv").write_text("a,b,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
    asked = ("balanced_accuracy", "log_loss", "roc_auc")
    losses = {"two": [None, "sigmoid_cross_entropy", "softmax_cross_entropy"], "three": [None]}[classes]
    for loss in losses:
        found = run(
            "train",
            "c.csv",
            "--target",
            "y",
            "--epochs",
            5,
            "--device",
            "cpu",
            "--json",
            "--run-dir",
            f"m{loss}",
            "--metrics",
            ",".join(asked),
            "--monitor",
            "valid_balanced_accuracy",
            "--class-weight",
            "balanced",
            "--valid",
            "c.csv",
            "--no-shrink",
            *(("--loss", loss) if loss else ()),
        )
        assert found.code == 0, found.err
        scores = run("evaluate", f"m{loss}", "c.csv", "--device", "cpu", "--json").json
        history = list(csv.DictReader(Path(f"m{loss}", "history.csv").read_text(encoding="utf-8").splitlines()))
        for name in ("accuracy", *asked):
            assert found.json["valid"][name] == pytest.approx(scores[name], rel=1e-6), name
            assert float(history[found.json["best_epoch"] - 1][f"valid_{name}"]) == pytest.approx(
                scores[name], rel=1e-6
            )
        assert len(scores["confusion_matrix"]) == len(set(names))
