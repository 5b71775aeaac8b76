"""`chainrule cv`, and rows held out by group or by time."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli.commands import cv
from chainrule.cli.training import table

QUICK = ("--device", "cpu", "--quiet", "--hidden", 8, "--epochs", 2)


@pytest.fixture
def visits(tmp_path) -> Path:
    """120 rows of 12 patients on 40 days: a number, a color, and an outcome that hangs on both."""
    rng = np.random.default_rng(7)
    lines = ["x,color,patient,day,y"]
    for i in range(120):
        x, color = rng.normal(), str(rng.choice(["red", "blue"]))
        day = f"2026-{1 + i % 40 // 28:02}-{1 + i % 40 % 28:02}"
        lines.append(f"{x},{color},p{rng.integers(12)},{day},{round(10 + 3 * x + 2 * (color == 'red'), 3)}")
    path = tmp_path / "visits.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def columns(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()[1:]]


def test_a_table_of_folds(run, flowers):
    argv = ("cv", flowers, "--target", "kind", *QUICK, "--epochs", 60, "--lr", 0.02)
    found = run(*argv)
    assert (found.code, found.err) == (0, "")
    lines = [line.split() for line in found.out.splitlines()]
    assert lines[0] == ["fold", "rows", "accuracy", "balanced_accuracy", "log_loss", "roc_auc"]
    assert [line[0] for line in lines[1:]] == ["1", "2", "3", "4", "5", "mean", "std"]
    assert [line[1] for line in lines[1:6]] == ["24"] * 5
    assert len({len(line) for line in found.out.splitlines()}) == 1
    found = run(*argv, "--json").json
    accuracies = [fold["accuracy"] for fold in found["each"]]
    assert found["accuracy"] == pytest.approx(np.mean(accuracies))
    assert found["std"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert found["accuracy"] > 0.9
    assert [fold["fold"] for fold in found["each"]] == [1, 2, 3, 4, 5]
    assert (found["folds"], found["rows"], found["task"]) == (5, 120, "classify")


def test_the_same_seed_gives_the_same_figures(run, houses):
    argv = ("cv", houses, "--target", "price", "--folds", 3, *QUICK, "--json")
    one, two, other = (run(*argv, "--seed", seed).json["each"] for seed in (3, 3, 4))
    assert one == two
    assert one != other


def test_cv_scores_rows_that_have_no_part_in_the_net(run, visits, monkeypatch):
    """Neither in its encoder nor in its scaling, nor in the choice of its best epoch."""
    seen = []
    real = cv.split_data

    def data_of(args, read, split):
        data = real(args, read, split)
        seen.append((split, data, read))
        return data

    monkeypatch.setattr(cv, "split_data", data_of)
    found = run("cv", visits, "--target", "y", "--drop", "patient,day", "--folds", 4, *QUICK, "--patience", 1, "--json")
    assert found.code == 0, found.err
    held_out = []
    for split, data, read in seen:
        used = {*split.training, *split.held_out}
        assert not set(split.training) & set(split.held_out)
        assert len(split.held_out) == 18  # a fifth of 90
        held_out.append(set(range(120)) - used)
        assert data.encoder.columns[0].fill == np.median(read.table.columns["x"][split.training])
        np.testing.assert_array_equal(data.valid[1], read.plan.y[split.held_out])
    assert all(len(rows) == 30 for rows in held_out)
    assert set.union(*held_out) == set(range(120))


def test_a_cv_fold_is_what_train_and_evaluate_give(run, houses, monkeypatch):
    """By hand: train on a fold's training rows, evaluate on its others."""
    argv = ("--target", "price", *QUICK)
    each = run("cv", houses, *argv, "--folds", 3, "--json").json["each"]
    header, *lines = houses.read_text().splitlines()
    fold = cr.make_folds(200, 3)[1]
    for name, rows in zip(("a", "b"), fold, strict=True):
        Path(f"{name}.csv").write_text("\n".join([header, *(lines[i] for i in rows)]) + "\n")
    assert run("train", "a.csv", *argv, "--run-dir", "m").code == 0
    found = run("evaluate", "m", "b.csv", "--device", "cpu", "--json").json
    assert {name: found[name] for name in ("rmse", "mae", "r2")} == {
        name: each[1][name] for name in ("rmse", "mae", "r2")
    }


