"""A fit that was stopped anywhere goes on from its checkpoint to the bits of a fit that never stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.conftest import make_task

import chainrule as cr
from chainrule.errors import DataError, ModelFileError, OptionError
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.fingerprint import rows_of
from chainrule.train.checkpoints.writer import LAST, CheckpointWriter
from chainrule.train.diagnosis.findings import Measurement, judge
from stopping import StopAfter

# What a run can have that a checkpoint must hold: 40 rows, so 6 batches an epoch with a ragged last one.
FEATURES: dict[str, dict[str, Any]] = {
    "adam": {},
    "momentum": {"optimizer": cr.SGD(lr=0.05, momentum=0.9, nesterov=True)},
    "averages": {"ema": 0.9},
    "accumulation": {"accumulate": 4},
    "plateau": {"optimizer": cr.Adam(cr.Plateau(0.05, patience=1, factor=0.5, min_delta=0.05))},
    "one cycle": {"optimizer": cr.AdamW(cr.OneCycle(0.05), clip_norm=1.0)},
    "early stopping": {"early_stopping": cr.EarlyStopping(patience=2, min_delta=0.02)},
    "streamed": {"stream": True},
    "one batch an epoch": {"batch_size": 40},
    "no shuffle, ragged batch dropped": {"shuffle": False, "drop_last": True},
    "penalty": {"l2": 0.1},
}
LAYERS: dict[str, Any] = {"dropout": 0.3, "normalization": "batch"}


def make_net(task: Any, backend: cr.Backend | None = None, **options: Any) -> cr.MLP:
    return cr.MLP(task.widths, loss=task.loss, seed=2, backend=backend, **options)


def weights(net: cr.Network) -> bytes:
    return net.backend.download(net.parameter_arena.flat).tobytes()


def trainer(net: cr.Network, **options: Any) -> cr.Trainer:
    return cr.Trainer(net, **{"optimizer": cr.Adam(0.01), "batch_size": 7, "epochs": 4, "seed": 5} | options)


def without_time(history: cr.History) -> dict[str, list[float]]:
    return {name: values for name, values in history.items() if name != "seconds"}


def stopped_and_resumed(task: Any, at: int, folder: Path, make: Any, **options: Any) -> tuple[cr.Network, cr.Run]:
    """A fit that is stopped after ``at`` batches, and another net that goes on from there."""
    fit = {"validation": task.valid}
    stopped = trainer(make(), callbacks=[StopAfter(at)], checkpoints=folder, **options).fit(task.X, task.y, **fit)
    assert stopped.stopped == "callback"
    net = make()
    cr.Trainer(net, epochs=1).fit(task.X, task.y)  # what it had does not matter
    return net, trainer(net, **options).fit(task.X, task.y, resume=folder, **fit)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_fit_goes_on_as_if_it_had_never_stopped(classes, feature, tmp_path):
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


def test_on_every_body(task, backend, tmp_path):
    whole = make_net(task, backend)
    trainer(whole, ema=0.8, accumulate=2).fit(task.X, task.y, validation=task.valid)
    net, _ = stopped_and_resumed(task, 9, tmp_path, lambda: make_net(task, backend), ema=0.8, accumulate=2)
    assert weights(net) == weights(whole)


def test_without_validation_and_with_rows_held_out_by_the_trainer(regression, tmp_path):
    for name, validation in (("none", None), ("a fraction", 0.25)):
        nets = [make_net(regression) for _ in range(3)]
        fit = {"validation": validation, "sample_weight": np.linspace(0, 2, 40)}
        trainer(nets[0]).fit(regression.X, regression.y, **fit)
        folder = tmp_path / name
        trainer(nets[1], callbacks=[StopAfter(8)], checkpoints=folder).fit(regression.X, regression.y, **fit)
        trainer(nets[2]).fit(regression.X, regression.y, resume=folder / LAST, **fit)
        assert weights(nets[2]) == weights(nets[0])


def test_streamed_rows_in_blocks_of_a_few_batches(classes, tmp_path, monkeypatch):
    """A resume may begin in the middle of a block of rows, and in either half of the ring."""
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


def test_a_diagnosis_goes_on_too(classes, tmp_path):
    fit = {"validation": classes.valid, "diagnose": True}
    whole = trainer(make_net(classes)).fit(classes.X, classes.y, **fit)
    for at in (5, 6, 8):
        folder = tmp_path / str(at)
        trainer(make_net(classes), callbacks=[StopAfter(at)], checkpoints=folder).fit(classes.X, classes.y, **fit)
        run = trainer(make_net(classes)).fit(classes.X, classes.y, resume=folder, **fit)
        assert run.diagnosis is not None
        assert whole.diagnosis is not None
        assert run.diagnosis.measurements == whole.diagnosis.measurements


def test_a_fit_that_is_over_ends_where_it_ended(classes, tmp_path):
    net = make_net(classes)
    run = trainer(net, checkpoints=tmp_path).fit(classes.X, classes.y, validation=classes.valid)
    other = make_net(classes)
    again = trainer(other).fit(classes.X, classes.y, validation=classes.valid, resume=tmp_path)
    assert weights(other) == weights(net)
    assert (again.stopped, again.steps, again.best_epoch) == ("completed", run.steps, run.best_epoch)
    assert dict(again.history) == dict(run.history)


def test_an_interruption_from_without_is_resumed(classes, tmp_path):
    """``stop`` from a signal handler, wherever it comes."""
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


# ---- when one is written --------------------------------------------------------------------------


def test_checkpoints_every_so_many_steps(classes, tmp_path, monkeypatch):
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


def test_checkpoints_by_time(classes, tmp_path, monkeypatch):
    written: list[tuple[int, int]] = []
    monkeypatch.setattr(
        CheckpointWriter, "write", lambda _, checkpoint, best: written.append((checkpoint.epochs, checkpoint.batches))
    )
    clock = iter(range(1000))
    monkeypatch.setattr("chainrule.train.checkpoints.writer.time.monotonic", lambda: next(clock))
    net = make_net(classes)
    checkpoints = cr.Checkpoints(tmp_path, seconds=3)
    trainer(net, batch_size=1, epochs=1, checkpoints=checkpoints, callbacks=[StopAfter(1000)]).fit(classes.X, classes.y)
    assert written, "a look a step, a second a look"
    assert written[0] == (0, 3)


def test_nothing_is_written_where_nobody_asks(classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer(make_net(classes)).fit(classes.X, classes.y)
    assert not list(tmp_path.iterdir())


def test_the_best_epoch_so_far_is_a_model(classes, tmp_path):
    net = make_net(classes)
    trainer(net, checkpoints=tmp_path).fit(classes.X, classes.y, validation=classes.valid)
    assert weights(cr.load(tmp_path / "best.safetensors")) == weights(net)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.safetensors", "last.safetensors"]


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


# ---- whose it is ----------------------------------------------------------------------------------


@pytest.fixture
def folder(classes, tmp_path) -> Path:
    """A folder with the checkpoint of a fit of the default settings, stopped after 8 batches."""
    trainer(make_net(classes), callbacks=[StopAfter(8)], checkpoints=tmp_path).fit(classes.X, classes.y)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 5}, "epochs 4 -> 5"),
        ({"batch_size": 8}, "batch_size 7 -> 8"),
        ({"optimizer": cr.Adam(0.02)}, "optimizer"),
        ({"optimizer": cr.SGD(0.01)}, "optimizer"),
        ({"seed": 6}, "seed 5 -> 6"),
        ({"ema": 0.9}, "ema none -> 0.9"),
        ({"accumulate": 2}, "accumulate 1 -> 2"),
        ({"l2": 0.5}, "l2 0.0 -> 0.5"),
    ],
    ids=str,
)
def test_other_settings_are_named(classes, folder, options, words):
    net = make_net(classes)
    before = weights(net)
    with pytest.raises(OptionError, match="other settings") as caught:
        trainer(net, **options).fit(classes.X, classes.y, resume=folder)
    assert words in caught.value.message
    assert weights(net) == before


def test_moments_of_another_fit_are_refused(classes, folder):
    moments, net = cr.Moments(), make_net(classes)
    trainer(net, moments=moments, epochs=1).fit(classes.X, classes.y)
    with pytest.raises(OptionError, match="steps before 0 -> 6"):
        trainer(net, moments=moments).fit(classes.X, classes.y, resume=folder)


def test_another_net_is_named(classes, folder):
    for net in (
        cr.MLP([5, 9, 3], seed=2),
        cr.MLP([5, 8, 3], seed=3),
        cr.MLP([5, 8, 3], seed=2, dtype="float64"),
        cr.MLP([5, 8, 3], seed=2, activation="tanh"),
        cr.MLP([5, 8, 3], seed=2, loss=cr.Focal()),
    ):
        with pytest.raises(OptionError, match="other settings"):
            trainer(net).fit(classes.X, classes.y, resume=folder)
    net = make_net(classes)
    net.preparation = cr.Preparation(features=cr.Standardization(np.zeros(5), np.full(5, 2.0)))
    with pytest.raises(OptionError, match="standardisation"):
        trainer(net).fit(classes.X, classes.y, resume=folder)


def test_other_rows_are_refused(classes, folder):
    changed = classes.X.copy()
    changed[17, 2] += 1e-6
    labels = classes.y.copy()
    labels[3] = (labels[3] + 1) % 3
    cases = {
        "a number": (changed, classes.y, {}), "a label": (classes.X, labels, {}),
        "fewer": (classes.X[:-1], classes.y[:-1], {}), "order": (classes.X[::-1], classes.y[::-1], {}),
        "weights": (classes.X, classes.y, {"sample_weight": np.ones(40)}),
        "validation": (classes.X, classes.y, {"validation": classes.valid}),
    }  # fmt: skip
    for X, y, fit in cases.values():
        with pytest.raises(DataError, match="other rows"):
            trainer(make_net(classes)).fit(X, y, resume=folder, **fit)


def test_rows_are_the_same_in_any_memory(classes, folder):
    whole = make_net(classes)
    trainer(whole).fit(classes.X, classes.y)
    net = make_net(classes)
    trainer(net).fit(np.asfortranarray(classes.X), classes.y.astype(np.int16).tolist(), resume=folder)
    assert weights(net) == weights(whole)


def test_another_machine_is_named_and_admitted_on_request(classes, folder):
    checkpoint = Checkpoint.read(folder / LAST)
    dataclasses.replace(checkpoint, machine=checkpoint.machine | {"numpy": "1.0", "card": "H200"}).write(folder / LAST)
    net = make_net(classes)
    with pytest.raises(OptionError, match=r"numpy 1\.0 -> .*card H200 -> none") as caught:
        trainer(net).fit(classes.X, classes.y, resume=folder)
    assert "--anywhere" in caught.value.hint
    run = trainer(net).fit(classes.X, classes.y, resume=folder, resume_anywhere=True)
    assert run.history.epochs == 4


def test_a_checkpoint_of_one_body_goes_on_on_another(classes, backend, tmp_path):
    """Begun on each body and ended on the CPU's, and the other way round."""
    whole = make_net(classes, dtype="float64")
    trainer(whole).fit(classes.X, classes.y)
    cpu = cr.backend("cpu")
    for number, (begun, ended) in enumerate([(backend, cpu), (cpu, backend)]):
        folder = tmp_path / str(number)
        first = make_net(classes, begun, dtype="float64")
        trainer(first, callbacks=[StopAfter(10)], checkpoints=folder).fit(classes.X, classes.y)
        net = make_net(classes, ended, dtype="float64")
        trainer(net).fit(classes.X, classes.y, resume=folder, resume_anywhere=True)
        for name, value in net.parameter_arena.download().items():
            np.testing.assert_allclose(value, whole.parameter_arena.download()[name], rtol=1e-12, atol=1e-14)


