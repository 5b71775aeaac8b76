"""When checkpoints are written, and that a diverging run keeps its last good one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.train.checkpoints.fits import make_net, trainer, weights
from tests.train.conftest import make_task

import chainrule as cr
from chainrule.errors import OptionError
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.writer import LAST, CheckpointWriter
from stopping import StopAfter


def test_checkpoints_by_steps(classes, tmp_path, monkeypatch):
    written: list[tuple[int, int]] = []
    monkeypatch.setattr(
        CheckpointWriter, "write", lambda _, checkpoint, best: written.append((checkpoint.epochs, checkpoint.batches))
    )
    monkeypatch.setattr("chainrule.train.checkpoints.writer.FIRST_COST", 1e9)  # no epoch is long enough
    trainer(make_net(classes), epochs=2, checkpoints=cr.Checkpoints(tmp_path, steps=4)).fit(classes.X, classes.y)
    assert written == [(0, 4), (1, 2), (2, 0)]
    written.clear()
    trainer(make_net(classes), epochs=2, checkpoints=cr.Checkpoints(tmp_path, steps=3)).fit(classes.X, classes.y)
    assert written == [(0, 3), (1, 0), (1, 3), (2, 0)]


def test_checkpoints_by_seconds(classes, tmp_path, monkeypatch):
    written: list[tuple[int, int]] = []
    monkeypatch.setattr(
        CheckpointWriter, "write", lambda _, checkpoint, best: written.append((checkpoint.epochs, checkpoint.batches))
    )
    clock = iter(range(1000))
    # Not in the module `time` itself, which other threads ask too.
    monkeypatch.setattr("chainrule.train.checkpoints.writer.time", SimpleNamespace(monotonic=lambda: next(clock)))
    net = make_net(classes)
    checkpoints = cr.Checkpoints(tmp_path, seconds=3)
    trainer(net, batch_size=1, epochs=1, checkpoints=checkpoints, callbacks=[StopAfter(1000)]).fit(classes.X, classes.y)
    assert written, "one synchronisation per step, one second each"
    assert written[0] == (0, 3)


def test_a_checkpoint_at_the_end_of_an_epoch_may_cost_one_percent(tmp_path, monkeypatch):
    """The first is assumed to cost 10 ms, so it is due after a second; one that took 2 s is next due after 200."""
    now = [0.0]
    monkeypatch.setattr("chainrule.train.checkpoints.writer.time", SimpleNamespace(monotonic=lambda: now[0]))
    writer = CheckpointWriter(cr.Checkpoints(tmp_path, seconds=1e6))
    for cost, due in ((0.01, 1.0), (2.0, 200.0)):
        start = now[0]
        now[0] = start + 0.9 * due
        assert not writer.is_due_at_epoch_end(7), cost
        now[0] = start + 1.1 * due
        assert writer.is_due_at_epoch_end(7), cost
        monkeypatch.setattr(Checkpoint, "write", lambda *_: now.__setitem__(0, now[0] + 2.0))
        writer.write(object.__new__(Checkpoint), None)


def test_no_checkpoint_is_written_by_default(classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer(make_net(classes)).fit(classes.X, classes.y)
    assert not list(tmp_path.iterdir())


def test_the_best_epoch_so_far_is_saved_as_a_model(classes, tmp_path):
    net = make_net(classes)
    trainer(net, checkpoints=tmp_path).fit(classes.X, classes.y, validation=classes.valid)
    assert weights(cr.load(tmp_path / "best.safetensors")) == weights(net)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.safetensors", "last.safetensors"]


def test_the_saved_model_follows_the_best_epoch(classes, tmp_path):
    """A checkpoint per epoch: the file is written again when a later epoch is better."""
    net = make_net(classes)
    run = trainer(net, checkpoints=cr.Checkpoints(tmp_path, steps=6)).fit(
        classes.X, classes.y, validation=classes.valid
    )
    assert run.best_epoch > 1
    assert weights(cr.load(tmp_path / "best.safetensors")) == weights(net)


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(regression, tmp_path):
    options = {"optimizer": cr.SGD(lr=3.0), "epochs": 100, "divergence_factor": None}
    net = make_net(regression)
    with pytest.raises(cr.DivergenceError) as caught:
        trainer(net, checkpoints=cr.Checkpoints(tmp_path, steps=2), **options).fit(regression.X, regression.y)
    assert caught.value.checkpoint == tmp_path / LAST
    kept = Checkpoint.read(tmp_path / LAST)
    assert 0 < kept.steps <= caught.value.step
    assert all(np.isfinite(array).all() for array in kept.arena("parameters").values())


def test_a_checkpoint_notices_divergence_within_an_epoch(regression, tmp_path):
    X, y = np.tile(regression.X, (20, 1)), np.tile(regression.y, (20, 1))
    steps: list[int] = []

    class Count(cr.Callback):
        every = 1

        def on_step_end(self, record: Any) -> None:
            steps.append(record.step)

    options = {"optimizer": cr.SGD(lr=30.0), "epochs": 1, "checkpoints": cr.Checkpoints(tmp_path, steps=5)}
    with pytest.raises(cr.DivergenceError) as caught:
        trainer(make_net(regression), callbacks=[Count()], **options).fit(X, y)
    assert caught.value.step <= len(steps) <= caught.value.step + 5


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 2.5}, {"seconds": 0}, {"seconds": float("inf")}], ids=str)
def test_wrong_intervals_of_checkpoints_are_refused(tmp_path, options):
    with pytest.raises(OptionError):
        cr.Checkpoints(tmp_path, **options)


def test_lbfgs_has_no_checkpoints(tmp_path):
    pytest.importorskip("scipy")
    with pytest.raises(OptionError, match="LBFGS"):
        cr.Trainer(make_net(make_task("squared_error")), cr.LBFGS(), checkpoints=tmp_path)
