"""With scikit-learn's settings, the same first weights and the same batches: scikit-learn's loss curve."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import neural_network
from sklearn.neural_network import _multilayer_perceptron as theirs

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.random import Purpose, stream

ITS_SETTINGS = {
    "standardize": False,
    "weight_decay": 0.0,
    "learning_rate": "constant",
    "device": "cpu",
    "shrink": False,
}
SHARED = {
    "learning_rate_init": 0.001,
    "hidden_layer_sizes": (12, 7),
    "alpha": 0.3,
    "batch_size": 40,
    "max_iter": 25,
    "random_state": 3,
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Start(cr.Callback):
    """Remembers the first weights and the seed of the shuffles."""

    def on_start(self, record: cr.StartRecord) -> None:
        self.weights, self.seed = record.net.parameter_arena.download(), record.settings.seed


def from_weights(kind: str, start: Start, **options: Any) -> Any:
    """scikit-learn's estimator, which will begin with these weights."""
    layers = iter(range(len(start.weights) // 2))

    class FromThere(getattr(neural_network, kind)):
        def _init_coef(self, *_: object) -> tuple[np.ndarray, np.ndarray]:
            i = next(layers)
            return start.weights[f"dense{i}.W"].copy(), start.weights[f"dense{i}.b"].copy()

    known = getattr(neural_network, kind)().get_params()
    return FromThere(**{k: v for k, v in (SHARED | options).items() if k in known})


def fit_both(monkeypatch: pytest.MonkeyPatch, kind: str, X: np.ndarray, y: np.ndarray, **options: Any) -> list[Any]:
    """Ours, then scikit-learn's from the same weights, in the same order of rows."""
    start = Start()
    ours = getattr(cr, kind)(**{**SHARED, **ITS_SETTINGS, **options}, callbacks=[start]).fit(X, y)
    epochs = iter(range(10**6))

    def shuffle(rows: np.ndarray, **_: object) -> np.ndarray:
        order = np.empty(len(rows), np.int64)
        NumPyBackend().permutation(*stream(start.seed, Purpose.SHUFFLE, step=next(epochs)), out=order)
        return order

    monkeypatch.setattr(theirs, "shuffle", shuffle)
    return [ours, from_weights(kind, start, **options).fit(X, y)]


def targets(kind: str, X: np.ndarray) -> np.ndarray:
    return {
        "two classes": lambda: np.where(X[:, 0] * X[:, 1] > 0, "yes", "no"),
        "three classes": lambda: np.digitize(X[:, 0] + X[:, 1] ** 2, [0.3, 1.5]),
        "several labels": lambda: (X[:, :3] > 0.2).astype(int),
        "numbers": lambda: X[:, 0] * X[:, 1] + X[:, 2],
    }[kind]()


def name_of_kind(kind: str) -> str:
    return "MLPRegressor" if kind == "numbers" else "MLPClassifier"


@pytest.mark.parametrize("kind", ["two classes", "three classes", "several labels", "numbers"])
@pytest.mark.parametrize(
    "options",
    [
        {"solver": "adam"},
        {"solver": "adam", "shuffle": False, "activation": "logistic", "batch_size": 30, "epsilon": 1e-3},
        {"solver": "sgd", "learning_rate_init": 0.05},
        {"solver": "sgd", "learning_rate_init": 0.1, "nesterovs_momentum": False, "activation": "tanh"},
        {"solver": "sgd", "learning_rate_init": 0.1, "learning_rate": "invscaling", "momentum": 0.0, "power_t": 0.3},
        {
            "solver": "sgd",
            "learning_rate_init": 0.3,
            "learning_rate": "adaptive",
            "momentum": 0.0,
            "tol": 0.02,
            "n_iter_no_change": 2,
        },
        {"solver": "adam", "tol": 0.05, "n_iter_no_change": 3},
    ],
    ids=lambda options: " ".join(str(v) for v in options.values()),
)
def test_the_loss_curve_is_scikit_learns(monkeypatch, rng, kind, options):
    X = rng.normal(size=(170, 5))  # 40 rows a batch leave 10
    ours, sk = fit_both(monkeypatch, name_of_kind(kind), X, targets(kind, X), **options)
    assert ours.n_iter_ == sk.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, sk.loss_curve_, rtol=1e-10, atol=1e-12)
    assert abs(ours.loss_ - sk.loss_) < 1e-10
    assert abs(ours.best_loss_ - sk.best_loss_) < 1e-10
    assert_the_same_weights(ours, sk)
    for name in ("n_layers_", "n_outputs_", "out_activation_", "t_", "n_features_in_"):
        assert getattr(ours, name) == getattr(sk, name), name
    np.testing.assert_array_equal(ours.predict(X[:20]), sk.predict(X[:20])) if kind != "numbers" else None


# Without momentum if the rate changes: scikit-learn's velocity holds the rate that it was built with.
SOLVERS = [
    {"solver": "adam", "epsilon": 1e-3},
    {"solver": "sgd", "learning_rate_init": 0.05},
    {"solver": "sgd", "learning_rate_init": 0.1, "learning_rate": "invscaling", "power_t": 0.3, "momentum": 0.0},
    {
        "solver": "sgd",
        "learning_rate_init": 0.3,
        "learning_rate": "adaptive",
        "momentum": 0.0,
        "tol": 0.05,
        "n_iter_no_change": 2,
    },
]


def assert_the_same_weights(ours: Any, sk: Any) -> None:
    for mine, its in zip([*ours.coefs_, *ours.intercepts_], [*sk.coefs_, *sk.intercepts_], strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-8, atol=1e-10)


def assert_the_same(ours: Any, sk: Any, X: np.ndarray) -> None:
    """Weights and predictions to rounding."""
    assert_the_same_weights(ours, sk)
    assert (ours.t_, ours.n_iter_) == (sk.t_, sk.n_iter_)
    np.testing.assert_array_equal(ours.predict(X), sk.predict(X))


@pytest.mark.parametrize("options", SOLVERS, ids=lambda options: " ".join(str(v) for v in options.values()))
@pytest.mark.parametrize("begun_by", ["partial_fit", "fit"])
def test_partial_fit_continues_as_scikit_learns(rng, begun_by, options):
    """Moments, Adam's count of steps, what a rate has come to: over calls with rows of their own, and a pickle."""
    X = rng.normal(size=(170, 5))
    y = targets("two classes", X)
    start, options = Start(), {**options, "shuffle": False, "max_iter": 4}
    ours = cr.MLPClassifier(**{**SHARED, **ITS_SETTINGS, **options}, callbacks=[start])
    first = slice(0, 100)
    getattr(ours, begun_by)(X[first], y[first], **({"classes": ["no", "yes"]} if begun_by == "partial_fit" else {}))
    sk = from_weights("MLPClassifier", start, **options)
    getattr(sk, begun_by)(X[first], y[first], **({"classes": ["no", "yes"]} if begun_by == "partial_fit" else {}))
    for i in range(12):
        part = slice(0, 100) if i % 3 else slice(60, 170)  # 110 rows: the last of three batches has 30
        if i == 6:
            ours = pickle.loads(pickle.dumps(ours.set_params(callbacks=None)))
        ours.partial_fit(X[part], y[part])
        sk.partial_fit(X[part], y[part])
    np.testing.assert_allclose(ours.loss_curve_, sk.loss_curve_, rtol=1e-10, atol=1e-12)
    assert_the_same(ours, sk, X)


def test_partial_fit_epoch_by_epoch_is_a_fit(rng):
    """Bit for bit, dropout included; and a fit begins again."""
    X = rng.normal(size=(100, 4))
    options = {**SHARED, **ITS_SETTINGS, "shuffle": False, "max_iter": 5, "dropout": 0.2}
    whole = cr.MLPRegressor(**options).fit(X, X[:, 0])
    parts = cr.MLPRegressor(**options)
    for _ in range(5):
        parts.partial_fit(X, X[:, 0])
    assert parts.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(parts.predict(X), whole.predict(X))
    assert parts.fit(X, X[:, 0]).loss_curve_ == whole.loss_curve_


@pytest.mark.parametrize("options", SOLVERS[:3], ids=lambda options: " ".join(str(v) for v in options.values()))
def test_a_warm_start_is_scikit_learns(rng, options):
    """From the weights of the fit before, with a solver that begins again; rows seen are counted on."""
    X = rng.normal(size=(90, 5))
    y = targets("three classes", X)
    start, options = Start(), {**options, "shuffle": False, "max_iter": 4, "tol": 0.0, "warm_start": True}
    ours = cr.MLPClassifier(**{**SHARED, **ITS_SETTINGS, **options}, callbacks=[start]).fit(X, y)
    sk = from_weights("MLPClassifier", start, **options).fit(X, y)
    for _ in range(2):
        ours.fit(X, y)
        sk.fit(X, y)
    np.testing.assert_allclose(ours.loss_curve_, sk.loss_curve_[-4:], rtol=1e-10, atol=1e-12)
    assert_the_same(ours, sk, X)


def test_sample_weight_of_one_batch_is_scikit_learns(monkeypatch, rng):
    """A mean by weights: with a batch of all rows and no penalty, rows that weigh 2 are rows twice."""
    X, w = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    y = targets("numbers", X)
    options = {**SHARED, **ITS_SETTINGS, "batch_size": 1000, "shuffle": False, "alpha": 0.0}
    with pytest.warns(UserWarning, match="one batch"):
        weighted = cr.MLPRegressor(**options).fit(X, y, sample_weight=w)
    with pytest.warns(UserWarning, match="one batch"):
        repeated = cr.MLPRegressor(**options).fit(X.repeat(w, axis=0), y.repeat(w))
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-10)


