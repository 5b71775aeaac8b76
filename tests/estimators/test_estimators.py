"""What the estimators do beyond scikit-learn's checks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule as cr

CPU = {"device": "cpu", "random_state": 0, "hidden_layer_sizes": (16,)}


@pytest.fixture(scope="module")
def cancer():
    return train_test_split(*datasets.load_breast_cancer(return_X_y=True), random_state=0)


@pytest.fixture(scope="module")
def diabetes():
    return train_test_split(*datasets.load_diabetes(return_X_y=True, scaled=False), random_state=0)


def test_the_defaults_do_well_without_a_scaler(cancer, diabetes):
    X, Xt, y, yt = cancer
    assert cr.MLPClassifier(device="cpu", random_state=0).fit(X, y).score(Xt, yt) > 0.96
    X, Xt, y, yt = diabetes
    assert cr.MLPRegressor(device="cpu", random_state=0).fit(X, y).score(Xt, yt) > 0.3


def test_data_frames_a_pipeline_and_a_search():
    pandas = pytest.importorskip("pandas")
    X, y = datasets.load_iris(return_X_y=True, as_frame=True)
    names = pandas.Series(np.array(["setosa", "versicolor", "virginica"])[y], index=y.index)
    clf = cr.MLPClassifier(**CPU, max_iter=60).fit(X, names)
    assert clf.feature_names_in_.tolist() == list(X.columns)
    assert set(clf.predict(X)) <= set(clf.classes_) == {"setosa", "versicolor", "virginica"}
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(X[X.columns[::-1]])
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), clone(clf))
    search = GridSearchCV(pipeline, {"mlpclassifier__hidden_layer_sizes": [(2,), (16, 8)]}, cv=2).fit(X, names)
    assert search.best_score_ > 0.8
    with pytest.raises(cr.DataError, match="X: expected finite numbers, got text\nhint: pass a DataFrame"):
        clf.fit(X.assign(text="a").to_numpy(), names)
    with pytest.raises(cr.DataError, match="X: expected finite numbers, got text") as predicting:
        clf.predict(X.assign(text="a").to_numpy())
    assert "DataFrame" not in predicting.value.hint


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_a_pickle_holds_numpy_arrays_and_predicts_the_same(kind, cancer):
    X, Xt, y, _ = cancer
    fitted = getattr(cr, kind)(**CPU, max_iter=5, dropout=0.2, normalization="batch").fit(X, y)
    opened = pickle.loads(pickle.dumps(fitted))
    assert type(opened.network_.parameter_arena.flat) is np.ndarray
    np.testing.assert_array_equal(opened.predict(Xt), fitted.predict(Xt))


def test_dtype_auto_is_that_of_the_rows(cancer):
    X, Xt, y, _ = cancer
    for dtype, asked in (("float64", "auto"), ("float32", "auto"), ("float32", "float32")):
        clf = cr.MLPClassifier(**CPU, max_iter=2, dtype=asked).fit(X.astype(dtype if asked == "auto" else "d"), y)
        assert clf.coefs_[0].dtype == clf.predict_proba(Xt.astype(dtype)).dtype == dtype
    with pytest.raises(cr.OptionError, match="float16"):
        cr.MLPClassifier(dtype="float16").fit(X, y)


def test_a_net_may_be_saved_and_opened_without_scikit_learn(cancer, tmp_path):
    X, Xt, y, _ = cancer
    clf = cr.MLPClassifier(**CPU, max_iter=5, dtype="float64").fit(X, y)
    clf.network_.save(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(cr.load(tmp_path / "net.safetensors").predict(Xt), clf.predict(Xt))


@pytest.mark.parametrize("monitor", [None, "valid_loss", "valid_roc_auc"])
def test_eval_set_keeps_the_best_epoch_by_monitor(cancer, monitor):
    X, Xt, y, yt = cancer
    options = CPU | {"learning_rate": "constant", "learning_rate_init": 0.05, "n_iter_no_change": 5, "weight_decay": 0}
    clf = cr.MLPClassifier(**options, monitor=monitor).fit(X, y, eval_set=(Xt, yt))
    watched = clf.history_[monitor or "valid_accuracy"]
    best = (min if monitor == "valid_loss" else max)(watched)
    assert watched.index(best) + 1 == clf.best_iteration_ < clf.n_iter_ < 200
    assert clf.score(Xt, yt) == clf.validation_scores_[clf.best_iteration_ - 1]
    if monitor == "valid_loss":
        np.testing.assert_allclose(log_loss(yt, clf.predict_proba(Xt)), best, rtol=1e-9)


def test_eval_set_with_sample_weight(cancer):
    X, Xt, y, yt = cancer
    weights = np.arange(len(yt)) % 3
    clf = cr.MLPClassifier(**CPU, max_iter=10).fit(X, y, eval_set=(Xt, yt, weights))
    assert abs(max(clf.validation_scores_) - clf.score(Xt, yt, sample_weight=weights)) < 1e-12
    for wrong in (Xt, (Xt,)):
        with pytest.raises(cr.OptionError, match="eval_set"):
            clf.fit(X, y, eval_set=wrong)


def test_monitor_takes_a_custom_metric(diabetes):
    X, Xt, y, yt = diabetes
    worst = cr.Metric(lambda y, p: np.abs(y - p).max(), "worst", greater_is_better=False)
    reg = cr.MLPRegressor(**CPU, monitor=worst, max_iter=20).fit(X, y, eval_set=(Xt, yt))
    np.testing.assert_allclose(min(reg.history_["valid_worst"]), np.abs(yt - reg.predict(Xt)).max())


def test_class_weight_is_by_label(cancer):
    X, _, y, _ = cancer
    names = np.array(["bad", "good"])[y]
    plain, shy, balanced = (
        cr.MLPClassifier(**CPU, max_iter=30, class_weight=w).fit(X, names).predict_proba(X)[:, 1].mean()
        for w in (None, {"bad": 50}, "balanced")
    )
    assert shy < balanced < plain
    with pytest.raises(cr.OptionError, match=r"class_weight: expected a label of .*, got 1"):
        cr.MLPClassifier(**CPU, class_weight={1: 1}).fit(X, names)


def test_multilabel_and_several_targets(rng):
    X = rng.normal(size=(300, 4))
    labels = (X[:, :3] > 0).astype(int)
    clf = cr.MLPClassifier(**CPU).fit(X, labels)
    assert clf.score(X, labels) > 0.8
    assert clf.predict_proba(X).shape == (300, 3)
    assert clf.classes_.tolist() == [0, 1, 2]
    numbers = np.column_stack([100 * X[:, 0], 1e-3 * X[:, 1]])
    reg = cr.MLPRegressor(**CPU).fit(X, numbers)
    assert reg.score(X, numbers) > 0.9, "columns of all sizes count alike"
    with pytest.raises(ValueError, match="indicator"):
        clf.set_params(warm_start=True).fit(X, labels[:, 0])


def test_partial_fit_trains_one_epoch(rng):
    X = rng.normal(size=(200, 4))
    y = np.where(X[:, 0] > 0, "a", "b")
    clf = cr.MLPClassifier(**CPU)
    with pytest.raises(ValueError, match="classes must be passed"):
        clf.partial_fit(X, y)
    for part in np.array_split(np.arange(200), 4) * 40:
        clf.partial_fit(X[part], y[part], classes=["a", "b"])
    assert clf.score(X, y) > 0.85
    assert (clf.n_iter_, clf.t_, len(clf.loss_curve_)) == (1, 200 * 40, 160)
    with pytest.raises(ValueError, match="has classes not in"):
        clf.partial_fit(X[:2], ["a", "c"])
    assert not hasattr(cr.MLPRegressor(solver="lbfgs"), "partial_fit")


def test_a_convergence_warning_is_of_the_line_that_called_fit(cancer):
    """So that a second fit, on another line, warns again."""
    X, _, y, _ = cancer
    for options in ({"learning_rate": "constant"}, {"solver": "lbfgs"}):
        with pytest.warns(ConvergenceWarning) as caught:
            cr.MLPClassifier(**CPU, max_iter=1, **options).fit(X, y)
        assert [warning.filename for warning in caught] == [__file__]


def test_warm_start_continues_from_the_weights(rng):
    X = rng.normal(size=(200, 4))
    reg = cr.MLPRegressor(**CPU, max_iter=10, warm_start=True).fit(X, X[:, 0])
    first = reg.loss_
    assert reg.fit(X, X[:, 0]).loss_curve_[0] < 1.1 * first
    assert reg.set_params(warm_start=False).fit(X, X[:, 0]).loss_curve_[0] > 1.3 * first
    assert len(reg.loss_curve_) == 10
    with pytest.raises(cr.OptionError, match=r"(?s)expected \(16,\) as in the fit before, got \(8,\).*warm_start"):
        reg.set_params(warm_start=True, hidden_layer_sizes=(8,)).fit(X, X[:, 0])


@pytest.mark.parametrize("loss", ["huber", "poisson", "quantile", cr.Quantile([0.2, 0.7]), "gaussian_nll"])
def test_loss_of_the_regressor(rng, loss):
    X = rng.normal(size=(300, 3))
    y = np.exp(X[:, 0] / 2 + 1)
    reg = cr.MLPRegressor(**CPU, loss=loss, early_stopping=True, n_iter_no_change=50).fit(X, y)
    assert reg.score(X, y) > 0.8
    assert reg.predict(X).ndim == (2 if "uantile" in str(loss) else 1)
    assert reg.out_activation_ == ("exp" if loss == "poisson" else "identity")


@pytest.mark.parametrize("loss", ["focal", cr.SoftmaxCrossEntropy(label_smoothing=0.1)])
def test_loss_of_the_classifier_with_label_smoothing(cancer, loss):
    X, Xt, y, yt = cancer
    clf = cr.MLPClassifier(**CPU, loss=loss, max_iter=50).fit(X, y)
    assert clf.score(Xt, yt) > 0.93
    assert clf.predict_proba(Xt).shape == (len(Xt), 2)
    for wrong in ("squared_error", cr.Huber(), 3):
        with pytest.raises(cr.OptionError, match="loss"):
            cr.MLPClassifier(**CPU, loss=wrong).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "newton"}, "solver: expected one of adam"),
        ({"learning_rate": "falling"}, "learning_rate: expected one of"),
        ({"activation": "logisitc"}, "activation: expected one of"),
        ({"hidden_layer_sizes": (10, 0)}, "hidden_layer_sizes: expected a whole number"),
        (
            {"hidden_layer_sizes": "big"},
            r"hidden_layer_sizes: .*, got 'big'\nhint: a tuple such as \(256, 128\)",
        ),
        ({"early_stopping": True, "validation_fraction": 1.5}, "validation_fraction: expected .*, got 1.5"),
        ({"alpha": -1.0}, "alpha: expected a finite number from 0 up, got -1.0"),
        ({"max_iter": 0}, "max_iter"),
        ({"batch_size": "all"}, "batch_size"),
        ({"device": "gpu"}, "device: expected auto"),
        ({"callbacks": [3]}, "callback"),
        ({"threads": 0}, "threads: expected a whole number from 1 up, got 0"),
        ({"threads": "x"}, "threads: expected a whole number from 1 up, got 'x'"),
    ],
)
def test_options_are_refused_at_fit(cancer, options, message):
    X, _, y, _ = cancer
    with pytest.raises(cr.OptionError, match=message):
        cr.MLPClassifier(**options).fit(X, y)


def test_targets_of_text_and_rows_of_different_lengths_are_refused_in_our_words():
    X = np.ones((4, 3))
    for text in (["a", "b", "a", "b"], np.array(["a", "b", "a", "b"]), np.array(["a", "b", "a", "b"], object)):
        with pytest.raises(cr.DataError, match="y: expected finite numbers, got text\nhint: MLPClassifier is for"):
            cr.MLPRegressor(**CPU).fit(X, text)
    for ragged in ([[1, 2, 3], [1, 2, 3], [1], [2, 3, 4]], [(1, 2, 3), (1, 2, 3), (1,), (2, 3, 4)]):
        with pytest.raises(cr.DataError, match=r"X: expected rows of one length, got rows of 3 and 1 numbers"):
            cr.MLPClassifier(**CPU).fit(ragged, [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"y has one class, 0\.0: a classifier"):
        cr.MLPClassifier(**CPU).fit(X, np.zeros(4))
    with pytest.raises(cr.DataError, match="one row per class") as alone:
        cr.MLPClassifier(**CPU, early_stopping=True).fit(X, np.arange(4))
    assert alone.value.hint == "hold out no rows; if the numbers are no classes, train a regression"


def test_callbacks_are_told(cancer):
    X, _, y, _ = cancer
    epochs = []
    cr.MLPClassifier(**CPU, max_iter=3, callbacks=[lambda record: epochs.append(record.epoch)]).fit(X, y)
    assert epochs == [1, 2, 3]


def test_a_constant_learning_rate_that_did_not_converge_warns(cancer):
    X, _, y, _ = cancer
    from sklearn.exceptions import ConvergenceWarning

    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\)"):
        cr.MLPClassifier(**CPU, max_iter=3, learning_rate="constant").fit(X, y)


def test_verbose_prints_a_line_for_each_epoch_where_there_is_no_terminal(capsys, cancer):
    X, Xt, y, yt = cancer
    clf = cr.MLPClassifier(**CPU, max_iter=3, verbose=True).fit(X, y, eval_set=(Xt, yt))
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == [f"Iteration {i + 1}, loss = {loss:.8f}" for i, loss in enumerate(clf.loss_curve_)]
    assert lines[1::2] == [f"Validation score: {score:.6f}" for score in clf.validation_scores_]
    cr.MLPClassifier(**CPU, max_iter=3, verbose=True).fit(X, y)
    assert len(capsys.readouterr().out.splitlines()) == 3  # of the folds of `shrink` nothing is said
    cr.MLPClassifier(**CPU, max_iter=3).fit(X, y)
    assert not capsys.readouterr().out


def test_verbose_prints_no_lines_on_a_terminal_which_has_a_progress_line(capsys, monkeypatch, cancer):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    cr.MLPClassifier(**CPU, max_iter=3, verbose=True).fit(*cancer[::2])
    assert "Iteration" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_max_fun_limits_the_evaluations_of_lbfgs_with_a_convergence_warning(kind, cancer):
    pytest.importorskip("scipy", reason="SciPy is not installed")
    X, _, y, _ = cancer
    options = {**CPU, "solver": "lbfgs", "tol": 1e-9, "shrink": False}
    with pytest.warns(ConvergenceWarning, match=r"max_fun \(7\)"):
        few = getattr(cr, kind)(**options, max_fun=7).fit(X, y)
    assert few.n_iter_ <= 7
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(9\)"):
        getattr(cr, kind)(**options, max_iter=9).fit(X, y)
    with pytest.raises(cr.OptionError, match="max_evaluations"):
        getattr(cr, kind)(**options, max_fun=0).fit(X, y)


def test_lbfgs_that_has_converged_does_not_warn(rng):
    X = rng.normal(size=(40, 2))
    cr.MLPRegressor(**CPU | {"hidden_layer_sizes": ()}, solver="lbfgs", alpha=0.1).fit(X, X[:, 0])
