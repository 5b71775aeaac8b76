"""A fit that was stopped anywhere resumes from its checkpoint to the bits of a fit that never stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.checkpoints.fits import make_net, trainer, weights, without_time

import chainrule as cr
from chainrule.arena import Arena
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.writer import LAST
from chainrule.train.fit import Fit
from chainrule.train.fit_state import FitState
from stopping import StopAfter

# What a fit may have that a checkpoint must hold: 40 rows, so 6 batches per epoch with a ragged last one.
FEATURES: dict[str, dict[str, Any]] = {
    "adam": {},
    "momentum": {"optimizer": cr.SGD(lr=0.05, momentum=0.9, nesterov=True)},
    "weight EMA": {"ema": 0.9},
    "accumulation": {"accumulate": 4},
    "plateau": {"optimizer": cr.Adam(cr.Plateau(0.05, patience=1, factor=0.5, min_delta=0.05))},
    "one cycle": {"optimizer": cr.AdamW(cr.OneCycle(0.05), clip_norm=1.0)},
    "early stopping": {"early_stopping": cr.EarlyStopping(patience=2, min_delta=0.02)},
    "streamed": {"stream": True},
    "one batch per epoch": {"batch_size": 40},
    "no shuffle, ragged batch dropped": {"shuffle": False, "drop_last": True},
    "penalty": {"l2": 0.1},
}
LAYERS: dict[str, Any] = {"dropout": 0.3, "normalization": "batch"}


def stopped_and_resumed(task: Any, at: int, folder: Path, make: Any, **options: Any) -> tuple[cr.Network, cr.Run]:
    """A fit that is stopped after ``at`` batches, and another net that resumes from there."""
    fit = {"validation": task.valid}
    stopped = trainer(make(), callbacks=[StopAfter(at)], checkpoints=folder, **options).fit(task.X, task.y, **fit)
    assert stopped.stopped == "callback"
    net = make()
    cr.Trainer(net, epochs=1).fit(task.X, task.y)  # its weights do not matter
    return net, trainer(net, **options).fit(task.X, task.y, resume=folder, **fit)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_resumed_fit_is_one_that_never_stopped(classes, feature, tmp_path):
    options = FEATURES[feature]
    whole = make_net(classes, **LAYERS)
    run = trainer(whole, **options).fit(classes.X, classes.y, validation=classes.valid)
    batches = -(-40 // options.get("batch_size", 7)) - bool(options.get("drop_last"))
    last = run.history.epochs * batches
    for at in sorted({1, batches - 1, batches, batches + 2, 2 * batches, last - 1} & set(range(1, last))):
        net, resumed = stopped_and_resumed(
            classes, at, tmp_path / str(at), lambda: make_net(classes, **LAYERS), **options
        )
        assert weights(net) == weights(whole), f"stopped after {at} batches"
        assert without_time(resumed.history) == without_time(run.history)
        assert (resumed.steps, resumed.best_epoch, resumed.stopped) == (run.steps, run.best_epoch, run.stopped)


def test_a_fit_resumes_on_every_backend(task, backend, tmp_path):
    whole = make_net(task, backend)
    trainer(whole, ema=0.8, accumulate=2).fit(task.X, task.y, validation=task.valid)
    net, _ = stopped_and_resumed(task, 9, tmp_path, lambda: make_net(task, backend), ema=0.8, accumulate=2)
    assert weights(net) == weights(whole)


def test_a_fit_resumes_without_validation_and_with_a_validation_fraction(regression, tmp_path):
    for name, validation in (("none", None), ("a fraction", 0.25)):
        nets = [make_net(regression) for _ in range(3)]
        fit = {"validation": validation, "sample_weight": np.linspace(0, 2, 40)}
        trainer(nets[0]).fit(regression.X, regression.y, **fit)
        folder = tmp_path / name
        trainer(nets[1], callbacks=[StopAfter(8)], checkpoints=folder).fit(regression.X, regression.y, **fit)
        trainer(nets[2]).fit(regression.X, regression.y, resume=folder / LAST, **fit)
        assert weights(nets[2]) == weights(nets[0])


def test_a_streamed_fit_resumes_in_blocks_of_a_few_batches(classes, tmp_path, monkeypatch):
    """A fit may resume in the middle of a block of rows, and in either half of the ring."""
    from chainrule.train.feeding import streaming

    monkeypatch.setattr(streaming, "BLOCK_BYTES", 15 * 24)  # two batches
    whole = make_net(classes)
    trainer(whole, stream=True).fit(classes.X, classes.y)
    for at in (1, 2, 3, 4, 5, 6, 9):
        net, folder = make_net(classes), tmp_path / str(at)
        stopping = trainer(make_net(classes), stream=True, callbacks=[StopAfter(at)], checkpoints=folder)
        stopping.fit(classes.X, classes.y)
        trainer(net, stream=True).fit(classes.X, classes.y, resume=folder)
        assert weights(net) == weights(whole), f"stopped after {at} batches"


def test_a_diagnosis_resumes_too(classes, tmp_path):
    fit = {"validation": classes.valid, "diagnose": True}
    whole = trainer(make_net(classes)).fit(classes.X, classes.y, **fit)
    for at in (5, 6, 8):
        folder = tmp_path / str(at)
        trainer(make_net(classes), callbacks=[StopAfter(at)], checkpoints=folder).fit(classes.X, classes.y, **fit)
        run = trainer(make_net(classes)).fit(classes.X, classes.y, resume=folder, **fit)
        assert run.diagnosis is not None
        assert whole.diagnosis is not None
        assert run.diagnosis.measurements == whole.diagnosis.measurements


def test_resuming_a_completed_fit_changes_nothing(classes, tmp_path):
    net = make_net(classes)
    run = trainer(net, checkpoints=tmp_path).fit(classes.X, classes.y, validation=classes.valid)
    other = make_net(classes)
    again = trainer(other).fit(classes.X, classes.y, validation=classes.valid, resume=tmp_path)
    assert weights(other) == weights(net)
    assert (again.stopped, again.steps, again.best_epoch) == ("completed", run.steps, run.best_epoch)
    assert dict(again.history) == dict(run.history)


def test_an_interrupted_fit_resumes(classes, tmp_path):
    """``stop`` from a signal handler, at any batch."""
    whole = make_net(classes)
    trainer(whole).fit(classes.X, classes.y, validation=classes.valid)
    for at in (1, 6, 7, 12, 23):
        folder, net = tmp_path / str(at), make_net(classes)
        fitting = trainer(make_net(classes), checkpoints=folder)

        class Signal(cr.Callback):
            every = 1

            def on_step_end(self, record: Any, at: int = at, stop: Any = fitting.stop) -> None:
                if record.step == at:
                    stop()

        fitting.callbacks = (Signal(),)
        assert fitting.fit(classes.X, classes.y, validation=classes.valid).stopped == "interrupted"
        trainer(net).fit(classes.X, classes.y, validation=classes.valid, resume=folder)
        assert weights(net) == weights(whole), f"interrupted after {at} batches"


def test_a_checkpoint_after_the_last_batch_of_an_epoch_counts_its_smaller_group(classes, tmp_path):
    """With accumulate=4 the 6 batches of an epoch are two updates."""
    stopped_and_resumed(classes, 6, tmp_path, lambda: make_net(classes), accumulate=4)
    trainer(make_net(classes), accumulate=4, callbacks=[StopAfter(6)], checkpoints=tmp_path).fit(classes.X, classes.y)
    found = Checkpoint.read(tmp_path / LAST)
    assert (found.epochs, found.batches, found.steps) == (0, 6, 2)


# How the fields of a FitState are compared. A new one belongs here, and in `take` and `restore`.
COMPARED: dict[str, Any] = {
    "steps": lambda steps: (bits(steps.update_step.arenas()), steps.totals.tobytes()),
    "rates": lambda rates: rates.state(),
    "best_weights": lambda best: (bits(best.arenas()), best.metric.epoch, best.metric.value),
    "layer_statistics": lambda statistics: statistics.state(),
    "run": lambda run: (without_time(run.history), run.steps, run.stopped),
    "first_batch": int,
    "first_loss": float,
}


def bits(arenas: dict[str, Arena]) -> dict[str, bytes]:
    return {name: arena.flat.tobytes() for name, arena in arenas.items()}


def test_every_field_of_the_state_is_that_of_a_fit_that_never_stopped(classes, tmp_path, monkeypatch):
    assert set(COMPARED) == {field.name for field in dataclasses.fields(FitState)}
    states: list[FitState] = []
    end = Fit._end_run
    monkeypatch.setattr(Fit, "_end_run", lambda fit: (states.append(fit.state), end(fit))[1])
    options = {"optimizer": cr.Adam(cr.Plateau(0.05, patience=1, factor=0.5, min_delta=0.05)), "ema": 0.9}
    data = {"validation": classes.valid, "diagnose": True}
    for checkpoints, stop, resume in ((None, [], None), (tmp_path, [StopAfter(14)], None), (None, [], tmp_path)):
        net = make_net(classes, **LAYERS)
        fitting = trainer(net, checkpoints=checkpoints, callbacks=stop, accumulate=4, **options)
        fitting.fit(classes.X, classes.y, resume=resume, **data)
    whole, stopped, resumed = states
    assert (stopped.run.stopped, stopped.run.history.epochs) == ("callback", 2)
    for name, compared in COMPARED.items():
        np.testing.assert_equal(compared(getattr(resumed, name)), compared(getattr(whole, name)), err_msg=name)


def test_the_seconds_of_a_resumed_fit_include_those_before(classes, tmp_path):
    trainer(make_net(classes), callbacks=[StopAfter(8)], checkpoints=tmp_path).fit(classes.X, classes.y)
    dataclasses.replace(Checkpoint.read(tmp_path / LAST), seconds=1000.0).write(tmp_path / LAST)
    run = trainer(make_net(classes)).fit(classes.X, classes.y, resume=tmp_path)
    assert run.history["seconds"][0] < 1000 < run.history["seconds"][1] < run.seconds