# ---- what differs, and no more than that: docs/scikit-learn.md, "What is not as there" -------------------------------


def assert_curves(ours: Any, sk: Any, *, same: int, factor: float = 1.0) -> None:
    """The first ``same`` epochs to rounding, and the next not at all, if there is one."""
    mine, its = np.array(ours.loss_curve_) / factor, np.array(sk.loss_curve_)
    np.testing.assert_allclose(mine[:same], its[:same], rtol=1e-10, atol=1e-12)
    if same < len(its):
        assert abs(mine[same] / its[same] - 1) > 1e-5


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("kind", ["three classes", "numbers"])
def test_adaptive_with_momentum_is_scikit_learns_until_the_rate_falls(monkeypatch, rng, kind, nesterov):
    """Its velocity holds steps of the rate before; here a new rate is that of all of the velocity."""
    X = rng.normal(size=(170, 5))
    options = {"learning_rate_init": 0.03, "learning_rate": "adaptive", "tol": 0.02, "n_iter_no_change": 2}
    ours, sk = fit_both(
        monkeypatch,
        name_of_kind(kind),
        X,
        targets(kind, X),
        solver="sgd",
        nesterovs_momentum=nesterov,
        max_iter=60,
        **options,
    )
    rates = np.array(ours.history_["lr"])
    assert_curves(ours, sk, same=int(np.argmax(rates < 0.03)))
    assert rates.min() < 0.03


