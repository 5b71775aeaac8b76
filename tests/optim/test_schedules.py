"""Schedules as tables: end points, warm-up, slices."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.optim.schedules import as_schedule

SCHEDULES = [
    cr.Constant(0.3),
    cr.Constant(0.3, warmup=0.25),
    cr.Cosine(0.3),
    cr.Cosine(0.3, warmup=0.1, final=0.01),
    cr.Cosine(0.3, warmup=0.99),
    cr.Cosine(0.3, final=0.3),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_the_formula_of_the_docstring(schedule, total):
    warm = round(schedule.warmup * total)
    want = []
    for t in range(total):
        if t < warm:
            want.append(schedule.lr * (t + 1) / warm)
        elif isinstance(schedule, cr.Constant):
            want.append(schedule.lr)
        else:
            p = (t - warm) / (total - warm)
            want.append(schedule.final + (schedule.lr - schedule.final) * (1 + math.cos(math.pi * p)) / 2)
    got = schedule.rates(0, total, total)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-14)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_slices_are_slices_of_the_whole(schedule):
    whole = schedule.rates(0, 30, 30)
    for start, count in [(0, 1), (0, 30), (7, 10), (29, 1), (12, 0)]:
        np.testing.assert_array_equal(schedule.rates(start, count, 30), whole[start : start + count])


def test_warm_up_rises_to_the_peak_and_no_further():
    rates = cr.Constant(0.5, warmup=0.4).rates(0, 10, 10)
    np.testing.assert_allclose(rates[:4], [0.125, 0.25, 0.375, 0.5])
    np.testing.assert_array_equal(rates[4:], np.full(6, 0.5))


def test_cosine_starts_at_the_peak_passes_the_middle_and_never_reaches_its_end():
    rates = cr.Cosine(1.0, final=0.2).rates(0, 100, 100)
    assert rates[0] == 1.0
    assert rates[50] == pytest.approx(0.6)
    assert 0.2 < rates[99] < 0.201
    assert (np.diff(rates) < 0).all()


def test_cosine_after_a_warm_up_starts_at_the_peak():
    rates = cr.Cosine(1.0, warmup=0.5).rates(0, 8, 8)
    np.testing.assert_allclose(rates[:5], [0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[5] < 1.0


def test_steps_past_the_end_keep_the_last_rate():
    np.testing.assert_allclose(cr.Cosine(1.0, final=0.25).rates(10, 3, 10), 0.25)


def test_a_number_is_a_constant_schedule():
    assert as_schedule(0.25) == cr.Constant(0.25)
    assert as_schedule(SCHEDULES[3]) is SCHEDULES[3]
    assert cr.Adam(lr=SCHEDULES[3]).schedule is SCHEDULES[3]


WRONG = [
    (lambda: cr.Constant(0.0), "learning rate 0"),
    (lambda: cr.Constant(float("inf")), "learning rate inf"),
    (lambda: cr.Constant(float("nan")), "learning rate nan"),
    (lambda: cr.Constant(0.1, warmup=1.0), "warmup 1.0 came, a finite number from 0 to below 1"),
    (lambda: cr.Constant(0.1, warmup=-0.1), "warmup -0.1"),
    (lambda: cr.Constant(0.1, warmup=float("nan")), "warmup nan"),
    (lambda: cr.Cosine(0.1, final=0.2), "final learning rate 0.2 came, a number from 0 to lr = 0.1"),
    (lambda: cr.Cosine(0.1, final=-0.2), "final learning rate -0.2"),
    (lambda: cr.Cosine(-0.1), "learning rate -0.1"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options(make, message):
    with pytest.raises(cr.OptionError, match=message):
        make()