def test_group_and_time_hold_in_every_cv_fold(run, visits, monkeypatch):
    folds = []
    real = cv.make_folds
    monkeypatch.setattr(cv, "make_folds", lambda *a, **options: folds.append(real(*a, **options)) or folds[-1])
    found = run("cv", visits, "--target", "y", "--group", "patient", "--drop", "day", *QUICK, "--json")
    assert found.code == 0, found.err
    patients, days = (np.array([row[j] for row in columns(visits)]) for j in (2, 3))
    for fold in folds[0]:
        assert not set(patients[fold.training]) & set(patients[fold.held_out])
    found = run("cv", visits, "--target", "y", "--time", "day", "--drop", "patient", *QUICK, "--folds", 3, "--json")
    assert found.code == 0, found.err
    for fold in folds[1]:
        assert max(days[fold.training]) < min(days[fold.held_out])


def test_cv_takes_the_config_of_a_run(run, flowers):
    assert run("train", flowers, "--target", "kind", *QUICK, "--seed", 5, "--run-dir", "m").code == 0
    Path("my.toml").write_text(Path("m/config.toml").read_text() + 'run-dir = "elsewhere"\n')
    typed = run("cv", flowers, "--target", "kind", *QUICK, "--seed", 5, "--json", "--folds", 2).json
    found = run("cv", "--config", "my.toml", "--quiet", "--json", "--folds", 2).json
    assert found["each"] == typed["each"]
    assert not Path("elsewhere").exists()


REFUSED = {
    "one fold": (("--folds", 1), 2, "folds: expected a whole number from 2"),
    "many folds": (("--folds", 500), 3, "expected at least 500 rows for these folds, got 120"),
    "a file": (("--valid", "visits.csv"), 2, "--valid: expected a fraction, got a file"),
    "group and time": (("--group", "patient", "--time", "day"), 2, "expected --group or --time"),
    "an unknown group": (("--group", "patien"), 3, "'patien'"),
    "the target as group": (("--group", "y"), 2, "'y' is the target"),
    "times that are none": (("--time", "color"), 3, "row 0 (from 0) of column 'color': expected a number or a date"),
    "patience alone": (("--valid", 0, "--patience", 3), 2, "--patience: expected validation rows, got none"),
    "a diagnosis": (("--diagnose",), 2, "unknown option '--diagnose'"),
    "a checkpoint": (("--checkpoint-every", 10), 2, "unknown option '--checkpoint-every'"),
}


