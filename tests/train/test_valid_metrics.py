"""Metrics of the validation rows: from the net's own predictions, watched in the right direction, refused by name."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import metrics
from chainrule.nn.network import Network
from chainrule.train.progress import describe
from chainrule.train.valid_metrics import METRICS
from emulation.backend import compiler_problem
from emulation.simulated_cupy import simulated


def make_net(task, backend=None, **options):
    net = cr.MLP(task.widths, loss=task.loss, backend=backend, **({"seed": 2} | options))
    net.preparation = cr.Preparation(
        features=cr.Standardization(np.full(5, 0.5), np.full(5, 2.0), limit=3.0),
        targets=cr.Standardization(np.array([1.0, -1.0]), np.array([2.0, 3.0])) if net.loss.task == "regress" else None,
    )
    return net


def fit(task, asked, net=None, *, validation="rows", **options):
    net = net or make_net(task)
    trainer = cr.Trainer(net, cr.Adam(lr=0.01), batch_size=10, metrics=asked, **({"epochs": 2} | options))
    return trainer.fit(task.X, task.y, validation=task.valid if validation == "rows" else validation)


def test_they_are_of_the_predictions_for_the_validation_rows(backend, task):
    """What `predict` and `predict_proba` say of the rows as they came, in the target's own units."""
    net, seen = make_net(task, backend, dtype="float64"), []
    X, y = task.valid
    weights = np.arange(len(X)) % 3

    def mine(y, predicted):
        seen.append((y, predicted))
        return np.float32(7)

    names = [name for name in METRICS[net.loss.task] if name not in ("accuracy", "r2")]
    run = fit(task, [*names, mine], net, validation=(X, y, weights), epochs=1)
    predicted = np.asarray(net.predict(X))
    needs = predicted if net.loss.task == "regress" else np.asarray(net.predict_proba(X))
    for name in names:
        function = METRICS[net.loss.task][name].function
        said = predicted if name == "balanced_accuracy" else needs
        assert run.history[f"valid_{name}"] == pytest.approx([function(y, said, weights)], rel=1e-9), name
    assert run.history["valid_mine"] == [7.0]
    ((y_seen, predicted_seen),) = seen
    np.testing.assert_allclose(y_seen, y, rtol=1e-12)
    np.testing.assert_allclose(predicted_seen, predicted, rtol=1e-12)
    assert type(y_seen) is type(predicted_seen) is np.ndarray


def test_the_usual_ones_stay_and_come_first(classes):
    run = fit(classes, ["roc_auc", "accuracy"])
    names = ["loss", "accuracy", "valid_loss", "valid_accuracy", "valid_roc_auc", "lr", "seconds"]
    assert list(run.history) == names
    assert describe(dict.fromkeys(run.history, 0.5)) == "train 0.5  valid 0.5  accuracy 0.5  roc_auc 0.5"


def test_they_are_drawn(classes, tmp_path):
    fit(classes, ["roc_auc", "log_loss", "balanced_accuracy"]).history.plot(tmp_path / "c.svg")
    titles = [t.text for t in ET.parse(tmp_path / "c.svg").iter() if t.get("class") == "title"]
    assert titles == ["loss", "accuracy", "roc_auc", "log_loss", "balanced_accuracy"]


@pytest.mark.parametrize("validation", [0.3, "rows"])
def test_they_do_not_change_the_training(classes, validation):
    nets = [make_net(classes) for _ in range(2)]
    for net, asked in zip(nets, (True, ["roc_auc", "balanced_accuracy"]), strict=True):
        fit(classes, asked, net, validation=validation)
    for a, b in zip(*(net.parameters().values() for net in nets), strict=True):
        assert (a == b).all()


def test_predictions_are_asked_for_once_an_epoch_and_only_where_they_are_needed(classes, monkeypatch):
    asked = []
    for name in ("predict", "predict_proba"):
        method = getattr(Network, name)
        monkeypatch.setattr(Network, name, lambda self, X, n=name, m=method: asked.append(n) or m(self, X))
    fit(classes, True, epochs=1)
    assert asked == []
    fit(classes, ["roc_auc", "log_loss", "balanced_accuracy"], epochs=1)
    assert sorted(asked) == ["predict", "predict_proba"]


# ---- watched --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "best"), [("rmse", min), ("mae", min)])
def test_a_name_knows_its_direction(regression, name, best):
    run = fit(regression, [name], monitor=f"valid_{name}", epochs=9)
    values = run.history[f"valid_{name}"]
    assert run.best_epoch == values.index(best(values)) + 1


