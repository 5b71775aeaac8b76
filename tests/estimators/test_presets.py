"""Estimators with a preset: an ensemble for tables, judged by the rows that its members leave out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_classification, make_friedman1
from sklearn.metrics import accuracy_score, r2_score

import chainrule as cr
from chainrule.estimators.presets import preset_of

FEW = {"preset": "fast", "max_iter": 4, "device": "cpu", "random_state": 0}


@pytest.fixture(scope="module")
def classes():
    X, y = make_classification(300, 6, n_informative=4, n_classes=3, random_state=0)
    return X.astype(np.float32), np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def numbers():
    X, y = make_friedman1(400, noise=0.5, random_state=0)
    return X.astype(np.float32), 100 * y


def test_a_preset_is_an_ensemble_for_tables(classes):
    clf = cr.MLPClassifier(**FEW).fit(*classes)
    net = clf.network_
    assert net.members == 2
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds[:2] == ["PiecewiseLinear", "Scale"]
    assert cr.MLPClassifier(preset="default", max_iter=1).fit(*classes).network_.members == 8


def test_a_regression_has_a_straight_line_beside_the_hidden_layers(numbers):
    net = cr.MLPRegressor(**FEW).fit(*numbers).network_
    assert type(net.layers[0]).__name__ == "Concatenate"


def test_what_is_set_is_taken(classes):
    clf = cr.MLPClassifier(**FEW, hidden_layer_sizes=(7,), n_members=3, batch_size=50, dropout=0).fit(*classes)
    assert clf.network_.widths[1:-1] == (7,)
    assert clf.network_.members == 3
    assert not any(node.name.startswith("dropout") for node in clf.network_.nodes)


def test_out_of_fold_predictions_and_score_of_classes(classes):
    X, y = classes
    clf = cr.MLPClassifier(**FEW | {"preset": "default", "max_iter": 20}).fit(X, y)
    known = ~np.isnan(clf.oof_prediction_[:, 0])
    assert known.all()  # below 1,000 rows members leave out four of four blocks
    np.testing.assert_allclose(clf.oof_prediction_[known].sum(axis=1), 1, rtol=1e-6)
    accuracy = accuracy_score(y[known], clf.classes_[clf.oof_prediction_[known].argmax(axis=1)])
    assert clf.oof_score_.metrics["accuracy"] == pytest.approx(accuracy)
    assert clf.oof_score_.rows == known.sum()
    assert "nets never saw" in str(clf.oof_score_)
    assert clf.best_iteration_ == 1 + int(np.argmin(clf.history_["left_out_loss"]))


def test_out_of_fold_predictions_of_a_regression_are_in_its_units(numbers):
    X, y = numbers
    reg = cr.MLPRegressor(**FEW | {"max_iter": 20}).fit(X, y)
    known = ~np.isnan(reg.oof_prediction_)
    assert reg.oof_score_.metrics["r2"] == pytest.approx(r2_score(y[known], reg.oof_prediction_[known]), rel=1e-5)
    assert reg.score(X, y) > 0.9


def test_two_classes_have_two_columns_of_out_of_fold_probabilities(classes):
    X, y = classes
    clf = cr.MLPClassifier(**FEW).fit(X, y == "a")
    assert clf.oof_prediction_.shape == (len(X), 2)


@pytest.mark.parametrize(
    ("options", "preset"),
    [
        ({}, "default"),
        ({"max_iter": 3, "batch_size": 32, "dropout": 0.1, "n_members": 3, "early_stopping": True}, "default"),
        ({"loss": cr.Huber(), "verbose": True, "random_state": 1, "dtype": "float64", "beta_1": 0.9}, "default"),
        ({"preset": "fast", "hidden_layer_sizes": (8,), "warm_start": True}, "fast"),
        ({"preset": None}, None),
        ({"hidden_layer_sizes": np.array([8])}, None),
        ({"hidden_layer_sizes": 8}, None),
        ({"activation": "relu"}, None),
        ({"activation": ["relu", "tanh"]}, None),
        ({"solver": "lbfgs"}, None),
        ({"alpha": 0}, None),
        ({"learning_rate_init": np.float32(0.01)}, None),
        ({"learning_rate": "constant"}, None),
        ({"weight_decay": 0.1}, None),
        ({"normalization": "layer"}, None),
        ({"standardize": False}, None),
        ({"warm_start": True}, None),
        ({"standardize": np.True_, "warm_start": np.False_}, "default"),  # as a grid of parameters in an array has them
        ({"standardize": np.False_}, None),
        ({"beta_2": 0.99}, None),
    ],
)
def test_the_preset_is_default_unless_parameters_describe_a_net_or_its_training(options, preset):
    assert preset_of(cr.MLPRegressor(**options), one_epoch=False) == preset
    if "preset" not in options:
        assert preset_of(cr.MLPRegressor(**options), one_epoch=True) is None


def test_partial_fit_continues_what_fit_has_made(numbers):
    reg = cr.MLPRegressor(max_iter=2, n_members=2, device="cpu", random_state=0).fit(*numbers)
    assert reg.partial_fit(*numbers).network_.members == 2
    assert cr.MLPRegressor(device="cpu").partial_fit(*numbers).network_.members == 1


def test_without_shrink_the_left_out_rows_judge_the_net_as_it_was_trained(numbers):
    shrunk, plain = (cr.MLPRegressor(**FEW, shrink=shrink).fit(*numbers) for shrink in (True, False))
    assert (plain.shrinkage_, plain.best_iteration_) == (None, shrunk.best_iteration_)
    assert shrunk.shrinkage_ is not None
    assert plain.oof_score_.rows == shrunk.oof_score_.rows


def test_an_ensemble_of_many_rows_computes_in_float32(rng):
    X = rng.normal(size=(1000, 2))
    for rows, options, dtype in [(1000, {}, "float32"), (999, {}, "float64"), (1000, {"dtype": "float64"}, "float64")]:
        reg = cr.MLPRegressor(preset="fast", max_iter=1, device="cpu", **options).fit(X[:rows], X[:rows, 0])
        assert str(reg.network_.dtype) == dtype


def test_a_fit_of_many_rows_ends_long_after_its_best_epoch(rng):
    X = rng.normal(size=(1000, 3)).astype(np.float32)
    reg = cr.MLPRegressor(preset="fast", device="cpu", random_state=0).fit(X, rng.normal(size=1000))
    assert reg.n_iter_ == max(reg.best_iteration_ + 5, int(np.ceil(1.5 * reg.best_iteration_))) < 50


def test_noise_ends_as_the_constant(rng):
    errors = []
    for seed in range(3):
        X, y = rng.normal(size=(120, 5)).astype(np.float32), rng.normal(size=120)
        new = rng.normal(size=(200, 5)).astype(np.float32)
        reg = cr.MLPRegressor(**FEW | {"preset": "default", "max_iter": "auto", "random_state": seed}).fit(X, y)
        errors.append(np.abs(reg.predict(new) - y.mean()).mean())
    assert np.median(errors) < 0.25


def test_rows_held_out_by_the_user_choose_the_epoch(classes):
    X, y = classes
    clf = cr.MLPClassifier(**FEW).fit(X[:200], y[:200], eval_set=(X[200:], y[200:]))
    assert "left_out_loss" not in clf.history_
    assert clf.best_iteration_


def test_partial_fit_trains_an_ensemble_without_leaving_rows_out(classes):
    X, y = classes
    clf = cr.MLPClassifier(**FEW)
    for _ in range(3):
        clf.partial_fit(X, y, classes=np.unique(y))
    assert clf.network_.members == 2
    assert clf.oof_score_ is None


def test_a_fit_without_a_preset_has_nothing_of_the_one_before(numbers):
    reg = cr.MLPRegressor(**FEW).fit(*numbers)
    assert reg.oof_score_.rows
    reg.set_params(preset=None).fit(*numbers)
    assert reg.oof_score_ is None
    assert reg.oof_prediction_ is None


def test_copies_of_a_row_are_left_out_together(classes):
    X, y = classes
    clf = cr.MLPClassifier(**FEW).fit(np.repeat(X, 2, axis=0), np.repeat(y, 2))
    known = ~np.isnan(clf.oof_prediction_[:, 0])
    np.testing.assert_array_equal(known[::2], known[1::2])


def test_frames_with_text_and_missing_values(classes):
    pd = pytest.importorskip("pandas")
    X, y = classes
    frame = pd.DataFrame(X[:, :3], columns=["p", "q", "r"])
    frame["where"] = np.array(["north", "south", None])[np.arange(len(X)) % 3]
    frame.loc[::7, "p"] = np.nan
    clf = cr.MLPClassifier(**FEW).fit(frame, y)
    assert clf.predict(frame.head()).shape == (5,)
    embedded = cr.MLPClassifier(**FEW, embed_above=2).fit(frame, y)
    assert embedded.predict_proba(frame).shape == (len(X), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "sgd"}, "solver: expected 'adam' with preset='fast', got 'sgd'"),
        ({"normalization": "layer"}, "normalization: expected None with preset='fast', got 'layer'"),
        ({"standardize": False}, "standardize: expected True with preset='fast', got False"),
        ({"beta_2": 0.99}, r"beta_2: expected 0\.999 with preset='fast', got 0\.99"),
    ],
)
def test_what_a_preset_cannot_have_is_refused(classes, options, message):
    with pytest.raises(cr.OptionError, match=message):
        cr.MLPClassifier(preset="fast", **options).fit(*classes)


def test_a_preset_that_does_not_exist_is_refused(classes):
    with pytest.raises(cr.OptionError, match="expected None for a plain net, got 'none'"):
        cr.MLPClassifier(preset="none").fit(*classes)
    for options in ({"preset": "fastest"}, {"preset": "fast", "hidden_layer_sizes": ()}):
        with pytest.raises(cr.OptionError, match="preset"):
            cr.MLPClassifier(**options).fit(*classes)


def test_class_weights_and_sample_weights(classes):
    X, y = classes
    weights = np.linspace(0.5, 2, len(X))
    clf = clone(cr.MLPClassifier(**FEW, class_weight="balanced")).fit(X, y, sample_weight=weights)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_a_fitted_ensemble_is_exported_with_its_mean(tmp_path):
    pytest.importorskip("onnxruntime")
    X, y = load_breast_cancer(return_X_y=True)
    clf = cr.MLPClassifier(**FEW).fit(X, y)
    clf.network_.export_onnx(tmp_path / "m.onnx", rows=X[:50])
    clf.network_.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(
        cr.load(tmp_path / "m.safetensors", device="cpu").predict_proba(X), clf.network_.predict_proba(X)
    )
