"""Whose a checkpoint is: other settings, rows and machines are refused, by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.train.checkpoints.fits import make_net, trainer, weights

import chainrule as cr
from chainrule.backends.compiled.backend import CompiledBackend
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import DataError, OptionError
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.fingerprint import differences, machine_of, rows_of, settings_of
from chainrule.train.checkpoints.writer import LAST
from chainrule.train.settings import TrainingSettings
from stopping import StopAfter


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
def test_a_checkpoint_of_other_settings_is_refused_and_they_are_named(classes, folder, options, words):
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


def test_a_checkpoint_of_another_net_is_refused_and_it_is_named(classes, folder):
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


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("features", {"mean": np.full(2, 0.5)}),
        ("features", {"scale": np.full(2, 3.0)}),
        ("features", {"limit": 4.0}),
        ("targets", {"mean": np.full(2, 0.5)}),
        ("targets", {"scale": np.full(2, 3.0)}),
    ],
    ids=str,
)
def test_the_fingerprint_of_settings_has_the_standardisation(part, change):
    before = {"mean": np.zeros(2), "scale": np.ones(2)} | ({"limit": 5.0} if part == "features" else {})
    fingerprints = []
    for numbers in (before, before | change):
        net = cr.MLP([2, 2], loss="squared_error")
        net.preparation = cr.Preparation(**{part: cr.Standardization(**numbers)})
        fingerprints.append(settings_of(net, TrainingSettings())["standardisation"])
    assert fingerprints[0] != fingerprints[1]


def test_a_checkpoint_of_other_rows_is_refused(classes, folder):
    changed = classes.X.copy()
    changed[17, 2] += 1e-6
    labels = classes.y.copy()
    labels[3] = (labels[3] + 1) % 3
    cases = {
        "a number": (changed, classes.y, {}),
        "a label": (classes.X, labels, {}),
        "fewer": (classes.X[:-1], classes.y[:-1], {}),
        "order": (classes.X[::-1], classes.y[::-1], {}),
        "weights": (classes.X, classes.y, {"sample_weight": np.ones(40)}),
        "validation": (classes.X, classes.y, {"validation": classes.valid}),
    }
    for X, y, fit in cases.values():
        with pytest.raises(DataError, match="other rows"):
            trainer(make_net(classes)).fit(X, y, resume=folder, **fit)


def test_the_fingerprint_of_rows_is_the_same_in_any_memory(classes, folder):
    whole = make_net(classes)
    trainer(whole).fit(classes.X, classes.y)
    net = make_net(classes)
    trainer(net).fit(np.asfortranarray(classes.X), classes.y.astype(np.int16).tolist(), resume=folder)
    assert weights(net) == weights(whole)


def test_another_machine_is_named_and_admitted_by_resume_anywhere(classes, folder):
    checkpoint = Checkpoint.read(folder / LAST)
    dataclasses.replace(checkpoint, machine=checkpoint.machine | {"numpy": "1.0", "card": "H200"}).write(folder / LAST)
    net = make_net(classes)
    with pytest.raises(OptionError, match=r"numpy 1\.0 -> .*card H200 -> none") as caught:
        trainer(net).fit(classes.X, classes.y, resume=folder)
    assert caught.value.hint.startswith("`--anywhere`")
    run = trainer(net).fit(classes.X, classes.y, resume=folder, resume_anywhere=True)
    assert run.history.epochs == 4


def test_another_number_of_threads_has_a_hint_how_to_have_the_same(classes, folder):
    checkpoint = Checkpoint.read(folder / LAST)
    dataclasses.replace(checkpoint, machine=checkpoint.machine | {"threads": 7}).write(folder / LAST)
    net = make_net(classes)
    net.backend.fingerprint = lambda: checkpoint.machine | {"threads": 2}
    with pytest.raises(OptionError, match="threads 7 -> 2") as caught:
        trainer(net).fit(classes.X, classes.y, resume=folder)
    assert caught.value.hint.startswith("`--threads 7`, in the library Trainer(threads=7), ")
    assert "--anywhere" in caught.value.hint


def test_a_checkpoint_of_one_backend_resumes_on_another(classes, backend, tmp_path):
    """Begun on each backend and ended on the CPU's, and the other way round."""
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


@pytest.mark.parametrize("n", [4096, 5000, 8191, 20_000, 100_000])
def test_the_fingerprint_samples_rows_from_the_first_to_the_last(rng, n):
    """Of many rows a sample is hashed, evenly spread: a change of successive rows is noticed wherever it is."""
    backend = cr.backend("cpu")
    X, y = rng.normal(size=(n, 2)), np.zeros(n)
    before = rows_of(backend, X, y, None, None)
    stretch = max(1, n // 1000)
    # Of fewer than 8,192 rows all are hashed; of more every n // 4096-th.
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


def test_a_fit_of_many_rows_does_not_resume_if_late_rows_changed(rng, tmp_path):
    X, y = rng.normal(size=(12_288, 2)), rng.integers(0, 2, 12_288)
    make = lambda **options: cr.Trainer(cr.MLP([2, 2]), batch_size=1024, epochs=2, **options)
    make(callbacks=[StopAfter(3)], checkpoints=tmp_path).fit(X, y)
    changed = X.copy()
    changed[9_000:9_100] *= 1.01
    with pytest.raises(DataError, match="other rows"):
        make().fit(changed, y, resume=tmp_path)
    assert make().fit(X, y, resume=tmp_path).stopped == "completed"


def test_an_option_of_a_parameter_group_that_an_older_version_did_not_have_was_off(classes):
    """A checkpoint from before ``by_fan_in`` resumes, unless that is now asked for."""

    def described(**options: bool) -> dict[str, object]:
        groups = [cr.ParameterGroup("*.W", 0.5, **options)]
        return settings_of(make_net(classes), TrainingSettings(optimizer=cr.Adam(0.01, groups=groups)))

    older = described()
    del older["optimizer"]["groups"][0]["by_fan_in"]
    assert differences(older, described()) == []
    assert len(differences(older, described(by_fan_in=True))) == 1


def test_the_machine_says_that_an_encoding_is_fused_if_the_net_has_one(rng):
    pytest.importorskip("numba", reason="numba is not installed")
    layers = [cr.PiecewiseLinear.fit(rng.normal(size=(99, 2))), cr.Scale(), cr.Dense(2)]
    nets = [cr.Network(layers, 2, backend=be) for be in (CompiledBackend(), NumPyBackend())]
    assert differences(*map(machine_of, nets)) == ["encodings fused -> none"]
    plain = [cr.MLP([2, 2], backend=be) for be in (CompiledBackend(), NumPyBackend())]
    assert not differences(*map(machine_of, plain))