# ---- files that are no checkpoints ------------------------------------------------------------------


def test_a_model_is_no_checkpoint_and_a_checkpoint_no_model(classes, folder):
    net = make_net(classes)
    net.save(folder / "model.safetensors")
    with pytest.raises(ModelFileError, match="expected a chainrule checkpoint, got a chainrule model"):
        trainer(net).fit(classes.X, classes.y, resume=folder / "model.safetensors")
    with pytest.raises(ModelFileError, match="expected a chainrule model, got a chainrule checkpoint"):
        cr.load(folder / LAST)
    with pytest.raises(ModelFileError, match="does not exist"):
        trainer(net).fit(classes.X, classes.y, resume=folder / "nothing")


def test_every_kind_of_damage_is_refused(classes, folder):
    content = (folder / LAST).read_bytes()
    rng = np.random.default_rng(3)
    net = make_net(classes)
    before = weights(net)
    for at in [*range(0, 64), *rng.integers(64, len(content), 100).tolist()]:
        (folder / LAST).write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        with pytest.raises(ModelFileError):
            Checkpoint.read(folder / LAST)
    assert weights(net) == before


NONSENSE: dict[str, Any] = {  # what is changed in a checkpoint that is otherwise whole
    "a weight too many": {"parameters.dense9.W": np.ones(3, np.float32)},
    "a weight less": {"moments.m.dense0.b": None},
    "another shape": {"parameters.dense0.b": np.ones(9, np.float32)},
    "another dtype": {"parameters.dense0.b": np.ones(8, np.float64)},
    "a nan": {"parameters.dense0.b": np.full(8, np.nan, np.float32)},
    "integers": {"parameters.dense0.b": np.ones(8, np.int64)},
    "no totals": {"totals": None},
    "batches that are not there": {"batches": 3},
    "epochs that are not there": {"epochs": 3},
    "a best epoch that is not over": {"best_epoch": 2},
    "a best epoch where none is watched": {"best_epoch": 1, "best_value": 0.5},
    "steps of another place": {"steps": 9},
    "batches of another place": {"batches": 1, "totals": np.ones((1, 3))},
    "all batches of the last epoch and more": {"epochs": 4, "batches": 2},
    "a time before the start": {"seconds": -1.0},
    "a first loss that is nan": {"first_loss": "nan"},
    "a quantity less": {"history": {"loss": [1.0]}},
    "a quantity more": {"history": {name: [1.0] for name in ("loss", "accuracy", "lr", "seconds", "x")}},
    "a history of a text": {"history": {"loss": "1"}},
    "rates that nothing has reduced": {"rates": {"reductions": 1}},
    "totals of nan": {"totals": np.full((2, 3), np.nan)},
    "a moment of nan": {"moments.m.dense0.b": np.full(8, np.nan, np.float32)},
    "a moment of minus infinity": {"moments.m.dense0.b": np.full(8, -np.inf, np.float32)},
    "more machines than anyone names": {"machine": {f"{i}": "x" * 999 for i in range(999)}},
    "a negative epoch": {"epochs": -1},
    "a fraction of a batch": {"batches": 2.0},
    "history of words": {"history": {"loss": ["low"]}},
    "rates that are no numbers": {"rates": {"reductions": [1]}},
    "a probe of a word": {"probe": "yes"},
}


