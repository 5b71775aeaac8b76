"""Lesson 1: the chain rule on scalars, on every implementation."""

from __future__ import annotations

import pytest

EXAMPLE = "lesson1_scalars.py"


def test_the_chain_rule_at_the_point_of_the_lesson(lesson, backend):
    found = lesson.gradient(lesson.POINT, backend)
    assert found == {"p": -1.0, "q": 2.0, "f": -2.0, "dx": 1.0, "dy": 2.0, "dz": -1.0}


def test_complex_step_agrees(lesson, backend):
    assert lesson.complex_step(lesson.POINT, backend) == pytest.approx({"dx": 1.0, "dy": 2.0, "dz": -1.0}, rel=1e-15)


def test_both_agree_anywhere(lesson, backend, rng):
    for _ in range(5):
        point = dict(zip("xyz", rng.normal(size=3), strict=True))
        found = lesson.gradient(point, backend)
        for name, derivative in lesson.complex_step(point, backend).items():
            assert found[name] == pytest.approx(derivative, rel=1e-13, abs=1e-15)


def test_complex_step_is_exact_where_a_central_difference_cannot_be(lesson):
    rows = lesson.step_sizes()
    central = {h: error for h, error, _ in rows}
    complex_step = {h: error for h, _, error in rows}
    assert 1e-12 < min(central.values()) < 1e-9  # the best that any h gives
    assert central[1e-1] > 1e-4  # h too large
    assert central[1e-14] > 1e-4  # h too small
    assert central[1e-30] == 1.0  # t + h is t: the difference is 0
    assert complex_step[1e-8] < 1e-15
    assert complex_step[1e-30] < 1e-15
    assert 5e-4 < complex_step[1e-1] < 5e-3  # what is left out, of order h^2, is as large as in the other


def test_as_a_script(script):
    assert script.returncode == 0, script.stderr


def test_the_documentation_shows_what_it_prints(script, documented, assert_same_output):
    assert_same_output(script.stdout, documented)
