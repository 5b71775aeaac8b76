"""`chainrule train`: the main job, its files, its flags, and its refusals."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli.runs.files import CHECKPOINTS, CONFIG, CURVES, GRADIENT_NORMS, HISTORY, METRICS, MODEL
from chainrule.cli.runs.record import RECORD
from chainrule.files.folder import Folder
from chainrule.nn.evaluation import metrics_of
from chainrule.train.monitoring import epoch_metrics

QUICK = ("--device", "cpu", "--quiet", "--json")


def test_digits_reach_the_promised_accuracy_in_seconds(run):
    found = run("train", "digits", "--device", "cpu", "--seed", 0, "--json")
    assert found.code == 0
    summary = found.json
    assert {"ok", "device", "backend", "task", "epochs", "left_out", "seconds", "run_dir"} <= set(summary)
    assert summary["ok"] is True
    assert (summary["device"], summary["backend"], summary["task"]) == ("cpu", "numpy", "classify")
    assert summary["left_out"]["accuracy"] >= 0.965  # 0.973 of 449 rows
    assert summary["seconds"] < 60  # 3 s on a machine that is not busy; the promise is 10
    for word in ("device", "data", "model", "epoch", "task", "saved", "kept", "score"):
        assert f"\n{word} " in "\n" + found.err
    assert "1,797 rows x 64 features, 10 classes; 1,797 train\n" in found.err
    assert "8 x (64 -> 96 -> 64 -> 10), selu, dropout 0.2, 450,616 parameters" in found.err


def test_members_are_trained_at_once_and_kept_in_one_model(run):
    found = run("train", "digits", "--members", 3, "--epochs", 3, "--device", "cpu", "--run-dir", "m")
    assert "3 x (64 -> 96 -> 64 -> 10)" in found.err
    assert cr.load("m/model.safetensors").members == 3
    assert "members = 3" in Path("m", CONFIG).read_text(encoding="utf-8")
    assert "3 x (64 -> 96 -> 64 -> 10)" in run("show", "m").out
    assert run("evaluate", "m", "digits", "--json").json["accuracy"] > 0.9
    assert run("export", "m", "--onnx", "m.onnx").code == 0
    assert run("predict", "m", "digits", "-o", "p.csv").code == 0


def test_a_preset_trains_on_all_rows_and_is_judged_by_those_that_members_left_out(run, rng):
    X = rng.normal(size=(300, 3))
    rows = np.column_stack([X, X @ [1, -1, 0.5] + 0.1 * rng.normal(size=300), np.arange(300) // 3])
    np.savetxt("t.csv", rows, delimiter=",", header="a,b,c,y,g", comments="")
    options = ("--target", "y", "--preset", "fast", "--epochs", 6, "--device", "cpu", "--json", "--overwrite")
    found = run("train", "t.csv", *options, "--run-dir", "m", "--group", "g")
    assert found.json["rows"] == 300
    assert found.json["valid"] == {}
    left_out = found.json["left_out"]
    assert 0.9 < left_out["r2"] < 1
    assert left_out["r2_error"] > 0
    assert "kept     epoch" in found.err
    assert ": lowest left_out_loss " in found.err
    assert "rows that 1 of 2 nets never saw" in found.err
    assert "left_out" in run("show", "m").out
    again = run("train", "--config", "m/config.toml", "--run-dir", "n", "--json")
    assert again.json["left_out"] == left_out
    assert run("train", "t.csv", *options, "--run-dir", "m", "--time", "g").json["left_out"]["rows"] == 39
    held = run("train", "t.csv", *options, "--run-dir", "m", "--valid", 0.2)
    assert "left_out" not in held.json
    assert held.json["valid"]["r2"] > 0.9


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--members", 1), "one net leaves out no row"),
        (("--time", "day"), "too many rows have the latest time for members to leave them out"),
        (("--valid", 0.2, "--members", 1), None),
        ((), None),
    ],
)
def test_a_preset_that_leaves_out_no_row_says_why_there_is_no_score(run, rng, options, why):
    rows = np.column_stack([rng.normal(size=(40, 2)), np.arange(40) // 20])
    np.savetxt("t.csv", rows, delimiter=",", header="a,y,day", comments="")
    found = run("train", "t.csv", "--target", "y", "--epochs", 2, "--device", "cpu", "--run-dir", "m", *options)
    assert found.code == 0
    assert ("there is no score" in found.err) == (why is not None)
    assert why is None or f"note     {why}: the last epoch is kept, and there is no score (--valid 0.2 " in found.err


def test_a_preset_of_classes_is_resumed(run, capsys):
    options = ("--preset", "fast", "--epochs", 4, "--device", "cpu", "--checkpoint-every", 1, "--json")
    whole = run("train", "digits", *options, "--run-dir", "m").json
    assert whole["left_out"]["accuracy"] > 0.9
    assert run("cv", "digits", "--preset", "fast", "--epochs", 2, "--folds", 2, "--valid", 0, "--json").code == 0


@pytest.mark.parametrize("options", [("--optimizer", "sgd"), ("--optimizer", "lbfgs"), ("--normalization", "layer")])
def test_a_preset_with_what_it_does_not_have_is_refused(run, options):
    found = run("train", "digits", "--preset", "fast", *options)
    assert found.code == 2
    assert "--preset fast" in found.error


def test_shrink_makes_noise_the_mean(run, tmp_path, rng):
    """The history is of the net as it was trained; the model, and what is said of it, are drawn to the mean."""
    rows = "".join(f"{x!r},{y!r}\n" for x, y in rng.normal(size=(200, 2)).tolist())
    (tmp_path / "noise.csv").write_text("x,y\n" + rows)
    options = ("--target", "y", "--device", "cpu", "--lr", 0.03, "--hidden", "64,64", "--json", "--overwrite")
    found = run("train", "noise.csv", *options, "--run-dir", "m")
    assert found.json["shrinkage"] == 0
    chosen = "factor 0, chosen on the validation rows (1: as trained, 0: best constant prediction)"
    nothing = "the model gives every row the same answer: for the validation rows nothing else was clearly better"
    assert f"shrunk   {nothing}; more rows, or other columns, may help; {chosen}" in found.err
    assert f"kept     epoch {found.json['best_epoch']} of 200: lowest training loss " in found.err
    assert found.json["best_epoch"] > 150, "the cosine is trained to its end"
    score = run("evaluate", "m", "noise.csv", "--device", "cpu", "--json").json["r2"]
    assert abs(score) < 0.01
    kept = run("train", "noise.csv", *options, "--run-dir", "m", "--no-shrink")
    assert kept.json["shrinkage"] is None
    assert "shrunk" not in kept.err
    history = list(csv.DictReader(Path("m", HISTORY).read_text(encoding="utf-8").splitlines()))
    assert kept.json["best_epoch"] == 1 + int(np.argmin([float(row["valid_loss"]) for row in history]))
    assert found.json["valid"]["loss"] < float(history[-1]["valid_loss"])


def test_the_files_of_a_run(run, flowers):
    found = run("train", flowers, "--target", "kind", "--valid", 0.2, "--epochs", 12, *QUICK, "--run-dir", "out")
    assert found.code == 0, found.err
    assert found.err == ""
    folder = Path("out")
    assert {p.name for p in folder.iterdir()} == {MODEL, RECORD, METRICS, HISTORY, CURVES, CONFIG, CHECKPOINTS}
    record = json.loads((folder / RECORD).read_text())
    assert record["status"] == "done"
    assert record["device"] == "cpu"
    assert record["data"]["source"] == str(flowers)
    assert len(record["data"]["sha256"]) == 64
    assert record["argv"][:2] == ["chainrule", "train"]
    history = list(csv.DictReader((folder / HISTORY).read_text().splitlines()))
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    assert [int(row["epoch"]) for row in history] == [line["epoch"] for line in lines] == list(range(1, 13))
    assert float(history[-1]["valid_loss"]) == lines[-1]["valid_loss"]
    assert ET.parse(folder / CURVES).getroot().tag.endswith("svg")
    net = cr.load(folder / MODEL, device="cpu")
    assert net.preparation.classes == ("aster", "rose", "tulip")
    assert net.preparation.feature_names == ("height", "width")
    assert found.json["valid"]["accuracy"] >= 0.95


def test_a_regression_in_the_units_of_its_target(run, houses):
    found = run(
        "train", houses, "--target", "price", "--epochs", 80, "--hidden", "32", "--lr", 0.01, *QUICK, "--run-dir", "out"
    )
    assert found.code == 0, found.err
    assert found.json["task"] == "regress"
    assert found.json["valid"]["r2"] > 0.9
    assert 1000 < found.json["valid"]["rmse"] < 20_000


def test_npz_arrays_and_a_valid_file(run, tmp_path, rng):
    X = rng.normal(size=(90, 4)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    np.savez(tmp_path / "a.npz", X=X[:60], y=y[:60])
    np.savez(tmp_path / "b.npz", X=X[60:], y=y[60:])
    found = run("train", "a.npz", "--valid", "b.npz", "--epochs", 40, *QUICK)
    assert found.code == 0, found.err
    assert found.json["rows"] == 60
    assert found.json["valid"]["accuracy"] > 0.8


def test_a_npy_matrix_with_its_target_by_position(run, tmp_path, rng):
    X = rng.normal(size=(90, 3))
    np.save(tmp_path / "a.npy", np.column_stack([X, X[:, 0] > 0]))
    np.save(tmp_path / "b.npy", X)
    assert run("train", "a.npy", "--target", -1, "--epochs", 20, "--run-dir", "m", *QUICK).code == 0
    bare = run("predict", "m", "b.npy", "--device", "cpu")
    assert bare.code == 0
    assert run("predict", "m", "a.npy", "--target", -1, "--device", "cpu").out == bare.out
    assert run("evaluate", "m", "a.npy", "--target", -1, "--device", "cpu", "--json").json["accuracy"] > 0.5


@pytest.mark.parametrize(
    "options",
    [
        ("--activation", "gelu"),
        ("--activation", "tanh", "--optimizer", "sgd", "--momentum", "0"),
        ("--optimizer", "adam", "--lr", "0.01", "--weight-decay", "0.1", "--clip-norm", "1", "--warmup", "0.1"),
        ("--loss", "sigmoid_cross_entropy", "--target", "late", "--dtype", "float64"),
        ("--loss", "squared_error", "--target", "late", "--batch-size", "7", "--schedule", "constant"),
        (
            "--valid",
            "0",
        ),
        ("--schedule", "one-cycle", "--ema", "0.9"),
        ("--schedule", "plateau", "--accumulate", "3", "--valid", "0"),
        ("--schedule", "step", "--warmup", "0.2"),
        ("--schedule", "exponential"),
        ("--schedule", "coslog4"),
        ("--schedule", "flat-cosine"),
        ("--patience", "2", "--monitor", "valid_accuracy"),
    ],
)
def test_every_option_trains(run, tmp_path, rng, options):
    rows = rng.normal(size=(50, 3))
    lines = [",".join(map(repr, [*map(float, row), int(row[0] > 0)])) for row in rows]
    (tmp_path / "t.csv").write_text("a,b,c,late\n" + "\n".join(lines))
    found = run("train", "t.csv", "--target", "late", "--epochs", 6, "--hidden", "8,8", *options, *QUICK)
    assert found.code == 0, found.err
    assert found.json["ok"] is True


def test_the_lbfgs_optimizer_trains_and_has_no_learning_rate(run, flowers):
    pytest.importorskip("scipy", reason="SciPy is not installed")
    found = run("train", flowers, "--target", "kind", "--epochs", 30, "--optimizer", "lbfgs", *QUICK)
    assert found.code == 0, found.err
    assert found.json["valid"]["accuracy"] >= 0.9
    assert found.json["epochs"] <= 30
    refused = run("train", flowers, "--target", "kind", "--optimizer", "lbfgs", "--lr", 0.1, *QUICK)
    assert (refused.code, "--optimizer lbfgs has no --lr" in refused.err) == (2, True)


def test_the_same_command_gives_the_same_bits(run):
    for name in ("one", "two"):
        assert run("train", "digits", "--epochs", 3, "--run-dir", name, *QUICK).code == 0
    assert Path("one", MODEL).read_bytes() == Path("two", MODEL).read_bytes()


REFUSALS = {
    "usage": (("train",), 2, "DATA"),
    "unknown flag": (("train", "digits", "--depth", "3"), 2, "--depth"),
    "unknown device": (
        ("train", "digits", "--device", "gpu"),
        2,
        "device: expected auto, cpu, cuda",
    ),
    "unknown command": (("trian", "digits"), 2, "command: expected one of train, resume"),
    "unknown loss": (("train", "digits", "--loss", "mse"), 2, "--loss: expected one of softmax_cross_entropy"),
    "bad hidden": (("train", "digits", "--hidden", "12,x"), 2, "12,x"),
    "bad seed": (("train", "digits", "--seed", "-1"), 2, "--seed: expected a whole number from 0"),
    "bad lr": (("train", "digits", "--lr", "nan", "--device", "cpu"), 2, "lr: expected a finite number"),
    "bad fraction": (
        ("train", "digits", "--valid", "1.5", "--device", "cpu"),
        2,
        "--valid: expected a fraction in [0, 1) or a file, got 1.5",
    ),
    "patience alone": (("train", "digits", "--valid", "0", "--patience", "3", "--device", "cpu"), 2, "--patience"),
    "bad monitor": (("train", "digits", "--monitor", "valid_r2", "--device", "cpu"), 2, "valid_r2"),
    "missing file": (("train", "nothing.csv", "--target", "y", "--device", "cpu"), 3, "nothing.csv"),
    "softmax with one output": (("train", "flat.csv", "--target", "y", "--device", "cpu"), 3, "class"),
    "text in a feature": (("train", "text.csv", "--target", "y", "--device", "cpu"), 3, "line 3"),
}


@pytest.mark.parametrize(("argv", "code", "part"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_are_one_line_with_their_exit_code(run, tmp_path, argv, code, part):
    (tmp_path / "flat.csv").write_text("a,y\n1,cat\n2,cat\n3,cat\n")
    (tmp_path / "text.csv").write_text("a,y\n1,2\nred,3\n4,5\n")
    found = run(*argv)
    assert found.code == code
    assert part in found.error
    assert found.out == ""
    assert not Path("runs").exists() or not any(Path("runs").rglob("model.safetensors"))


@pytest.mark.parametrize(
    ("argv", "near"),
    [
        (("trian", "digits"), "train"),
        (("train", "digits", "--loss", "mse"), "squared_error"),
        (("train", "digits", "--activation", "rellu"), "relu"),
    ],
)
def test_a_misspelt_choice_is_answered_with_the_near_one(run, argv, near):
    found = run(*argv)
    assert found.code == 2
    assert f"hint: did you mean '{near}'?" in found.err


def test_with_json_an_error_is_an_object_too(run):
    found = run("train", "nothing.csv", "--target", "y", *QUICK)
    assert found.code == 3
    assert found.json["ok"] is False
    assert "nothing.csv" in found.json["error"]


def test_an_explicit_cuda_that_is_not_there_is_an_error(run, monkeypatch):
    from chainrule.backends.cupy import detection

    monkeypatch.setattr(detection, "find_problem", lambda _: detection.Problem("no CUDA driver found", "do this"))
    found = run("train", "digits", "--device", "cuda")
    assert found.code == 4
    assert found.err == "error: cuda cannot be used: no CUDA driver found\nhint: do this\n"
    monkeypatch.setenv("CHAINRULE_DEVICE", "cuda")
    assert run("train", "digits", "--epochs", 1).code == 4


def test_auto_says_on_one_line_why_it_took_the_cpu(run, monkeypatch):
    from chainrule.backends.cupy import detection

    monkeypatch.setattr(detection, "find_problem", lambda _: detection.Problem("no CUDA driver found", "do this"))
    found = run("train", "digits", "--epochs", 1)
    assert found.code == 0
    assert found.err.splitlines()[0] == "device   cpu (auto: no CUDA driver found; see `chainrule doctor`)"


def test_a_folder_with_files_is_not_overwritten_unless_asked(run):
    Path("out").mkdir()
    Path("out/mine.txt").write_text("keep")
    argv = ("train", "digits", "--epochs", 1, "--run-dir", "out", *QUICK)
    found = run(*argv)
    assert (found.code, found.json["ok"]) == (2, False)
    assert "out: expected a new or an empty folder" in found.error
    assert run(*argv, "--overwrite").code == 0
    assert Path("out/mine.txt").read_text() == "keep"


def test_divergence_is_exit_code_6_and_is_written_down(run, houses):
    options = (
        "--optimizer",
        "sgd",
        "--lr",
        "1e9",
        "--schedule",
        "constant",
        "--loss",
        "squared_error",
        "--momentum",
        "0",
    )
    found = run("train", houses, "--target", "price", *options, *QUICK, "--run-dir", "out")
    assert found.code == 6
    assert "training diverged at step" in found.error
    assert "epoch 1" in found.error
    record = json.loads(Path("out", RECORD).read_text())
    assert record["status"] == "diverged"
    assert not Path("out", MODEL).exists()


def test_debug_shows_the_traceback(run):
    with pytest.raises(cr.DataError):
        run("train", "nothing.csv", "--target", "y", "--debug")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_its_best_model(tmp_path, number):
    command = [
        sys.executable,
        "-m",
        "chainrule",
        "train",
        "digits",
        "--device",
        "cpu",
        "--epochs",
        "100000",
        "--run-dir",
        "out",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        metrics = tmp_path / "out" / METRICS
        while time.monotonic() < deadline and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.05)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert json.loads((tmp_path / "out" / RECORD).read_text())["status"] == "interrupted"
    assert cr.load(tmp_path / "out" / MODEL, device="cpu").n_out == 10
    assert "Traceback" not in err


def test_a_script_of_the_same_name_runs_the_same_command(tmp_path):
    script = Path(__file__).parents[3] / "scripts" / "train.py"
    command = [sys.executable, str(script), "--device", "cpu", "--epochs", "2", "--json", "--quiet", "--run-dir", "out"]
    command += ["--members", "1", "--hidden", "8"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)["epochs"] == 2


# ---- logs, metrics and a diagnosis ----------------------------------------------------------------


def test_log_json_tensorboard_and_further_metrics(run, flowers):
    found = run(
        "train",
        flowers,
        "--target",
        "kind",
        "--epochs",
        3,
        *QUICK,
        "--run-dir",
        "out",
        "--log-json",
        "log.jsonl",
        "--metrics",
        "roc_auc,balanced_accuracy",
        "--monitor",
        "valid_roc_auc",
        "--no-shrink",
    )
    assert found.code == 0, found.err
    lines = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", *3 * ["epoch"], "end"]
    best = max(lines[1:4], key=lambda line: line["valid_roc_auc"])
    assert found.json["valid"]["roc_auc"] == best["valid_roc_auc"]
    assert found.json["best_epoch"] == best["epoch"]
    assert "findings" not in found.json
    assert not Path("out", GRADIENT_NORMS).exists()


@pytest.mark.parametrize(
    "option", [("--metrics", "wrong"), ("--monitor", "wrong"), ("--ema", "7"), ("--patience", "3", "--valid", "0")]
)
def test_refused_options_leave_no_folder_and_no_run_undone(run, flowers, option):
    argv = ("train", flowers, "--target", "kind", *QUICK, "--run-dir", "out")
    found = run(*argv, *option)
    assert found.code == 2
    assert found.error
    assert not Path("out").exists()
    assert run(*argv).code == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    assert run(*argv, *option, "--overwrite").code == 2
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


def test_loss_option_changes_the_loss(run, houses):
    argv = ("train", houses, "--target", "price", *QUICK, "--epochs", 1, "--run-dir", "out", "--overwrite")
    argv += ("--valid", 0.2)
    levels = ("--loss", "quantile", "--loss-option", "levels=0.05,0.95", "--loss-option", "reduction=sum")
    assert {"coverage_0.05", "coverage_0.95"} < set(run(*argv, *levels).json["valid"])
    assert cr.load("out/model.safetensors").loss == cr.Quantile([0.05, 0.95], reduction="sum")
    assert run(*argv, "--loss", "huber", "--loss-option", "delta=2").code == 0
    assert cr.load("out/model.safetensors").loss == cr.Huber(2.0)
    for wrong, message in [
        ("gamma=2", "squared_error has no option 'gamma'"),
        ("reduction=half", "reduction: expected mean or sum, got 'half'"),
        ("delta", "expected NAME=VALUE, got 'delta'"),
    ]:
        found = run(*argv, "--loss", "squared_error", "--loss-option", wrong)
        assert (found.code, message in found.err + found.out) == (2, True)


def test_a_run_that_fails_on_its_way_is_written_down(run, flowers, monkeypatch):
    def fail(*_):
        raise cr.DataError("the disk of the rows was pulled out")

    monkeypatch.setattr("chainrule.train.fit.Fit._end_epoch", fail)
    assert run("train", flowers, "--target", "kind", *QUICK, "--run-dir", "out").code == 3
    record = json.loads(Path("out", RECORD).read_text())
    assert (record["status"], "pulled out" in record["error"]) == ("failed", True)


def test_with_valid_0_the_best_epoch_is_that_of_the_training_rows(run, flowers):
    argv = (
        "train",
        flowers,
        "--target",
        "kind",
        "--valid",
        "0",
        "--preset",
        "none",
        "--monitor",
        "loss",
        "--epochs",
        2,
    )
    found = run(*argv)
    assert "kept     epoch 2 of 2: lowest training loss " in found.err
    assert "\ntrain    loss " in found.err


def test_diagnose_reports_findings_and_draws_gradient_norms(run, flowers):
    arguments = (
        "train",
        flowers,
        "--target",
        "kind",
        "--device",
        "cpu",
        "--run-dir",
        "out",
        "--diagnose",
        "--overwrite",
    )
    healthy = run(*arguments, "--epochs", 8, "--hidden", 16)
    assert healthy.code == 0, healthy.err
    assert "finding  nothing wrong found" in healthy.err
    assert ET.parse(Path("out", GRADIENT_NORMS)).getroot().tag.endswith("svg")
    sick = run(*arguments, "--epochs", 8, "--hidden", 16, "--lr", 1e-8, "--json")
    assert "finding  learning rate: the loss hardly moved" in sick.err
    (text,) = sick.json["findings"]
    assert text.startswith("learning rate: the loss hardly moved")
    assert json.loads(Path("out", RECORD).read_text())["findings"] == [text]


def test_diagnose_of_a_run_that_diverges(run, houses):
    found = run(
        "train",
        houses,
        "--target",
        "price",
        "--optimizer",
        "sgd",
        "--lr",
        1e12,
        "--run-dir",
        "out",
        "--diagnose",
        "--device",
        "cpu",
    )
    assert found.code == 6
    assert "finding  learning rate: the loss left the finite numbers" in found.err


def test_tensorboard_that_is_not_installed(run, flowers, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    found = run("train", flowers, "--target", "kind", *QUICK, "--tensorboard", "events")
    assert found.code == 2
    assert "chainrule[tensorboard]" in found.err


def test_memory_that_runs_out_before_a_run_has_begun_leaves_no_record(run, monkeypatch):
    """A run.json without its config.toml could not be resumed."""

    def starved(folder: Folder, name: str, content: bytes) -> None:
        if name == CONFIG:
            raise MemoryError
        write_atomically(folder, name, content)

    write_atomically = Folder.write_atomically
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write_atomically", starved)
        found = run("train", "digits", "--epochs", 1, "--device", "cpu", "--quiet", "--run-dir", "out")
    assert found.code == 4
    assert found.error.startswith("cpu is out of memory")
    assert not Path("out").exists()


def test_a_run_that_ran_out_of_memory_is_resumed(run, monkeypatch):
    """It says "failed", keeps its last checkpoint, and resumes to the bytes of one that never stopped."""
    options = ["train", "digits", "--epochs", 3, "--hidden", 8, "--device", "cpu", "--checkpoint-every", 20, "--quiet"]
    assert run(*options, "--run-dir", "whole").code == 0
    calls = []

    def starved(*args: object, **measured: object) -> dict[str, float]:
        calls.append(None)
        if len(calls) == 2:
            np.empty(2**50)
        return metrics_of(*args, **measured)

    with monkeypatch.context() as patch:
        patch.setattr(epoch_metrics, "metrics_of", starved)
        found = run(*options, "--run-dir", "out")
    assert found.code == 4
    assert found.error.startswith("cpu is out of memory while training: 9,007,199,254,740,992 bytes more are needed")
    record = json.loads(Path("out/run.json").read_text())
    assert record["status"] == "failed"
    assert "out of memory" in record["error"]
    assert run("resume", "out", "--quiet").code == 0
    assert Path("out/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


def test_options_beyond_what_is_counted_are_usage_and_memory_errors(run, flowers):
    """Never a bug: a whole number may be larger than every float, and a width beyond every address."""
    start = "train", flowers, "--target", "kind", "--device", "cpu", "--quiet"
    for option, code, said in (
        ("--epochs", 2, "whole number from 1 to below 2^63"),
        ("--batch-size", 2, "whole number from 1 to below 2^63"),
        ("--hidden", 2, "whole numbers from 1 up"),
    ):
        found = run(*start, option, 10**400)
        assert found.code == code
        assert said in found.error
    assert run(*start, "--hidden", 2**62).code == 4
