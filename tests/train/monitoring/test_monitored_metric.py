"""A monitored metric that is undefined or constant is warned of, and another one is monitored instead."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import chainrule as cr

X = np.random.default_rng(5).normal(size=(80, 3))
Y = X[:, 0] - X[:, 1]
LABELS = (X[:, 0] > 0).astype(int)
NAN = math.nan


def fit(y=Y, *, loss="squared_error", n_out=1, validation=(X[:20], Y[:20]), epochs=8, metrics=True, lr=0.01, **options):
    fitting = {name: options.pop(name) for name in ("resume",) if name in options}
    net = cr.MLP([3, 6, n_out], loss=loss, dtype="float64", seed=1)
    trainer = cr.Trainer(net, cr.Adam(lr=lr), batch_size=20, epochs=epochs, metrics=metrics, **options)
    return net, trainer.fit(X, y, validation=validation, **fitting)


def best_of(run, name, choose=min):
    return run.history[name].index(choose(run.history[name])) + 1


SILENT = [  # options, what is monitored instead, why
    (
        {"monitor": "valid_r2", "validation": (X[:20], np.full(20, 0.1))},
        "valid_loss",
        "the target never changes in the validation rows",
    ),
    (
        {"monitor": "valid_r2", "validation": (X[:7], np.r_[np.full(6, 0.1), 9], np.r_[np.ones(6), 0])},
        "valid_loss",
        "the target never changes in the validation rows",
    ),
    (
        {"monitor": "valid_d2", "loss": "absolute_error", "validation": (X[:20], np.full(20, 0.1))},
        "valid_loss",
        "the target never changes in the validation rows",
    ),
    (
        {"monitor": "r2", "y": np.full(80, 0.1), "validation": None},
        "loss",
        "the target never changes in the training rows",
    ),
    (
        {
            "monitor": "valid_roc_auc",
            "metrics": ["roc_auc"],
            "y": LABELS,
            "loss": "softmax_cross_entropy",
            "n_out": 3,
            "validation": (X[LABELS == 1], LABELS[LABELS == 1]),
        },
        "valid_loss",
        "all validation rows are of one class",
    ),
    (
        {
            "monitor": "valid_roc_auc",
            "metrics": ["roc_auc"],
            "y": LABELS,
            "loss": "sigmoid_cross_entropy",
            "validation": (X[LABELS == 1], LABELS[LABELS == 1]),
        },
        "valid_loss",
        "all validation rows are of one class",
    ),
]


@pytest.mark.parametrize(("options", "instead", "why"), SILENT)
def test_a_monitored_metric_that_cannot_change_is_warned_of_before_the_first_epoch(options, instead, why):
    told = []
    message = f"{options['monitor']} is undefined or constant: {why}; {instead} is monitored instead"
    with pytest.warns(UserWarning, match=message) as caught:
        _, run = fit(**options, callbacks=[lambda record: told.append((record.monitor, len(caught)))])
    assert told == [(instead, 1)] * 8
    assert run.notes == [message]
    assert run.best_epoch == best_of(run, instead)


def test_early_stopping_ignores_a_metric_that_cannot_change():
    still = (X[:20], np.full(20, 0.1))
    with pytest.warns(UserWarning, match="valid_r2 is undefined or constant"):
        _, run = fit(validation=still, epochs=30, early_stopping=cr.EarlyStopping(patience=3, monitor="valid_r2"))
    assert run.history.epochs - run.best_epoch == 3 or run.stopped == "completed"
    assert run.best_epoch == best_of(run, "valid_loss") > 1


def own(values, *, greater=True):
    found = iter(values)
    return cr.Metric(lambda *_: next(found), "mine", greater_is_better=greater)


OWN = [  # values of a metric of the user's own, the best epoch (None: that of valid_loss), the complaint
    ([NAN] * 8, None, "it had no finite value in any of 8 epochs"),
    ([3.0] * 8, None, "it was 3 in each of 8 epochs"),
    ([3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0], 1, ""),
    ([3.0, 3.0, 4.0, 2.0, 4.0, 2.0, 2.0, 2.0], 3, ""),
    ([NAN, NAN, 1.0, NAN, 0.5, NAN, NAN, NAN], 3, ""),
    ([NAN, 1.0, 1.0, NAN, 0.5, NAN, NAN, NAN], 2, ""),
    ([5.0, NAN, 6.0, NAN, 6.0, NAN, NAN, NAN], 3, ""),
]


@pytest.mark.parametrize(("values", "best", "complaint"), OWN)
def test_a_custom_metric_that_is_monitored(values, best, complaint):
    """The weights are those of the best epoch, even if it turns out late that it was the best."""
    kept = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net, run = fit(
            metrics=[own(values)],
            monitor="valid_mine",
            callbacks=[lambda record: kept.update({record.epoch: record.net.parameter_arena.flat.copy()})],
        )
    assert run.best_epoch == (best or best_of(run, "valid_loss"))
    assert (net.parameter_arena.flat == kept[run.best_epoch]).all()
    told = [f"valid_mine is undefined or constant: {complaint}; valid_loss is monitored instead"]
    assert [str(w.message) for w in caught] == run.notes == (told if complaint else [])


@pytest.mark.parametrize("value", [NAN, 1.0])
def test_early_stopping_ignores_a_custom_metric_that_says_nothing(value):
    with pytest.warns(UserWarning, match="valid_mine is undefined or constant"):
        _, run = fit(
            metrics=[own([value] * 12)], epochs=12, early_stopping=cr.EarlyStopping(patience=2, monitor="valid_mine")
        )
    assert run.history.epochs == 12
    assert run.best_epoch == best_of(run, "valid_loss") > 3


@pytest.mark.parametrize("options", [{}, {"monitor": "valid_loss"}, {"monitor": "loss"}, {"monitor": "valid_r2"}])
def test_no_warning_of_a_monitored_metric_that_does_not_improve(options):
    """The rate is so small that no weight moves."""
    _, run = fit(lr=1e-300, **options)
    assert (run.best_epoch, run.notes) == (1, [])


def test_plateau_ignores_a_metric_that_says_nothing():
    """A metric that is nan never improves, and must not reduce the rate."""
    plateau = cr.Plateau(0.003, monitor="valid_mine", patience=1, factor=0.1)
    with pytest.warns(UserWarning, match="valid_mine is undefined or constant"):
        _, run = fit(metrics=[own([NAN] * 8)], lr=plateau)
    assert set(run.history["lr"]) == {0.003}
    rising = own(np.arange(8.0))
    _, run = fit(metrics=[rising], lr=plateau)
    assert set(run.history["lr"]) == {0.003}, "higher is better"


@pytest.mark.parametrize("name", ["roc_auc", "balanced_accuracy"])
def test_plateau_knows_the_direction_of_every_metric(name):
    plateau = cr.Plateau(0.01, monitor=f"valid_{name}", patience=2, factor=0.1)
    _, run = fit(LABELS, loss="sigmoid_cross_entropy", validation=(X, LABELS), metrics=[name], lr=plateau)
    assert run.history[f"valid_{name}"][-1] > run.history[f"valid_{name}"][0]
    assert run.history["lr"][1] == 0.01


def steady(y, predicted):
    return 1.0


def falls_in_the_fifth(y, predicted):
    """A plateau, then worse: the error falls from epoch to epoch."""
    return 1.0 if ((y - predicted) ** 2).mean() > falls_in_the_fifth.limit else 0.0


@pytest.mark.parametrize("after", [2, 3, 6])
@pytest.mark.parametrize("function", [steady, falls_in_the_fifth])
@pytest.mark.filterwarnings("ignore:valid_")
def test_a_fit_that_monitors_a_custom_metric_resumes_to_the_same_bits(tmp_path, function, after):
    """Also from the middle of a plateau, whose first epoch may turn out to be the best."""
    errors = fit()[1].history["valid_loss"]
    assert errors == sorted(errors, reverse=True)
    falls_in_the_fifth.limit = (errors[3] + errors[4]) / 2
    options = {"metrics": [cr.Metric(function, "mine", greater_is_better=True)], "monitor": "valid_mine"}
    whole, run = fit(**options)
    assert run.best_epoch == (1 if function is falls_in_the_fifth else best_of(run, "valid_loss"))

    def stop(record):
        if record.epoch == after:
            record.stop()

    fit(**options, checkpoints=tmp_path, callbacks=[stop])
    resumed, again = fit(**options, checkpoints=tmp_path, resume=tmp_path)
    assert again.best_epoch == run.best_epoch
    assert (resumed.parameter_arena.flat == whole.parameter_arena.flat).all()
