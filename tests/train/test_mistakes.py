"""What is easily got wrong in the public interface is refused in one line that says what to do."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.recipe import weight_decay_for

X, labels = np.zeros((6, 2)), np.array([0, 1, 2] * 2)

MISTAKES = {
    "a function as activation": (lambda: cr.MLP([2, 4, 3], activation=np.tanh), r"activation: expected a name"),
    "a loss that was not made": (lambda: cr.MLP([2, 1], loss=cr.Huber), r"got the class Huber(.|\n)*Huber\(\)"),
    "one width": (lambda: cr.MLP(2), r"widths: expected a list(.|\n)*\[64, 256, 10\]"),
    "a layer for a list": (lambda: cr.Residual(cr.Dense(2)), "expected a list of layers"),
    "one callback": (lambda: cr.Trainer(cr.MLP([2, 3]), callbacks=print), "callbacks: expected a list, got"),
    "a callback object": (
        lambda: cr.Trainer(cr.MLP([2, 3]), callbacks=cr.Callback()),
        "callbacks: expected a list, got",
    ),
    "patience": (lambda: cr.Trainer(cr.MLP([2, 3]), early_stopping=5), "early_stopping: expected an EarlyStopping"),
    "nothing to monitor": (
        lambda: cr.Trainer(cr.MLP([2, 3]), early_stopping=cr.EarlyStopping()).fit(X, labels),
        "monitor: expected .*, got 'valid_loss'(.|\n)*hold rows out with validation=0.2, or monitor one of loss",
    ),
    "a schedule by name": (
        lambda: cr.Adam("cosine"),
        r"lr: expected a number or a schedule, got 'cosine'(.|\n)*cr.Cosine\(1e-3\)",
    ),
    "a schedule that was not made": (lambda: cr.Adam(cr.Cosine), "lr: expected a number or a schedule"),
    "a rate of 0": (lambda: cr.Adam(0.0), "lr: expected a finite number above 0, got 0.0"),
    "epochs as milestones": (lambda: cr.Step(1e-3, at=(10, 20)), r"a fraction of the run in at: expected .*, got 10"),
    "labels by name": (
        lambda: cr.Trainer(cr.MLP([2, 3])).fit(X, np.array(["a", "b", "c"] * 2)),
        r"got labels of dtype <U1(.|\n)*np.unique\(y, return_inverse=True\)",
    ),
    "rows without targets": (
        lambda: cr.Trainer(cr.MLP([2, 3])).fit(X, labels, validation=X),
        r"validation: expected .*, got one array \(6, 2\)(.|\n)*validation=\(X, y\)",
    ),
}


@pytest.mark.parametrize(("mistake", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake(mistake, message):
    with pytest.raises((cr.OptionError, cr.DataError), match=message):
        mistake()


def test_step_schedule_takes_one_milestone():
    assert cr.Step(1.0, at=0.5).rates(0, 4, 4).tolist() == [1.0, 1.0, 0.1, 0.1]


def test_widths_may_be_an_array():
    assert cr.MLP(np.array([2, 4, 3])).widths == (2, 4, 3)


@pytest.mark.parametrize("epochs", [2**63, 10**400, 1 << 20_000], ids=["2^63", "1e400", "2^20000"])
def test_too_many_epochs_are_an_option_error(epochs):
    with pytest.raises(cr.OptionError, match=r"epochs: expected a whole number from 1 to below"):
        cr.Trainer(cr.MLP([3, 2]), epochs=epochs)


def test_weight_decay_for_any_number_of_steps_is_finite():
    assert weight_decay_for(0.002, 10**400) == pytest.approx(0, abs=1e-12)
