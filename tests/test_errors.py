"""Errors: which of Python's own each of them is besides, and what a caller who knows only those gets."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import chainrule as cr

BUILT_IN = {
    "ShapeError": {ValueError},
    "DataError": {ValueError},
    "ModelFileError": {ValueError},
    "OptionError": {ValueError},
    "DeviceError": {RuntimeError},
    "GuardError": {RuntimeError},
    "OutOfMemoryError": {RuntimeError, MemoryError},
    "GradientError": {AssertionError},
    "DivergenceError": {ArithmeticError, ValueError},
}
CANDIDATES = (ValueError, RuntimeError, MemoryError, AssertionError, ArithmeticError, TypeError, OSError, LookupError)


def test_errors_are_subclasses_of_those_of_numpy_and_scikit_learn():
    errors = {
        name: thing
        for name in cr.__all__
        if isinstance(thing := getattr(cr, name), type) and issubclass(thing, cr.ChainruleError)
    }
    del errors["ChainruleError"]
    assert {name: {c for c in CANDIDATES if issubclass(error, c)} for name, error in errors.items()} == BUILT_IN


def test_divergence_of_the_trainer_is_a_value_error_with_its_step():
    net = cr.MLP([3, 8, 1], activation="identity", loss="squared_error")
    X = np.random.default_rng(0).normal(size=(64, 3))
    with pytest.raises(ValueError, match="training") as caught:
        cr.Trainer(net, cr.SGD(1e6), epochs=50).fit(X, X[:, 0])
    assert caught.value.epoch >= 1
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_divergence_of_an_estimator_is_a_value_error(kind, method, solver):
    """scikit-learn's raises a ValueError where the weights are no longer finite."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    X = np.finfo(np.float64).max * np.random.default_rng(0).uniform(size=(30, 2))
    y, options = np.arange(30) % 2, {}
    if method == "partial_fit":
        if solver == "lbfgs":
            pytest.skip("it has no partial_fit")
        options = {"classes": [0, 1]} if kind == "MLPClassifier" else {}
    model = getattr(cr, kind)(solver=solver, activation="identity", standardize=False, random_state=0, device="cpu")
    with pytest.raises(ValueError, match="diverged") as caught:
        getattr(model, method)(X, y, **options)
    assert isinstance(caught.value, cr.DivergenceError)


@pytest.mark.filterwarnings("ignore:Maximum iterations")
def test_divergence_in_a_grid_search_gets_the_error_score():
    """GridSearchCV continues if one of its candidates diverges."""
    selection = pytest.importorskip("sklearn.model_selection", reason="scikit-learn is not installed")
    from sklearn.exceptions import FitFailedWarning

    X = np.random.default_rng(0).normal(size=(60, 3))
    model = cr.MLPRegressor((4,), solver="sgd", momentum=0.0, max_iter=5, learning_rate="constant", device="cpu")
    search = selection.GridSearchCV(model, {"learning_rate_init": [1e-2, 1e30]}, cv=2, error_score=-7.0)
    with pytest.warns(FitFailedWarning, match="DivergenceError"), np.errstate(all="ignore"):
        search.fit(X, X[:, 0])
    assert search.best_params_ == {"learning_rate_init": 1e-2}
    assert search.cv_results_["mean_test_score"][1] == -7.0


def test_out_of_memory_is_a_memory_error_with_a_hint():
    net = cr.MLP([2, 3, 1], loss="squared_error")

    def fail(_: cr.EpochRecord) -> None:
        raise MemoryError

    with pytest.raises(MemoryError, match="cpu is out of memory") as caught:
        cr.Trainer(net, epochs=1, callbacks=[fail]).fit(np.eye(2), np.ones(2))
    assert isinstance(caught.value, cr.OutOfMemoryError)
    assert caught.value.hint


MADE = [
    cr.DataError("row 3 is nan", hint="leave it out"),
    cr.OutOfMemoryError("cpu", needed=3, free=None, doing="reading"),
    cr.DivergenceError("it diverged", step=4, epoch=2, where="dense0", hint="lower the learning rate"),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_pickled_errors_keep_their_attributes(error, again):
    """joblib pickles what a worker raises: an error that cannot be unpickled is a pool that broke."""
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)


def test_a_pickled_divergence_error_holds_the_run_so_far():
    X = np.random.default_rng(0).normal(size=(64, 3))
    with pytest.raises(cr.DivergenceError) as caught:
        cr.Trainer(cr.MLP([3, 8, 1], loss="squared_error"), cr.SGD(1e6), epochs=50).fit(X, X[:, 0])
    other = pickle.loads(pickle.dumps(caught.value))
    assert other.run.stopped == caught.value.run.stopped == "diverged"
    assert (other.step, other.epoch, other.where) == (caught.value.step, caught.value.epoch, caught.value.where)