IMPLAUSIBLE: dict[str, Any] = {  # what no fit has: the fields or arrays instead, made from the checkpoint
    "a first loss below 0": lambda c: {"first_loss": -0.5},
    "a first loss of infinity": lambda c: {"first_loss": "inf"},
    "a best value of nan": lambda c: {"best_value": "nan"},
    "a best value without an epoch": lambda c: {"best_epoch": 0, "best_value": 3.0},
    "a loss of nan in the history": lambda c: {"history": c.history | {"loss": ["nan"]}},
    "a loss below 0 in the history": lambda c: {"history": c.history | {"loss": [-1.0]}},
    "an accuracy above 1": lambda c: {"history": c.history | {"accuracy": [1.5]}},
    "an accuracy below 0": lambda c: {"history": c.history | {"accuracy": [-0.5]}},
    "a rate of nan": lambda c: {"history": c.history | {"lr": ["nan"]}},
    "a rate below 0": lambda c: {"history": c.history | {"lr": [-1e-3]}},
    "a rate that the schedule has not": lambda c: {"history": c.history | {"lr": [c.history["lr"][0] * 1.01]}},
    "an epoch longer than the run": lambda c: {"history": c.history | {"seconds": [c.seconds + 1.0]}},
    "seconds of nan": lambda c: {"history": c.history | {"seconds": ["nan"]}},
    "half a reduction": lambda c: {"rates": {"reductions": 0.5}},
    "a sum of losses below 0": lambda c: {"totals": c.arrays["totals"] * [[-1.0, 1.0, 1.0]]},
    "weights below 0": lambda c: {"totals": c.arrays["totals"] * [[1.0, -1.0, 1.0]]},
    "predictions right less than never": lambda c: {"totals": c.arrays["totals"] - [[0.0, 0.0, 99.0]]},
    "a mean of squares below 0": lambda c: {"moments.v.dense0.b": np.full(8, -1e-3, np.float32)},
}


