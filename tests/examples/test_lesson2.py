"""Lesson 2: the gradient of a matrix product, on every implementation."""

from __future__ import annotations

import numpy as np
import pytest

EXAMPLE = "lesson2_matrix_product.py"


def test_forward_is_the_product(lesson, backend, rng):
    W, X = rng.normal(size=(5, 10)), rng.normal(size=(10, 3))
    np.testing.assert_allclose(lesson.forward(W, X, backend), W @ X, rtol=1e-13, atol=1e-13)


def test_backward_has_the_shapes_and_the_sums_of_the_derivation(lesson, backend, rng):
    W, X, dD = rng.normal(size=(5, 10)), rng.normal(size=(10, 3)), rng.normal(size=(5, 3))
    dW, dX = lesson.backward(dD, W, X, backend)
    assert dW.shape == (5, 10)
    assert dX.shape == (10, 3)
    np.testing.assert_allclose(dW, np.einsum("ij,kj->ik", dD, X), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(dX, np.einsum("ik,ij->kj", W, dD), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_numeric_gradients_agree(lesson, backend, seed):
    errors = lesson.largest_errors(backend, seed)
    assert set(errors) == {"dW", "dX"}
    assert max(errors.values()) < 1e-13


def test_the_shapes_leave_no_other_choice(lesson):
    W, X, dD = (lesson.SHAPES[name] for name in ("W", "X", "dD"))
    assert lesson.products_of_shape(W, {"dD": dD, "X": X}) == ["dD X^T"]
    assert lesson.products_of_shape(X, {"dD": dD, "W": W}) == ["W^T dD"]


def test_square_matrices_leave_every_choice(lesson):
    assert len(lesson.products_of_shape((4, 4), {"dD": (4, 4), "X": (4, 4)})) == 8


def test_as_a_script(script):
    assert script.returncode == 0, script.stderr


def test_the_documentation_shows_what_it_prints(script, documented, assert_same_output):
    assert_same_output(script.stdout, documented)
