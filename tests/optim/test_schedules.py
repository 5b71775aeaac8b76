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
    cr.FlatCosine(0.3),
    cr.FlatCosine(0.3, flat=0.2, final=0.1, warmup=0.3),
    cr.Coslog4(0.3),
    cr.Coslog4(0.3, warmup=0.2),
    cr.Step(0.3),
    cr.Step(0.3, warmup=0.1, factor=0.5, at=[0.1, 0.3, 0.7]),
    cr.Exponential(0.3),
    cr.Exponential(0.3, factor=0.5, warmup=0.1),
    cr.Plateau(0.3, warmup=0.1),
    cr.OneCycle(0.3),
    cr.OneCycle(0.3, warmup=0.5, start_factor=3.0, end_factor=1.0),
    cr.OneCycle(0.3, warmup=0.0),
]


def cosine(first: float, last: float, p: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * p)) / 2


def after_warmup(schedule: cr.Schedule, p: float) -> float:
    """The formulas of the docstrings, one number at a time."""
    lr = schedule.lr
    match schedule:
        case cr.Cosine(final=final):
            return cosine(lr, final, p)
        case cr.FlatCosine(flat=flat, final=final):
            return lr if p < flat else cosine(lr, final, (p - flat) / (1 - flat))
        case cr.Coslog4():
            return lr * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * p))) / 2
        case cr.Step(factor=factor, at=at):
            return lr * factor ** sum(p >= q for q in at)
        case cr.Exponential(factor=factor):
            return lr * factor**p
        case cr.Constant() | cr.Plateau():
            return lr
    raise AssertionError(f"no formula for {schedule}")


def one_cycle(schedule: cr.OneCycle, t: int, total: int) -> float:
    first, peak = schedule.lr / schedule.start_factor, schedule.warmup * total - 1
    if t <= peak:
        return cosine(first, schedule.lr, t / peak if peak else 0)
    return cosine(schedule.lr, first / schedule.end_factor, (t - peak) / (total - 1 - peak))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_the_formula_of_the_docstring(schedule, total):
    warm = round(schedule.warmup * total)
    want = []
    for t in range(total):
        if isinstance(schedule, cr.OneCycle):
            want.append(one_cycle(schedule, t, total))
        elif t < warm:
            want.append(schedule.lr * (t + 1) / warm)
        else:
            want.append(after_warmup(schedule, (t - warm) / (total - warm)))
    got = schedule.rates(0, total, total)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)


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


def test_coslog4_has_four_peaks_each_twice_as_far_as_the_last():
    rates = cr.Coslog4(0.3).rates(0, 15_000, 15_000)
    peaks = [t for t in range(1, 14_999) if rates[t - 1] < rates[t] >= rates[t + 1]]
    want = [1000 * (2 ** (j + 0.5) - 1) for j in range(4)]
    np.testing.assert_allclose(peaks, want, atol=1)
    np.testing.assert_allclose(rates[peaks], 0.3, rtol=1e-6)
    assert (rates[0], rates[-1] < 1e-6) == (0.0, True)


def test_one_cycle_meets_its_three_rates():
    rates = cr.OneCycle(1.0, warmup=0.25, start_factor=10.0, end_factor=100.0).rates(0, 40, 40)
    assert (rates[0], rates[9], rates[39]) == pytest.approx((0.1, 1.0, 0.001))
    assert rates.argmax() == 9


def test_step_takes_its_factor_at_just_these_updates():
    rates = cr.Step(1.0, at=(0.3, 0.7)).rates(0, 10, 10)
    np.testing.assert_allclose(rates, [1.0] * 3 + [0.1] * 4 + [0.01] * 3)


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
    (lambda: cr.Constant(0.0), r"lr: expected .*, got 0"),
    (lambda: cr.Constant(float("inf")), r"lr: expected .*, got inf"),
    (lambda: cr.Constant(float("nan")), r"lr: expected .*, got nan"),
    (lambda: cr.Constant(0.1, warmup=1.0), "warmup: expected a finite number from 0 to below 1"),
    (lambda: cr.Constant(0.1, warmup=-0.1), r"warmup: expected .*, got -0.1"),
    (lambda: cr.Constant(0.1, warmup=float("nan")), r"warmup: expected .*, got nan"),
    (lambda: cr.Cosine(0.1, final=0.2), "final: expected a number from 0 to lr = 0.1, got 0.2"),
    (lambda: cr.Cosine(0.1, final=-0.2), r"final: expected .*, got -0.2"),
    (lambda: cr.Cosine(-0.1), r"lr: expected .*, got -0.1"),
    (lambda: cr.FlatCosine(0.1, flat=1.0), "flat: expected a finite number from 0 to below 1"),
    (lambda: cr.FlatCosine(0.1, final=0.2), r"final: expected .*, got 0.2"),
    (lambda: cr.Step(0.1, factor=1.0), "factor: expected a finite number above 0 to below 1"),
    (lambda: cr.Step(0.1, at=()), "rising fractions of the run"),
    (lambda: cr.Step(0.1, at=(0.5, 0.5)), "rising fractions of the run"),
    (lambda: cr.Step(0.1, at=(0.5, 1.0)), r"a fraction of the run in at: expected .*, got 1.0"),
    (lambda: cr.Exponential(0.1, factor=0.0), r"factor: expected .*, got 0.0"),
    (lambda: cr.OneCycle(0.1, warmup=1.0), r"warmup: expected .*, got 1.0"),
    (lambda: cr.OneCycle(0.1, start_factor=0.5), "start_factor: expected a finite number from 1"),
    (lambda: cr.OneCycle(0.1, end_factor=0.0), r"end_factor: expected .*, got 0.0"),
    (lambda: cr.Plateau(0.1, factor=2.0), r"factor: expected .*, got 2.0"),
    (lambda: cr.Plateau(0.1, patience=0), r"patience: expected .*, got 0"),
    (lambda: cr.Plateau(0.1, min_delta=-1.0), r"min_delta: expected .*, got -1.0"),
    (lambda: cr.Plateau(0.1, lowest=0.2), "lowest: expected a number from 0 to lr = 0.1, got 0.2"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options(make, message):
    with pytest.raises(cr.OptionError, match=message):
        make()
