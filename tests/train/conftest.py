"""Random rows to train on, from which nets can learn something."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest


class Task(NamedTuple):
    """Training rows and validation rows of one loss, and the layer widths of a net for them."""

    loss: str
    widths: tuple[int, ...]
    X: np.ndarray
    y: np.ndarray
    valid: tuple[np.ndarray, np.ndarray]


def make_task(loss: str, n: int = 60) -> Task:
    """A nonlinear teacher labels random rows; the last third is for validation."""
    rng = np.random.default_rng(11)
    X = rng.normal(size=(n, 5))
    score = np.tanh(X @ rng.normal(size=(5, 3)))
    if loss == "softmax_cross_entropy":
        y, n_out = score.argmax(axis=1), 3
    else:
        y, n_out = (score > 0, 3) if loss == "sigmoid_cross_entropy" else (score[:, :2] + 1, 2)
    cut = 2 * n // 3
    return Task(loss, (5, 8, n_out), X[:cut], y[:cut], (X[cut:], y[cut:]))


@pytest.fixture(params=["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error", "squared_error_sum"])
def task(request: pytest.FixtureRequest) -> Task:
    """Each loss in turn."""
    return make_task(request.param)


@pytest.fixture
def classes() -> Task:
    return make_task("softmax_cross_entropy")


@pytest.fixture
def regression() -> Task:
    return make_task("squared_error")