@pytest.mark.parametrize("change", IMPLAUSIBLE)
def test_a_checkpoint_with_a_number_that_no_fit_has_is_refused(classes, folder, change):
    checkpoint, net = Checkpoint.read(folder / LAST), make_net(classes)
    assert checkpoint.epochs == 1
    assert checkpoint.arrays["totals"].size
    fields, changed = {f.name for f in dataclasses.fields(Checkpoint)}, IMPLAUSIBLE[change](checkpoint)
    arrays = checkpoint.arrays | {name: value for name, value in changed.items() if name not in fields}
    parts = {name: value for name, value in changed.items() if name in fields}
    dataclasses.replace(checkpoint, **parts, arrays=arrays).write(folder / LAST)
    before = weights(net)
    with pytest.raises(ModelFileError):
        trainer(net).fit(classes.X, classes.y, resume=folder)
    assert weights(net) == before


@pytest.mark.parametrize("change", NONSENSE)
def test_a_whole_file_that_makes_no_sense_is_refused(classes, folder, change):
    checkpoint = Checkpoint.read(folder / LAST)
    fields = {f.name for f in dataclasses.fields(Checkpoint)}
    changed = {name: value for name, value in NONSENSE[change].items() if name in fields}
    arrays = checkpoint.arrays | {name: value for name, value in NONSENSE[change].items() if name not in fields}
    kept = {name: array for name, array in arrays.items() if array is not None}
    dataclasses.replace(checkpoint, **changed, arrays=kept).write(folder / LAST)
    net = make_net(classes)
    before = weights(net)
    with pytest.raises((ModelFileError, OptionError)) as caught:
        trainer(net).fit(classes.X, classes.y, resume=folder)
    assert len(caught.value.message) < 1000
    assert weights(net) == before


