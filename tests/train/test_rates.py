"""The learning rates of a run: Plateau's feedback, its state, and schedules without feedback."""

from __future__ import annotations

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.rates import RatesOfRun


def follow(rates: RatesOfRun, values: list[float], first: int = 1, name: str = "loss") -> list[float]:
    """The rate of each epoch, from that after ``first - 1``."""
    seen = []
    for epoch, value in enumerate(values, start=first):
        seen.append(rates.rates(epoch - 1, 1, 100)[0])
        rates.end_epoch(epoch, {name: value})
    return seen


def test_plateau_reduces_after_its_patience():
    """Patience 2: reduced after the second worse epoch in a row, then counted again; a nan is not better."""
    rates = RatesOfRun(cr.Plateau(1.0, factor=0.5, patience=2), ["loss"])
    values = [3, 2, 2, 2, 2, 2, 1, 2, float("nan"), 0]
    assert follow(rates, values) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_plateau_has_a_min_delta():
    """From 2 to 1.95 is no gain of more than 0.1, from 2 to 1.8 is."""
    rates = RatesOfRun(cr.Plateau(1.0, factor=0.5, patience=2, min_delta=0.1), ["loss"])
    assert follow(rates, [2, 1.95, 1.8, 1.75, 1.71, 1.7]) == [1, 1, 1, 1, 1, 0.5]


def test_plateau_knows_if_higher_is_better():
    rates = RatesOfRun(cr.Plateau(1.0, patience=1, factor=0.5, monitor="valid_accuracy"), ["loss", "valid_accuracy"])
    assert follow(rates, [0.1, 0.2, 0.1, 0.3], name="valid_accuracy") == [1, 1, 1, 0.5]


@pytest.mark.parametrize("cut", range(8))
def test_plateau_resumes_from_the_history(cut):
    """Through JSON, after any epoch: the rates are those of a run that was not cut, and the state follows."""
    schedule, values = cr.Plateau(1.0, factor=0.5, patience=2, min_delta=0.1), [3, 2, 1.95, 2, 2, 1, 1, 1]
    whole = follow(RatesOfRun(schedule, ["loss"]), values)
    before = RatesOfRun(schedule, ["loss"])
    seen = follow(before, values[:cut])
    after = RatesOfRun(schedule, ["loss"])
    follow(after, values[:cut])
    assert after.state() == json.loads(json.dumps(before.state()))
    assert seen + follow(after, values[cut:], first=cut + 1) == whole


def test_schedules_without_feedback_have_no_state(rng):
    rates = RatesOfRun(cr.Cosine(0.1), ["loss"])
    follow(rates, rng.normal(size=5).tolist())
    assert rates.state() == {}
    np.testing.assert_array_equal(rates.rates(5, 7, 100), cr.Cosine(0.1).rates(5, 7, 100))


def test_plateau_reduces_its_warmup_too_but_not_below_lowest():
    rates = RatesOfRun(cr.Plateau(1.0, factor=0.1, patience=1, warmup=0.5, lowest=0.05), ["loss"])
    follow(rates, [1.0, 1.0])
    np.testing.assert_allclose(rates.rates(0, 4, 4), [0.05, 0.1, 0.1, 0.1])
    follow(rates, [1.0], first=3)
    np.testing.assert_allclose(rates.rates(2, 2, 4), [0.05, 0.05])


@pytest.mark.parametrize("validated", [True, False])
def test_plateau_in_a_trainer(backend, regression, validated):
    """Steps too large for the valley: the loss does not improve, so the rate falls until it does."""
    net = cr.MLP(regression.widths, loss="squared_error", backend=backend, seed=2)
    schedule = cr.Plateau(0.25, factor=0.3, patience=2)
    trainer = cr.Trainer(net, cr.SGD(lr=schedule), batch_size=5, epochs=40)
    history = trainer.fit(regression.X, regression.y, validation=regression.valid if validated else None).history
    rates = RatesOfRun(schedule, ["loss", "valid_loss"] if validated else ["loss"])
    name = "valid_loss" if validated else "loss"
    assert history["lr"] == follow(rates, history[name], name=name)
    assert history["lr"][-1] < 0.25
    assert trainer.optimizer.schedule.rates(0, 1, 1) == [0.25], "the settings are not changed by a run"


@pytest.mark.parametrize("monitor", ["valid_loss", "accuracy", "nonsense"])
def test_plateau_with_an_unknown_monitor_is_refused(regression, monitor):
    net = cr.MLP((5, 1), loss="squared_error")
    with pytest.raises(cr.OptionError, match=f"monitor of Plateau: expected a metric .*, got '{monitor}'") as caught:
        cr.Trainer(net, cr.SGD(lr=cr.Plateau(0.1, monitor=monitor))).fit(regression.X, regression.y[:, 0])
    assert caught.value.hint == "one of loss, r2"