@pytest.mark.parametrize("nesterov", [True, False])
def test_invscaling_with_momentum_is_scikit_learns_in_the_first_epoch_alone(monkeypatch, rng, nesterov):
    X = rng.normal(size=(170, 5))
    options = {"learning_rate_init": 0.1, "learning_rate": "invscaling", "power_t": 0.3, "nesterovs_momentum": nesterov}
    assert_curves(
        *fit_both(monkeypatch, "MLPClassifier", X, targets("two classes", X), solver="sgd", **options), same=1
    )


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_of_several_targets_the_weights_are_scikit_learns_and_the_loss_is_their_sum(monkeypatch, rng, solver, alpha):
    """The gradient is that of the sum in both; scikit-learn records the mean over targets."""
    X = rng.normal(size=(170, 5))
    y = np.column_stack([X[:, 0] * X[:, 1], X[:, 2], X[:, 3] ** 2])
    ours, sk = fit_both(monkeypatch, "MLPRegressor", X, y, solver=solver, alpha=alpha, tol=0.0)
    assert_the_same_weights(ours, sk)
    if alpha:  # the penalty is in both once
        assert_curves(ours, sk, same=0, factor=3)
    else:
        assert_curves(ours, sk, same=25, factor=3)


@pytest.mark.skipif(
    "sample_weight" not in inspect.signature(neural_network.MLPClassifier.fit).parameters,
    reason="this scikit-learn has no sample_weight",
)
@pytest.mark.parametrize("kind", ["two classes", "three classes", "several labels", "numbers"])
@pytest.mark.parametrize("batch_size", [40, 170])
def test_with_sample_weight_the_weights_are_scikit_learns_and_the_loss_if_there_is_one_batch(rng, kind, batch_size):
    """An epoch's loss is the mean over its rows by their weights; scikit-learn's is that of batches by their rows.

    The penalty goes by weights of mean 1, where scikit-learn's goes by the weights as they are.
    """
    X, w = rng.normal(size=(170, 5)), rng.uniform(0.2, 3, 170)
    w /= w.mean()
    y, start = targets(kind, X), Start()
    options = {"batch_size": batch_size, "shuffle": False, "tol": 0.0}
    ours = getattr(cr, name_of_kind(kind))(**{**SHARED, **ITS_SETTINGS, **options}, callbacks=[start])
    ours.fit(X, y, sample_weight=w)
    sk = from_weights(name_of_kind(kind), start, **options).fit(X, y, sample_weight=w)
    assert_the_same_weights(ours, sk)
    assert_curves(ours, sk, same=25 if batch_size == 170 else 0)


