"""Metrics of the validation rows: from the net's own predictions, monitored in the right direction, refused by name."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import metrics
from chainrule.nn.evaluation import Evaluator
from chainrule.nn.losses.names import LOSSES
from chainrule.nn.network import Network
from chainrule.nn.scores import score
from chainrule.train.monitoring.validation_metrics import METRICS
from chainrule.train.records.progress_text import describe
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


def test_metrics_are_of_the_predictions_for_the_validation_rows(backend, task):
    """What `predict` and `predict_proba` return for the rows as given, in the target's own units."""
    net, seen = make_net(task, backend, dtype="float64"), []
    X, y = task.valid
    weights = np.arange(len(X)) % 3

    def mine(y, predicted):
        seen.append((y, predicted))
        return np.float32(7)

    several = net.loss.task == "multilabel"
    names = [n for n in METRICS[net.loss.task] if n not in ("accuracy", "r2") and not (several and "balanced" in n)]
    run = fit(task, [*names, mine], net, validation=(X, y, weights), epochs=1)
    predicted = np.asarray(net.predict(X))
    needs = predicted if net.loss.task == "regress" else np.asarray(net.predict_proba(X))
    for name in names:
        function = METRICS[net.loss.task][name].function
        expected = predicted if name == "balanced_accuracy" else needs
        assert run.history[f"valid_{name}"] == pytest.approx([function(y, expected, weights)], rel=1e-9), name
    assert run.history["valid_mine"] == [7.0]
    ((y_seen, predicted_seen),) = seen
    np.testing.assert_allclose(y_seen, y, rtol=1e-12)
    np.testing.assert_allclose(predicted_seen, predicted, rtol=1e-12)
    assert type(y_seen) is type(predicted_seen) is np.ndarray


def test_the_default_metrics_stay_and_come_first(classes):
    run = fit(classes, ["roc_auc", "accuracy"])
    names = ["loss", "accuracy", "valid_loss", "valid_accuracy", "valid_roc_auc", "lr", "seconds"]
    assert list(run.history) == names
    assert describe(dict.fromkeys(run.history, 0.5)) == "train 0.5  valid 0.5  accuracy 0.5  roc_auc 0.5"


def test_metrics_are_plotted(classes, tmp_path):
    fit(classes, ["roc_auc", "log_loss", "balanced_accuracy"]).history.plot(tmp_path / "c.svg")
    titles = [t.text for t in ET.parse(tmp_path / "c.svg").iter() if t.get("class") == "title"]
    assert titles == ["loss", "accuracy", "roc_auc", "log_loss", "balanced_accuracy"]


@pytest.mark.parametrize("validation", [0.3, "rows"])
def test_metrics_do_not_change_the_training(classes, validation):
    nets = [make_net(classes) for _ in range(2)]
    for net, asked in zip(nets, (True, ["roc_auc", "balanced_accuracy"]), strict=True):
        fit(classes, asked, net, validation=validation)
    for a, b in zip(*(net.parameters().values() for net in nets), strict=True):
        assert (a == b).all()


def test_metrics_predict_once_per_epoch_and_only_if_needed(classes, monkeypatch):
    asked = []
    for name in ("predict", "predict_proba"):
        method = getattr(Network, name)
        monkeypatch.setattr(Network, name, lambda self, X, n=name, m=method: asked.append(n) or m(self, X))
    fit(classes, True, epochs=1)
    assert asked == []
    fit(classes, ["roc_auc", "log_loss", "balanced_accuracy"], epochs=1)
    assert sorted(asked) == ["predict", "predict_proba"]


# ---- monitored ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "best"), [("rmse", min), ("mae", min)])
def test_a_metric_name_knows_its_direction(regression, name, best):
    run = fit(regression, [name], monitor=f"valid_{name}", epochs=9)
    values = run.history[f"valid_{name}"]
    assert run.best_epoch == values.index(best(values)) + 1


@pytest.mark.parametrize(("name", "greater"), [("roc_auc", True), ("balanced_accuracy", True), ("log_loss", False)])
def test_a_classification_metric_name_knows_its_direction(name, greater):
    assert METRICS["classify"][name].greater_is_better is greater


