"""Callbacks: what they are told when, that they can stop a fit, and that their errors are raised."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.train import steps as steps_module
from chainrule.train.steps import STEPS_PER_SYNC


class Diary(cr.Callback):
    """Records its calls."""

    def __init__(self, every: int | None = None) -> None:
        self.every = every
        self.told: list[tuple[str, Any]] = []

    def on_start(self, record: cr.StartRecord) -> None:
        self.told.append(("start", record))

    def on_step_end(self, record: cr.StepRecord) -> None:
        self.told.append(("step", record))

    def on_epoch_end(self, record: cr.EpochRecord) -> None:
        self.told.append(("epoch", record))

    def on_end(self, run: cr.Run) -> None:
        self.told.append(("end", run))

    def records(self, what: str) -> list[Any]:
        return [record for kind, record in self.told if kind == what]


def make_net(task: Any, backend: cr.Backend | None = None) -> cr.MLP:
    return cr.MLP(task.widths, loss=task.loss, backend=backend, seed=2)


def weights(net: cr.Network) -> dict[str, list]:
    return {name: value.tolist() for name, value in net.parameter_arena.download().items()}


def fit(task: Any, *callbacks: Any, net: cr.Network | None = None, validation: Any = None, **options: Any) -> cr.Run:
    options = {"batch_size": 7, "epochs": 3} | options
    net = net or make_net(task)
    return cr.Trainer(net, cr.Adam(lr=0.01), callbacks=callbacks, **options).fit(task.X, task.y, validation=validation)


def test_callbacks_are_called_in_order(classes):
    diary = Diary(every=4)
    run = fit(classes, diary, validation=classes.valid)
    steps = -(-len(classes.X) // 7)
    assert steps == 6
    assert [what for what, _ in diary.told] == [
        "start",
        "step",
        "epoch",
        "step",
        "step",
        "epoch",
        "step",
        "epoch",
        "end",
    ]
    (start,), (end,) = diary.records("start"), diary.records("end")
    assert (start.rows, start.valid_rows, start.steps_per_epoch) == (40, 20, 6)
    assert start.run is end is run
    assert [(r.step, r.epoch) for r in diary.records("step")] == [(4, 1), (8, 2), (12, 2), (16, 3)]
    for i, record in enumerate(diary.records("epoch")):
        assert record.metrics["loss"] == run.history["loss"][i]
        assert record.history is run.history


def test_on_step_end_has_the_loss_of_its_batch(backend, classes):
    """With every=1, the losses of the batches make up that of the epoch."""
    diary = Diary(every=1)
    run = fit(classes, diary, net=make_net(classes, backend), epochs=2)
    losses = [record.loss for record in diary.records("step")]
    sizes = 2 * [7, 7, 7, 7, 7, 5]
    for epoch in range(2):
        part = slice(6 * epoch, 6 * epoch + 6)
        assert np.average(losses[part], weights=sizes[part]) == pytest.approx(run.history["loss"][epoch], rel=1e-6)
    assert {record.lr for record in diary.records("step")} == {0.01}


@pytest.mark.parametrize("every", [1, 5, 6, 100])
def test_on_step_end_does_not_change_the_training(backend, task, every):
    nets = [make_net(task, backend) for _ in range(2)]
    plain = fit(task, net=nets[0])
    looked_at = fit(task, Diary(every), Diary(3), net=nets[1])
    assert weights(nets[0]) == weights(nets[1])
    assert plain.history["loss"] == looked_at.history["loss"]


def test_steps_are_replayed_together_without_on_step_end(classes, monkeypatch):
    """The device works through many steps at once, except for those that a callback asks for."""
    asked: list[int] = []
    capture = type(cr.backend("cpu")).capture

    def spying(self, step):
        replay = capture(self, step)
        return lambda times, **options: (asked.append(times), replay(times, **options))

    monkeypatch.setattr(type(cr.backend("cpu")), "capture", spying)
    monkeypatch.setattr(steps_module, "SECONDS_PER_SYNC", 1e9)  # however slow the steps are today
    X, y = np.tile(classes.X, (4, 1)), np.tile(classes.y, 4)
    for callbacks, expected in [
        ((), [1, 159]),  # the first shows how long a step takes
        ((Diary(),), [1, 159]),
        ((Diary(50),), [1, 49, 50, 50, 10]),
        ((Diary(100), Diary(80)), [1, 79, 20, 60]),
    ]:
        asked.clear()
        cr.Trainer(make_net(classes), batch_size=1, epochs=1, callbacks=callbacks).fit(X, y)
        assert asked == expected


def test_a_device_that_queues_steps_is_given_some_at_a_time(classes, monkeypatch):
    asked: list[int] = []
    replay = steps_module.Steps.replay
    monkeypatch.setattr(steps_module.Steps, "replay", lambda self, r: (asked.append(r.times), replay(self, r))[1])
    monkeypatch.setattr(steps_module, "SECONDS_PER_SYNC", 1e9)
    X, y = np.tile(classes.X, (4, 1)), np.tile(classes.y, 4)
    net = cr.MLP(classes.widths, backend=cr.GuardedBackend())
    cr.Trainer(net, batch_size=1, epochs=1).fit(X, y)
    assert asked == [STEPS_PER_SYNC, STEPS_PER_SYNC, 160 - 2 * STEPS_PER_SYNC]


@pytest.mark.parametrize("slowness", [1, 7])
def test_a_stop_waits_for_a_moment_and_not_for_a_number_of_steps(classes, monkeypatch, slowness):
    """On a clock of the test's own: steps of 1 ms, 7 of which are slower for a time; a ragged batch takes nothing."""
    now, taken = [0.0], []
    monkeypatch.setattr("chainrule.train.fit.time.perf_counter", lambda: now[0])
    replay = steps_module.Steps.replay

    def timed(self, r):
        replay(self, r)
        seconds = 0.0 if r.ragged else 1e-3 * r.times * slowness
        now[0] += seconds
        taken.append(seconds)

    monkeypatch.setattr(steps_module.Steps, "replay", timed)
    X, y = np.tile(classes.X, (41, 1)), np.tile(classes.y, 41)
    assert len(X) % 7
    cr.Trainer(make_net(classes), batch_size=7, epochs=5).fit(X, y)
    assert max(taken) <= steps_module.SECONDS_PER_SYNC + 1e-9
    assert max(taken) > steps_module.SECONDS_PER_SYNC - 1e-3 * slowness - 1e-9


