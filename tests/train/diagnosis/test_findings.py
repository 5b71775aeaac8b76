"""The diagnosis: nets made faulty on purpose have findings, a healthy one has none, and no weight is touched."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import chainrule as cr
from chainrule.plots.svg import colours
from chainrule.train.diagnosis import findings as d
from chainrule.train.diagnosis.findings import Measurement, judge
from chainrule.train.steps import Steps

N, N_IN = 200, 6


def rows(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, N_IN))
    return scale * X, (X @ rng.normal(size=(N_IN, 3))).argmax(axis=1)


def diagnose(net, optimizer, *, scale=1.0, epochs=5, batch_size=20, **options):
    X, y = rows(scale)
    if net.loss.task == "regress":
        y = X[:, 0]
    trainer = cr.Trainer(net, optimizer, batch_size=batch_size, epochs=epochs, **options)
    try:
        return trainer.fit(X, y, diagnose=True)
    except cr.DivergenceError as error:
        return error.run


def kinds(run: cr.Run) -> set[str]:
    return {f.kind for f in run.diagnosis.findings}


# ---- sick and healthy -----------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("optimizer", [cr.SGD(lr=0.1, momentum=0.9), cr.Adam(lr=3e-3), cr.AdamW(lr=cr.Cosine(1e-2))])
def test_a_healthy_run_has_no_finding(activation, optimizer):
    run = diagnose(cr.MLP([N_IN, 32, 16, 3], activation=activation), optimizer, epochs=15)
    assert run.diagnosis.findings == []
    assert str(run.diagnosis) == "nothing wrong found"


def test_dead_units_by_their_bias():
    net = cr.MLP([N_IN, 20, 10, 3])
    bias = np.zeros(20)
    bias[:9] = -1e3
    net.assign_parameters({"dense0.b": bias})
    run = diagnose(net, cr.SGD(lr=0.01))
    (finding,) = run.diagnosis.findings
    assert (finding.kind, finding.layer, finding.figure) == ("dead units", "dense0", 9 / 20)
    assert str(finding) == (
        "dense0: 9 of 20 units are 0 for every row (45%): lower the learning rate or use leaky_relu"
    )


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_saturated_units_by_the_scale_of_x(activation):
    run = diagnose(cr.MLP([N_IN, 20, 3], activation=activation), cr.SGD(lr=1e-3), scale=1e3)
    (finding,) = run.diagnosis.findings
    assert (finding.kind, finding.layer) == ("saturated units", "dense0")
    assert re.match(r"dense0: \d+ of 20 units are near their limit for most rows \(\d+%\): standardise X", str(finding))


def test_vanishing_gradients_of_a_deep_net_of_sigmoids():
    run = diagnose(cr.MLP([N_IN, *9 * [12], 3], activation="sigmoid"), cr.SGD(lr=0.1))
    (finding,) = run.diagnosis.findings
    assert (finding.kind, finding.layer) == ("vanishing gradient", "dense0")
    assert finding.figure < 1e-3


def test_exploding_gradients():
    """A tiny first layer on large numbers: its output is as usual, the gradient of its weights is not."""
    net = cr.MLP([N_IN, 12, 12, 3])
    net.assign_parameters({"dense0.W": 1e-4 * net.parameters()["dense0.W"]})
    findings = diagnose(net, cr.SGD(lr=1e-12), scale=1e4).diagnosis.findings
    assert ("exploding gradient", "dense0") in [(f.kind, f.layer) for f in findings]


def test_exploding_gradients_that_grow_in_training():
    grown = [measured(epoch=0), measured(gradient_norm=500.0)]
    (finding,) = judge(grown, [1.0, 0.9])
    assert (finding.kind, finding.figure) == ("exploding gradient", 500.0)
    vanished = [measured(epoch=0, gradient_norm=1e-9), measured(epoch=0, layer="dense1"), measured(), measured()]
    assert judge(vanished, [1.0, 0.9]) == [], "that a small part of it grows is what is hoped for"


@pytest.mark.parametrize("optimizer", [cr.SGD(lr=1e-8), cr.Adam(lr=1e-7)])
def test_learning_rate_too_low(optimizer):
    run = diagnose(cr.MLP([N_IN, 16, 3]), optimizer)
    assert kinds(run) == {"learning rate too low"}
    assert "the loss hardly moved" in str(run.diagnosis)


@pytest.mark.parametrize("optimizer", [cr.SGD(lr=30.0), cr.Adam(lr=3.0)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_learning_rate_too_high(optimizer, activation):
    run = diagnose(cr.MLP([N_IN, 16, 3], activation=activation), optimizer)
    assert "learning rate too high" in kinds(run)


def test_a_run_that_diverges_is_diagnosed_too():
    run = diagnose(cr.MLP([N_IN, 1], loss="squared_error"), cr.SGD(lr=1e10), batch_size=50)
    assert run.stopped == "diverged"
    assert "the loss left the finite numbers" in str(run.diagnosis)


# ---- the rules ------------------------------------------------------------------------------------


def measured(**options) -> Measurement:
    return Measurement(
        **{
            "epoch": 1,
            "layer": "dense0",
            "units": 100,
            "dead": None,
            "saturated": None,
            "gradient_norm": 1.0,
            "update_ratio": 1e-3,
        }
        | options
    )


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        ([1.0, 0.5, 0.1], set()),
        ([1.0, 1e-6, 1e-4], set()),  # a hundred times its lowest, and nothing
        ([1.0, 0.5, 0.61], {"learning rate too high"}),
        ([1.0, 1.6, 0.1], {"learning rate too high"}),
        ([1.0, math.nan], {"learning rate too high"}),
    ],
)
def test_learning_rate_too_high_by_the_loss(losses, found):
    assert {f.kind for f in judge([measured()], losses)} == found


@pytest.mark.parametrize(("loss", "found"), [(0.9, set()), (0.999, {"learning rate too low"})])
def test_learning_rate_too_low_only_if_the_loss_does_not_move(loss, found):
    assert {f.kind for f in judge([measured(update_ratio=1e-6)], [1.0, loss])} == found


def test_a_learning_rate_that_ends_at_zero_is_not_too_low():
    """As that of a cosine: the usual update counts, not the last."""
    ratios = [1e-3, 1e-3, 1e-3, 1e-9]
    assert judge([measured(epoch=e + 1, update_ratio=r) for e, r in enumerate(ratios)], [1.0, 1.0, 1.0, 1.0, 1.0]) == []


def test_a_loss_that_does_not_move_for_another_reason_is_not_the_learning_rate():
    dead = measured(dead=50, update_ratio=1e-9)
    assert [f.kind for f in judge([dead], [1.0, 1.0])] == ["dead units"]


def test_the_first_update_may_be_larger_than_usual():
    first, usual = measured(epoch=0, update_ratio=0.45), measured()
    assert judge([first, usual], [1.0, 0.5]) == []
    (finding,) = judge([first._replace(update_ratio=0.6), usual], [1.0, 0.5])
    assert "the first update" in finding.text
    (finding,) = judge([measured(update_ratio=0.2)], [1.0, 0.5])
    assert str(finding) == "dense0: an update changes W by 2.0e-01 of its size (1e-3 is usual): divide lr by 10"


def test_a_layer_of_dead_units_alone_is_one_finding():
    layers = [measured(dead=100, gradient_norm=0.0), measured(layer="dense1")]
    assert [f.kind for f in judge(layers, [1.0, 0.5])] == ["dead units"]


# ---- measurements ---------------------------------------------------------------------------------


def test_measurements_are_those_of_the_net(backend):
    """With one batch of all rows per epoch, everything can be computed from outside."""
    X, y = rows()
    net = cr.MLP([N_IN, 12, 3], backend=backend, dtype="float64", activation="relu")
    seen: list[dict[str, np.ndarray]] = [net.parameter_arena.download()]
    trainer = cr.Trainer(
        net, cr.SGD(lr=0.1), batch_size=N, epochs=3, callbacks=[lambda r: seen.append(r.net.parameter_arena.download())]
    )
    found = trainer.fit(X, y, diagnose=True).diagnosis
    other = cr.MLP([N_IN, 12, 3], dtype="float64", activation="relu")
    assert [(m.epoch, m.layer) for m in found.measurements] == [(e, f"dense{i}") for e in range(4) for i in range(2)]
    for m in found.measurements:
        other.assign_parameters(seen[m.epoch])
        loss, gradients = other.loss_and_gradients(X, y)
        assert found.losses[m.epoch] == pytest.approx(loss, rel=1e-9)
        norm = math.sqrt(sum((g**2).sum() for name, g in gradients.items() if name.startswith(m.layer)))
        assert m.gradient_norm == pytest.approx(norm, rel=1e-9)
        before, after = (seen[e][f"{m.layer}.W"] for e in ((0, 1) if m.epoch == 0 else (m.epoch - 1, m.epoch)))
        ratio = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert m.update_ratio == pytest.approx(ratio, rel=1e-9)
        if m.layer == "dense0":
            z = X @ seen[m.epoch]["dense0.W"] + seen[m.epoch]["dense0.b"]
            assert m.dead == (z <= 0).all(axis=0).sum()
            assert m.units == 12


@pytest.mark.parametrize("options", [{}, {"batch_size": N}, {"batch_size": 1}, {"stream": True}, {"batch_size": 64}])
def test_a_diagnosis_does_not_change_the_training(backend, options):
    X, y = rows()
    outcomes = []
    for diagnosed in (False, True):
        net, gradients = cr.MLP([N_IN, 9, 3], backend=backend), []

        def keep(record, gradients=gradients):
            gradients.append(record.net.backend.download(record.net.gradient_arena.flat).tobytes())

        options = {"batch_size": 13, "epochs": 3} | options
        trainer = cr.Trainer(net, cr.Adam(lr=0.01), callbacks=[keep], **options)
        run = trainer.fit(X, y, validation=0.2, diagnose=diagnosed)
        weights = net.backend.download(net.parameter_arena.flat).tobytes()
        outcomes.append((weights, run.history["loss"], run.best_epoch, gradients))
        assert (run.diagnosis is not None) == diagnosed
    assert outcomes[0] == outcomes[1]


def test_a_diagnosis_synchronises_only_around_the_steps_that_it_measures(monkeypatch):
    """Of 13 steps per epoch: after the first, and before and after the last of each epoch."""
    done: list[int] = []
    replay = Steps.replay
    monkeypatch.setattr(Steps, "replay", lambda self, r: (done.append(r.start + r.times), replay(self, r))[1])
    monkeypatch.setattr("chainrule.train.steps.SECONDS_PER_SYNC", 1e9)  # however slow the steps are
    diagnose(cr.MLP([N_IN, 3]), cr.Adam(), epochs=2, batch_size=16)
    assert done == [1, 12, 13, 12, 13]


def test_a_diagnosis_measures_the_same_rows_streamed_and_resident():
    X, y = rows()
    found = []
    for stream in (False, True):
        trainer = cr.Trainer(cr.MLP([N_IN, 9, 3]), batch_size=13, epochs=2, stream=stream)
        found.append(trainer.fit(X, y, validation=0.2, diagnose=True).diagnosis)
    assert found[0].losses == found[1].losses
    assert found[0].measurements == found[1].measurements


def test_only_the_last_update_of_an_epoch_is_measured():
    """The learning rate falls to 0 within the epoch, so that the last update is far smaller than all together."""
    run = diagnose(cr.MLP([N_IN, 9, 3]), cr.SGD(lr=cr.Cosine(0.1)), epochs=1, batch_size=20)
    first, last = (m.update_ratio for m in run.diagnosis.measurements if m.layer == "dense0")
    assert 0 < last < 0.1 * first


def test_layers_of_every_kind_are_measured():
    """Those without an activation or parameters have no such figure; those within a block are measured too."""
    block = cr.Residual([cr.Dense(9), cr.BatchNorm(), cr.Activation("relu"), cr.Dropout(0.5)])
    run = diagnose(cr.Network([cr.Dense(9, "tanh"), block, cr.Dense(3)], N_IN), cr.Adam(1e-2), epochs=2)
    found = {m.layer: m for m in run.diagnosis.measurements if m.epoch == 2}
    names = ["dense0", "dense1", "batch_norm0", "activation0", "dropout0", "residual0", "dense2"]
    assert sorted(found) == sorted(names)
    assert found["activation0"].dead is not None
    assert found["dense0"].saturated is not None
    assert found["batch_norm0"].gradient_norm > 0
    assert found["batch_norm0"].update_ratio > 0
    assert found["dropout0"][3:] == (None, None, None, None)


def test_a_diagnosis_of_few_rows_with_sample_weight():
    X, y = rows()
    net = cr.MLP([N_IN, 4, 3])
    alone, _ = net.loss_and_gradients(X[1:2], y[1:2])
    run = cr.Trainer(net, epochs=1).fit(X[:2], y[:2], sample_weight=[0, 1], diagnose=True)
    assert len(run.diagnosis.losses) == 2
    assert run.diagnosis.losses[0] == pytest.approx(alone, rel=1e-5)


# ---- the picture ----------------------------------------------------------------------------------


def test_the_plot_of_a_diagnosis_has_a_line_per_layer(tmp_path):
    run = diagnose(cr.MLP([N_IN, 8, 8, 8, 3]), cr.Adam())
    run.diagnosis.plot(tmp_path / "g.svg")
    svg = ET.parse(tmp_path / "g.svg").getroot()
    lines = [p for p in svg.iter("{http://www.w3.org/2000/svg}path") if p.get("stroke-linejoin")]
    assert [line.get("d").count("L") for line in lines] == 4 * [5], "six points: before training and five epochs"
    assert [line.get("stroke") for line in lines] == colours(4)
    texts = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"gradient norm", "dense0", "dense1", "dense2", "dense3", "0", "5"} <= set(texts)
    width = float(svg.get("width"))
    assert all(float(t.get("x")) < width for t in svg.iter("{http://www.w3.org/2000/svg}text"))


def test_the_plot_of_a_diagnosis_has_a_gap_for_a_gradient_of_zero(tmp_path):
    measurements = [measured(epoch=e, gradient_norm=g) for e, g in enumerate([1.0, 0.0, 1e-3, 1e-4])]
    d.Diagnosis([], measurements, []).plot(tmp_path / "g.svg")
    (line,) = re.findall(r'stroke-linejoin="round" d="(.*?)"', (tmp_path / "g.svg").read_text())
    assert line.count("L") == 2