@pytest.mark.parametrize(("greater", "best"), [(True, 3), (False, 1)])
def test_a_custom_metric_is_monitored_by_greater_is_better(classes, greater, best):
    values = iter([1.0, 2.0, 5.0, 4.0, 3.0, 2.0])
    metric = cr.Metric(lambda *_: next(values), "mine", greater_is_better=greater)
    run = fit(classes, [metric], monitor="valid_mine", epochs=6)
    assert run.best_epoch == best


def test_early_stopping_by_a_metric(classes):
    values = iter([1.0, 3.0, 2.0, 2.0, 2.0])
    metric = cr.Metric(lambda *_: next(values), "mine", greater_is_better=True)
    run = fit(classes, [metric], epochs=50, early_stopping=cr.EarlyStopping(patience=2, monitor="valid_mine"))
    assert (run.stopped, run.best_epoch, run.history.epochs) == ("early", 2, 4)


def test_sample_weight_is_given_to_metrics_that_take_it(classes):
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
        (["rmse"], {}, "metric of a classification: expected one of .*, got 'rmse'"),
        ("roc_auc", {}, "True, False or a list"),
        ([3], {}, "a function"),
        ([mine, mine], {}, "two metrics are named 'mine'"),
        ([cr.Metric(mine, "accuracy")], {}, "two metrics are named 'accuracy'"),
        (["roc_auc"], {"validation": None}, "needs validation rows, and there are none"),
        ([mine], {"monitor": "valid_mine"}, "mine does not say whether higher is better"),
        (["roc_auc"], {"monitor": "valid_log_loss"}, "monitor: expected .*, got 'valid_log_loss'"),
        ([lambda *_: "good"], {}, "metric <lambda>: expected a number, got 'good'"),
    ],
)
def test_wrong_metrics_are_refused(classes, asked, options, message):
    with pytest.raises(cr.OptionError, match=message):
        fit(classes, asked, **options)


@pytest.mark.parametrize("options", [{"needs": "logits"}, {"greater_is_better": "yes"}])
def test_a_metric_is_checked_when_it_is_made(options):
    with pytest.raises(cr.OptionError):
        cr.Metric(metrics.accuracy, **options)


def test_metrics_of_rows_that_a_device_keeps_unconverted(rng):
    """Narrow features are standardised batch by batch there: predictions are of just these rows, in bf16 as well."""
    if problem := compiler_problem():
        pytest.skip(problem)
    X = rng.integers(0, 256, (60, 6)).astype(np.uint8)
    y = (X[:, 0] > 128).astype(int)
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        net = cr.MLP([6, 8, 2], backend=CuPyBackend(precision="bf16"))
        net.preparation = cr.Preparation(features=cr.Standardization.fit(X, limit=3.0))
        trainer = cr.Trainer(net, batch_size=16, epochs=2, metrics=["log_loss"])
        run = trainer.fit(X, y, validation=(X[:30], y[:30]), diagnose=True)
    assert run.history["valid_log_loss"] == pytest.approx(run.history["valid_loss"], rel=1e-5)
    assert run.diagnosis.losses[0] > 0


def test_metrics_of_several_quantiles_are_of_the_median(rng):
    """A custom function is given everything that predict returns."""
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


# ---- two classes are as three, several targets as one ------------------------------------------------


@pytest.mark.parametrize("n_out", [1, 2, 3])
def test_a_metric_of_three_classes_is_one_of_two(rng, n_out):
    """By name, in the history and in a score, in the units of scikit-learn's functions."""
    X = rng.normal(size=(60, 3))
    y = np.clip(np.floor(X[:, 0] + 1), 0, max(1, n_out - 1)).astype(int)
    net = cr.MLP([3, 6, n_out], loss="sigmoid_cross_entropy" if n_out == 1 else "softmax_cross_entropy")
    asked = ["balanced_accuracy", "log_loss", "roc_auc"]
    run = cr.Trainer(net, epochs=1, metrics=asked, monitor="valid_balanced_accuracy").fit(X, y, validation=(X, y))
    scores = score(net, X, y)
    assert set(scores) == {"accuracy", *asked}
    for name, value in scores.items():
        assert run.history[f"valid_{name}"] == pytest.approx([value], rel=1e-6), name
    recalls = [(np.asarray(net.predict(X))[y == c] == c).mean() for c in np.unique(y)]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_balanced_accuracy_of_several_answers_per_row_is_refused():
    net = cr.MLP([3, 2], loss="sigmoid_cross_entropy")
    with pytest.raises(cr.OptionError, match="expected a net with one class per row, got one with 2 answers per row"):
        cr.Trainer(net, metrics=["balanced_accuracy"])


