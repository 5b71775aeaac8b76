"""The progress line: on a terminal only, and never a reason to fail."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.records.progress import describe

LINES = [
    ({"loss": 0.0211111}, "train 0.02111"),
    ({"loss": 0.5, "accuracy": 0.25}, "train 0.5  accuracy 0.25"),
    ({"loss": 1.0, "accuracy": 0.9, "valid_loss": 2.0, "valid_accuracy": 0.8}, "train 1  valid 2  accuracy 0.8"),
    ({"loss": 1.0, "r2": 0.9, "valid_loss": 2.0, "valid_r2": -3.0}, "train 1  valid 2  r2 -3"),
    ({"loss": 1.0, "d2": 0.9, "valid_loss": 2.0, "valid_d2": 0.8, "valid_mae": 3.0}, "train 1  valid 2  d2 0.8  mae 3"),
    ({"loss": 1.0, "valid_loss": 2.0, "valid_accuracy": 0.8}, "train 1  valid 2"),
    ({"loss": 0.5, "r2": 0.9, "left_out_loss": 0.75}, "train 0.5  r2 0.9  left out 0.75"),
    ({}, ""),
]


@pytest.mark.parametrize(("metrics", "line"), LINES)
def test_describe_metrics_of_an_epoch(metrics, line):
    assert describe(metrics | {"lr": 0.1, "seconds": 3.0}) == line


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("batch_size", [1, 40])
@pytest.mark.parametrize(
    ("progress", "terminal", "shows"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_progress_is_shown_on_a_terminal(monkeypatch, classes, progress, terminal, shows, batch_size):
    """With batches of one row an epoch has several synchronisations, and parts of epochs are shown too."""
    stream = Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    rows = {"X": np.tile(classes.X, (3, 1)), "y": np.tile(classes.y, 3)}
    cr.Trainer(cr.MLP(classes.widths), batch_size=batch_size, epochs=2, progress=progress).fit(**rows)
    assert ("epoch" in stream.getvalue()) == shows


def test_progress_restores_the_terminal_if_a_fit_fails(monkeypatch, classes):
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")

    def fail(_: cr.EpochRecord) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        cr.Trainer(cr.MLP(classes.widths), progress=True, callbacks=[fail]).fit(classes.X, classes.y)
    assert stream.getvalue().rfind("\x1b[?25h") > stream.getvalue().rfind("\x1b[?25l"), "the cursor is still hidden"


def test_progress_on_a_terminal_that_rich_cannot_draw_on(monkeypatch):
    from rich.console import Console

    def refuse(*_: object, **__: object) -> None:
        raise UnicodeEncodeError("ascii", "━", 0, 1, "ordinal not in range(128)")

    monkeypatch.setattr(sys, "stderr", Stream(terminal=True))
    monkeypatch.setattr(Console, "print", refuse)
    net = cr.MLP([2, 3, 2], backend=cr.backend("cpu"))
    run = cr.Trainer(net, epochs=3, progress=True).fit(np.eye(2), np.arange(2))
    assert run.history.epochs == 3
