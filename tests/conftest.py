"""Fixtures that every test may use: one body of the backend contract after the other, and seeded random numbers."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.cupy import detection
from chainrule.backends.numpy import compiled
from chainrule.backends.numpy.backend import NumPyBackend

BODIES = ["numpy", "compiled", "guarded", pytest.param("cuda", marks=pytest.mark.gpu)]


@functools.cache
def cuda_problem() -> str:
    """Why no CUDA device can be used; empty if one can."""
    problem = detection.find_problem(0)
    return "" if problem is None else problem.what


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and cuda_problem():
        pytest.skip(f"needs a CUDA device: {cuda_problem()}")


def make_backend(name: str) -> cr.Backend:
    """A body by its name; the compiled one has its loops loaded."""
    if name == "compiled":
        pytest.importorskip("numba", reason="numba is not installed")
        return compiled.loaded()
    return {"numpy": NumPyBackend, "guarded": cr.GuardedBackend, "cuda": lambda: cr.backend("cuda")}[name]()


@pytest.fixture(params=BODIES)
def backend(request: pytest.FixtureRequest) -> cr.Backend:
    """Each body of the contract in turn."""
    return make_backend(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)