@pytest.mark.parametrize("n_out", [1, 2])
def test_label_smoothing_does_not_change_the_targets_of_metrics(rng, n_out):
    X, y = rng.normal(size=(40, 3)), rng.integers(0, 2, (40, n_out))
    net = cr.MLP([3, n_out], loss=cr.SigmoidCrossEntropy(label_smoothing=0.1))
    run = cr.Trainer(net, epochs=1, metrics=["log_loss", "roc_auc"]).fit(X, y, validation=(X, y))
    scores = score(net, X, y)
    for name in ("log_loss", "roc_auc", "accuracy"):
        assert run.history[f"valid_{name}"] == pytest.approx([scores[name]], rel=1e-6)


LOSSES_OF_NUMBERS = ["squared_error", "absolute_error", "huber", "poisson", "gamma", cr.Quantile([0.2, 0.7])]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES_OF_NUMBERS, ids=str)
def test_the_metric_of_several_targets_is_the_mean_over_columns(backend, rng, loss, weighted):
    """Whatever their scales; a target that never changes has 0."""
    X = rng.normal(size=(30, 3))
    y = np.exp(np.c_[0.1 * X[:, 0], 3 + X[:, 1], np.full(30, -1.7)])
    w = rng.integers(0, 3, 30).astype(float) if weighted else None
    loss = loss if isinstance(loss, cr.Quantile) else LOSSES[loss]
    net = cr.MLP([3, 4, loss.outputs_for(3)], loss=loss, backend=backend, dtype="float64", seed=1)
    each = loss.outputs_for(1)
    alone = []
    for j in range(3):
        one = cr.MLP([3, 4, each], loss=loss, dtype="float64")
        arrays = {name: net.backend.download(a) for name, a in net.parameters().items()}
        for name in ("dense1.W", "dense1.b"):
            arrays[name] = np.ascontiguousarray(arrays[name][..., j * each : (j + 1) * each])
        one.assign_parameters(arrays)
        alone.append(Evaluator(one, one.upload_rows(X, y[:, j], w))()[loss.metric])
    assert alone[2] == 0
    assert len({round(a, 3) for a in alone}) == 3
    found = Evaluator(net, net.upload_rows(X, y, w))()
    assert found[loss.metric] == pytest.approx(np.mean(alone), rel=1e-9)


def test_r2_of_several_training_targets_cannot_be_monitored(rng):
    X = rng.normal(size=(30, 3))
    with pytest.raises(cr.OptionError, match="got 'r2': r2 of 2 target columns is recorded of validation"):
        cr.Trainer(cr.MLP([3, 2], loss="squared_error"), monitor="r2").fit(X, X[:, :2])


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_the_metric_of_training_rows_is_without_the_l2_penalty(rng, loss):
    """The recorded loss includes it. The rate is so small that no weight moves."""
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    nets = [cr.MLP([3, 8, 1], loss=loss, dtype="float64", seed=1) for _ in range(2)]
    plain, held = (
        cr.Trainer(net, cr.SGD(1e-30), epochs=1, batch_size=7, l2=l2).fit(X, y).history
        for net, l2 in zip(nets, (0, 5), strict=True)
    )
    name = nets[0].loss.metric
    assert held["loss"][0] > plain["loss"][0] + 1
    assert held[name] == pytest.approx(plain[name], rel=1e-9)


def test_r2_of_a_summed_loss_with_drop_last_is_over_the_rows_that_were_used():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 3))
    net = cr.MLP([3, 1], loss="squared_error_sum", dtype="float64")
    net.parameters()["dense0.W"][:] = 0  # it predicts 0 everywhere
    trainer = cr.Trainer(net, cr.SGD(lr=1e-300), batch_size=15, drop_last=True, epochs=1, shuffle=False)
    assert trainer.fit(rows, rows[:, 0]).history["r2"][0] < 0.3
