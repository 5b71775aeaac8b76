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
    "a folder that is none": (lambda: cr.Trainer(cr.MLP([2, 3]), checkpoints=3), "checkpoints: expected a folder"),
    "labels from 1": (
        lambda: cr.Trainer(cr.MLP([2, 3])).fit(X, labels + 1),
        r"a label at row 2: expected a class from 0 to 2, got 3\nhint: y - 1 if .* from 1, else MLP\(\[..., 4\]\)$",
    ),
    "one-hot labels": (
        lambda: cr.Trainer(cr.MLP([2, 3])).fit(X, np.eye(3)[labels]),
        r"expected labels \(n,\), .*, got shape \(6, 3\)\nhint: y.argmax\(axis=1\)",
    ),
    "an output layer that is too small": (
        lambda: cr.Trainer(cr.MLP([2, 2])).fit(X, labels),
        r"from 0 to 1, got 2\nhint: the net has 2 outputs; for labels up to 2: MLP\(\[..., 3\]\)$",
    ),
    "an output layer that is too small, with a class missing": (
        lambda: cr.Trainer(cr.MLP([2, 2])).fit(X, labels // 2 * 2),
        r"from 0 to 1, got 2\nhint: the net has 2 outputs; for labels up to 2: MLP\(\[..., 3\]\)$",
    ),
    "labels that are names": (
        lambda: cr.Trainer(cr.MLP([2, 3])).fit(X, labels * 10 + 10),
        r"from 0 to 2, got 10\nhint: names, y = np.unique\(y, return_inverse=True\)$",
    ),
    "labels below 0": (
        lambda: cr.Trainer(cr.MLP([2, 3])).fit(X, labels - 1),
        r"from 0 to 2, got -1\nhint: names, y = np.unique\(y, return_inverse=True\)$",
    ),
    "numbers in the place of labels": (
        lambda: cr.Trainer(cr.MLP([2, 3])).fit(X, labels + 0.5),
        r"a label at row 0: expected a whole number, got 0.5\nhint: .*loss='squared_error'$",
    ),
    "several classes per row": (
        lambda: cr.Trainer(cr.MLP([2, 3])).fit(X, np.ones((6, 4), int)),
        r"got shape \(6, 4\)\nhint: for several .*: loss='sigmoid_cross_entropy', MLP\(\[..., 4\]\)$",
    ),
    "classes for yes and no": (
        lambda: cr.Trainer(cr.MLP([2, 1], loss="sigmoid_cross_entropy")).fit(X, labels),
        r"a target at row 2, .*, got 2\nhint: .*loss='softmax_cross_entropy', MLP\(\[..., 3\]\)$",
    ),
    "-1 for no": (
        lambda: cr.Trainer(cr.MLP([2, 1], loss="sigmoid_cross_entropy")).fit(X, labels % 2 * 2 - 1),
        r"from 0 to 1, got -1\nhint: \(y \+ 1\) / 2",
    ),
    "classes for several yes and no": (
        lambda: cr.Trainer(cr.MLP([2, 3], loss="sigmoid_cross_entropy")).fit(X, labels),
        r"got \(6,\)\nhint: for one of k classes per row: loss='softmax_cross_entropy'$",
    ),
    "one yes and no for several": (
        lambda: cr.Trainer(cr.MLP([2, 3], loss="sigmoid_cross_entropy")).fit(X, labels % 2),
        r"got \(6,\)\nhint: the net has 3 outputs; for these targets: MLP\(\[..., 1\]\)$",
    ),
    "one target for two outputs": (
        lambda: cr.Trainer(cr.MLP([2, 2], loss="squared_error")).fit(X, labels),
        r"\(n, 2\), got \(6,\)\nhint: the net has 2 outputs; for these targets: MLP\(\[..., 1\]\)$",
    ),
    "two targets for one output": (
        lambda: cr.Trainer(cr.MLP([2, 1], loss="squared_error")).fit(X, X),
        r"hint: the net has 1 output; for these targets: MLP\(\[..., 2\]\)",
    ),
    "two targets for one output of quantiles": (
        lambda: cr.Trainer(cr.MLP([2, 3], loss="quantile")).fit(X, X),
        r"hint: the net has 3 outputs; for these targets: MLP\(\[..., 6\]\)",
    ),
    "a custom activation of one argument": (
        lambda: cr.Network([cr.CustomActivation("f", np.tanh, lambda z: 1 - np.tanh(z) ** 2), cr.Dense(2)], 2),
        r"the value of f fails: (.|\n)*hint: a function of \(xp, z\)",
    ),
    "a custom loss of two arguments": (
        lambda: cr.MLP([2, 1], loss=cr.CustomLoss("f", lambda z, t: z, lambda z, t: z)),
        r"gradient_of_rows of f fails: TypeError: (.|\n)*hint: a function of \(xp, z, t\)",
    ),
    "a precision of a GPU": (
        lambda: cr.backend("cpu", precision="tf32"),
        r"'tf32'\nhint: precision fp32, or a CUDA",
    ),
    "a loss of another library": (lambda: cr.MLP([2, 1], loss="mse"), "hint: did you mean 'squared_error'"),
    "a device of another library": (lambda: cr.backend("gpu"), "hint: did you mean 'cuda'"),
    "not a number": (lambda: cr.Standardization.fit(np.array([[np.nan]])), "x at row 0, column 0: expected a finite"),
    "patience": (lambda: cr.Trainer(cr.MLP([2, 3]), early_stopping=5), "early_stopping: expected an EarlyStopping"),
    "nothing to monitor": (
        lambda: cr.Trainer(cr.MLP([2, 3]), early_stopping=cr.EarlyStopping()).fit(X, labels),
        "monitor: expected .*, got 'valid_loss'(.|\n)*hold rows out .validation=0.2, --valid 0.2. or monitor one of",
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
    with pytest.raises((cr.OptionError, cr.DataError, cr.ShapeError, cr.DeviceError), match=message):
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


def test_an_attribute_that_a_trainer_does_not_have_is_refused_with_the_near_one():
    trainer = cr.Trainer(cr.MLP([2, 3]))
    with pytest.raises(AttributeError, match="a Trainer has no 'epoch'; did you mean 'epochs'"):
        trainer.epoch = 60
    with pytest.raises(AttributeError, match=r"a Trainer has no 'colour'$"):
        trainer.colour = "red"
    trainer.epochs, trainer.callbacks, trainer._note = 60, (print,), "private"
    assert trainer.epochs == 60


def test_a_subclass_of_trainer_may_have_attributes_that_it_declares():
    class Noted(cr.Trainer):
        note: str
        count = 0

    noted = Noted(cr.MLP([2, 3]))
    noted.note, noted.count = "mine", 3
    assert (noted.note, noted.count) == ("mine", 3)
    with pytest.raises(AttributeError, match="epochs"):
        noted.epoch = 3


def test_dtype_may_be_that_of_numpy():
    for dtype in (np.float64, np.dtype(np.float64), "float64"):
        assert cr.MLP([2, 3], dtype=dtype).dtype == np.float64
    with pytest.raises(cr.OptionError, match="dtype: expected one of float32, float64, got 'float16'"):
        cr.MLP([2, 3], dtype=np.float16)
