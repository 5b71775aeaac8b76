"""TrainingSettings: the defaults of a Trainer, checked once, then fixed; and how a Trainer shows and changes them."""

from __future__ import annotations

import copy
import dataclasses
import inspect

import pytest

import chainrule as cr
from chainrule.train.settings import TrainingSettings
from chainrule.train.settings_as_attributes import SettingsAsAttributes

NET = cr.MLP([2, 3])
SHARED = [f.name for f in dataclasses.fields(TrainingSettings) if f.name not in {"optimizer", "valid_metrics"}]


def test_a_trainer_has_the_defaults_of_its_settings():
    signature = inspect.signature(cr.Trainer).parameters
    assert {*signature} == {"net", "optimizer", "callbacks", *SHARED}
    defaults = TrainingSettings()
    assert {name: signature[name].default for name in SHARED} == {name: getattr(defaults, name) for name in SHARED}
    assert cr.Trainer(NET).settings == defaults


def test_settings_are_fixed_and_a_trainer_has_them_as_attributes():
    trainer = cr.Trainer(NET, cr.SGD(0.1), epochs=3, metrics=["roc_auc"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        trainer.settings.epochs = 4
    before = trainer.settings
    trainer.epochs = 4
    assert (trainer.epochs, trainer.settings, before.epochs) == (4, dataclasses.replace(before, epochs=4), 3)
    assert [metric.name for metric in trainer.valid_metrics] == ["roc_auc"], "the other settings stay"
    with pytest.raises(cr.OptionError, match="epochs: expected"):
        trainer.epochs = 0
    assert copy.copy(trainer).epochs == 4
    with pytest.raises(AttributeError, match="a Trainer has no 'epoch'"):
        _ = trainer.epoch


def test_a_setting_changed_while_a_fit_runs_is_that_of_the_next_one_and_says_so(classes):
    def shorten(record):
        trainer.epochs = 2

    trainer = cr.Trainer(cr.MLP(classes.widths), epochs=3, callbacks=[shorten])
    with pytest.warns(UserWarning, match="epochs is changed for the next fit") as caught:
        assert trainer.fit(classes.X, classes.y).history.epochs == 3
    assert {warning.filename for warning in caught} == {__file__}
    trainer.callbacks = ()
    assert trainer.fit(classes.X, classes.y).history.epochs == 2
    trainer.epochs = 1  # no warning


def test_settings_that_lbfgs_replaces_come_back_with_another_optimizer():
    pytest.importorskip("scipy")
    trainer = cr.Trainer(NET, epochs=3, drop_last=True)
    trainer.optimizer = cr.LBFGS(max_iterations=6)
    assert (trainer.epochs, trainer.shuffle) == (6, False)
    trainer.optimizer = cr.Adam()
    assert trainer.settings == cr.Trainer(NET, epochs=3, drop_last=True).settings


def test_settings_are_listed_and_annotated_as_attributes():
    names = {field.name for field in dataclasses.fields(TrainingSettings)}
    assert names < {*dir(cr.Trainer(NET))}
    assert {name: SettingsAsAttributes.__annotations__[name] for name in names} == TrainingSettings.__annotations__


def test_a_setting_before_the_constructor_is_an_error_that_says_so():
    class Early(cr.Trainer):
        def __init__(self, net):
            self.epochs = 4
            super().__init__(net)

    with pytest.raises(AttributeError, match=r"epochs is set before super\(\)"):
        Early(NET)


def test_a_changed_setting_is_that_of_the_next_fit(classes):
    trainer = cr.Trainer(cr.MLP(classes.widths), epochs=1)
    assert trainer.fit(classes.X, classes.y).history.epochs == 1
    trainer.epochs = 3
    assert trainer.fit(classes.X, classes.y).history.epochs == 3


def test_an_lbfgs_decides_about_batches_and_epochs():
    pytest.importorskip("scipy")
    settings = TrainingSettings(optimizer=cr.LBFGS(max_iterations=7), epochs=3, batch_size=2, drop_last=True)
    assert (settings.epochs, settings.shuffle, settings.drop_last) == (7, False, False)
    assert settings.batch_size > 10**9
    assert str(settings) == "LBFGS(max_iterations=7)"


def test_the_repr_of_a_trainer_is_one_line_of_what_is_not_the_default():
    assert repr(cr.Trainer(NET)) == f"<Trainer of {NET!r}: Adam()>"
    stopping = cr.EarlyStopping(patience=5)
    trainer = cr.Trainer(
        NET, cr.SGD(lr=cr.Cosine(0.1)), ema=0.9, early_stopping=stopping, metrics=["roc_auc"], callbacks=[print]
    )
    assert repr(trainer) == (
        f"<Trainer of {NET!r}: SGD(lr=Cosine(lr=0.1)), early_stopping=EarlyStopping(patience=5), ema=0.9, "
        "metrics=['roc_auc'], 1 callback>"
    )


def test_the_repr_of_a_run_is_one_line(classes):
    run = cr.Trainer(cr.MLP(classes.widths), epochs=2, batch_size=20).fit(
        classes.X, classes.y, validation=classes.valid
    )
    run.seconds = 0.25
    values = [f"{name} {run.history[name][-1]:.4g}" for name in ("loss", "accuracy", "valid_loss", "valid_accuracy")]
    kept = f"kept epoch {run.best_epoch} of 2: lowest valid_loss {min(run.history['valid_loss']):.4g}"
    expected = f"<Run: completed, 2 epochs, 4 steps in 0.25 s, {kept}, {', '.join(values)}>"
    assert repr(run) == expected
