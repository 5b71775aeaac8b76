"""Logs of a fit, read back: lines of strict JSON, and event files if tensorboard is installed."""

from __future__ import annotations

import json
import math
import os
import socket
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.json_values import json_line


def strict(text: str) -> list[dict]:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def fit(task, *callbacks, **options):
    net = cr.MLP(task.widths, loss=task.loss, seed=2)
    options = {"batch_size": 10, "epochs": 3, "callbacks": callbacks} | options
    return cr.Trainer(net, cr.Adam(lr=cr.Cosine(0.01)), **options).fit(task.X, task.y, validation=task.valid)


def test_the_json_lines_of_a_fit(classes, tmp_path):
    path = tmp_path / "log.jsonl"
    run = fit(classes, cr.JSONLinesLogger(path, every=3))
    start, *lines, end = strict(path.read_text())
    assert start["event"] == "start"
    assert start["optimizer"]["name"] == "Adam"
    assert start["optimizer"]["lr"] == {"name": "Cosine", "lr": 0.01, "warmup": 0.0, "final": 0.0}
    assert start["net"]["layers"][0] == {"name": "Dense", "n_out": 8, "activation": "relu"}
    assert start["data"] == {"rows": 40, "valid_rows": 20, "features": 5, "outputs": 3}
    assert start["device"]["device"] == "cpu"
    assert start["versions"]["numpy"] == np.__version__
    assert [(line["event"], line.get("step")) for line in lines] == [
        ("step", 3),
        ("epoch", None),
        ("step", 6),
        ("epoch", None),
        ("step", 9),
        ("step", 12),
        ("epoch", None),
    ]
    epochs = [line for line in lines if line["event"] == "epoch"]
    for name, values in run.history.items():
        assert [line[name] for line in epochs] == values
    assert end == {
        "event": "end",
        "stopped": "completed",
        "epochs": 3,
        "best_epoch": run.best_epoch,
        "steps": 12,
        "seconds": run.seconds,
    }


def test_each_json_line_is_flushed_at_once(classes, tmp_path):
    path, seen = tmp_path / "log.jsonl", []
    fit(classes, cr.JSONLinesLogger(path), lambda _: seen.append(len(strict(path.read_text()))))
    assert seen == [2, 3, 4]


def test_a_fit_that_fails_is_logged_and_the_next_appends(classes, tmp_path):
    logger = cr.JSONLinesLogger(tmp_path / "log.jsonl")

    def fail(record):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(classes, logger, fail)
    fit(classes, logger, epochs=1)
    lines = strict((tmp_path / "log.jsonl").read_text())
    assert [line["event"] for line in lines] == ["start", "epoch", "end", "start", "epoch", "end"]
    assert [line["stopped"] for line in lines if line["event"] == "end"] == ["failed", "completed"]


def test_a_log_that_cannot_be_written_is_refused_before_the_first_step(classes, tmp_path):
    epochs = []
    with pytest.raises(FileNotFoundError):
        fit(classes, cr.JSONLinesLogger(tmp_path / "nowhere" / "log.jsonl"), epochs.append)
    assert not epochs


def test_nan_and_infinity_in_json_lines():
    values = {"a": math.nan, "b": [math.inf, -math.inf], "c": np.float32(0.5), "d": None, "e": len, "f": True}
    (line,) = strict(json_line(values))
    assert line == {"a": "nan", "b": ["inf", "-inf"], "c": 0.5, "d": None, "e": repr(len), "f": True}
    assert math.isnan(float(line["a"]))


# ---- tensorboard ----------------------------------------------------------------------------------


def test_tensorboard_that_is_not_installed_has_a_hint(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(cr.OptionError, match=r"pip install 'chainrule\[tensorboard\]'"):
        cr.TensorBoardLogger(tmp_path)


def test_tensorboard_event_files_read_back(classes, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    run = fit(classes, cr.TensorBoardLogger(tmp_path, every=5))
    events = EventAccumulator(str(tmp_path))
    events.Reload()

    def scalars(tag):
        return [(e.step, make_ndarray(e.tensor_proto).item()) for e in events.Tensors(tag)]

    names = {"loss/train": "loss", "loss/valid": "valid_loss", "accuracy/valid": "valid_accuracy", "lr": "lr"}
    for tag, name in names.items():
        np.testing.assert_allclose(scalars(tag), list(enumerate(run.history[name], start=1)), rtol=1e-6)
    assert [step for step, _ in scalars("step/loss")] == [5, 10]
    assert set(events.Tags()["tensors"]) == {*names, "accuracy/train", "step/loss", "step/lr"}


# ---- where a log is written -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["a named pipe", "a socket"])
def test_a_log_into_a_pipe_without_a_reader_is_refused_at_once(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    if kind == "a named pipe":
        os.mkfifo("log")
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("log")
    net = cr.MLP([2, 1], loss="squared_error")
    with pytest.raises(cr.OptionError, match=f"log: expected a file, got {kind} without a reader"):
        cr.Trainer(net, epochs=1, callbacks=[cr.JSONLinesLogger("log")]).fit(np.ones((4, 2)), np.ones((4, 1)))


def test_a_log_into_a_pipe_with_a_reader(tmp_path):
    """`--log-json >(jq ...)`: the reader may be slower than the fit."""
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    net = cr.MLP([2, 1], loss="squared_error")
    logger = cr.JSONLinesLogger(tmp_path / "log")
    cr.Trainer(net, epochs=2, callbacks=[logger]).fit(np.ones((4, 2)), np.ones((4, 1)))
    events = [json.loads(line)["event"] for line in os.read(reader, 1 << 16).splitlines()]
    os.close(reader)
    assert events == ["start", "epoch", "epoch", "end"]