@pytest.mark.skipif(
    "loss" not in inspect.signature(neural_network.MLPRegressor).parameters, reason="this scikit-learn has no Poisson"
)
def test_of_poisson_the_weights_are_scikit_learns_and_the_loss_lacks_what_targets_alone_give(monkeypatch, rng):
    X = rng.normal(size=(160, 5))
    y = rng.poisson(np.exp(X[:, 0]))
    ours, sk = fit_both(monkeypatch, "MLPRegressor", X, y, loss="poisson", tol=0.0)
    assert_the_same_weights(ours, sk)
    constant = np.mean(y * np.log(np.where(y > 0, y, 1)) - y)
    np.testing.assert_allclose(np.array(ours.loss_curve_) + constant, sk.loss_curve_, rtol=1e-10)


@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")  # older scikit-learn, newer SciPy
@pytest.mark.parametrize("kind", ["two classes", "three classes", "several labels", "numbers"])
def test_lbfgs_takes_scikit_learns_path_and_continues_further(monkeypatch, rng, kind):
    """To the same loss after as many iterations; it ends when the loss falls no more, scikit-learn's earlier."""
    pytest.importorskip("scipy")
    X = rng.normal(size=(60, 4))
    cut = {"solver": "lbfgs", "tol": 1e-6}
    ours, sk = fit_both(monkeypatch, name_of_kind(kind), X, targets(kind, X), max_iter=8, **cut)
    assert (ours.n_iter_, sk.n_iter_) == (8, 8)
    np.testing.assert_allclose(ours.loss_, sk.loss_, rtol=1e-10)
    assert_the_same_weights(ours, sk)
    convex = {**cut, "hidden_layer_sizes": (), "tol": 1e-9, "max_iter": 3000}
    ours, sk = fit_both(monkeypatch, name_of_kind(kind), X, targets(kind, X), **convex)
    assert sk.n_iter_ < ours.n_iter_ < 3000
    assert 0 <= sk.loss_ - ours.loss_ < 1e-5


def test_the_same_random_state_draws_other_first_weights(rng):
    X = rng.normal(size=(50, 3))
    ours = cr.MLPRegressor(**{**SHARED, **ITS_SETTINGS, "max_iter": 1}).fit(X, X[:, 0])
    sk = neural_network.MLPRegressor(**{**SHARED, "max_iter": 1}).fit(X, X[:, 0])
    assert np.abs(ours.coefs_[0] - sk.coefs_[0]).max() > 0.1


def test_early_stopping_n_iter_no_change_is_scikit_learns(rng):
    """The score of held-out rows, better by tol, more than n_iter_no_change epochs ago; the best epoch is kept."""
    X = rng.normal(size=(200, 5))
    y = targets("three classes", X)
    ours = cr.MLPClassifier(early_stopping=True, n_iter_no_change=4, max_iter=300, random_state=0, device="cpu").fit(
        X, y
    )
    scores, best, waited, count = ours.validation_scores_, -np.inf, 0, 0
    for score in scores:
        count, waited = count + 1, waited + 1 if score < best + ours.tol else 0
        best = max(best, score)
        if waited > 4:
            break
    assert count == len(scores) == ours.n_iter_ < 300
    assert ours.best_validation_score_ == best
    assert scores.index(best) + 1 == ours.best_iteration_
