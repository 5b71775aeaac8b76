"""predict, evaluate, show, explain, verify, and the frame around them."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.cli.commands import verify
from chainrule.cli.console import output
from chainrule.nn.layers.dense import DensePass
from chainrule.nn.losses.names import LOSSES
from chainrule.verify import checks
from chainrule.verify.checks import Outcome, run_checks


@pytest.fixture
def model(run, flowers):
    """A run directory with a net trained on the flowers."""
    found = run(
        "train", flowers, "--target", "kind", "--epochs", 30, "--device", "cpu", "--quiet", "--run-dir", "model"
    )
    assert found.code == 0, found.err
    return Path("model")


def test_predict_writes_names_and_probabilities(run, model, flowers):
    assert run("predict", model, flowers, "-o", "p.csv", "--device", "cpu").code == 0
    rows = list(csv.DictReader(Path("p.csv").read_text().splitlines()))
    true = [line.rsplit(",", 1)[1] for line in flowers.read_text().splitlines()[1:]]
    assert np.mean([row["kind"] == t for row, t in zip(rows, true, strict=True)]) > 0.95
    for row in rows:
        p = {name: float(row[f"p_{name}"]) for name in ("aster", "rose", "tulip")}
        assert max(p, key=p.__getitem__) == row["kind"]
        assert sum(p.values()) == pytest.approx(1, abs=1e-4)


def test_predict_needs_no_target_and_takes_columns_in_any_order(run, model, flowers):
    _, *lines = flowers.read_text().splitlines()
    swapped = ["width,kind,height", *(f"{c[1]},,{c[0]}" for c in (line.split(",") for line in lines))]
    Path("new.csv").write_text("\n".join(swapped) + "\n")
    plain = run("predict", model, flowers, "--device", "cpu")
    assert plain.code == 0
    assert run("predict", model, "new.csv", "--device", "cpu").out == plain.out
    written = run("predict", model, flowers, "-o", "p.npy", "--device", "cpu")
    assert written.code == 0
    assert "p.npy has positions of classes, from 0: 'aster', 'rose', 'tulip'" in written.err
    names = [("aster", "rose", "tulip")[i] for i in np.load("p.npy")]
    assert names == [row["kind"] for row in csv.DictReader(io.StringIO(plain.out))]
    Path("short.csv").write_text("height\n1\n")
    found = run("predict", model, "short.csv", "--device", "cpu")
    assert found.code == 3
    assert "width" in found.error


def test_predict_writes_parquet(run, model, flowers, houses):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert run("predict", model, flowers, "-o", "p.parquet", "--device", "cpu").code == 0
    table = parquet.read_table("p.parquet").to_pydict()
    rows = list(csv.DictReader(io.StringIO(run("predict", model, flowers, "--device", "cpu").out)))
    assert list(table) == list(rows[0])
    assert table["kind"] == [row["kind"] for row in rows]
    assert table["p_rose"] == pytest.approx([float(row["p_rose"]) for row in rows], rel=1e-5)
    assert run("train", houses, "--target", "price", "--epochs", 2, "--quiet", "--run-dir", "h").code == 0
    assert run("predict", "h", houses, "-o", "p.parquet", "--device", "cpu").code == 0
    rows = list(csv.DictReader(io.StringIO(run("predict", "h", houses, "--device", "cpu").out)))
    assert parquet.read_table("p.parquet").to_pydict() == {"price": [float(row["price"]) for row in rows]}


def test_predict_without_pyarrow_says_so_before_it_begins(run, model, flowers, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    found = run("predict", model, "missing.csv", "-o", "p.parquet")
    assert (found.code, "Parquet needs pyarrow" in found.error, "chainrule[tables]" in found.err) == (2, True, True)
    refused = run("predict", model, flowers, "-o", "p.xlsx")
    assert (refused.code, ".csv, .parquet, .npy" in refused.error) == (2, True)


def test_predict_in_the_units_of_the_target(run, houses):
    train = ("train", houses, "--target", "price", "--epochs", 60, "--device", "cpu", "--quiet", "--run-dir", "m")
    assert run(*train).code == 0
    rows = list(csv.DictReader(io.StringIO(run("predict", "m", houses, "--device", "cpu").out)))
    assert 200_000 < np.mean([float(row["price"]) for row in rows]) < 300_000
    found = run("evaluate", "m/model.safetensors", houses, "--device", "cpu", "--json").json
    assert found["r2"] > 0.9
    assert set(found) == {"ok", "rows", "device", "rmse", "mae", "r2"}


def test_show(run, model):
    for path in (model, model / "model.safetensors"):
        text = run("show", path).out
        for part in (
            "8 x (2 -> 96 -> 64 -> 3)",
            "height, width",
            "aster, rose, tulip",
            "SoftmaxCrossEntropy",
            "selu",
        ):
            assert part in text
    found = run("show", model, "--json").json
    assert found["run"]["status"] == "done"
    assert found["model"]["layers"] == [2, 96, 64, 3]


def test_the_probability_of_one_output_is_that_of_the_second_class(run, tmp_path, rng):
    x = rng.normal(size=80)
    for target, yes in [(np.where(x > 0, "dear", "cheap"), "dear"), ((x > 0).astype(int), "1")]:
        rows = "".join(f"{a!r},{b}\n" for a, b in zip(x.tolist(), target.tolist(), strict=True))
        (tmp_path / "t.csv").write_text("x,price\n" + rows)
        options = ("--target", "price", "--loss", "sigmoid_cross_entropy", "--epochs", 20, "--hidden", 8, "--lr", 0.1)
        assert run("train", tmp_path / "t.csv", *options, "--run-dir", tmp_path / "m", "--overwrite").code == 0
        found = list(csv.DictReader(run("predict", tmp_path / "m", tmp_path / "t.csv").out.splitlines()))
        assert {row["price"] for row in found if float(row[f"p_{yes}"]) > 0.5} == {yes}


def test_names_with_control_characters_do_not_reach_the_terminal(run, tmp_path):
    net = cr.MLP([1, 2])
    net.preparation = cr.Preparation(feature_names=("\x1b[31mred\x07",), classes=("a\nb", "c"))
    net.save(tmp_path / "m.safetensors")
    text = run("show", "m.safetensors").out
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\\x1b[31mred" in text


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a model", b"\xff" * 64])
def test_a_broken_model_file(run, content):
    Path("bad.safetensors").write_bytes(content)
    found = run("show", "bad.safetensors")
    assert found.code == 3
    assert "bad.safetensors" in found.error


def test_show_of_a_folder_that_is_no_run(run, tmp_path):
    found = run("show", tmp_path)
    assert found.code == 3
    assert "expected a run directory" in found.error


def test_explain(run):
    found = run("explain", "--layers", "100,200,10", "--loss", "squared_error", "--batch", 32)
    assert found.code == 0
    for part in ("dW1 = y0.T @ dz1", "dy0 = dz1 @ W1.T", "(200,32) @ (32,10) = (200,10)", "Rule of thumb"):
        assert part in " ".join(found.out.split())
    assert "WRONG" not in found.out
    lines = run("explain", "--layers", "4,3,2", "--loss", "softmax_cross_entropy", "--json").json["lines"]
    assert all(line["error"] <= 1e-12 for line in lines)
    gelu = run("explain", "--layers", "4,3,2", "--activation", "gelu")
    assert gelu.code == 0
    assert "y0 = z0 (1 + erf(z0 / sqrt(2))) / 2" in " ".join(gelu.out.split())
    assert run("explain", "--layers", "4").code == 2
    assert run("explain", "--batch", 0).code == 2
    assert run("explain", "--dropout", 1).code == 2


def test_explain_of_every_kind_of_layer(run, monkeypatch):
    options = [
        "--layers",
        "6,5,5,2",
        "--normalization",
        "batch",
        "--dropout",
        0.1,
        "--residual",
        "--loss",
        "gaussian_nll",
    ]
    found = run("explain", *options, "--batch", 8)
    assert found.code == 0
    starts = [line.split("=")[0].rstrip() for line in found.out.splitlines()]
    assert "    dense1       z1" in starts  # within the block, so indented
    assert "  residual0      y6" in starts
    for part in ("dy1 = m0 dy2 / (1 - 0.1)", "where running += 0.1 (batch - running)", "dy2 = dy6 + dz1 @ W1.T"):
        assert part in " ".join(found.out.split())

    def without_the_mean(self, dy, x, gain, mean, inverse_std, *, dx, dgain, dbias):
        right(self, dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
        dx += gain * inverse_std * dy.mean(axis=0)

    right = NumPyBackend.batch_norm_backward
    monkeypatch.setattr(NumPyBackend, "batch_norm_backward", without_the_mean)
    wrong = run("explain", *options, "--batch", 8)
    assert wrong.code != 0
    assert "the check disagrees with dz1, dW1, db1, dy2, " in wrong.error
    assert sum(line.endswith("WRONG") for line in wrong.out.splitlines()) >= 3


def test_verify_passes_on_the_cpu(run, monkeypatch):
    outcomes = []
    monkeypatch.setattr(verify, "run_checks", lambda backend: outcomes or kept(run_checks(backend), outcomes))
    found = run("verify", "--device", "cpu")
    assert found.code == 0, found.out
    assert found.out.splitlines()[-1].endswith("ok, 0 failed")
    assert run("verify", "--device", "cpu", "--json").json["ok"] is True  # of the outcomes before


def kept(found: Iterator[Outcome], outcomes: list[Outcome]) -> Iterator[Outcome]:
    for outcome in found:
        outcomes.append(outcome)
        yield outcome


@pytest.mark.gpu
def test_verify_passes_on_cuda(run):
    found = run("verify", "--device", "cuda")
    assert found.code == 0, found.out


def wrong_weight_gradient(self: DensePass) -> None:
    self.backend.matmul(self.x.swapaxes(-1, -2), self.dz, out=self.dW)
    if self.name == "dense1":
        self.dW *= 1.0001


@pytest.mark.parametrize("kind", ["weights", "mask", "loss"])
def test_verify_fails_on_a_wrong_gradient_and_names_the_parameter(run, monkeypatch, kind):
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")  # the kernels that are spoilt are NumPy's
    monkeypatch.setattr(checks, "LOSSES", {name: LOSSES[name] for name in ("softmax_cross_entropy", "squared_error")})
    if kind == "weights":
        monkeypatch.setattr(DensePass, "weight_gradient", wrong_weight_gradient)
    elif kind == "mask":
        right = NumPyBackend.activation_backward

        def no_mask(self, activation, saved, dy, *, dz, db):
            right(self, "identity" if activation == "relu" else activation, saved, dy, dz=dz, db=db)

        monkeypatch.setattr(NumPyBackend, "activation_backward", no_mask)
    else:
        right_loss = NumPyBackend.softmax_cross_entropy

        def doubled(self, batch, **options):
            right_loss(self, batch, **options)
            np.multiply(batch.dlogits, 2, out=batch.dlogits)

        monkeypatch.setattr(NumPyBackend, "softmax_cross_entropy", doubled)
    found = run("verify", "--device", "cpu")
    assert found.code == 1
    failed = [line for line in found.out.splitlines() if line.startswith("FAILED")]
    expected = {"weights": "dense1.W", "mask": "dense0.W", "loss": "dense0.W"}[kind]
    assert any(expected in line for line in failed), failed


def test_help_version_and_no_command(run, capsys):
    assert run().code == 0
    for argv in (["--help"], ["--version"], ["train", "--help"]):
        with pytest.raises(SystemExit) as caught:
            run(*argv)
        assert caught.value.code == 0
    assert "chainrule 0." in capsys.readouterr().out
    assert run("fly").code == 2


def test_a_reader_that_leaves_early_is_no_error():
    explain = f"{sys.executable} -m chainrule explain --layers {','.join(['3'] * 160)}"
    command = ["bash", "-c", f"{explain} | head -n 1; exit ${{PIPESTATUS[0]}}"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr
    assert "BrokenPipe" not in found.stderr


def test_a_full_disk_is_exit_code_5(run, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device", "out/model.safetensors")

    monkeypatch.setattr(os, "fsync", full)
    found = run("train", "digits", "--epochs", 1, "--device", "cpu", "--quiet", "--run-dir", "out")
    assert found.code == 5
    assert "No space left on device" in found.error
    assert not list(Path("out").glob(".*.tmp")), "a temporary was left behind"


def test_predict_of_quantile_and_gaussian_nll_has_columns_of_their_own(run, tmp_path):
    """From training to a table of predictions and its score, for losses with several outputs a target."""
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 1, 80)
    rows = "".join(f"{a},{b}\n" for a, b in zip(x, 20 + x + rng.normal(size=80), strict=True))
    (tmp_path / "t.csv").write_text("x,y\n" + rows)
    for loss, header, scores in (
        ("quantile", "y_q0.1,y_q0.5,y_q0.9", {"pinball_0.5", "coverage_0.9"}),
        ("gaussian_nll", "y,y_sd", {"nll", "coverage_0.9"}),
        ("gamma", "y", {"deviance"}),
    ):
        options = ("--target", "y", "--loss", loss, "--epochs", 3, "--run-dir", tmp_path / loss)
        done = run("train", tmp_path / "t.csv", *options)
        assert done.code == 0, done.err
        lines = run("predict", tmp_path / loss, tmp_path / "t.csv").out.splitlines()
        assert lines[0] == header
        assert len(lines) == 81
        first = [float(line.split(",")[0]) for line in lines[1:]]
        assert all(10 < value < 40 for value in first) or (loss == "gamma" and min(first) > 0), "not in its own units"
        assert scores <= set(run("evaluate", tmp_path / loss, tmp_path / "t.csv", "--json").json)


def test_class_weight_balanced_from_the_command_line(run, tmp_path):
    done = run("train", "digits", "--class-weight", "balanced", "--epochs", 1, "--run-dir", tmp_path / "r", "--json")
    assert done.json["left_out"]["accuracy"] > 0.5
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i},{i / 7}\n" for i in range(20)))
    refused = run(
        "train", tmp_path / "t.csv", "--target", "y", "--class-weight", "balanced", "--run-dir", tmp_path / "s"
    )
    assert refused.code == 2
    assert "class_weight: expected a loss of classes, got squared_error" in refused.err


@pytest.mark.parametrize("link", [None, os.symlink, os.link], ids=["itself", "link", "hard link"])
@pytest.mark.parametrize("written", ["data", "valid", "config", "predict", "export"])
def test_a_file_that_a_command_reads_is_not_written_to(run, tmp_path, written, link):
    """A log or predictions in the place of the table would be the end of it."""
    read = tmp_path / "t.csv"
    read.write_text("a,y\n" + "".join(f"{i},{i % 7}.5\n" for i in range(40)))
    train = (
        "train",
        "t.csv",
        "--target",
        "y",
        "--epochs",
        2,
        "--hidden",
        2,
        "--quiet",
        "--run-dir",
        "r",
        "--overwrite",
    )
    argv: tuple[object, ...] = (*train, "--log-json")
    if written == "valid":
        (tmp_path / "v.csv").write_text(read.read_text())
        argv, read = (*train, "--valid", "v.csv", "--log-json"), tmp_path / "v.csv"
    if written == "config":
        read = tmp_path / "c.toml"
        read.write_text("lr = 0.1\n")
        argv = (*train, "--config", "c.toml", "--log-json")
    if written in {"predict", "export"}:
        assert run(*train).code == 0
        read = tmp_path / "r/model.safetensors" if written == "export" else read
        argv = ("export", "r", "--onnx") if written == "export" else ("predict", "r", "t.csv", "-o")
    before, named = read.read_bytes(), read
    if link is not None:
        named = tmp_path / "other.csv"
        link(read, named)
    found = run(*argv, named)
    assert (found.code, found.error.startswith(f"{named} is read by this command")) == (2, True)
    assert read.read_bytes() == before


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    "name", [b"new\nline", b"-r a\xff7", b"r'q\"$x`\\", b"plain", "\x1b[31m\u202ef\u00fc".encode(), b"\x017"]
)
def test_a_suggested_command_is_quoted_for_a_shell(name):
    said = output.command("resume", Path(os.fsdecode(name)))
    assert said.isprintable()
    shell = ["bash", "-c", f'chainrule() {{ printf %s "$2"; }}; {said}']
    got = subprocess.run(shell, capture_output=True, check=True).stdout
    assert got == (b"./" if name.startswith(b"-") else b"") + name


def test_predict_columns_have_names_of_their_own(run):
    """A target called p_a and the probability of class a."""
    Path("t.csv").write_text("x,p_a\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(40)))
    assert run("train", "t.csv", "--target", "p_a", "--epochs", 1, "--device", "cpu", "--run-dir", "m").code == 0
    assert run("predict", "m", "t.csv", "--device", "cpu").out.splitlines()[0] == "p_a,p_a_,p_b"


@pytest.mark.parametrize(
    ("argv", "help_of"),
    [
        (("predict", "model", "rows.csv", "--threads", 2), "chainrule predict --help"),
        (("evaluate", "model", "rows.csv", "--jsn"), "did you mean --json? All options: chainrule evaluate --help"),
        (("train", "digits", "--epochz=3"), "did you mean --epochs? All options: chainrule train --help"),
        (("train", "-epochs", "3"), "did you mean --epochs? All options: chainrule train --help"),
        (("cv", "digits", "--learning_rate", "0.1"), "did you mean --lr? All options: chainrule cv --help"),
        (("export", "model", "--onxx", "f"), "did you mean --onnx? All options: chainrule export --help"),
        (("train", "digits", "--plot", "f.svg"), "chainrule train --help"),
        (("train", "digits", "price"), "chainrule train --help"),
        (("--jsn",), "chainrule --help"),
        (("fit", "digits"), "did you mean 'train'?"),
        (("Train", "digits"), "did you mean 'train'?"),
        (("help", "cross-validate"), "did you mean 'cv'?"),
        (("train", "digits", "--activation", "ReLU"), "did you mean 'relu'?"),
        (("train", "digits", "--optimizer", "AdamW"), "did you mean 'adamw'?"),
        (("train", "digits", "--task", "Regression"), "did you mean 'regress'?"),
        (("train", "digits", "--loss", "rmse"), "did you mean 'squared_error'?"),
        (("train", "digits", "--loss", "CrossEntropy"), "did you mean 'softmax_cross_entropy'?"),
        (("train", "digits", "--device", "GPU"), "did you mean 'cuda'?"),
        (("train", "digits", "--metrics", "auc", "--preset", "none"), "did you mean 'roc_auc'?"),
        (("train", "digits", "--preset", "none", "--loss-option", "smoothing=0.1"), "did you mean 'label_smoothing'?"),
    ],
)
def test_the_hint_for_a_mistyped_word_is_what_is_meant_or_the_help_of_its_command(run, argv, help_of):
    found = run(*argv)
    assert found.code == 2
    assert f"hint: {help_of}\n" in found.err
    assert list(Path().iterdir()) == []
