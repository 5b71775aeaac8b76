"""An option at the wrong place, or by the name that another library gives it: the TypeError says what to write."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.misplaced_options import EXAMPLES, OTHER_NAMES

X, y = np.eye(2), np.arange(2)

OF_THE_TRAINER = {
    "lr": r"Trainer\(\) has no option 'lr', it is one of Adam and AdamW: cr.Trainer\(net, cr.Adam\(lr=1e-3\)\)",
    "learning_rate": r"'learning_rate', it is one of Adam and AdamW: cr.Trainer\(net, cr.Adam\(lr=1e-3\)\)",
    "weight_decay": r"cr.AdamW\(weight_decay=1e-2\)",
    "nesterov": r"'nesterov', it is one of SGD: cr.Trainer\(net, cr.SGD\(lr=0.1, nesterov=...\)\)",
    "verbose": r"it is called 'progress' here: cr.Trainer\(net, progress=True\)",
    "random_state": "it is called 'seed' here: seed=...",
    "validation": r"it is one of fit: trainer.fit\(X, y, validation=0.2\)",
    "diagnose": r"it is one of fit: trainer.fit\(X, y, diagnose=...\)",
    "patience": r"early_stopping=cr.EarlyStopping\(patience=10\)",
    "loss": r"it is one of the net: cr.MLP\(\[...\], loss=",
    "normalization": r"it is one of the net: cr.MLP\(\[...\], normalization=...\)",
    "device": r"it is one of the net: cr.MLP\(\[...\], backend=cr.backend",
    "batch_sise": "has no option 'batch_sise': did you mean 'batch_size'",
    "colour": "has no option 'colour'$",
}
OF_FIT = {
    "epochs": r"Trainer.fit\(\) has no option 'epochs', it is one of the Trainer: cr.Trainer\(net, epochs=30\).fit",
    "batch_size": r"it is one of the Trainer: cr.Trainer\(net, batch_size=128\).fit\(X, y\)",
    "callbacks": r"it is one of the Trainer: cr.Trainer\(net, callbacks=...\)",
    "validation_split": r"it is called 'validation' here: trainer.fit\(X, y, validation=0.2\)",
    "validation_data": r"or validation=\(X_valid, y_valid\)",
    "lr": r"it is one of Adam and AdamW: cr.Trainer\(net, cr.Adam\(lr=1e-3\)\)",
    "verbose": r"it is one of the Trainer: cr.Trainer\(net, progress=True\)",
    "momentun": "did you mean 'momentum'",
}


@pytest.mark.parametrize(("name", "message"), OF_THE_TRAINER.items(), ids=OF_THE_TRAINER)
def test_option_that_a_trainer_does_not_have(name, message):
    with pytest.raises(TypeError, match=message) as error:
        cr.Trainer(cr.MLP([2, 2]), **{name: 1})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "message"), OF_FIT.items(), ids=OF_FIT)
def test_option_that_fit_does_not_have(name, message):
    trainer = cr.Trainer(cr.MLP([2, 2]))
    with pytest.raises(TypeError, match=message) as error:
        trainer.fit(X, y, **{name: 1})
    assert "\n" not in str(error.value)


def test_every_other_name_is_answered_with_a_place_that_has_the_option():
    for given in OTHER_NAMES:
        with pytest.raises(TypeError, match=r"(called|one of) .*: (cr.Trainer|cr.MLP|trainer.fit|[a-z_0-9]+=)"):
            cr.Trainer(cr.MLP([2, 2]), **{given: 1})


def test_every_example_runs():
    """With a trainer and rows, [2, 2] for the widths of a net, and the CPU in the place of a GPU."""
    net = cr.MLP([2, 2])
    known = {"cr": cr, "net": net, "trainer": cr.Trainer(net, epochs=1), "X": X.repeat(5, 0), "y": y.repeat(5)}
    for example in EXAMPLES.values():
        code = example.split(", or ")[0].replace("[...]", "[2, 2]").replace('"cuda"', '"cpu"')
        eval(code, dict(known))


def test_signatures_are_those_of_the_methods():
    parameters = inspect.signature(cr.Trainer).parameters
    assert parameters["epochs"].default == 30
    assert "validation" in inspect.signature(cr.Trainer.fit).parameters
    assert cr.Trainer.fit.__doc__.startswith("Train, and return what happened.")
    assert not {f.name for f in dataclasses.fields(cr.Adam)} & set(parameters)


def test_subclass_with_options_of_its_own():
    class Mine(cr.Trainer):
        note: str

        def __init__(self, net: cr.Network, *, note: str = "", **options) -> None:
            super().__init__(net, **options)
            self.note = note

    assert Mine(cr.MLP([2, 2]), note="a", epochs=2).note == "a"
    with pytest.raises(TypeError, match=r"Trainer\(\) has no option 'lr'"):
        Mine(cr.MLP([2, 2]), lr=1.0)
