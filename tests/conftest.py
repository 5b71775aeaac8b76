"""Fixtures for all tests: each implementation of the backend contract in turn, and seeded random numbers."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.cupy import detection
from chainrule.backends.numpy.backend import NumPyBackend
from emulation.backend import EmulatedBackend, compiler_problem
from emulation.simulated_cupy import simulated
from lost_device import LostDevice
from recorded import RecordedBackend

# On a busy machine an example may take seconds; speed is measured in benchmarks/.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

BACKENDS = ["numpy", "compiled", "guarded", pytest.param("cuda", marks=pytest.mark.gpu)]
# Test files that, besides those of the contract, also run the CUDA backend on a simulated device (see `emulation`); it
# is slow.
SIMULATED = {
    "test_embedding",
    "test_agreement_of_ensembles",
    "test_normalization",
    "test_gradients",
    "test_gradients_of_ensembles",
    "test_layers",
    "test_layout",
    "test_law_of_the_step",
    "test_batches",
    "test_custom",
    "test_custom_loss",
    "test_transfers",
    "test_streaming",
    "test_streaming_errors",
    "test_resuming",
}


@functools.cache
def cuda_problem() -> str:
    """Why no CUDA device can be used; empty if one can."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # one within the import of CuPy is no reason to skip every test
        problem = detection.find_problem(0)
    return "" if problem is None else problem.what


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sanitizers", action="store_true", help="run every CUDA kernel under sanitizers, on the CPU")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LostDevice(lambda: not cuda_problem()))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("sanitizers") and not item.config.getoption("--sanitizers"):
        pytest.skip("takes minutes: scripts/check-cuda runs it, and pytest --sanitizers")
    if item.get_closest_marker("gpu") and cuda_problem():
        pytest.skip(f"needs a CUDA device: {cuda_problem()}")


def make_backend(name: str) -> cr.Backend:
    """A backend by its name; the compiled one has its loops loaded."""
    if name == "emulated":
        if problem := compiler_problem():
            pytest.skip(problem)
        return EmulatedBackend()
    if name in {"compiled", "recorded"}:
        pytest.importorskip("numba", reason="numba is not installed")
        loaded = compiled.loaded()
        return loaded if name == "compiled" else RecordedBackend()
    return {"numpy": NumPyBackend, "guarded": cr.GuardedBackend, "cuda": lambda: cr.backend("cuda")}[name]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = any("backend" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "backend" in metafunc.fixturenames and not chosen:
        path = metafunc.definition.path
        is_contract = path.parent.name == "contract"
        more = ["recorded"] * is_contract + ["simulated"] * (is_contract or path.stem in SIMULATED)
        metafunc.parametrize("backend", [*BACKENDS, *more], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[cr.Backend]:
    """Each implementation of the contract in turn."""
    if request.param == "simulated":
        if problem := compiler_problem():
            pytest.skip(problem)
        with simulated():
            from chainrule.backends.cupy.backend import CuPyBackend

            yield CuPyBackend()
    else:
        yield make_backend(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)