WATCHED: dict[str, dict[str, Any]] = {  # what does not follow from the history
    "another epoch": {"best_epoch": 1},
    "another value": {"best_value": 0.25},
    "no reduction": {"rates": {}},
}


@pytest.mark.parametrize("change", WATCHED)
def test_what_is_watched_must_follow_from_the_history(classes, tmp_path, change):
    options = {"optimizer": cr.Adam(cr.Plateau(0.01, patience=1))}
    fit = {"validation": classes.valid, "resume": tmp_path}
    stopped = trainer(make_net(classes), callbacks=[StopAfter(15)], checkpoints=tmp_path, **options)
    stopped.fit(classes.X, classes.y, validation=classes.valid)
    checkpoint, net = Checkpoint.read(tmp_path / LAST), make_net(classes)
    assert checkpoint.best_epoch == 2
    assert checkpoint.rates
    before = weights(net)
    dataclasses.replace(checkpoint, **WATCHED[change]).write(tmp_path / LAST)
    with pytest.raises(ModelFileError, match="history"):
        trainer(net, **options).fit(classes.X, classes.y, **fit)
    assert weights(net) == before


PROBES: dict[str, Any] = {  # of a diagnosis: what its state is changed to
    "nothing": lambda state: {},
    "losses that are none": lambda state: state | {"losses": ["low", "x"]},
    "a loss more": lambda state: state | {"losses": [*state["losses"], 1.0]},
    "a layer more": lambda state: state | {"measurements": [*state["measurements"], [1, "x", 1, 0, None, 1.0, None]]},
    "dead units of none": lambda state: (
        state | {"measurements": [[0, m[1], 0, 0, *m[4:]] for m in state["measurements"]]}
    ),
    "half a layer": lambda state: state | {"measurements": [m[:4] for m in state["measurements"]]},
    "ratios of others": lambda state: state | {"ratios": {"x": 1.0}},
    "a ratio below zero": lambda state: state | {"ratios": dict.fromkeys(state["ratios"], -1.0)},
}


@pytest.mark.parametrize("change", PROBES)
def test_a_diagnosis_that_makes_no_sense(classes, tmp_path, change):
    stopped = trainer(make_net(classes), callbacks=[StopAfter(8)], checkpoints=tmp_path)
    stopped.fit(classes.X, classes.y, diagnose=True)
    checkpoint, net = Checkpoint.read(tmp_path / LAST), make_net(classes)
    before = weights(net)
    dataclasses.replace(checkpoint, probe=PROBES[change](checkpoint.probe)).write(tmp_path / LAST)
    with pytest.raises(ModelFileError, match="diagnosis"):
        trainer(net).fit(classes.X, classes.y, resume=tmp_path, diagnose=True)
    assert weights(net) == before


def test_a_gradient_norm_of_any_size_is_judged():
    """Its square is beyond the finite numbers, and Python raises for that."""
    found = judge([Measurement(0, "dense0", 3, None, None, 1e300, None)], [1.0])
    assert [finding.kind for finding in found] == []