def test_every_may_be_set_in_on_start(classes):
    class OnceAnEpoch(Diary):
        def on_start(self, record):
            self.every = record.steps_per_epoch

    diary = OnceAnEpoch()
    fit(classes, diary)
    assert [record.step for record in diary.records("step")] == [6, 12, 18]


# ---- stopping -------------------------------------------------------------------------------------


def test_a_function_callback_can_stop_after_an_epoch(classes):
    net, shorter = make_net(classes), make_net(classes)
    run = fit(classes, lambda r: r.stop() if len(r.history["loss"]) == 4 else None, net=net, epochs=100)
    assert (run.stopped, run.history.epochs, run.steps) == ("callback", 4, 24)
    fit(classes, net=shorter, epochs=4)
    assert weights(net) == weights(shorter)


def test_a_callback_can_stop_after_a_step(classes):
    class Stop(Diary):
        def on_step_end(self, record):
            super().on_step_end(record)
            record.stop()

    stop, net = Stop(every=9), make_net(classes)
    run = fit(classes, stop, net=net, validation=classes.valid, epochs=100)
    assert (run.stopped, run.history.epochs, run.best_epoch) == ("callback", 1, 1)
    assert len(stop.records("step")) == 1
    shorter = make_net(classes)
    fit(classes, net=shorter, validation=classes.valid, epochs=1)
    assert weights(net) == weights(shorter), "the weights of the best epoch, not those of the middle of an epoch"


# ---- errors ---------------------------------------------------------------------------------------


class MineError(Exception):
    pass


def test_an_error_of_a_callback_is_raised_and_the_best_weights_stay(classes):
    """The labels are random, so that the best epoch is not the last."""
    diary, net, best = Diary(), make_net(classes), []
    y = np.random.default_rng(0).integers(0, 3, len(classes.X))

    def mine(record: cr.EpochRecord) -> None:
        if record.improved:
            best[:] = [weights(record.net)]
        if record.epoch == 30:
            raise MineError("mine")

    trainer = cr.Trainer(net, cr.Adam(lr=0.05), batch_size=7, epochs=50, callbacks=[diary, mine])
    with pytest.raises(MineError, match="mine") as caught:
        trainer.fit(classes.X, y, validation=classes.valid)
    assert traceback.extract_tb(caught.tb)[-1].name == "mine"
    assert [weights(net)] == best
    (run,) = diary.records("end")
    assert (run.stopped, run.history.epochs) == ("failed", 30)
    assert 0 < run.best_epoch < 30


@pytest.mark.parametrize("where", ["on_start", "on_step_end", "on_epoch_end", "on_end"])
def test_on_end_of_the_other_callbacks_is_called_after_an_error(classes, where):
    class Fails(Diary):
        pass

    def fail(self, record):
        raise MineError(where)

    setattr(Fails, where, fail)
    before, after = Diary(), Diary()
    with pytest.raises(MineError, match=where):
        fit(classes, before, Fails(every=2), after)
    assert [what for what, _ in before.told][::-1][0] == "end"
    assert len(after.records("end")) == (where != "on_start"), (
        "whoever was not told of the start is not told of the end"
    )


def test_callbacks_see_a_divergence(regression):
    diary = Diary()
    with pytest.raises(cr.DivergenceError) as caught:
        cr.Trainer(make_net(regression), cr.SGD(lr=1e6), epochs=9, callbacks=[diary]).fit(regression.X, regression.y)
    assert diary.records("end") == [caught.value.run]
    assert caught.value.run.stopped == "diverged"


class NeverSaysHowOften(cr.Callback):
    def on_step_end(self, record: cr.StepRecord) -> None:
        pass


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (3, "a cr.Callback or a function"),
        (Diary, "a cr.Callback or a function"),
        (Diary(every=0), "every of Diary: expected .*, got 0"),
        (Diary(every=2.5), "every of Diary: expected .*, got 2.5"),
        (NeverSaysHowOften(), "does not say how often"),
    ],
)
def test_wrong_callbacks_are_refused(classes, callback, message):
    with pytest.raises(cr.OptionError, match=message):
        cr.Trainer(make_net(classes), callbacks=[callback])
