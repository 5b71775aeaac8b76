"""A metric of an estimator's history, its score and scikit-learn's function are one number; so is what is watched."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import metrics as sk

import chainrule as cr
from chainrule.nn import metrics
from chainrule.nn.scores import score

QUICK = {"device": "cpu", "random_state": 0, "hidden_layer_sizes": (8,), "max_iter": 8}
RNG = np.random.default_rng(6)
X = RNG.normal(size=(150, 4))
T, V = slice(0, 100), slice(100, 150)
W = RNG.integers(0, 3, 150).astype(float)
SCALES = np.array([1e-3, 1.0, 1e3])
Y = np.c_[X[:, 0], X[:, 1] + X[:, 2], RNG.normal(size=150)] * SCALES


def fitted(model, y, weighted, part=T):
    held = (X[V], y[V], W[V]) if weighted else (X[V], y[V])
    return model.fit(X[part], y[part], W[part] if weighted else None, eval_set=held)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", cr.GaussianNLL()], ids=str)
def test_score_and_history_agree_on_several_targets(loss, weighted, dtype):
    asked = cr.Metric(metrics.rmse, "own_rmse", greater_is_better=False)
    m = fitted(cr.MLPRegressor(loss=loss, dtype=dtype, monitor=asked, **QUICK), Y, weighted)
    w = W[V] if weighted else None
    predicted = m.predict(X[V])
    at = m.best_iteration_ - 1
    r2 = m.score(X[V], Y[V], w)
    assert r2 == pytest.approx(sk.r2_score(Y[V], predicted, sample_weight=w), rel=1e-9)
    assert m.history_["valid_r2"][at] == pytest.approx(r2, rel=1e-6)
    assert m.validation_scores_ == m.history_["valid_r2"]
    rmse = sk.root_mean_squared_error(Y[V], predicted, sample_weight=w)
    assert m.history_["valid_own_rmse"][at] == pytest.approx(rmse, rel=1e-6)
    if not weighted:
        found = score(m.network_, X[V], Y[V])
        assert found["r2"] == pytest.approx(r2, rel=1e-6)
        assert found["rmse"] == pytest.approx(rmse, rel=1e-6)
        assert found["mae"] == pytest.approx(sk.mean_absolute_error(Y[V], predicted), rel=1e-6)
    if loss == "absolute_error":
        d2 = sk.d2_absolute_error_score(Y[V], predicted, sample_weight=w)
        assert m.history_["valid_d2"][at] == pytest.approx(d2, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 9.0}])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "log_loss", "roc_auc"])
def test_score_and_history_agree_on_classes_with_class_weight(name, classes, class_weight, weighted, dtype):
    y = np.clip(np.floor(X[:, 0] + 1.5), 0, classes - 1).astype(int)
    m = cr.MLPClassifier(class_weight=class_weight, dtype=dtype, monitor=f"valid_{name}", **QUICK)
    fitted(m, y, weighted)
    w, at = W[V] if weighted else None, m.best_iteration_ - 1
    said, p = m.predict(X[V]), m.predict_proba(X[V])
    of_ones_own = {"multi_class": "ovr"} if classes > 2 else {}
    p64 = np.asarray(p, np.float64) / np.asarray(p, np.float64).sum(axis=1, keepdims=True)
    want = {
        "accuracy": lambda: sk.accuracy_score(y[V], said, sample_weight=w),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(y[V], said, sample_weight=w),
        "log_loss": lambda: sk.log_loss(y[V], p64, sample_weight=w),
        "roc_auc": lambda: sk.roc_auc_score(y[V], p64[:, 1] if classes == 2 else p64, sample_weight=w, **of_ones_own),
    }[name]()
    assert m.history_[f"valid_{name}"][at] == pytest.approx(want, rel=1e-6)
    assert m.history_["valid_accuracy"][at] == pytest.approx(m.score(X[V], y[V], w), rel=1e-6)
    assert m.best_validation_score_ == max(m.history_["valid_accuracy"])
    if not weighted:
        labels = y[V] if classes == 3 else y[V].astype(float)
        assert score(m.network_, X[V], labels)[name] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "roc_auc"])
def test_score_and_history_agree_on_multilabel(name):
    y = np.c_[X[:, 0] > 0, X[:, 1] > 0.5, X[:, 2] > -0.5].astype(int)
    m = fitted(cr.MLPClassifier(monitor=f"valid_{name}", **QUICK), y, True)
    p, at = m.predict_proba(X[V]), m.best_iteration_ - 1
    want = {
        "accuracy": lambda: sk.accuracy_score(y[V], m.predict(X[V]), sample_weight=W[V]),
        "log_loss": lambda: np.mean([sk.log_loss(y[V, j], p[:, j], sample_weight=W[V]) for j in range(3)]),
        "roc_auc": lambda: sk.roc_auc_score(y[V], p, sample_weight=W[V]),
    }[name]()
    assert m.history_[f"valid_{name}"][at] == pytest.approx(want, rel=1e-6)
    with pytest.raises(cr.OptionError, match="balanced_accuracy: expected a net with one class per row"):
        cr.MLPClassifier(monitor="valid_balanced_accuracy", **QUICK).fit(X, y, eval_set=(X, y))


def test_score_and_history_agree_on_training_rows():
    """An entry of lbfgs is of one set of weights: no penalty is in its r2, no class weight in its accuracy."""
    with pytest.warns(UserWarning, match="Maximum iterations"):
        m = cr.MLPRegressor(solver="lbfgs", alpha=2.0, shrink=False, **QUICK).fit(X, Y[:, 1], W)
    assert m.history_["r2"][-1] == pytest.approx(m.score(X, Y[:, 1], W), rel=1e-6)
    y = (X[:, 0] > 1).astype(int)
    for weights in (None, W):
        c = cr.MLPClassifier(solver="lbfgs", class_weight={0: 30.0}, shrink=False, **(QUICK | {"max_iter": 4}))
        with pytest.warns(UserWarning, match="Maximum iterations"):
            c.fit(X, y, weights)
        assert c.history_["accuracy"][-1] == pytest.approx(c.score(X, y, weights), rel=1e-6)


def test_the_score_of_a_target_that_never_changes_is_0():
    m = cr.MLPRegressor(**QUICK).fit(X, np.full(150, 0.1))
    assert m.score(X, np.full(150, 0.1)) == m.score(X[:1], [0.3]) == 0
    assert m.score(X, np.r_[np.full(149, 0.1), 5], sample_weight=np.r_[np.ones(149), 0]) == 0
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        m.score(X, np.ones(3))


@pytest.mark.parametrize("size", [1e300, 1e-300])
@pytest.mark.filterwarnings("error")
def test_the_score_of_targets_whose_squares_no_float64_holds(size):
    y = Y[:, 1] * size
    m = cr.MLPRegressor(**QUICK, monitor="valid_r2").fit(X[T], y[T], eval_set=(X[V], y[V]))
    assert m.score(X[V], y[V]) == pytest.approx(m.history_["valid_r2"][m.best_iteration_ - 1], rel=1e-9)


# ---- watched --------------------------------------------------------------------------------------


@pytest.mark.parametrize("learning_rate", ["cosine", "constant"])
def test_early_stopping_by_a_constant_score_does_not_end_the_fit(learning_rate):
    near = np.abs(X[:, 0]) < 0.1
    m = cr.MLPRegressor(learning_rate=learning_rate, **(QUICK | {"max_iter": 60}))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        m.fit(X, X[:, 0], eval_set=(X[near], np.zeros(near.sum())))
    assert "valid_r2 is undefined or constant: the target never changes" in str(said[0].message)
    losses = m.history_["valid_loss"]
    assert m.best_iteration_ == losses.index(min(losses)) + 1 > 1
    assert m.n_iter_ > 11


def test_early_stopping_by_a_score_that_cannot_change():
    with pytest.warns(UserWarning, match="valid_r2 is undefined or constant"):
        m = cr.MLPRegressor(early_stopping=True, **QUICK).fit(X, np.full(150, 0.1))
    assert set(m.validation_scores_) == {0.0}


@pytest.mark.parametrize("value", [np.nan, 2.0])
@pytest.mark.parametrize(("model", "y"), [(cr.MLPRegressor, X[:, 0]), (cr.MLPClassifier, (X[:, 0] > 0).astype(int))])
def test_a_metric_of_ones_own_that_says_nothing(model, y, value):
    metric = cr.Metric(lambda *_: value, "mine", greater_is_better=True)
    with pytest.warns(UserWarning, match="valid_mine is undefined or constant"):
        m = model(monitor=metric, n_iter_no_change=3, **(QUICK | {"max_iter": 20})).fit(X, y, eval_set=(X[V], y[V]))
    losses = m.history_["valid_loss"]
    assert m.best_iteration_ == losses.index(min(losses)) + 1 > 3
    assert m.n_iter_ > 5


@pytest.mark.parametrize("values", [[1.0] * 4 + [0.5] * 20, [np.nan, np.nan, 1.0, *[0.5] * 20]])
def test_convergence_follows_a_metric_that_speaks_late(values):
    """As if it had been followed from the first epoch."""
    found = iter(values)
    metric = cr.Metric(lambda *_: next(found), "mine", greater_is_better=True)
    m = cr.MLPRegressor(monitor=metric, n_iter_no_change=5, **(QUICK | {"max_iter": 20}))
    m.fit(X, X[:, 0], eval_set=(X[V], X[V, 0]))
    first = values.index(1.0)
    assert (m.best_iteration_, m.n_iter_) == (first + 1, first + 1 + 6)


def test_nothing_is_said_of_a_score_that_does_not_improve():
    y = (X[:, 0] > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m = cr.MLPClassifier(learning_rate_init=1e-12, **QUICK).fit(X, y, eval_set=(X[V], y[V]))
    assert m.best_iteration_ == 1


def test_a_score_that_is_nan_in_some_epochs_has_a_best():
    """``max`` of a list that begins with nan is nan."""
    m = cr.MLPRegressor(**QUICK).fit(X, X[:, 0], eval_set=(X[V], X[V, 0]))
    m.history_["valid_r2"][0] = np.nan
    run = cr.Run()
    for value in m.history_["valid_r2"]:
        run.history.append({"loss": 1.0, "valid_r2": value})
    m._record(run, 1, joins=False)
    assert m.best_validation_score_ == np.nanmax(m.history_["valid_r2"])


# ---- class weights --------------------------------------------------------------------------------


def test_class_weight_balanced_goes_by_sample_weight_of_training_rows():
    x, y, w = X[:60], np.repeat([0, 1], 30), np.ones(60)
    w[40:] = 0
    options = {"class_weight": "balanced", "shrink": False, **QUICK}
    weighted = cr.MLPClassifier(**options).fit(x, y, w).predict_proba(x)
    kept = cr.MLPClassifier(**options).fit(x[:40], y[:40]).predict_proba(x)
    np.testing.assert_allclose(weighted, kept, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_class_weight_balanced_of_a_fold_goes_by_its_rows(monkeypatch, weighted):
    """And its features are standardised as those of the estimator's net are: by the weights of rows alone."""
    y = np.repeat([0, 1, 2], [100, 35, 15])
    seen = []
    fit = cr.Trainer.fit

    def spy(self, X, y, **options):
        seen.append((len(y), options["class_weight"], options["sample_weight"]))
        return fit(self, X, y, **options)

    monkeypatch.setattr("chainrule.train.trainer.Trainer.fit", spy)
    m = cr.MLPClassifier(class_weight="balanced", **QUICK).fit(X, y, W if weighted else None)
    assert m.shrinkage_ is not None
    assert len(seen) == 6
    assert all(c == "balanced" and (w is None) != weighted for _, c, w in seen)
    assert all(w is None or len(np.unique(w)) <= 3 for _, _, w in seen), "weights of rows, not of classes"
