"""Options of the public interface: values of another type or out of range are an OptionError."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.options import one_of, real_number, suggest, whole_number

X, LABELS = np.zeros((4, 3)), np.arange(4) % 2

WRONG_TYPES = {
    "dtype": lambda: cr.MLP([3, 2], dtype="foo"),
    "dtype=None": lambda: cr.MLP([3, 2], dtype=None),
    "seed of 1.5": lambda: cr.MLP([3, 2], seed=1.5),
    "seed=True": lambda: cr.MLP([3, 2], seed=True),
    "activation without hidden layers": lambda: cr.MLP([3, 2], activation="glu"),
    "backend as text": lambda: cr.MLP([3, 2], backend="cpu"),
    "patience of 1.5": lambda: cr.EarlyStopping(patience=1.5),
    "patience of nan": lambda: cr.EarlyStopping(patience=float("nan")),
    "patience as text": lambda: cr.EarlyStopping(patience="3"),
    "validation as text": lambda: cr.Trainer(cr.MLP([3, 2])).fit(X, LABELS, validation="0.2"),
    "validation as a dict": lambda: cr.Trainer(cr.MLP([3, 2])).fit(X, LABELS, validation={}),
    "optimizer as text": lambda: cr.Trainer(cr.MLP([3, 2]), "adam"),
    "learning rate as text": lambda: cr.Adam(lr="0.1"),
    "lr_factor of nan": lambda: cr.ParameterGroup("*", lr_factor=float("nan")),
    "infinite eps": lambda: cr.Adam(eps=float("inf")),
    "device=None": lambda: cr.backend(None),
}


@pytest.mark.parametrize("make", WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_an_option_of_the_wrong_type_is_an_option_error(make):
    with pytest.raises(cr.OptionError):
        make()


@pytest.mark.parametrize("number", [np.int64(3), np.uint8(3)])
def test_integers_of_numpy_are_whole_numbers(number):
    assert cr.Dense(number).n_out == 3
    assert cr.Trainer(cr.MLP([number, number]), batch_size=number, epochs=number, seed=number).batch_size == 3


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3", None, 10, 10**400])
def test_whole_number_refuses_other_types_and_what_is_out_of_range(value):
    with pytest.raises(cr.OptionError, match=r"n: expected a whole number from 1 to below 10, got "):
        whole_number("n", value, below=10)


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan, math.inf, True, "0.5", None, 10**400])
def test_real_number_refuses_other_types_and_what_is_out_of_range(value):
    with pytest.raises(cr.OptionError, match=r"p: expected a finite number from 0 to below 1, got "):
        real_number("p", value, below=1.0)


def test_the_bounds_of_a_real_number():
    assert real_number("p", 0) == 0.0
    assert isinstance(real_number("p", np.float32(0.5)), float)
    with pytest.raises(cr.OptionError, match="p: expected a finite number above 0, got 0"):
        real_number("p", 0, above=True)


def test_a_choice_that_does_not_exist_lists_those_that_do():
    assert one_of("mode", "min", ("min", "max")) == "min"
    with pytest.raises(cr.OptionError, match="mode: expected one of min, max, got 'mean'"):
        one_of("mode", "mean", ("min", "max"))
    with pytest.raises(cr.OptionError, match="hint: did you mean 'relu'"):
        one_of("activation", "rellu", ("relu", "tanh"))


SLIPS = {  # what is typed, of which names, and which is meant
    "another case": ("ReLU", ("elu", "relu", "selu"), "relu"),
    "a case that is nearer to another": ("AdamW", ("adam", "adamw"), "adamw"),
    "a dash": ("leaky-relu", ("relu", "leaky_relu"), "leaky_relu"),
    "an exact name before another library's": ("RMSE", ("rmse", "squared_error"), "rmse"),
    "another library's": ("CrossEntropy", ("sigmoid_cross_entropy", "softmax_cross_entropy"), "softmax_cross_entropy"),
    "a task": ("classification", ("auto", "classify", "regress"), "classify"),
    "an area": ("auc", ("accuracy", "log_loss", "roc_auc"), "roc_auc"),
    "a letter": ("Rellu", ("tanh", "ReLU"), "ReLU"),
    "a letter beside digits": ("pxiel_1", ("pixel_10", "pixel_1"), "pixel_1"),
}


@pytest.mark.parametrize(("typed", "names", "meant"), SLIPS.values(), ids=SLIPS)
def test_a_slip_is_answered_with_what_is_meant(typed, names, meant):
    assert suggest(typed, names) == f"did you mean {meant!r}?"


@pytest.mark.parametrize(
    ("typed", "names"),
    [("x2", ("x1", "x3")), ("feature_12", ("feature_1", "feature_2")), ("softmax", ("softplus", "sigmoid"))],
)
def test_a_name_for_another_thing_is_not_suggested(typed, names):
    assert suggest(typed, names) == ""


def test_another_name_for_what_is_not_offered_is_no_suggestion():
    assert suggest("mse", ("gamma", "poisson")) == ""


def test_the_end_of_a_large_range_is_a_power_of_two():
    for below, text in ((2**63, "2^63"), (2**63 - 1, str(2**63 - 1)), (8, "8")):
        with pytest.raises(cr.OptionError) as error:
            whole_number("epochs", 0, below=below)
        assert error.value.message == f"epochs: expected a whole number from 1 to below {text}, got 0"