@pytest.mark.parametrize(("options", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals(run, visits, options, code, words):
    found = run("cv", visits, "--target", "y", "--drop", "patient,day", *QUICK, *options)
    assert (found.code, words in found.error) == (code, True), found.err


def test_help_lists_no_option_that_cv_refuses_or_ignores(run, capsys):
    with pytest.raises(SystemExit):
        run("cv", "--help")
    text = capsys.readouterr().out
    assert "--monitor" in text
    assert "--diagnose" not in text
    assert "--checkpoint-every" not in text
    assert "or a file" not in text


def test_config_file_of_train_may_set_checkpoint_every_but_not_diagnose(run, visits):
    options = f"data = '{visits}'\ntarget = 'y'\ndrop = ['patient', 'day']\n"
    Path("steps.toml").write_text(options + "checkpoint-every = 10\n")
    assert run("cv", "--config", "steps.toml", "--folds", 2, *QUICK).code == 0
    Path("diagnosis.toml").write_text(options + "diagnose = true\n")
    found = run("cv", "--config", "diagnosis.toml", "--folds", 2, *QUICK)
    assert (found.code, "cv has no --diagnose" in found.error) == (2, True), found.err


def test_cv_with_valid_0_trains_on_all_training_rows(run, houses):
    found = run("cv", houses, "--target", "price", "--valid", 0, *QUICK, "--json").json
    assert found["r2"] < 1


def test_cv_notes_a_class_with_fewer_rows_than_folds(run):
    rows = [f"{i},{'rare' if i < 2 else 'often'}" for i in range(40)]
    Path("t.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    found = run("cv", "t.csv", "--target", "y", *QUICK[:2], "--epochs", 1)
    assert found.code == 0, found.err
    assert "note     1 class has fewer rows than there are folds: 'rare'" in found.err
    lines = [line.split() for line in found.out.splitlines()]
    assert "-" in lines[1], "no roc_auc in a fold of one class"
    assert "-" not in lines[6]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_cv_without_figures(run, flowers, monkeypatch, number):
    real = cv.trainer_of

    def interrupted(*args, callbacks, **options):
        return real(*args, callbacks=[lambda record: os.kill(os.getpid(), number)], **options)

    monkeypatch.setattr(cv, "trainer_of", interrupted)
    found = run("cv", flowers, "--target", "kind", *QUICK, "--epochs", 50)
    assert (found.code, found.out) == (128 + number, "")
    found = run("cv", flowers, "--target", "kind", *QUICK, "--epochs", 50, "--json")
    assert found.json == {"ok": False, "error": "interrupted", "hint": "", "exit_code": 128 + number}


# ---- train --group and --time -----------------------------------------------------------------------


def split_of(run, monkeypatch, *argv):
    """The split that a training made, and its model."""
    splits = []
    real = table.hold_out
    monkeypatch.setattr(table, "hold_out", lambda *a, **o: splits.append(real(*a, **o)) or splits[-1])
    found = run("train", *argv, *QUICK, "--json", "--run-dir", "m", "--overwrite")
    assert found.code == 0, found.err
    return splits[0], cr.load("m/model.safetensors", device="cpu")


def test_group_holds_out_whole_groups(run, visits, monkeypatch):
    split, net = split_of(
        run, monkeypatch, visits, "--target", "y", "--drop", "day", "--group", "patient", "--valid", 0.25
    )
    patients = np.array([row[2] for row in columns(visits)])
    assert not set(patients[split.training]) & set(patients[split.held_out])
    assert len(set(patients[split.held_out])) == 3
    assert net.preparation.encoder.table_names == ("x", "color"), "the group is no feature"
    again = run("train", "--config", "m/config.toml", "--run-dir", "n")
    assert "note     column 'patient' says which rows are held out or left out, and is no feature" in again.err
    assert Path("m/model.safetensors").read_bytes() == Path("n/model.safetensors").read_bytes()
    Path("new.csv").write_text("x,color\n1,red\n")
    assert run("predict", "m", "new.csv", "--device", "cpu").code == 0, "and not needed later"


def test_time_holds_out_the_latest_rows(run, visits, monkeypatch):
    split, net = split_of(run, monkeypatch, visits, "--target", "y", "--drop", "patient", "--time", "day")
    days = np.array([row[3] for row in columns(visits)])
    assert max(days[split.training]) < min(days[split.held_out])
    assert len(split.held_out) == 24
    assert net.preparation.encoder.table_names == ("x", "color")


def test_a_valid_file_beside_group_is_refused(run, visits):
    found = run("train", visits, "--target", "y", "--drop", "day", "--group", "patient", "--valid", visits, *QUICK)
    assert (found.code, "--valid: expected a fraction beside --group or --time, got a file" in found.error) == (2, True)
    found = run("train", "digits", "--group", "patient", *QUICK)
    assert (found.code, "digits: expected a column called 'patient', got an array" in found.error) == (3, True)
    Path("one.csv").write_text("x,who,y\n" + "".join(f"{i},ann,{i / 7}\n" for i in range(9)))
    found = run("train", "one.csv", "--target", "y", "--group", "who", *QUICK)
    assert (found.code, "one.csv, column 'who': expected at least two different values of group" in found.error) == (
        3,
        True,
    )


def test_valid_with_a_column_hints_at_group_and_time(run, visits):
    for typed in ("patient", "group:patient"):
        found = run("train", visits, "--target", "y", "--drop", "day", "--valid", typed, *QUICK)
        assert found.code in {2, 3}
        assert "--group patient" in found.err


def test_json_of_a_fold_without_a_metric_is_json(run):
    rows = [f"{i},{'rare' if i < 1 else 'often'}" for i in range(20)]
    Path("t.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    found = run("cv", "t.csv", "--target", "y", *QUICK, "--folds", 2, "--json")
    assert "roc_auc" not in found.json["std"]
    json.loads(found.out, parse_constant=pytest.fail)


def test_a_monitor_without_meaning_is_noted_once_for_all_cv_folds(run, tmp_path, rng):
    rows = rng.normal(size=(60, 2))
    lines = [f"{a!r},{b!r},{0.1 if i < 58 else a!r}" for i, (a, b) in enumerate(rows.tolist())]
    (tmp_path / "t.csv").write_text("a,b,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
    options = ("--target", "y", "--task", "regress", "--folds", 3, "--epochs", 2, "--monitor", "valid_r2")
    found = run("cv", "t.csv", *options, "--device", "cpu", "--json")
    (note,) = found.json["notes"]
    assert note.startswith("valid_r2 is undefined or constant")
    assert f"note     {note}" in found.err
    assert "Warning" not in found.err
