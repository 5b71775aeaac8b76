"""scikit-learn's own tests of its multilayer perceptrons, run on ours with scikit-learn's settings.

They are read from the scikit-learn that is installed. What differs on purpose is in :data:`DIFFERS`: such a test has to
fail, and one that passes is to leave the list.
"""

from __future__ import annotations

import importlib.util
import inspect
import types
from collections.abc import Callable
from typing import Any

import pytest

import chainrule as cr

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import neural_network

from chainrule.estimators.fit_rows import FitRows
from chainrule.estimators.learning_rates import schedule_of
from chainrule.train.recipe import Settings

SPEC = importlib.util.find_spec("sklearn.neural_network.tests")
if SPEC is None or not SPEC.submodule_search_locations:
    pytest.skip("scikit-learn was installed without its tests", allow_module_level=True)

# As in docs/scikit-learn.md, "scikit-learn's own numbers".
ITS_SETTINGS = {
    "standardize": False,
    "alpha": 0.0001,
    "weight_decay": 0,
    "learning_rate": "constant",
    "learning_rate_init": 0.001,
    "shrink": False,
    "hidden_layer_sizes": (100,),
    "max_iter": 200,
}

# {test: (the error of it, why it has to be)}; each is in docs/scikit-learn.md under "What is not as there".
SPARSE = TypeError, "sparse rows are refused"
NO_MATCH = AssertionError, pytest.fail.Exception
DIFFERS = {
    "test_fit": (AssertionError, "coefs_ and intercepts_ are copies of the weights: nets are not made by setting them"),
    "test_gradient": (AttributeError, "there is no private method for the loss, but cr.check_gradients"),
    "test_nonfinite_params": (NO_MATCH, "the message says at which step and in which layer the first such number is"),
    "test_sparse_matrices[csr_matrix]": SPARSE,
    "test_sparse_matrices[csr_array]": SPARSE,
    "test_early_stopping_stratified": (NO_MATCH, "a class of one row stays with the training rows"),
    "test_preserve_feature_names[MLPClassifier]": (ValueError, "a classifier needs at least two classes"),
    "test_preserve_feature_names[MLPRegressor]": (
        UserWarning,
        "r2 of held-out rows with one target is undefined or constant",
    ),
    "test_mlp_diverging_loss": (cr.DivergenceError, "a fit that diverges is an error, with early_stopping too"),
}

# Its tests silence what they expect of scikit-learn's warnings, and leave others alone.
pytestmark = pytest.mark.filterwarnings("ignore")


def with_its_settings(ours: type) -> type:
    """Our estimator with scikit-learn's defaults, and under the private names that its tests ask for what is known."""

    class Its(ours):
        def __init__(self, *args: Any, **options: Any) -> None:
            given = signature.bind(self, *args, **options)
            given.apply_defaults()
            super().__init__(**{name: value for name, value in given.arguments.items() if name != "self"})

        def _settings(self, training: FitRows, *, first: bool, one_epoch: bool) -> Settings:
            if first:
                super()._settings(training, first=True, one_epoch=one_epoch)
                self._recipe = self._recipe._replace(batch_size=200)  # or all rows, of fewer
            return super()._settings(training, first=False, one_epoch=one_epoch)

        def __getattr__(self, name: str) -> Any:
            if name == "_optimizer":  # its rate is that of the epoch which the next partial_fit would make
                state = self._solver_state
                schedule = schedule_of(
                    self,
                    self.learning_rate_init,
                    1,
                    1,
                    one_epoch=True,
                    present=state.present,
                    seen=self.t_,
                    is_new=state.is_new,
                )
                return types.SimpleNamespace(learning_rate=schedule.rates(0, 1, 1)[0])
            if name == "_no_improvement_count":
                return self._solver_state.convergence._waited
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    usual = inspect.signature(ours.__init__)
    signature = usual.replace(
        parameters=[p.replace(default=ITS_SETTINGS.get(p.name, p.default)) for p in usual.parameters.values()]
    )
    Its.__init__.__signature__ = signature
    Its.__name__ = Its.__qualname__ = ours.__name__
    return Its


MLPClassifier, MLPRegressor = map(with_its_settings, (cr.MLPClassifier, cr.MLPRegressor))  # pickles find them here


def its_tests() -> dict[str, Callable[..., None]]:
    """The test functions of a new copy of its module, for which scikit-learn has our estimators."""
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for estimator in (MLPClassifier, MLPRegressor):
            patch.setattr(neural_network, estimator.__name__, estimator)
        spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if name.startswith("test_")}


ITS_TESTS = its_tests()
globals().update(ITS_TESTS)


@pytest.fixture
def global_random_seed() -> int:
    """As scikit-learn's own fixture has it, if nothing else is asked for."""
    return 42


@pytest.fixture(autouse=True)
def differing(request: pytest.FixtureRequest) -> None:
    """Expects the tests of the list to fail, and no other."""
    if request.node.name in DIFFERS:
        error, reason = DIFFERS[request.node.name]
        request.applymarker(pytest.mark.xfail(raises=error, reason=reason, strict=True))


def test_all_that_differs_is_a_test_of_scikit_learns():
    assert len(ITS_TESTS) > 30
    assert {name.partition("[")[0] for name in DIFFERS} <= ITS_TESTS.keys()