@pytest.mark.parametrize(("name", "greater"), [("roc_auc", True), ("balanced_accuracy", True), ("log_loss", False)])
def test_a_name_of_a_classification_knows_its_direction(name, greater):
    assert METRICS["classify"][name].greater_is_better is greater


@pytest.mark.parametrize(("greater", "best"), [(True, 3), (False, 1)])
def test_a_metric_of_ones_own_is_watched_in_the_direction_that_was_said(classes, greater, best):
    values = iter([1.0, 2.0, 5.0, 4.0, 3.0, 2.0])
    metric = cr.Metric(lambda *_: next(values), "mine", greater_is_better=greater)
    run = fit(classes, [metric], monitor="valid_mine", epochs=6)
    assert run.best_epoch == best


def test_early_stopping_by_a_metric(classes):
    values = iter([1.0, 3.0, 2.0, 2.0, 2.0])
    metric = cr.Metric(lambda *_: next(values), "mine", greater_is_better=True)
    run = fit(classes, [metric], epochs=50, early_stopping=cr.EarlyStopping(patience=2, monitor="valid_mine"))
    assert (run.stopped, run.best_epoch, run.history.epochs) == ("early", 2, 4)


def test_weights_go_to_functions_that_take_them(classes):
    seen = []

    def weighted(y, predicted, *, sample_weight=None):
        seen.append(sample_weight)
        return 0.0

    fit(classes, [weighted], validation=(*classes.valid, np.arange(20.0)), epochs=1)
    fit(classes, [weighted], epochs=1)
    np.testing.assert_allclose(seen[0], np.arange(20) / 10, rtol=1e-6)  # of mean 1, the row of weight 0 aside
    assert seen[1] is None


# ---- refusals -------------------------------------------------------------------------------------


def mine(y, predicted):
    return 1.0


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        (["rmse"], {}, "unknown metric of a net that is to classify 'rmse'"),
        ("roc_auc", {}, "True, False or a list"),
        ([3], {}, "a function"),
        ([mine, mine], {}, "two metrics are named 'mine'"),
        ([cr.Metric(mine, "accuracy")], {}, "two metrics are named 'accuracy'"),
        (["roc_auc"], {"validation": None}, "of validation rows, and there are none"),
        ([mine], {"monitor": "valid_mine"}, "nobody said which values of mine are better"),
        (["roc_auc"], {"monitor": "valid_log_loss"}, "there is no 'valid_log_loss' to watch"),
        ([lambda *_: "good"], {}, "returned 'good', a number was expected"),
    ],
)
def test_refusals(classes, asked, options, message):
    with pytest.raises(cr.OptionError, match=message):
        fit(classes, asked, **options)


@pytest.mark.parametrize("options", [{"needs": "logits"}, {"greater_is_better": "yes"}])
def test_a_metric_is_checked_when_it_is_made(options):
    with pytest.raises(cr.OptionError):
        cr.Metric(metrics.accuracy, **options)


def test_rows_that_a_device_keeps_as_they_came(rng):
    """Narrow features are standardised batch by batch there: predictions are of just these rows, in bf16 as well."""
    if problem := compiler_problem():
        pytest.skip(problem)
    X = rng.integers(0, 256, (60, 6)).astype(np.uint8)
    y = (X[:, 0] > 128).astype(int)
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        net = cr.MLP([6, 8, 2], backend=CuPyBackend(precision="bf16"))
        assert net.backend.keeps_narrow_features
        net.preparation = cr.Preparation(features=cr.Standardization.fit(X, limit=3.0))
        trainer = cr.Trainer(net, batch_size=16, epochs=2, metrics=["log_loss"])
        run = trainer.fit(X, y, validation=(X[:30], y[:30]), diagnose=True)
    assert run.history["valid_log_loss"] == pytest.approx(run.history["valid_loss"], rel=1e-5)
    assert run.diagnosis.losses[0] > 0


def test_metrics_of_several_quantiles_are_of_the_median(rng):
    """A function of the user's own has all that predict says."""
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    seen = []

    def shapes(y, predicted):
        seen.append((y.shape, predicted.shape))
        return 0.0

    net = cr.MLP([3, 5, 3], loss=cr.Quantile([0.1, 0.4, 0.9]))
    run = cr.Trainer(net, metrics=["mae", "r2", shapes], epochs=1).fit(X, y, validation=(X, y))
    assert run.history["valid_mae"][0] == pytest.approx(np.abs(net.predict(X)[:, 1] - y).mean(), rel=1e-5)
    assert {"valid_r2", "valid_d2"} <= set(run.history)
    assert seen == [((40,), (40, 3))]