def test_a_best_epoch_that_is_not_finite_is_a_divergence(classes):
    """A bias of minus infinity before a relu leaves the loss finite."""
    net = make_net(classes)

    class Overflow(cr.Callback):
        every = 1

        def on_step_end(self, record: Any) -> None:
            if record.step == 12:
                net.parameters()["dense0.b"][3] = -np.inf

    # With the last update: of the bodies some make a nan of it with the next.
    with pytest.raises(cr.DivergenceError, match=r"dense0\.b is not finite") as caught:
        trainer(net, callbacks=[Overflow()], epochs=2).fit(classes.X, classes.y, validation=classes.valid)
    assert caught.value.run.best_epoch == 2


def test_totals_that_nobody_counts_are_no_memory_of_others(regression, tmp_path):
    trainer(make_net(regression), callbacks=[StopAfter(3)], checkpoints=tmp_path).fit(regression.X, regression.y)
    assert not Checkpoint.read(tmp_path / LAST).arrays["totals"][:, 2].any()


def test_what_is_written_is_read(folder):
    before_an_epoch = {"epochs": 0, "best_epoch": 0, "history": {}, "rates": {}}
    checkpoint = dataclasses.replace(Checkpoint.read(folder / LAST), **before_an_epoch)
    dataclasses.replace(checkpoint, best_value=float("-inf"), first_loss=float("nan")).write(folder / LAST)
    read = Checkpoint.read(folder / LAST)
    assert read.best_value == -np.inf
    assert np.isnan(read.first_loss)
    for f in dataclasses.fields(Checkpoint):
        if f.name not in {"arrays", "best_value", "first_loss"}:
            assert getattr(read, f.name) == getattr(checkpoint, f.name), f.name
    assert {n: a.tobytes() for n, a in read.arrays.items()} == {n: a.tobytes() for n, a in checkpoint.arrays.items()}


# ---- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 2.5}, {"seconds": 0}, {"seconds": float("inf")}], ids=str)
def test_intervals_that_make_no_sense(tmp_path, options):
    with pytest.raises(OptionError):
        cr.Checkpoints(tmp_path, **options)


def test_lbfgs_has_no_checkpoints(tmp_path):
    pytest.importorskip("scipy")
    with pytest.raises(OptionError, match="LBFGS"):
        cr.Trainer(make_net(make_task("squared_error")), cr.LBFGS(), checkpoints=tmp_path)


@pytest.mark.parametrize("n", [4096, 5000, 8191, 20_000, 100_000])
def test_rows_are_looked_at_from_the_first_to_the_last(rng, n):
    """Of many rows some are, evenly spread: a change of a stretch of rows shows wherever it is."""
    backend = cr.backend("cpu")
    X, y = rng.normal(size=(n, 2)), np.zeros(n)
    before = rows_of(backend, X, y, None, None)
    stretch = max(1, n // 1000)
    # Of fewer than 8,192 rows all are looked at; of more every n // 4096-th.
    for start in [*range(0, n - 2 * (n // 4096), n // 13), n - 2 * (n // 4096)]:
        changed = X.copy()
        changed[start : start + max(stretch, 2 * (n // 4096)), 1] += 1e-9
        assert rows_of(backend, changed, y, None, None) != before, start
        assert rows_of(backend, X, y, None, (changed, y)) != rows_of(backend, X, y, None, (X, y)), start
    for part in ("y", "weights"):
        changed = np.ones(n) if part == "weights" else y.copy()
        changed[-1] += 1
        weights_before = rows_of(backend, X, y, np.ones(n), None)
        now = rows_of(backend, X, *((y, changed) if part == "weights" else (changed, np.ones(n))), None)
        assert now != weights_before, part


def test_a_fit_of_many_rows_does_not_resume_on_rows_that_changed_far_behind(rng, tmp_path):
    X, y = rng.normal(size=(12_288, 2)), rng.integers(0, 2, 12_288)
    make = lambda **options: cr.Trainer(cr.MLP([2, 2]), batch_size=1024, epochs=2, **options)
    make(callbacks=[StopAfter(3)], checkpoints=tmp_path).fit(X, y)
    changed = X.copy()
    changed[9_000:9_100] *= 1.01
    with pytest.raises(DataError, match="other rows"):
        make().fit(changed, y, resume=tmp_path)
    assert make().fit(X, y, resume=tmp_path).stopped == "completed"
