"""Labels through the commands: names of classes, large numbers, words for holes, rare classes."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

pd = pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

QUICK = ["--epochs", 80, "--hidden", 8, "--lr", 0.02, "--no-shrink", "--device", "cpu", "--quiet"]


def table(labels, n: int = 90):
    """A column of text that says the label, and one of noise."""
    k = np.arange(n) % len(labels)
    return pd.DataFrame(
        {
            "says": pd.Series([["NA", "ZA", "1", "1.0"][i] for i in k], dtype=object),
            "noise": np.random.default_rng(0).normal(size=n),
            "label": pd.Series([labels[i] for i in k]),
        }
    )


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["1", "1.0", "2"], ["1", "1.0", "2"]),
        (["NA", "ZA"], ["NA", "ZA"]),
        ([True, False], ["False", "True"]),
        ([3.0, 4.0], ["3", "4"]),
        ([2**60, 2**60 + 1], [str(2**60), str(2**60 + 1)]),
        ([2**64 - 1, 2**64 - 2], [str(2**64 - 2), str(2**64 - 1)]),
    ],
    ids=str,
)
@pytest.mark.parametrize("valid", ["0.2", "t.csv"])
def test_labels_keep_their_names(run, labels, names, valid):
    """From Parquet; evaluated and predicted from CSV too, which has no types."""
    frame = table(labels)
    frame.to_parquet("t.parquet")
    frame.to_csv("t.csv", index=False)
    assert (
        run(
            "train", "t.parquet", "--target", "label", "--task", "classify", "--valid", valid, "--run-dir", "r", *QUICK
        ).code
        == 0
    )
    net = cr.load("r/model.safetensors", device="cpu")
    assert list(net.preparation.classes) == names
    for path in ("t.parquet", "t.csv"):
        found = run("evaluate", "r", path, "--json").json
        assert found["classes"] == names
        assert found["accuracy"] == 1, "its column says it, NA too"
        said = run("predict", "r", path).out.splitlines()
        assert {line.split(",")[0] for line in said[1:]} == set(names)


@pytest.fixture
def trained_on(monkeypatch):
    """The targets of each fit."""
    found, fit = [], cr.Trainer.fit
    monkeypatch.setattr(cr.Trainer, "fit", lambda *args, **options: found.append(args[2]) or fit(*args, **options))
    return found


@pytest.mark.parametrize("form", ["parquet", "csv", "npz"])
def test_valid_keeps_a_class_of_one_row_for_training(run, form, trained_on):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.r_[np.zeros(30, int), np.ones(29, int), 2]
    for seed in range(6):
        if form == "npz":
            np.savez("t.npz", X=X, y=y)
        else:
            frame = pd.DataFrame(X, columns=["a", "b"]).assign(y=y)
            frame.to_csv("t.csv", index=False) if form == "csv" else frame.to_parquet("t.parquet")
        done = run(
            "train",
            f"t.{form}",
            "--target",
            "y",
            "--seed",
            seed,
            "--run-dir",
            f"r{seed}",
            "--epochs",
            1,
            "--json",
            "--valid",
            0.2,
        )
        assert done.code == 0
        assert np.bincount(trained_on[-1]).tolist() in ([24, 23, 1], [23, 24, 1])


def test_group_that_takes_a_class_away_is_noted(run):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=40), "day": range(40), "y": ["u", "v"] * 19 + ["w", "w"]})
    frame.to_csv("t.csv", index=False)
    done = run("train", "t.csv", "--target", "y", "--time", "day", "--valid", 0.1, "--run-dir", "r", "--epochs", 1)
    assert done.code == 0
    assert "no training row of 'w'" in done.err


def test_one_row_of_each_class_cannot_be_held_out(run):
    pd.DataFrame({"a": [1.0, 2, 3], "y": ["u", "v", "w"]}).to_csv("t.csv", index=False)
    done = run("train", "t.csv", "--target", "y", "--run-dir", "r", "--valid", 0.2)
    assert done.code == 3
    assert "expected a class of at least two rows" in done.error
    assert run("train", "t.csv", "--target", "y", "--run-dir", "r", "--epochs", 1).code == 0


def test_cross_validation_keeps_rare_classes_among_the_inner_rows(run, trained_on):
    rng = np.random.default_rng(0)
    pd.DataFrame({"a": rng.normal(size=50), "y": ["u", "v"] * 24 + ["w", "w"]}).to_csv("t.csv", index=False)
    assert run("cv", "t.csv", "--target", "y", "--folds", 2, "--epochs", 1, "--valid", 0.9, "--quiet").code == 0
    assert [len(np.unique(y)) for y in trained_on] == [3, 3]
