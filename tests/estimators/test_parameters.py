"""The types of the constructors' parameters: they say what is accepted, so they are to be all of it."""

from __future__ import annotations

import inspect
import typing

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import chainrule as cr
from chainrule.estimators import parameters
from chainrule.nn.layered_net import DTYPES
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES


def test_the_literal_types_name_all_that_is_accepted():
    by_task = {task: {name for name, loss in LOSSES.items() if loss.task == task} for task in ("classify", "regress")}
    expected = {
        parameters.ActivationOption: {*ACTIVATIONS, "logistic"},
        parameters.Solver: set(parameters.SOLVERS),
        parameters.LearningRate: set(parameters.LEARNING_RATES),
        parameters.ClassLossName: {"log_loss", *by_task["classify"]},
        parameters.TargetLossName: by_task["regress"],
        parameters.DtypeName: {"auto", *DTYPES},
    }
    for literal, names in expected.items():
        assert _names_in(literal) == names


def _names_in(literal):
    """The names of a Literal, or of a union of some."""
    members = typing.get_args(literal)
    return set().union(*(_names_in(m) if typing.get_args(m) else {m} for m in members))


@pytest.mark.parametrize("estimator", [cr.MLPClassifier, cr.MLPRegressor])
def test_each_parameter_of_a_constructor_has_a_type(estimator):
    signature = inspect.signature(estimator.__init__).parameters
    own = {"self", "loss", "class_weight"}
    assert set(signature) - own == set(parameters.Parameters.__annotations__)
    shared = {name: p.annotation for name, p in signature.items() if name not in own}
    assert shared == parameters.Parameters.__annotations__
    assert all(annotation != "Any" for annotation in shared.values())
